//! TLS on a socket: what it is made with, kept from one link to the next so that sessions are resumed, and what a person
//! can do when it fails.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use vmwire_protocol::header::Stranger;
use vmwire_tls::config::{ClientContext, HostName};
use vmwire_tls::error::{Looks, Refusal, Side};
use vmwire_tls::identity::PeerIdentity;
use vmwire_tls::stream::{ClientTls, End, Phase, RECORD_BYTES_MAX, Stream};

use super::credentials::{Credentials, CredentialsError};
use super::socket::{Came, Ending, Unwaiting, Written};
use crate::uri::HostPort;

/// How much encrypted is read at once: what fits into the link's buffer when it has been decrypted.
const SCRATCH_BYTES: usize = 44 * 1024;

/// A connected socket with TLS on it.
pub(crate) struct TlsSocket {
    socket: OwnedFd,
    host: HostPort,
    tls: ClientTls,
    scratch: Box<[u8]>,
}

impl TlsSocket {
    /// A conversation with a host, of which nothing has been said.
    pub(crate) fn new(socket: OwnedFd, host: &HostPort, context: &ClientContext) -> Result<Self, TlsError> {
        let refused = |refusal| TlsError { host: host.clone(), refusal };
        let name: HostName = host
            .host()
            .parse()
            .map_err(|_| refused(Refusal::WrongName { wanted: host.host().to_owned(), offered: Vec::new() }))?;
        let tls = ClientTls::new(context, &name).map_err(refused)?;
        let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        Ok(Self { socket, host: host.clone(), tls, scratch })
    }

    pub(super) fn summary(&self) -> Option<String> {
        Some(self.tls.summary()).filter(|summary| !summary.is_empty())
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.tls.phase(), Phase::Hello | Phase::Handshake)
    }

    pub(super) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        let sent = self.tls.write(&mut Unwaiting(self.socket.as_fd()), bytes)?;
        // All that could be done is done: only the socket or the other end can change that.
        Ok(Written { taken: sent.taken, blocked: true })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Came> {
        debug_assert!(buffer.len() >= SCRATCH_BYTES + RECORD_BYTES_MAX, "what comes fits");
        let handshaking = self.is_handshaking();
        let came = self.tls.read(&mut Unwaiting(self.socket.as_fd()), &mut self.scratch, buffer)?;
        if handshaking && self.tls.phase() == Phase::Open {
            let peer = self.tls.peer().map(|peer: &PeerIdentity| peer.subject.as_str()).unwrap_or_default();
            log::debug!("{}: {} ({peer})", self.host, self.tls.summary());
        }
        let end = came.end.map(|end| match (end, self.tls.refusal()) {
            (End::Closed, _) => Ending::Closed,
            (End::Failed, Some(refusal)) => {
                Ending::Refused(Box::new(TlsError { host: self.host.clone(), refusal: refusal.clone() }.into()))
            }
            (End::Cut | End::Failed, _) => Ending::Cut,
        });
        if end.is_some() {
            // An alert of ours; the other end may have gone already.
            let _ = self.tls.write(&mut Unwaiting(self.socket.as_fd()), &[]);
        }
        Ok(Came { bytes: came.plaintext, alive: came.taken > 0, end })
    }

    pub(super) fn close(&mut self) {
        self.tls.close();
        // Who goes has no time to wait for room, and the other end may have gone already.
        let _ = self.tls.write(&mut Unwaiting(self.socket.as_fd()), &[]);
    }
}

impl AsFd for TlsSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSocket").field("host", &self.host).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// Certificate and key as they were last read, with what was made of them.
#[derive(Default)]
pub(super) struct Kept(Option<(Credentials, ClientContext)>);

impl Kept {
    /// What the next connection is made with. As long as the files stay the same it is the same, and so are the sessions
    /// that may be resumed; files that were replaced are taken up.
    pub(super) fn context(&mut self, directories: &[PathBuf]) -> Result<ClientContext, CredentialsError> {
        let read = Credentials::read(directories);
        match (&self.0, read) {
            (Some((kept, context)), Ok(read)) if *kept == read => Ok(context.clone()),
            (None, Err(error)) => Err(error),
            (Some((_, context)), Err(error)) => {
                // They may be in the middle of being replaced.
                log::debug!("the certificate that was read before is used: {error}");
                Ok(context.clone())
            }
            (kept, Ok(read)) => match (kept, read.context()) {
                (_, Ok(context)) => {
                    self.0 = Some((read, context.clone()));
                    Ok(context)
                }
                (Some((_, context)), Err(error)) => {
                    log::debug!("the certificate that was read before is used: {error}");
                    Ok(context.clone())
                }
                (None, Err(error)) => Err(error),
            },
        }
    }
}

