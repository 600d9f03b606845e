//! What an authority has signed, a JSON line each, only ever added to: `issued.jsonl` beside its certificate. `vmwire pki` keeps
//! it, and so does a daemon that enrols clients: whatever was signed with the authority's key is in it.
//!
//! A line is on disk before the certificate leaves the program, so that whatever is in the world can be revoked by its
//! number. A line that cannot be read, cut short by a crash or written by another version, hides none of the others.

use serde::{Deserialize, Serialize};

use super::{Issued, Purpose, Reason, Revoked, Serial};
use crate::date::Date;
use crate::identity::Fingerprint;

/// The name of its file, in the directory of the authority's certificate.
pub const INDEX_FILE: &str = "issued.jsonl";

/// A line of the index, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Line {
    /// A certificate was signed.
    Issued {
        serial: String,
        purpose: String,
        name: String,
        key: String,
        /// Former versions did not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
        not_before: i64,
        not_after: i64,
    },
    /// A certificate is to be on every list from now on.
    Revoked { serial: String, since: i64, reason: String },
}

/// What all lines say.
#[derive(Debug, Default)]
pub struct Index {
    /// Certificates in the order in which they were signed.
    pub issued: Vec<Entry>,
    /// Those that were revoked.
    pub revoked: Vec<Revoked>,
    /// How many lines could not be read.
    pub unreadable: usize,
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub serial: Serial,
    /// What it is for, of [`Purpose::word`].
    pub purpose: String,
    /// Whom it was made for.
    pub name: String,
    /// The SHA-256 of its public key.
    pub key: String,
    /// The SHA-256 of itself; a former version did not say it.
    pub certificate: Option<String>,
    /// From when on it is valid.
    pub not_before: Date,
    /// The last moment at which it is.
    pub not_after: Date,
}

/// The line of a certificate that was signed for `name`, without its end.
pub fn issued_line(purpose: Purpose, name: &str, issued: &Issued) -> String {
    written(&Line::Issued {
        serial: issued.serial.to_string(),
        purpose: purpose.word().to_owned(),
        name: name.to_owned(),
        key: issued.key.to_string(),
        certificate: Some(Fingerprint::of(&issued.der).to_string()),
        not_before: issued.not_before.seconds(),
        not_after: issued.not_after.seconds(),
    })
}

/// The line of a certificate that was revoked, without its end.
pub fn revoked_line(revoked: &Revoked) -> String {
    written(&Line::Revoked {
        serial: revoked.serial.to_string(),
        since: revoked.since.seconds(),
        reason: revoked.reason.word().to_owned(),
    })
}

fn written(line: &Line) -> String {
    // Only maps with keys that are no strings cannot be written, and there is none.
    serde_json::to_string(line).unwrap_or_default()
}

impl Index {
    /// Reads a file of lines.
    pub fn read(bytes: &[u8]) -> Self {
        let mut index = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            if index.take(line).is_none() {
                index.unreadable += 1;
            }
        }
        index
    }

    fn take(&mut self, line: &[u8]) -> Option<()> {
        match serde_json::from_slice(line).ok()? {
            Line::Issued { serial, purpose, name, key, certificate, not_before, not_after } => {
                let (serial, not_before, not_after) = (serial.parse().ok()?, Date(not_before), Date(not_after));
                self.issued.push(Entry { serial, purpose, name, key, certificate, not_before, not_after });
            }
            Line::Revoked { serial, since, reason } => {
                // A reason that a later version knows is no reason to forget the revocation.
                let reason = reason.parse().unwrap_or(Reason::Unspecified);
                self.revoked.push(Revoked { serial: serial.parse().ok()?, since: Date(since), reason });
            }
        }
        Some(())
    }

    /// The certificate of this number.
    pub fn find(&self, serial: &Serial) -> Option<&Entry> {
        self.issued.iter().find(|entry| entry.serial == *serial)
    }

    /// Those made for this name, or for this key, or the one with this fingerprint.
    pub fn called<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a Entry> {
        let sum = text.parse::<Fingerprint>().ok().map(|sum| sum.to_string());
        self.issued.iter().filter(move |entry| {
            entry.name == text || sum.is_some() && (sum.as_ref() == Some(&entry.key) || sum == entry.certificate)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_hides_no_other() {
        let revoked = Revoked { serial: "ab".parse().unwrap(), since: Date(7), reason: Reason::Superseded };
        let whole = revoked_line(&revoked);
        let later = whole.replace("superseded", "boredom").replace("\"ab\"", "\"cd\"");
        let text = format!("{}\n{whole}\n\n{{\"what\":\"sold\"}}\n{later}\n", &whole[..20]);
        let index = Index::read(text.as_bytes());
        assert_eq!(index.unreadable, 2);
        let second = Revoked { serial: "cd".parse().unwrap(), reason: Reason::Unspecified, ..revoked.clone() };
        assert_eq!(index.revoked, [revoked, second]);
    }

    #[test]
    fn a_certificate_is_found_by_its_name_its_key_and_its_own_fingerprint() {
        let (key, own) = (Fingerprint::of(b"key"), Fingerprint::of(b"certificate"));
        let line = |serial: &str, name: &str, key: Fingerprint, own: &str| {
            format!(
                "{{\"what\":\"issued\",\"serial\":\"{serial}\",\"purpose\":\"client\",\"name\":\"{name}\",\"key\":\"{key}\",\
                 {own}\"not_before\":1,\"not_after\":2}}\n"
            )
        };
        let text = line("0a", "alice", key, "")
            + &line("0b", "bob", key, "")
            + &line("0c", "alice", own, &format!("\"certificate\":\"{own}\","));
        let index = Index::read(text.as_bytes());
        assert_eq!((index.issued.len(), index.unreadable), (3, 0));
        let found = |text: &str| index.called(text).map(|entry| entry.serial.to_string()).collect::<Vec<_>>();
        assert_eq!(found("alice"), ["0a", "0c"]);
        assert_eq!(found(&key.to_string()), ["0a", "0b"]);
        let as_openssl = own.bytes().map(|byte| format!("{byte:02X}")).join(":");
        assert_eq!(found(&as_openssl), ["0c"]);
        assert_eq!(found("carol"), [""; 0]);
    }
}
