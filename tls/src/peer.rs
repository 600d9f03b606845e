//! Judging the other end's certificates: rustls's verifiers, and what they saw when they said no.
//!
//! rustls's errors tell neither whose certificate it was nor who issued it, and one configuration serves all connections.
//! So a verifier leaves what it saw on its thread, and the stream that had called rustls takes it from there at once.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, SignatureScheme,
};
use webpki::{CertRevocationList, EndEntityCert};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::date::Date;
use crate::error::{Refusal, Side};
use crate::identity::{Fingerprint, PeerIdentity, for_people};

/// What a verifier thought of the other end.
pub(crate) type Verdict = Result<PeerIdentity, Refusal>;

thread_local! {
    static SEEN: RefCell<Option<Verdict>> = const { RefCell::new(None) };
}

/// What a verifier saw on this thread since the last time this was asked.
pub(crate) fn take_seen() -> Option<Verdict> {
    SEEN.take()
}

/// Revocation lists, to say since when a certificate is revoked.
#[derive(Debug, Default)]
pub(crate) struct Lists(pub(crate) Vec<CertRevocationList<'static>>);

/// Certificates that a client may show besides its own: more than any authority needs that is organised by people. Of many
/// that could each be the next, every one has its signature looked at, again at each step: with eight of one name that is
/// 60 ms of the loop for whoever is not even known, with four no more than for a chain that is right.
pub(crate) const INTERMEDIATES_MAX: usize = 4;

/// Judges clients.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) inner: Arc<dyn ClientCertVerifier>,
    pub(crate) lists: Lists,
}

/// Judges servers by authorities that are known.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) inner: Arc<WebPkiServerVerifier>,
    pub(crate) lists: Lists,
}

/// Judges a server by the fingerprint of its authority's key, before anything else of the authority is known.
pub(crate) struct InvitingServerVerifier {
    pub(crate) authority: Fingerprint,
    pub(crate) algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Judges a chain, outside of any handshake too.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Verdict {
        let Some((end, intermediates)) = chain.split_first() else { return Err(Refusal::NoCertificate) };
        match self.verify(end, intermediates, now) {
            Ok(_) => identity(Side::Client, end),
            Err(error) => Err(explain(&error, Side::Client, end, intermediates, &self.lists, now)),
        }
    }

