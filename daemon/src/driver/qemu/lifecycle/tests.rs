use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;

const VM: VmId = VmId(Uuid::from_u128(0x6f1d_5f5c_6f0b_4a3e_9d3c_2f6f_3b1d_8a11));

/// A lifecycle with a clock that is set by hand, and what it ordered so far.
struct Stage {
    life: Lifecycle,
    now: Instant,
    operations: u64,
    last_command: Option<u64>,
}

impl Stage {
    fn new() -> Self {
        let now = Instant::now();
        Self { life: Lifecycle::new(VM, Patience::default()), now, operations: 0, last_command: None }
    }

    /// A guest that runs, and everything told of it forgotten.
    fn running() -> Self {
        let mut stage = Self::new();
        stage.begin(start());
        stage.life.handle_prepared(stage.now, Ok(()));
        stage.life.handle_launched(Ok(process()));
        stage.greet();
        stage.orders();
        for _ in 0..4 {
            stage.reply(json!({"status": "running"}));
        }
        assert_eq!(stage.life.state, Some(VmState::Running));
        stage
    }

    fn begin(&mut self, task: Task) -> Vec<String> {
        self.operations += 1;
        self.life.begin(self.now, OperationId(self.operations), task);
        self.orders()
    }

    fn greet(&mut self) {
        self.life.handle_message(self.now, Message::Greeting { version: "7.2.22".to_owned() });
    }

    fn event(&mut self, name: &str, data: Value) -> Vec<String> {
        self.life.handle_message(self.now, Message::Event { name: name.to_owned(), data });
        self.orders()
    }

    /// Answers the last command.
    fn reply(&mut self, value: Value) -> Vec<String> {
        let id = self.last_command.take().expect("nothing was asked");
        self.life.handle_message(self.now, Message::Reply { id, result: Ok(value) });
        self.orders()
    }

    fn refuse(&mut self, why: &str) -> Vec<String> {
        let id = self.last_command.take().expect("nothing was asked");
        self.life.handle_message(self.now, Message::Reply { id, result: Err(why.to_owned()) });
        self.orders()
    }

    fn wait(&mut self, by: Duration) -> Vec<String> {
        self.now += by;
        self.life.handle_timeout(self.now);
        self.orders()
    }

    fn exit(&mut self, exit: Exit) -> Vec<String> {
        self.life.handle_exit(exit);
        self.orders()
    }

    fn cleaned(&mut self) -> Vec<String> {
        self.life.handle_cleaned();
        self.orders()
    }

    /// What was ordered, in short.
    fn orders(&mut self) -> Vec<String> {
        let mut orders = Vec::new();
        while let Some(order) = self.life.poll_order() {
            orders.push(match order {
                Order::Send { id, command } => {
                    self.last_command = Some(id);
                    match command {
                        Command::StandAfterShutdown(stand) => format!("send stand={stand}"),
                        Command::SetCommandLine(line) => format!("send append {line}"),
                        other => format!("send {}", other.qmp().0),
                    }
                }
                Order::Report(Report::State { state, reason, message, .. }) => {
                    format!("{state:?} {reason:?} {message}").trim_end().to_owned()
                }
                Order::Report(Report::Finished { operation, result, .. }) => match result {
                    Ok(()) => format!("{operation} done"),
                    Err(error) => format!("{operation} {:?}: {} {:?}", error.kind, error.message, error.causes),
                },
                Order::Report(Report::Process { process, .. }) => {
                    format!("process {:?}", process.map(|process| process.pid))
                }
                Order::Report(Report::Reset { by_guest, .. }) => format!("reset by_guest={by_guest}"),
                Order::Report(Report::Monitor { connected, .. }) => format!("monitor {connected}"),
                Order::Report(Report::Console { .. }) => "console".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            });
        }
        orders
    }
}

fn start() -> Task {
    Task::Start { cmdline: None, paused: false }
}

fn process() -> Process {
    Process { pid: 7, accelerator: "tcg" }
}

