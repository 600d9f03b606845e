//! Shutdowns whose guest does something else than to go down.

use super::*;
use crate::driver::Report;
use crate::model::{StateReason, VmState};

#[test]
fn a_shutdown_ends_as_soon_as_the_guest_has_panicked() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("doomed", "deaf = true\npanic_ms = 1000")).unwrap();
    world.ask(&mut visitor, &start("doomed")).unwrap();
    let shutdown =
        |then| ClientData::VmShutdown(VmShutdownCall { vm: Text::clipped("doomed"), grace_ms: 60_000, then });
    let begun = world.now.monotonic;
    let failure = world.ask(&mut visitor, &shutdown(shutdown_then::FAIL)).unwrap_err();
    assert_eq!((failure.code, failure.fact("state")), (code::DRIVER, Some("crashed")), "{failure:?}");
    assert!(failure.message.contains("crashed") && failure.hint.contains("vm stop"), "{failure:?}");

    world.ask(&mut visitor, &ClientData::VmStop(vm("doomed"))).unwrap();
    world.ask(&mut visitor, &start("doomed")).unwrap();
    let ServerData::VmShutdown(done) = world.ask(&mut visitor, &shutdown(shutdown_then::STOP)).unwrap() else {
        panic!()
    };
    assert_eq!(done.state, vm_state::STOPPED);
    assert!(world.now.monotonic - begun < Duration::from_secs(10), "nobody waited for the grace");
}

#[test]
fn a_guest_that_panicked_before_its_button_was_reported_pressed_is_not_waited_for() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("doomed", "deaf = true")).unwrap();
    world.ask(&mut visitor, &start("doomed")).unwrap();
    let call = VmShutdownCall { vm: Text::clipped("doomed"), grace_ms: 60_000, then: shutdown_then::FAIL };
    visitor.session.call(&ClientData::VmShutdown(call), 0).unwrap();
    let sent = visitor.session.outbox().unsent().to_vec();
    visitor.session.outbox().advance(sent.len());
    let vm = world.dispatch.vms.find("doomed").unwrap().id;
    let (state, reason) = (VmState::Crashed, StateReason::Guest);
    world.turn(|dispatch, turn| {
        dispatch.input(turn, visitor.id, &sent, &mut Share::whole());
        dispatch.report(turn, Report::State { vm, state, reason, message: "the guest panicked".to_owned() });
        dispatch.collect(turn);
    });
    world.exchange(&mut visitor);
    let (_, result) = visitor.answers.pop().expect("nothing is left to wait for");
    assert_eq!(result.unwrap_err().fact("state"), Some("crashed"));
}
