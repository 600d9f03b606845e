//! Judges the run records that a former daemon left. For start-up only: reads `/proc`.
//!
//! A guest is taken up only when everything is proved: the record is of this boot of the host, the process is there
//! with the start time of the record, which no other record names, the sockets are where they belong in a directory
//! that is ours alone; then that it is this process that listens at the monitor, and, over the monitor, the uuid. A
//! process that is gone for sure, and at whose monitor nobody listens, leaves only its files. Everything in between is
//! lost: shown, never ended, and its name refuses to start.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::guest::{Guest, Surroundings};
use super::lifecycle::Lifecycle;
use super::process::{Watched, has_ended};
use super::record::{FoundRecord, Paths, ProcessMark, Record, start_time};
use super::socket;
use crate::driver::Process;

/// Which run of the host this is. Empty if the system does not say, which is the same as no other.
#[expect(clippy::disallowed_methods, reason = "called at start-up, before the loop turns")]
pub(super) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// What a record comes to.
#[derive(Debug)]
enum Verdict {
    /// The process is the one of the record; its monitor has still to prove the uuid.
    Ours(OwnedFd, Process),
    /// There is no such process any more.
    Gone { same_boot: bool },
    /// Neither can be proved.
    Lost(String),
}

/// The processes that several records name: at most one of these is true, and which is not known.
pub(super) fn claimed_twice(found: &[FoundRecord]) -> BTreeSet<ProcessMark> {
    let mut claimed = BTreeSet::new();
    let marks = found.iter().filter_map(|found| parse(found).ok()?.process);
    marks.filter(|mark| !claimed.insert(*mark)).collect()
}

/// Takes up the guest of a record, as far as it can be.
pub(super) fn take_up(
    around: &mut Surroundings<'_>,
    found: &FoundRecord,
    claimed_twice: &BTreeSet<ProcessMark>,
) -> Guest {
    let vm = found.vm;
    let patience = around.config.patience();
    let record = match parse(found) {
        Ok(record) => record,
        Err(why) => return Guest::new(around.config, vm, Lifecycle::lost(vm, &why)),
    };
    match judge(around.boot_id, &around.config.runtime_dir, &record) {
        Verdict::Ours(..) if record.process.is_some_and(|mark| claimed_twice.contains(&mark)) => {
            let why = "the run record of another guest names the same process";
            Guest::found(around, Lifecycle::lost(vm, why), &record, None)
        }
        Verdict::Ours(pidfd, process) => match Watched::process(around.host, pidfd) {
            Ok(watched) => {
                let life = Lifecycle::adopt(around.now, vm, process, patience, first_id());
                Guest::found(around, life, &record, Some(watched))
            }
            Err(error) => {
                let why = format!("its process cannot be watched: {error}");
                Guest::found(around, Lifecycle::lost(vm, &why), &record, None)
            }
        },
        Verdict::Gone { same_boot } => Guest::found(around, Lifecycle::gone(vm, same_boot), &record, None),
        Verdict::Lost(why) => Guest::found(around, Lifecycle::lost(vm, &why), &record, None),
    }
}

/// Where to begin to number commands: drawn, and small enough for whoever takes numbers for floating-point ones.
fn first_id() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 >> 12
}

fn parse(found: &FoundRecord) -> Result<Record, String> {
    let content = found.content.as_ref().map_err(|why| format!("its run record cannot be read: {why}"))?;
    if content.len() > FoundRecord::BYTES_MAX {
        return Err("its run record is longer than any that was written".to_owned());
    }
    let record: Record =
        serde_json::from_slice(content).map_err(|error| format!("its run record cannot be understood: {error}"))?;
    if record.uuid != found.vm.0 {
        return Err(format!("its run record is that of {}", record.uuid));
    }
    Ok(record)
}