impl fmt::Debug for Kept {
    /// Nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.0.as_ref().map(|(_, context)| context)).finish()
    }
}

/// Why there is no TLS with a host, or none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    /// The host.
    pub host: HostPort,
    /// What one of the two ends did not like.
    pub refusal: Refusal,
}

impl TlsError {
    /// Whether the daemon will not have us, rather than we the daemon.
    #[must_use]
    pub fn denies_us(&self) -> bool {
        matches!(&self.refusal, Refusal::Alert { from: Side::Server, alert } if alert.refuses_certificate())
    }

    /// Whether another attempt may fare better without anybody's doing.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self.refusal, Refusal::Cut { .. })
    }

    /// What the person could do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let host = &self.host;
        match &self.refusal {
            Refusal::UnknownIssuer { .. } | Refusal::BadSignature { .. } => {
                "is this the daemon that is meant? If its CA is new: enrol again with \"vmwire enroll --force\", or \
                 put the CA's certificate into ca.crt"
                    .to_owned()
            }
            Refusal::Expired { .. } => {
                "on the daemon's host: \"vmwire pki renew\"; if it is not so late, set this clock".to_owned()
            }
            Refusal::NotYetValid { .. } => "set this clock, or the one of the host that issued it".to_owned(),
            Refusal::Revoked { .. } => "do not trust this host before its admin has said why".to_owned(),
            Refusal::ListExpired { .. } | Refusal::ListUnusable => {
                "the list is crl.pem beside ca.crt; \"vmwire pki revoke\" makes it, and without the file nothing is \
                 held to be revoked"
                    .to_owned()
            }
            Refusal::WrongName { offered, .. } => match offered.iter().find(|name| !name.contains('*')) {
                Some(name) => {
                    let name = name.split_once(':').map_or(name.as_str(), |(_, name)| name);
                    format!("for example -c qemu+tls://{}/system", at(name, host.port()))
                }
                None => format!("on the daemon's host: \"vmwire pki issue --host {}\"", host.host()),
            },
            Refusal::WrongProtocol { looks: Looks::Vmwire, .. } => {
                format!("the daemon speaks plainly on this port: qemu+tcp://{host}/system; for TLS name another port")
            }
            Refusal::WrongProtocol { looks: Looks::Stranger(Stranger::Http) | Looks::HttpAnswer, .. } => {
                "a web server listens there; the daemon's usual port is 16515".to_owned()
            }
            Refusal::WrongProtocol { .. } => "the daemon's usual port for TLS is 16515".to_owned(),
            Refusal::Cut { .. } => {
                "is it the port of a vmwired? It also hangs up on who comes too often, and while it is being stopped"
                    .to_owned()
            }
            Refusal::Alert { .. } if self.denies_us() => {
                "which certificate was shown: \"vmwire pki show client.crt\"; a new one: \"vmwire client invite NAME\" \
                 on the host, \"vmwire enroll --force\" here"
                    .to_owned()
            }
            Refusal::Alert { .. } => "the daemon's log says more".to_owned(),
            Refusal::AuthorityNotShown => {
                "the token is of another daemon, or somebody is in between: do not go on before this is clear"
                    .to_owned()
            }
            Refusal::WrongPurpose { .. } | Refusal::Identity { .. } | Refusal::BadCertificate { .. } => {
                "on the daemon's host: \"vmwire pki show\" and \"vmwire pki issue\"".to_owned()
            }
            Refusal::ChainTooLong { .. } | Refusal::CertificatesTooLong { .. } => {
                "give the daemon its own certificate and those between it and its CA, and no others".to_owned()
            }
            Refusal::Incompatible { .. } => "is it a vmwired? One speaks TLS 1.3 and 1.2".to_owned(),
            Refusal::NoCertificate
            | Refusal::NoCommonProtocol { .. }
            | Refusal::HelloTooLong
            | Refusal::Broken { .. } => "is it a vmwired that listens there?".to_owned(),
        }
    }
}

/// A host that a certificate names, as a URI has it.
fn at(name: &str, port: u16) -> String {
    let shown = HostPort::new(name, port).map_or_else(|_| name.to_owned(), |host| host.to_string());
    shown.strip_suffix(&format!(":{}", crate::uri::TLS_PORT)).map(str::to_owned).unwrap_or(shown)
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.denies_us() {
            write!(f, "{} does not let this client in", self.host)
        } else {
            write!(f, "no TLS with {}", self.host)
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.refusal)
    }
}
