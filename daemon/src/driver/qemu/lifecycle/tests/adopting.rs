//! A guest of a former daemon: proved, lost, or gone.

use super::*;

fn adopting() -> Stage {
    let mut stage = Stage::new();
    stage.life = Lifecycle::adopt(stage.now, VM, process(), Patience::default(), 1);
    stage.life.handle_connected(process().pid);
    stage
}

/// The same, and its monitor has told its uuid.
fn proved() -> Stage {
    let mut stage = adopting();
    stage.greet();
    stage.reply_all(1);
    stage.reply(json!({"UUID": VM.to_string()}));
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
    let mut stage = proved();
    assert_eq!(stage.refuse("only after machine initialization"), ["kill"]);
    stage.exit(Exit::default());
    assert!(stage.cleaned()[0].starts_with("Stopped Failed the daemon ended before the start was complete"));
}

#[test]
fn a_guest_that_powered_off_while_nobody_watched_a_reboot_is_let_go() {
    let mut stage = proved();
    stage.reply(json!([]));
    stage.reply(json!({}));
    assert_eq!(stage.reply(json!({"status": "shutdown"})), ["process Some(7)", "send quit"]);
    stage.exit(Exit::default());
    assert_eq!(stage.cleaned()[0], "Stopped Guest");
}

#[test]
fn every_adoption_ends_in_a_state_whatever_qemu_is_doing() {
    let mut stage = proved();
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
