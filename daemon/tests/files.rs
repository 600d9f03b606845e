//! The file helper as the daemon uses it: a real child, asked, killed, stopped and refused.

#![expect(clippy::disallowed_methods, reason = "tests may wait, for disks and for each other")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vmwire_daemon::driver::{FileAnswer, FileRequest, FileTicket, ReadFile};
use vmwire_daemon::event_loop::Readiness;
use vmwire_daemon::files::{Files, PATIENCE, REQUESTS_MAX};

const ENOUGH: Duration = Duration::from_secs(90);

struct Asker {
    files: Files,
    readiness: Readiness<()>,
}

impl Asker {
    fn new(patience: Duration) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_vmwired"));
        Self { files: Files::new(program, patience), readiness: Readiness::new().unwrap() }
    }

    fn submit(&mut self, request: &FileRequest) -> FileTicket {
        self.files.submit(Instant::now(), &mut self.readiness, (), request)
    }

    /// Turns the loop until nothing is under way any more.
    fn answers(&mut self) -> BTreeMap<FileTicket, FileAnswer> {
        let end = Instant::now() + ENOUGH;
        let mut answers = BTreeMap::new();
        let mut ready = Vec::new();
        loop {
            while let Some((ticket, answer)) = self.files.poll_answer() {
                assert!(answers.insert(ticket, answer).is_none(), "{ticket:?} was answered twice");
            }
            if !self.files.is_busy() {
                return answers;
            }
            assert!(Instant::now() < end, "no answer");
            let now = self.readiness.wait(self.files.poll_timeout()).unwrap();
            self.readiness.take_ready(&mut ready);
            if !ready.is_empty() {
                ready.clear();
                self.files.handle_ready(&mut self.readiness);
            }
            self.files.handle_timeout(now.monotonic, &mut self.readiness);
        }
    }

    fn ask(&mut self, request: &FileRequest) -> FileAnswer {
        let ticket = self.submit(request);
        self.answers().remove(&ticket).expect("no answer to this one")
    }

    fn signal_helper(&self, signal: Signal) {
        let pid = Pid::from_raw(self.files.helper_pid().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn write(path: &Path, data: &[u8]) -> FileRequest {
    FileRequest::Write { path: path.to_owned(), data: data.to_vec(), durable: true }
}

fn read(path: &Path, bytes_max: usize) -> FileRequest {
    FileRequest::Read { files: vec![file(path, bytes_max)] }
}

fn file(path: &Path, bytes_max: usize) -> ReadFile {
    ReadFile { path: path.to_owned(), bytes_max, private: false, optional: false }
}

fn is_read(answer: &FileAnswer, expected: &[u8]) -> bool {
    matches!(answer, FileAnswer::Read(files) if *files == [Some(expected.to_vec())])
}

fn remove(path: &Path) -> FileRequest {
    FileRequest::Remove { path: path.to_owned(), durable: true }
}

fn failure(answer: FileAnswer) -> String {
    match answer {
        FileAnswer::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_directory_that_was_removed_is_told_with_what_to_do_and_used_once_it_is_there_again() {
    let mut asker = Asker::new(PATIENCE);
    let dir = tempfile::tempdir().unwrap();
    let vms = dir.path().join("vms");
    let path = vms.join("x");
    let FileAnswer::Failed(why) = asker.ask(&write(&path, b"1")) else { panic!("it was written into nothing") };
    assert!(why.contains(&format!("the directory {} is gone", vms.display())) && why.contains("0700"), "{why}");
    assert!(!vms.exists(), "who knows why it is not there");
    std::fs::create_dir(&vms).unwrap();
    assert!(matches!(asker.ask(&write(&path, b"2")), FileAnswer::Done));
    assert_eq!(std::fs::read(&path).unwrap(), b"2");
}

#[test]
fn what_is_written_is_read_back_replaced_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut asker = Asker::new(PATIENCE);
    assert!(matches!(asker.ask(&write(&path, b"one")), FileAnswer::Done));
    assert!(matches!(asker.ask(&write(&path, b"two")), FileAnswer::Done));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names_in(dir.path()), ["a"]);
    assert!(is_read(&asker.ask(&read(&path, 3)), b"two"));
    assert!(failure(asker.ask(&read(&path, 2))).ends_with("it has more than 2 bytes"));
    assert!(matches!(asker.ask(&remove(&path)), FileAnswer::Done));
    assert!(matches!(asker.ask(&remove(&path)), FileAnswer::Done), "a removal can be repeated");
    assert!(failure(asker.ask(&read(&path, 2))).contains("No such file"));
}

#[test]
fn requests_on_one_path_take_effect_in_their_order_and_large_ones_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut asker = Asker::new(PATIENCE);
    let large = vec![7; 3 << 20];
    let tickets: Vec<FileTicket> =
        [write(&path, b"early"), remove(&path), write(&path, &large), read(&path, 3 << 20), read(&path, 5)]
            .iter()
            .map(|request| asker.submit(request))
            .collect();
    let answers = asker.answers();
    assert_eq!(answers.len(), 5);
    assert!(is_read(&answers[&tickets[3]], &large));
    assert!(matches!(&answers[&tickets[4]], FileAnswer::Failed(_)));
}

#[test]
fn what_the_system_refuses_is_told_with_path_and_reason_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let occupied = dir.path().join("occupied");
    std::fs::create_dir(&occupied).unwrap();
    let mut asker = Asker::new(PATIENCE);
    for (request, told) in [
        (write(&occupied, b"x"), "occupied: Is a directory"),
        (write(&dir.path().join("no/such"), b"x"), "no/such: the directory"),
        (remove(&occupied), "occupied: Is a directory"),
        (read(&occupied, 9), "occupied: not a regular file"),
        (write(Path::new("/"), b"x"), "cannot write /: not the name of a file"),
    ] {
        let why = failure(asker.ask(&request));
        assert!(why.contains(told), "{why}");
    }
    assert_eq!(names_in(dir.path()), ["occupied"]);
}

