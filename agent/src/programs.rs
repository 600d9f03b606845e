//! Programs that a host has started: each runs on its own until its status is asked for, whoever is connected. What it says is kept up
//! to a bound and read on beyond, so that no program hangs for being talkative.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use crate::feed::Feed;
use crate::leaving::{Leaving, Purpose};
use crate::process::Process;
use crate::starter::{self, Start};

/// What is kept of each stream of a program.
const STREAM_BYTES_MAX: usize = 16 << 20;
/// What is kept of all.
const ALL_BYTES_MAX: usize = 128 << 20;
/// What is kept of what all have to read yet.
const INPUT_BYTES_MAX: usize = 128 << 20;
/// How many there may be whose status was not asked for yet. Of those that are over the first is forgotten then, for not everybody
/// who starts a program asks what became of it.
const PROGRAMS_MAX: usize = 128;

/// Which of a program's streams are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// Neither.
    None,
    /// What it says.
    Output,
    /// What it complains of.
    Errors,
    /// Both, apart.
    Separated,
    /// Both, as one.
    Merged,
}

/// What is to be started.
#[derive(Debug)]
pub struct Order {
    /// Its path, or its name.
    pub path: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, if not ours.
    pub environment: Option<Vec<(String, String)>>,
    /// What it reads.
    pub input: Option<Vec<u8>>,
    /// What is kept.
    pub capture: Capture,
}

/// A stream of a program.
#[derive(Debug, Default)]
pub struct Stream {
    pipe: Option<PipeReader>,
    /// What is kept of it.
    pub kept: Vec<u8>,
    /// Whether there was more.
    pub truncated: bool,
}

/// A program.
#[derive(Debug)]
pub struct Program {
    child: Process,
    stdin: Feed,
    status: Option<ExitStatus>,
    /// What it said.
    pub output: Stream,
    /// What it complained of.
    pub errors: Stream,
}

/// A program that has not begun yet.
#[derive(Debug)]
struct Starting {
    program: Program,
    start: Start,
    until: Instant,
}

/// All programs.
#[derive(Debug, Default)]
pub struct Programs {
    all: Vec<Program>,
    starting: Option<Starting>,
}

