//! Programs that a host has started: each runs on its own until its status is asked for, whoever is connected. What it says is kept up
//! to a bound and read on beyond, so that no program hangs for being talkative.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags};

use crate::feed::Feed;

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
    child: Child,
    stdin: Feed,
    status: Option<ExitStatus>,
    /// What it said.
    pub output: Stream,
    /// What it complained of.
    pub errors: Stream,
}

/// All programs.
#[derive(Debug, Default)]
pub struct Programs {
    all: Vec<Program>,
}

impl Programs {
    /// Starts a program. `None` if too many run, or have too much to read.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(&mut self, order: Order) -> io::Result<Option<u32>> {
        if !self.make_room(order.input.as_ref().map_or(0, Vec::len)) {
            return Ok(None);
        }
        let mut command = Command::new(&order.path);
        command.args(&order.arguments).stdin(if order.input.is_some() { Stdio::piped() } else { Stdio::null() });
        // What systemd tells us is about us.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        if let Some(environment) = order.environment {
            command.env_clear().envs(environment);
        }
        let (mut output, mut errors) = (Stream::default(), Stream::default());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if matches!(order.capture, Capture::Output | Capture::Separated | Capture::Merged) {
            let (reader, writer) = pipe()?;
            if order.capture == Capture::Merged {
                command.stderr(writer.try_clone()?);
            }
            command.stdout(writer);
            output.pipe = Some(reader);
        }
        if matches!(order.capture, Capture::Errors | Capture::Separated) {
            let (reader, writer) = pipe()?;
            command.stderr(writer);
            errors.pipe = Some(reader);
        }
        let mut child = command.spawn()?;
        // The command holds the pipes' other ends until it goes.
        drop(command);
        let stdin = Feed::new(child.stdin.take(), order.input.unwrap_or_default())?;
        let id = child.id();
        // A number comes again only when its former bearer has ended; nobody can ask for that one any more.
        self.all.retain(|program| program.child.id() != id);
        self.all.push(Program { child, stdin, status: None, output, errors });
        Ok(Some(id))
    }

    /// Whether there is room for one more program that has so much to read.
    fn make_room(&mut self, input_bytes: usize) -> bool {
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

fn pipe() -> io::Result<(PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((reader, writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_kept_up_to_a_bound() {
        let mut programs = Programs::default();
        let mut start = |mebibytes: usize| {
            let order = Order {
                path: "sleep".to_owned(),
                arguments: vec!["1000".to_owned()],
                environment: None,
                input: Some(vec![0; mebibytes << 20]),
                capture: Capture::None,
            };
            let started = programs.start(order).unwrap();
            (started, programs.all.iter().map(|program| program.stdin.waiting_bytes()).sum::<usize>())
        };
        assert_eq!(start(60).1, 60 << 20);
        assert_eq!(start(60).1, 120 << 20);
        assert_eq!(start(60), (None, 120 << 20));
        assert_eq!(start(1).1, 121 << 20);
        // Nothing is kept for who is gone.
        for program in &mut programs.all {
            program.child.kill().unwrap();
            program.child.wait().unwrap();
        }
        programs.progress();
        assert!(programs.all.iter().all(|program| program.stdin.waiting_bytes() == 0));
    }
}
