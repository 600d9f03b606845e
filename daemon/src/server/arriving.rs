//! Those who arrive: the listeners, and handshakes until somebody is known.

use std::time::{Duration, Instant};

use mio::Token;
use vmwire_protocol::limits::FIRST_PACKET_TIME;

use super::handshakes::{Admitted, Arrived};
use super::{Server, ServerError, Who, with_turn};
use crate::access::{Base, Identity};
use crate::config::Listen;
use crate::connection::Stream;
use crate::dispatch::{Arrival, Refusal};
use crate::event_loop::{Now, Readiness};
use crate::listener::{Accepted, Credentials, Listener, Origin, Peer};

/// When a listener is looked at again for which there was no descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Peers accepted in one turn from one listener.
const ACCEPTS_MAX: usize = 64;

/// A place where peers arrive.
pub(super) struct Listening {
    pub(super) listener: Listener,
    pub(super) token: Token,
    /// Whoever comes here has to show a certificate first.
    tls: bool,
    /// What whoever comes here has without a rule.
    base: Base,
    /// When it is looked at again although nothing happened.
    pub(super) retry: Option<Instant>,
}

/// Every place of a configuration.
pub(super) struct Listeners {
    pub(super) listeners: Vec<Listening>,
    /// How they are named to people, in the same order.
    pub(super) shown: Vec<String>,
    /// The port of the first one over TLS, known now even if any port would do.
    pub(super) tls_port: Option<u16>,
}

impl Listeners {
    /// Listens at each place.
    ///
    /// # Errors
    /// One of them cannot be had.
    pub(super) fn bind(places: &[Listen], readiness: &mut Readiness<Who>) -> Result<Self, ServerError> {
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        let mut port = None;
        for listen in places {
            let bound = match listen {
                Listen::Unix(unix) => Listener::bind_for(&unix.path, unix.mode, unix.gid),
                Listen::Tls(address) | Listen::Tcp(address) => Listener::bind_tcp(*address),
            };
            let mut listener = bound.map_err(ServerError::Bind)?;
            let who = Who::Listener(listeners.len());
            let token = readiness
                .watch(listener.source(), who)
                .map_err(|error| ServerError::System { what: "watching a listener", error })?;
            let shown = match (listen, listener.local_address()) {
                (Listen::Tcp(_), Some(address)) => Listen::Tcp(address).to_string(),
                (Listen::Tls(_), Some(address)) => {
                    port.get_or_insert(address.port());
                    Listen::Tls(address).to_string()
                }
                _ => listen.to_string(),
            };
            match listen {
                Listen::Tcp(_) => log::warn!("listening at {shown}: anybody who can reach it may look, unencrypted"),
                Listen::Tls(_) | Listen::Unix(_) => log::info!("listening at {shown}"),
            }
            sockets.push(shown);
            let (tls, base) = (matches!(listen, Listen::Tls(_)), listen.base());
            listeners.push(Listening { listener, token, tls, base, retry: None });
        }
        Ok(Self { listeners, shown: sockets, tls_port: port })
    }
}

impl Server {
    /// Lets in whoever waits at a listener, so many at once.
    pub(super) fn accept(&mut self, now: Now, index: usize) {
        let Some(listening) = self.listeners.get_mut(index) else { return };
        listening.retry = None;
        for _ in 0..ACCEPTS_MAX {
            match listening.listener.accept() {
                Accepted::Peer(peer) => {
                    let Peer { stream, origin, last_descriptor } = peer;
                    let (stream, origin) = match (stream, origin, &mut self.tls) {
                        (Stream::Tcp(socket), Origin::Network(address), Some(tls)) if listening.tls => {
                            // Whoever took the last descriptor could not be told so before the handshake.
                            if !last_descriptor {
                                tls.begin(now, socket, address, &mut self.readiness);
                            }
                            continue;
                        }
                        (stream, origin, _) => (stream, origin),
                    };
                    let arrival = arrival(now, origin, listening.base, last_descriptor);
                    let id =
                        with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.accept(turn, arrival));
                    self.connections.insert(now, id, stream, &mut self.readiness);
                }
                Accepted::Nobody => return,
                Accepted::NoDescriptor => {
                    listening.retry = Some(now.monotonic + ACCEPT_RETRY);
                    return;
                }
            }
        }
        self.readiness.run_again(listening.token);
    }

    /// Some handshakes go on.
    pub(super) fn shake_hands(&mut self, now: Now) {
        for number in self.tls.as_mut().map(|tls| tls.handshakes.take_turn()).unwrap_or_default() {
            self.go_on_with_handshake(now, number);
        }
    }

    /// A handshake can go on; whoever is known at its end is shown to the core.
    fn go_on_with_handshake(&mut self, now: Now, number: u64) {
        let Some(tls) = &mut self.tls else { return };
        let admitted = match tls.handshakes.go_on(now, number, &mut self.readiness) {
            None => return,
            Some(Arrived::Admitted(admitted)) => admitted,
            Some(Arrived::Enrolling { number, address, call }) => {
                let id = with_turn(&mut self.readiness, &mut self.files, now, |turn| {
                    self.core.enroll(turn, address.ip(), &call)
                });
                return tls.handshakes.enrolling(now, number, id);
            }
        };
        let Admitted { socket, address, generation, certificate, until } = *admitted;
        // Somebody's handshake may have begun before a change, and ended after it.
        let judged = if generation == tls.generation { Ok(()) } else { socket.judge(&tls.context).verdict };
        let refusal = judged.err().map(|why| Refusal::Denied(why.to_string()));
        let identity = Identity::Tls { address, certificate };
        let arrival = Arrival { identity, base: Base::Registry, refusal, first_packet_by: Some(until) };
        let id = with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.accept(turn, arrival));
        self.connections.insert(now, id, Stream::Tls(Box::new(socket)), &mut self.readiness);
    }

    /// Tells those who enrol what came of it.
    pub(super) fn answer_enrolments(&mut self, now: Now) {
        while let Some((id, result)) = self.core.poll_enrolled() {
            if let Some(tls) = &mut self.tls {
                tls.handshakes.answer(now, id, result, &mut self.readiness);
            }
        }
    }
}

/// Who somebody is, as far as the way shows it.
fn arrival(now: Now, origin: Origin, base: Base, last_descriptor: bool) -> Arrival {
    let (identity, first_packet_by) = match origin {
        Origin::Unix(Credentials { uid, gid, .. }) => (Identity::unix(uid, gid), None),
        Origin::Network(address) => (Identity::Tcp { address }, Some(now.monotonic + FIRST_PACKET_TIME)),
    };
    Arrival { identity, base, refusal: last_descriptor.then_some(Refusal::NoDescriptor), first_packet_by }
}
