//! While it is being found out whether a guest is ours: what is asked for waits, and nothing is done.

use super::*;
use crate::driver::Report;
use crate::model::{StateReason, VmState};

impl World {
    /// The driver tells that a virtual machine has entered a state.
    fn told(&mut self, visitor: &mut Visitor, name: &str, state: VmState) {
        let vm = self.dispatch.vms.find(name).unwrap().id;
        let report = Report::State { vm, state, reason: StateReason::Unknown, message: String::new() };
        self.turn(|dispatch, turn| {
            dispatch.report(turn, report);
            dispatch.collect(turn);
        });
        self.exchange(visitor);
    }

    /// A virtual machine that a former daemon left, and somebody who looks.
    fn adopting(name: &str) -> (Self, Visitor) {
        let mut world = Self::new();
        let mut visitor = world.visitor();
        world.define(&mut visitor, &simple(name, "")).unwrap();
        world.told(&mut visitor, name, VmState::Adopting);
        (world, visitor)
    }
}

impl Visitor {
    /// The answer to a call, if it has come.
    fn answer(&self, call: u32) -> Option<&Result<ServerData, Failure>> {
        self.answers.iter().find(|(serial, _)| *serial == call).map(|(_, answer)| answer)
    }

    #[track_caller]
    fn refusal(&self, call: u32) -> &Failure {
        self.answer(call).expect("an answer").as_ref().expect_err("a refusal")
    }
}

fn wait(name: &str, state: u32) -> ClientData {
    ClientData::VmWait(VmWaitCall { vm: Text::clipped(name), states: List::clipped([state]) })
}

#[test]
fn what_is_asked_for_waits_until_it_is_known_and_is_carried_out_then() {
    let (mut world, mut visitor) = World::adopting("left");
    let started = visitor.session.call(&start("left"), 0).unwrap();
    let waits = visitor.session.call(&wait("left", vm_state::RUNNING), 0).unwrap();
    world.exchange(&mut visitor);
    world.pass(&mut visitor, Duration::from_secs(1));
    assert_eq!((visitor.answer(started), visitor.answer(waits)), (None, None));
    world.told(&mut visitor, "left", VmState::Stopped);
    world.pass(&mut visitor, Duration::from_secs(1));
    assert!(matches!(visitor.answer(started), Some(Ok(ServerData::VmStart(done))) if done.state == vm_state::RUNNING));
    assert!(matches!(visitor.answer(waits), Some(Ok(ServerData::VmWait(_)))));
}

#[test]
fn what_is_asked_for_is_refused_when_the_guest_turns_out_to_be_lost() {
    let (mut world, mut visitor) = World::adopting("left");
    let calls: Vec<u32> = [ClientData::VmStop(vm("left")), ClientData::VmReset(vm("left")), start("left")]
        .iter()
        .map(|call| visitor.session.call(call, 0).unwrap())
        .collect();
    let waits = visitor.session.call(&wait("left", vm_state::RUNNING), 0).unwrap();
    world.exchange(&mut visitor);
    assert_eq!(visitor.answer(calls[0]), None);
    world.told(&mut visitor, "left", VmState::Lost);
    for call in calls {
        let failure = visitor.refusal(call);
        assert_eq!((failure.code, failure.fact("state")), (code::INVALID, Some("lost")), "{failure:?}");
        assert_eq!(failure.fact("begun"), Some("no"));
    }
    assert_eq!(visitor.refusal(waits).fact("never"), Some("yes"));
}

#[test]
fn a_stop_goes_ahead_of_what_waits_but_not_of_another_stop() {
    let (mut world, mut visitor) = World::adopting("left");
    let reset = visitor.session.call(&ClientData::VmReset(vm("left")), 0).unwrap();
    let first = visitor.session.call(&ClientData::VmStop(vm("left")), 0).unwrap();
    let second = visitor.session.call(&ClientData::VmStop(vm("left")), 0).unwrap();
    world.exchange(&mut visitor);
    let failure = visitor.refusal(reset);
    assert_eq!((failure.code, failure.fact("begun")), (code::CANCELLED, Some("no")));
    assert_eq!((visitor.answer(first), visitor.answer(second)), (None, None), "nothing is done to it yet");
    world.told(&mut visitor, "left", VmState::Stopped);
    assert!(matches!(visitor.answer(first), Some(Ok(_))));
    assert!(matches!(visitor.answer(second), Some(Ok(_))));
}

#[test]
fn the_ninth_that_waits_and_another_definition_are_told_to_come_again() {
    let (mut world, mut visitor) = World::adopting("left");
    for _ in 0..8 {
        visitor.session.call(&ClientData::VmStop(vm("left")), 0).unwrap();
    }
    let ninth = world.ask(&mut visitor, &ClientData::VmStop(vm("left"))).unwrap_err();
    let call = VmDefineCall { definition: Text::clipped(&simple("left", "")), replace: true };
    let replaced = world.ask(&mut visitor, &ClientData::VmDefine(call)).unwrap_err();
    for failure in [ninth, replaced] {
        assert_eq!((failure.code, failure.fact("state")), (code::BUSY, Some("adopting")), "{failure:?}");
        assert!(failure.retry_after_ms > 0 && !failure.hint.is_empty(), "{failure:?}");
    }
}

#[test]
fn a_console_that_is_opened_meanwhile_ends_only_if_the_guest_is_lost() {
    let (mut world, mut visitor) = World::adopting("left");
    let open = ConsoleOpenCall { vm: Text::clipped("left"), mode: console_mode::WRITE, history_bytes: 0 };
    let ServerData::ConsoleOpen(opened) = world.ask(&mut visitor, &ClientData::ConsoleOpen(open)).unwrap() else {
        panic!()
    };
    assert_eq!(visitor.over, []);
    world.told(&mut visitor, "left", VmState::Lost);
    assert_eq!(visitor.over, [(opened.stream, None)]);
    let ServerData::VmShow(shown) = world.ask(&mut visitor, &ClientData::VmShow(vm("left"))).unwrap() else { panic!() };
    assert_eq!(shown.vm.console_writer.as_str(), "");
}