#[test]
fn files_that_belong_together_are_read_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (key, missing) = (dir.path().join("key"), dir.path().join("missing"));
    let mut asker = Asker::new(PATIENCE);
    assert!(matches!(asker.ask(&write(&key, b"secret")), FileAnswer::Done));
    let private = ReadFile { private: true, ..file(&key, 9) };
    let optional = ReadFile { optional: true, ..file(&missing, 9) };
    let both = |files: &[&ReadFile]| FileRequest::Read { files: files.iter().map(|file| (*file).clone()).collect() };
    match asker.ask(&both(&[&optional, &private])) {
        FileAnswer::Read(files) => assert_eq!(files, [None, Some(b"secret".to_vec())]),
        other => panic!("{other:?}"),
    }
    let why = failure(asker.ask(&both(&[&private, &file(&missing, 9)])));
    assert!(why.ends_with("missing: No such file or directory (os error 2)"), "{why}");
    for mode in [0o640, 0o604, 0o620, 0o602] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let why = failure(asker.ask(&both(&[&private])));
        assert!(why.contains(&format!("key: can be read or written by others (mode {mode:04o})")), "{why}");
    }
    // A link without an end is there, and no file.
    std::os::unix::fs::symlink("missing/", dir.path().join("link")).unwrap();
    let link = ReadFile { optional: true, ..file(&dir.path().join("link/x"), 9) };
    assert!(matches!(asker.ask(&both(&[&link])), FileAnswer::Read(files) if files == [None]));
}

#[test]
fn a_pipe_in_place_of_a_file_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let mut asker = Asker::new(PATIENCE);
    assert!(failure(asker.ask(&read(&path, 9))).contains("not a regular file"));
}

#[test]
fn a_helper_that_dies_fails_what_it_had_and_the_next_request_has_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut asker = Asker::new(PATIENCE);
    assert!(matches!(asker.ask(&write(&path, b"one")), FileAnswer::Done));
    let first = asker.files.helper_pid().unwrap();
    // Stopped first, so that it cannot have answered before it is killed.
    asker.signal_helper(Signal::STOP);
    asker.submit(&write(&path, b"two"));
    asker.submit(&read(&path, 9));
    asker.signal_helper(Signal::KILL);
    let answers = asker.answers();
    assert_eq!(answers.len(), 2);
    for (_, answer) in answers {
        let why = failure(answer);
        assert!(why.contains("the file helper has ended"), "{why}");
    }
    assert!(is_read(&asker.ask(&read(&path, 9)), b"one"));
    assert_ne!(asker.files.helper_pid(), Some(first));
}

