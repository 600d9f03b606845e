//! Consoles: history, readers, the one who writes, and their ends.

use super::*;

#[test]
fn a_loss_at_the_very_end_of_a_console_is_a_jump_to_that_end() {
    let mut world = World::new();
    let (mut slow, mut other) = (world.visitor(), world.visitor());
    world.define(&mut slow, &simple("again", "console_bytes = 200000")).unwrap();
    world.ask(&mut slow, &start("again")).unwrap();
    let open = ConsoleOpenCall { vm: Text::clipped("again"), mode: console_mode::READ, history_bytes: 0 };
    world.ask(&mut slow, &ClientData::ConsoleOpen(open)).unwrap();
    // While the reader is away the guest goes, and another says more than is kept.
    world.pass(&mut other, Duration::from_millis(20));
    let said = |world: &World| world.dispatch.vms.find("again").unwrap().console.end();
    world.ask(&mut other, &ClientData::VmStop(vm("again"))).unwrap();
    let end = said(&world);
    world.ask(&mut other, &start("again")).unwrap();
    world.pass(&mut other, Duration::from_secs(10));
    assert!(said(&world) > end + 150_000, "{} behind {end}", said(&world) - end);
    world.exchange(&mut slow);
    assert!(slow.console.len() < usize::try_from(end).unwrap(), "nothing was lost");
    assert_eq!((slow.console_at, slow.console_jumps), (end, 1));
    assert!(matches!(slow.over.as_slice(), [(1, None)]), "{:?}", slow.over);
}

#[test]
fn a_console_has_history_readers_and_one_writer_who_can_be_taken_over() {
    let mut world = World::new();
    let (mut first, mut second) = (world.visitor(), world.visitor());
    world.define(&mut first, &simple("talks", "console = \"login: \"")).unwrap();
    world.ask(&mut first, &start("talks")).unwrap();
    world.pass(&mut first, Duration::from_millis(10));
    let open =
        |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("talks"), mode, history_bytes: 1000 });
    let ServerData::ConsoleOpen(answer) = world.ask(&mut first, &open(console_mode::WRITE)).unwrap() else { panic!() };
    assert_eq!((answer.stream, answer.offset, answer.writer.as_str()), (1, 0, "uid 0"));
    assert_eq!(first.console, b"login: ");
    let failure = world.ask(&mut second, &open(console_mode::WRITE)).unwrap_err();
    assert_eq!((failure.code, failure.fact("holder")), (code::BUSY, Some("uid 0")));
    world.ask(&mut second, &open(console_mode::TAKE_OVER)).unwrap();
    world.exchange(&mut first);
    assert!(matches!(first.over.as_slice(), [(1, Some(why))] if why.code == code::BUSY), "{:?}", first.over);
    second.session.stream_send(1, 0, 0, b"root\n").unwrap();
    world.exchange(&mut second);
    world.pass(&mut second, Duration::from_millis(100));
    assert!(second.console.starts_with(b"login: root"), "{:?}", second.console);
    world.ask(&mut second, &ClientData::VmStop(vm("talks"))).unwrap();
    assert!(matches!(second.over.as_slice(), [(1, None)]), "{:?}", second.over);
}

#[test]
fn an_event_that_ends_a_turn_does_not_wait_for_something_else_to_happen() {
    let mut world = World::new();
    let (mut writer, mut subscriber) = (world.visitor(), world.visitor());
    world.define(&mut writer, &simple("talks", "")).unwrap();
    world.ask(&mut writer, &start("talks")).unwrap();
    let open = ConsoleOpenCall { vm: Text::clipped("talks"), mode: console_mode::WRITE, history_bytes: 0 };
    world.ask(&mut writer, &ClientData::ConsoleOpen(open)).unwrap();
    let kinds = List::clipped([event_kind::CONSOLE_WRITER]);
    let call = SubscribeCall { after: None, vm: Text::default(), kinds };
    world.ask(&mut subscriber, &ClientData::Subscribe(call)).unwrap();
    assert_eq!(world.dispatch.poll_timeout(world.now.monotonic), None);
    // Connections are removed when everything else of a turn is done.
    world.turn(|dispatch, turn| dispatch.gone(turn, writer.id));
    assert_eq!(world.dispatch.poll_timeout(world.now.monotonic), Some(world.now.monotonic));
    world.turn(Dispatch::collect);
    assert_eq!(world.turn(Dispatch::poll_dirty), Some(subscriber.id));
    world.exchange(&mut subscriber);
    assert_eq!(subscriber.events.iter().map(|event| event.kind).collect::<Vec<_>>(), [event_kind::CONSOLE_WRITER]);
    assert_eq!(world.dispatch.poll_timeout(world.now.monotonic), None);
}

