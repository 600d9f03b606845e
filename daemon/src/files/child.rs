//! The file helper itself: reads requests from standard input, a socket, and answers there, until its end. It may wait for
//! disks as long as it likes.

#![expect(clippy::disallowed_methods, reason = "waiting for disks is what this process is for")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::net::{RecvFlags, SendFlags};

use super::{append, packet};
use crate::driver::{FileAnswer, FileRequest, FileTicket, ReadFile};
use crate::regular_file::{self, Links};

/// The argument that makes `vmwired` a file helper.
pub const ARGUMENT: &str = "--files";

/// Ends the name of a file that is not finished. Whoever finds one at start-up may remove it.
pub const UNFINISHED_SUFFIX: &str = ".unfinished";

/// Serves until the daemon closes its end.
///
/// # Errors
/// Standard input is not what the daemon would have given.
pub fn run() -> io::Result<()> {
    // It shows in lists of processes, and only there.
    let _ = fs::write("/proc/self/comm", "vmwired-files");
    serve(io::stdin().as_fd())
}

fn serve(socket: impl AsFd) -> io::Result<()> {
    let mut received = Vec::new();
    let mut bytes = vec![0; 64 * 1024];
    let mut unfinished = 0;
    loop {
        let (count, _) = rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut *bytes, RecvFlags::empty()))?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&bytes[..count]);
        // Whatever came together becomes durable together.
        let mut batch = Batch::new(unfinished);
        while let Some((ticket, request)) =
            packet::take_request(&mut received).map_err(|()| io::Error::from(io::ErrorKind::InvalidData))?
        {
            batch.execute(ticket, request);
        }
        unfinished = batch.unfinished;
        for (ticket, answer) in batch.finish() {
            send(&socket, &packet::answer(ticket, &answer))?;
        }
    }
}

fn send(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Requests that came together: done one after the other, with one fsync for each directory at the end.
#[derive(Debug)]
struct Batch {
    /// What to answer, and the directory on whose fsync it depends.
    answers: Vec<(FileTicket, FileAnswer, Option<PathBuf>)>,
    /// How many unfinished files were ever made, for their names.
    unfinished: u64,
}

impl Batch {
    fn new(unfinished: u64) -> Self {
        Self { answers: Vec::new(), unfinished }
    }

    fn execute(&mut self, ticket: FileTicket, request: FileRequest) {
        let (outcome, durable, path) = match request {
            FileRequest::Write { path, data, durable } => {
                self.unfinished += 1;
                let outcome = replace(&path, &data, durable, self.unfinished).map(|()| FileAnswer::Done);
                (told("write", &path, outcome), durable, path)
            }
            FileRequest::Append { path, lines, rotate_bytes, keep } => {
                let outcome = append::append(&path, &lines, rotate_bytes, keep).map(|()| FileAnswer::Done);
                (told("append to", &path, outcome), false, path)
            }
            FileRequest::AddLine { path, line } => {
                let outcome = append::add_line(&path, &line).map(|()| FileAnswer::Done);
                (told("add a line to", &path, outcome), true, path)
            }
            FileRequest::Remove { path, durable } => {
                let outcome = match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(FileAnswer::Done),
                };
                (told("remove", &path, outcome), durable, path)
            }
            FileRequest::Read { files } => {
                let outcome = read_all(&files).map_or_else(FileAnswer::Failed, FileAnswer::Read);
                (outcome, false, PathBuf::new())
            }
        };
        let directory = path.parent().filter(|_| durable && matches!(outcome, FileAnswer::Done)).map(Path::to_owned);
        self.answers.push((ticket, outcome, directory));
    }

    fn finish(self) -> impl Iterator<Item = (FileTicket, FileAnswer)> {
        let directories: BTreeSet<&PathBuf> = self.answers.iter().filter_map(|(.., dir)| dir.as_ref()).collect();
        let failures: Vec<(PathBuf, String)> = directories
            .into_iter()
            .filter_map(|dir| {
                let error = File::open(dir).and_then(|dir| dir.sync_all()).err()?;
                Some((dir.clone(), format!("cannot make {} durable: {error}", dir.display())))
            })
            .collect();
        self.answers.into_iter().map(move |(ticket, answer, dir)| {
            let failure = failures.iter().find(|(failed, _)| Some(failed) == dir.as_ref());
            (ticket, failure.map_or(answer, |(_, why)| FileAnswer::Failed(why.clone())))
        })
    }
}

/// Reads files that belong together: all, or none and why.
pub(crate) fn read_all(files: &[ReadFile]) -> Result<Vec<Option<Vec<u8>>>, String> {
    files
        .iter()
        .map(|file| read(file).map_err(|error| format!("cannot read {}: {error}", file.path.display())))
        .collect()
}

fn read(file: &ReadFile) -> io::Result<Option<Vec<u8>>> {
    let opened = match regular_file::open(&file.path, OpenOptions::new().read(true), Links::Follow) {
        Err(error) if file.optional && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if file.private {
        vmwire_tls::config::key_mode_verdict(opened.metadata()?.mode()).map_err(io::Error::other)?;
    }
    regular_file::read_open(&opened, file.bytes_max).map(Some)
}

fn told(verb: &str, path: &Path, outcome: io::Result<FileAnswer>) -> FileAnswer {
    outcome.unwrap_or_else(|error| FileAnswer::Failed(format!("cannot {verb} {}: {error}", path.display())))
}

/// Whoever reads `path` at any time, and whatever happens, finds what was there or what is to be there. `number` tells
/// apart what one process has unfinished at once.
pub(crate) fn replace(path: &Path, data: &[u8], durable: bool, number: u64) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
    };
    let mut unfinished_name = std::ffi::OsString::from(".");
    unfinished_name.push(name);
    unfinished_name.push(format!(".{}-{number}{UNFINISHED_SUFFIX}", std::process::id()));
    let unfinished = dir.join(unfinished_name);
    let written = write_new(&unfinished, data, durable).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // What remains is removed at the next start.
        let _ = fs::remove_file(&unfinished);
    }
    match written {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => Err(gone(dir)),
        written => written,
    }
}

/// It is not made here: it was there, so whoever removed it removed what was in it, or a file system is not mounted.
fn gone(dir: &Path) -> io::Error {
    let dir = dir.display();
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("the directory {dir} is gone, and what was in it: put it back, or make it anew with mode 0700"),
    )
}

fn write_new(path: &Path, data: &[u8], durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(data)?;
    if durable { file.sync_all() } else { Ok(()) }
}
