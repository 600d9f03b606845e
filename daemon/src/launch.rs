//! The launcher (`vmwired --launch`): a short-lived child that becomes QEMU.
//!
//! It leads a session of its own, so that the guest outlives the daemon; opens what the definition names, so that QEMU
//! opens nothing by name and so that the daemon's loop never waits for a user's path; completes the run record; and
//! executes QEMU in its own place, which keeps process number and start time. It waits for nobody but the disk.

#![expect(clippy::disallowed_methods, reason = "a child of its own, which may wait for the disk")]

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Resource, Rlimit, Signal, geteuid, getppid};

use crate::driver::qemu::argv::{File, Purpose, file_options};
use crate::driver::qemu::launch::{EXIT_REFUSED, PATH, Refusal, Request};
use crate::driver::qemu::record::{self, ProcessMark, Record, start_time};

pub use crate::driver::qemu::LAUNCH_ARGUMENT as ARGUMENT;

/// Longer requests come from nobody.
const REQUEST_BYTES_MAX: u64 = 4 << 20;

/// Reads a request from standard input and becomes QEMU. Returns only if that cannot be.
pub fn main() -> ExitCode {
    let Err(refusal) = run();
    let text = serde_json::to_string(&refusal).unwrap_or(refusal.message);
    // Nobody is there to be told if this fails.
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::from(EXIT_REFUSED)
}

fn run() -> Result<std::convert::Infallible, Refusal> {
    let mut text = Vec::new();
    let read = io::stdin().take(REQUEST_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| failed("the launcher cannot read its request", &error))?;
    let request: Request = serde_json::from_slice(&text)
        .map_err(|error| failed("this is for the daemon only: the launcher does not understand its request", &error))?;
    rustix::process::setsid().map_err(|error| failed("the launcher cannot lead a session of its own", &error))?;
    // A guest's memory does not belong into a core file. Nothing hangs on it if the system says no.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });

    if request.dies_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| failed("the launcher cannot bind itself to the daemon", &error))?;
    }

    let mut argv = request.argv;
    let mut open = Vec::new();
    for file in &request.files {
        let descriptor = open_file(file)?;
        argv.extend(file_options(file.purpose, descriptor.as_raw_fd()));
        open.push(descriptor);
    }
    if let Some((path, record)) = request.record {
        complete(&path, record)?;
    }
    // From here on a daemon that starts anew finds the record complete; and if ours has gone before, it may have found
    // it incomplete and taken the guest for one that never was.
    if getppid().map(|parent| parent.as_raw_pid().unsigned_abs()) != Some(request.parent) {
        return Err(Refusal {
            message: "the daemon ended while the guest was being launched".to_owned(),
            causes: Vec::new(),
            hint: String::new(),
        });
    }
    for descriptor in &open {
        rustix::io::fcntl_setfd(descriptor, FdFlags::empty())
            .map_err(|error| failed("a file cannot be handed to QEMU", &error))?;
    }
    let error = Command::new(&request.program)
        .args(&argv)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .exec();
    Err(Refusal {
        hint: "install QEMU, as in `apt-get install qemu-system-x86`".to_owned(),
        ..failed(&format!("{} cannot be started", request.program.display()), &error)
    })
}

fn failed(message: &str, error: &dyn std::error::Error) -> Refusal {
    Refusal { message: message.to_owned(), causes: vec![error.to_string()], hint: String::new() }
}

/// Replaces the run record by one that names this process, which will be QEMU.
fn complete(path: &Path, mut completed: Record) -> Result<(), Refusal> {
    let unwritable = |error: &dyn std::error::Error| failed("the run record could not be completed", error);
    let stat = fs::read_to_string("/proc/self/stat").map_err(|error| unwritable(&error))?;
    let begun = start_time(&stat).ok_or(io::Error::from(io::ErrorKind::InvalidData));
    let start_time = begun.map_err(|error| unwritable(&error))?;
    completed.process = Some(ProcessMark { pid: std::process::id(), start_time });
    let text = serde_json::to_vec(&completed).map_err(|error| unwritable(&error))?;
    let unfinished = record::unfinished(path);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|error| unwritable(&error))
}

