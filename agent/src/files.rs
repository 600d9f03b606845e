//! Files that a host has opened. A handle is a number that is never given twice and belongs to nobody: whoever is connected may use
//! it until it is closed.

use std::collections::BTreeMap;
use std::fs::File;

/// How many files may be open.
pub const FILES_MAX: usize = 512;

/// All files.
#[derive(Debug, Default)]
pub struct Files {
    all: BTreeMap<i64, File>,
}

impl Files {
    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.all.len() < FILES_MAX
    }

    /// Keeps a file under a new handle.
    pub fn insert(&mut self, handle: i64, file: File) {
        self.all.insert(handle, file);
    }

    /// The file of a handle.
    pub fn get(&self, handle: i64) -> Option<&File> {
        self.all.get(&handle)
    }

    /// The same, no longer kept.
    pub fn take(&mut self, handle: i64) -> Option<File> {
        self.all.remove(&handle)
    }
}