fn status(exit: i32, stderr: &str) -> Exit {
    Exit { status: Some(exit), stderr: stderr.lines().map(str::to_owned).collect(), ..Exit::default() }
}

#[test]
fn a_start_is_finished_when_the_monitor_says_running_and_not_before() {
    let mut stage = Stage::new();
    let task = Task::Start { cmdline: Some("quiet".to_owned()), paused: false };
    assert_eq!(stage.begin(task), ["Starting Requested", "prepare"]);
    stage.life.handle_prepared(stage.now, Ok(()));
    assert_eq!(stage.orders(), ["launch"]);
    stage.life.handle_launched(Ok(process()));
    assert_eq!(stage.orders(), ["process Some(7)"]);
    stage.greet();
    assert_eq!(stage.orders(), ["send qmp_capabilities"]);
    assert_eq!(stage.reply(json!({})), ["send append quiet"]);
    assert_eq!(stage.reply(json!({})), ["send x-exit-preconfig"]);
    assert_eq!(stage.reply(json!({})), ["send cont"]);
    assert_eq!(stage.event("RESUME", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    let told = stage.reply(json!({"status": "running", "running": true}));
    assert_eq!(told[..2], ["Running Requested", "1 done"]);
    assert_eq!(told[2..], ["send query-status"], "the RESUME is looked into");
    assert_eq!(stage.reply(json!({"status": "running"})), [""; 0]);
}

#[test]
fn a_paused_start_is_finished_when_the_guest_stands() {
    let mut stage = Stage::new();
    stage.begin(Task::Start { cmdline: None, paused: true });
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.greet();
    stage.orders();
    assert_eq!(stage.reply(json!({})), ["send x-exit-preconfig"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "prelaunch"})), ["Paused Requested", "1 done"]);
}

#[test]
fn a_qemu_that_ends_at_once_fails_the_start_with_what_it_said() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.life.handle_launched(Ok(process()));
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    stage.orders();
    assert_eq!(stage.exit(status(1, "no such\nfirmware")), ["disconnect", "cleanup"]);
    assert_eq!(
        stage.cleaned(),
        [
            "Stopped Failed QEMU ended before the guest ran",
            "process None",
            "1 Failed: QEMU ended before the guest ran [\"QEMU ended with status 1\", \"no such\", \"firmware\"]"
        ]
    );
    assert!(stage.life.is_stopped() && stage.life.poll_timeout().is_none());
}

#[test]
fn what_the_launcher_says_is_the_error() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    stage.exit(Exit { status: Some(70), launcher: Some(failed("/srv/x cannot be opened")), ..Exit::default() });
    assert_eq!(stage.cleaned()[2], "1 Failed: /srv/x cannot be opened []");
}

#[test]
fn a_monitor_that_never_greets_times_the_start_out_and_the_process_is_killed() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    assert_eq!(stage.wait(Duration::from_millis(29_999)), [""; 0]);
    assert_eq!(stage.wait(Duration::from_millis(1)), ["kill"]);
    assert_eq!(stage.exit(Exit { signal: Some(9), ..Exit::default() }), ["disconnect", "cleanup"]);
    let told = stage.cleaned();
    assert_eq!(told[0], "Stopped Failed QEMU's monitor did not greet in time");
    assert!(told[2].starts_with("1 TimedOut"), "{told:?}");
}

#[test]
fn a_monitor_lost_during_the_start_fails_it() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    stage.life.handle_link_lost(stage.now, "nonsense".to_owned());
    assert_eq!(stage.wait(LINK_GRACE), ["kill"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    let told = stage.cleaned();
    assert_eq!(told[2], "1 Failed: the connection to QEMU's monitor was lost [\"nonsense\"]");
}

#[test]
fn a_refusal_during_the_start_fails_it() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.greet();
    stage.orders();
    stage.reply(json!({}));
    assert_eq!(stage.refuse("no"), ["kill"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned()[2], "1 Failed: QEMU refused x-exit-preconfig [\"no\"]");
}

#[test]
fn an_operation_after_which_the_guest_is_in_another_state_has_failed() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.greet();
    stage.reply_all(3);
    assert_eq!(
        stage.reply(json!({"status": "guest-panicked"})),
        [
            "Crashed Guest the guest panicked",
            "1 Failed: everything was done, and yet the guest is in another state [\"QEMU says guest-panicked\"]"
        ]
    );
}

