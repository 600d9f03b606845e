//! The registry as text, and back: JSON, believed only when all of it is right.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use vmwire_protocol::message::role;

use super::registry::{
    BOUGHT_BYTES_MAX, BOUGHT_MAX, Bought, CLIENTS_MAX, Client, Digest, End, INVITATIONS_MAX, Invitation, Origin,
    PAST_MAX, Registry,
};
use crate::model::VmName;

/// The longest file: as many clients as there may be, each of at most 400 bytes, certificates of 64 digits for each 32 bytes,
/// and the rest.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    form: u32,
    clients: Vec<ClientRow>,
    invitations: Vec<InvitationRow>,
    past: Vec<PastRow>,
    /// What earlier daemons did not keep.
    #[serde(default)]
    bought: Vec<BoughtRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientRow {
    name: String,
    role: String,
    key: String,
    serial: String,
    not_after_s: u64,
    since_ns: u64,
    origin: OriginWord,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InvitationRow {
    name: String,
    role: String,
    secret_sha256: String,
    invited_ns: u64,
    expires_ns: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PastRow {
    secret_sha256: String,
    end: EndWord,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoughtRow {
    secret_sha256: String,
    name: String,
    key: String,
    until_ns: u64,
    chain: Vec<String>,
    ca: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OriginWord {
    Enrolled,
    Added,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EndWord {
    Spent,
    Expired,
    Void,
}

impl Registry {
    /// The registry as it is kept.
    pub fn to_text(&self) -> String {
        let role = |number| role::name(number).unwrap_or_default().to_owned();
        let content = Content {
            form: 1,
            clients: self
                .clients
                .iter()
                .map(|(name, client)| ClientRow {
                    name: name.to_string(),
                    role: role(client.role),
                    key: hex(&client.key),
                    serial: client.serial.clone(),
                    not_after_s: client.not_after_s,
                    since_ns: client.since_ns,
                    origin: match client.origin {
                        Origin::Enrolled => OriginWord::Enrolled,
                        Origin::Added => OriginWord::Added,
                    },
                })
                .collect(),
            invitations: self
                .invitations
                .iter()
                .map(|(name, invitation)| InvitationRow {
                    name: name.to_string(),
                    role: role(invitation.role),
                    secret_sha256: hex(&invitation.digest.0),
                    invited_ns: invitation.invited_ns,
                    expires_ns: invitation.expires_ns,
                })
                .collect(),
            past: self
                .past
                .iter()
                .map(|(digest, end)| PastRow {
                    secret_sha256: hex(&digest.0),
                    end: match end {
                        End::Spent => EndWord::Spent,
                        End::Expired => EndWord::Expired,
                        End::Void => EndWord::Void,
                    },
                })
                .collect(),
            bought: self
                .bought
                .iter()
                .map(|bought| BoughtRow {
                    secret_sha256: hex(&bought.digest.0),
                    name: bought.name.to_string(),
                    key: hex(&bought.key),
                    until_ns: bought.until_ns,
                    chain: bought.chain.iter().map(|der| hex(der)).collect(),
                    ca: hex(&bought.ca),
                })
                .collect(),
        };
        // Only maps with keys that are no strings cannot be written, and there is none.
        let mut text = serde_json::to_string_pretty(&content).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// Anything in it is not as this daemon would have written it.
    pub fn from_text(text: &[u8]) -> Result<Self, FileError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(FileError(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let content: Content = serde_json::from_slice(text).map_err(|error| FileError(error.to_string()))?;
        let wrong = |name: &str, what: &str| FileError(format!("{name:?}: {what}"));
        if content.form != 1 {
            return Err(FileError(format!("its form is {}, and this daemon knows form 1", content.form)));
        }
        let (clients, invitations, past) = (content.clients.len(), content.invitations.len(), content.past.len());
        let bought = content.bought.len();
        if clients > CLIENTS_MAX || invitations > INVITATIONS_MAX || past > PAST_MAX || bought > BOUGHT_MAX {
            return Err(FileError("there are more in it than there may be".to_owned()));
        }
        let mut registry = Self::default();
        let mut keys = BTreeSet::new();
        for row in content.clients {
            let (name, role) = (read_name(&row.name)?, read_role(&row.name, &row.role)?);
            let key = unhex(&row.key).ok_or_else(|| wrong(&row.name, "its key is no SHA-256"))?;
            if row.serial.len() > 64 || !row.serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong(&row.name, "its serial number is no number"));
            }
            if !keys.insert(key) {
                return Err(wrong(&row.name, "its key is another's as well"));
            }
            let origin = match row.origin {
                OriginWord::Enrolled => Origin::Enrolled,
                OriginWord::Added => Origin::Added,
            };
            let (serial, not_after_s, since_ns) = (row.serial, row.not_after_s, row.since_ns);
            let client = Client { role, key, serial, not_after_s, since_ns, origin };
            if registry.clients.insert(name, client).is_some() {
                return Err(wrong(&row.name, "there are two of that name"));
            }
        }
        for row in content.invitations {
            let (name, role) = (read_name(&row.name)?, read_role(&row.name, &row.role)?);
            let digest = unhex(&row.secret_sha256).map(Digest);
            let digest = digest.ok_or_else(|| wrong(&row.name, "its secret's digest is no SHA-256"))?;
            let invitation = Invitation { role, invited_ns: row.invited_ns, expires_ns: row.expires_ns, digest };
            if registry.clients.contains_key(&name) || registry.invitations.insert(name, invitation).is_some() {
                return Err(wrong(&row.name, "there are two of that name"));
            }
        }
        for row in content.past {
            let digest = unhex(&row.secret_sha256).map(Digest);
            let digest = digest.ok_or_else(|| FileError("a past secret's digest is no SHA-256".to_owned()))?;
            let end = match row.end {
                EndWord::Spent => End::Spent,
                EndWord::Expired => End::Expired,
                EndWord::Void => End::Void,
            };
            registry.past.push_back((digest, end));
        }
        for row in content.bought {
            let name = read_name(&row.name)?;
            let sum = |text: &str| unhex(text).ok_or_else(|| wrong(&row.name, "what it has bought has no SHA-256"));
            let der = |text: &String| unhex_all(text).ok_or_else(|| wrong(&row.name, "its certificate is none"));
            let (digest, key, until_ns) = (Digest(sum(&row.secret_sha256)?), sum(&row.key)?, row.until_ns);
            let (chain, ca) = (row.chain.iter().map(der).collect::<Result<Vec<_>, _>>()?, der(&row.ca)?);
            if chain.iter().map(Vec::len).sum::<usize>() + ca.len() > BOUGHT_BYTES_MAX {
                return Err(wrong(&row.name, "its certificate is too long"));
            }
            registry.bought.push_back(Bought { digest, name, key, until_ns, chain, ca });
        }
        Ok(registry)
    }
}

fn read_name(text: &str) -> Result<VmName, FileError> {
    text.parse().map_err(|error| FileError(format!("{text:?} is no name: {error}")))
}

fn read_role(name: &str, text: &str) -> Result<u32, FileError> {
    role::number(text).ok_or_else(|| FileError(format!("{name:?}: there is no role {text:?}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Lower case only: what we would have written.
fn unhex(text: &str) -> Option<[u8; 32]> {
    unhex_all(text)?.try_into().ok()
}

fn unhex_all(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrolment::{Change, Secret};

    fn registry() -> Registry {
        let name = |text: &str| text.parse::<VmName>().unwrap();
        let changes = [
            Change::Invite { name: name("alice"), role: 2, secret: Secret([1; 16]) },
            Change::Invite { name: name("alice"), role: 3, secret: Secret([2; 16]) },
            Change::Add { name: name("bob"), role: 1, key: [0xab; 32] },
            Change::Add { name: name("carol"), role: 3, key: [0xcd; 32] },
        ];
        changes.iter().fold(Registry::default(), |registry, change| change.apply(&registry, None, 5).unwrap().0)
    }

    #[test]
    fn what_was_kept_is_read_back_and_holds_no_secret() {
        let text = registry().to_text();
        assert_eq!(Registry::from_text(text.as_bytes()), Ok(registry()));
        assert!(!text.contains(&"01".repeat(16)) && !text.contains(&"02".repeat(16)), "{text}");
        assert_eq!(Registry::from_text(Registry::default().to_text().as_bytes()), Ok(Registry::default()));
    }

    #[test]
    fn a_full_registry_fits_into_its_file() {
        let mut registry = registry();
        for number in 0..CLIENTS_MAX - 2 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
            let client = Client {
                role: 1,
                key,
                serial: "f".repeat(40),
                not_after_s: u64::MAX,
                since_ns: u64::MAX,
                origin: Origin::Enrolled,
            };
            registry.clients.insert(format!("{}{number:05}", "n".repeat(59)).parse().unwrap(), client);
        }
        let name: VmName = "n".repeat(64).parse().unwrap();
        let (chain, ca) = (vec![vec![0xff; BOUGHT_BYTES_MAX - 1024]], vec![0xff; 1024]);
        for _ in 0..BOUGHT_MAX {
            let (digest, name, chain, ca) = (Digest([0xff; 32]), name.clone(), chain.clone(), ca.clone());
            registry.bought.push_back(Bought { digest, name, key: [0xff; 32], until_ns: u64::MAX, chain, ca });
        }
        let text = registry.to_text();
        assert_eq!(registry.clients.len(), CLIENTS_MAX);
        assert_eq!(Registry::from_text(text.as_bytes()), Ok(registry), "{} bytes", text.len());
    }

    /// A daemon that was replaced by a newer one knew nobody any more.
    #[test]
    fn a_file_of_before_certificates_were_kept_is_read() {
        let text = registry().to_text();
        let before = text.replace(",\n  \"bought\": []", "");
        assert!(before.len() < text.len(), "{text}");
        assert_eq!(Registry::from_text(before.as_bytes()), Ok(registry()));
    }

    #[test]
    fn nothing_of_a_file_is_believed_that_we_would_not_have_written() {
        let text = registry().to_text();
        let ab = "ab".repeat(32);
        let faults = [
            ("\"form\": 1", "\"form\": 2"),
            ("\"form\": 1,", "\"form\": 1, \"extra\": 1,"),
            ("\"name\": \"bob\"", "\"name\": \"bob\", \"extra\": 1"),
            ("\"name\": \"bob\"", "\"name\": \"carol\""),
            ("\"name\": \"bob\"", "\"name\": \"alice\""),
            ("\"name\": \"bob\"", "\"name\": \"../bob\""),
            ("\"name\": \"bob\"", "\"name\": \"\\u0000\""),
            ("\"role\": \"observer\"", "\"role\": \"root\""),
            ("\"role\": \"observer\"", "\"role\": 3"),
            (ab.as_str(), "abc"),
            (ab.as_str(), &"AB".repeat(32)),
            (ab.as_str(), &"cd".repeat(32)),
            ("\"serial\": \"\"", "\"serial\": \"x\""),
            ("\"since_ns\": 5", "\"since_ns\": -5"),
            ("\"origin\": \"added\"", "\"origin\": \"found\""),
            ("\"end\": \"void\"", "\"end\": \"open\""),
            ("}\n", "}\n}"),
        ];
        for (from, to) in faults {
            assert!(text.contains(from), "{from}");
            let damaged = text.replacen(from, to, 1);
            assert!(Registry::from_text(damaged.as_bytes()).is_err(), "{to}");
        }
        for end in 0..text.len() - 1 {
            assert!(Registry::from_text(&text.as_bytes()[..end]).is_err(), "cut at {end}");
        }
        assert!(Registry::from_text(&vec![b' '; FILE_BYTES_MAX + 1]).is_err());
    }
}
