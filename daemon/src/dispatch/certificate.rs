//! Certificates: what the daemon proves itself with and judges clients by, and what becomes of it.

use vmwire_protocol::message::{
    CertificateInfo, EventCertificate, Failure, HostCertificatesAnswer, certificate_change, code, event_kind,
};
use vmwire_protocol::xdr::{Fixed, List, Text};

use super::client::ConnectionId;
use super::{Dispatch, Turn};
use crate::access::Role;

/// A file that the daemon proves itself with or judges clients by, as it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// `server`, `client-ca` or `crl`.
    pub purpose: &'static str,
    /// Whose it is; of a CRL its issuer.
    pub subject: String,
    /// From when it is valid, in seconds since 1970-01-01 UTC.
    pub not_before_s: u64,
    /// Until when; of a CRL when the next is due. 0 if it does not say.
    pub not_after_s: u64,
    /// The SHA-256 of the certificate; `None` for a CRL.
    pub fingerprint: Option<[u8; 32]>,
    /// Why it cannot be used; empty if it can.
    pub problem: String,
}

/// What became of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateChange {
    /// They are in force from now on.
    TakenUp,
    /// They cannot be used, and those before stay in force.
    Refused,
    /// They expire in so many days; 0 when they have.
    Expires(u32),
}

impl Dispatch {
    /// What the daemon proves itself with and judges clients by from now on.
    pub fn set_certificates(&mut self, certificates: Vec<CertificateFacts>) {
        self.certificates = certificates;
    }

    /// Tells subscribers of a change.
    pub fn certificate_changed(
        &mut self,
        turn: &Turn<'_>,
        purpose: &'static str,
        change: CertificateChange,
        message: &str,
    ) {
        let (change, days) = match change {
            CertificateChange::TakenUp => (certificate_change::TAKEN_UP, 0),
            CertificateChange::Refused => (certificate_change::REFUSED, 0),
            CertificateChange::Expires(days) => (certificate_change::EXPIRES, days),
        };
        let (purpose, message) = (Text::constant(purpose), Text::clipped(message));
        let detail = EventCertificate { purpose, change, days, message };
        self.emit(turn, event_kind::CERTIFICATE, None, None, &detail);
    }

    /// A connection's certificate would not let it in any more.
    pub fn deny(&mut self, turn: &mut Turn<'_>, id: ConnectionId, why: &str) {
        if self.clients.get(id).is_some_and(|client| !client.session.is_closed()) {
            log::info!("connection {}: closed: {why}", id.number);
            self.close(turn, id, Failure::new(code::DENIED, why));
        }
    }

    /// The certificates, with what is wrong with each. That names files, which are the host's admins' to know.
    pub(super) fn host_certificates(&self, asker: ConnectionId) -> HostCertificatesAnswer {
        let is_admin = self.grants(asker).is_some_and(|grants| grants.host() == Role::Admin);
        let problem = |text: &str| match text {
            "" => Text::default(),
            text if is_admin => Text::clipped(text),
            _ => Text::constant("the files on the disk cannot be used; the daemon's log says why"),
        };
        HostCertificatesAnswer {
            rows: List::clipped(self.certificates.iter().map(|certificate| CertificateInfo {
                purpose: Text::constant(certificate.purpose),
                subject: Text::clipped(&certificate.subject),
                not_before_s: certificate.not_before_s,
                not_after_s: certificate.not_after_s,
                fingerprint: certificate.fingerprint.map(Fixed).unwrap_or_default(),
                problem: problem(&certificate.problem),
            })),
        }
    }
}
