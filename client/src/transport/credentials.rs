//! The files that a client shows and trusts: read whole, checked, and told apart when one of them is wrong.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::OFlags;
use vmwire_tls::config::{ClientContext, ClientMaterial, KeyPair, MaterialError, Part, key_mode_verdict};
use vmwire_tls::date::Clock;

/// Certificates of the authorities that issue for daemons.
pub(crate) const AUTHORITIES: &str = "ca.crt";

/// The client's own certificate.
pub(crate) const CERTIFICATE: &str = "client.crt";

/// The key to it.
pub(crate) const KEY: &str = "client.key";

/// Which certificates of daemons were revoked. Need not be there.
pub(crate) const REVOCATIONS: &str = "crl.pem";

/// No file with a certificate or a key is longer; a list of revoked ones may be.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const REVOCATIONS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Other hosts that are named in a hint.
const HOSTS_MAX: usize = 3;

/// What the files of a directory hold. The key is in it, so there is no `Debug`.
#[derive(PartialEq, Eq)]
pub(super) struct Credentials {
    directory: PathBuf,
    authorities: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
    revocations: Option<Vec<u8>>,
}

impl Credentials {
    /// Reads the files of the first of these directories that is there.
    pub(super) fn read(directories: &[PathBuf]) -> Result<Self, CredentialsError> {
        let found = directories.iter().find(|directory| directory.is_dir());
        let Some(directory) = found.or(directories.last()) else {
            return Err(CredentialsError::Missing { path: PathBuf::new(), part: Part::Certificate, hosts: Vec::new() });
        };
        let needed = |name: &str, part: Part| {
            let path = directory.join(name);
            let missing = |path| CredentialsError::Missing { path, part, hosts: hosts(directory) };
            read_file(&path, part)?.ok_or_else(|| missing(path))
        };
        Ok(Self {
            authorities: needed(AUTHORITIES, Part::Authorities)?,
            certificate: needed(CERTIFICATE, Part::Certificate)?,
            key: needed(KEY, Part::Key)?,
            revocations: read_file(&directory.join(REVOCATIONS), Part::RevocationList)?,
            directory: directory.clone(),
        })
    }

    /// What connections are made with.
    pub(super) fn context(&self) -> Result<ClientContext, CredentialsError> {
        let lists: Vec<&[u8]> = self.revocations.iter().map(Vec::as_slice).collect();
        let material = ClientMaterial {
            authorities: &self.authorities,
            pair: Some(KeyPair { certificates: &self.certificate, key: &self.key }),
            revocation_lists: &lists,
        };
        ClientContext::build(&material, Clock::new(SystemTime::now))
            .map_err(|error| CredentialsError::Material { path: self.directory.join(blamed(&error)), error })
    }
}

/// Hosts that there are certificates for below this directory, some of them: whoever lacks one may have meant another.
fn hosts(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let enrolled = entries.filter(|entry| entry.path().join(CERTIFICATE).is_file());
    let mut hosts: Vec<String> = enrolled.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    hosts.sort();
    hosts.truncate(HOSTS_MAX);
    hosts
}

/// The file that an error is about.
fn blamed(error: &MaterialError) -> &'static str {
    match error {
        MaterialError::Missing(part)
        | MaterialError::TooMany(part)
        | MaterialError::NoPem { part, .. }
        | MaterialError::Unreadable { part, .. } => name(*part),
        MaterialError::EncryptedKey => KEY,
        MaterialError::Mismatch | MaterialError::Identity(_) => CERTIFICATE,
        MaterialError::Refused(_) => "",
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Certificate => CERTIFICATE,
        Part::Key => KEY,
        Part::Authorities => AUTHORITIES,
        Part::RevocationList => REVOCATIONS,
    }
}

