//! A guest's channels: a line each, all of them drained. What comes over the agent's is told; nobody asks for that of
//! the others yet, so it is thrown away.

use std::io;
use std::time::Instant;

use mio::Token;

use super::line::{Exchanged, Line};
use super::record::{Paths, Record};
use super::socket::READ_BYTES_MAX;
use crate::driver::{AGENT_REQUEST_BYTES_MAX, Host};
use crate::model::{AGENT_CHANNEL, Definition};

/// More channels than any definition has.
const CHANNELS_MAX: usize = 64;

/// The channels of one guest.
#[derive(Debug, Default)]
pub(super) struct Channels {
    each: Vec<Channel>,
    /// Which of them is the agent's.
    agent: Option<usize>,
    /// Which of them is read first: the one behind that for which a turn was too short.
    first: usize,
    /// The turn of the loop in which they were looked at last, and how much may still be read in it.
    turn: Option<Instant>,
    budget: usize,
}

#[derive(Debug, Default)]
struct Channel {
    line: Line,
    /// There may be something to be read or room to be written to.
    ready: bool,
}

/// What came of an exchange with all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// There is more to do before the next sleep.
    pub(super) more: bool,
    /// The agent's line was lost.
    pub(super) agent_lost: bool,
}

impl Channels {
    /// Those that a definition names.
    pub(super) fn of(definition: &Definition) -> Self {
        Self::new(definition.channels.len(), agent_of(definition))
    }

    /// Those that a guest was started with. Which of them is the agent's its definition says; if that cannot be
    /// understood, or does not fit, none is.
    pub(super) fn found(record: &Record) -> Self {
        let definition = Definition::parse(&record.definition).ok();
        let definition = definition.filter(|definition| definition.channels.len() == record.channels);
        Self::new(record.channels.min(CHANNELS_MAX), definition.as_ref().and_then(agent_of))
    }

    fn new(count: usize, agent: Option<usize>) -> Self {
        let each = std::iter::repeat_with(Channel::default).take(count).collect();
        Self { each, agent, ..Self::default() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// Which of them is the agent's.
    pub(super) fn agent(&self) -> Option<usize> {
        self.agent
    }

    /// Whether the agent's line is there.
    pub(super) fn agent_is_connected(&self) -> bool {
        self.agent_line().is_some_and(Line::is_connected)
    }

    /// The tokens under which readiness for them comes.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        self.each.iter().filter_map(|channel| channel.line.token())
    }

    /// Something may have happened to one of them. Says whether the token is one of theirs.
    pub(super) fn handle_ready(&mut self, token: Token) -> bool {
        let found = self.each.iter_mut().find(|channel| channel.line.token() == Some(token));
        found.map(|channel| channel.ready = true).is_some()
    }

    /// Connects each of them.
    pub(super) fn connect(&mut self, host: &mut dyn Host, paths: &Paths) -> io::Result<()> {
        for (index, channel) in self.each.iter_mut().enumerate() {
            channel.line.connect(host, &paths.channel(index))?;
        }
        Ok(())
    }

    /// Connects those that are not connected. One to which that cannot be done is sought later.
    pub(super) fn seek(&mut self, now: Instant, host: &mut dyn Host, paths: &Paths) {
        for (index, channel) in self.each.iter_mut().enumerate() {
            if !channel.line.is_connected() {
                channel.line.seek(now, host, &paths.channel(index));
            }
        }
    }

    /// Connects those whose time has come, if there is a process to connect to.
    pub(super) fn handle_timeout(&mut self, now: Instant, host: &mut dyn Host, paths: &Paths, lives: bool) {
        for (index, channel) in self.each.iter_mut().enumerate() {
            if channel.line.is_due(now) && lives {
                channel.line.seek(now, host, &paths.channel(index));
            }
        }
    }

    /// When one of them is to be sought.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.each.iter().filter_map(|channel| channel.line.poll_timeout()).min()
    }

