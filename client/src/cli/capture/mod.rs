//! `vmwire capture`: what passes a daemon, into a file that Wireshark opens.
//!
//! The daemon shows the packets, with secrets written over; nothing is captured here that was not shown. The file is
//! made anew and for its owner alone: what people ask of their machines is nobody else's business.

mod file;
mod out;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use vmwire_protocol::message::{CaptureOpenCall, Failure};

use super::named::text;
use super::output::Format;
use super::problem::Problem;
use super::quantity::{read_duration, show_bytes};
use super::signals::Ending;
use super::{Context, Exit, unless_too_old};
use crate::connection::{Capture, Connection, Shown};
use crate::error::Error;
use file::{CaptureFile, Written};
use out::Out;

/// How often a person is shown how far it has come.
const LOOK: Duration = Duration::from_secs(1);

/// The name that means standard output.
const STDOUT: &str = "-";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  vmwire capture -w today.pcapng\n  vmwire capture --vm web --duration 1m -w web.pcapng\n  \
                        vmwire capture --vm web --agents -w agent.pcapng\n  vmwire -c qemu+ssh://root@host/system capture -w - | wireshark -k -i -\n\n\
                        It goes on until interrupted. Connections that have a capture open are not shown, this one among them.\n\
                        Secrets are written over by the daemon; what consoles carry is zeroes without --payload.\n"
)]
pub(crate) struct Arguments {
    /// The file, which must not be there yet; - for standard output
    #[arg(short, long = "write", value_name = "FILE")]
    write: String,

    /// Only what is about this virtual machine, and how connections begin
    #[arg(long, value_name = "VM")]
    vm: Option<String>,

    /// Also what streams carry: what is typed into consoles, and what guests say there
    #[arg(long)]
    payload: bool,

    /// Also what passes between the daemon and agents in guests; with --vm, that guest's
    #[arg(long)]
    agents: bool,

    /// End after so long, as in 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    duration: Option<Duration>,

    /// End after so many packets; of agents, lines
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let to_stdout = arguments.write == STDOUT;
    if to_stdout && io::stdout().is_terminal() {
        return Err(Problem::usage("a capture is no text for a terminal")
            .hint("name a file with -w, or send it on: | wireshark -k -i -"));
    }
    let call = CaptureOpenCall {
        vm: text("name", arguments.vm.as_deref().unwrap_or_default())?,
        payload: arguments.payload,
        agents: arguments.agents,
    };
    let daemon = context.uri()?.to_string();
    let mut connection = context.connect()?;
    let capture = connection.open_capture(call, context.timeout).map_err(unless_too_old)?;
    let signals = Ending::watch().map_err(|error| Problem::local("cannot watch for ^C", &error))?;
    let until = arguments.duration.map(|duration| Instant::now() + duration);
    // Not before the daemon has agreed: a capture that was refused leaves no file behind.
    let out = if to_stdout { Out::stdout(signals.came.as_fd(), until) } else { Out::File(create(&arguments.write)?) };
    let mut file = CaptureFile::begin(out, &daemon).map_err(|error| unwritten(arguments, &error))?;
    context.output.note(&format!("capturing into {}, ^C ends", arguments.write));
    let over = loop {
        let ended = match take(&mut connection, &capture, &mut file, arguments.count) {
            // ^C goes to the ssh program as well, which ends at once.
            Some(Over::Lost(_)) if has_come(&signals) => Some(Over::Asked),
            ended => ended,
        };
        if let Err(error) = file.flush() {
            break unkept(ended, error);
        }
        if let Some(over) = ended {
            break over;
        }
        let now = Instant::now();
        let look = until.map_or(LOOK, |until| until.saturating_duration_since(now).min(LOOK));
        // A link that breaks may have brought something before: taking it tells.
        if look.is_zero() || connection.wait_beside(signals.came.as_fd(), Some(look)).unwrap_or(false) {
            break Over::Asked;
        }
        if context.output.shows_progress() {
            context.output.progress(&sentence(file.written(), arguments));
        }
    };
    if context.output.shows_progress() {
        context.output.progress("");
    }
    finish(over, file, arguments, context)
}

/// How a capture ends.
enum Over {
    /// Somebody asked for it, or it has what was asked for.
    Asked,
    /// The daemon ended it.
    Told(Option<Failure>),
    /// The daemon is not there any more.
    Lost(Error),
    /// What came cannot be kept.
    Unwritten(io::Error),
}

/// How it ends where what came could not be written.
fn unkept(ended: Option<Over>, error: io::Error) -> Over {
    match ended {
        // Whoever does not read changes nothing about why it had ended before.
        Some(ended) if error.kind() == ErrorKind::WouldBlock => ended,
        _ => Over::Unwritten(error),
    }
}