/// Opens a file that a definition names.
fn open_file(file: &File) -> Result<OwnedFd, Refusal> {
    let File { path, purpose } = file;
    let (access, what) = match purpose {
        Purpose::Kernel => (OFlags::RDONLY, "the kernel"),
        Purpose::Initrd => (OFlags::RDONLY, "the initrd"),
        Purpose::Disk { readonly: true, .. } => (OFlags::RDONLY, "the disk"),
        Purpose::Disk { readonly: false, .. } => (OFlags::RDWR, "the disk"),
    };
    // Without NONBLOCK a FIFO would be waited for.
    let flags = access | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    // A magic link of procfs (/dev/stdin, /proc/self/fd/N) would lead to what this process has open, not to a file.
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let descriptor =
        rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve).map_err(|error| unopened(what, path, error))?;
    let refused = |why: &str| Refusal {
        message: format!("{what} {} cannot be used", path.display()),
        causes: vec![why.to_owned()],
        hint: String::new(),
    };
    let stat = rustix::fs::fstat(&descriptor).map_err(|error| unopened(what, path, error))?;
    let file_system = rustix::fs::fstatfs(&descriptor).map_err(|error| unopened(what, path, error))?;
    if file_system.f_type == PROC_SUPER_MAGIC {
        return Err(refused("it is no file but a window into the kernel"));
    }
    let is_disk = matches!(purpose, Purpose::Disk { .. });
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::BlockDevice if is_disk => {}
        FileType::Directory => return Err(refused("it is a directory")),
        _ if is_disk => return Err(refused("it is neither a file nor a block device")),
        _ => return Err(refused("it is no file")),
    }
    let cleared = rustix::fs::fcntl_setfl(&descriptor, access);
    cleared.map_err(|error| unopened(what, path, error))?;
    if let Purpose::Disk { qcow2: true, .. } = purpose {
        let mut header = [0; 80];
        let count = rustix::io::pread(&descriptor, &mut header[..], 0).map_err(|error| unopened(what, path, error))?;
        check_qcow2(&header[..count]).map_err(refused)?;
    }
    Ok(descriptor)
}

/// Refuses images that are no qcow2, and those that name other files, which nobody has allowed.
fn check_qcow2(header: &[u8]) -> Result<(), &'static str> {
    let word = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    let long = |at: usize| header.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
    let not_qcow2 = "it is no qcow2 image, as the definition says; is it raw?";
    if word(0) != Some(0x5146_49fb) {
        return Err(not_qcow2);
    }
    let external_data = 1 << 2;
    match (word(4), long(8)) {
        (Some(2 | 3), Some(backing)) if backing != 0 => {
            Err("it has a backing file, which is not supported yet: flatten it with `qemu-img convert`")
        }
        (Some(2), Some(_)) => Ok(()),
        (Some(3), Some(_)) => match long(72) {
            Some(features) if features & external_data != 0 => {
                Err("its data are in another file, which is not supported: flatten it with `qemu-img convert`")
            }
            Some(_) => Ok(()),
            None => Err(not_qcow2),
        },
        _ => Err("it is a qcow2 image of a version that is not known"),
    }
}

