//! The sockets of all connections, by the identity that the core gave them, and the end of each.

use std::time::Instant;

use mio::Token;
use vmwire_tls::config::ServerContext;
use vmwire_tls::date::Date;

use super::Who;
use super::judging::{Judging, date};
use crate::connection::{Buffers, Connection, Hints, Next, Stream};
use crate::dispatch::{ConnectionId, Dispatch, Turn};
use crate::event_loop::{Now, Readiness, Timers};

/// The work of one turn for judging connections again, as [`vmwire_tls::stream::Judgement`] counts it: some milliseconds.
const JUDGED_WORK_MAX: usize = 2 * 1024 * 1024;

/// The work of judging one of them, however little its signatures took.
const JUDGED_WORK_MIN: usize = 16 * 1024;

/// Connections whose time is over that are ended in one turn.
const OVERDUE_MAX: usize = 256;

/// Before a connection is taken up its certificates were judged at most so many seconds ago.
const HANDSHAKE_SECONDS: i64 = 10;

/// Connections, and what they share.
///
/// Invariant: a connection stands at the place of its identity; `count` is how many there are.
#[derive(Debug)]
pub(super) struct Connections {
    places: Vec<Option<Watched>>,
    count: usize,
    buffers: Buffers,
    /// When a connection is dropped although its peer does nothing.
    timers: Timers<ConnectionId>,
    /// Over, and to be removed at the end of the turn. Each once.
    over: Vec<ConnectionId>,
    judging: Judging,
}

