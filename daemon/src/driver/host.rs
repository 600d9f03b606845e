//! What a driver needs of the process it lives in. Provided by `server`; by a double in tests.

use std::io;
use std::path::PathBuf;

use mio::Token;
use mio::event::Source;

/// The loop and the file helper, as far as a driver may use them.
pub trait Host {
    /// Watches a descriptor for reading and writing, edge-triggered. Readiness comes to `Driver::handle_ready`.
    ///
    /// # Errors
    /// What the kernel says.
    fn watch(&mut self, source: &mut dyn Source) -> io::Result<Token>;

    /// Ends watching. No readiness for `token` comes any more.
    fn unwatch(&mut self, source: &mut dyn Source, token: Token);

    /// Asks the file helper for something; the answer comes to `Driver::handle_file`.
    fn file(&mut self, request: FileRequest) -> FileTicket;
}

/// Ties a file answer to its request. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileTicket(pub u64);

/// What the file helper (`vmwired --files`) does: everything that could wait for a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRequest {
    /// Replace `path` with `data`: a temporary name, written, renamed. `durable`: file and directory are fsynced.
    Write {
        /// Absolute.
        path: PathBuf,
        /// The whole new content.
        data: Vec<u8>,
        /// Whether it must outlive the host.
        durable: bool,
    },
    /// Add whole lines to the end of `path`, which is made if it is not there, for its owner alone. A link is not
    /// followed.
    Append {
        /// Absolute.
        path: PathBuf,
        /// The lines, the last one with its end.
        lines: Vec<u8>,
        /// If it would become longer than that, it becomes `path.1` first, and that `path.2`, and so on.
        rotate_bytes: u64,
        /// How many old ones there may be; at least one.
        keep: u32,
    },
    /// Add a line to the end of `path`, as [`FileRequest::Append`] does, on the disk when it is answered. Others add
    /// lines to it as well, so that nothing is ever taken back or renamed.
    AddLine {
        /// Absolute.
        path: PathBuf,
        /// The line without its end.
        line: Vec<u8>,
    },
    /// Remove `path`; that it is not there is success.
    Remove {
        /// Absolute.
        path: PathBuf,
        /// Whether the removal must outlive the host.
        durable: bool,
    },
    /// Read files that belong together.
    Read {
        /// Each of them.
        files: Vec<ReadFile>,
    },
}

/// A file to be read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFile {
    /// Absolute. Symbolic links are followed.
    pub path: PathBuf,
    /// A longer file is an error.
    pub bytes_max: usize,
    /// That others than its owner can read or write it is an error.
    pub private: bool,
    /// That it is not there is none.
    pub optional: bool,
}

/// What became of a file request.
#[derive(Debug)]
pub enum FileAnswer {
    /// Written or removed.
    Done,
    /// What was read, in the order of the request; `None` for a file that need not be there, and is not.
    Read(Vec<Option<Vec<u8>>>),
    /// What the system said, with the path.
    Failed(String),
}
