//! The client's end of a connection.

use std::fmt;
use std::io::{self, Read, Write};

use rustls::ClientConnection;

use crate::config::{ClientContext, HostName, Protocol};
use crate::error::{Refusal, Side};
use crate::identity::PeerIdentity;
use crate::peer::identity;

use super::session::{First, Session};
use super::{Phase, Received, Sent, Stream};

/// A connection to a server.
///
/// In TLS 1.3 a server refuses a client's certificate after the client's end of the handshake: [`Phase::Open`] means that
/// the server is who it should be, not that it lets us in.
pub struct ClientTls {
    session: Session,
}

impl ClientTls {
    /// A connection to a host, whose first message is to be written.
    ///
    /// # Errors
    /// The library cannot make one.
    pub fn new(context: &ClientContext, host: &HostName) -> Result<Self, Refusal> {
        let connection = ClientConnection::new(context.config().clone(), host.server_name())
            .map_err(|error| Refusal::Broken { reason: error.to_string() })?;
        let session = Session::new(connection.into(), Side::Server, context.protocol(), First::default());
        Ok(Self { session })
    }
}

impl Stream for ClientTls {
    fn read(&mut self, socket: &mut dyn Read, scratch: &mut [u8], plaintext: &mut [u8]) -> io::Result<Received> {
        self.session.read(socket, scratch, plaintext, |connection| {
            let end = connection.peer_certificates().and_then(<[_]>::first)?;
            Some(identity(Side::Server, end))
        })
    }

    fn write(&mut self, socket: &mut dyn Write, plaintext: &[u8]) -> io::Result<Sent> {
        self.session.write(socket, plaintext)
    }

    fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    fn close(&mut self) {
        self.session.close();
    }

    fn phase(&self) -> Phase {
        self.session.phase()
    }

    fn peer(&self) -> Option<&PeerIdentity> {
        self.session.peer()
    }

    fn protocol(&self) -> Option<Protocol> {
        Some(self.session.protocol())
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.session.refusal()
    }

    fn summary(&self) -> String {
        self.session.summary()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
