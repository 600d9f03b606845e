//! Adding lines to the end of a file, which becomes the newest of some old ones when it has grown too long.
//!
//! The old ones are named as logrotate names them: `NAME.1` is the newest of them, and what would be beyond the last is
//! removed. Whoever reads the file sees whole lines only: what could not be written as a whole is taken back.

#![expect(clippy::disallowed_methods, reason = "waiting for disks is what the file helper is for")]

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::regular_file::{self, Links};

/// Old files are sought up to this number.
const OLD_MAX: u32 = 1000;

/// Adds `lines` to the end of `path`. If that would make it longer than `rotate_bytes`, a new file is begun first, and
/// `keep` old ones are left beside it.
pub(super) fn append(path: &Path, lines: &[u8], rotate_bytes: u64, keep: u32) -> io::Result<()> {
    let (mut file, mut length) = open(path)?;
    if length > 0 && length.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX)) > rotate_bytes {
        rotate(path, keep).map_err(|error| io::Error::new(error.kind(), format!("rotating it: {error}")))?;
        (file, length) = open(path)?;
    }
    let written = end_torn_line(&mut file, length).and_then(|()| file.write_all(lines));
    if written.is_err() {
        // If even that fails, the next one ends the line that was torn.
        let _ = file.set_len(length);
    }
    written
}

/// Adds a line to the end of `path`, on the disk when this returns. Others do so too, so that what could not be written as a
/// whole is not taken back: it might be theirs. The next one to come ends it.
pub(super) fn add_line(path: &Path, line: &[u8]) -> io::Result<()> {
    let (mut file, length) = open(path)?;
    let mut whole = Vec::with_capacity(line.len() + 2);
    if is_torn(&file, length)? {
        whole.push(b'\n');
    }
    whole.extend_from_slice(line);
    whole.push(b'\n');
    // With one call, so that nobody else's line stands in the middle of it.
    file.write_all(&whole)?;
    file.sync_all()
}

/// The file and its length.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let options = &mut OpenOptions::new();
    let file = regular_file::open(path, options.read(true).append(true).create(true).mode(0o600), Links::Refuse)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// The host may have gone down in the middle of a line.
fn end_torn_line(file: &mut File, length: u64) -> io::Result<()> {
    if is_torn(file, length)? { file.write_all(b"\n") } else { Ok(()) }
}

fn is_torn(file: &File, length: u64) -> io::Result<bool> {
    let Some(last_at) = length.checked_sub(1) else { return Ok(false) };
    let mut last = [0];
    file.read_exact_at(&mut last, last_at)?;
    Ok(last != *b"\n")
}

/// Makes the file the newest of the old ones. The oldest goes first, so that whatever fails, nothing takes the place of
/// another.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    for number in (1..keep).rev() {
        rename(&old(path, number), &old(path, number + 1))?;
    }
    rename(path, &old(path, 1))?;
    // More may have been kept before.
    for number in keep.saturating_add(1)..=OLD_MAX {
        match fs::remove_file(old(path, number)) {
            Ok(()) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// Renames what is there; where nothing is, nothing is to be done.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn old(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
