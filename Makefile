# What people run. `make demo` and `make test` do all their set-up themselves.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
export CARGO

built = $(or $(CARGO_TARGET_DIR),target)/release
bindir = $(DESTDIR)$(PREFIX)/bin
unitdir = $(DESTDIR)$(PREFIX)/lib/systemd/system
datadir = $(DESTDIR)$(PREFIX)/share

.PHONY: help setup demo test check bench release install fuzz agent install-agent agent-deb

help:
	@echo 'make demo     see a real guest being defined, started, watched and shut down'
	@echo 'make test     run all tests'
	@echo 'make check    format, lints, documentation, licences'
	@echo 'make fuzz     drive the fuzz targets with libFuzzer, SECONDS_EACH=60 seconds each'
	@echo 'make bench    measure the figures of BENCHMARKS.md'
	@echo 'make release  build the programs'
	@echo 'make install  install the programs under PREFIX (default /usr/local), below DESTDIR when given'
	@echo 'make agent    build the guest agent as one static file'
	@echo 'make install-agent  install it, with its unit, udev rule, configuration and manual page'
	@echo 'make agent-deb  build its Debian package, which takes the place of qemu-guest-agent'
	@echo 'make setup    install what all these need (Debian, Ubuntu)'

setup:
	@contrib/setup

demo: setup
	@contrib/demo

test: setup
	@contrib/test

check: setup
	@contrib/check

# Not part of `make test`, which drives the same targets by itself.
fuzz:
	@contrib/fuzz $(SECONDS_EACH)

# BENCH='--row ping-pong' measures one group of figures; see `vmwire-bench --help`.
bench: setup
	@contrib/bench $(BENCH)

release: setup
	@$(CARGO) build --release --locked -p vmwire-daemon -p vmwire-client

# What runs in a guest brings its own libc. The target is named so that only the agent is built with these flags.
agent_target = $(shell rustc -vV | sed -n 's/^host: //p')
agent_built = $(or $(CARGO_TARGET_DIR),target)/$(agent_target)/guest-agent/vmwire-ga
agent:
	@RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --profile guest-agent --locked -p vmwire-agent \
		--target $(agent_target)
	@echo $(agent_built)

# AGENT=PROGRAM installs a program that is there already.
AGENT ?=
agent_installed = $(or $(AGENT),$(agent_built))
install-agent: $(if $(SUDO_USER)$(AGENT),,agent)
	@test -x $(agent_installed) || { echo 'install-agent: run `make agent` first' >&2; exit 1; }
	install -d $(bindir) $(unitdir) $(DESTDIR)$(PREFIX)/lib/udev/rules.d $(datadir)/man/man8 $(DESTDIR)/etc/vmwire
	install -m 0755 $(agent_installed) $(bindir)/vmwire-ga
	umask 022; sed 's|@PREFIX@|$(PREFIX)|' contrib/agent/vmwire-ga.service >$(unitdir)/vmwire-ga.service
	install -m 0644 contrib/agent/60-vmwire-ga.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d
	install -m 0644 contrib/agent/vmwire-ga.8 $(datadir)/man/man8
	test -e $(DESTDIR)/etc/vmwire/vmwire-ga.conf || install -m 0644 contrib/agent/vmwire-ga.conf $(DESTDIR)/etc/vmwire

# The package is made where the program is.
agent-deb: agent
	@contrib/agent-deb $(agent_built) $(dir $(agent_built))

# Under sudo nothing is built, so that root owns nothing in the build directory: run `make release` first.
install: $(if $(SUDO_USER),,release)
	@test -x $(built)/vmwired -a -x $(built)/vmwire || { echo 'install: run `make release` first' >&2; exit 1; }
	install -d $(bindir) $(unitdir) $(datadir)/man/man1 $(datadir)/man/man8 $(datadir)/doc/vmwire/docs \
		$(datadir)/bash-completion/completions $(datadir)/zsh/site-functions $(datadir)/fish/vendor_completions.d
	install -m 0755 $(built)/vmwired $(built)/vmwire $(bindir)
	umask 022; sed 's|@PREFIX@|$(PREFIX)|' contrib/vmwired.service >$(unitdir)/vmwired.service
	install -m 0644 contrib/vmwired.toml README.md SECURITY.md CHANGELOG.md LICENSE-GPL LICENSE-MIT LICENSE-APACHE \
		$(datadir)/doc/vmwire
	install -m 0644 docs/*.md $(datadir)/doc/vmwire/docs
	umask 022; $(built)/vmwire completion bash >$(datadir)/bash-completion/completions/vmwire
	umask 022; $(built)/vmwire completion zsh >$(datadir)/zsh/site-functions/_vmwire
	umask 022; $(built)/vmwire completion fish >$(datadir)/fish/vendor_completions.d/vmwire.fish
	umask 022; $(built)/vmwire man $(datadir)/man/man1
	umask 022; $(built)/vmwired --man >$(datadir)/man/man8/vmwired.8
