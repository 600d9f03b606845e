//! What every story stands on: daemons in directories of their own, the command line, a raw socket, a real guest.
//!
//! Nothing here sleeps for synchronisation. Whoever waits, waits for what is to happen, with a deadline; what was logged
//! until then is shown when it does not.

mod agent;
#[expect(dead_code, reason = "these guests need no links")]
#[path = "../../agent/tests/guest/archive.rs"]
mod archive;
mod certificates;
mod daemon;
mod guest;
mod kerberos;
mod native;
mod place;
mod port;
mod program;
mod proxy;
mod raw;
mod route;
mod socket;
mod sshd;
mod way;

use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) use agent::Agent;
pub(crate) use certificates::{Owner, Signer, ending_in, params};
pub(crate) use daemon::{Daemon, Setup, VMWIRE_GA, VMWIRED};
pub(crate) use guest::{Guest, Shell, has_qemu};
pub(crate) use kerberos::Kerberos;
pub(crate) use native::{Limit, Native, Stop, known, proxy, words};
pub(crate) use place::Place;
pub(crate) use port::{NobodysPort, free_port};
pub(crate) use program::{Ran, Running, executable, vmwire};
pub(crate) use proxy::{Cut, Proxy};
pub(crate) use raw::{Raw, packet};
pub(crate) use route::{Behind, Route};
pub(crate) use socket::{Socket, client_context};
pub(crate) use sshd::{Far, Sshd, SshdSetup, keygen, line_of, public};
pub(crate) use way::{Way, pki, pki_command, tls_table};

/// Long enough for anything that happens at once, on a machine that is busy with something else.
pub(crate) const ENOUGH: Duration = Duration::from_secs(90);

/// What is done at once is done within this, on a machine that is ten times as slow. The programs' own limits may be shorter:
/// that something did not wait for one of those is to be seen by what came of it, not by a clock.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Waits until `happened` answers something.
pub(crate) fn eventually<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + ENOUGH;
    loop {
        if let Some(value) = happened() {
            return value;
        }
        assert!(Instant::now() < end, "not within {ENOUGH:?}: {what}\n{}", program::last_seen());
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Says that a story cannot be told here, as CONTRIBUTING.md has it. With `CI=true` it fails instead.
#[track_caller]
pub(crate) fn skip(test: &str, why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{test} may not be skipped with CI=true: {why}");
    let line = format!("SKIPPED: {test}: {why}\n");
    match std::env::var_os("VMWIRE_SKIPS") {
        Some(path) => {
            std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        None => print!("{line}"),
    }
}

/// Tells stories over each way to the daemon: `by_unix::`, `by_tcp::` and `by_tls::` and the name of the story, which is a
/// function that is given the way.
macro_rules! by_every_way {
    ($($story:ident),* $(,)?) => {
        crate::harness::by_ways!(by_unix Unix: $($story)*);
        crate::harness::by_ways!(by_tcp Tcp: $($story)*);
        crate::harness::by_ways!(by_tls Tls: $($story)*);
    };
}

/// The same over one way.
macro_rules! by_ways {
    ($module:ident $way:ident: $($story:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $story() {
                    super::$story(crate::harness::Way::$way);
                }
            )*
        }
    };
}

pub(crate) use {by_every_way, by_ways};
