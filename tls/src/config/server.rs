//! What a server's connections are made with.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{DEFAULT_VERSIONS, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::date::{Clock, Date};
use crate::identity::PeerIdentity;
use crate::peer::{ClientVerifier, Lists, Verdict};

use super::material::{self, MaterialError, Part};
use super::{
    ALPN, ALPN_ENROLL, Expiry, KeyPair, Protocol, certificate_expiry, key_log, list_expiry, pair_error, parsed_lists,
    provider, signatures, verifier_error,
};

/// Tickets that a client gets after each handshake: it uses one for its next.
const TICKETS: usize = 1;

/// What a server is given, in PEM form.
#[derive(Debug, Clone, Copy)]
pub struct ServerMaterial<'a> {
    /// Who we are.
    pub pair: KeyPair<'a>,
    /// Who may issue certificates for clients.
    pub authorities: &'a [u8],
    /// Which of them were revoked. An authority without a list is believed to have revoked nothing; one whose list has
    /// expired is not believed at all.
    pub revocation_lists: &'a [&'a [u8]],
}

/// What a server may do besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerOptions {
    /// Serve [`Protocol::Enroll`] too.
    pub enroll: bool,
    /// Write session keys where SSLKEYLOGFILE says: whoever reads them reads the traffic. rustls opens that file when the
    /// context is built and writes to it in each handshake; it is the only file that this crate touches.
    pub key_log: bool,
}

/// What a server's connections are made with. A clone is the same context.
#[derive(Clone)]
pub struct ServerContext(Arc<Inner>);

struct Inner {
    config: Arc<ServerConfig>,
    enroll: Option<Arc<ServerConfig>>,
    verifier: Arc<ClientVerifier>,
    clock: Clock,
    identity: PeerIdentity,
    expiries: Vec<Expiry>,
}

impl ServerContext {
    /// Reads the material, and makes keys for session tickets.
    ///
    /// # Errors
    /// What is wrong with which part of it.
    pub fn build(material: &ServerMaterial<'_>, clock: Clock, options: ServerOptions) -> Result<Self, MaterialError> {
        let chain = material::certificates(material.pair.certificates, Part::Certificate)?;
        let key = material::key(material.pair.key)?;
        let authorities = material::certificates(material.authorities, Part::Authorities)?;
        let lists = material::revocation_lists(material.revocation_lists)?;
        let parsed = parsed_lists(&lists)?;
        let identity = PeerIdentity::of(&chain[0]).map_err(MaterialError::Identity)?;
        let expiries = expiries(&chain, &authorities, &lists);

        let provider = provider();
        let remembering = signatures::remembering(&provider).into();
        let inner = WebPkiClientVerifier::builder_with_provider(material::roots(&authorities)?.into(), remembering)
            .with_crls(lists.iter().cloned())
            .allow_unknown_revocation_status()
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| verifier_error(&error))?;
        let verifier = Arc::new(ClientVerifier { inner, lists: Lists(parsed) });

        let refused = |error: rustls::Error| MaterialError::Refused(error.to_string());
        let builder = || {
            ServerConfig::builder_with_details(provider.clone(), Arc::new(clock.clone()))
                .with_protocol_versions(DEFAULT_VERSIONS)
                .map_err(refused)
        };
        let mut config = builder()?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| pair_error(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new().map_err(refused)?;
        config.send_tls13_tickets = TICKETS;

        let mut enroll = None;
        if options.enroll {
            // The invited has nothing but the fingerprint of the authority's key, so the authority is shown to it.
            let mut shown = chain;
            shown.extend(issuer_of_last(&shown, &authorities));
            let mut config =
                builder()?.with_no_client_auth().with_single_cert(shown, key).map_err(|error| pair_error(&error))?;
            config.alpn_protocols = vec![ALPN_ENROLL.to_vec()];
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            enroll = Some(config);
        }
        if options.key_log {
            log::warn!("session keys are written where SSLKEYLOGFILE says: whoever reads them reads all TLS traffic");
            config.key_log = key_log();
            if let Some(config) = &mut enroll {
                config.key_log = key_log();
            }
        }
        let (config, enroll) = (Arc::new(config), enroll.map(Arc::new));
        Ok(Self(Arc::new(Inner { config, enroll, verifier, clock, identity, expiries })))
    }

    /// Who this server is.
    pub fn identity(&self) -> &PeerIdentity {
        &self.0.identity
    }

    /// When the certificates and lists end.
    pub fn expiries(&self) -> &[Expiry] {
        &self.0.expiries
    }

    /// What a client that says this is served with, and which protocol that is.
    ///
    /// Whoever offers nothing, or nothing that we know, gets the protocol's own configuration, in which rustls serves the
    /// first and refuses the second.
    pub(crate) fn choose(&self, hello: &ClientHello<'_>) -> (Arc<ServerConfig>, Protocol) {
        let offers = |wanted: &[u8]| hello.alpn().is_some_and(|mut names| names.any(|name| name == wanted));
        match &self.0.enroll {
            Some(config) if offers(ALPN_ENROLL) && !offers(ALPN) => (config.clone(), Protocol::Enroll),
            _ => (self.0.config.clone(), Protocol::Vmwire),
        }
    }

    /// When the first list is to be replaced, of those that were not by `after`: whoever it is asked about is not let in after
    /// this second.
    pub fn next_list_end(&self, after: Date) -> Option<Date> {
        let lists = self.0.expiries.iter().filter(|expiry| expiry.part == Part::RevocationList);
        // In that second itself it is over already, unlike a certificate.
        lists.map(|list| Date(list.not_after.0.saturating_sub(1))).filter(|end| *end >= after).min()
    }

    /// Judges the chain of a client who is there already. Answers with it the work, see [`crate::stream::Judgement`].
    pub(crate) fn judge_counting(&self, chain: &[CertificateDer<'_>]) -> (Verdict, usize) {
        signatures::judge_in_a_hurry(|| self.judge(chain))
    }

    /// Judges a client's chain by what is known now.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>]) -> Verdict {
        self.0.verifier.judge(chain, self.0.clock.current_time().unwrap_or_else(rustls::pki_types::UnixTime::now))
    }
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerContext").field("identity", &self.0.identity.subject).finish_non_exhaustive()
    }
}

/// The authority that issued the last certificate of a chain, unless the chain ends with it already.
fn issuer_of_last(
    chain: &[CertificateDer<'static>],
    authorities: &[CertificateDer<'static>],
) -> Option<CertificateDer<'static>> {
    let last = chain.last()?;
    let (_, last) = X509Certificate::from_der(last).ok()?;
    if last.subject() == last.issuer() {
        return None;
    }
    let issuer = authorities.iter().find(|authority| {
        X509Certificate::from_der(authority).is_ok_and(|(_, parsed)| parsed.subject() == last.issuer())
    });
    issuer.cloned()
}

fn expiries(
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
    lists: &[rustls::pki_types::CertificateRevocationListDer<'_>],
) -> Vec<Expiry> {
    let own = chain.iter().filter_map(|certificate| certificate_expiry(Part::Certificate, certificate));
    let trusted = authorities.iter().filter_map(|certificate| certificate_expiry(Part::Authorities, certificate));
    own.chain(trusted).chain(lists.iter().filter_map(list_expiry)).collect()
}
