//! What TLS listeners need: the files, what is made of them, and those who shake hands.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mio::net::TcpStream;
use vmwire_tls::config::{KeyPair, MaterialError, ServerContext, ServerMaterial, ServerOptions};
use vmwire_tls::date::Clock;

use super::Who;
use super::handshakes::Handshakes;
use super::watch::Watch;
use crate::config::TlsFiles;
use crate::driver::ReadFile;
use crate::event_loop::{Now, Readiness};
use crate::files::child::read_all;

/// Certificates and lists longer than this are none.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is made of the files, and who is not known yet.
pub(super) struct Tls {
    pub(super) context: ServerContext,
    pub(super) handshakes: Handshakes,
}

/// Why there is no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    File(String),
    /// They do not fit together.
    Material {
        /// The files that were read.
        files: Box<TlsFiles>,
        /// What is wrong.
        error: MaterialError,
    },
}

impl Tls {
    /// Whether the changed files would be noticed; see [`Watch::of_files`].
    pub(super) fn watch(files: &TlsFiles) -> Option<Watch> {
        match Watch::of_files(paths(files)) {
            Ok(watch) => Some(watch),
            Err(error) => {
                log::warn!("changes of the files of TLS are not noticed: {error}; SIGHUP has them read again");
                None
            }
        }
    }

    /// Reads the files. At the start, when there is nobody yet to keep waiting.
    pub(super) fn start(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = read_all(&requests(files)).map_err(TlsError::File)?;
        let context = context(files, &read)?;
        Ok(Self { context, handshakes: Handshakes::new() })
    }

    /// Begins to shake hands with somebody.
    pub(super) fn begin(&mut self, now: Now, socket: TcpStream, address: SocketAddr, readiness: &mut Readiness<Who>) {
        self.handshakes.begin(now, socket, address, self.context.clone(), readiness);
    }
}

/// All files but the authority's key, which is read when it is needed.
pub(super) fn paths(files: &TlsFiles) -> impl Iterator<Item = &Path> {
    [&files.certificate, &files.key, &files.client_ca, &files.crl.path].into_iter().map(PathBuf::as_path)
}

/// What is to be read.
pub(super) fn requests(files: &TlsFiles) -> Vec<ReadFile> {
    let file = |path: &Path, private, optional| ReadFile {
        path: path.to_owned(),
        bytes_max: FILE_BYTES_MAX,
        private,
        optional,
    };
    vec![
        file(&files.certificate, false, false),
        file(&files.key, true, false),
        file(&files.client_ca, false, false),
        file(&files.crl.path, false, !files.crl.required),
    ]
}

/// Makes a context of what was read, in the order of the requests.
pub(super) fn context(files: &TlsFiles, read: &[Option<Vec<u8>>]) -> Result<ServerContext, TlsError> {
    let [certificates, key, authorities, list] = read else {
        return Err(TlsError::File("the file helper read something else than it was asked for".to_owned()));
    };
    let lists: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
    let material = ServerMaterial {
        pair: KeyPair {
            certificates: certificates.as_deref().unwrap_or_default(),
            key: key.as_deref().unwrap_or_default(),
        },
        authorities: authorities.as_deref().unwrap_or_default(),
        revocation_lists: &lists,
    };
    let options = ServerOptions { enroll: false, key_log: files.key_log };
    ServerContext::build(&material, Clock::new(SystemTime::now), options)
        .map_err(|error| TlsError::Material { files: Box::new(files.clone()), error })
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => write!(f, "no TLS: {why}; `vmwire pki init --server NAME` makes what is needed"),
            Self::Material { files, error } => {
                let TlsFiles { certificate, key, client_ca, crl, .. } = &**files;
                let [certificate, key, client_ca, crl] =
                    [certificate, key, client_ca, &crl.path].map(|path| path.display());
                write!(f, "no TLS: {error} (certificate {certificate}, key {key}, client_ca {client_ca}, crl {crl})")
            }
        }
    }
}

impl std::error::Error for TlsError {}