#[derive(Debug)]
struct Watched {
    id: ConnectionId,
    connection: Connection<Stream>,
    token: Token,
    /// When a certificate of its ends.
    end: Option<Date>,
    over: bool,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            count: 0,
            buffers: Buffers::new(),
            timers: Timers::new(),
            over: Vec::new(),
            judging: Judging::default(),
        }
    }

    /// Takes up a socket that the core has accepted as `id`.
    pub(super) fn insert(&mut self, now: Now, id: ConnectionId, stream: Stream, readiness: &mut Readiness<Who>) {
        let mut connection = Connection::new(stream, id);
        match readiness.watch(connection.socket_mut(), Who::Connection(id)) {
            Ok(token) => {
                let place = id.place();
                if self.places.len() <= place {
                    self.places.resize_with(place + 1, || None);
                }
                let mut watched = Watched { id, connection, token, end: None, over: false };
                watched.note_end(&mut self.judging, Date(date(now).0 - HANDSHAKE_SECONDS));
                let former = self.places[place].replace(watched);
                debug_assert!(former.is_none(), "the core gave a place away that was taken");
                self.count += 1;
                // What came with the end of a handshake lies in memory, where no event tells of it.
                readiness.mark(token);
            }
            Err(error) => {
                log::warn!("connection {}: cannot be watched: {error}", id.number);
                self.over.push(id);
            }
        }
    }

    /// The work that was done for connections since this was asked last.
    pub(super) fn take_work(&mut self) -> usize {
        self.buffers.take_work()
    }

    /// The socket may be ready. Says whether there is more to do than is done for one at a time.
    pub(super) fn handle_ready(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        id: ConnectionId,
        hints: Hints,
    ) -> Option<Token> {
        let watched = find(&mut self.places, id).filter(|watched| !watched.over)?;
        let next = watched.connection.handle_ready(core, turn, &mut self.buffers, hints);
        settle(watched, next, &mut self.timers, &mut self.over)
    }

    /// The core has something to write. Says whether there is more to do than is done for one at a time.
    pub(super) fn handle_output(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        id: ConnectionId,
    ) -> Option<Token> {
        let watched = find(&mut self.places, id).filter(|watched| !watched.over)?;
        let next = watched.connection.handle_output(core, turn, &mut self.buffers);
        settle(watched, next, &mut self.timers, &mut self.over)
    }

    /// Ends some of those whose time is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..OVERDUE_MAX {
            let Some(id) = self.timers.take_due(now) else { return };
            // It may have made progress since the timer was set.
            if let Some(watched) = find(&mut self.places, id).filter(|watched| watched.connection.is_overdue(now)) {
                settle(watched, Next::Gone, &mut self.timers, &mut self.over);
            }
        }
    }

    /// Whether a list of revoked certificates has ended that was believed so far. Says so once.
    pub(super) fn take_list_ended(&mut self, now: Now) -> bool {
        self.judging.take_list_ended(now)
    }

    /// All certificates are to be judged again.
    pub(super) fn judge_again(&mut self, now: Now, context: &ServerContext) {
        self.judging.all(self.places.len(), context.next_list_end(date(now)));
    }

    /// Judges by `context` some of those that are to be judged again, and names who would not be let in any more: all of
    /// them at once might hold up the loop.
    pub(super) fn judge_some(&mut self, now: Now, context: &ServerContext) -> Vec<(ConnectionId, String)> {
        let mut refused = Vec::new();
        let mut work = 0;
        while work < JUDGED_WORK_MAX {
            let ended = self.judging.take_ended(now).map(ConnectionId::place);
            let Some(place) = ended.or_else(|| self.judging.take_place()) else { break };
            let Some(Some(watched)) = self.places.get_mut(place) else { continue };
            let Stream::Tls(socket) = watched.connection.socket_mut() else { continue };
            let judgement = socket.judge(context);
            work += JUDGED_WORK_MIN + judgement.work;
            if let Err(why) = judgement.verdict {
                refused.push((watched.id, why.to_string()));
            }
            if ended.is_some() {
                // What ended may not be what it is let in by, and another may end later.
                watched.note_end(&mut self.judging, date(now));
            }
        }
        refused
    }

    pub(super) fn poll_timeout(&self, now: Now) -> Option<Instant> {
        [self.timers.next(), self.judging.poll_timeout(now)].into_iter().flatten().min()
    }

    /// Removes those that are over, and names them.
    pub(super) fn remove_over(&mut self, readiness: &mut Readiness<Who>) -> Vec<ConnectionId> {
        let over = std::mem::take(&mut self.over);
        for id in &over {
            self.timers.cancel(*id);
            if let Some(watched) = find(&mut self.places, *id) {
                readiness.unwatch(watched.connection.socket_mut(), watched.token);
                if let Some(end) = watched.end {
                    self.judging.forget(end, *id);
                }
                self.places[id.place()] = None;
                self.count -= 1;
            }
        }
        over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

impl Watched {
    /// Takes note of when the next certificate of its ends, not before `after`.
    fn note_end(&mut self, judging: &mut Judging, after: Date) {
        self.end = match self.connection.socket_mut() {
            Stream::Tls(socket) => socket.next_end(after),
            Stream::Unix(_) | Stream::Tcp(_) => None,
        };
        if let Some(end) = self.end {
            judging.ends(end, self.id);
        }
    }
}

fn find(places: &mut [Option<Watched>], id: ConnectionId) -> Option<&mut Watched> {
    places.get_mut(id.place())?.as_mut().filter(|watched| watched.id == id)
}

/// Takes note of what a connection wants next. Answers its token if there is more to do than is done for one at a time.
fn settle(
    watched: &mut Watched,
    next: Next,
    timers: &mut Timers<ConnectionId>,
    over: &mut Vec<ConnectionId>,
) -> Option<Token> {
    match next {
        Next::Wait | Next::Again => {
            if let Some(at) = watched.connection.poll_timeout() {
                timers.set(at, watched.id);
            }
            (next == Next::Again).then_some(watched.token)
        }
        Next::Gone => {
            if !std::mem::replace(&mut watched.over, true) {
                over.push(watched.id);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::SystemTime;

    use vmwire_tls::config::{ClientContext, ClientMaterial, HostName, KeyPair, ServerMaterial, ServerOptions};
    use vmwire_tls::date::Clock;
    use vmwire_tls::pki::{Authority, HostNames, Reason, RevocationList, Revoked};
    use vmwire_tls::stream::{ClientTls, Phase, ServerTls, Stream as _};

    use super::*;
    use crate::connection::{Scratch, TlsSocket};

    const CROWD: usize = 150;

    fn context(authority: &Authority, list: &str, now: Now) -> ServerContext {
        let host = HostNames::new(["vm1".parse::<vmwire_tls::pki::HostName>().unwrap()]).unwrap();
        let (key, server) = authority.issue_server(&host, date(now)).unwrap();
        let authorities = authority.pem();
        let material = ServerMaterial {
            pair: KeyPair { certificates: server.pem.as_bytes(), key: key.as_bytes() },
            authorities: authorities.as_bytes(),
            revocation_lists: &[list.as_bytes()],
        };
        ServerContext::build(&material, Clock::new(SystemTime::now), ServerOptions::default()).unwrap()
    }

    /// Shakes hands over the loopback.
    fn admitted(listener: &TcpListener, server: &ServerContext, client: &ClientContext) -> (TlsSocket, TcpStream) {
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut client = ClientTls::new(client, &"vm1".parse::<HostName>().unwrap()).unwrap();
        let mut server = ServerTls::new(server.clone());
        let mut buffers = [vec![0; 64 * 1024], vec![0; 64 * 1024]];
        let [scratch, plaintext] = &mut buffers;
        while server.phase() != Phase::Open {
            assert_eq!(server.refusal(), None);
            client.write(&mut theirs, &[]).unwrap();
            let received = server.read(&mut ours, scratch, plaintext);
            assert!(received.is_ok_and(|received| received.plaintext == 0));
            server.write(&mut ours, &[]).unwrap();
            client.read(&mut theirs, scratch, plaintext).unwrap();
        }
        (TlsSocket::new(mio::net::TcpStream::from_std(ours), server, Scratch::new(), Vec::new(), None), theirs)
    }

    /// How many are refused in each turn until all are judged.
    fn judge(connections: &mut Connections, now: Now, context: &ServerContext) -> Vec<usize> {
        connections.judge_again(now, context);
        let mut turns = Vec::new();
        while connections.judging.poll_timeout(now) == Some(now.monotonic) {
            turns.push(connections.judge_some(now, context).len());
        }
        turns
    }

    #[test]
    fn a_turn_judges_as_many_as_it_has_time_for() {
        let now = Now::read();
        let [authority, other] = ["CA"; 2].map(|name| Authority::create(name, date(now)).unwrap().authority);
        let list = |authority: &Authority, revoked: &[Revoked]| {
            authority.sign_revocations(&RevocationList::default(), revoked, date(now)).unwrap()
        };
        let ours = context(&authority, &list(&authority, &[]), now);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (mut connections, mut readiness) = (Connections::new(), Readiness::new().unwrap());
        let (key, issued) = authority.issue_client(&"anna".parse().unwrap(), date(now)).unwrap();
        let authorities = authority.pem();
        let material = ClientMaterial {
            authorities: authorities.as_bytes(),
            pair: Some(KeyPair { certificates: issued.pem.as_bytes(), key: key.as_bytes() }),
            revocation_lists: &[],
        };
        let client = ClientContext::build(&material, Clock::new(SystemTime::now)).unwrap();
        let mut theirs = Vec::new();
        for number in 0..CROWD {
            let (socket, end) = admitted(&listener, &ours, &client);
            let id = ConnectionId::at_test_place(number);
            connections.insert(now, id, Stream::Tls(Box::new(socket)), &mut readiness);
            theirs.push(end);
        }
        let revoked = Revoked { serial: issued.serial, since: date(now), reason: Reason::Unspecified };
        let none = judge(&mut connections, now, &ours);
        let by_list = judge(&mut connections, now, &context(&authority, &list(&authority, &[revoked]), now));
        let by_authority = judge(&mut connections, now, &context(&other, &list(&other, &[]), now));
        assert!(none.len() == by_list.len() && none.iter().all(|refused| *refused == 0), "{none:?}");
        for turns in [by_list, by_authority] {
            assert_eq!(turns.iter().sum::<usize>(), CROWD);
            assert!(turns.len() > 1 && turns.iter().all(|refused| *refused <= 128), "{turns:?}");
        }
        drop(theirs);
    }
}
