//! The command line of `vmwired`.

use std::path::PathBuf;

use clap::Parser;

use crate::config::DriverKind;

/// Supervises QEMU guests and serves the vmwire protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Parser)]
#[command(name = "vmwired", version, after_help = DEFAULTS, max_term_width = 100)]
pub struct Arguments {
    /// Read this configuration instead of the default one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What runs the guests: QEMU, or a stand-in that keeps everything in memory
    #[arg(long, value_enum)]
    pub driver: Option<DriverKind>,

    /// Listen here and nowhere else; can be given several times
    #[arg(long, value_name = "unix:PATH")]
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

    /// Say whether the configuration is right, and end
    #[arg(long)]
    pub check_config: bool,
}

const DEFAULTS: &str = "\
Defaults:
                   as root                          as anyone else
  --config         /etc/vmwire/vmwired.toml         $XDG_CONFIG_HOME/vmwire/vmwired.toml
  --driver         qemu                             qemu
  --listen         unix:/run/vmwire/vmwired.sock    unix:$XDG_RUNTIME_DIR/vmwire/vmwired.sock
  --state-dir      /var/lib/vmwire                  $XDG_STATE_HOME/vmwire
  --runtime-dir    /run/vmwire                      $XDG_STATE_HOME/vmwire/run

With --driver test each of these directories has a further part, test, so that both daemons can run side by side.
Without XDG_RUNTIME_DIR the socket lies in the runtime directory, as it does when --runtime-dir is given.

The log goes to standard error. VMWIRE_LOG sets its level: off, error, warn, info, debug, trace.
SIGTERM, SIGINT and SIGHUP end the daemon; guests run on, and the next daemon takes them up. Those of the test driver
are kept in memory, and go with it.

Exit codes: 0 ended as asked, 1 failed, 2 wrong usage or configuration.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

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
