//! File systems: what is mounted, how full it is, and giving back what is not used.

use std::path::Path;

use rustix::io::Errno;

use crate::arguments::Arguments;
use crate::block;
use crate::error::{CommandError, reason};
use crate::filesystem_helper::open;
use crate::json::Value;
use crate::kernel::{self, TrimRange};
use crate::log::Log;
use crate::mounts::{Mount, mounts};

/// All file systems on disks.
pub(super) fn info(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    let found = mounts().map_err(|error| CommandError::system("failed to open file: '/proc/self/mountinfo'", error))?;
    let mut values = Vec::with_capacity(found.len());
    // The newest first, as qemu-ga lists them.
    for mount in found.iter().rev() {
        values.push(described(mount)?);
    }
    Ok(values.into())
}

fn described(mount: &Mount) -> Result<Value, CommandError> {
    let link = format!("/sys/dev/block/{}:{}", mount.device.0, mount.device.1);
    let path =
        std::fs::canonicalize(&link).map_err(|error| CommandError::system(format!("realpath(\"{link}\")"), error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sizes = rustix::fs::statvfs(Path::new(&mount.directory)).ok().map(|sizes| {
        let used = sizes.f_blocks.saturating_sub(sizes.f_bfree);
        let bytes = |blocks: u64| Value::from(blocks.saturating_mul(sizes.f_frsize));
        (bytes(used), bytes(used.saturating_add(sizes.f_bavail)), bytes(sizes.f_blocks))
    });
    let (used, total, privileged) = match sizes {
        Some((used, total, privileged)) => (Some(used), Some(total), Some(privileged)),
        None => (None, None, None),
    };
    Ok(Value::object_of([
        ("name", Some(name.into())),
        ("mountpoint", Some(mount.directory.as_str().into())),
        ("type", Some(mount.kind.as_str().into())),
        ("used-bytes", used),
        ("total-bytes", total),
        ("total-bytes-privileged", privileged),
        ("disk", Some(block::addresses(&path).into())),
    ]))
}

/// Tells the disks below all file systems what is not used.
pub(super) fn trim(arguments: &mut Arguments) -> Result<Value, CommandError> {
    let minimum = arguments.optional_integer("minimum")?.unwrap_or_default();
    arguments.finish()?;
    Log::default().account("guest-fstrim called");
    let minimum = u64::try_from(minimum).unwrap_or_default();
    let paths: Vec<Value> = directories()?.iter().rev().map(|directory| trim_one(directory, minimum)).collect();
    Ok(Value::object([("paths", paths.into())]))
}

fn trim_one(directory: &str, minimum: u64) -> Value {
    let mut range = TrimRange { start: 0, length: u64::MAX, minimum };
    let result = open(directory).map_err(|error| format!("failed to open: {}", reason(&error))).and_then(|file| {
        kernel::trim(&file, &mut range).map_err(|error| match error {
            Errno::OPNOTSUPP | Errno::NOTTY => "trim not supported".to_owned(),
            error => format!("failed to trim: {}", reason(&error.into())),
        })
    });
    let (trimmed, error) = match result {
        Ok(()) => (Some((range.length.into(), range.minimum.into())), None),
        Err(error) => (None, Some(Value::from(error))),
    };
    let (trimmed, least) = trimmed.unzip();
    Value::object_of([("path", Some(directory.into())), ("trimmed", trimmed), ("minimum", least), ("error", error)])
}

/// Where file systems on disks are mounted, each device once, in order.
pub(super) fn directories() -> Result<Vec<String>, CommandError> {
    let found = mounts().map_err(|error| CommandError::system("failed to open file: '/proc/self/mountinfo'", error))?;
    let mut devices = Vec::new();
    let mut directories = Vec::new();
    for mount in found {
        if !devices.contains(&mount.device) {
            devices.push(mount.device);
            directories.push(mount.directory);
        }
    }
    Ok(directories)
}