    /// Reads those that may have something to say, `all` of them where that is not known, and sends what waits. All of
    /// them together are read no further in a turn than a console is, so that no guest has more of the loop for having
    /// more of them: `now` says which turn it is, however many of them become ready in it.
    pub(super) fn exchange(
        &mut self,
        now: Instant,
        host: &mut dyn Host,
        all: bool,
        mut agent_said: impl FnMut(&[u8]),
    ) -> Outcome {
        let mut outcome = Outcome { more: false, agent_lost: false };
        if self.turn.replace(now) != Some(now) {
            self.budget = READ_BYTES_MAX;
        }
        let count = self.each.len();
        let (behind, before) = self.each.split_at_mut(self.first);
        let before = (self.first..).zip(before);
        for (index, channel) in before.chain((0..).zip(behind)) {
            channel.ready |= all;
            if !channel.ready {
                continue;
            }
            let of_agent = self.agent == Some(index);
            let take = |data: &[u8]| {
                if of_agent {
                    agent_said(data);
                }
            };
            let had_budget = self.budget > 0;
            let exchanged = channel.line.exchange(now, host, &mut self.budget, take);
            if had_budget && self.budget == 0 {
                self.first = (index + 1) % count;
            }
            channel.ready = exchanged == Exchanged::More;
            outcome.more |= channel.ready;
            outcome.agent_lost |= of_agent && exchanged == Exchanged::Lost;
        }
        outcome
    }

    /// Hands a request to the agent's channel, all of it or nothing; says whether it was taken.
    pub(super) fn agent_write(&mut self, now: Instant, host: &mut dyn Host, data: &[u8]) -> bool {
        let line = self.agent.and_then(|index| self.each.get_mut(index)).map(|channel| &mut channel.line);
        let free = line.filter(|line| line.unsent() == 0 && data.len() <= AGENT_REQUEST_BYTES_MAX);
        free.is_some_and(|line| line.send(now, host, data))
    }

    /// Lets go of all of them.
    pub(super) fn close(&mut self, host: &mut dyn Host) {
        for channel in &mut self.each {
            channel.line.close(host);
            channel.ready = false;
        }
    }

    fn agent_line(&self) -> Option<&Line> {
        self.agent.and_then(|index| self.each.get(index)).map(|channel| &channel.line)
    }
}

