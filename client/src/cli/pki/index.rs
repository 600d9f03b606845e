//! What an authority has signed, a JSON line each, only ever added to: `issued.jsonl`.
//!
//! A line is on disk before the certificate leaves the program, so that whatever is in the world can be revoked by its
//! number. A line that cannot be read, cut short by a crash or written by another version, hides none of the others.

use serde::{Deserialize, Serialize};
use vmwire_tls::date::Date;
use vmwire_tls::pki::{Issued, Reason, Revoked, Serial};

use super::Kind;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub(super) enum Line {
    /// A certificate was signed.
    Issued { serial: String, purpose: String, name: String, key: String, not_before: i64, not_after: i64 },
    /// A certificate is to be on every list from now on.
    Revoked { serial: String, since: i64, reason: String },
}

/// What all lines say.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Certificates in the order in which they were signed.
    pub(super) issued: Vec<Entry>,
    /// Those that were revoked.
    pub(super) revoked: Vec<Revoked>,
    /// How many lines could not be read.
    pub(super) unreadable: usize,
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) serial: Serial,
    pub(super) purpose: String,
    pub(super) name: String,
    pub(super) key: String,
    pub(super) not_before: Date,
    pub(super) not_after: Date,
}

impl Line {
    pub(super) fn of_issued(kind: Kind, name: &str, issued: &Issued) -> Self {
        Self::Issued {
            serial: issued.serial.to_string(),
            purpose: kind.word().to_owned(),
            name: name.to_owned(),
            key: issued.key.to_string(),
            not_before: issued.not_before.seconds(),
            not_after: issued.not_after.seconds(),
        }
    }

    pub(super) fn of_revoked(revoked: &Revoked) -> Self {
        Self::Revoked {
            serial: revoked.serial.to_string(),
            since: revoked.since.seconds(),
            reason: revoked.reason.word().to_owned(),
        }
    }
}

impl Index {
    pub(super) fn read(bytes: &[u8]) -> Self {
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
            Line::Issued { serial, purpose, name, key, not_before, not_after } => {
                let (not_before, not_after) = (Date(not_before), Date(not_after));
                self.issued.push(Entry { serial: serial.parse().ok()?, purpose, name, key, not_before, not_after });
            }
            Line::Revoked { serial, since, reason } => {
                // A reason that a later version knows is no reason to forget the revocation.
                let reason = reason.parse().unwrap_or(Reason::Unspecified);
                self.revoked.push(Revoked { serial: serial.parse().ok()?, since: Date(since), reason });
            }
        }
        Some(())
    }

    pub(super) fn find(&self, serial: &Serial) -> Option<&Entry> {
        self.issued.iter().find(|entry| entry.serial == *serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_hides_no_other() {
        let revoked = Revoked { serial: "ab".parse().unwrap(), since: Date(7), reason: Reason::Superseded };
        let whole = serde_json::to_string(&Line::of_revoked(&revoked)).unwrap();
        let later = whole.replace("superseded", "boredom").replace("\"ab\"", "\"cd\"");
        let text = format!("{}\n{whole}\n\n{{\"what\":\"sold\"}}\n{later}\n", &whole[..20]);
        let index = Index::read(text.as_bytes());
        assert_eq!(index.unreadable, 2);
        let second = Revoked { serial: "cd".parse().unwrap(), reason: Reason::Unspecified, ..revoked.clone() };
        assert_eq!(index.revoked, [revoked, second]);
    }
}