/// Why a path could not be opened, down to the directory that is missing or does not let us in.
fn unopened(what: &str, path: &Path, error: Errno) -> Refusal {
    let mut causes = vec![io::Error::from(error).to_string()];
    let uid = geteuid().as_raw();
    let mut hint = String::new();
    let ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    let first_bad = ancestors.iter().rev().find_map(|dir| match fs::metadata(dir) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some((PathBuf::from(dir), io::ErrorKind::NotADirectory)),
        Err(error) => Some((PathBuf::from(dir), error.kind())),
    });
    let outer = |dir: &Path| dir.parent().unwrap_or(Path::new("/")).display().to_string();
    match (first_bad, error) {
        (Some((dir, io::ErrorKind::NotFound)), _) => {
            causes.push(format!("the directory {} does not exist", dir.display()));
        }
        (Some((dir, io::ErrorKind::NotADirectory)), _) => causes.push(format!("{} is no directory", dir.display())),
        (Some((dir, io::ErrorKind::PermissionDenied)), _) => {
            causes.push(format!("the directory {} does not let user {uid} in", outer(&dir)));
            hint = "give the daemon's user the right to pass through that directory".to_owned();
        }
        (None, Errno::ACCESS) => match fs::metadata(path) {
            Ok(_) => {
                causes.push(format!("the file does not let user {uid} do that"));
                hint = "give the daemon's user the right to the file, or make the disk readonly".to_owned();
            }
            Err(_) => {
                causes.push(format!("the directory {} does not let user {uid} in", outer(path)));
                hint = "give the daemon's user the right to pass through that directory".to_owned();
            }
        },
        (None, Errno::NOENT) => causes.push(format!("there is no such file in {}", outer(path))),
        (Some(_) | None, _) => {}
    }
    Refusal { message: format!("{what} {} cannot be opened", path.display()), causes, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(path: PathBuf, qcow2: bool) -> File {
        File { path, purpose: Purpose::Disk { index: 0, qcow2, readonly: true } }
    }

    fn refusal(path: &Path, qcow2: bool) -> Vec<String> {
        let refusal = open_file(&disk(path.to_owned(), qcow2)).unwrap_err();
        std::iter::once(refusal.message).chain(refusal.causes).collect()
    }

    #[test]
    fn a_missing_file_is_told_with_the_directory_where_the_path_ends() {
        let dir = tempfile::tempdir().unwrap();
        let dir_name = dir.path().display();
        assert_eq!(
            refusal(&dir.path().join("a/b/c.raw"), false),
            [
                format!("the disk {dir_name}/a/b/c.raw cannot be opened"),
                "No such file or directory (os error 2)".to_owned(),
                format!("the directory {dir_name}/a does not exist")
            ]
        );
        assert_eq!(refusal(&dir.path().join("c.raw"), false)[2], format!("there is no such file in {dir_name}"));
        fs::write(dir.path().join("f"), "").unwrap();
        assert_eq!(refusal(&dir.path().join("f/c.raw"), false)[2], format!("{dir_name}/f is no directory"));
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting_for_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(refusal(dir.path(), false)[1], "it is a directory");
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(refusal(&fifo, false)[1], "it is neither a file nor a block device");
        assert_eq!(refusal(Path::new("/dev/null"), false)[1], "it is neither a file nor a block device");
    }

    #[test]
    fn what_this_process_has_open_and_what_the_kernel_shows_are_no_files() {
        use std::os::fd::AsRawFd;
        let open = tempfile::tempfile().unwrap();
        let own = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        for path in [own, PathBuf::from("/proc/self/cmdline")] {
            assert!(open_file(&disk(path.clone(), false)).is_err(), "{}", path.display());
        }
        assert_eq!(refusal(Path::new("/proc/self/cmdline"), false)[1], "it is no file but a window into the kernel");
    }

    #[test]
    fn an_image_that_names_other_files_or_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i");
        let mut header = [0_u8; 104];
        header[..8].copy_from_slice(&[0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
        let told = |header: &[u8]| {
            fs::write(&path, header).unwrap();
            open_file(&disk(path.clone(), true)).map(drop).map_err(|refusal| refusal.causes.concat())
        };
        assert_eq!(told(&header), Ok(()));
        assert!(told(&header[..40]).unwrap_err().contains("no qcow2 image"));
        assert!(told(b"").unwrap_err().contains("no qcow2 image"));
        let mut backed = header;
        backed[15] = 1;
        assert!(told(&backed).unwrap_err().contains("backing file"));
        let mut elsewhere = header;
        elsewhere[79] = 4;
        assert!(told(&elsewhere).unwrap_err().contains("another file"));
        let mut newer = header;
        newer[7] = 4;
        assert!(told(&newer).unwrap_err().contains("not known"));
    }

    #[test]
    fn a_completed_record_names_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.run");
        let record = Record {
            uuid: uuid::Uuid::from_u128(1),
            name: "a".to_owned(),
            boot_id: "b".to_owned(),
            monitor: "/m".into(),
            console: None,
            channels: 0,
            accelerator: "tcg".to_owned(),
            process: None,
            definition: "name = \"a\"\n".to_owned(),
        };
        complete(&path, record.clone()).unwrap();
        let written: Record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mark = written.process.unwrap();
        assert_eq!(mark.pid, std::process::id());
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert_eq!(Some(mark.start_time), start_time(&stat));
        assert_eq!(Record { process: None, ..written }, record);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