fn agent_of(definition: &Definition) -> Option<usize> {
    definition.channels.iter().position(|name| name == AGENT_CHANNEL)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;
    use std::time::Duration;

    use mio::event::Source;
    use uuid::Uuid;

    use super::*;
    use crate::driver::{FileRequest, FileTicket};
    use crate::model::VmId;

    /// Gives tokens out, and counts what is watched.
    #[derive(Default)]
    struct Tokens {
        given: usize,
        watched: usize,
    }

    impl Host for Tokens {
        fn watch(&mut self, _source: &mut dyn Source) -> io::Result<Token> {
            self.given += 1;
            self.watched += 1;
            Ok(Token(self.given))
        }

        fn unwatch(&mut self, _source: &mut dyn Source, _token: Token) {
            self.watched -= 1;
        }

        fn file(&mut self, _request: FileRequest) -> FileTicket {
            unreachable!("channels ask for no files")
        }
    }

    /// QEMU's ends of some channels, the driver's ends of which are connected.
    struct Bench {
        paths: Paths,
        _dir: tempfile::TempDir,
        host: Tokens,
        now: Instant,
        channels: Channels,
        _listeners: Vec<UnixListener>,
        ends: Vec<UnixStream>,
    }

    impl Bench {
        fn new(count: usize, agent: Option<usize>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let paths = Paths::new(dir.path(), VmId(Uuid::from_u128(7)));
            let listeners: Vec<UnixListener> =
                (0..count).map(|index| UnixListener::bind(paths.channel(index)).unwrap()).collect();
            let mut host = Tokens::default();
            let mut channels = Channels::new(count, agent);
            channels.connect(&mut host, &paths).unwrap();
            let ends = listeners.iter().map(accept).collect();
            Self { paths, _dir: dir, host, now: Instant::now(), channels, _listeners: listeners, ends }
        }

        /// The guest writes to a channel until its end is full; says how much that was.
        fn fill(&mut self, index: usize) -> usize {
            let mut written = 0;
            while let Ok(count) = self.ends[index].write(&[b'x'; 4096]) {
                written += count;
            }
            written
        }

        /// What is still to be read at QEMU's end, which the driver should have taken.
        fn becomes_ready(&mut self, index: usize) {
            let token = self.channels.each[index].line.token().unwrap();
            assert!(self.channels.handle_ready(token));
        }

        /// A turn with one exchange; what the agent said in it, and whether there is more.
        fn exchange(&mut self) -> (usize, bool) {
            self.begin_turn();
            self.exchange_again()
        }

        fn begin_turn(&mut self) {
            self.now += Duration::from_nanos(1);
        }

        /// Another exchange in the same turn.
        fn exchange_again(&mut self) -> (usize, bool) {
            let mut said = 0;
            let outcome = self.channels.exchange(self.now, &mut self.host, false, |data| said += data.len());
            assert!(!outcome.agent_lost);
            (said, outcome.more)
        }
    }

    fn accept(listener: &UnixListener) -> UnixStream {
        let (end, _) = listener.accept().unwrap();
        end.set_nonblocking(true).unwrap();
        end
    }

    #[test]
    fn all_channels_are_drained_and_what_comes_over_the_agents_is_told() {
        let mut bench = Bench::new(3, Some(1));
        for round in 0..10 {
            let written: Vec<usize> = (0..3).map(|index| bench.fill(index)).collect();
            assert!(written.iter().all(|count| *count > 0), "a channel that nobody asked for is full in round {round}");
            (0..3).for_each(|index| bench.becomes_ready(index));
            let mut told = 0;
            loop {
                let (said, more) = bench.exchange();
                told += said;
                if !more {
                    break;
                }
            }
            assert_eq!(told, written[1]);
        }
        assert_eq!(bench.channels.poll_timeout(), None, "a silent channel costs no wake-up");
    }

    #[test]
    fn a_channel_that_was_read_to_its_end_is_not_looked_at_until_it_is_ready_again() {
        let mut bench = Bench::new(2, Some(0));
        bench.fill(0);
        assert_eq!(bench.exchange(), (0, false));
        let mut said = 0;
        let outcome = bench.channels.exchange(bench.now, &mut bench.host, true, |data| said += data.len());
        assert!(said > 0 && !outcome.agent_lost, "all of them, where somebody asks for all");
    }

    #[test]
    fn a_guest_has_no_more_of_a_turn_for_having_many_channels_and_none_of_them_starves() {
        let mut bench = Bench::new(16, Some(15));
        for index in 0..16 {
            bench.fill(index);
        }
        let mut heard = [0; 16];
        for _ in 0..16 {
            bench.begin_turn();
            for index in 0..16 {
                bench.becomes_ready(index);
                bench.exchange_again();
            }
            assert!(bench.exchange_again().1, "what was not read is left for the next turn");
            let read: [usize; 16] = std::array::from_fn(|index| bench.fill(index));
            let all: usize = read.iter().sum();
            assert!((1..=READ_BYTES_MAX + (64 << 10)).contains(&all), "{all} bytes were read in a turn");
            heard.iter_mut().zip(read).for_each(|(heard, read)| *heard += read);
        }
        assert!(heard.iter().all(|heard| *heard > 0), "one of them was never read: {heard:?}");
    }

    #[test]
    fn a_request_is_taken_whole_or_not_at_all() {
        let mut bench = Bench::new(2, Some(1));
        assert!(!bench.channels.agent_write(bench.now, &mut bench.host, &vec![b'x'; AGENT_REQUEST_BYTES_MAX + 1]));
        let mut taken = 0;
        while bench.channels.each[1].line.unsent() == 0 {
            assert!(bench.channels.agent_write(bench.now, &mut bench.host, &[b'x'; AGENT_REQUEST_BYTES_MAX]));
            taken += AGENT_REQUEST_BYTES_MAX;
        }
        assert!(!bench.channels.agent_write(bench.now, &mut bench.host, b"x"), "a former one waits");
        let mut read = 0;
        let mut buffer = vec![0; 1 << 20];
        while read < taken {
            read += bench.ends[1].read(&mut buffer).unwrap();
            bench.becomes_ready(1);
            bench.exchange();
        }
        assert_eq!(read, taken);
        assert!(bench.channels.agent_write(bench.now, &mut bench.host, b"x"));
        let mut bench = Bench::new(2, None);
        assert!(!bench.channels.agent_write(bench.now, &mut bench.host, b"x"), "no agent's channel");
    }

    #[test]
    fn a_channel_that_was_lost_is_sought_again_as_long_as_its_guest_lives() {
        let mut bench = Bench::new(2, Some(0));
        bench.ends[0].write_all(b"last words").unwrap();
        bench.ends.remove(0);
        bench.becomes_ready(0);
        let mut said = Vec::new();
        let outcome = bench.channels.exchange(bench.now, &mut bench.host, false, |data| said.extend_from_slice(data));
        assert_eq!((outcome, said.as_slice()), (Outcome { more: false, agent_lost: true }, b"last words".as_slice()));
        assert!(!bench.channels.agent_is_connected());
        assert!(!bench.channels.agent_write(bench.now, &mut bench.host, b"x"));
        assert_eq!(bench.host.watched, 1);
        let at = bench.channels.poll_timeout().unwrap();
        bench.channels.handle_timeout(at - Duration::from_millis(1), &mut bench.host, &bench.paths, true);
        assert!(!bench.channels.agent_is_connected(), "not yet");
        bench.channels.handle_timeout(at, &mut bench.host, &bench.paths, true);
        assert!(bench.channels.agent_is_connected());
        assert_eq!((bench.channels.poll_timeout(), bench.host.watched), (None, 2));
        bench.channels.close(&mut bench.host);
        assert_eq!((bench.channels.poll_timeout(), bench.host.watched), (None, 0));
    }

    #[test]
    fn a_channel_that_cannot_be_connected_to_is_sought_later_and_forgotten_with_its_process() {
        let mut bench = Bench::new(1, Some(0));
        bench.channels.close(&mut bench.host);
        std::fs::remove_file(bench.paths.channel(0)).unwrap();
        bench.channels.seek(bench.now, &mut bench.host, &bench.paths);
        let at = bench.channels.poll_timeout().unwrap();
        bench.channels.handle_timeout(at, &mut bench.host, &bench.paths, true);
        let again = bench.channels.poll_timeout().unwrap();
        assert!(again > at);
        bench.channels.handle_timeout(again, &mut bench.host, &bench.paths, false);
        assert_eq!(bench.channels.poll_timeout(), None);
    }

    #[test]
    fn which_channel_is_the_agents_is_known_from_the_definition_in_the_record() {
        let record = |channels: usize, definition: &str| Record {
            uuid: Uuid::from_u128(7),
            name: "a".to_owned(),
            boot_id: "b".to_owned(),
            monitor: Path::new("/x").to_owned(),
            console: None,
            channels,
            accelerator: "tcg".to_owned(),
            process: None,
            definition: definition.to_owned(),
        };
        let text = "name = 'a'\nmemory = '16 MiB'\nchannels = ['x', 'org.qemu.guest_agent.0']";
        for (channels, definition, expected) in [
            (2, text, (2, Some(1))),
            (1, text, (1, None)),
            (2, "name = 'a'\nmemory = '16 MiB'\nchannels = ['x', 'y']", (2, None)),
            (2, "", (2, None)),
            (usize::MAX, text, (CHANNELS_MAX, None)),
        ] {
            let found = Channels::found(&record(channels, definition));
            assert_eq!((found.count(), found.agent()), expected, "{channels} {definition}");
        }
    }
}
