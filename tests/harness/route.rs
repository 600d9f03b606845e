//! The ways on which a connection may be cut: with somebody in between who does.

use std::process::Command;

use super::{Cut, Daemon, Proxy, Setup, Sshd, SshdSetup, Way, line_of, public, vmwire};

/// A way to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Without anybody's help.
    Direct(Way),
    /// Through a server of ssh, reached as this `transport` says.
    Ssh(&'static str),
}

impl Route {
    /// A daemon that can be reached this way.
    pub(crate) fn setup(self) -> Setup {
        match self {
            Self::Direct(way) => way.setup(),
            Self::Ssh(_) => Setup::test(),
        }
    }
}

/// A daemon behind somebody who cuts.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) proxy: Proxy,
    uri: String,
    sshd: Option<Sshd>,
}

impl Behind {
    /// Stands before a daemon, as [`Proxy::before`] does.
    pub(crate) fn new(daemon: &Daemon, route: Route, cuts: &[Cut]) -> Self {
        let transport = match route {
            Route::Direct(way) => {
                let proxy = Proxy::before(daemon, way, cuts);
                return Self { uri: proxy.uri().to_owned(), proxy, sshd: None };
            }
            Route::Ssh(transport) => transport,
        };
        let sshd = SshdSetup::default().start();
        let proxy = Proxy::before_port(sshd.address(), cuts);
        let (_, port) = proxy.uri().rsplit_once(':').unwrap();
        let key = line_of(&public(&sshd.place().join("host_key")));
        std::fs::write(sshd.known_hosts(), format!("[127.0.0.1]:{port} {key}\n")).unwrap();
        sshd.settings(&format!("Host vm1\n  Port {port}"));
        let uri = sshd.uri(&daemon.socket(), &format!("&transport={transport}"));
        Self { proxy, uri, sshd: Some(sshd) }
    }

    /// The command line, against the daemon.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.sshd.as_ref().map_or_else(vmwire, |sshd| sshd.command(&[]));
        command.args(["-c", &self.uri]).args(words);
        command
    }
}
