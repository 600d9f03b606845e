//! Opening and reading files in whose place anything may stand: a pipe must not make us wait for a writer, nor a device
//! or an endless file be read without end. Imports nothing of ours.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// What becomes of a symbolic link in place of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// It is followed: the path is of somebody who may link as they like.
    Follow,
    /// It is refused: the file is one of ours, and we make no links.
    Refuse,
}

/// Opens a regular file as `options` has it. Whatever else is there is opened without waiting, and refused.
///
/// # Errors
/// What the system says, or that it is no regular file.
#[expect(
    clippy::disallowed_methods,
    reason = "for start-up and the children of our own binary, who may wait for a disk"
)]
pub(crate) fn open(path: &Path, options: &mut OpenOptions, links: Links) -> io::Result<File> {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = options.custom_flags(flags).open(path).map_err(|error| {
        let refused = links == Links::Refuse && error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
        if refused { io::Error::other("a symbolic link, and none is followed here") } else { error }
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] if it has more bytes.
pub(crate) fn read(path: &Path, bytes_max: usize, links: Links) -> io::Result<Vec<u8>> {
    read_open(&open(path, OpenOptions::new().read(true), links)?, bytes_max)
}

/// The same for a file that has to be UTF-8.
///
/// # Errors
/// As [`read`], and that it is no UTF-8.
pub(crate) fn read_text(path: &Path, bytes_max: usize, links: Links) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max, links)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads what is left of an open file, if that is at most `bytes_max` bytes.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_open(file: &File, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than can be right is enough to see that it is too long.
    file.take(u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Puts a pipe, and a link to a file without an end, where a file is expected; `expected` is what comes of each.
#[cfg(test)]
pub(crate) fn each_impostor(path: &Path, mut tried: impl FnMut(&str)) {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let clear = || std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path));
    let _nothing_there = clear();
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    tried("a pipe");
    clear().unwrap();
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    tried("a link to /dev/zero");
    clear().unwrap();
    std::fs::create_dir(path).unwrap();
    tried("a directory");
    clear().unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_is_read_and_nothing_else_makes_it_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for links in [Links::Follow, Links::Refuse] {
            each_impostor(&path, |what| {
                assert!(read(&path, 10, links).is_err(), "{what}");
            });
        }
    }

    #[test]
    fn a_link_is_followed_only_where_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_text(&link, 10, Links::Follow).unwrap(), "text");
        let refused = read_text(&link, 10, Links::Refuse).unwrap_err();
        assert_eq!(refused.to_string(), "a symbolic link, and none is followed here");
    }

    #[test]
    fn no_more_is_read_than_may_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5, Links::Refuse).unwrap(), b"12345");
        assert_eq!(read(&path, 4, Links::Refuse).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 5, Links::Refuse).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