#[test]
fn a_record_that_cannot_be_written_fails_the_start_before_anything_is_launched() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Err("disk full".to_owned()));
    assert_eq!(stage.orders(), ["disconnect", "cleanup"]);
    assert_eq!(
        stage.cleaned(),
        [
            "Stopped Failed the run record could not be written",
            "1 Failed: the run record could not be written [\"disk full\"]"
        ]
    );
}

#[test]
fn a_stop_says_quit_and_kills_after_a_second() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Stop), ["send quit"]);
    assert_eq!(stage.event("SHUTDOWN", json!({"guest": false, "reason": "host-qmp-quit"})), [""; 0]);
    assert_eq!(stage.wait(QUIT), ["kill"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned(), ["Stopped Requested", "process None", "2 done"]);
}

#[test]
fn a_stop_overtakes_what_is_under_way() {
    let mut stage = Stage::running();
    stage.begin(Task::Reboot);
    let told = stage.begin(Task::Stop);
    assert_eq!(told, ["2 Superseded: a stop has overtaken it []", "send quit"]);
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned(), ["Stopped Requested", "process None", "3 done"]);

    let mut stage = Stage::new();
    stage.begin(start());
    assert_eq!(stage.begin(Task::Stop), ["1 Superseded: a stop has overtaken it []"]);
    stage.life.handle_prepared(stage.now, Ok(()));
    assert_eq!(stage.orders(), ["cleanup"]);
    assert_eq!(stage.cleaned(), ["Stopped Requested", "2 done"]);

    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    assert_eq!(stage.begin(Task::Stop), ["1 Superseded: a stop has overtaken it []", "kill"]);
}

#[test]
fn a_process_that_the_kernel_does_not_let_go_is_told() {
    let mut stage = Stage::running();
    stage.begin(Task::Stop);
    stage.wait(QUIT);
    assert_eq!(stage.wait(KILL), ["2 TimedOut: QEMU was killed and has not ended []"]);
    assert_eq!(stage.begin(start()), ["3 Failed: the guest is there already []"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned(), ["Stopped Requested", "process None"]);
}

#[test]
fn a_guest_that_powers_off_and_one_whose_qemu_dies_are_told_apart() {
    let mut stage = Stage::running();
    stage.event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}));
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned(), ["Stopped Guest", "process None"]);

    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    stage.exit(Exit { signal: Some(11), stderr: vec!["oops".to_owned()], ..Exit::default() });
    assert_eq!(
        stage.cleaned(),
        [
            "Stopped Hypervisor QEMU was ended by signal 11\noops",
            "process None",
            "2 Ended: the guest ended meanwhile [\"QEMU was ended by signal 11\", \"oops\"]"
        ]
    );

    let mut stage = Stage::running();
    stage.event("SHUTDOWN", json!({"guest": false, "reason": "host-signal"}));
    assert_eq!(stage.event("STOP", Value::Null), ["send query-status"]);
    stage.reply(json!({"status": "shutdown"}));
    stage.exit(status(0, "terminating on signal 15 from pid 3"));
    assert_eq!(
        stage.cleaned()[0],
        "Stopped Hypervisor QEMU ended with status 0: host-signal\nterminating on signal 15 from pid 3"
    );
}

#[test]
fn a_guest_that_goes_down_while_its_button_is_pressed_has_obeyed() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::PowerButton), ["send system_powerdown"]);
    stage.event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}));
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned(), ["Stopped Guest", "process None", "2 done"]);

    // Where somebody else ended it, it is down all the same; the state says why.
    let mut stage = Stage::running();
    stage.begin(Task::PowerButton);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned(), ["Stopped Hypervisor QEMU was ended by signal 9", "process None", "2 done"]);
}