fn judge(boot_id: &str, runtime_dir: &Path, record: &Record) -> Verdict {
    if boot_id.is_empty() {
        return Verdict::Lost("the system does not say which boot this is".to_owned());
    }
    let paths = Paths::new(runtime_dir, crate::model::VmId(record.uuid));
    if record.boot_id != boot_id {
        return gone_unless_it_answers(&paths.monitor(), false);
    }
    // The launcher completes the record before it becomes QEMU, and does not become it if its daemon is gone.
    let Some(ProcessMark { pid, start_time: begun }) = record.process else {
        return gone_unless_it_answers(&paths.monitor(), true);
    };
    let gone = || gone_unless_it_answers(&paths.monitor(), true);
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Verdict::Lost(format!("its run record names process {pid}, which cannot be"));
    };
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return gone(),
        Err(error) => return Verdict::Lost(format!("process {pid} cannot be looked at: {error}")),
    };
    // Read behind the opening: what is read is of the process that is held, or of none.
    match process_start_time(pid) {
        // One that has ended and waits for its parent to notice keeps its number.
        Ok(Some(time)) if time == begun && has_ended(&pidfd) => return Verdict::Gone { same_boot: true },
        Ok(Some(time)) if time == begun => {}
        Ok(Some(_)) => return gone(),
        Ok(None) => return Verdict::Lost(format!("the system does not say when process {pid} began")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return gone(),
        Err(error) => return Verdict::Lost(format!("process {pid} cannot be looked at: {error}")),
    }
    if record.monitor != paths.monitor() || record.console.as_ref().is_some_and(|path| *path != paths.console()) {
        return Verdict::Lost("its run record names sockets that are not in the runtime directory".to_owned());
    }
    if let Err(why) = is_ours_alone(runtime_dir) {
        return Verdict::Lost(why);
    }
    let accelerator = match record.accelerator.as_str() {
        "kvm" => "kvm",
        "tcg" => "tcg",
        _ => return Verdict::Lost("its run record names an accelerator that is none".to_owned()),
    };
    Verdict::Ours(pidfd, Process { pid, accelerator })
}

/// The process of the record is not there, or never was. If all the same somebody listens where its monitor was, the
/// record is wrong and QEMU may well run: to start it again would give its disks to two.
///
/// A launcher whose daemon is gone holds the listener of that daemon for a moment, and then ends.
fn gone_unless_it_answers(monitor: &Path, same_boot: bool) -> Verdict {
    match mio::net::UnixStream::connect(monitor) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Verdict::Gone { same_boot }
        }
        Ok(stream) => match socket::peer(&stream) {
            peer if !lives(peer) => Verdict::Gone { same_boot },
            _ => Verdict::Lost("its run record does not name the process that listens at its monitor".to_owned()),
        },
        Err(error) => Verdict::Lost(format!("its process is gone, and its monitor cannot be looked for: {error}")),
    }
}

/// Whether there is such a process, or may be.
fn lives(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => !has_ended(&pidfd),
        Err(error) => error != Errno::SRCH,
    }
}

#[expect(clippy::disallowed_methods, reason = "called at start-up, before the loop turns")]
fn process_start_time(pid: u32) -> io::Result<Option<u64>> {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map(|stat| start_time(&stat))
}

