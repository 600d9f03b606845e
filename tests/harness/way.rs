//! The ways to a daemon: a unix socket, plain TCP, TLS; and the certificates that the last one needs.

use std::net::SocketAddr;
use std::process::Command;

use super::{Daemon, Place, Ran, Running, Setup, eventually, vmwire};

/// How somebody comes to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As an admin, for it is our own.
    Unix,
    /// As an observer, whoever comes.
    Tcp,
    /// As an admin, by a rule.
    Tls,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Unix, Self::Tcp, Self::Tls];

    /// A daemon with the test driver that can be reached this way, and through its own socket in any case.
    pub(crate) fn setup(self) -> Setup {
        self.setup_with("")
    }

    /// The same, with lines of its configuration that stand before all tables.
    pub(crate) fn setup_with(self, lines: &str) -> Setup {
        let setup = Setup::test().config(lines);
        match self {
            Self::Unix => setup,
            Self::Tcp | Self::Tls => setup.networked(),
        }
    }

    /// The word for it in a URI.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// What one is there.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Self::Unix | Self::Tls => "admin",
            Self::Tcp => "observer",
        }
    }

    /// Whether one may change something.
    pub(crate) fn may_change(self) -> bool {
        self.role() == "admin"
    }
}

/// A verb of `vmwire pki` on the authority in `pki` of the place; it talks JSON.
pub(crate) fn pki_command(place: &Place, words: &[&str]) -> Command {
    let mut command = vmwire();
    command.current_dir(place.path()).args(["-o", "json", "pki"]).args(words).args(["--dir", "pki"]);
    command
}

/// Runs it.
pub(crate) fn pki(place: &Place, words: &[&str]) -> Ran {
    Running::start(pki_command(place, words)).end()
}

/// The part of a configuration that names the files of the authority in `pki` of the place.
pub(crate) fn tls_table(place: &Place) -> String {
    let dir = place.join("pki");
    let dir = dir.display();
    format!(
        "[tls]\ncertificate = \"{dir}/server.crt\"\nkey = \"{dir}/server.key\"\nclient_ca = \"{dir}/ca.crt\"\n\
         crl = \"{dir}/crl.pem\"\nca_key = \"{dir}/ca.key\"\n"
    )
}

impl Setup {
    /// The same, listening on plain TCP and TLS of the loopback too. Its certificate is for `127.0.0.1` and `localhost`,
    /// and a client `alice` of its authority is an admin.
    pub(crate) fn networked(self) -> Self {
        pki(&self.place, &["init", "--name", "Example Ltd", "--server", "127.0.0.1", "--server", "localhost"]).ok();
        pki(&self.place, &["issue", "client", "alice"]).ok();
        let lines = self.listeners() + "[[rule]]\nidentity = \"subject:CN=alice\"\nrole = \"admin\"\n";
        self.config(&lines)
    }

    /// The listeners and the files of a networked one.
    pub(crate) fn listeners(&self) -> String {
        format!(
            "[[listen]]\npath = \"{}\"\n[[listen]]\ntcp = \"127.0.0.1:0\"\ninsecure = true\n[[listen]]\n\
             tls = \"127.0.0.1:0\"\n{}",
            self.socket().display(),
            tls_table(&self.place)
        )
    }
}

impl Daemon {
    /// Where it listens on the network.
    pub(crate) fn address(&self, way: Way) -> SocketAddr {
        let start = format!("listening at {}:", way.word());
        eventually("it says where it listens", || {
            let log = self.own_log();
            let (_, rest) = log.rsplit_once(&start)?;
            // The whole line has to be there, or the port may be cut.
            let (line, _) = rest.split_once('\n')?;
            let address = line.split(": ").next()?;
            Some(address.parse().unwrap_or_else(|error| panic!("{address}: {error}")))
        })
    }

    /// How a client names it.
    pub(crate) fn uri_by(&self, way: Way) -> String {
        match way {
            Way::Unix => self.uri(),
            Way::Tcp => format!("test+tcp://{}/default", self.address(way)),
            Way::Tls => self.uri_as("alice"),
        }
    }

    /// How a client of its authority names it.
    pub(crate) fn uri_as(&self, client: &str) -> String {
        let files = self.place().join("pki/issued").join(client);
        format!("test+tls://{}/default?pkipath={}", self.address(Way::Tls), files.display())
    }

    /// Runs the command line against it, over a way.
    pub(crate) fn vmwire_by(&self, way: Way, arguments: &[&str]) -> Ran {
        self.begin_at(&self.uri_by(way), arguments).end()
    }

    /// Runs the command line against it with JSON, as a client of its authority.
    pub(crate) fn vmwire_as(&self, client: &str, arguments: &[&str]) -> Ran {
        self.begin_at(&self.uri_as(client), &[&["-o", "json"], arguments].concat()).end()
    }

    /// Waits until something is in its log; answers the first line with it.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) -> String {
        eventually(&format!("{text:?} is logged"), || {
            let log = self.log();
            let found = log.split_inclusive('\n').find(|line| line.contains(text) && line.ends_with('\n'));
            found.map(str::to_owned)
        })
    }
}
