//! What the test hypervisor promises, on a virtual clock.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;

use super::*;
use crate::driver::{FileRequest, Process};
use crate::model::{AGENT_CHANNEL, OperationId};

/// The test hypervisor wants nothing of its host.
struct NoHost;

impl Host for NoHost {
    fn watch(&mut self, _source: &mut dyn Source) -> io::Result<Token> {
        panic!("the test hypervisor has no descriptors")
    }

    fn unwatch(&mut self, _source: &mut dyn Source, _token: Token) {
        panic!("the test hypervisor has no descriptors")
    }

    fn file(&mut self, _request: FileRequest) -> FileTicket {
        panic!("the test hypervisor has no files")
    }
}

/// A hypervisor, a clock that stands until it is moved, and what was reported.
struct Bench {
    driver: TestDriver,
    now: Now,
    operation: u64,
}

const VM: VmId = VmId(uuid::Uuid::from_u128(1));

impl Bench {
    fn new() -> Self {
        Self { driver: TestDriver::new(), now: Now::read(), operation: 0 }
    }

    /// A running guest, its start's reports taken.
    fn running(script: &str) -> Self {
        let mut bench = Self::new();
        bench.start(script, false);
        bench.reports();
        bench
    }

    fn start(&mut self, script: &str, paused: bool) {
        let text = format!("name = \"a\"\nmemory = \"16 MiB\"\n[test]\n{script}");
        self.begin(Action::Start { definition: Arc::new(Definition::parse(&text).unwrap()), paused });
    }

    fn begin(&mut self, action: Action) {
        self.operation += 1;
        let job = Job { vm: VM, operation: OperationId(self.operation), action };
        self.driver.begin(self.now, &mut NoHost, job);
    }

    fn type_in(&mut self, text: &str) -> usize {
        self.driver.console_write(self.now, &mut NoHost, VM, text.as_bytes())
    }

    /// Lets `ms` pass, calling at each moment at which the driver wants to be called.
    fn pass(&mut self, ms: u64) -> Vec<String> {
        let until = self.now.later(Duration::from_millis(ms));
        while let Some(at) = self.driver.poll_timeout().filter(|at| *at <= until.monotonic) {
            self.now = self.now.later(at.saturating_duration_since(self.now.monotonic));
            self.driver.handle_timeout(self.now, &mut NoHost);
        }
        self.now = until;
        self.reports()
    }

    /// What was reported since the last time, a line each.
    fn reports(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while let Some(report) = self.driver.poll_report() {
            lines.push(match report {
                Report::State { state, reason, message, .. } => {
                    format!("{state:?} {reason:?} {message}").trim_end().to_owned()
                }
                Report::Process { process: Some(Process { pid: 0, accelerator: "test" }), .. } => "process".to_owned(),
                Report::Process { process, .. } => {
                    assert_eq!(process, None);
                    "no process".to_owned()
                }
                Report::Finished { operation, result: Ok(()), .. } => format!("{operation} done"),
                Report::Finished { operation, result: Err(e), .. } => {
                    format!("{operation} {:?}: {}", e.kind, e.message)
                }
                Report::Reset { by_guest, .. } => format!("reset by_guest={by_guest}"),
                Report::Monitor { .. } => panic!("there is no monitor"),
                Report::Console { data, .. } => format!("says {}", String::from_utf8(data.to_vec()).unwrap()),
                Report::Agent { data, .. } => format!("agent {}", data.escape_ascii()),
                Report::AgentPort { open, .. } => format!("agent port open={open:?}"),
            });
        }
        lines
    }

