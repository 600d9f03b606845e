//! What becomes of operations: their order, their ends, and what is waited for.

use super::*;

#[test]
fn a_machine_lives_from_define_to_undefine_and_its_events_tell_it() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    let subscribe = SubscribeCall { after: None, vm: Text::default(), kinds: List::default() };
    world.ask(&mut visitor, &ClientData::Subscribe(subscribe)).unwrap();
    world.define(&mut visitor, &simple("web", "start_ms = 20")).unwrap();
    let ServerData::VmStart(done) = world.ask(&mut visitor, &start("web")).unwrap() else { panic!() };
    assert_eq!((done.operation, done.state), (2, vm_state::RUNNING));
    world.ask(&mut visitor, &ClientData::VmPause(vm("web"))).unwrap();
    world.ask(&mut visitor, &ClientData::VmResume(vm("web"))).unwrap();
    let shutdown = VmShutdownCall { vm: Text::clipped("web"), grace_ms: 0, then: shutdown_then::FAIL };
    let ServerData::VmShutdown(done) = world.ask(&mut visitor, &ClientData::VmShutdown(shutdown)).unwrap() else {
        panic!()
    };
    assert_eq!(done.state, vm_state::STOPPED);
    world.ask(&mut visitor, &ClientData::VmUndefine(vm("web"))).unwrap();

    let states: Vec<u32> = visitor
        .events
        .iter()
        .filter(|event| event.kind == event_kind::VM_STATE)
        .map(|event| vmwire_protocol::xdr::decode::<EventVmState>(&event.detail).unwrap().state)
        .collect();
    assert_eq!(states, [vm_state::STARTING, vm_state::RUNNING, vm_state::PAUSED, vm_state::RUNNING, vm_state::STOPPED]);
    let sequences: Vec<u64> = visitor.events.iter().map(|event| event.sequence).collect();
    let first = sequences[0];
    assert!(sequences.iter().zip(first..).all(|(have, want)| *have == want), "{sequences:?}");
    let failure = world.ask(&mut visitor, &ClientData::VmShow(vm("web"))).unwrap_err();
    assert_eq!(failure.code, code::NOT_FOUND);
}

#[test]
fn a_stop_goes_ahead_and_fails_what_runs_and_waits() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "start_ms = 60000")).unwrap();
    let started = visitor.session.call(&start("slow"), 0).unwrap();
    let waits = visitor.session.call(&ClientData::VmPause(vm("slow")), 0).unwrap();
    world.exchange(&mut visitor);
    assert!(visitor.answers.is_empty());
    let ServerData::VmStop(done) = world.ask(&mut visitor, &ClientData::VmStop(vm("slow"))).unwrap() else { panic!() };
    assert_eq!(done.state, vm_state::STOPPED);
    let failures: Vec<(u32, u32, Option<&str>)> = visitor
        .answers
        .iter()
        .map(|(serial, result)| {
            let failure = result.as_ref().unwrap_err();
            assert!(failure.hint.is_empty(), "what was overtaken does not go on: {failure:?}");
            (*serial, failure.code, failure.fact("begun"))
        })
        .collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures.contains(&(waits, code::CANCELLED, Some("no"))), "{failures:?}");
    assert!(failures.contains(&(started, code::CANCELLED, Some("yes"))), "{failures:?}");
}

#[test]
fn a_shutdown_that_is_overtaken_before_its_button_was_reported_pressed_waits_for_no_guest() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("deaf", "deaf = true")).unwrap();
    world.ask(&mut visitor, &start("deaf")).unwrap();
    let shutdown = VmShutdownCall { vm: Text::clipped("deaf"), grace_ms: 3000, then: shutdown_then::STOP };
    let shutdown = visitor.session.call(&ClientData::VmShutdown(shutdown), 0).unwrap();
    world.ask(&mut visitor, &ClientData::VmStop(vm("deaf"))).unwrap();
    let Some((_, Err(failure))) = visitor.answers.iter().find(|(serial, _)| *serial == shutdown) else { panic!() };
    assert_eq!(failure.code, code::CANCELLED);
    world.ask(&mut visitor, &start("deaf")).unwrap();
    world.pass(&mut visitor, Duration::from_secs(10));
    let ServerData::VmShow(shown) = world.ask(&mut visitor, &ClientData::VmShow(vm("deaf"))).unwrap() else { panic!() };
    assert_eq!(shown.vm.state, vm_state::RUNNING, "the grace was that of a guest that is gone");
}