/// The file's bytes; `None` where there is no file.
fn read_file(path: &Path, part: Part) -> Result<Option<Vec<u8>>, CredentialsError> {
    let failed = |error: io::Error| CredentialsError::Unreadable { path: path.to_owned(), error: Arc::new(error) };
    // Not waiting, or a pipe in the file's place would hang us.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(CredentialsError::NoFile(path.to_owned()));
    }
    if part == Part::Key {
        key_mode_verdict(metadata.mode())
            .map_err(|words| CredentialsError::KeyMode { path: path.to_owned(), words })?;
    }
    let bytes_max = if part == Part::RevocationList { REVOCATIONS_BYTES_MAX } else { FILE_BYTES_MAX };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        return Err(CredentialsError::TooLong { path: path.to_owned(), bytes_max });
    }
    Ok(Some(bytes))
}

/// Why there is nothing to show or to trust.
#[derive(Debug, Clone)]
pub enum CredentialsError {
    /// A file is not there.
    Missing {
        /// The file.
        path: PathBuf,
        /// What it would hold.
        part: Part,
        /// Other hosts that there are certificates for, some of them.
        hosts: Vec<String>,
    },
    /// The system would not let us read it.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// It is a directory, a pipe, or something else that is no file.
    NoFile(PathBuf),
    /// It is longer than anything that it could hold.
    TooLong {
        /// The file.
        path: PathBuf,
        /// How long it may be.
        bytes_max: u64,
    },
    /// Others can get at the key.
    KeyMode {
        /// The file.
        path: PathBuf,
        /// What is wrong with its mode.
        words: String,
    },
    /// What is in it is not what it should be.
    Material {
        /// The file, or the directory when all of them are meant.
        path: PathBuf,
        /// What is wrong.
        error: MaterialError,
    },
}

impl CredentialsError {
    /// What the person could do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { hosts, .. } if !hosts.is_empty() => format!(
                "there are some for {}: use that name of the host, or ?pkipath=DIR; for another host get a token there",
                hosts.join(", ")
            ),
            Self::Missing { path, part: Part::Authorities | Part::Certificate | Part::Key, .. } => format!(
                "get them from the daemon's host: \"vmwire client invite NAME\" there, \"vmwire enroll\" here; or put \
                 {AUTHORITIES}, {CERTIFICATE} and {KEY} into {}, as \"vmwire pki\" makes them; or name their directory: \
                 ?pkipath=DIR",
                path.parent().unwrap_or(path).display()
            ),
            Self::Missing { .. } => String::new(),
            Self::Unreadable { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "it belongs to another user: enrol as yourself with \"vmwire enroll\", or run as its owner".to_owned()
            }
            Self::Unreadable { .. } | Self::NoFile(_) | Self::TooLong { .. } => {
                "put the file in its place, or name another directory: ?pkipath=DIR".to_owned()
            }
            Self::KeyMode { .. } => "a key that others have read is no proof of anything any more".to_owned(),
            Self::Material { error: MaterialError::EncryptedKey, .. } => {
                "take off its passphrase: openssl pkcs8 -in OLD -out NEW -topk8 -nocrypt".to_owned()
            }
            Self::Material { error: MaterialError::Mismatch, .. } => {
                format!("do {CERTIFICATE} and {KEY} belong together? \"vmwire pki show\" tells the key of each")
            }
            Self::Material { .. } => "\"vmwire pki show\" says what is in a file".to_owned(),
        }
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path, part, .. } => write!(f, "there is no {part} at {}", path.display()),
            Self::Unreadable { path, .. } => write!(f, "{} cannot be read", path.display()),
            Self::NoFile(path) => write!(f, "{} is no file", path.display()),
            Self::TooLong { path, bytes_max } => {
                write!(f, "{} has more than {bytes_max} bytes", path.display())
            }
            Self::KeyMode { path, words } => write!(f, "{} {words}", path.display()),
            Self::Material { path, error } => {
                let path = path.display();
                match error {
                    MaterialError::Mismatch | MaterialError::Identity(_) | MaterialError::Refused(_) => {
                        write!(f, "{path}: {error}")
                    }
                    _ => write!(f, "{path} {error}"),
                }
            }
        }
    }
}

impl std::error::Error for CredentialsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error.as_ref()),
            _ => None,
        }
    }
}
