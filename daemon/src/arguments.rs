//! The command line of `vmwired`.

use std::io;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use clap_mangen::roff::{Roff, roman};

use crate::config::DriverKind;

/// Supervises QEMU guests and serves the vmwire protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Parser)]
#[command(name = "vmwired", version, after_help = after_help(), max_term_width = 100)]
pub struct Arguments {
    /// Read this configuration instead of the default one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What runs the guests: QEMU, or a stand-in that keeps everything in memory
    #[arg(long, value_enum)]
    pub driver: Option<DriverKind>,

    /// Listen here and nowhere else: unix: and a path, or tls: and an IP address, perhaps with a port; can be given several
    /// times
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,

    /// Where definitions are kept
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Where the sockets and records of running guests are kept, and the daemon's own socket unless --listen is given
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,

    /// Leave after so many seconds without a connection and without a running guest
    #[arg(long, value_name = "SECONDS")]
    pub idle_exit: Option<u32>,

    /// Speak no newer minor of the protocol than this, as an older daemon would; for tests
    #[arg(long, value_name = "MINOR", hide = true)]
    pub newest_minor: Option<u32>,

    /// Say whether a daemon could start with the configuration, its keys, certificates and directories, and end
    #[arg(long)]
    pub check_config: bool,

    /// Print the manual page
    #[arg(long, hide = true)]
    pub man: bool,
}

/// The manual page, out of the definition of the command line.
///
/// # Errors
/// None that happens: it is written to memory.
pub fn manual_page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let release = concat!("vmwire ", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(Arguments::command()).section("8").source(release);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    for (title, body) in [
        ("FILES", DEFAULTS),
        ("ENVIRONMENT", ENVIRONMENT),
        ("SIGNALS", SIGNALS),
        ("EXIT STATUS", EXIT_CODES),
        ("EXAMPLES", EXAMPLES),
        ("SEE ALSO", "vmwire(1), vmwire-pki(1), vmwire-client(1)"),
    ] {
        roff.control("SH", [title]).control("nf", []);
        for line in body.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    page.extend(roff.render().into_bytes());
    Ok(page)
}

fn after_help() -> String {
    format!("Defaults:\n{DEFAULTS}\n\n{ENVIRONMENT}\n{SIGNALS}\n\nExit codes: {EXIT_CODES}")
}

const DEFAULTS: &str = "\
\x20                  as root                          as anyone else
  --config         /etc/vmwire/vmwired.toml         $XDG_CONFIG_HOME/vmwire/vmwired.toml
  --driver         qemu                             qemu
  --listen         unix:/run/vmwire/vmwired.sock    unix:$XDG_RUNTIME_DIR/vmwire/vmwired.sock
  --state-dir      /var/lib/vmwire                  $XDG_STATE_HOME/vmwire
  --runtime-dir    /run/vmwire/guests               $XDG_STATE_HOME/vmwire/run

Unless told where to listen, root's daemon also listens at /run/vmwire/operator.sock where there is
a group vmwire, whose members are operators there.
For TLS server.crt, server.key, ca.crt and, where they are, crl.pem and ca.key are taken from
/etc/vmwire/pki or $XDG_CONFIG_HOME/vmwire/pki, as `vmwire pki` makes them. Other files, who may do
what, and the audit are matters of the configuration: share/doc/vmwire/vmwired.toml shows it all.
With --driver test each of these directories has a further part, test, so that both daemons can run side by side.
Without XDG_RUNTIME_DIR the socket lies in the runtime directory, as it does when --runtime-dir is given.";

const ENVIRONMENT: &str =
    "The log goes to standard error. VMWIRE_LOG sets its level: off, error, warn, info, debug, trace.";

const SIGNALS: &str = "\
SIGHUP has the configuration and the files of TLS read again; the log tells what takes effect only
at the next start. Files of TLS that are replaced are taken up without it, too.
SIGTERM and SIGINT end the daemon; guests run on, and the next daemon takes them up. Those of the
test driver are kept in memory, and go with it.";

const EXIT_CODES: &str = "0 ended as asked, 1 failed, 2 wrong usage or configuration.";

const EXAMPLES: &str = "\
vmwired --check-config
vmwired --listen unix:/run/vmwire/vmwired.sock --listen tls:0.0.0.0
vmwired --driver test --listen unix:/tmp/vmwired.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_has_the_sections_that_people_look_for() {
        let page = String::from_utf8(manual_page().unwrap()).unwrap();
        for section in ["NAME", "OPTIONS", "FILES", "ENVIRONMENT", "\"EXIT STATUS\"", "EXAMPLES", "\"SEE ALSO\""] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}: {page}");
        }
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn several_listeners_can_be_given() {
        let arguments = Arguments::try_parse_from(["vmwired", "--listen", "unix:/a", "--listen=unix:/b"]).unwrap();
        assert_eq!(arguments.listen, ["unix:/a", "unix:/b"]);
    }
}