#[test]
fn what_was_typed_before_the_end_of_typing_still_reaches_the_guest() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "")).unwrap();
    world.ask(&mut visitor, &start("slow")).unwrap();
    let open = |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("slow"), mode, history_bytes: 0 });
    world.ask(&mut visitor, &open(console_mode::WRITE)).unwrap();
    let text = vec![b'x'; 20_000];
    visitor.session.stream_send(1, 0, 0, &text).unwrap();
    visitor.session.stream_end(1, None);
    world.exchange(&mut visitor);
    let failure = world.ask(&mut visitor, &open(console_mode::WRITE)).unwrap_err();
    assert_eq!(failure.code, code::BUSY, "it writes until all is taken");
    world.pass(&mut visitor, Duration::from_millis(100));
    assert_eq!(visitor.console, text);
    world.ask(&mut visitor, &open(console_mode::WRITE)).unwrap();
}

#[test]
fn the_end_of_typing_leaves_the_console_to_be_read_and_an_end_with_a_reason_does_not() {
    let mut world = World::new();
    let (mut typist, mut reader) = (world.visitor(), world.visitor());
    world.define(&mut typist, &simple("talks", "")).unwrap();
    world.ask(&mut typist, &start("talks")).unwrap();
    let open = |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("talks"), mode, history_bytes: 0 });
    // One that only reads has nothing to end, so that the end of it means nothing either.
    world.ask(&mut reader, &open(console_mode::READ)).unwrap();
    reader.session.stream_end(1, None);
    world.exchange(&mut reader);
    world.ask(&mut typist, &open(console_mode::WRITE)).unwrap();
    typist.session.stream_send(1, 0, 0, b"hello\n").unwrap();
    typist.session.stream_end(1, None);
    world.exchange(&mut typist);
    world.pass(&mut typist, Duration::from_millis(100));
    world.exchange(&mut reader);
    for visitor in [&typist, &reader] {
        assert!(visitor.console.starts_with(b"hello"), "{:?}", visitor.console);
        assert!(visitor.over.is_empty(), "{:?}", visitor.over);
    }
    let enough = Failure::new(code::CANCELLED, "enough was read");
    reader.session.stream_end(1, Some(enough));
    world.exchange(&mut reader);
    let ServerData::VmShow(shown) = world.ask(&mut typist, &ClientData::VmShow(vm("talks"))).unwrap() else { panic!() };
    assert_eq!((shown.vm.console_readers, shown.vm.console_writer.as_str()), (1, ""));
}

#[test]
fn a_console_stream_ends_with_its_guest_although_the_guest_comes_up_again() {
    let mut world = World::new();
    let (mut slow, mut other) = (world.visitor(), world.visitor());
    world.define(&mut slow, &simple("again", "console_bytes = 200000")).unwrap();
    world.ask(&mut slow, &start("again")).unwrap();
    let open = |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("again"), mode, history_bytes: 0 });
    world.ask(&mut slow, &open(console_mode::WRITE)).unwrap();
    // Nobody reads what the first guest said; it is gone and another is up when somebody does.
    world.pass(&mut other, Duration::from_millis(20));
    let said = |world: &World| world.dispatch.vms.find("again").unwrap().console.end();
    world.ask(&mut other, &ClientData::VmStop(vm("again"))).unwrap();
    let end = said(&world);
    assert!(end > 60_000, "{end}");
    world.ask(&mut other, &start("again")).unwrap();
    world.ask(&mut other, &open(console_mode::WRITE)).unwrap();
    world.pass(&mut other, Duration::from_millis(5));
    assert!(said(&world) > end);
    slow.session.stream_send(1, 0, 0, b"poweroff\n").unwrap();
    world.exchange(&mut slow);
    world.pass(&mut slow, Duration::from_millis(5));
    assert_eq!(slow.console.len(), usize::try_from(end).unwrap());
    assert!(matches!(slow.over.as_slice(), [(1, None)]), "{:?}", slow.over);
    let ServerData::VmShow(shown) = world.ask(&mut other, &ClientData::VmShow(vm("again"))).unwrap() else { panic!() };
    assert_eq!(shown.vm.state, vm_state::RUNNING, "what was meant for a guest that is gone reaches no other");
}
