//! `[tls]`: where the files are that TLS needs. Nothing is opened here.

use std::path::{Path, PathBuf};

use super::path;
use crate::model::toml_table::{Fault, Table};

/// The files of TLS. `vmwire pki` makes them under the names that are the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The daemon's certificate, with those that lead from it to its authority.
    pub certificate: PathBuf,
    /// The key to it.
    pub key: PathBuf,
    /// Authorities that may issue certificates for clients.
    pub client_ca: PathBuf,
    /// What they revoked.
    pub crl: OptionalFile,
    /// The key of the authority, by which clients are enrolled. It may be kept elsewhere: then nobody is.
    pub ca_key: OptionalFile,
    /// Write session keys where SSLKEYLOGFILE says.
    pub key_log: bool,
}

/// A file that has to be there if it was named, and need not be under its default name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionalFile {
    /// Where.
    pub path: PathBuf,
    /// Whether it has to be there.
    pub required: bool,
}

/// What the configuration says of them.
#[derive(Debug, Default)]
pub(super) struct TlsKeys {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    crl: Option<PathBuf>,
    ca_key: Option<PathBuf>,
    key_log: Option<bool>,
}

impl TlsKeys {
    pub(super) fn of_table(table: &Table<'_>) -> Result<Self, Fault> {
        let file = |key| {
            let found = table.string(key)?;
            let checked = |text: &str| path::CERTIFICATE.check(Path::new(text)).map(|()| PathBuf::from(text));
            found.map(|found| found.narrow(checked)).transpose()
        };
        Ok(Self {
            certificate: file("tls.certificate")?,
            key: file("tls.key")?,
            client_ca: file("tls.client_ca")?,
            crl: file("tls.crl")?,
            ca_key: file("tls.ca_key")?,
            key_log: table.boolean("tls.key_log")?,
        })
    }

    /// With the defaults below `dir`.
    pub(super) fn resolve(self, dir: &Path) -> TlsFiles {
        let optional = |path: Option<PathBuf>, name| {
            let required = path.is_some();
            OptionalFile { path: path.unwrap_or_else(|| dir.join(name)), required }
        };
        TlsFiles {
            certificate: self.certificate.unwrap_or_else(|| dir.join("server.crt")),
            key: self.key.unwrap_or_else(|| dir.join("server.key")),
            client_ca: self.client_ca.unwrap_or_else(|| dir.join("ca.crt")),
            crl: optional(self.crl, "crl.pem"),
            ca_key: optional(self.ca_key, "ca.key"),
            key_log: self.key_log.unwrap_or(false),
        }
    }
}