    fn is_up(&self) -> bool {
        self.driver.guests.contains_key(&VM)
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_start_takes_its_time_and_ends_with_the_guest_running() {
    let mut bench = Bench::new();
    bench.start("start_ms = 30\nconsole = \"login: \"", false);
    assert_eq!(bench.reports(), ["Starting Requested", "process"]);
    assert_eq!(bench.driver.console_room(VM), 0, "nobody listens yet");
    assert_eq!(bench.pass(29), NOTHING);
    assert_eq!(bench.pass(1), ["Running Requested", "1 done", "says login: "]);
    assert_eq!(bench.driver.poll_timeout(), None, "an idle guest costs no wake-up");
}

#[test]
fn a_start_without_delay_is_over_at_once() {
    let mut bench = Bench::new();
    bench.start("", false);
    assert_eq!(bench.reports(), ["Starting Requested", "process", "Running Requested", "1 done"]);
}

#[test]
fn a_paused_start_leaves_the_guest_standing_and_silent_until_it_is_resumed() {
    let mut bench = Bench::new();
    bench.start("console = \"hello\"\npanic_ms = 50", true);
    assert_eq!(bench.reports(), ["Starting Requested", "process", "Paused Requested", "1 done"]);
    assert_eq!(bench.pass(1000), NOTHING);
    bench.begin(Action::Resume);
    assert_eq!(bench.pass(49), ["Running Requested", "2 done", "says hello"]);
    assert_eq!(bench.pass(1), ["Crashed Guest"]);
}

#[test]
fn a_start_that_fails_says_its_text_and_leaves_nothing() {
    let mut bench = Bench::new();
    bench.start("start_ms = 10\nstart_fails = \"no such disk\"", false);
    bench.reports();
    assert_eq!(bench.pass(10), ["no process", "Stopped Failed no such disk", "1 Failed: no such disk"]);
    assert!(!bench.is_up());
    assert_eq!(bench.driver.poll_timeout(), None);
}

#[test]
fn each_job_waits_for_its_delay() {
    for (action, expected) in [
        (Action::Pause, &["Paused Requested", "2 done"][..]),
        (Action::PowerButton, &["2 done", "no process", "Stopped Guest"][..]),
        (Action::Stop, &["no process", "Stopped Requested", "2 done"][..]),
        (Action::Reboot, &["reset by_guest=false", "2 done"][..]),
        (Action::Reset, &["reset by_guest=false", "2 done"][..]),
    ] {
        let mut bench = Bench::running("delay_ms = 20");
        bench.begin(action);
        assert_eq!(bench.pass(19), NOTHING);
        assert_eq!(bench.pass(1), expected);
    }
}

#[test]
fn the_guest_goes_down_some_time_after_the_power_button() {
    let mut bench = Bench::running("shutdown_ms = 500");
    bench.begin(Action::PowerButton);
    assert_eq!(bench.pass(499), ["2 done"]);
    bench.begin(Action::PowerButton);
    assert_eq!(bench.pass(1), ["3 done", "no process", "Stopped Guest"], "pressed again, it goes down no later");
    assert!(!bench.is_up());
}

#[test]
fn a_deaf_guest_ignores_the_power_button_and_cannot_be_rebooted() {
    let mut bench = Bench::running("deaf = true");
    bench.begin(Action::PowerButton);
    assert_eq!(bench.pass(3_600_000), ["2 done"]);
    bench.begin(Action::Reboot);
    assert_eq!(bench.pass(59_999), NOTHING);
    assert_eq!(bench.pass(1), ["3 TimedOut: the guest did not go down in time"]);
    bench.begin(Action::Stop);
    assert_eq!(bench.reports(), ["no process", "Stopped Requested", "4 done"]);
}

#[test]
fn what_a_guest_is_about_to_do_stands_still_with_its_processors() {
    let mut bench = Bench::running("shutdown_ms = 100");
    bench.begin(Action::PowerButton);
    assert_eq!(bench.pass(60), ["2 done"]);
    bench.begin(Action::Pause);
    assert_eq!(bench.pass(1000), ["Paused Requested", "3 done"]);
    bench.begin(Action::Resume);
    assert_eq!(bench.pass(39), ["Running Requested", "4 done"]);
    assert_eq!(bench.pass(1), ["no process", "Stopped Guest"]);
}

#[test]
fn a_guest_panics_when_the_script_says_so_and_stands_until_it_is_reset() {
    let mut bench = Bench::running("panic_ms = 40");
    assert_eq!(bench.pass(40), ["Crashed Guest"]);
    for action in [Action::Pause, Action::Resume, Action::Reboot] {
        bench.begin(action);
        assert_eq!(bench.reports(), [format!("{} Failed: the guest has crashed", bench.operation)]);
    }
    bench.begin(Action::PowerButton);
    assert_eq!(bench.pass(1000), ["5 done"]);
    bench.begin(Action::Reset);
    assert_eq!(bench.pass(39), ["Running Requested", "reset by_guest=false", "6 done"]);
    assert_eq!(bench.pass(1), ["Crashed Guest"], "it boots the same as before");
    bench.begin(Action::Stop);
    assert_eq!(bench.reports(), ["no process", "Stopped Requested", "7 done"]);
}

#[test]
fn a_job_that_the_guest_forestalls_fails() {
    let mut bench = Bench::running("delay_ms = 50\npanic_ms = 10");
    bench.begin(Action::Pause);
    assert_eq!(bench.pass(50), ["Crashed Guest", "2 Failed: the guest has crashed"]);

    let mut bench = Bench::running("delay_ms = 50");
    bench.begin(Action::Pause);
    bench.type_in("poweroff\n");
    let down = ["says poweroff\n", "no process", "Stopped Guest", "2 Ended: the guest went down meanwhile"];
    assert_eq!(bench.pass(50), down);

    let mut bench = Bench::running("delay_ms = 50");
    bench.begin(Action::Stop);
    bench.type_in("poweroff\n");
    assert_eq!(bench.pass(50), ["says poweroff\n", "no process", "Stopped Guest", "2 done"]);
}

#[test]
fn a_stop_overtakes_the_job_under_way() {
    let mut bench = Bench::new();
    bench.start("start_ms = 1000", false);
    bench.reports();
    bench.begin(Action::Stop);
    let stopped = ["1 Superseded: a stop overtook it", "no process", "Stopped Requested", "2 done"];
    assert_eq!(bench.reports(), stopped);
    assert_eq!(bench.pass(5000), NOTHING, "the start is not heard of again");
}

#[test]
fn stop_is_idempotent() {
    let mut bench = Bench::running("delay_ms = 10");
    bench.begin(Action::Stop);
    bench.begin(Action::Stop);
    assert_eq!(bench.reports(), ["2 Superseded: a stop overtook it"]);
    assert_eq!(bench.pass(10), ["no process", "Stopped Requested", "3 done"]);
    bench.begin(Action::Stop);
    assert_eq!(bench.reports(), ["4 done"]);
}

#[test]
fn only_a_stop_may_begin_while_a_job_is_under_way() {
    let mut bench = Bench::running("delay_ms = 10");
    bench.begin(Action::Pause);
    bench.begin(Action::Resume);
    assert_eq!(bench.reports(), ["3 Failed: another job is under way"]);
    assert_eq!(bench.pass(10), ["Paused Requested", "2 done"]);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    for action in [Action::PowerButton, Action::Reboot, Action::Reset, Action::Pause, Action::Resume] {
        bench.begin(action);
        assert_eq!(bench.reports(), [format!("{} Failed: no guest is running", bench.operation)]);
    }
    bench.start("start_ms = 10", false);
    bench.reports();
    bench.pass(10);
    bench.start("", false);
    assert_eq!(bench.reports(), ["7 Failed: a guest is running already"]);
    bench.begin(Action::Resume);
    assert_eq!(bench.reports(), ["8 done"], "it runs, which is what was asked for");
    bench.begin(Action::Pause);
    bench.begin(Action::Pause);
    assert_eq!(bench.reports(), ["Paused Requested", "9 done", "10 done"]);
    bench.begin(Action::Reboot);
    assert_eq!(bench.reports(), ["11 Failed: the guest's processors stand still"]);
}

#[test]
fn resets_in_quick_succession_are_told_once() {
    let mut bench = Bench::running("");
    bench.begin(Action::Reset);
    bench.begin(Action::Reset);
    assert_eq!(bench.reports(), ["reset by_guest=false", "2 done", "3 done"]);
    bench.type_in("reboot\n");
    assert_eq!(bench.pass(1000), ["says reboot\n", "reset by_guest=true"], "that one was the guest's own");
    bench.begin(Action::Reset);
    assert_eq!(bench.reports(), ["reset by_guest=false", "4 done"]);
}

#[test]
fn a_reset_guest_keeps_its_state_and_boots_again() {
    let mut bench = Bench::running("console = \"boot \"");
    bench.begin(Action::Pause);
    bench.type_in("lost");
    bench.begin(Action::Reset);
    assert_eq!(bench.pass(10), ["Paused Requested", "2 done", "reset by_guest=false", "3 done"]);
    bench.begin(Action::Resume);
    assert_eq!(bench.pass(10), ["Running Requested", "4 done", "says boot "]);
    bench.type_in("new");
    assert_eq!(bench.pass(10), ["says new"]);
}

#[test]
fn the_console_says_again_what_is_typed() {
    let mut bench = Bench::running("");
    assert_eq!((bench.type_in("una"), bench.type_in("me")), (3, 2));
    assert_eq!(bench.reports(), NOTHING, "it is read in its own time");
    assert_eq!(bench.pass(0), ["says uname"]);
}

#[test]
fn the_console_takes_so_much_and_no_more_until_the_guest_has_read_it() {
    let mut bench = Bench::running("");
    bench.begin(Action::Pause);
    bench.reports();
    let text = "x".repeat(5000);
    assert_eq!(bench.type_in(&text), 4096);
    assert_eq!((bench.driver.console_room(VM), bench.type_in("y")), (0, 0));
    bench.begin(Action::Resume);
    assert_eq!(bench.pass(0), ["Running Requested".to_owned(), "3 done".to_owned(), format!("says {}", &text[..4096])]);
    assert_eq!(bench.driver.console_room(VM), 4096);
}

#[test]
fn a_guest_without_a_console_hears_and_says_nothing() {
    let mut bench = Bench::new();
    let text = "name = \"a\"\nmemory = \"16 MiB\"\nconsole = false\n[test]\nconsole = \"hello\"\nconsole_bytes = 10";
    bench.begin(Action::Start { definition: Arc::new(Definition::parse(text).unwrap()), paused: false });
    bench.reports();
    assert_eq!(bench.type_in("panic\n"), 0);
    assert_eq!(bench.pass(100), NOTHING);
}

#[test]
fn commands_on_the_console_are_obeyed() {
    for (typed, expected) in [
        ("panic\n", &["says panic\n", "Crashed Guest"][..]),
        ("poweroff\r", &["says poweroff\r", "no process", "Stopped Guest"][..]),
        ("ls\nreboot\n", &["says ls\nreboot\n", "reset by_guest=true"][..]),
        ("do not panic\n", &["says do not panic\n"][..]),
        ("panic", &["says panic"][..]),
        ("panic\npoweroff\n", &["says panic\n", "Crashed Guest"][..]),
    ] {
        let mut bench = Bench::running("");
        bench.type_in(typed);
        assert_eq!(bench.pass(100), expected, "{typed:?}");
    }
}

#[test]
fn a_guest_that_panicked_says_no_more() {
    let mut bench = Bench::running("console_bytes = 1000000");
    bench.type_in("panic\n");
    assert_eq!(bench.pass(100), ["says panic\n", "Crashed Guest"]);
}

#[test]
fn a_command_may_come_in_pieces_and_behind_a_line_of_any_length() {
    let mut bench = Bench::running("");
    bench.type_in(&"x".repeat(3000));
    bench.type_in("\npan");
    bench.pass(10);
    bench.type_in("ic\n");
    assert_eq!(bench.pass(10), ["says ic\n", "Crashed Guest"]);
}

#[test]
fn the_flow_is_steady_bounded_and_tells_its_position() {
    let mut bench = Bench::running("console_bytes = 10000");
    let mut said = String::new();
    for expected in [4096, 4096, 1808] {
        assert_eq!(bench.reports(), NOTHING);
        let lines = bench.pass(1);
        let piece = lines[0].strip_prefix("says ").unwrap();
        assert_eq!((lines.len(), piece.len()), (1, expected));
        said.push_str(piece);
    }
    assert_eq!(bench.driver.poll_timeout(), None);
    assert!(
        said.lines().all(|line| "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_".starts_with(line))
    );
    assert_eq!(said.lines().count(), 10000_usize.div_ceil(64));
}

#[test]
fn the_flow_comes_in_pieces_of_the_size_that_was_asked_for() {
    let mut bench = Bench::running("console_bytes = 100\nconsole_burst = 70");
    let pieces = [bench.pass(1), bench.pass(1)].concat();
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_\n";
    assert_eq!(pieces, [format!("says {line}012345"), "says 6789abcdefghijklmnopqrstuvwxyz".to_owned()]);
    assert_eq!(bench.driver.poll_timeout(), None);
}

#[test]
fn guests_keep_out_of_each_others_way() {
    let mut bench = Bench::new();
    let ids: Vec<VmId> = (1..=2000).map(|n| VmId(uuid::Uuid::from_u128(n))).collect();
    let text = |n: u64| format!("name = \"a\"\nmemory = \"16 MiB\"\n[test]\nstart_ms = {}", 2001 - n);
    for (n, vm) in (1..).zip(&ids) {
        let action = Action::Start { definition: Arc::new(Definition::parse(&text(n)).unwrap()), paused: false };
        bench.driver.begin(bench.now, &mut NoHost, Job { vm: *vm, operation: OperationId(n), action });
    }
    bench.reports();
    let ended = bench.pass(2000);
    let order: Vec<String> =
        (1..=2000).rev().flat_map(|n| ["Running Requested".to_owned(), format!("{n} done")]).collect();
    assert_eq!(ended, order);
    assert_eq!(bench.driver.guests.len(), 2000);
    assert!(bench.driver.timers.is_empty());
    bench.driver.detach(&mut NoHost);
    assert_eq!(bench.driver.guests.len(), 0);
}

#[test]
fn says_what_it_can_do() {
    let driver = TestDriver::new();
    let capabilities = driver.capabilities();
    assert_eq!((driver.name(), capabilities.hypervisor.as_str()), ("test", "test 1"));
    assert_eq!(capabilities.machines, ["q35", "pc"]);
    assert_eq!(
        capabilities.accelerators.iter().map(|a| (a.name.as_str(), a.usable)).collect::<Vec<_>>(),
        [("test", true)]
    );
    let definition = Definition::parse("name = \"a\"\nmemory = \"16 MiB\"\naccel = \"kvm\"").unwrap();
    assert_eq!(driver.check(&definition), Ok(()));
}

impl Bench {
    /// A running guest with a channel for its agent, its start's reports taken.
    fn with_agent(script: &str) -> Self {
        let mut bench = Self::new();
        bench.begin(Action::Start { definition: with_channel(script), paused: false });
        assert_eq!(bench.pass(0).last().map(String::as_str), Some("agent port open=Some(true)"));
        bench
    }

    fn ask(&mut self, request: &[u8]) -> bool {
        self.driver.agent_write(self.now, &mut NoHost, VM, request)
    }
}

fn with_channel(script: &str) -> Arc<Definition> {
    let text =
        format!("name = 'a'\nmemory = '16 MiB'\nchannels = ['com.example.0', '{AGENT_CHANNEL}']\n[test]\n{script}");
    Arc::new(Definition::parse(&text).unwrap())
}

const STRAY: &str = r#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\uFFFD'"}}"#;

#[test]
fn an_agent_answers_as_the_real_one_does() {
    let mut bench = Bench::with_agent("");
    let sync = b"\xff{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": 4711}}\n";
    for (asked, answered) in [
        (&sync[..], format!("{STRAY}\n\u{ff}{{\"return\": 4711}}\n")),
        (b"{\"execute\": \"guest-ping\"}\n", "{\"return\": {}}\n".to_owned()),
        (b"{\"execute\": \"guest-ping\", \"id\": [7]}\n", "{\"return\": {}, \"id\": [7]}\n".to_owned()),
        (
            b"{\"execute\": \"guest-x\\\"y\", \"id\": 8}\n",
            "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command guest-x\\\"y has not been found\"}, \
             \"id\": 8}\n"
                .to_owned(),
        ),
        (b"\n", String::new()),
        // What a former client left, and the mark that makes up for it.
        (b"{\"execute\": \"guest-pi\xff{\"execute\": \"guest-ping\"}\n", format!("{STRAY}\n{{\"return\": {{}}}}\n")),
    ] {
        assert!(bench.ask(asked));
        assert_eq!(bench.reports(), NOTHING, "it is read in its own time");
        let answered: Vec<u8> = answered.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let expected = if answered.is_empty() { vec![] } else { vec![format!("agent {}", answered.escape_ascii())] };
        assert_eq!(bench.pass(1), expected, "{}", asked.escape_ascii());
    }
    for nonsense in ["]\n", "7\n", "{}\n", "{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": \"x\"}}\n"]
    {
        assert!(bench.ask(nonsense.as_bytes()));
        assert!(bench.pass(1)[0].contains("GenericError"), "{nonsense}");
    }
    assert_eq!(bench.driver.poll_timeout(), None, "a silent agent costs no wake-up");
}

