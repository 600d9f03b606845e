//! Definitions: one at a time, so many that may wait, and whose name is taken.

use super::*;

#[test]
fn two_definitions_of_one_name_are_one_too_many() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("twin", "")).unwrap();
    let failure = world.define(&mut visitor, &simple("twin", "")).unwrap_err();
    assert_eq!(failure.code, code::EXISTS);
    let failure = world.define(&mut visitor, "name = \"x\"\nmemmory = \"64 MiB\"\n").unwrap_err();
    assert_eq!((failure.code, failure.fact("line")), (code::INVALID, Some("2")));
    let replace = VmDefineCall { definition: Text::new(simple("twin", "deaf = true")).unwrap(), replace: true };
    world.ask(&mut visitor, &ClientData::VmDefine(replace)).unwrap();
    let ServerData::VmDefinition(answer) = world.ask(&mut visitor, &ClientData::VmDefinition(vm("twin"))).unwrap()
    else {
        panic!()
    };
    assert_eq!(answer.definition.as_str(), simple("twin", "deaf = true"));
}

#[test]
fn that_a_machine_is_missing_is_said_before_what_else_is_wrong() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    let vm = || Text::clipped("nobody");
    let calls = [
        ClientData::VmShutdown(VmShutdownCall { vm: vm(), grace_ms: 0, then: 99 }),
        ClientData::VmWait(VmWaitCall { vm: vm(), states: List::default() }),
        ClientData::ConsoleOpen(ConsoleOpenCall { vm: vm(), mode: 99, history_bytes: 0 }),
    ];
    for call in calls {
        assert_eq!(world.ask(&mut visitor, &call).unwrap_err().code, code::NOT_FOUND, "{call:?}");
    }
}

#[test]
fn more_definitions_than_may_wait_are_refused_and_the_others_are_read() {
    let mut world = World::new();
    let (mut first, mut second) = (world.visitor(), world.visitor());
    for (visitor, letter, count) in [(&mut first, 'a', 200), (&mut second, 'b', 100)] {
        for number in 0..count {
            let definition = Text::new(simple(&format!("{letter}{number}"), "")).unwrap();
            visitor.session.call(&ClientData::VmDefine(VmDefineCall { definition, replace: false }), 0).unwrap();
        }
        let sent = visitor.session.outbox().unsent().to_vec();
        visitor.session.outbox().advance(sent.len());
        world.turn(|dispatch, turn| dispatch.input(turn, visitor.id, &sent, &mut Share::whole()));
    }
    world.exchange(&mut first);
    world.exchange(&mut second);
    world.pass(&mut first, Duration::ZERO);
    world.exchange(&mut second);
    assert_eq!(first.answers.iter().filter(|(_, result)| result.is_ok()).count(), 200);
    let refused: Vec<&Failure> = second.answers.iter().filter_map(|(_, result)| result.as_ref().err()).collect();
    assert_eq!((refused.len(), second.answers.len()), (44, 100));
    assert!(refused.iter().all(|failure| failure.code == code::OVERLOADED && failure.retry_after_ms > 0));
}