#[test]
fn the_ninth_that_waits_is_refused_and_told_behind_whom() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "start_ms = 60000")).unwrap();
    visitor.session.call(&start("slow"), 0).unwrap();
    for _ in 0..8 {
        visitor.session.call(&ClientData::VmReset(vm("slow")), 0).unwrap();
    }
    let failure = world.ask(&mut visitor, &ClientData::VmReset(vm("slow"))).unwrap_err();
    assert_eq!((failure.code, failure.fact("holder")), (code::BUSY, Some("uid 0")));
    assert_eq!(failure.fact("operation"), Some("2"));
    assert!(failure.fact("since").is_some());
}

#[test]
fn a_deadline_bounds_the_answer_and_not_the_deed() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "start_ms = 5000")).unwrap();
    let running = visitor.session.call(&start("slow"), 100).unwrap();
    let queued = visitor.session.call(&ClientData::VmPause(vm("slow")), 100).unwrap();
    world.exchange(&mut visitor);
    world.pass(&mut visitor, Duration::from_millis(100));
    let told: Vec<(u32, u32, Option<&str>)> = visitor
        .answers
        .iter()
        .map(|(serial, result)| {
            (*serial, result.as_ref().unwrap_err().code, result.as_ref().unwrap_err().fact("begun"))
        })
        .collect();
    assert!(told.contains(&(running, code::DEADLINE_EXCEEDED, Some("yes"))), "{told:?}");
    let hint = |(_, result): &(u32, Result<_, Failure>)| result.as_ref().err().map(|failure| failure.hint.to_string());
    let hints: Vec<String> = visitor.answers.iter().filter_map(hint).collect();
    assert!(hints.iter().any(|hint| hint.contains("vmwire op show 2 tells")), "{hints:?}");
    assert!(told.contains(&(queued, code::DEADLINE_EXCEEDED, Some("no"))), "{told:?}");
    let wait = VmWaitCall { vm: Text::clipped("slow"), states: List::clipped([vm_state::RUNNING]) };
    world.ask(&mut visitor, &ClientData::VmWait(wait)).unwrap();
    let ServerData::VmShow(show) = world.ask(&mut visitor, &ClientData::VmShow(vm("slow"))).unwrap() else { panic!() };
    assert_eq!(show.vm.state, vm_state::RUNNING, "the start went on and the pause never came");
}

#[test]
fn a_wait_for_a_machine_that_is_undefined_can_never_come_true() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("brief", "")).unwrap();
    let wait = VmWaitCall { vm: Text::clipped("brief"), states: List::clipped([vm_state::RUNNING]) };
    let waits = visitor.session.call(&ClientData::VmWait(wait), 0).unwrap();
    world.ask(&mut visitor, &ClientData::VmUndefine(vm("brief"))).unwrap();
    let (serial, result) = visitor.answers.pop().unwrap();
    let failure = result.unwrap_err();
    assert_eq!((serial, failure.code, failure.fact("never")), (waits, code::NOT_FOUND, Some("yes")));
}

#[test]
fn a_guest_that_is_deaf_is_stopped_after_its_grace_if_that_was_asked() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("deaf", "deaf = true")).unwrap();
    world.ask(&mut visitor, &start("deaf")).unwrap();
    let shutdown = |then| ClientData::VmShutdown(VmShutdownCall { vm: Text::clipped("deaf"), grace_ms: 3000, then });
    let failure = world.ask(&mut visitor, &shutdown(shutdown_then::FAIL)).unwrap_err();
    assert_eq!((failure.code, failure.fact("limit")), (code::DEADLINE_EXCEEDED, Some("3000")));
    let ServerData::VmShutdown(done) = world.ask(&mut visitor, &shutdown(shutdown_then::STOP)).unwrap() else {
        panic!()
    };
    assert_eq!(done.state, vm_state::STOPPED);
}