#[test]
fn an_agent_is_there_while_its_guest_is() {
    let mut bench = Bench::new();
    assert!(!bench.ask(b"\n"), "no guest");
    bench.begin(Action::Start { definition: with_channel("start_ms = 10\nshutdown_ms = 5"), paused: true });
    assert!(!bench.ask(b"\n"), "not up yet");
    assert_eq!(bench.pass(10), ["Starting Requested", "process", "Paused Requested", "1 done"]);
    bench.begin(Action::Resume);
    assert_eq!(bench.pass(0), ["Running Requested", "2 done", "agent port open=Some(true)"]);
    bench.type_in("reboot\n");
    let reset = ["says reboot\n", "reset by_guest=true", "agent port open=Some(false)", "agent port open=Some(true)"];
    assert_eq!(bench.pass(0), reset);
    bench.begin(Action::PowerButton);
    assert_eq!(bench.pass(5), ["3 done", "agent port open=Some(false)", "no process", "Stopped Guest"]);
    assert!(!bench.ask(b"\n"), "gone");
    bench.begin(Action::Start { definition: Arc::new(Definition::parse(NO_CHANNEL).unwrap()), paused: false });
    assert_eq!(bench.pass(10), ["Starting Requested", "process", "Running Requested", "4 done"]);
    assert!(!bench.ask(b"\n"), "no channel");
}

