//! Whether a daemon could start with what it was told (`vmwired --check-config`): the files of TLS and the directories, looked
//! at as a start does, and nothing made, locked or bound. A daemon may be running with the same configuration meanwhile.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use vmwire_tls::config::{MaterialError, Part};

use super::place::{self, PlaceError};
use super::{TlsError, tls};
use crate::config::{Blamed, Config, Listen, TlsFiles};
use crate::files::child::read_all;

/// What a start would refuse, and which key of the configuration says it.
#[derive(Debug)]
pub struct Unfit {
    /// What says it.
    pub blamed: Blamed,
    /// Why it is refused.
    pub why: String,
}

/// Looks at everything that a start would refuse.
///
/// # Errors
/// The first thing that it would.
pub fn check(config: &Config) -> Result<(), Unfit> {
    let unfit = |blamed| move |why: String| Unfit { blamed, why };
    directory(&config.state_dir, Some(place::STATE_MODE_MAX)).map_err(unfit(Blamed::Key("state_dir")))?;
    directory(&config.runtime_dir, Some(place::RUNTIME_MODE_MAX)).map_err(unfit(Blamed::Key("runtime_dir")))?;
    for (number, listen) in config.listen.iter().enumerate() {
        if let Listen::Unix(unix) = listen {
            socket(&unix.path).map_err(unfit(Blamed::Listen(number)))?;
        }
    }
    match &config.tls {
        Some(files) => tls_files(files),
        None => Ok(()),
    }
}

/// Each of them by itself first, so that the right one is blamed.
fn tls_files(files: &TlsFiles) -> Result<(), Unfit> {
    const KEYS: [&str; 5] = ["tls.certificate", "tls.key", "tls.client_ca", "tls.crl", "tls.ca_key"];
    let mut read = Vec::new();
    for (key, request) in KEYS.into_iter().zip(tls::requests(files)) {
        read.extend(read_all(&[request]).map_err(|why| Unfit { blamed: Blamed::Key(key), why })?);
    }
    let Err(error) = tls::context(files, &read) else { return Ok(()) };
    let key = match &error {
        TlsError::Material { error, .. } => of_material(error),
        TlsError::Missing(_) | TlsError::File(_) | TlsError::ListLost(_) => "tls.certificate",
    };
    Err(Unfit { blamed: Blamed::Key(key), why: error.to_string() })
}

fn of_material(error: &MaterialError) -> &'static str {
    let part = match error {
        MaterialError::Missing(part)
        | MaterialError::NoPem { part, .. }
        | MaterialError::TooMany(part)
        | MaterialError::Unreadable { part, .. } => *part,
        MaterialError::EncryptedKey | MaterialError::Mismatch => Part::Key,
        MaterialError::Identity(_) | MaterialError::Refused(_) => Part::Certificate,
    };
    match part {
        Part::Certificate => "tls.certificate",
        Part::Key => "tls.key",
        Part::Authorities => "tls.client_ca",
        Part::RevocationList => "tls.crl",
    }
}

/// A directory that is there has to be fit; one that is not has to be possible.
fn directory(dir: &Path, mode_max: Option<u32>) -> Result<(), String> {
    let system = |error| PlaceError::System { dir: dir.to_owned(), error }.to_string();
    let mut nearest = dir;
    let found = loop {
        match look(nearest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match nearest.parent() {
                Some(parent) => nearest = parent,
                None => return Err(system(error)),
            },
            found => break found.map_err(system)?,
        }
    };
    if !found.is_dir() {
        return Err(system(io::ErrorKind::NotADirectory.into()));
    }
    if let Some(mode_max) = mode_max.filter(|_| nearest == dir) {
        place::check(dir, mode_max).map_err(|error| error.to_string())?;
    }
    accessat(CWD, nearest, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(|error| system(error.into()))
}

/// Where a socket can be made, or is one that may be of a daemon.
fn socket(path: &Path) -> Result<(), String> {
    directory(path.parent().unwrap_or(Path::new("/")), None)?;
    match look(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(crate::listener::BindError::NoSocket(path.to_owned()).to_string())
        }
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "there is no loop, and there will be none")]
fn look(path: &Path) -> io::Result<Metadata> {
    std::fs::metadata(path)
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