/// Whether somebody has asked for the end.
fn has_come(signals: &Ending) -> bool {
    poll(&mut [PollFd::new(&signals.came, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Leaves a file behind that ends with a whole packet, says what it came to, and how it ended.
fn finish(
    over: Over,
    file: CaptureFile<Out<'_>>,
    arguments: &Arguments,
    context: &mut Context<'_>,
) -> Result<Exit, Problem> {
    let (written, whole_bytes) = (file.written(), file.whole_bytes());
    let left = match (&over, file.into_out()) {
        // Nothing of it is there.
        (Over::Unwritten(_), Out::File(file)) if whole_bytes == 0 => remove(&arguments.write, &file),
        (Over::Unwritten(_), Out::File(file)) => file.set_len(whole_bytes),
        _ => Ok(()),
    };
    tell(written, arguments, context)?;
    match over {
        Over::Asked | Over::Told(None) => Ok(Exit::Ok),
        Over::Told(Some(why)) => Err(Error::Failure(Box::new(why)).into()),
        Over::Lost(error) => Err(error.into()),
        // Nobody read it until somebody ended it.
        Over::Unwritten(error) if error.kind() == ErrorKind::WouldBlock => Ok(Exit::Ok),
        Over::Unwritten(error) if arguments.write == STDOUT => Err(error.into()),
        Over::Unwritten(error) => {
            let problem = unwritten(arguments, &error);
            Err(match left {
                Err(error) => problem.cause(format!("it ends with half a packet, which cannot be taken back: {error}")),
                Ok(()) if whole_bytes == 0 => problem,
                Ok(()) => problem.hint("it ends with the last packet that there was room for, and can be opened"),
            })
        }
    }
}

fn unwritten(arguments: &Arguments, error: &io::Error) -> Problem {
    Problem::local(format!("cannot write {}", arguments.write), error)
}

/// Takes what has come; answers how the capture ended, if it did.
fn take(
    connection: &mut Connection,
    capture: &Capture,
    file: &mut CaptureFile<Out<'_>>,
    count: Option<u64>,
) -> Option<Over> {
    loop {
        match connection.take_capture(capture) {
            Ok(Some(Shown::Record(record))) => {
                if let Err(error) = file.add(&record) {
                    return Some(Over::Unwritten(error));
                }
            }
            Ok(Some(Shown::End(why))) => return Some(Over::Told(why)),
            Ok(None) => return None,
            Err(error) => return Some(Over::Lost(error)),
        }
        // A packet is not counted before it is there whole.
        if count.is_some_and(|count| file.added().packets >= count) && file.is_between_packets() {
            return Some(Over::Asked);
        }
    }
}

/// Makes the file, for its owner alone; one that is there is not touched.
fn create(path: &str) -> Result<File, Problem> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let problem = Problem::local(format!("cannot make {path}"), &error);
        if error.kind() == ErrorKind::AlreadyExists {
            problem.hint("a capture never takes the place of a file; name another one")
        } else {
            problem
        }
    })
}

/// Removes the file, unless another has its name by now.
fn remove(path: &str, file: &File) -> io::Result<()> {
    let which = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    match fs::symlink_metadata(path) {
        Ok(there) if which(&there) == which(&file.metadata()?) => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Says what the capture came to.
fn tell(written: Written, arguments: &Arguments, context: &mut Context<'_>) -> io::Result<()> {
    if context.output.format() == Format::Json && arguments.write != STDOUT {
        let Written { packets, bytes, lost } = written;
        let lost = arguments.vm.is_none().then_some(lost);
        return context.output.json(&json!({
            "file": arguments.write, "packets": packets, "bytes": bytes, "lost_bytes": lost,
        }));
    }
    context.output.note(&sentence(written, arguments));
    Ok(())
}

fn sentence(written: Written, arguments: &Arguments) -> String {
    let packets = if written.packets == 1 { "packet" } else { "packets" };
    // What is about others is left out, and nobody can tell that from what was lost.
    let lost = if arguments.vm.is_none() && written.lost > 0 {
        format!("; {} passed too fast and are lost", show_bytes(written.lost))
    } else {
        String::new()
    };
    format!("{} {packets}, {}{lost}", written.packets, show_bytes(written.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_daemon_ended_it_is_kept_where_nobody_reads_what_came_before() {
        let told = || Some(Over::Told(Some(Failure::default())));
        let blocks = || io::Error::from(ErrorKind::WouldBlock);
        assert!(matches!(unkept(told(), blocks()), Over::Told(Some(_))));
        assert!(matches!(unkept(None, blocks()), Over::Unwritten(_)));
        assert!(matches!(unkept(told(), ErrorKind::StorageFull.into()), Over::Unwritten(_)));
    }

    #[test]
    fn a_file_is_removed_and_never_one_that_took_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        let name = path.to_str().unwrap();
        let file = create(name).unwrap();
        fs::rename(name, dir.path().join("moved")).unwrap();
        remove(name, &file).unwrap();
        fs::write(name, "of somebody else").unwrap();
        remove(name, &file).unwrap();
        assert_eq!(fs::read_to_string(name).unwrap(), "of somebody else");
        fs::remove_file(name).unwrap();
        let file = create(name).unwrap();
        remove(name, &file).unwrap();
        assert!(!path.exists());
    }
}