#[test]
fn pause_and_resume_are_finished_when_the_status_says_so() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Pause), ["send stop"]);
    assert_eq!(stage.event("STOP", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "paused"}))[..2], ["Paused Requested", "2 done"]);
    stage.reply(json!({"status": "paused"}));
    assert_eq!(stage.begin(Task::Resume), ["send cont"]);
    stage.reply(json!({}));
    assert_eq!(stage.reply(json!({"status": "running"})), ["Running Requested", "3 done"]);
    assert_eq!(stage.begin(Task::Resume), ["send cont"]);
    assert_eq!(
        stage.refuse("Resetting the Virtual Machine is required"),
        ["4 Failed: QEMU refused cont [\"Resetting the Virtual Machine is required\"]"]
    );
}

#[test]
fn a_guest_that_stands_unasked_is_told_only_when_its_status_says_so() {
    let mut stage = Stage::running();
    assert_eq!(stage.event("STOP", Value::Null), ["send query-status"]);
    assert_eq!(stage.event("RESUME", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({"status": "save-vm"})), ["send query-status"], "once more for the RESUME");
    assert_eq!(stage.reply(json!({"status": "running"})), [""; 0]);
    stage.event("STOP", Value::Null);
    assert_eq!(stage.reply(json!({"status": "io-error"})), ["Paused Hypervisor a disk failed"]);
}

#[test]
fn a_panic_is_told_and_a_reset_brings_the_guest_up_again() {
    let mut stage = Stage::running();
    let told = stage.event("GUEST_PANICKED", json!({"action": "pause"}));
    assert_eq!(told, ["Crashed Guest the guest panicked", "send query-status"]);
    stage.event("STOP", Value::Null);
    assert_eq!(stage.reply(json!({"status": "guest-panicked"})), ["send query-status"]);
    stage.reply(json!({"status": "guest-panicked"}));
    assert_eq!(stage.begin(Task::Reset), ["send system_reset"]);
    stage.reply(json!({}));
    assert_eq!(stage.event("RESET", json!({"guest": false})), ["reset by_guest=false", "send cont"]);
    stage.reply(json!({}));
    assert_eq!(stage.reply(json!({"status": "running"}))[..2], ["Running Requested", "2 done"]);
}

#[test]
fn a_reset_is_finished_when_it_was_done_and_its_echoes_are_not_told() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Reset), ["send system_reset"]);
    assert_eq!(stage.event("RESET", json!({"guest": false})), ["reset by_guest=false"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "running"}))[0], "2 done");
    for _ in 0..6 {
        stage.now += Duration::from_millis(900);
        let told = stage.event("RESET", json!({"guest": true}));
        assert!(!told.contains(&"reset by_guest=true".to_owned()), "{told:?}");
    }
    stage.now += RESET_QUIET;
    let told = stage.event("RESET", json!({"guest": true}));
    assert!(told.contains(&"reset by_guest=true".to_owned()), "{told:?}");
}

#[test]
fn the_echo_of_a_reset_while_paused_comes_after_the_resume_and_is_not_told() {
    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    stage.reply(json!({}));
    stage.reply(json!({"status": "paused"}));
    stage.begin(Task::Reset);
    stage.event("RESET", json!({"guest": false}));
    stage.reply(json!({}));
    stage.reply(json!({"status": "prelaunch"}));
    stage.reply(json!({"status": "prelaunch"}));
    stage.wait(Duration::from_secs(60));
    stage.begin(Task::Resume);
    stage.event("RESUME", Value::Null);
    let told = stage.event("RESET", json!({"guest": true}));
    assert_eq!(told, [""; 0]);
}

