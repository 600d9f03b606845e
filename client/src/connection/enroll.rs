//! Spending a token: one packet there, one back, on a connection made for nothing else.

use std::time::{Duration, Instant};

use vmwire_protocol::message::{ClientData, EnrollAnswer, EnrollCall, ServerData, code};
use vmwire_tls::config::ClientContext;

use super::link::{Arrival, Link};
use super::{DEADLINE_GRACE, in_time};
use crate::error::{Error, Lost};
use crate::transport::connect_tls;
use crate::uri::HostPort;

/// Why there is no certificate.
#[derive(Debug)]
pub(crate) struct NotEnrolled {
    pub(crate) error: Error,
    /// The daemon may have had the token all the same.
    pub(crate) may_be_spent: bool,
}

impl NotEnrolled {
    /// Whether the daemon cannot have made a certificate of what was sent: it was never sent, or refused for what it is. What
    /// else it fails at may have been done half.
    pub(crate) fn is_unspent(&self) -> bool {
        match &self.error {
            Error::Failure(failure) => matches!(failure.code, code::DENIED | code::INVALID),
            _ => !self.may_be_spent,
        }
    }
}

/// Spends a token, within so much time.
pub(crate) fn enroll(
    host: &HostPort,
    context: &ClientContext,
    call: EnrollCall,
    time: Duration,
) -> Result<EnrollAnswer, NotEnrolled> {
    let began = Instant::now();
    let until = in_time(time);
    let unsent = |error| NotEnrolled { error, may_be_spent: false };
    let socket = connect_tls(host, context, until).map_err(unsent)?;
    let mut link = Link::new(socket, time.saturating_add(DEADLINE_GRACE));
    let serial = link.session.call(&ClientData::Enroll(call), 0).map_err(|error| unsent(error.into()))?;
    let mut arrivals = Vec::new();
    loop {
        // Before the handshake is over nothing of ours is sent.
        let handshaking = link.is_handshaking();
        let failed = |error, link: &Link| NotEnrolled { error, may_be_spent: !handshaking || !link.is_handshaking() };
        let turned = link.turn(Some(until), None, &mut arrivals);
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Answer { serial: of, result: Ok(ServerData::Enroll(answer)) } if of == serial => {
                    return Ok(answer);
                }
                Arrival::Answer { result: Err(failure), .. } => {
                    return Err(unsent(Error::Failure(Box::new(failure))));
                }
                _ => {}
            }
        }
        match turned {
            Ok(_) if Instant::now() < until => {}
            Ok(_) => {
                let lost = if handshaking { Lost::Handshake } else { Lost::Silent };
                return Err(failed(Error::Lost(lost(began.elapsed())), &link));
            }
            // A daemon that says why has not taken the token.
            Err(error @ (Error::Refused(_) | Error::Tls(_))) => return Err(unsent(error)),
            Err(error) => return Err(failed(error, &link)),
        }
    }
}
