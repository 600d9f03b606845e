//! The directory of an authority: where it is, who may change it now, and what is in it.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use vmwire_tls::date::Date;
use vmwire_tls::pki::{
    Authority, INDEX_FILE, Index, Issued, RevocationList, Revoked, Serial, issued_line, revoked_line,
};

use super::super::problem::Problem;
use super::files::{self, PUBLIC};
use super::{Exit, Kind, refused_file};
use crate::transport::Environment;

/// Which authority is meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// The authority's directory
    /// [default: /etc/vmwire/pki for root, $XDG_CONFIG_HOME/vmwire/pki for others]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// Which authority is meant, by those who sign with it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Signing {
    #[command(flatten)]
    pub(super) which: Which,

    /// The authority's key, where it is kept elsewhere [default: ca.key in the directory]
    #[arg(long, value_name = "FILE")]
    pub(super) ca_key: Option<PathBuf>,
}

/// The directory, not yet looked at.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

/// The directory with nobody else at work in it.
#[derive(Debug)]
pub(super) struct Locked {
    pub(super) directory: Directory,
    /// Held for as long as it is open.
    pub(super) lock: File,
}

/// An authority that is ready to sign, in its locked directory.
pub(super) struct Office {
    pub(super) directory: Directory,
    pub(super) authority: Authority,
    _lock: File,
}

impl Which {
    pub(super) fn directory(&self) -> Result<Directory, Problem> {
        let path = match &self.dir {
            Some(path) => path.clone(),
            None => Environment::of_process()
                .pki()
                .map_err(|error| Problem::usage(error.to_string()).hint("say --dir DIR"))?,
        };
        Ok(Directory { path })
    }
}

impl Signing {
    /// The authority, ready to sign.
    pub(super) fn office(&self) -> Result<Office, Problem> {
        let Locked { directory, lock } = self.which.directory()?.lock()?;
        let certificate_path = directory.authority_certificate();
        let certificate = files::read(&certificate_path)?;
        let key_path = self.ca_key.clone().unwrap_or_else(|| directory.authority_key());
        let key = files::read_key(&key_path)?.ok_or_else(|| {
            let text = format!("the authority's key {} is not there", key_path.display());
            Problem::new(Exit::NotFound, "NOT_FOUND", text).hint("--ca-key says where it is kept")
        })?;
        let authority = Authority::from_pem(&certificate, &key)
            .map_err(|error| refused_file(&key_path, &error).cause(format!("with {}", certificate_path.display())))?;
        Ok(Office { directory, authority, _lock: lock })
    }
}

impl Directory {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn authority_certificate(&self) -> PathBuf {
        self.path.join("ca.crt")
    }

    pub(super) fn authority_key(&self) -> PathBuf {
        self.path.join("ca.key")
    }

    pub(super) fn revocation_list(&self) -> PathBuf {
        self.path.join("crl.pem")
    }

    pub(super) fn index_file(&self) -> PathBuf {
        self.path.join(INDEX_FILE)
    }

    /// Where the files for another machine, or person, are put.
    pub(super) fn issued(&self) -> PathBuf {
        self.path.join("issued")
    }

    /// The files of one of them. No name that is taken has a `/` in it or is `.` or `..`.
    pub(super) fn issued_to(&self, name: &str) -> PathBuf {
        self.issued().join(name.replace('*', "_"))
    }

    pub(super) fn index(&self) -> Result<Index, Problem> {
        Ok(Index::read(&files::read_if_there(&self.index_file())?.unwrap_or_default()))
    }

    /// Keeps everybody else from changing it until what comes back goes. Whoever comes second is told at once: nobody
    /// knows for how long the first will stay.
    pub(super) fn lock(self) -> Result<Locked, Problem> {
        let file = File::open(&self.path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                let text = format!("there is no directory {}", self.path.display());
                return Problem::new(Exit::NotFound, "NOT_FOUND", text)
                    .hint("vmwire pki init makes an authority; --dir says in which directory one is");
            }
            files::failed("open", &self.path, &error)
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Locked { directory: self, lock: file }),
            Err(TryLockError::WouldBlock) => {
                let text = format!("another vmwire pki is at work in {}", self.path.display());
                Err(Problem::new(Exit::Failed, "BUSY", text).hint("do it again when that one has ended"))
            }
            Err(TryLockError::Error(error)) => Err(files::failed("lock", &self.path, &error)),
        }
    }
}

impl Office {
    /// Remembers a certificate, before it leaves the program.
    pub(super) fn remember(&self, kind: Kind, name: &str, issued: &Issued) -> Result<(), Problem> {
        self.note(&issued_line(kind.purpose(), name, issued))
    }

    fn note(&self, line: &str) -> Result<(), Problem> {
        files::append(&self.directory.index_file(), line)
    }

    /// The list as it is. Where there is none, one with nothing on it that is younger than any there can have been:
    /// each but the first came with at least one revocation.
    pub(super) fn revocations(&self) -> Result<RevocationList, Problem> {
        let path = self.directory.revocation_list();
        let Some(bytes) = files::read_if_there(&path)? else {
            let number = u64::try_from(self.directory.index()?.revoked.len()).unwrap_or(u64::MAX);
            return Ok(RevocationList { number: number.saturating_add(1), revoked: Vec::new() });
        };
        RevocationList::read(&bytes, self.authority.der()).map_err(|error| refused_file(&path, &error))
    }

    /// Puts certificates on the list, and what else was revoked and is not there. They are remembered before the list is
    /// written: should that get lost, or this run be broken off, the next list has them all the same.
    pub(super) fn revoke(&self, revoked: &[Revoked], now: Date) -> Result<(), Problem> {
        let list = self.revocations()?;
        let mut known: HashSet<Serial> = list.revoked.iter().map(|revoked| revoked.serial.clone()).collect();
        let mut more = self.directory.index()?.revoked;
        more.retain(|earlier| known.insert(earlier.serial.clone()));
        let new: Vec<&Revoked> = revoked.iter().filter(|revoked| known.insert(revoked.serial.clone())).collect();
        more.extend(new.iter().copied().cloned());
        let path = self.directory.revocation_list();
        if more.is_empty() && files::is_there(&path) {
            return Ok(());
        }
        let pem = self.authority.sign_revocations(&list, &more, now).map_err(|error| refused_file(&path, &error))?;
        for revoked in new {
            self.note(&revoked_line(revoked))?;
        }
        files::replace(&path, pem.as_bytes(), PUBLIC)
    }
}
