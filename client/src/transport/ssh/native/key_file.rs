//! A private key in a file: whether it may be used at all, whether it is encrypted, and the public key in it, so that the
//! host is asked whether it would take the key before a person is asked for its passphrase.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::agent::string;
use super::host_key::HostKey;

/// No key is longer; RSA of 16384 bits takes 13 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What leads to a key in a token: by itself the program is taken for it.
pub(super) const BY_THE_PROGRAM: &str = "leave transport=ssh2 out of the URI";

/// A key, ready to be used but for its passphrase. There is no `Debug`.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) text: Zeroizing<String>,
    pub(super) encrypted: bool,
    /// Where it is known without the passphrase.
    pub(super) public: Option<HostKey>,
}

/// Why a key cannot be used.
#[derive(Debug)]
pub(super) enum KeyFileError {
    Missing,
    Unreadable(io::Error),
    Mode(u32),
    TooLong,
    PublicKey,
    Putty,
    Hardware,
    NoKey,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is not there"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Mode(mode) => write!(f, "has mode {mode:04o}, so that others can read it"),
            Self::TooLong => write!(f, "has more than {FILE_BYTES_MAX} bytes"),
            Self::PublicKey => f.write_str("is the public key, which the host has; the private one is needed"),
            Self::Putty => f.write_str("is in the format of PuTTY"),
            Self::Hardware => f.write_str("is kept in a token, which only the ssh program can use"),
            Self::NoKey => f.write_str("is no private key"),
        }
    }
}

impl KeyFileError {
    /// What the person could do about it.
    pub(super) fn hint(&self, path: &Path) -> Option<String> {
        let path = path.display();
        match self {
            Self::Mode(_) => Some(format!("chmod 600 {path}")),
            Self::PublicKey => Some("name the file without .pub".to_owned()),
            Self::Putty => Some(format!("puttygen {path} -O private-openssh -o NEW")),
            Self::Hardware => Some(BY_THE_PROGRAM.to_owned()),
            Self::Missing => Some("?keyfile= has to name the file of a private key".to_owned()),
            Self::Unreadable(_) | Self::TooLong | Self::NoKey => None,
        }
    }
}

impl KeyFile {
    pub(super) fn read(path: &Path) -> Result<Self, KeyFileError> {
        let (metadata, text) = read_text(path)?;
        let Some(form) = Form::of(&text) else {
            return Err(match text.trim_start() {
                text if text.starts_with("ssh-") || text.starts_with("ecdsa-sha2-") => KeyFileError::PublicKey,
                text if text.starts_with("PuTTY-User-Key-File-") => KeyFileError::Putty,
                _ => KeyFileError::NoKey,
            });
        };
        // As the ssh program has it: of a file of somebody else's the mode says nothing about us.
        let ours = metadata.uid() == rustix::process::getuid().as_raw();
        if ours && metadata.mode() & 0o077 != 0 {
            return Err(KeyFileError::Mode(metadata.mode() & 0o7777));
        }
        let public = form.public.or_else(|| public_beside(path));
        if public.as_ref().is_some_and(|key| key.kind().starts_with("sk-")) {
            return Err(KeyFileError::Hardware);
        }
        Ok(Self { path: path.to_owned(), text, encrypted: form.encrypted, public })
    }
}

/// The public key of a file, whatever the private one is like.
pub(super) fn public_of(path: &Path) -> Option<HostKey> {
    public_beside(path).or_else(|| KeyFile::read(path).ok()?.public)
}

fn public_beside(path: &Path) -> Option<HostKey> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let text = read_text(Path::new(&beside)).ok()?.1;
    let mut words = text.split_ascii_whitespace();
    let (kind, encoded) = (words.next()?, words.next()?);
    HostKey::read(STANDARD.decode(encoded).ok()?).filter(|key| key.kind() == kind)
}

fn read_text(path: &Path) -> Result<(std::fs::Metadata, Zeroizing<String>), KeyFileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing,
        _ => KeyFileError::Unreadable(error),
    };
    // Not waiting, or a pipe in the file's place would hang us.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NoKey);
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong);
    }
    // As long as it can get from the beginning: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_BYTES_MAX).unwrap_or_default() + 1));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok((metadata, Zeroizing::new(text))),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(KeyFileError::NoKey)
        }
    }
}

/// What a private key says of itself in clear.
struct Form {
    encrypted: bool,
    public: Option<HostKey>,
}

