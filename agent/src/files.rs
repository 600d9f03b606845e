//! Files that a host has opened. A handle is a number that is never given twice and belongs to nobody: whoever is connected may use
//! it until it is closed.
//!
//! The files themselves are held by a child of ours, [`file_helper`](crate::file_helper), which is there while there is a handle: a
//! file system may hang for as long as it likes, and only the child with it.
//!
//! ```text
//!   None ──first open──▶ Holding ──last close──▶ None
//!                           └──an order takes too long, or the child is gone──▶ None, and no handle is left
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::error::CommandError;
use crate::file_helper::{ANSWER_HEAD_BYTES, Answer, Order, WORD};
use crate::filesystem_helper::PROGRAM;
use crate::leaving::{Leaving, Purpose};
use crate::process::Process;

/// How many files may be open.
pub const FILES_MAX: usize = 512;
/// The most that is read at once.
pub const READ_BYTES_MAX: u64 = 48 << 20;

/// Why an order was not done.
#[derive(Debug)]
pub enum Failure {
    /// The system says why.
    System(io::Error),
    /// It took too long. Whoever held the files is gone, and with it they.
    TooLong,
    /// Who held the files is gone by itself.
    Gone,
}

impl Failure {
    /// What to answer, if `what` could not be done.
    pub fn told(self, what: impl std::fmt::Display) -> CommandError {
        match self {
            Failure::System(error) => CommandError::system(what, error),
            Failure::TooLong => {
                CommandError::generic(format!("{what}: took too long; all handles are closed, open the files again"))
            }
            Failure::Gone => CommandError::generic(format!(
                "{what}: the process that held the files is gone; all handles are closed, open the files again"
            )),
        }
    }
}

/// All files.
#[derive(Debug, Default)]
pub struct Files {
    /// What our child calls the file of a handle.
    handles: BTreeMap<i64, u64>,
    holder: Option<Holder>,
}

/// Who holds the files, and the order that it was given.
#[derive(Debug)]
struct Holder {
    child: Child,
    socket: UnixStream,
    order: Vec<u8>,
    given: usize,
    answer: Vec<u8>,
    deadline: Instant,
}

impl Files {
    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.handles.len() < FILES_MAX
    }

    /// Keeps a file under a new handle.
    pub fn insert(&mut self, handle: i64, file: u64) {
        self.handles.insert(handle, file);
    }

    /// The file of a handle.
    pub fn get(&self, handle: i64) -> Option<u64> {
        self.handles.get(&handle).copied()
    }

    /// The same, no longer kept.
    pub fn take(&mut self, handle: i64) -> Option<u64> {
        self.handles.remove(&handle)
    }

    /// Begins to have something done, within a span.
    ///
    /// # Errors
    /// There is nobody to do it, and cannot be.
    pub fn begin(&mut self, order: Order, now: Instant, span: Duration) -> Result<(), Failure> {
        let mut holder = match self.holder.take() {
            Some(holder) => holder,
            None => Holder::start(now).map_err(Failure::System)?,
        };
        holder.order = order.into_bytes();
        holder.given = 0;
        holder.answer = Vec::new();
        holder.deadline = now + span;
        self.holder = Some(holder);
        Ok(())
    }

    /// Moves what can be moved. Returns what came of the order, once something did.
    pub fn progress(&mut self, now: Instant, leaving: &mut Leaving) -> Option<Result<Answer, Failure>> {
        let Some(holder) = &mut self.holder else { return Some(Err(Failure::Gone)) };
        let result = match holder.exchange() {
            Ok(Some(result)) => return Some(result.map_err(Failure::System)),
            Ok(None) if now < holder.deadline => return None,
            Ok(None) => Failure::TooLong,
            Err(_) => Failure::Gone,
        };
        self.abandon(leaving);
        Some(Err(result))
    }

    /// Nobody holds what nobody asks for.
    pub fn tidy(&mut self, is_busy: bool, leaving: &mut Leaving) {
        if self.handles.is_empty()
            && !is_busy
            && let Some(holder) = self.holder.take()
        {
            // It leaves when it sees that nobody gives it orders.
            leaving.add(Process::from(&holder.child), Purpose::Other);
        }
    }

    /// Ends who holds the files, and so closes them all. What hangs in the kernel is left behind until it does not any more.
    pub fn abandon(&mut self, leaving: &mut Leaving) {
        self.handles.clear();
        if let Some(holder) = self.holder.take() {
            leaving.kill_group(Process::from(&holder.child), Purpose::Other);
        }
    }

    /// What is being done has to be done by then.
    pub fn hasten(&mut self, until: Instant) {
        if let Some(holder) = &mut self.holder {
            holder.deadline = holder.deadline.min(until);
        }
    }

    /// What has to be waited for while something is done.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Some(holder) = &self.holder {
            let wanted = if holder.order.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            fds.push(PollFd::from_borrowed_fd(holder.socket(), wanted));
        }
    }

    /// Until when it has to be done.
    pub fn deadline(&self) -> Option<Instant> {
        self.holder.as_ref().map(|holder| holder.deadline)
    }
}

impl Holder {
    fn start(now: Instant) -> io::Result<Holder> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let child = Command::new(PROGRAM)
            .arg(WORD)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Holder { child, socket, order: Vec::new(), given: 0, answer: Vec::new(), deadline: now })
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Gives what is taken and takes what is given; an error if nobody is there.
    fn exchange(&mut self) -> io::Result<Option<io::Result<Answer>>> {
        while self.given < self.order.len() {
            match self.socket.write(&self.order[self.given..]) {
                Ok(count) => self.given += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.order = Vec::new();
        self.given = 0;
        loop {
            let (missing, parsed) = match self.answer.first_chunk() {
                None => (ANSWER_HEAD_BYTES - self.answer.len(), None),
                Some(head) => {
                    let (result, length) = Answer::read_head(head);
                    let length = usize::try_from(length.min(READ_BYTES_MAX)).map_err(io::Error::other)?;
                    (ANSWER_HEAD_BYTES + length - self.answer.len(), Some(result))
                }
            };
            if let (0, Some(result)) = (missing, parsed) {
                let mut data = std::mem::take(&mut self.answer);
                data.drain(..ANSWER_HEAD_BYTES);
                return Ok(Some(result.map(|answer| Answer { data, ..answer })));
            }
            self.answer.reserve_exact(missing);
            let wanted = u64::try_from(missing).map_err(io::Error::other)?;
            match (&self.socket).take(wanted).read_to_end(&mut self.answer) {
                Ok(count) if count == missing => {}
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
