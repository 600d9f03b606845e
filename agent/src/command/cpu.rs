//! Processors: which are there, which are on, how busy they were.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Done;
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::json::Value;

const DIRECTORY: &str = "/sys/devices/system/cpu";
/// A tick of the kernel's books is that many milliseconds.
const TICK_MS: u64 = 10;

/// A processor.
#[derive(Debug, PartialEq, Eq)]
struct Processor {
    id: i64,
    online: bool,
    /// One that cannot be turned off has no switch.
    can_offline: bool,
}

/// All processors.
pub(super) fn list(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    let processors = processors(Path::new(DIRECTORY))?;
    let values: Vec<Value> = processors
        .into_iter()
        .map(|processor| {
            Value::object([
                ("online", processor.online.into()),
                ("can-offline", processor.can_offline.into()),
                ("logical-id", processor.id.into()),
            ])
        })
        .collect();
    Ok(values.into())
}

fn processors(directory: &Path) -> Result<Vec<Processor>, CommandError> {
    let entries = fs::read_dir(directory).map_err(|error| CommandError::system(named("opendir", directory), error))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut ids: Vec<i64> = names.filter_map(|name| name.to_str()?.strip_prefix("cpu")?.parse().ok()).collect();
    ids.sort_unstable();
    ids.into_iter().map(|id| processor(directory, id)).collect()
}

fn processor(directory: &Path, id: i64) -> Result<Processor, CommandError> {
    let own = own_directory(directory, id);
    if let Err(error) = fs::metadata(&own) {
        return Err(CommandError::system(named("open", &own.join("")), error));
    }
    let switch = own.join("online");
    match fs::read(&switch) {
        Ok(text) => Ok(Processor { id, online: text.first() != Some(&b'0'), can_offline: true }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Processor { id, online: true, can_offline: false }),
        Err(error) => Err(CommandError::system(named("open", &switch), error)),
    }
}

fn own_directory(directory: &Path, id: i64) -> PathBuf {
    directory.join(format!("cpu{id}"))
}

fn named(call: &str, path: &Path) -> String {
    format!("{call}(\"{}\")", path.display())
}

/// Turns processors on and off, in order, up to the first that will not; says how many that were.
pub(super) fn set(arguments: &mut Arguments) -> Result<Value, CommandError> {
    let wanted = arguments.objects("vcpus", |vcpu| {
        let wanted = (vcpu.integer("logical-id")?, vcpu.bool("online")?);
        vcpu.optional_bool("can-offline")?;
        Ok(wanted)
    })?;
    arguments.finish()?;
    set_all(Path::new(DIRECTORY), &wanted).map(Value::from)
}

fn set_all(directory: &Path, wanted: &[(i64, bool)]) -> Result<u64, CommandError> {
    let mut count = 0;
    for (id, online) in wanted {
        match set_one(directory, *id, *online) {
            Ok(()) => count += 1,
            Err(error) if count == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(count)
}

fn set_one(directory: &Path, id: i64, online: bool) -> Result<(), CommandError> {
    let processor = processor(directory, id)?;
    if processor.online == online {
        return Ok(());
    }
    if !processor.can_offline {
        return Err(CommandError::generic(format!("logical processor #{id} can't be offlined")));
    }
    let switch = own_directory(directory, id).join("online");
    fs::write(&switch, if online { "1" } else { "0" })
        .map_err(|error| CommandError::system(named("write", &switch), error))
}

/// How long each processor did what.
pub(super) fn stats(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let text = fs::read_to_string("/proc/stat").map_err(|error| CommandError::system("open(\"/proc/stat\")", error))?;
    Ok(Done::Return(stats_in(&text).into()))
}

/// The lines of `/proc/stat` that are of one processor.
fn stats_in(text: &str) -> Vec<Value> {
    const NAMES: [&str; 10] =
        ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guestnice"];
    let mut stats = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let id = words.next().and_then(|name| name.strip_prefix("cpu")).and_then(|id| id.parse::<i64>().ok());
        let Some(id) = id else { continue };
        let mut members = vec![("type".to_owned(), "linux".into()), ("cpu".to_owned(), id.into())];
        let times = words.map_while(|word| word.parse::<u64>().ok());
        let named =
            NAMES.iter().zip(times).map(|(name, ticks)| ((*name).to_owned(), ticks.saturating_mul(TICK_MS).into()));
        members.extend(named);
        stats.push(Value::Object(members));
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three processors: one without a switch, one on, one off.
    fn machine() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, online) in [("cpu0", None), ("cpu1", Some("1\n")), ("cpu10", Some("0\n")), ("cpufreq", None)] {
            fs::create_dir(directory.path().join(name)).unwrap();
            if let Some(online) = online {
                fs::write(directory.path().join(name).join("online"), online).unwrap();
            }
        }
        directory
    }

    #[test]
    fn processors_are_listed_by_number_with_their_switches() {
        let machine = machine();
        let found = processors(machine.path()).unwrap();
        let found: Vec<_> = found.iter().map(|found| (found.id, found.online, found.can_offline)).collect();
        assert_eq!(found, [(0, true, false), (1, true, true), (10, false, true)]);
    }

    #[test]
    fn processors_are_turned_up_to_the_first_that_will_not() {
        let machine = machine();
        assert_eq!(set_all(machine.path(), &[(0, true), (1, false), (77, true), (10, true)]).unwrap(), 2);
        let online = |name: &str| fs::read_to_string(machine.path().join(name).join("online")).unwrap();
        assert_eq!((online("cpu1").as_str(), online("cpu10").as_str()), ("0", "0\n"));
        let error = set_all(machine.path(), &[(0, false), (1, true)]).unwrap_err();
        assert_eq!(error.text(), "logical processor #0 can't be offlined");
        let error = set_all(machine.path(), &[(77, true)]).unwrap_err();
        assert!(error.text().ends_with("/cpu77/\"): No such file or directory"), "{}", error.text());
    }

    #[test]
    fn ticks_become_milliseconds_and_an_old_kernel_has_fewer() {
        let stats = stats_in("cpu  1 2 3\ncpu0 1 2 3 4 5\ncpu12 18446744073709551615\nintr 1\n");
        assert_eq!(stats.len(), 2);
        assert_eq!(stats[0].member("iowait"), Some(&Value::Integer(50)));
        assert_eq!(stats[0].member("irq"), None);
        assert_eq!(stats[1].member("user"), Some(&Value::Unsigned(u64::MAX)));
    }
}
