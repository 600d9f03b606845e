//! Certificates for both ends: an authority that was made for the day, as `vmwire pki` makes one, its revocation list
//! included, and what rustls makes of them for the generator and for a bare server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore, ServerConfig};
use vmwire_tls::config::ALPN;
use vmwire_tls::date::Date;
use vmwire_tls::pki::{Authority, HostName, HostNames, NewAuthority, Reason, RevocationList, Revoked};

use crate::Outcome;

/// What the client's certificate calls its owner.
pub(crate) const CLIENT_NAME: &str = "bench";

/// A certificate with its chain, and its key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A directory with the files of both ends.
#[derive(Debug, Clone)]
pub(crate) struct Papers {
    dir: PathBuf,
}

impl Papers {
    /// Makes them.
    pub(crate) fn make(dir: &Path) -> Outcome<Self> {
        let now = Date::from(SystemTime::now());
        let NewAuthority { authority, key_pem } = Authority::create("vmwire-bench", now)?;
        let next_authority = Authority::create("vmwire-bench", now)?.authority;
        let host = HostNames::new(["127.0.0.1".parse::<HostName>()?])?;
        let (server_key, server) = authority.issue_server(&host, now)?;
        let (client_key, client) = authority.issue_client(&CLIENT_NAME.parse()?, now)?;
        let (other_key, other) = authority.issue_client(&CLIENT_NAME.parse()?, now)?;
        let list = authority.sign_revocations(&RevocationList::default(), &[], now)?;
        let revoked = Revoked { serial: other.serial, since: now, reason: Reason::Unspecified };
        let next = authority.sign_revocations(&RevocationList::default(), &[revoked], now)?;
        let papers = Self { dir: dir.to_owned() };
        let files = [
            ("server.crt", server.pem),
            ("server.key", server_key),
            ("client.crt", client.pem),
            ("client.key", client_key),
            ("other.crt", other.pem),
            ("other.key", other_key),
            ("ca.crt", authority.pem()),
            ("ca.key", key_pem),
            ("next.crt", next_authority.pem()),
            ("crl.pem", list),
            ("next.pem", next),
        ];
        for (name, text) in files {
            std::fs::write(papers.file(name), text)?;
            // A daemon refuses a key that others could read.
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(papers.file(name), std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(papers)
    }

    /// Those that were made in `dir`.
    pub(crate) fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// One of them.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the generator is; whether it comes back with a session from before.
    pub(crate) fn client(&self, resumes: bool) -> Outcome<Arc<ClientConfig>> {
        self.client_as("client", resumes)
    }

    /// Somebody of the same name, whom [`Self::revoke`] revokes.
    pub(crate) fn other(&self) -> Outcome<Arc<ClientConfig>> {
        self.client_as("other", false)
    }

    /// Puts a list in place that has the other one.
    pub(crate) fn revoke(&self) -> Outcome<()> {
        Ok(std::fs::rename(self.file("next.pem"), self.file("crl.pem"))?)
    }

    /// Puts another authority in place, of the same name and with another key.
    pub(crate) fn replace_authority(&self) -> Outcome<()> {
        Ok(std::fs::rename(self.file("next.crt"), self.file("ca.crt"))?)
    }

    /// So many of the same name, each with a certificate of their own.
    pub(crate) fn strangers(&self, count: usize) -> Outcome<impl Iterator<Item = Outcome<Arc<ClientConfig>>>> {
        let [certificate, key] = [self.file("ca.crt"), self.file("ca.key")].map(std::fs::read);
        let authority = Authority::from_pem(&certificate?, &key?)?;
        let (name, now) = (CLIENT_NAME.parse()?, Date::from(SystemTime::now()));
        Ok((0..count).map(move |_| {
            let (key, issued) = authority.issue_client(&name, now)?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
            self.client_of((vec![issued.der.into()], key), false)
        }))
    }

    fn client_as(&self, whose: &str, resumes: bool) -> Outcome<Arc<ClientConfig>> {
        self.client_of(self.pair(whose)?, resumes)
    }

    fn client_of(&self, (chain, key): Pair, resumes: bool) -> Outcome<Arc<ClientConfig>> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(DEFAULT_VERSIONS)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = if resumes { Resumption::in_memory_sessions(16) } else { Resumption::disabled() };
        Ok(Arc::new(config))
    }

    /// What a bare server is: it asks for certificates, knows the revocation list and gives one ticket, as the daemon.
    pub(crate) fn server(&self) -> Outcome<Arc<ServerConfig>> {
        let (chain, key) = self.pair("server")?;
        let lists =
            CertificateRevocationListDer::pem_file_iter(self.file("crl.pem"))?.collect::<Result<Vec<_>, _>>()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?.into(), provider())
            .with_crls(lists)
            .enforce_revocation_expiration()
            .build()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(DEFAULT_VERSIONS)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    fn pair(&self, whose: &str) -> Outcome<Pair> {
        let chain = CertificateDer::pem_file_iter(self.file(&format!("{whose}.crt")))?.collect::<Result<_, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_file(self.file(&format!("{whose}.key")))?))
    }

    fn roots(&self) -> Outcome<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.crt"))?)?;
        Ok(roots)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// An address of this machine at which nobody listens yet.
pub(crate) fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