#[test]
fn a_helper_that_is_stuck_is_abandoned_after_its_time_and_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut asker = Asker::new(Duration::from_secs(5));
    assert!(matches!(asker.ask(&write(&path, b"one")), FileAnswer::Done));
    let first = asker.files.helper_pid().unwrap();
    asker.signal_helper(Signal::STOP);
    let why = failure(asker.ask(&write(&path, b"late")));
    assert!(why.contains(&format!("the file helper did not write {} within 5 s", path.display())), "{why}");
    assert!(matches!(asker.ask(&write(&path, b"two")), FileAnswer::Done));
    assert_ne!(asker.files.helper_pid(), Some(first));
    assert_eq!(std::fs::read(&path).unwrap(), b"two");

    // It is gone and reaped, not a zombie: its pid names no child of ours any more.
    let end = Instant::now() + ENOUGH;
    let stat = format!("/proc/{first}/stat");
    while std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains("vmwired")) {
        assert!(Instant::now() < end, "the abandoned helper is still there");
        asker.readiness.wait(Some(Instant::now() + Duration::from_millis(10))).unwrap();
        asker.files.handle_ready(&mut asker.readiness);
    }
}

#[test]
fn more_requests_than_allowed_are_refused_at_once_and_the_others_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut asker = Asker::new(PATIENCE);
    let missing = read(&dir.path().join("missing"), 1);
    let mut last = asker.submit(&missing);
    asker.signal_helper(Signal::STOP);
    for _ in 0..REQUESTS_MAX {
        last = asker.submit(&missing);
    }
    asker.signal_helper(Signal::CONT);
    let mut answers = asker.answers();
    assert_eq!(answers.len(), REQUESTS_MAX + 1);
    let why = failure(answers.remove(&last).unwrap());
    assert!(why.ends_with("file requests are waiting already"), "{why}");
    assert!(answers.into_values().all(|answer| failure(answer).contains("No such file")));
}

#[test]
fn a_program_that_is_no_helper_is_an_answer_too() {
    let mut asker =
        Asker { files: Files::new(PathBuf::from("/no/such/program"), PATIENCE), readiness: Readiness::new().unwrap() };
    assert!(failure(asker.ask(&read(Path::new("/a"), 1))).contains("cannot start the file helper"));
    asker.files = Files::new(PathBuf::from("/bin/true"), PATIENCE);
    assert!(failure(asker.ask(&read(Path::new("/a"), 1))).contains("the file helper has ended"));
}

fn append(path: &Path, lines: &str, rotate_bytes: u64) -> FileRequest {
    FileRequest::Append { path: path.to_owned(), lines: lines.as_bytes().to_vec(), rotate_bytes, keep: 3 }
}

#[test]
fn lines_are_added_to_a_file_that_becomes_an_old_one_when_it_is_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut asker = Asker::new(PATIENCE);
    for line in ('1'..='9').map(|line| format!("{line}\n")) {
        assert!(matches!(asker.ask(&append(&path, &line, 4)), FileAnswer::Done));
    }
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let old = [read("log.1"), read("log.2"), read("log.3")];
    assert_eq!((read("log").as_str(), old), ("9\n", ["7\n8\n", "5\n6\n", "3\n4\n"].map(str::to_owned)));
    assert_eq!(names_in(dir.path()).len(), 4);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    assert!(matches!(asker.ask(&append(&path, "longer than it may be\n", 4)), FileAnswer::Done));
    assert_eq!([read("log"), read("log.1")], ["longer than it may be\n", "9\n"]);
}

#[test]
fn a_line_is_added_to_a_file_that_is_everybodys_and_takes_nothing_of_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("issued.jsonl");
    let mut asker = Asker::new(PATIENCE);
    let line = |text: &str| FileRequest::AddLine { path: path.clone(), line: text.as_bytes().to_vec() };
    assert!(matches!(asker.ask(&line("1")), FileAnswer::Done));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, "1\n2 that was to").unwrap();
    assert!(matches!(asker.ask(&line("3")), FileAnswer::Done));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2 that was to\n3\n");
    let gone = FileRequest::AddLine { path: dir.path().join("gone/issued.jsonl"), line: Vec::new() };
    assert!(failure(asker.ask(&gone)).starts_with("cannot add a line to "));
}

