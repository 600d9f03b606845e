//! What the ssh program says of a host whose key has changed, in a dozen lines and capitals, read for what is in it: the key
//! that the host shows, and where the one lies that is stored.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::digest;

use super::Settings;
use super::facts::{KNOWN_HOSTS_BYTES_MAX, read};

/// A host that shows another key than the one that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedKey {
    /// The name by which the host is stored.
    pub name: String,
    /// The kind and the fingerprint of the key that it shows.
    pub shown: String,
    /// The same of what is stored, where it could be read.
    pub stored: Option<String>,
    /// The file that has it.
    pub file: PathBuf,
    /// In which line, from 1.
    pub line: usize,
}

impl ChangedKey {
    /// Reads what ssh has said. Only a file is looked into that ssh was to look into: not all that is said is its own.
    pub(super) fn of(said: &[String], settings: &Settings) -> Option<Self> {
        let (shown_kind, shown) = said.windows(2).find_map(|lines| {
            let kind =
                lines[0].strip_prefix("The fingerprint for the ")?.strip_suffix(" key sent by the remote host is")?;
            Some((kind, lines[1].strip_suffix('.').unwrap_or(&lines[1])))
        })?;
        let (stored_kind, place) =
            said.iter().find_map(|line| line.strip_prefix("Offending ")?.split_once(" key in "))?;
        let (file, line) = place.rsplit_once(':')?;
        let known = settings.user_known_hosts().into_iter().chain(settings.global_known_hosts());
        let file = known.into_iter().find(|known| known == Path::new(file))?;
        let line = line.parse().ok()?;
        let right =
            |text: &str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if ![shown_kind, shown, stored_kind].into_iter().all(right) {
            return None;
        }
        Some(Self {
            name: settings.known_as(),
            shown: format!("{shown_kind} {shown}"),
            stored: fingerprint(&file, line).map(|stored| format!("{stored_kind} {stored}")),
            file,
            line,
        })
    }
}

impl fmt::Display for ChangedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = self.stored.as_deref().unwrap_or("the one");
        let comma = if self.stored.is_some() { ", which" } else { " that" };
        write!(f, "{} and not {stored}{comma} line {} of {} has", self.shown, self.line, self.file.display())
    }
}

/// The fingerprint of the key in a line of known hosts.
fn fingerprint(file: &Path, line: usize) -> Option<String> {
    let text = read(file, KNOWN_HOSTS_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text);
    let mut words = text.lines().nth(line.checked_sub(1)?)?.split_ascii_whitespace();
    let key = words.nth(2)?;
    let hash = digest::digest(&digest::SHA256, &STANDARD.decode(key).ok()?);
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(hash.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::Uri;

    const SAID: &str = "@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\n\
                        The fingerprint for the ED25519 key sent by the remote host is\nSHA256:shown.\n\
                        Add correct host key in FILE to get rid of this message.\nOffending RSA key in FILE:2\n\
                        Host key verification failed.";

    fn read(file: &Path, known: &Path, said: &str) -> Option<String> {
        let said: Vec<String> = said.replace("FILE", file.to_str().unwrap()).lines().map(str::to_owned).collect();
        let uri: Uri = "qemu+ssh://me@vm1/system".parse().unwrap();
        let text = format!("hostname VM1\nport 2222\nuserknownhostsfile {}\n", known.display());
        let settings = Settings::from_text(uri.ssh().unwrap(), Path::new("/home/me"), &text);
        let changed = ChangedKey::of(&said, &settings)?;
        assert_eq!(changed.name, "[vm1]:2222");
        Some(changed.to_string().replace(file.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn both_keys_are_found_in_what_ssh_says() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("known hosts");
        std::fs::write(&file, "# mine\nvm1 ssh-rsa AAAA me\n").unwrap();
        let stored = "ED25519 SHA256:shown and not RSA SHA256:cJ6AyISHokEeHufyufcpplS8pSvIrEeD+Q1DR2BLPV8, which line 2 of FILE \
                      has";
        let whole = read(&file, &file, SAID).unwrap();
        let (begin, end) = (whole.split("SHA256:").next().unwrap(), whole.rsplit(", ").next().unwrap());
        assert_eq!((begin, end), (stored.split("SHA256:").next().unwrap(), stored.rsplit(", ").next().unwrap()));
        assert_eq!(whole.matches("SHA256:").count(), 2, "{whole}");
        std::fs::write(&file, "# mine\nvm1 ssh-rsa !\n").unwrap();
        let alone = "ED25519 SHA256:shown and not the one that line 2 of FILE has";
        assert_eq!(read(&file, &file, SAID).as_deref(), Some(alone));
        std::fs::write(&file, "").unwrap();
        assert_eq!(read(&file, &file, SAID).as_deref(), Some(alone));
    }

    #[test]
    fn what_is_said_otherwise_is_left_as_it_is() {
        let file = Path::new("/h");
        for (from, to) in [
            ("The fingerprint for", "Fingerprint of"),
            ("Offending", "Bad"),
            ("FILE:2", "FILE"),
            ("FILE:2", "FILE:x"),
            ("FILE:2", "/etc/shadow:1"),
            ("SHA256:shown.", "all is well, go on"),
            ("SHA256:shown.", ""),
        ] {
            assert_eq!(read(file, file, &SAID.replace(from, to)), None, "{to}");
        }
        assert!(read(file, file, SAID).is_some());
    }
}