#[test]
fn a_reboot_lets_the_guest_go_down_and_up_within_one_process() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Reboot), ["send stand=true"]);
    assert_eq!(stage.reply(json!({})), ["send system_powerdown"]);
    assert_eq!(stage.reply(json!({})), [""; 0]);
    stage.event("POWERDOWN", Value::Null);
    assert_eq!(stage.event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"})), ["send system_reset"]);
    assert_eq!(stage.event("STOP", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({})), ["send stand=false"]);
    stage.event("RESET", json!({"guest": false}));
    assert_eq!(stage.reply(json!({})), ["send cont"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "running"}))[0], "2 done");
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(
        stage.cleaned()[0],
        "Stopped Hypervisor QEMU was ended by signal 9",
        "the shutdown of the reboot is not taken for the reason"
    );
}

#[test]
fn a_reboot_that_the_guest_does_not_hear_ends_and_leaves_no_trap() {
    let mut stage = Stage::running();
    stage.begin(Task::Reboot);
    stage.reply(json!({}));
    stage.reply(json!({}));
    let told = stage.wait(Duration::from_secs(120));
    assert_eq!(told[..2], ["send stand=false", "2 TimedOut: the guest did not go down in time []"]);
}

#[test]
fn a_panic_during_a_reboot_ends_it() {
    let mut stage = Stage::running();
    stage.begin(Task::Reboot);
    stage.reply(json!({}));
    stage.reply(json!({}));
    let told = stage.event("GUEST_PANICKED", Value::Null);
    assert!(told.contains(&"2 Failed: the guest panicked meanwhile []".to_owned()), "{told:?}");
}

#[test]
fn a_lost_monitor_is_told_and_sought_and_is_not_an_end() {
    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    stage.life.handle_link_lost(stage.now, "nonsense".to_owned());
    assert_eq!(stage.orders(), [""; 0], "perhaps the process is ending");
    assert_eq!(
        stage.wait(LINK_GRACE),
        ["monitor false", "2 Failed: the connection to QEMU's monitor was lost [\"nonsense\"]"]
    );
    assert_eq!(stage.begin(Task::Resume), ["3 Failed: QEMU's monitor is not connected; it is being sought []"]);
    assert_eq!(stage.wait(Duration::from_millis(100)), ["connect"]);
    stage.life.handle_link_lost(stage.now, "refused".to_owned());
    assert_eq!(stage.orders(), ["disconnect"]);
    assert_eq!(stage.wait(Duration::from_millis(199)), [""; 0]);
    assert_eq!(stage.wait(Duration::from_millis(1)), ["connect"]);
    stage.greet();
    assert_eq!(stage.orders(), ["send qmp_capabilities"]);
    assert_eq!(stage.reply(json!({})), ["send stand=false"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "paused"})), ["monitor true", "Paused Hypervisor"]);
    assert_eq!(stage.begin(Task::Resume), ["send cont"]);
}

#[test]
fn a_monitor_that_closes_because_the_process_ends_is_not_told() {
    let mut stage = Stage::running();
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.wait(LINK_GRACE), [""; 0]);
    assert_eq!(stage.cleaned(), ["Stopped Hypervisor QEMU was ended by signal 9", "process None"]);
}

#[test]
fn a_command_that_is_not_answered_ends_the_operation() {
    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    let told = stage.wait(SCRIPT);
    assert_eq!(told, ["2 TimedOut: QEMU's monitor did not answer stop in time []"]);
    assert_eq!(stage.reply(json!({})), [""; 0], "the late answer is nobody's");
}

fn adopting() -> Stage {
    let mut stage = Stage::new();
    stage.life = Lifecycle::adopt(stage.now, VM, process(), Patience::default(), 1);
    stage.life.handle_connected(process().pid);
    stage
}

#[test]
fn a_guest_is_adopted_when_its_uuid_and_its_machine_are_proved() {
    let mut stage = adopting();
    assert_eq!(
        stage.orders(),
        ["Adopting Unknown it is being found out whether its process is ours", "connect"],
        "nobody may take it for stopped meanwhile"
    );
    stage.greet();
    assert_eq!(stage.orders(), ["send qmp_capabilities"]);
    assert_eq!(stage.reply(json!({})), ["send query-uuid"]);
    assert_eq!(stage.reply(json!({"UUID": VM.to_string()})), ["send query-cpus-fast"]);
    assert_eq!(stage.reply(json!([])), ["send stand=false"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "running"})), ["process Some(7)", "Running Adopted"]);
}