impl Programs {
    /// Begins to start a program.
    ///
    /// # Errors
    /// What the system says, of us.
    pub fn begin(&mut self, order: Order, until: Instant) -> io::Result<()> {
        let mut command = Command::new(&order.path);
        command.args(&order.arguments);
        // What systemd tells us is about us.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        if let Some(environment) = order.environment {
            command.env_clear().envs(environment);
        }
        let nothing = starter::nothing()?;
        let stream = |wanted: &[Capture]| -> io::Result<(Stream, Option<PipeWriter>)> {
            if !wanted.contains(&order.capture) {
                return Ok((Stream::default(), None));
            }
            let (reader, writer) = io::pipe()?;
            rustix::io::ioctl_fionbio(&reader, true)?;
            Ok((Stream { pipe: Some(reader), ..Stream::default() }, Some(writer)))
        };
        let (output, to_output) = stream(&[Capture::Output, Capture::Separated, Capture::Merged])?;
        let (errors, to_errors) = stream(&[Capture::Errors, Capture::Separated])?;
        let stdout = to_output.as_ref().map_or(nothing.as_fd(), AsFd::as_fd);
        let stderr = match order.capture {
            Capture::Merged => stdout,
            _ => to_errors.as_ref().map_or(nothing.as_fd(), AsFd::as_fd),
        };
        let (feed, stdin) = Feed::new(order.input)?;
        let (child, start) = Start::begin(command, [stdin.as_fd(), stdout, stderr])?;
        let program = Program { child, stdin: feed, status: None, output, errors };
        self.starting = Some(Starting { program, start, until });
        Ok(())
    }

    /// The number of the program that was to be started, once it began; or why it did not.
    pub fn begun(&mut self, now: Instant, leaving: &mut Leaving) -> Option<io::Result<i32>> {
        let mut starting = self.starting.take()?;
        match starting.start.has_begun() {
            Ok(true) => {
                let id = starting.program.child.id();
                // A number comes again only when its former bearer has ended; nobody can ask for that one any more.
                self.all.retain(|program| program.child.id() != id);
                self.all.push(starting.program);
                Some(Ok(id))
            }
            Ok(false) if now < starting.until => {
                self.starting = Some(starting);
                None
            }
            Ok(false) => {
                leaving.kill(starting.program.child, Purpose::Other);
                Some(Err(io::Error::new(io::ErrorKind::TimedOut, "it could not be looked up in time")))
            }
            Err(error) => {
                leaving.kill(starting.program.child, Purpose::Other);
                Some(Err(error))
            }
        }
    }

    /// What is being started has to begin by then.
    pub fn hasten(&mut self, until: Instant) {
        if let Some(starting) = &mut self.starting {
            starting.until = starting.until.min(until);
        }
    }

    /// Until when what is being started has to begin.
    pub fn deadline(&self) -> Option<Instant> {
        self.starting.as_ref().map(|starting| starting.until)
    }

    /// Whether there is room for one more program that has so much to read.
    pub fn make_room(&mut self, input_bytes: usize) -> bool {
        self.progress();
        if self.all.len() >= PROGRAMS_MAX
            && let Some(place) = self.all.iter().position(Program::is_over)
        {
            self.all.remove(place);
        }
        let waiting: usize = self.all.iter().map(|program| program.stdin.waiting_bytes()).sum();
        self.all.len() < PROGRAMS_MAX && waiting + input_bytes <= INPUT_BYTES_MAX
    }

    /// Moves what can be moved.
    pub fn progress(&mut self) {
        let mut held: usize =
            self.all.iter().map(|program| program.output.kept.len() + program.errors.kept.len()).sum();
        for program in &mut self.all {
            program.stdin.progress();
            program.output.drain(&mut held);
            program.errors.drain(&mut held);
            if program.status.is_none() {
                program.status = program.child.try_wait().ok().flatten();
            }
        }
    }

    /// What has to be waited for.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let starting = self.starting.as_ref().and_then(|starting| starting.start.waits_for());
        fds.extend(starting.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)));
        for program in &self.all {
            fds.extend(program.stdin.waits_for().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::OUT)));
            let pipes = program.output.pipe.iter().chain(&program.errors.pipe);
            fds.extend(pipes.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        }
    }

    /// Whether a program is over. `None` if there is none of that number.
    pub fn is_over(&self, id: i64) -> Option<bool> {
        self.all.iter().find(|program| i64::from(program.child.id()) == id).map(Program::is_over)
    }

    /// Gives away what is known of a program.
    pub fn take(&mut self, id: i64) -> Option<Program> {
        let place = self.all.iter().position(|program| i64::from(program.child.id()) == id)?;
        Some(self.all.remove(place))
    }
}

impl Program {
    /// Whether it ended, and so did all who write for it.
    fn is_over(&self) -> bool {
        self.status.is_some() && self.output.pipe.is_none() && self.errors.pipe.is_none()
    }

    /// How it ended by itself.
    pub fn exit_code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// What ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }
}

impl Stream {
    /// Reads what there is, at most so much at a time that others have their turn.
    fn drain(&mut self, held: &mut usize) {
        let mut buffer = [0; 16 << 10];
        for _ in 0..64 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    let room = (STREAM_BYTES_MAX - self.kept.len()).min(ALL_BYTES_MAX.saturating_sub(*held));
                    let kept = count.min(room);
                    self.kept.extend_from_slice(&buffer[..kept]);
                    *held += kept;
                    self.truncated |= kept < count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => self.pipe = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_kept_up_to_a_bound() {
        let mut programs = Programs::default();
        let mut start = |mebibytes: usize| {
            let has_room = programs.make_room(mebibytes << 20);
            if has_room {
                let (stdin, reader) = Feed::new(Some(vec![0; mebibytes << 20])).unwrap();
                let child = Process::from(&Command::new("sleep").arg("1000").stdin(reader).spawn().unwrap());
                let (output, errors) = (Stream::default(), Stream::default());
                programs.all.push(Program { child, stdin, status: None, output, errors });
            }
            (has_room, programs.all.iter().map(|program| program.stdin.waiting_bytes()).sum::<usize>())
        };
        assert_eq!(start(60), (true, 60 << 20));
        assert_eq!(start(60), (true, 120 << 20));
        assert_eq!(start(60), (false, 120 << 20));
        assert_eq!(start(1), (true, 121 << 20));
        // Nothing is kept for who is gone.
        for program in &mut programs.all {
            program.child.kill();
            while program.child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
        }
        programs.progress();
        assert!(programs.all.iter().all(|program| program.stdin.waiting_bytes() == 0));
    }
}
