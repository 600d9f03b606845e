//! Blocks of memory that can be turned on and off.

use std::fs;
use std::io;
use std::path::Path;

use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::json::Value;

const DIRECTORY: &str = "/sys/devices/system/memory";

/// All blocks.
pub(super) fn list(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    blocks(Path::new(DIRECTORY)).map(Value::from)
}

fn blocks(directory: &Path) -> Result<Vec<Value>, CommandError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CommandError::unsupported()),
        Err(error) => {
            return Err(CommandError::system(format!("Can't open directory\"{}\"", directory.display()), error));
        }
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut indices: Vec<i64> = names.filter_map(|name| name.to_str()?.strip_prefix("memory")?.parse().ok()).collect();
    indices.sort_unstable();
    let mut blocks = Vec::with_capacity(indices.len());
    for index in indices {
        let block = directory.join(format!("memory{index}"));
        let state = fs::read_to_string(block.join("state")).map_err(|error| {
            CommandError::system(format!("open sysfs file \"{}\"", block.join("state").display()), error)
        })?;
        // A kernel without the file says that nothing can be turned off.
        let can_offline = fs::read(block.join("removable")).is_ok_and(|text| text.first() != Some(&b'0'));
        blocks.push(Value::object([
            ("online", state.starts_with("online").into()),
            ("can-offline", can_offline.into()),
            ("phys-index", index.into()),
        ]));
    }
    Ok(blocks)
}

/// How large a block is.
pub(super) fn block_info(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    block_bytes(Path::new(DIRECTORY)).map(|bytes| Value::object([("size", bytes.into())]))
}

fn block_bytes(directory: &Path) -> Result<u64, CommandError> {
    let path = directory.join("block_size_bytes");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CommandError::unsupported()),
        Err(error) => return Err(CommandError::system(format!("open sysfs file \"{}\"", path.display()), error)),
    };
    u64::from_str_radix(text.trim(), 16)
        .map_err(|_| CommandError::generic(format!("{} holds no number", path.display())))
}

/// Turns blocks on and off; says of each what became of it.
pub(super) fn set(arguments: &mut Arguments) -> Result<Value, CommandError> {
    let wanted = arguments.objects("mem-blks", |block| {
        let wanted = (block.integer("phys-index")?, block.bool("online")?);
        block.optional_bool("can-offline")?;
        Ok(wanted)
    })?;
    arguments.finish()?;
    if !Path::new(DIRECTORY).exists() {
        return Err(CommandError::unsupported());
    }
    let results: Vec<Value> = wanted
        .into_iter()
        .map(|(index, online)| {
            let (response, code) = match set_one(Path::new(DIRECTORY), index, online) {
                Ok(()) => ("success", None),
                Err((response, error)) => (response, error.raw_os_error().map(i64::from)),
            };
            Value::object_of([
                ("phys-index", Some(index.into())),
                ("response", Some(response.into())),
                ("error-code", code.map(Value::from)),
            ])
        })
        .collect();
    Ok(results.into())
}

fn set_one(directory: &Path, index: i64, online: bool) -> Result<(), (&'static str, io::Error)> {
    let block = directory.join(format!("memory{index}"));
    fs::metadata(&block).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ("not-found", error),
        _ => ("operation-failed", error),
    })?;
    let path = block.join("state");
    let state = fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ("operation-not-supported", error),
        _ => ("operation-failed", error),
    })?;
    if state.starts_with("online") == online {
        return Ok(());
    }
    fs::write(&path, if online { "online" } else { "offline" }).map_err(|error| ("operation-failed", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_block_is_in_base_16() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(block_bytes(directory.path()).unwrap_err(), CommandError::unsupported());
        fs::write(directory.path().join("block_size_bytes"), "8000000\n").unwrap();
        assert_eq!(block_bytes(directory.path()).unwrap(), 128 << 20);
    }

    #[test]
    fn blocks_say_what_they_are_and_become_what_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        for (name, state, removable) in [("memory0", "online\n", Some("0\n")), ("memory32", "offline\n", Some("1\n"))] {
            let block = directory.path().join(name);
            fs::create_dir(&block).unwrap();
            fs::write(block.join("state"), state).unwrap();
            if let Some(removable) = removable {
                fs::write(block.join("removable"), removable).unwrap();
            }
        }
        let found = blocks(directory.path()).unwrap();
        assert_eq!(
            found[0],
            Value::object([("online", true.into()), ("can-offline", false.into()), ("phys-index", 0_i64.into())])
        );
        assert_eq!(
            found[1],
            Value::object([("online", false.into()), ("can-offline", true.into()), ("phys-index", 32_i64.into())])
        );
        set_one(directory.path(), 32, true).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("memory32/state")).unwrap(), "online");
        assert_eq!(set_one(directory.path(), 99, true).unwrap_err().0, "not-found");
        fs::remove_file(directory.path().join("memory0/state")).unwrap();
        assert_eq!(set_one(directory.path(), 0, true).unwrap_err().0, "operation-not-supported");
    }
}