#[test]
fn what_cannot_be_proved_is_lost_and_never_killed() {
    let mut stage = adopting();
    stage.orders();
    for (operation, task) in [(1, Task::Stop), (2, start()), (3, Task::Reset), (4, Task::PowerButton)] {
        let told = stage.begin(task);
        assert_eq!(told, [format!("{operation} Failed: it is not proved yet that the guest's process is ours []")]);
    }

    let mut stage = adopting();
    stage.greet();
    stage.reply_all(1);
    let told = stage.reply(json!({"UUID": Uuid::from_u128(1).to_string()}));
    assert_eq!(told, ["disconnect", "Lost Unknown the process behind the monitor runs another machine"]);
    let told = stage.begin(start());
    assert!(told[0].starts_with("1 Failed: the guest is lost"), "{told:?}");
    let told = stage.begin(Task::Stop);
    assert!(told.len() == 1 && told[0].starts_with("2 Failed: the guest is lost"), "{told:?}");
    stage.exit(Exit::default());
    assert_eq!(stage.cleaned(), ["Stopped Hypervisor QEMU ended"], "until its process is gone");

    let mut stage = adopting();
    stage.orders();
    assert_eq!(stage.wait(Duration::from_secs(30)), ["disconnect", "Lost Unknown its monitor did not greet in time"]);

    let mut stage = adopting();
    stage.orders();
    stage.life.handle_link_lost(stage.now, "refused".to_owned());
    assert_eq!(stage.wait(LINK_GRACE), ["disconnect", "Lost Unknown its monitor cannot be spoken with: refused"]);
}

#[test]
fn a_monitor_at_which_another_process_listens_proves_nothing() {
    let mut stage = adopting();
    stage.orders();
    stage.life.handle_connected(8);
    stage.greet();
    assert_eq!(stage.orders(), ["connect"], "it may have been the former daemon, a moment before QEMU was there");
    stage.life.handle_connected(process().pid);
    stage.greet();
    assert_eq!(stage.orders(), ["send qmp_capabilities"]);

    for other in [8, 0] {
        let mut stage = adopting();
        stage.orders();
        for _ in 0..2 {
            assert_eq!(stage.life.state, Some(VmState::Adopting));
            stage.life.handle_connected(other);
            stage.greet();
        }
        let why = "another process than that of its run record listens at its monitor";
        assert_eq!(stage.orders(), ["connect".to_owned(), "disconnect".to_owned(), format!("Lost Unknown {why}")]);
        stage.exit(Exit::default());
        assert_eq!(stage.orders(), [""; 0], "what ended was not QEMU: the guest is not taken for stopped");
        assert!(stage.begin(start())[0].starts_with("1 Failed: the guest is lost"));
    }

    let mut stage = adopting();
    stage.life.handle_connected(8);
    stage.greet();
    stage.orders();
    let told = stage.wait(Duration::from_secs(30));
    assert_eq!(told, ["disconnect", "Lost Unknown its monitor did not greet in time"], "the second time");
}

#[test]
fn a_start_that_a_former_daemon_left_half_done_is_ended() {
    let mut stage = adopting();
    stage.greet();
    stage.reply_all(1);
    stage.reply(json!({"UUID": VM.to_string()}));
    assert_eq!(stage.refuse("only after machine initialization"), ["kill"]);
    stage.exit(Exit::default());
    assert!(stage.cleaned()[0].starts_with("Stopped Failed the daemon ended before the start was complete"));
}

