//! Sleeping until something can be done, and marking what: the only place where the daemon waits.
//!
//! mio tells of changes, not of states, so a mark is a hint that stays until it is taken: whoever takes it reads and
//! writes until would-block, or says [`run_again`](Readiness::run_again) and is left over: taken up again when those had
//! their turn to whom something happened. While anything is marked or left over there is no sleep. Both interests are
//! registered once, and nobody ever arms anything.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

use super::Now;
use super::tokens::Tokens;

/// Readiness that one poll can bring; what does not fit comes with the next.
const EVENTS_MAX: usize = 1024;

/// Descriptors under watch, each with who it belongs to, and the queue of those that can go on.
#[derive(Debug)]
pub struct Readiness<W> {
    poll: Poll,
    events: Events,
    watched: Tokens<Watched<W>>,
    /// Tokens whose `marked` is set, each once in one of the two queues, oldest first; some may be gone by now.
    queue: VecDeque<Token>,
    /// Those of them that had a turn and were not done.
    left_over: VecDeque<Token>,
}

#[derive(Debug)]
struct Watched<W> {
    who: W,
    marked: bool,
    readable: bool,
    read_closed: bool,
}

/// Something that can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready<W> {
    /// Which descriptor.
    pub token: Token,
    /// Whose.
    pub who: W,
    /// There is something to be read, or was when this was marked: data, the end, or an error.
    pub readable: bool,
    /// The peer has ended its side, at this time or before: after the bytes that are there comes the end.
    pub read_closed: bool,
}

impl<W: Copy> Readiness<W> {
    /// Nothing under watch.
    ///
    /// # Errors
    /// No descriptor is left for the poll itself.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            watched: Tokens::new(),
            queue: VecDeque::new(),
            left_over: VecDeque::new(),
        })
    }

    /// Watches a descriptor for reading and writing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(&mut self, source: &mut dyn Source, who: W) -> io::Result<Token> {
        let watched = Watched { who, marked: false, readable: false, read_closed: false };
        let token = self.watched.insert(watched).ok_or(io::ErrorKind::QuotaExceeded)?;
        let registered = self.poll.registry().register(source, token, Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = registered {
            self.watched.remove(token);
            return Err(error);
        }
        Ok(token)
    }

    /// Ends the watch. Nothing is marked under `token` any more.
    pub fn unwatch(&mut self, source: &mut dyn Source, token: Token) {
        if self.watched.remove(token).is_some() {
            // It can only fail for a descriptor that is closed already, which ends the watch as well.
            let _ = self.poll.registry().deregister(source);
        }
    }

    /// Marks `token` as if something had happened to it: there is something that no event will tell of.
    pub fn mark(&mut self, token: Token) {
        mark(&mut self.watched, &mut self.queue, token);
    }

    /// Marks `token` as left over: it had more to do than is done for one at a time.
    pub fn run_again(&mut self, token: Token) {
        mark(&mut self.watched, &mut self.left_over, token);
    }

    /// Sleeps until something is ready or `until` has come; not at all if something is marked or left over. Answers the
    /// time of the turn that now begins.
    ///
    /// # Errors
    /// What the kernel says; an interruption by a signal is none.
    pub fn wait(&mut self, until: Option<Instant>) -> io::Result<Now> {
        let timeout = match until {
            _ if !self.queue.is_empty() || !self.left_over.is_empty() => Some(std::time::Duration::ZERO),
            Some(until) => Some(until.saturating_duration_since(Instant::now())),
            None => None,
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let Some(watched) = self.watched.get_mut(event.token()) else { continue };
            watched.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            watched.read_closed |= event.is_read_closed() || event.is_error();
            if !watched.marked {
                watched.marked = true;
                self.queue.push_back(event.token());
            }
        }
        Ok(Now::read())
    }

    /// Takes all that something happened to, oldest first. What is marked from now on is for the next turn.
    pub fn take_ready(&mut self, into: &mut Vec<Ready<W>>) {
        let watched = &mut self.watched;
        into.extend(self.queue.drain(..).filter_map(|token| take(watched, token)));
    }

    /// Takes the one that has been left over for longest.
    pub fn take_left_over(&mut self) -> Option<Ready<W>> {
        std::iter::from_fn(|| self.left_over.pop_front()).find_map(|token| take(&mut self.watched, token))
    }

    /// How many descriptors are under watch.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether nothing is under watch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn mark<W>(all: &mut Tokens<Watched<W>>, queue: &mut VecDeque<Token>, token: Token) {
    let Some(watched) = all.get_mut(token) else { return };
    watched.readable = true;
    if !watched.marked {
        watched.marked = true;
        queue.push_back(token);
    }
}

