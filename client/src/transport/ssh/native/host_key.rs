//! The key that a host shows: what it is, which kinds are asked for, whether it is the right one, and remembering it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use super::Wanted;
use super::error::{NativeError, Unmet};
use super::known_hosts::{Known, Verdict};
use crate::ask::{Asking, UnknownHost};
use crate::transport::ssh::host_names::hashed_name;

/// The kinds of host keys that are taken, best first, each with the algorithms that sign with it. RSA signs with SHA-2 only.
const KINDS: [(&str, &str); 5] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
];

/// How an unknown host is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strict {
    /// It is refused.
    Yes,
    /// A person is asked.
    Ask,
    /// It is remembered and trusted from then on.
    AcceptNew,
}

/// A public key as it goes over the wire: a name, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostKey {
    kind: String,
    blob: Vec<u8>,
}

impl HostKey {
    pub(super) fn read(blob: Vec<u8>) -> Option<Self> {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let kind = rest.get(..length)?;
        let named = !kind.is_empty() && kind.iter().all(u8::is_ascii_graphic) && rest.len() > length;
        let kind = named.then(|| String::from_utf8_lossy(kind).into_owned())?;
        Some(Self { kind, blob })
    }

    /// Its name on the wire.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The name that people use.
    pub(super) fn kind_in_words(&self) -> &str {
        match self.kind.as_str() {
            "ssh-ed25519" => "ED25519",
            "ssh-rsa" => "RSA",
            kind if kind.starts_with("ecdsa-") => "ECDSA",
            kind => kind,
        }
    }

    /// As the ssh program prints it.
    pub(super) fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.blob);
        format!("SHA256:{}", STANDARD_NO_PAD.encode(hash.as_ref()))
    }

    /// As files have it.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.kind, STANDARD.encode(&self.blob))
    }
}

/// What is known of the host.
pub(super) fn known(wanted: &Wanted) -> Result<Known, NativeError> {
    let files = wanted.user_known_hosts.iter().chain(&wanted.global_known_hosts);
    Known::read(files.map(PathBuf::as_path), &wanted.known_as)
}

/// The algorithms to ask for, in a list of SSH: those of the kinds that are stored, for another key of the host could not
/// be compared with anything; all where nothing is.
pub(super) fn algorithms(known: &Known) -> String {
    let stored: Vec<&str> = known.own().map(|line| line.key.kind()).collect();
    let chosen = |only_stored: bool| -> Vec<&str> {
        let kinds = KINDS.iter().filter(|(kind, _)| !only_stored || stored.contains(kind));
        kinds.map(|(_, algorithms)| *algorithms).collect()
    };
    let mut list = chosen(true);
    if list.is_empty() {
        list = chosen(false);
    }
    list.join(",")
}

/// Lets the host pass whose key is stored, and one that nothing is known of if it may.
pub(super) fn judge(wanted: &Wanted, known: &Known, shown: &HostKey, asking: &Asking) -> Result<(), NativeError> {
    let name = wanted.known_as.clone();
    match known.verdict(shown) {
        Verdict::Known => Ok(()),
        Verdict::Changed(line) => Err(NativeError::HostChanged {
            name,
            key: shown.kind_in_words().to_owned(),
            shown: shown.fingerprint(),
            stored: line.key.fingerprint(),
            file: line.file.clone(),
            line: line.number,
        }),
        Verdict::Revoked(line) => Err(NativeError::HostRevoked {
            name,
            shown: shown.fingerprint(),
            file: line.file.clone(),
            line: line.number,
        }),
        Verdict::Authority(line) => {
            Err(NativeError::HostAuthority { name, file: line.file.clone(), line: line.number })
        }
        Verdict::Unknown => meet(wanted, name, shown, asking),
    }
}