#[test]
fn a_guest_that_powered_off_while_nobody_watched_a_reboot_is_let_go() {
    let mut stage = adopting();
    stage.greet();
    stage.reply_all(1);
    stage.reply(json!({"UUID": VM.to_string()}));
    stage.reply(json!([]));
    stage.reply(json!({}));
    assert_eq!(stage.reply(json!({"status": "shutdown"})), ["process Some(7)", "send quit"]);
    stage.exit(Exit::default());
    assert_eq!(stage.cleaned()[0], "Stopped Guest");
}

#[test]
fn every_adoption_ends_in_a_state_whatever_qemu_is_doing() {
    let mut stage = adopting();
    stage.greet();
    stage.reply_all(1);
    stage.reply(json!({"UUID": VM.to_string()}));
    stage.reply(json!([]));
    stage.reply(json!({}));
    let told = stage.reply(json!({"status": "save-vm"}));
    assert_eq!(told, ["process Some(7)", "Paused Adopted QEMU let it stand for some work of its own"]);
    assert_eq!(stage.event("RESUME", Value::Null), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "running"})), ["Running Hypervisor"]);
}

#[test]
fn a_record_of_a_process_that_is_gone_is_removed_and_told_if_it_is_of_this_boot() {
    let mut stage = Stage::new();
    stage.life = Lifecycle::gone(VM, true);
    assert_eq!(stage.orders(), ["cleanup"]);
    assert_eq!(stage.cleaned(), ["Stopped Hypervisor QEMU ended while no daemon was there"]);
    stage.life = Lifecycle::gone(VM, false);
    assert_eq!(stage.orders(), ["cleanup"]);
    assert_eq!(stage.cleaned(), [""; 0]);
}

impl Stage {
    /// Answers so many commands with nothing.
    fn reply_all(&mut self, count: usize) {
        self.orders();
        for _ in 0..count {
            self.reply(json!({}));
        }
    }
}

