//! What the files beside ssh's settings say: which keys are of a kind that only the program can use, and what the known
//! hosts say of a host besides its key. Files are read as far as their usual size, and what cannot be read is as if it
//! were not there: it is the connection that will tell.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Settings;
use super::host_names::matches;
use crate::uri::SshTarget;

/// The longest file of known hosts, and the longest key, that are looked into.
pub(super) const KNOWN_HOSTS_BYTES_MAX: u64 = 8 * 1024 * 1024;
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// What makes a choice beside the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// A certificate that would go with a key.
    pub(super) certificate: Option<PathBuf>,
    /// A key that is in a token.
    pub(super) security_key: Option<PathBuf>,
    /// The kind of a key of the agent that is in a token, or a certificate; that the agent was asked for.
    pub(super) agent_key: Option<String>,
    /// There is a ticket of Kerberos, as far as can be seen without its library.
    pub(super) ticket: bool,
    /// A line of known hosts with a marker that may mean the host, and its number.
    pub(super) marker: Option<(PathBuf, usize)>,
}

impl Facts {
    pub(super) fn of(target: &SshTarget, settings: &Settings) -> Self {
        let keys = settings.identity_files();
        // As ssh has it: certificates that are named, else those beside the keys.
        let named = settings.certificate_files().into_iter().filter(|_| target.keyfile().is_none());
        let beside = keys.iter().map(|key| with_suffix(key, "-cert.pub"));
        let hosts = settings.user_known_hosts().into_iter().chain(settings.global_known_hosts());
        let known_as = settings.known_as();
        Self {
            certificate: named.chain(beside).find(|file| file.is_file()),
            agent_key: None,
            security_key: keys.iter().find(|key| is_security_key(key)).cloned(),
            ticket: has_ticket(),
            marker: hosts.into_iter().find_map(|file| {
                let text = read(&file, KNOWN_HOSTS_BYTES_MAX)?;
                Some((file, marked_line(&String::from_utf8_lossy(&text), &known_as)?))
            }),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A file's content; nothing where anything but a file stands, for opening that could hang.
pub(super) fn read(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).ok()?;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut content = Vec::new();
    file.take(bytes_max).read_to_end(&mut content).ok()?;
    Some(content)
}

/// Whether a key is kept in a token: its public half, in a file beside it or at the front of it, says so.
fn is_security_key(key: &Path) -> bool {
    let public = read(&with_suffix(key, ".pub"), KEY_BYTES_MAX);
    if let Some(kind) = public.as_deref().and_then(|public| public.split(|&byte| byte == b' ').next()) {
        return kind.starts_with(b"sk-");
    }
    read(key, KEY_BYTES_MAX).is_some_and(|private| holds_security_key(&private))
}

/// The form of OpenSSH has the public half in clear, behind what says how the rest is encrypted. Where an agent has the
/// private half, the public one may be all there is.
fn holds_security_key(pem: &[u8]) -> bool {
    if pem.starts_with(b"sk-") {
        return true;
    }
    let text = String::from_utf8_lossy(pem);
    let body = text.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let Ok(decoded) = STANDARD.decode(body) else { return false };
    let begins = decoded.starts_with(b"openssh-key-v1\0");
    begins && [&b"sk-ssh-"[..], b"sk-ecdsa-"].iter().any(|kind| decoded.windows(kind.len()).any(|at| at == *kind))
}

/// Whether there is a cache of Kerberos tickets. Debian's ssh is set up to ask for GSSAPI on every machine, so that the
/// setting alone says nothing.
fn has_ticket() -> bool {
    if let Some(cache) = std::env::var_os("KRB5CCNAME").filter(|cache| !cache.is_empty()) {
        // One in a file is there or not; one in the kernel's keyring or of a daemon cannot be seen from here.
        return match cache.to_string_lossy().split_once(':') {
            Some(("FILE", path)) => Path::new(path).exists(),
            Some(_) => true,
            None => Path::new(&cache).exists(),
        };
    }
    Path::new(&format!("/tmp/krb5cc_{}", rustix::process::getuid().as_raw())).exists()
}

/// The first line with a marker that means the host.
fn marked_line(text: &str, host: &str) -> Option<usize> {
    let marked = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().is_some_and(|first| first.starts_with('@'))
            && words.next().is_some_and(|names| matches(names, host) == Ok(true))
    };
    text.lines().position(marked).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::ssh::host_names::hashed_name;
    use crate::uri::Uri;

    #[test]
    fn a_line_with_a_marker_counts_only_where_it_means_the_host() {
        let table = [
            ("vm1 ssh-ed25519 AAAA\n", None),
            ("@cert-authority * ssh-ed25519 AAAA\n", Some(1)),
            ("# one\n@cert-authority *.example.org,vm1 ssh-rsa A\n", Some(2)),
            ("@cert-authority *.example.org ssh-rsa A\n", None),
            ("@cert-authority *,!vm1 ssh-rsa A\n", None),
            ("@revoked VM? ssh-rsa A\n", Some(1)),
            (&format!("@revoked {} ssh-rsa A\n", hashed_name("vm1", &[7; 20])), Some(1)),
            (&format!("@revoked {} ssh-rsa A\n", hashed_name("vm2", &[7; 20])), None),
            ("@revoked |1|abc=|def= ssh-rsa A\n", None),
            ("@revoked\n@\n\u{0}\u{ff}\n@revoked vm ssh-rsa A", None),
        ];
        for (text, line) in table {
            assert_eq!(marked_line(text, "vm1"), line, "{text}");
        }
        assert_eq!(marked_line("@revoked [vm1]:2222 ssh-rsa A\n", "[vm1]:2222"), Some(1));
        assert_eq!(marked_line("@revoked vm1 ssh-rsa A\n", "[vm1]:2222"), None);
    }

    #[test]
    fn keys_that_only_the_program_can_use_are_known_by_their_public_half() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("plain.pub"), "ssh-ed25519 AAAA me\n").unwrap();
        std::fs::write(path("token.pub"), "sk-ssh-ed25519@openssh.com AAAA me\n").unwrap();
        // "openssh-key-v1\0", then "sk-ssh-ed25519@openssh.com" somewhere behind it.
        let body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAac2stc3NoLWVkMjU1MTlAb3BlbnNzaC5jb20=";
        let pem = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n");
        std::fs::write(path("alone"), pem).unwrap();
        std::fs::write(path("public"), "sk-ecdsa-sha2-nistp256@openssh.com AAAA me\n").unwrap();
        std::fs::write(path("rubbish"), [0, 255, b'\n', b'=']).unwrap();
        let alone = [("alone", true), ("public", true), ("rubbish", false), ("no", false)];
        for (name, expected) in [("plain", false), ("token", true)].into_iter().chain(alone) {
            assert_eq!(is_security_key(&path(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_certificate_beside_the_key_of_the_uri_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        let uri: Uri = format!("qemu+ssh://vm1/system?keyfile={}", key.display()).parse().unwrap();
        let settings = Settings::from_text(uri.ssh().unwrap(), Path::new("/"), "hostname vm1\n");
        assert_eq!(Facts::of(uri.ssh().unwrap(), &settings).certificate, None);
        std::fs::write(directory.path().join("key-cert.pub"), "").unwrap();
        let certificate = Facts::of(uri.ssh().unwrap(), &settings).certificate;
        assert_eq!(certificate, Some(directory.path().join("key-cert.pub")));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read(&pipe, 10), None);
        assert_eq!(read(directory.path(), 10), None);
    }
}
