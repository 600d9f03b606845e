//! How a link comes to be: a socket, and HELLO.

use std::time::Instant;

use vmwire_protocol::message::{HelloAnswer, ServerData, code};

use super::link::{Arrival, Link};
use super::{Options, greeting, in_time};
use crate::ask::Asking;
use crate::error::{Error, Lost};
use crate::transport::{Dialer, Socket};

/// Where links come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// A place to connect to, any number of times.
    Dialer(Box<Dialer>),
    /// A socket that was handed over, once.
    Given(Option<Socket>),
}

impl Origin {
    /// Whether a second link can be had.
    pub(super) fn can_reopen(&self) -> bool {
        matches!(self, Self::Dialer(_))
    }

    /// Connects and says HELLO, in the time that the options give and at the latest until `until`.
    pub(super) fn open(&mut self, options: &Options, until: Option<Instant>) -> Result<(Link, HelloAnswer), Error> {
        let own = in_time(options.connect_timeout);
        let until = until.map_or(own, |until| until.min(own));
        let dialer = match self {
            Self::Given(socket) => {
                let socket = socket.take().ok_or(Error::Lost(Lost::Closed))?;
                return greet(Link::new(socket, options.keepalive), options, until);
            }
            Self::Dialer(dialer) => dialer,
        };
        let asking = Asking::new(options.ask.clone(), until);
        let socket = dialer.connect(&asking)?;
        match greet(Link::new(socket, options.keepalive), options, asking.until()) {
            // A daemon of one's own leaves when nobody needs it, and may do so just as we come in.
            Err(error) if dialer.starts_daemon() && leaves(&error) => {
                log::debug!("the daemon was just leaving: {error}");
                let socket = dialer.connect(&asking)?;
                greet(Link::new(socket, options.keepalive), options, asking.until())
            }
            greeted => greeted,
        }
    }
}

fn leaves(error: &Error) -> bool {
    matches!(error, Error::Lost(Lost::Closed)) || error.is(code::GOING_AWAY)
}

fn greet(mut link: Link, options: &Options, until: Instant) -> Result<(Link, HelloAnswer), Error> {
    let hello = link.session.call(&greeting(options), 0)?;
    let began = Instant::now();
    let allowed = options.greeting_timeout.min(options.connect_timeout);
    let mut until = until.min(in_time(allowed));
    let mut arrivals = Vec::new();
    loop {
        let turned = link.turn(Some(until), None, &mut arrivals);
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Answer { serial, result: Ok(ServerData::Hello(answer)) } if serial == hello => {
                    return Ok((link, answer));
                }
                Arrival::Answer { result: Err(failure), .. } => return Err(Error::Refused(Box::new(failure))),
                _ => {}
            }
        }
        turned?;
        if Instant::now() >= until && link.is_asking() {
            // The time of a person is not the daemon's.
            until = in_time(allowed);
        } else if Instant::now() >= until {
            return Err(link.late(began.elapsed()));
        }
    }
}