impl Form {
    fn of(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        match label {
            "OPENSSH PRIVATE KEY" => Self::of_openssh(body),
            "ENCRYPTED PRIVATE KEY" => Some(Self { encrypted: true, public: None }),
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                let mut lines = body.lines().map(str::trim);
                let encrypted = lines.any(|line| line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED"));
                Some(Self { encrypted, public: None })
            }
            _ => None,
        }
    }

    /// OpenSSH's own: a magic word, the cipher, the passphrase's derivation, and the public keys, all in clear.
    fn of_openssh(body: &str) -> Option<Self> {
        let mut joined = Zeroizing::new(String::with_capacity(body.len()));
        joined.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
        let decoded = Zeroizing::new(STANDARD.decode(joined.as_bytes()).ok()?);
        let rest = decoded.strip_prefix(b"openssh-key-v1\0")?;
        let (cipher, rest) = string(rest)?;
        let (_derivation, rest) = string(rest)?;
        let (_options, rest) = string(rest)?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        if *count != 1u32.to_be_bytes() {
            return None;
        }
        let (public, _private) = string(rest)?;
        Some(Self { encrypted: cipher != b"none", public: Some(HostKey::read(public.to_vec())?) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    struct Keys(tempfile::TempDir);

    impl Keys {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn make(&self, name: &str, options: &[&str]) -> PathBuf {
            let path = self.0.path().join(name);
            let made = Command::new("ssh-keygen").args(["-q", "-f"]).arg(&path).args(options).status().unwrap();
            assert!(made.success());
            path
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        }
    }

    fn refused(path: &Path) -> String {
        KeyFile::read(path).err().unwrap().to_string()
    }

    #[test]
    fn keys_of_every_form_tell_whether_they_are_encrypted_and_whose_they_are() {
        let keys = Keys::new();
        for (name, options, encrypted, told) in [
            ("plain", &["-t", "ed25519", "-N", ""][..], false, true),
            ("secret", &["-t", "ed25519", "-N", "swordfish"], true, true),
            ("pem", &["-t", "ecdsa", "-m", "PEM", "-N", ""], false, false),
            ("pem-secret", &["-t", "ecdsa", "-m", "PEM", "-N", "swordfish"], true, false),
            ("pkcs8", &["-t", "ecdsa", "-m", "PKCS8", "-N", ""], false, false),
            ("pkcs8-secret", &["-t", "ecdsa", "-m", "PKCS8", "-N", "swordfish"], true, false),
        ] {
            let path = keys.make(name, options);
            let with = KeyFile::read(&path).unwrap_or_else(|error| panic!("{name} {error}"));
            assert_eq!(with.encrypted, encrypted, "{name}");
            let public = with.public.expect("it is beside the key");
            assert_eq!(public_of(&path).as_ref(), Some(&public), "{name}");
            std::fs::remove_file(format!("{}.pub", path.display())).unwrap();
            let alone = KeyFile::read(&path).unwrap().public;
            assert_eq!(alone, told.then_some(public), "{name}");
        }
    }

    #[test]
    fn what_is_no_key_of_ours_alone_is_refused_with_its_own_words() {
        let keys = Keys::new();
        let path = keys.make("key", &["-t", "ed25519", "-N", ""]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = KeyFile::read(&path).err().unwrap();
        assert_eq!(error.to_string(), "has mode 0644, so that others can read it");
        assert_eq!(error.hint(&path), Some(format!("chmod 600 {}", path.display())));
        let public = std::fs::read_to_string(format!("{}.pub", path.display())).unwrap();
        let words = "is the public key, which the host has; the private one is needed";
        assert_eq!(refused(&keys.write("public", &public)), words);
        let putty = keys.write("putty", "PuTTY-User-Key-File-3: ssh-ed25519\n");
        assert_eq!(refused(&putty), "is in the format of PuTTY");
        assert_eq!(refused(&keys.write("garbage", "\0\u{1}garbage")), "is no private key");
        assert_eq!(refused(&keys.write("empty", "")), "is no private key");
        let cut = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n";
        assert_eq!(refused(&keys.write("cut", cut)), "is no private key");
        assert_eq!(refused(&keys.write("long", &"a".repeat(70_000))), "has more than 65536 bytes");
        assert_eq!(refused(keys.0.path()), "is no private key");
        assert_eq!(refused(&keys.0.path().join("missing")), "is not there");
    }
}
