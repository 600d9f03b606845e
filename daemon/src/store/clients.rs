//! The registry of clients on disk: `clients.json`. What cannot be read is told and left where it is: nobody is known by a key
//! then, and nothing is written in its place, until somebody has mended it.

use std::io;
use std::path::Path;

use crate::dispatch::KeptRegistry;
use crate::enrolment::{FILE_BYTES_MAX, Registry};
use crate::logging::escape;
use crate::regular_file::{self, Links};

/// Reads the registry. That there is none is no error.
pub(super) fn load(path: &Path) -> KeptRegistry {
    let read = match regular_file::read(path, FILE_BYTES_MAX, Links::Refuse) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Registry::default()),
        read => read.map_err(|error| error.to_string()),
    };
    read.and_then(|text| Registry::from_text(&text).map_err(|error| error.to_string())).map_err(|why| {
        let why = format!("{}: {why}", escape(&path.to_string_lossy()));
        log::error!("no client is known by its key, and none can be invited or changed: {why}");
        why
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_registry_that_cannot_be_read_is_left_alone_and_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clients.json");
        assert_eq!(load(&path), Ok(Registry::default()));
        fs::write(&path, Registry::default().to_text()).unwrap();
        assert_eq!(load(&path), Ok(Registry::default()));
        for damaged in ["", "{}", "[]", "{\"form\": 1, \"clients\": ["] {
            fs::write(&path, damaged).unwrap();
            assert!(load(&path).unwrap_err().contains("clients.json"), "{damaged}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
        regular_file::each_impostor(&path, |what| {
            assert!(load(&path).is_err(), "{what}");
        });
    }
}