#[derive(Debug, Clone)]
enum Fate {
    Begin(Task),
    Prepared(bool),
    Greeting,
    Reply(bool, &'static str),
    Event(&'static str, bool),
    LinkLost,
    Exit,
    Cleaned,
    Wait(u64),
}

fn any_fate() -> impl Strategy<Value = Fate> {
    const STATUSES: &[&str] = &["running", "paused", "prelaunch", "guest-panicked", "shutdown", "save-vm", "nonsense"];
    const EVENTS: &[&str] = &["STOP", "RESUME", "RESET", "SHUTDOWN", "GUEST_PANICKED", "POWERDOWN"];
    let tasks = vec![
        start(),
        Task::Start { cmdline: Some(String::new()), paused: true },
        Task::Stop,
        Task::Reboot,
        Task::Reset,
        Task::Pause,
        Task::Resume,
        Task::PowerButton,
    ];
    prop_oneof![
        3 => proptest::sample::select(tasks).prop_map(Fate::Begin),
        2 => any::<bool>().prop_map(Fate::Prepared),
        2 => Just(Fate::Greeting),
        12 => (proptest::bool::weighted(0.9), proptest::sample::select(STATUSES)).prop_map(|(ok, s)| Fate::Reply(ok, s)),
        3 => (proptest::sample::select(EVENTS), any::<bool>()).prop_map(|(e, guest)| Fate::Event(e, guest)),
        1 => Just(Fate::LinkLost),
        1 => Just(Fate::Exit),
        2 => Just(Fate::Cleaned),
        1 => (0..200_u64).prop_map(Fate::Wait),
    ]
}

/// Whatever happens, in whatever order: the outside world keeps only its own promises, that what was ordered and only
/// that is answered.
struct World {
    stage: Stage,
    preparing: bool,
    process: bool,
    launching: bool,
    cleaning: bool,
    open: Vec<OperationId>,
    /// As told; what a former daemon told of an adopted guest is not known.
    state: Option<VmState>,
    connected: bool,
}

impl World {
    fn collect(&mut self) -> Result<(), TestCaseError> {
        while let Some(order) = self.stage.life.poll_order() {
            match order {
                Order::Prepare => self.preparing = true,
                Order::Launch => self.launching = true,
                Order::CleanUp => {
                    prop_assert!(!self.process && !self.preparing, "cleaned up under a living process");
                    self.cleaning = true;
                }
                Order::Connect => {
                    self.connected = true;
                    self.stage.life.handle_connected(process().pid);
                }
                Order::Disconnect => self.connected = false,
                Order::Send { id, .. } => self.stage.last_command = Some(id),
                Order::Kill => prop_assert!(self.process, "nothing to kill"),
                Order::Report(Report::Finished { operation, .. }) => {
                    let at = self.open.iter().position(|open| *open == operation);
                    prop_assert!(at.is_some(), "operation {operation} was finished twice");
                    self.open.remove(at.unwrap_or_default());
                }
                Order::Report(Report::State { state, .. }) => {
                    prop_assert!(Some(state) != self.state);
                    self.state = Some(state);
                }
                Order::Report(_) => {}
            }
        }
        Ok(())
    }

    fn suffer(&mut self, fate: Fate) -> Result<(), TestCaseError> {
        let now = self.stage.now;
        match fate {
            Fate::Begin(task) => {
                self.stage.operations += 1;
                let operation = OperationId(self.stage.operations);
                self.open.push(operation);
                self.stage.life.begin(now, operation, task);
            }
            Fate::Prepared(ok) if std::mem::take(&mut self.preparing) => {
                self.stage.life.handle_prepared(now, if ok { Ok(()) } else { Err(String::new()) });
            }
            Fate::Greeting if self.process && self.connected => {
                self.stage.life.handle_message(now, Message::Greeting { version: String::new() });
                // One greeting a connection.
                self.connected = false;
            }
            Fate::Reply(ok, status) => {
                if let Some(id) = self.stage.last_command.take() {
                    let result =
                        if ok { Ok(json!({"status": status, "UUID": VM.to_string()})) } else { Err(String::new()) };
                    self.stage.life.handle_message(now, Message::Reply { id, result });
                }
            }
            Fate::Event(name, guest) if self.process => {
                let data = json!({"guest": guest});
                self.stage.life.handle_message(now, Message::Event { name: name.to_owned(), data });
            }
            Fate::LinkLost => self.stage.life.handle_link_lost(now, String::new()),
            Fate::Exit if std::mem::take(&mut self.process) => self.stage.life.handle_exit(Exit::default()),
            Fate::Cleaned if std::mem::take(&mut self.cleaning) => self.stage.life.handle_cleaned(),
            Fate::Wait(seconds) => {
                self.stage.now += Duration::from_secs(seconds);
                self.stage.life.handle_timeout(self.stage.now);
            }
            _ => {}
        }
        self.collect()?;
        // A launch is answered before anything else happens.
        if std::mem::take(&mut self.launching) {
            self.process = true;
            self.connected = true;
            self.stage.life.handle_launched(Ok(process()));
            self.collect()?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_operation_is_finished_once_and_in_the_end_nothing_is_left(
        fates in proptest::collection::vec(any_fate(), 0..80), adopted: bool,
    ) {
        let mut stage = Stage::new();
        if adopted {
            stage.life = Lifecycle::adopt(stage.now, VM, process(), Patience::default(), 1);
        }
        let mut world = World {
            stage, preparing: false, process: adopted, launching: false, cleaning: false, open: Vec::new(),
            state: (!adopted).then_some(VmState::Stopped), connected: true,
        };
        world.collect()?;
        for fate in fates {
            world.suffer(fate)?;
        }
        // Stopped, unless nobody may; then everything that is still owed by the outside comes.
        world.suffer(Fate::Begin(Task::Stop))?;
        for fate in [Fate::Prepared(true), Fate::Exit, Fate::Cleaned, Fate::Wait(1000)] {
            world.suffer(fate)?;
        }
        prop_assert!(world.open.is_empty(), "{:?} were never finished", world.open);
        prop_assert_eq!(world.state, Some(VmState::Stopped));
        prop_assert!(world.stage.life.is_stopped() && world.stage.life.poll_timeout().is_none());
    }
}
