//! What ours is compared with: the least that anything could do on the same sockets, each in a process of its own.
//!
//! An echo answers every `request_bytes` received with `reply_bytes` out of one ready-made buffer: it parses nothing,
//! copies nothing and allocates nothing, so that no server of these bytes can be cheaper.

mod blocking;
mod fan_out;
mod mio_echo;
mod tls_echo;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::papers::{Papers, free_address};
use crate::socket::Address;

/// The first argument of this program when it is to be a yardstick.
pub(crate) const ARGUMENT: &str = "--yardstick";

/// Bytes read at once, as the daemon does.
const READ_BYTES: usize = 64 * 1024;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An echo on a mio loop.
    MioEcho,
    /// An echo that reads and writes and does nothing else.
    BlockingEcho,
    /// A loop that writes to all who are connected whenever the last one says something.
    FanOut,
    /// An echo on a mio loop, behind rustls.
    TlsEcho,
}

impl Kind {
    const ALL: [Self; 4] = [Self::MioEcho, Self::BlockingEcho, Self::FanOut, Self::TlsEcho];

    fn name(self) -> &'static str {
        match self {
            Self::MioEcho => "mio-echo",
            Self::BlockingEcho => "blocking-echo",
            Self::FanOut => "fan-out",
            Self::TlsEcho => "tls-echo",
        }
    }
}

/// A yardstick that runs; it ends with this value.
#[derive(Debug)]
pub(crate) struct Yardstick {
    child: Child,
    address: Address,
}

impl Yardstick {
    /// Starts one that listens in `dir`. The two numbers are bytes of a request and of a reply; for the fan-out, how many
    /// it writes to, and how many bytes.
    pub(crate) fn start(kind: Kind, dir: &Path, first: usize, second: usize) -> Outcome<Self> {
        let path = dir.join(format!("{}.sock", kind.name()));
        let _ = std::fs::remove_file(&path);
        let child = spawn(kind, path.as_os_str(), first, second, None)?;
        Ok(Self { child, address: Address::Unix(path) })
    }

    /// Starts an echo behind rustls with these certificates, for a client who resumes sessions or does not.
    pub(crate) fn start_tls(papers: &Papers, resumes: bool, request: usize, reply: usize) -> Outcome<Self> {
        let address = free_address()?;
        let child = spawn(Kind::TlsEcho, address.to_string().as_ref(), request, reply, Some(papers.dir()))?;
        Ok(Self { child, address: Address::Tls(address, papers.client(resumes)?) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(kind: Kind, place: &OsStr, first: usize, second: usize, papers: Option<&Path>) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([ARGUMENT, kind.name()]).arg(place).args([first.to_string(), second.to_string()]).args(papers);
    Ok(command.stdin(Stdio::null()).spawn()?)
}

/// Is a yardstick, if the arguments behind [`ARGUMENT`] say so; until the end of the process.
pub(crate) fn run(arguments: &[OsString]) -> Outcome<()> {
    let [kind, place, first, second, papers @ ..] = arguments else {
        return Err("a yardstick takes at least four arguments".into());
    };
    let kind = Kind::ALL.into_iter().find(|known| *kind == *known.name()).ok_or("there is no such yardstick")?;
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<usize>().ok()).ok_or("not a number");
    let (path, first, second) = (Path::new(place), number(first)?, number(second)?);
    match kind {
        Kind::MioEcho => mio_echo::run(path, first, second),
        Kind::BlockingEcho => blocking::run(path, first, second),
        Kind::FanOut => fan_out::run(path, first, second),
        Kind::TlsEcho => {
            let [papers] = papers else { return Err("an echo behind TLS has certificates".into()) };
            let address = place.to_str().ok_or("not an address")?.parse()?;
            tls_echo::run(address, &Papers::of(Path::new(papers)).server()?, first, second)
        }
    }
}

/// How many requests are whole now, and what is left of the next one.
struct Count {
    request_bytes: usize,
    carried: usize,
}

impl Count {
    fn of(request_bytes: usize) -> Self {
        Self { request_bytes: request_bytes.max(1), carried: 0 }
    }

    fn received(&mut self, bytes: usize) -> usize {
        let whole = (self.carried + bytes) / self.request_bytes;
        self.carried = (self.carried + bytes) % self.request_bytes;
        whole
    }
}

/// Is a yardstick in a thread of this process, for tests.
#[cfg(test)]
pub(crate) fn run_here(kind: Kind, place: &OsStr, first: usize, second: usize, papers: Option<&Path>) {
    let mut arguments = vec![kind.name().into(), place.into(), first.to_string().into(), second.to_string().into()];
    arguments.extend(papers.map(Into::into));
    std::thread::spawn(move || run(&arguments).map_err(|error| error.to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_however_they_are_cut() {
        let mut count = Count::of(20);
        let whole: Vec<usize> = [1, 18, 1, 40, 39, 0, 1].map(|bytes| count.received(bytes)).into();
        assert_eq!(whole, [0, 0, 1, 2, 1, 0, 1]);
    }
}