fn meet(wanted: &Wanted, name: String, shown: &HostKey, asking: &Asking) -> Result<(), NativeError> {
    let file = wanted.user_known_hosts.first();
    let fingerprint = shown.fingerprint();
    let key = shown.kind_in_words();
    let unmet = match wanted.strict {
        Strict::Yes => Some(Unmet::Strict),
        Strict::AcceptNew => None,
        Strict::Ask if !asking.is_there() => Some(Unmet::NobodyToAsk),
        Strict::Ask => {
            let nowhere = Path::new("/dev/null");
            let file = file.map_or(nowhere, |file| file.as_path());
            let unknown = UnknownHost { name: &name, key, fingerprint: &fingerprint, file };
            if asking.is_meant(&unknown).map_err(NativeError::ask)? { None } else { Some(Unmet::NotMeant) }
        }
    };
    if let Some(why) = unmet {
        let key = key.to_owned();
        let (host, port) = (wanted.host.host(), wanted.host.port());
        let scan = if port == 22 { host.to_owned() } else { format!("-p {port} {host}") };
        let file = file.cloned().unwrap_or_else(|| PathBuf::from("known_hosts"));
        return Err(NativeError::HostUnknown { name, key, fingerprint, file, scan, why });
    }
    if let Some(file) = file {
        match remember(file, &name, shown, wanted.hash_known_hosts) {
            Ok(()) => log::info!("{name} is remembered in {} with the {key} key {fingerprint}", file.display()),
            // Whoever was let in stays in; the next time there will be the same question.
            Err(error) => log::warn!("{name} cannot be remembered in {}: {error}", file.display()),
        }
    }
    Ok(())
}

/// Adds a line to a file, whole or not at all.
fn remember(file: &Path, name: &str, key: &HostKey, hashed: bool) -> io::Result<()> {
    if let Some(directory) = file.parent().filter(|directory| !directory.is_dir()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut stored = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)?;
    if !stored.metadata()?.is_file() {
        return Ok(());
    }
    let name = if hashed {
        let mut salt = [0; 20];
        SystemRandom::new().fill(&mut salt).map_err(|_| io::Error::other("there is no randomness"))?;
        hashed_name(name, &salt)
    } else {
        name.to_owned()
    };
    let length = stored.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if length > 0 {
        stored.seek(SeekFrom::End(-1))?;
        stored.read_exact(&mut last)?;
    }
    // Somebody's last line may have no end.
    let begin = if last == *b"\n" { "" } else { "\n" };
    let line = format!("{begin}{name} {}\n", key.line());
    // One write, so that lines of several writers stay apart.
    let written = stored.write(line.as_bytes())?;
    if written < line.len() {
        stored.set_len(length)?;
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(byte: u8) -> HostKey {
        let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &[byte; 32]].concat();
        HostKey::read(blob).unwrap()
    }

    #[test]
    fn a_key_that_is_cut_is_none() {
        let whole = key(1).blob().to_vec();
        for length in 0..=15 {
            assert_eq!(HostKey::read(whole[..length].to_vec()), None, "{length}");
        }
        assert_eq!(HostKey::read(vec![0xff; 64]), None);
        assert_eq!(HostKey::read(vec![0; 64]), None);
    }

    #[test]
    fn hosts_are_remembered_in_a_file_that_is_private() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a/.ssh");
        let file = directory.join("known_hosts");
        remember(&file, "vm1", &key(1), false).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("vm1 {}\n", key(1).line()));

        // A last line without an end stays a line of its own.
        std::fs::write(&file, "# mine").unwrap();
        remember(&file, "[vm1]:2222", &key(2), true).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# mine");
        assert!(lines[1].starts_with("|1|") && lines[1].ends_with(&key(2).line()), "{text}");
        let known = Known::read([file.as_path()], "[vm1]:2222").unwrap();
        assert_eq!(known.verdict(&key(2)), Verdict::Known);
        assert_eq!(Known::read([file.as_path()], "vm1").unwrap().verdict(&key(2)), Verdict::Unknown);
    }

    #[test]
    fn only_kinds_that_are_stored_are_asked_for() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("known_hosts");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            algorithms(&Known::read([file.as_path()], "vm1").unwrap())
        };
        let every = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256";
        let named = |kind: &str| {
            let length = u32::try_from(kind.len()).unwrap().to_be_bytes();
            HostKey::read([&length[..], kind.as_bytes(), &[0; 8]].concat()).unwrap().line()
        };
        assert_eq!(of(""), every);
        assert_eq!(of(&format!("vm1 {}", named("ssh-ed25519"))), "ssh-ed25519");
        assert_eq!(of(&format!("vm1 {}", named("ssh-rsa"))), "rsa-sha2-512,rsa-sha2-256");
        assert_eq!(
            of(&format!("vm1 {}\nvm1 {}", named("ssh-rsa"), named("ecdsa-sha2-nistp256"))),
            "ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256"
        );
        assert_eq!(of(&format!("vm1 {}", named("ssh-dss"))), every);
        assert_eq!(of(&format!("@revoked vm1 {}", named("ssh-rsa"))), every);
    }
}
