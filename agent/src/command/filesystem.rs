//! File systems: what is mounted, how full it is, and giving back what is not used.

use std::path::Path;
use std::time::Instant;

use super::{Done, Task};
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::block;
use crate::error::CommandError;
use crate::filesystem_helper;
use crate::json::Value;
use crate::mounts::{Mount, mounts};

/// Trimming a large disk takes its time: so many times that of other commands.
const TRIM_DEADLINES: u32 = 20;

/// All file systems on disks.
pub(super) fn info(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let found = mounts().map_err(|error| CommandError::system("failed to open file: '/proc/self/mountinfo'", error))?;
    let mut values = Vec::with_capacity(found.len());
    // The newest first, as qemu-ga lists them.
    for mount in found.iter().rev() {
        values.push(described(mount)?);
    }
    Ok(Done::Return(values.into()))
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
pub(super) fn trim(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let minimum = arguments.optional_integer("minimum")?.unwrap_or_default();
    arguments.finish()?;
    agent.log.account("guest-fstrim called");
    let minimum = u64::try_from(minimum).unwrap_or_default().to_string();
    let mut directories = directories()?;
    directories.reverse();
    let mut words = vec![filesystem_helper::WORD.to_owned(), "trim".to_owned(), minimum];
    words.append(&mut directories);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(Task::run(filesystem_helper::PROGRAM, &words, agent.settings.request_deadline * TRIM_DEADLINES, |_, end| {
        filesystem_helper::answer(&end, "trim").map(|paths| Done::Return(Value::object([("paths", paths)])))
    }))
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
