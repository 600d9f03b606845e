//! Disks, what they are made of, and how busy they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Done;
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::block;
use crate::error::CommandError;
use crate::filesystem_helper::open;
use crate::json::Value;
use crate::kernel;
use crate::nvme;

/// All disks that have a size, each with its partitions behind it; those that say how they are with that.
pub(super) fn list(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    let mut disks = Vec::new();
    for (name, path) in devices(Path::new("/sys/block"))? {
        if fs::read_to_string(path.join("size")).is_ok_and(|size| size.trim() == "0") {
            continue;
        }
        let Some(node) = block::node(&path) else { continue };
        let dependencies: Vec<Value> =
            block::slaves(&path).iter().filter_map(|below| block::node(below)).map(Value::from).collect();
        let address = if block::is_virtual(&path) { None } else { block::address(&path) };
        let is_nvme = address.as_ref().and_then(|address| address.member("bus-type")) == Some(&"nvme".into());
        // A device of the device mapper goes by a name of its own.
        let alias = fs::read_to_string(path.join("dm/name")).ok().map(|name| name.trim_end().to_owned());
        disks.push(Value::object_of([
            ("name", Some(node.as_str().into())),
            ("dependencies", Some(dependencies.into())),
            ("partition", Some(false.into())),
            ("address", address),
            ("alias", alias.map(Value::from)),
            ("smart", if is_nvme { smart(&node) } else { None }),
        ]));
        let mut partitions: Vec<PathBuf> = fs::read_dir(&path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
            .map(|entry| entry.path())
            .collect();
        partitions.sort();
        for partition in partitions.iter().filter_map(|path| block::node(path)) {
            disks.push(Value::object([
                ("name", partition.into()),
                ("dependencies", vec![node.as_str().into()].into()),
                ("partition", true.into()),
            ]));
        }
    }
    Ok(disks.into())
}

/// How a disk is, if it says so.
fn smart(disk: &str) -> Option<Value> {
    Some(nvme::health(&kernel::nvme_health(open(disk).ok()?).ok()?))
}

/// Names and places of all block devices.
fn devices(directory: &Path) -> Result<Vec<(String, PathBuf)>, CommandError> {
    let failed = |error| CommandError::system(format!("Can't open directory \"{}\"", directory.display()), error);
    let entries = fs::read_dir(directory).map_err(failed)?.flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            Some((entry.file_name().to_string_lossy().into_owned(), fs::canonicalize(entry.path()).ok()?))
        })
        .collect();
    found.sort();
    Ok(found)
}

/// How much each disk read, wrote and threw away.
pub(super) fn stats(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let text = fs::read_to_string("/proc/diskstats")
        .map_err(|error| CommandError::system("open(\"/proc/diskstats\")", error))?;
    Ok(Done::Return(text.lines().filter_map(stats_in).collect::<Vec<_>>().into()))
}

/// A line of `/proc/diskstats`. Older kernels count less, and of what they do not count nothing is said.
fn stats_in(line: &str) -> Option<Value> {
    const NAMES: [&str; 17] = [
        "read-ios",
        "read-merges",
        "read-sectors",
        "read-ticks",
        "write-ios",
        "write-merges",
        "write-sectors",
        "write-ticks",
        "ios-pgr",
        "total-ticks",
        "weight-ticks",
        "discard-ios",
        "discard-merges",
        "discard-sectors",
        "discard-ticks",
        "flush-ios",
        "flush-ticks",
    ];
    let mut words = line.split_whitespace();
    let (major, minor): (u32, u32) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let name = words.next()?;
    let counters = words.map_while(|word| word.parse::<u64>().ok());
    let stats: Vec<_> = NAMES.iter().zip(counters).map(|(name, count)| ((*name).to_owned(), count.into())).collect();
    Some(Value::object([
        ("name", name.into()),
        ("major", major.into()),
        ("minor", minor.into()),
        ("stats", Value::Object(stats)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_any_kernel_is_read() {
        let line = stats_in(" 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17").unwrap();
        let stats = line.member("stats").unwrap();
        assert_eq!(stats.member("read-ios"), Some(&Value::Integer(1)));
        assert_eq!(stats.member("flush-ticks"), Some(&Value::Integer(17)));
        let old = stats_in("8 0 sda 1 2 3 4 5 6 7 8 9 10 11").unwrap();
        assert_eq!(old.member("stats").unwrap().member("discard-ios"), None);
        assert_eq!(old.member("stats").unwrap().member("weight-ticks"), Some(&Value::Integer(11)));
        assert_eq!(stats_in("garbage"), None);
    }
}