#[expect(clippy::disallowed_methods, reason = "called at start-up, before the loop turns")]
fn is_ours_alone(dir: &Path) -> Result<(), String> {
    let stat = std::fs::symlink_metadata(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let ours = stat.is_dir() && stat.uid() == rustix::process::geteuid().as_raw();
    if ours && stat.permissions().mode().trailing_zeros() >= 6 {
        Ok(())
    } else {
        Err(format!("others could have put a socket into {}", dir.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;
    use crate::model::VmId;

    const BOOT: &str = "b00t";

    /// A record of this very process, with everything right.
    fn record(dir: &Path) -> Record {
        let vm = VmId(Uuid::from_u128(7));
        let begun = process_start_time(std::process::id()).unwrap().unwrap();
        Record {
            uuid: vm.0,
            name: "a".to_owned(),
            boot_id: BOOT.to_owned(),
            monitor: Paths::new(dir, vm).monitor(),
            console: None,
            channels: 0,
            accelerator: "tcg".to_owned(),
            process: Some(ProcessMark { pid: std::process::id(), start_time: begun }),
            definition: String::new(),
        }
    }

    fn told(dir: &Path, change: impl FnOnce(&mut Record)) -> String {
        let mut record = record(dir);
        change(&mut record);
        match judge(BOOT, dir, &record) {
            Verdict::Ours(..) => "ours".to_owned(),
            Verdict::Gone { same_boot } => format!("gone same_boot={same_boot}"),
            Verdict::Lost(why) => format!("lost {why}"),
        }
    }

    fn private_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        dir
    }

    #[test]
    fn a_process_is_ours_only_when_everything_is_proved() {
        let dir = private_dir();
        let dir = dir.path();
        assert_eq!(told(dir, |_| {}), "ours");
        assert_eq!(told(dir, |r| r.boot_id = "other".to_owned()), "gone same_boot=false");
        assert_eq!(told(dir, |r| r.process = None), "gone same_boot=true");
        assert_eq!(
            told(dir, |r| {
                r.process.iter_mut().for_each(|mark| mark.start_time += 1);
            }),
            "gone same_boot=true",
            "another process has its number"
        );
        assert_eq!(
            told(dir, |r| r.process = Some(ProcessMark { pid: 0x7fff_fffe, start_time: 1 })),
            "gone same_boot=true"
        );
        assert!(told(dir, |r| r.process = Some(ProcessMark { pid: u32::MAX, start_time: 1 })).starts_with("lost"));
        assert!(told(dir, |r| r.monitor = "/tmp/elsewhere".into()).starts_with("lost its run record names sockets"));
        assert!(told(dir, |r| r.console = Some("/tmp/elsewhere".into())).starts_with("lost its run record names"));
        assert!(told(dir, |r| r.accelerator = "x".to_owned()).starts_with("lost"));
        assert!(matches!(judge("", dir, &record(dir)), Verdict::Lost(_)));
    }

    #[test]
    fn a_record_that_names_another_process_than_the_one_that_listens_is_wrong() {
        let dir = private_dir();
        let listener = std::os::unix::net::UnixListener::bind(record(dir.path()).monitor).unwrap();
        let other = |r: &mut Record| r.process.iter_mut().for_each(|mark| mark.start_time += 1);
        let none = |r: &mut Record| r.process = None;
        let other_boot = |r: &mut Record| r.boot_id = "other".to_owned();
        let why = "lost its run record does not name the process that listens";
        for told in [told(dir.path(), other), told(dir.path(), none), told(dir.path(), other_boot)] {
            assert!(told.starts_with(why), "{told}");
        }
        drop(listener);
        assert_eq!(told(dir.path(), other), "gone same_boot=true");
    }

    /// A launcher has it for a moment, whose daemon was killed.
    #[test]
    fn a_listener_of_a_process_that_is_gone_is_nobody() {
        const CHILD: &str = "VMWIRE_TEST_LISTENS";
        if std::env::var_os(CHILD).is_some() {
            return rustix::net::listen(io::stdin(), 4).unwrap();
        }
        let dir = private_dir();
        let listener = std::os::unix::net::UnixListener::bind(record(dir.path()).monitor).unwrap();
        let none = |r: &mut Record| r.process = None;
        assert!(told(dir.path(), none).starts_with("lost"));
        let name = "driver::qemu::adopt::tests::a_listener_of_a_process_that_is_gone_is_nobody";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name]).env(CHILD, "").stdin(OwnedFd::from(listener.try_clone().unwrap()));
        assert!(child.output().unwrap().status.success());
        assert_eq!(told(dir.path(), none), "gone same_boot=true", "it stands open in this process, and in no other");
    }

    #[test]
    fn a_process_that_two_records_name_is_neithers() {
        let found = |vm: u128, change: fn(&mut Record)| {
            let mut record = record(Path::new("/x"));
            record.uuid = Uuid::from_u128(vm);
            change(&mut record);
            FoundRecord { vm: VmId(record.uuid), content: Ok(serde_json::to_vec(&record).unwrap()) }
        };
        let later: fn(&mut Record) = |r| r.process.iter_mut().for_each(|mark| mark.start_time += 1);
        let unreadable = FoundRecord { vm: VmId(Uuid::from_u128(9)), content: Err("no".to_owned()) };
        let none: fn(&mut Record) = |r| r.process = None;
        let single = [found(1, |_| {}), found(2, later), found(3, none), found(4, none), unreadable];
        assert_eq!(claimed_twice(&single), BTreeSet::new());
        let mark = record(Path::new("/x")).process.unwrap();
        assert_eq!(claimed_twice(&[found(1, |_| {}), found(2, later), found(3, |_| {})]), BTreeSet::from([mark]));
    }

    #[test]
    fn a_directory_that_others_can_write_proves_nothing() {
        let dir = private_dir();
        for mode in [0o701, 0o710, 0o722, 0o777] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert!(told(dir.path(), |_| {}).starts_with("lost others could"), "{mode:o}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_understood_makes_its_guest_lost() {
        let vm = VmId(Uuid::from_u128(7));
        let found = |content: Result<Vec<u8>, String>| parse(&FoundRecord { vm, content }).unwrap_err();
        assert!(found(Err("no".to_owned())).contains("cannot be read: no"));
        assert!(found(Ok(b"{".to_vec())).contains("cannot be understood"));
        assert!(found(Ok(vec![b' '; FoundRecord::BYTES_MAX + 1])).contains("longer"));
        let mut other = record(Path::new("/x"));
        other.uuid = Uuid::from_u128(8);
        assert!(found(Ok(serde_json::to_vec(&other).unwrap())).contains("is that of"));
    }
}
