//! What a client's connections are made with.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, DEFAULT_VERSIONS};

use crate::date::Clock;
use crate::identity::{Fingerprint, PeerIdentity};
use crate::peer::{InvitingServerVerifier, Lists, ServerVerifier};

use super::material::{self, MaterialError, Part};
use super::{
    ALPN, ALPN_ENROLL, Expiry, KeyPair, Protocol, certificate_expiry, key_log, pair_error, parsed_lists, provider,
    verifier_error,
};

/// Servers whose sessions are kept to be resumed.
const SERVERS_MAX: usize = 64;

/// What a client is given, in PEM form.
#[derive(Debug, Clone, Copy)]
pub struct ClientMaterial<'a> {
    /// Who may issue certificates for servers.
    pub authorities: &'a [u8],
    /// Who we are. Without it a server hangs up, unless it knows nobody.
    pub pair: Option<KeyPair<'a>>,
    /// Which servers' certificates were revoked.
    pub revocation_lists: &'a [&'a [u8]],
}

/// What a client's connections are made with. A clone is the same context, and resumes its sessions.
#[derive(Clone)]
pub struct ClientContext(Arc<Inner>);

struct Inner {
    config: Arc<ClientConfig>,
    protocol: Protocol,
    identity: Option<PeerIdentity>,
    expiries: Vec<Expiry>,
}

/// The host that a certificate is to be for: a DNS name, or an address without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(ServerName<'static>);

/// A text that is neither a DNS name nor an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHostName;

impl ClientContext {
    /// Reads the material.
    ///
    /// # Errors
    /// What is wrong with which part of it.
    pub fn build(material: &ClientMaterial<'_>, clock: Clock) -> Result<Self, MaterialError> {
        let authorities = material::certificates(material.authorities, Part::Authorities)?;
        let lists = material::revocation_lists(material.revocation_lists)?;
        let parsed = parsed_lists(&lists)?;
        let roots = material::roots(&authorities)?.into();
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .with_crls(lists.iter().cloned())
            .allow_unknown_revocation_status()
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| verifier_error(&error))?;
        let verifier = Arc::new(ServerVerifier { inner, lists: Lists(parsed) });
        Self::with_verifier(verifier, Protocol::Vmwire, material.pair, clock)
    }

    /// For who has an invitation: the fingerprint of the key of the server's authority, and no certificate.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn enroll(authority: Fingerprint, clock: Clock) -> Result<Self, MaterialError> {
        let algorithms = provider().signature_verification_algorithms;
        let verifier = Arc::new(InvitingServerVerifier { authority, algorithms });
        Self::with_verifier(verifier, Protocol::Enroll, None, clock)
    }

    fn with_verifier(
        verifier: Arc<dyn ServerCertVerifier>,
        protocol: Protocol,
        pair: Option<KeyPair<'_>>,
        clock: Clock,
    ) -> Result<Self, MaterialError> {
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(clock))
            .with_protocol_versions(DEFAULT_VERSIONS)
            .map_err(|error| MaterialError::Refused(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let (mut identity, mut expiries) = (None, Vec::new());
        let mut config = match pair {
            Some(pair) => {
                let chain = material::certificates(pair.certificates, Part::Certificate)?;
                let key = material::key(pair.key)?;
                identity = Some(PeerIdentity::of(&chain[0]).map_err(MaterialError::Identity)?);
                expiries.extend(chain.iter().filter_map(|one| certificate_expiry(Part::Certificate, one)));
                builder.with_client_auth_cert(chain, key).map_err(|error| pair_error(&error))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![match protocol {
            Protocol::Vmwire => ALPN.to_vec(),
            Protocol::Enroll => ALPN_ENROLL.to_vec(),
        }];
        config.resumption = match protocol {
            Protocol::Vmwire => Resumption::in_memory_sessions(SERVERS_MAX),
            Protocol::Enroll => Resumption::disabled(),
        };
        config.key_log = key_log();
        Ok(Self(Arc::new(Inner { config: Arc::new(config), protocol, identity, expiries })))
    }

    /// Who we are to servers.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.0.identity.as_ref()
    }

    /// When our own certificates end.
    pub fn expiries(&self) -> &[Expiry] {
        &self.0.expiries
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.0.config
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.0.protocol
    }
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.0.identity.as_ref().map(|identity| &identity.subject);
        f.debug_struct("ClientContext").field("identity", &subject).finish_non_exhaustive()
    }
}

impl HostName {
    pub(crate) fn server_name(&self) -> ServerName<'static> {
        self.0.clone()
    }
}

impl From<IpAddr> for HostName {
    fn from(address: IpAddr) -> Self {
        Self(ServerName::IpAddress(address.into()))
    }
}

impl FromStr for HostName {
    type Err = NoHostName;

    fn from_str(text: &str) -> Result<Self, NoHostName> {
        ServerName::try_from(text.to_owned()).map(Self).map_err(|_| NoHostName)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

impl fmt::Display for NoHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a DNS name nor an address: a certificate cannot be for it")
    }
}

impl std::error::Error for NoHostName {}
