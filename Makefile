# What people run. `make demo` and `make test` do all their set-up themselves.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
export CARGO

built = $(or $(CARGO_TARGET_DIR),target)/release
bindir = $(DESTDIR)$(PREFIX)/bin
unitdir = $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: help setup test check release install

help:
	@echo 'make test     run all tests'
	@echo 'make check    format, lints, documentation, licences'
	@echo 'make release  build the programs'
	@echo 'make install  install the programs under PREFIX (default /usr/local), below DESTDIR when given'
	@echo 'make setup    install what all these need (Debian, Ubuntu)'

setup:
	@contrib/setup

test: setup
	@contrib/test

check: setup
	@contrib/check

release: setup
	@$(CARGO) build --release --locked -p vmwire-daemon -p vmwire-client

# Under sudo nothing is built, so that root owns nothing in the build directory: run `make release` first.
install: $(if $(SUDO_USER),,release)
	@test -x $(built)/vmwired -a -x $(built)/vmwire || { echo 'install: run `make release` first' >&2; exit 1; }
	install -d $(bindir) $(unitdir)
	install -m 0755 $(built)/vmwired $(built)/vmwire $(bindir)
	sed 's|@PREFIX@|$(PREFIX)|' contrib/vmwired.service >$(unitdir)/vmwired.service
