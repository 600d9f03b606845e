//! The first field of a line of known_hosts: names of hosts, in clear with patterns, or hashed (sshd(8), "SSH_KNOWN_HOSTS FILE
//! FORMAT").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// No pattern of a host is longer; a longer one matches nobody, as in the ssh program.
const PATTERN_BYTES_MAX: usize = 1023;

/// Whether the first field of a line means a host.
pub(super) fn matches(hosts: &str, name: &str) -> Result<bool, &'static str> {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        let (salt, stored) = hashed.split_once('|').ok_or("its hashed name is cut")?;
        let salt = STANDARD.decode(salt).map_err(|_| "its hashed name is not base64")?;
        let stored = STANDARD.decode(stored).map_err(|_| "its hashed name is not base64")?;
        return Ok(salt.len() == 20 && hash(&salt, name).as_ref() == stored);
    }
    if hosts.starts_with('|') {
        return Err("its name is hashed in a way that is not known");
    }
    let mut found = false;
    for pattern in hosts.split(',') {
        let (negated, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Ok(false);
        }
        if fits(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()) {
            if negated {
                return Ok(false);
            }
            found = true;
        }
    }
    Ok(found)
}

/// Whether a pattern with `*` and `?` fits a text: one look back at the last star, so never more than their product.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (p, t) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// The field that stands for a name which is not to be read in the file.
#[cfg(any(feature = "ssh2", test))]
pub(super) fn hashed_name(name: &str, salt: &[u8; 20]) -> String {
    let hash = hash(salt, name);
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash.as_ref()))
}

fn hash(salt: &[u8], name: &str) -> hmac::Tag {
    // The format's own; nothing hangs on it but who can read the list of hosts.
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJcUdxrdTFHxZhvMVTMtkdc0jxZFBqAw6kGkUY6QRyNS";

    fn hosts(field: &str, name: &str) -> bool {
        matches(field, name).unwrap_or(false)
    }

    /// The ssh program's own opinion.
    fn ssh_keygen_finds(field: &str, name: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{field} ssh-ed25519 {ED25519}\n")).unwrap();
        let run = Command::new("ssh-keygen").arg("-F").arg(name).arg("-f").arg(file.path()).output();
        run.expect("ssh-keygen is there").status.success()
    }

    #[test]
    fn names_are_matched_as_ssh_keygen_matches_them() {
        let salt = [7; 20];
        let hashed = hashed_name("vm1", &salt);
        let hashed_port = hashed_name("[vm1]:2222", &salt);
        let long = format!("{}*,vm1", "a".repeat(1100));
        let fields = [
            "vm1",
            "VM1",
            "vm1.example.org",
            "vm2,vm1",
            "vm*",
            "v?1",
            "?",
            "*",
            "***",
            "v*m*1*",
            "*,!vm1",
            "!vm1,*",
            "!vm1",
            "[vm1]:2222",
            "[vm1]:*",
            "[*]:2222",
            "vm1:2222",
            "[vm1]:22",
            "",
            ",",
            &hashed,
            &hashed_port,
            "|1|AAAA|AAAA",
            &long,
        ];
        for field in fields {
            for name in ["vm1", "[vm1]:2222", "vm1.example.org", "192.0.2.1", "[2001:db8::1]:2222"] {
                assert_eq!(hosts(field, name), ssh_keygen_finds(field, name), "{field:?} for {name:?}");
            }
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let pattern = "*a".repeat(500);
        assert!(!fits(pattern.as_bytes(), "a".repeat(499).as_bytes()));
        assert!(fits(b"*", b""));
        assert!(!fits(b"?", b""));
    }
}