const NO_CHANNEL: &str = "name = 'a'\nmemory = '16 MiB'\nchannels = ['com.example.0']";

#[test]
fn an_agent_stands_still_with_its_guest_and_what_it_is_asked_waits_up_to_a_bound() {
    let mut bench = Bench::with_agent("");
    bench.begin(Action::Pause);
    bench.reports();
    assert!(bench.ask(b"{\"execute\": \"guest-ping\"}\n"));
    assert_eq!(bench.pass(1000), NOTHING);
    assert!(!bench.ask(&[b' '; 64 << 10]), "all of it or nothing");
    assert!(bench.ask(&[b' '; 60 << 10]));
    bench.begin(Action::Resume);
    assert_eq!(
        bench.pass(0),
        ["Running Requested", "3 done", "agent {\"return\": {}}\\n".replace('"', "\\\"").as_str()]
    );
    assert!(bench.ask(&[0xff; 64 << 10]));
    let mut said = bench.pass(0);
    assert!(said[0].len() < 40 << 10, "in pieces");
    while bench.driver.poll_timeout().is_some() {
        said.extend(bench.pass(1));
    }
    assert_eq!(said.concat().matches("stray").count(), 64 << 10);
}

#[test]
fn an_agent_that_hangs_opens_its_channel_and_answers_nothing() {
    let mut bench = Bench::with_agent("agent = 'hangs'");
    assert!(bench.ask(&[b'\n'; 64 << 10]));
    assert_eq!(bench.pass(3_600_000), NOTHING);
    assert!(!bench.ask(b"\n"), "nothing is read, and so much fits");
    bench.begin(Action::Reset);
    assert_eq!(
        bench.pass(0),
        ["reset by_guest=false", "agent port open=Some(false)", "2 done", "agent port open=Some(true)"]
    );
    assert!(bench.ask(b"\n"), "what was not read is gone");
}

#[test]
fn a_guest_that_panicked_leaves_its_agent_where_it_stood() {
    let mut bench = Bench::with_agent("panic_ms = 40");
    assert_eq!(bench.pass(40), ["Crashed Guest"]);
    assert!(bench.ask(b"{\"execute\": \"guest-ping\"}\n"));
    assert_eq!(bench.pass(1000), NOTHING);
    bench.begin(Action::Stop);
    assert_eq!(bench.reports(), ["agent port open=Some(false)", "no process", "Stopped Requested", "2 done"]);
}
