//! How it ends: who is told, who is heard out, and for how long.

use super::*;

#[test]
fn a_stranger_is_told_and_then_heard_out_until_its_end() {
    let mut world = World::new();
    world.arrive(Incoming::Bytes(b"GET / HTTP/1.1\r\n\r\n".to_vec()));
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(failure(&world.answers()[0]).code, code::BAD_MAGIC);
    assert!(matches!(world.connection.phase, Phase::Lingering { .. }));
    assert_eq!(world.connection.poll_timeout(), Some(world.now.monotonic + LINGER_TIME));
    world.arrive(Incoming::Bytes(vec![b'x'; 1000]));
    assert_eq!(world.ready(false), Next::Wait);
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Gone);
    assert_eq!(world.answers().len(), 1);
}

#[test]
fn nobody_is_heard_out_for_ever() {
    let mut world = World::new();
    world.arrive(Incoming::Bytes(vec![b'x'; 20 + LINGER_BYTES_MAX]));
    assert_eq!(world.ready(false), Next::Again, "others come first");
    assert_eq!(world.ready_until_done(false), Next::Wait);
    world.arrive(Incoming::Bytes(vec![b'x'; 1024 * 1024]));
    assert_eq!(world.ready_until_done(false), Next::Gone);
    let mut world = World::new();
    world.arrive(Incoming::Bytes(vec![b'x'; 20]));
    assert_eq!(world.ready(false), Next::Wait);
    let now = world.now.monotonic;
    assert!(!world.connection.is_overdue(now + LINGER_TIME - Duration::from_millis(1)));
    assert!(world.connection.is_overdue(now + LINGER_TIME));
}

#[test]
fn the_last_packet_waits_for_room_but_not_for_ever() {
    let mut world = World::new();
    world.connection.socket.room = 5;
    world.leave();
    assert_eq!(world.output(), Next::Wait);
    assert!(matches!(world.connection.phase, Phase::Closing { .. }));
    assert_eq!(world.connection.poll_timeout(), Some(world.now.monotonic + LINGER_TIME));
    world.connection.socket.room = 10_000;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(failure(&world.answers()[0]).code, code::GOING_AWAY);
    assert!(matches!(world.connection.phase, Phase::Lingering { .. }));
}

#[test]
fn what_a_socket_keeps_is_sent_before_anything_else_is_done() {
    for room in [0, 1, 7] {
        let mut world = World::new();
        world.connection.socket.keeps = Some(Vec::new());
        world.connection.socket.room = room;
        let pings = world.pings(10);
        world.arrive(Incoming::Bytes(pings));
        assert_eq!(world.ready(false), Next::Wait);
        world.leave();
        assert_eq!(world.output(), Next::Wait);
        assert!(!world.connection.socket.shut_down && matches!(world.connection.phase, Phase::Closing { .. }));
        world.connection.socket.room = usize::MAX;
        assert_eq!(world.ready(false), Next::Wait);
        assert!(world.connection.socket.shut_down && matches!(world.connection.phase, Phase::Lingering { .. }));
        assert_eq!(world.answers().len(), 11);
    }
    // The end of the peer is no reason to forget it either.
    let mut world = World::new();
    world.connection.socket.keeps = Some(Vec::new());
    world.connection.socket.room = 0;
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Wait);
    world.connection.socket.room = usize::MAX;
    assert_eq!(world.ready(false), Next::Gone);
    assert_eq!(world.answers().len(), 10);
}

#[test]
fn who_ends_its_side_gets_every_answer_before_the_close() {
    let mut world = World::new();
    world.connection.socket.room = 0;
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Wait);
    let patience = world.connection.poll_timeout().unwrap();
    assert_eq!(patience, world.now.monotonic + ENDED_TIME);
    world.now = world.now.later(Duration::from_secs(20));
    world.connection.socket.room = 150;
    assert_eq!(world.ready(false), Next::Wait);
    assert!(world.connection.poll_timeout().unwrap() > patience, "progress earned it no time");
    world.connection.socket.room = 50;
    assert_eq!(world.ready(false), Next::Gone);
    assert_eq!(world.answers().len(), 10);
}

#[test]
fn what_a_peer_sent_before_it_vanished_is_carried_out() {
    let mut world = World::new();
    let definition = Text::new("name = \"a\"\nmemory = \"64 MiB\"\n").unwrap();
    let define = ClientData::VmDefine(VmDefineCall { definition, replace: false });
    // An answer waits to be written when the peer is gone, and its last words lie unread.
    world.connection.socket.room = 0;
    let ping = world.pings(1);
    world.arrive(Incoming::Bytes(ping));
    assert_eq!(world.ready(false), Next::Wait);
    let define = world.packet(&define);
    world.arrive(Incoming::Bytes(define));
    world.arrive(Incoming::Error(io::ErrorKind::ConnectionReset));
    world.connection.socket.write_error = Some(io::ErrorKind::BrokenPipe);
    assert_eq!(world.ready(true), Next::Gone);

    assert_eq!(world.vms_as_somebody_else_sees_them(), 1);
}

/// A quarter of a megabyte of wide lists, sent by a peer that went at once, kept the loop for 7 s.
#[test]
fn what_a_peer_asked_before_it_vanished_does_not_keep_the_turn() {
    let mut world = World::new();
    let text = |name: &str| format!("name = \"{name}\"\nmemory = \"64 MiB\"\n");
    let define = |text: &str| ClientData::VmDefine(VmDefineCall { definition: Text::clipped(text), replace: false });
    let long = world.packet(&define(&format!("{}#{}", text("a"), "x".repeat(40_000))));
    world.arrive(Incoming::Bytes(long));
    assert_eq!(world.ready_until_done(false), Next::Wait);
    world.core.collect(&mut Turn { now: world.now, host: &mut NoHost });

    let questions = 100;
    let mut bytes = Vec::new();
    for _ in 0..questions {
        bytes.extend(world.packet(&ClientData::VmDefinition(VmCall { vm: Text::clipped("a") })));
    }
    bytes.extend(world.packet(&define(&text("b"))));
    world.arrive(Incoming::Bytes(bytes));
    world.arrive(Incoming::Error(io::ErrorKind::ConnectionReset));
    world.connection.socket.write_error = Some(io::ErrorKind::BrokenPipe);
    let mut turns = 1;
    while world.ready(true) == Next::Again {
        turns += 1;
    }
    assert!((questions..=questions + 5).contains(&turns), "{turns} turns");
    assert_eq!(world.vms_as_somebody_else_sees_them(), 2, "its last wish was not carried out");
}

#[test]
fn an_error_of_the_socket_is_the_end() {
    for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::PermissionDenied] {
        let mut world = World::new();
        world.arrive(Incoming::Error(kind));
        assert_eq!(world.ready(true), Next::Gone);
    }
    let mut world = World::new();
    world.arrive(Incoming::Error(io::ErrorKind::Interrupted));
    let ping = world.pings(1);
    world.arrive(Incoming::Bytes(ping));
    assert_eq!(world.ready_until_done(false), Next::Wait);
    assert_eq!(world.answers().len(), 1, "an interruption is no error");
}