    fn verify(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() > INTERMEDIATES_MAX {
            let too_long = OtherError(Arc::new(webpki::Error::MaximumPathDepthExceeded));
            return Err(CertificateError::Other(too_long).into());
        }
        self.inner.verify_client_cert(end, intermediates, now)
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let result = self.verify(end, intermediates, now);
        conclude(result, Side::Client, end, intermediates, &self.lists, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = self.inner.verify_server_cert(end, intermediates, server_name, ocsp_response, now);
        conclude(result, Side::Server, end, intermediates, &self.lists, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl InvitingServerVerifier {
    fn verify(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates.iter().find(|certificate| {
            X509Certificate::from_der(certificate)
                .is_ok_and(|(_, parsed)| Fingerprint::of(parsed.public_key().raw) == self.authority)
        });
        let mut roots = RootCertStore::empty();
        if authority.is_none_or(|authority| roots.add(authority.clone()).is_err()) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let parsed = ParsedCertificate::try_from(end)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, self.algorithms.all)?;
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for InvitingServerVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let result = self.verify(end, intermediates, server_name, now);
        let unknown = matches!(result, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
        let result = conclude(result, Side::Server, end, intermediates, &Lists::default(), now);
        if unknown {
            SEEN.set(Some(Err(Refusal::AuthorityNotShown)));
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for InvitingServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvitingServerVerifier").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Lists {
    /// Since when a certificate is revoked.
    fn since(&self, certificate: &CertificateDer<'_>) -> Option<Date> {
        let parsed = EndEntityCert::try_from(certificate).ok()?;
        let own = self.0.iter().filter(|list| list.issuer() == parsed.issuer());
        own.filter_map(|list| list.find_serial(parsed.serial()).ok().flatten())
            .map(|entry| entry.revocation_date.into())
            .next()
    }
}

/// Reads who the certificate's owner is; without an identity there is no conversation.
pub(crate) fn identity(whose: Side, end: &[u8]) -> Verdict {
    PeerIdentity::of(end).map_err(|error| Refusal::Identity { whose, error })
}

/// Leaves on the thread what was seen, and refuses whose identity cannot be told.
fn conclude<T>(
    result: Result<T, Error>,
    whose: Side,
    end: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    lists: &Lists,
    now: UnixTime,
) -> Result<T, Error> {
    let (result, verdict) = match result {
        Ok(verified) => match identity(whose, end) {
            Ok(identity) => (Ok(verified), Ok(identity)),
            Err(refusal) => (Err(CertificateError::BadEncoding.into()), Err(refusal)),
        },
        Err(error) => {
            let refusal = explain(&error, whose, end, intermediates, lists, now);
            (Err(error), Err(refusal))
        }
    };
    SEEN.set(Some(verdict));
    result
}

/// What a verifier's error means, with what can be read from the chain.
fn explain(
    error: &Error,
    whose: Side,
    end: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    lists: &Lists,
    now: UnixTime,
) -> Refusal {
    let chain = || std::iter::once(end).chain(intermediates);
    let subject = subject_of(end);
    let error = match error {
        Error::InvalidCertificate(error) => error,
        Error::InvalidCertRevocationList(CertRevocationListError::BadSignature)
        | Error::InvalidCertRevocationList(CertRevocationListError::IssuerInvalidForCrl) => {
            return Refusal::ListUnusable;
        }
        other => return Refusal::BadCertificate { whose, reason: other.to_string() },
    };
    match error {
        CertificateError::UnknownIssuer => {
            let issuer = issuer_of(intermediates.last().unwrap_or(end));
            Refusal::UnknownIssuer { whose, subject, issuer }
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let not_after = Date::from(*not_after);
            let expired = chain().find(|certificate| dates_of(certificate).is_some_and(|dates| dates.1 == not_after));
            Refusal::Expired { whose, subject: expired.map_or(subject, subject_of), not_after, now: (*time).into() }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let not_before = Date::from(*not_before);
            let early = chain().find(|certificate| dates_of(certificate).is_some_and(|dates| dates.0 == not_before));
            Refusal::NotYetValid { whose, subject: early.map_or(subject, subject_of), not_before, now: (*time).into() }
        }
        CertificateError::Revoked => {
            let found = chain().find_map(|certificate| Some((certificate, lists.since(certificate)?)));
            match found {
                Some((certificate, since)) => {
                    Refusal::Revoked { whose, subject: subject_of(certificate), since: Some(since) }
                }
                None => Refusal::Revoked { whose, subject, since: None },
            }
        }
        CertificateError::ExpiredRevocationListContext { next_update, .. } => {
            Refusal::ListExpired { next_update: (*next_update).into(), now: now.into() }
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            let wanted = expected.to_str().into_owned();
            // The names are taken from the certificate once more: escaped, or not at all.
            let offered = identity(whose, end).map(|identity| identity.names).unwrap_or_default();
            Refusal::WrongName { wanted, offered: offered.iter().take(8).map(ToString::to_string).collect() }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Refusal::WrongPurpose { whose, subject }
        }
        CertificateError::BadSignature => Refusal::BadSignature { whose, subject },
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(
                webpki::Error::MaximumPathDepthExceeded
                | webpki::Error::MaximumPathBuildCallsExceeded
                | webpki::Error::MaximumSignatureChecksExceeded,
            ) => Refusal::ChainTooLong { whose },
            Some(error) => Refusal::BadCertificate { whose, reason: error.to_string() },
            None => Refusal::BadCertificate { whose, reason: other.0.to_string() },
        },
        other => Refusal::BadCertificate { whose, reason: other.to_string() },
    }
}

/// When the first of these certificates ends that has not ended before `after`.
pub(crate) fn next_end(chain: &[CertificateDer<'_>], after: Date) -> Option<Date> {
    chain.iter().filter_map(|certificate| Some(dates_of(certificate)?.1)).filter(|end| *end >= after).min()
}

fn subject_of(certificate: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => for_people(parsed.subject().as_raw()),
        Err(_) => "unreadable".to_owned(),
    }
}

fn issuer_of(certificate: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => for_people(parsed.issuer().as_raw()),
        Err(_) => "unreadable".to_owned(),
    }
}

fn dates_of(certificate: &CertificateDer<'_>) -> Option<(Date, Date)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some((Date(parsed.validity().not_before.timestamp()), Date(parsed.validity().not_after.timestamp())))
}