#[test]
fn a_file_that_was_deleted_is_begun_anew_and_a_line_that_was_torn_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut asker = Asker::new(PATIENCE);
    assert!(matches!(asker.ask(&append(&path, "1\n", 100)), FileAnswer::Done));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(asker.ask(&append(&path, "2\n", 100)), FileAnswer::Done));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n");
    std::fs::write(&path, "to").unwrap();
    assert!(matches!(asker.ask(&append(&path, "3\n", 100)), FileAnswer::Done));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "to\n3\n");
}

#[test]
fn lines_go_nowhere_but_to_a_regular_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut asker = Asker::new(PATIENCE);
    let refused = |asker: &mut Asker| failure(asker.ask(&append(&path, "1\n", 100)));

    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(refused(&mut asker).ends_with("not a regular file"));
    std::fs::remove_file(&path).unwrap();

    let target = dir.path().join("elsewhere");
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(refused(&mut asker).ends_with("a symbolic link, and none is followed here"));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "");
    std::fs::remove_file(&path).unwrap();

    std::fs::create_dir(&path).unwrap();
    assert!(refused(&mut asker).contains("Is a directory"));
    std::fs::remove_dir(&path).unwrap();

    let nowhere = dir.path().join("not/there");
    assert!(failure(asker.ask(&append(&nowhere, "1\n", 100))).contains("No such file"));
    assert!(matches!(asker.ask(&append(&path, "1\n", 100)), FileAnswer::Done));
}

#[test]
fn fewer_old_files_are_kept_as_soon_as_fewer_are_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    for name in ["log", "log.1", "log.2", "log.3", "log.4", "log.5", "log.7"] {
        std::fs::write(dir.path().join(name), format!("{name}\n")).unwrap();
    }
    let mut asker = Asker::new(PATIENCE);
    assert!(matches!(asker.ask(&append(&path, "1\n", 2)), FileAnswer::Done));
    let mut names = names_in(dir.path());
    names.sort();
    assert_eq!(names, ["log", "log.1", "log.2", "log.3", "log.7"], "what is no more in the row is not ours");
    assert_eq!(std::fs::read_to_string(dir.path().join("log.3")).unwrap(), "log.2\n");
}

#[test]
fn nothing_takes_the_place_of_lines_that_could_not_be_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::create_dir(dir.path().join("log.3")).unwrap();
    std::fs::write(dir.path().join("log.2"), "0\n").unwrap();
    let mut asker = Asker::new(PATIENCE);
    assert!(matches!(asker.ask(&append(&path, "1\n", 2)), FileAnswer::Done));
    assert!(failure(asker.ask(&append(&path, "2\n", 2))).contains("rotating it: "));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!([read("log"), read("log.2")], ["1\n", "0\n"]);
}

#[test]
fn a_disk_that_is_full_leaves_whole_lines_only() {
    let dir = tempfile::tempdir().unwrap();
    // A file as long as it may be is as good as a full disk, and can be had without one. In blocks of 512 or 1024 bytes.
    let program = dir.path().join("helper");
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f 1\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_vmwired"));
    // Written by a child, so that no test that starts a child at this moment holds it open for writing.
    let mut child = std::process::Command::new("install")
        .args(["-m", "700", "/dev/stdin"])
        .arg(&program)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let mut asker = Asker { files: Files::new(program, PATIENCE), readiness: Readiness::new().unwrap() };
    let path = dir.path().join("log");
    assert!(matches!(asker.ask(&append(&path, "1\n", 1 << 20)), FileAnswer::Done));
    let long = format!("{}\n", "2".repeat(2000));
    assert!(failure(asker.ask(&append(&path, &long, 1 << 20))).contains("File too large"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
    assert!(matches!(asker.ask(&append(&path, "3\n", 1 << 20)), FileAnswer::Done));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n3\n");
}
