//! What the known_hosts files say of a host, read as the ssh program reads them (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! libssh2 reads such files too, but it knows no markers, no wildcards and no negation, gives up the whole file at a line
//! that it does not understand, and takes a key of port 22 for those of all ports.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::OFlags;

use super::error::NativeError;
use super::host_key::HostKey;
use crate::transport::ssh::host_names::matches;

/// A file has no more.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// What a line says besides that this is the host's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// Nothing.
    None,
    /// The key must not be trusted any more.
    Revoked,
    /// The key is not the host's own: it signs those that are.
    Authority,
}

/// A line that is about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: PathBuf,
    /// From 1.
    pub(super) number: usize,
    pub(super) marker: Marker,
    pub(super) key: HostKey,
}

/// What the lines make of the key that a host shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It is the one that is stored.
    Known,
    /// Nothing is stored that it could be compared with.
    Unknown,
    /// It is not the one that is stored.
    Changed(&'a Line),
    /// It is not to be trusted.
    Revoked(&'a Line),
    /// Only an authority is stored, so a certificate would have to be judged.
    Authority(&'a Line),
}

/// All lines about a host.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<Line>);

impl Known {
    /// Reads what files say of a host. What is not there says nothing.
    pub(super) fn read<'a>(files: impl IntoIterator<Item = &'a Path>, name: &str) -> Result<Self, NativeError> {
        let mut all = Vec::new();
        for file in files {
            if let Some(bytes) = read_file(file)? {
                lines_about(file, &bytes, name, &mut all);
            }
        }
        Ok(Self(all))
    }

    /// Keys that the host may show.
    pub(super) fn own(&self) -> impl Iterator<Item = &Line> {
        self.0.iter().filter(|line| line.marker == Marker::None)
    }

    /// What to make of the key that it shows.
    pub(super) fn verdict(&self, shown: &HostKey) -> Verdict<'_> {
        if let Some(line) = self.0.iter().find(|line| line.marker == Marker::Revoked && line.key == *shown) {
            return Verdict::Revoked(line);
        }
        if self.own().any(|line| line.key == *shown) {
            return Verdict::Known;
        }
        if let Some(line) = self.own().find(|line| line.key.kind() == shown.kind()) {
            return Verdict::Changed(line);
        }
        match self.0.iter().find(|line| line.marker == Marker::Authority) {
            Some(line) => Verdict::Authority(line),
            None => Verdict::Unknown,
        }
    }
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, NativeError> {
    // Not waiting, or a pipe in the file's place would hang us.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let read = opened.and_then(|file| {
        if !file.metadata()?.is_file() {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) => {
            Err(NativeError::KnownHostsTooLong { file: path.to_owned(), bytes_max: FILE_BYTES_MAX })
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            log::warn!("{} is not read: {error}", path.display());
            Ok(None)
        }
    }
}

fn lines_about(file: &Path, bytes: &[u8], name: &str, found: &mut Vec<Line>) {
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        match read_line(line, name) {
            Ok(Some((marker, key))) => found.push(Line { file: file.to_owned(), number, marker, key }),
            Ok(None) => {}
            Err(why) => log::warn!("{}:{number} is skipped: {why}", file.display()),
        }
    }
}

/// What a line says, if it is about this host.
fn read_line(line: &str, name: &str) -> Result<Option<(Marker, HostKey)>, &'static str> {
    let (marker, line) = match line.strip_prefix('@') {
        None => (Marker::None, line),
        Some(rest) => {
            let (marker, rest) = word(rest);
            match marker {
                "revoked" => (Marker::Revoked, rest),
                "cert-authority" => (Marker::Authority, rest),
                _ => return Err("its marker is not known"),
            }
        }
    };
    let (hosts, rest) = word(line);
    let (kind, rest) = word(rest);
    let (encoded, _comment) = word(rest);
    if encoded.is_empty() {
        return Err("it has no key");
    }
    if !matches(hosts, name)? {
        return Ok(None);
    }
    let blob = STANDARD.decode(encoded).map_err(|_| "its key is not base64")?;
    let key = HostKey::read(blob).ok_or("its key is cut")?;
    if key.kind() != kind {
        return Err("its key is not of the kind that it says");
    }
    Ok(Some((marker, key)))
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> HostKey {
        let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &[byte; 32]].concat();
        HostKey::read(blob).unwrap()
    }

    fn known(text: &str) -> Known {
        let mut found = Vec::new();
        lines_about(Path::new("/f"), text.as_bytes(), "vm1", &mut found);
        Known(found)
    }

    #[test]
    fn lines_with_garbage_are_skipped_and_the_others_hold() {
        let good = key(1).line();
        let text = format!(
            "\0\u{1}garbage\n@marker vm1 {good}\nvm1\nvm1 ssh-ed25519\nvm1 ssh-ed25519 !!!\nvm1 ssh-rsa {}\n|2|a|b {good}\n\
             |1|x {good}\nvm1 1024 35 123456\nvm1 ssh-ed25519 AAAA\n# vm1 {good}\n\n \t vm1\t{good} me@here\r\n",
            good.split(' ').nth(1).unwrap()
        );
        let known = known(&text);
        assert_eq!(known.0.len(), 1, "{known:?}");
        assert_eq!((known.0[0].number, known.0[0].marker), (13, Marker::None));
        assert_eq!(known.verdict(&key(1)), Verdict::Known);
    }

    #[test]
    fn a_key_is_known_changed_revoked_or_left_to_an_authority() {
        let (one, two) = (key(1).line(), key(2).line());
        let verdict = |text: &str| match known(text).verdict(&key(1)) {
            Verdict::Known => ("known", 0),
            Verdict::Unknown => ("unknown", 0),
            Verdict::Changed(line) => ("changed", line.number),
            Verdict::Revoked(line) => ("revoked", line.number),
            Verdict::Authority(line) => ("authority", line.number),
        };
        assert_eq!(verdict(""), ("unknown", 0));
        assert_eq!(verdict(&format!("vm2 {two}")), ("unknown", 0));
        assert_eq!(verdict(&format!("vm1 {one}")), ("known", 0));
        assert_eq!(verdict(&format!("vm1 {two}\nvm1 {one}")), ("known", 0));
        assert_eq!(verdict(&format!("vm1 {two}")), ("changed", 1));
        assert_eq!(verdict(&format!("vm1 {one}\n@revoked * {one}")), ("revoked", 2));
        assert_eq!(verdict(&format!("@revoked vm2 {one}\nvm1 {one}")), ("known", 0));
        assert_eq!(verdict(&format!("@revoked vm1 {two}")), ("unknown", 0));
        assert_eq!(verdict(&format!("@cert-authority v* {two}")), ("authority", 1));
        assert_eq!(verdict(&format!("@cert-authority * {one}\nvm1 {two}")), ("changed", 2));
    }

    #[test]
    fn a_file_too_long_is_refused_and_what_is_no_file_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        std::fs::write(&path, vec![b'\n'; 10 * 1024 * 1024]).unwrap();
        assert!(Known::read([path.as_path()], "vm1").is_ok());
        std::fs::write(&path, vec![b'\n'; 10 * 1024 * 1024 + 1]).unwrap();
        let error = Known::read([path.as_path()], "vm1").unwrap_err();
        assert!(matches!(error, NativeError::KnownHostsTooLong { .. }), "{error:?}");
        let nowhere = [Path::new("/dev/null"), directory.path(), Path::new("/nonexistent/known_hosts")];
        assert!(Known::read(nowhere, "vm1").unwrap().0.is_empty());
    }
}