fn take<W: Copy>(all: &mut Tokens<Watched<W>>, token: Token) -> Option<Ready<W>> {
    let watched = all.get_mut(token)?;
    watched.marked = false;
    let readable = std::mem::take(&mut watched.readable);
    Some(Ready { token, who: watched.who, readable, read_closed: watched.read_closed })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use mio::net::UnixStream;

    use super::*;

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(10))
    }

    fn taken(readiness: &mut Readiness<char>) -> Vec<Ready<char>> {
        let mut ready = Vec::new();
        readiness.take_ready(&mut ready);
        ready
    }

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn data_marks_its_reader_once_and_the_mark_is_taken_once() {
        let mut readiness = Readiness::new().unwrap();
        let (mut ours, mut theirs) = pair();
        let token = readiness.watch(&mut ours, 'a').unwrap();
        // A stream is writable from the start.
        readiness.wait(soon()).unwrap();
        assert_eq!(taken(&mut readiness), [Ready { token, who: 'a', readable: false, read_closed: false }]);

        theirs.write_all(b"x").unwrap();
        readiness.wait(soon()).unwrap();
        readiness.mark(token);
        readiness.run_again(token);
        assert_eq!(taken(&mut readiness), [Ready { token, who: 'a', readable: true, read_closed: false }]);
        assert_eq!(taken(&mut readiness), []);
    }

    #[test]
    fn what_has_more_to_do_comes_after_those_to_whom_something_happened_and_without_sleep() {
        let mut readiness = Readiness::new().unwrap();
        let (mut ours, mut theirs) = pair();
        let (mut other, _keep) = pair();
        let late = readiness.watch(&mut ours, 'l').unwrap();
        let busy = readiness.watch(&mut other, 'b').unwrap();
        readiness.wait(soon()).unwrap();
        assert_eq!(taken(&mut readiness).len(), 2);

        theirs.write_all(b"x").unwrap();
        readiness.run_again(busy);
        let before = Instant::now();
        readiness.wait(Some(before + Duration::from_secs(60))).unwrap();
        assert!(before.elapsed() < Duration::from_secs(30));
        // That it can be written to does not make it come earlier.
        let ready: Vec<Token> = taken(&mut readiness).iter().map(|ready| ready.token).collect();
        assert_eq!(ready, [late]);
        readiness.run_again(late);
        let order = [readiness.take_left_over(), readiness.take_left_over(), readiness.take_left_over()];
        assert_eq!(order.map(|ready| ready.map(|ready| ready.token)), [Some(busy), Some(late), None]);
    }

    #[test]
    fn what_no_event_tells_of_is_marked_as_if_one_had() {
        let mut readiness = Readiness::new().unwrap();
        let (mut ours, _theirs) = pair();
        let token = readiness.watch(&mut ours, 'a').unwrap();
        readiness.mark(token);
        readiness.wait(Some(Instant::now() + Duration::from_secs(60))).unwrap();
        assert_eq!(taken(&mut readiness), [Ready { token, who: 'a', readable: true, read_closed: false }]);
        assert_eq!(readiness.take_left_over(), None);
    }

    #[test]
    fn the_end_of_the_peer_is_told_and_remembered() {
        let mut readiness = Readiness::new().unwrap();
        let (mut ours, mut theirs) = pair();
        let token = readiness.watch(&mut ours, 'a').unwrap();
        theirs.write_all(b"last words").unwrap();
        drop(theirs);
        readiness.wait(soon()).unwrap();
        assert_eq!(taken(&mut readiness), [Ready { token, who: 'a', readable: true, read_closed: true }]);
        readiness.mark(token);
        assert_eq!(taken(&mut readiness), [Ready { token, who: 'a', readable: true, read_closed: true }]);
        let mut words = Vec::new();
        ours.read_to_end(&mut words).unwrap();
        assert_eq!(words, b"last words");
    }

    #[test]
    fn nothing_is_marked_for_what_is_no_longer_watched() {
        let mut readiness = Readiness::new().unwrap();
        let (mut ours, mut theirs) = pair();
        let token = readiness.watch(&mut ours, 'a').unwrap();
        theirs.write_all(b"x").unwrap();
        readiness.wait(soon()).unwrap();
        readiness.unwatch(&mut ours, token);
        assert_eq!(taken(&mut readiness), []);
        readiness.mark(token);
        readiness.run_again(token);
        assert_eq!(taken(&mut readiness), []);
        assert_eq!(readiness.take_left_over(), None);
        assert!(readiness.is_empty());
    }

    #[test]
    fn a_deadline_ends_the_sleep() {
        let mut readiness = Readiness::<char>::new().unwrap();
        let until = Instant::now() + Duration::from_millis(20);
        let now = readiness.wait(Some(until)).unwrap();
        assert!(now.monotonic >= until);
    }
}
