//! Reading and writing: as few system calls as there can be, and everybody in turn.

use super::*;

#[test]
fn requests_read_together_are_answered_with_one_write() {
    let mut world = World::new();
    let pings = world.pings(100);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.answers().len(), 100);
    // A short read needs no second one.
    assert_eq!((world.connection.socket.reads, world.connection.socket.writes), (1, 1));
}

#[test]
fn an_event_that_is_no_news_costs_no_system_call() {
    let mut world = World::new();
    let hints = Hints { readable: false, read_closed: false };
    let turn = &mut Turn { now: world.now, host: &mut NoHost };
    assert_eq!(world.connection.handle_ready(&mut world.core, turn, &mut world.buffers, hints), Next::Wait);
    assert_eq!((world.connection.socket.reads, world.connection.socket.writes), (0, 0));
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut world = World::new();
    let spare = world.buffers.write.capacity();
    for _ in 0..3 {
        let pings = world.pings(10);
        world.arrive(Incoming::Bytes(pings));
        world.ready(false);
        assert_eq!(world.buffers.write.capacity(), spare, "the shared buffer did not come back");
    }
}

#[test]
fn one_connection_does_not_keep_the_turn_to_itself() {
    let mut world = World::new();
    let count = 5_000;
    let pings = world.pings(count);
    world.arrive(Incoming::Bytes(pings));
    let mut turns = 1;
    while world.ready(false) == Next::Again {
        turns += 1;
    }
    assert_eq!(world.answers().len(), count);
    // Two hundred and fifty at a time, and each time they are answered before others come.
    assert!((20..=22).contains(&turns), "{turns} turns");
}

/// Thirty long answers to each of four hundred clients kept everybody else waiting for two seconds.
#[test]
fn who_asks_for_much_gets_it_by_and_by_and_has_none_of_it_held_back() {
    let mut world = World::new();
    let definition = Text::clipped(&format!("name = \"a\"\nmemory = \"64 MiB\"\n#{}\n", "x".repeat(40_000)));
    let define = world.packet(&ClientData::VmDefine(VmDefineCall { definition, replace: false }));
    world.arrive(Incoming::Bytes(define));
    world.ready_until_done(false);
    world.core.collect(&mut Turn { now: world.now, host: &mut NoHost });
    let questions = 30;
    let bytes = (0..questions).flat_map(|_| world.packet(&ClientData::VmDefinition(VmCall { vm: Text::clipped("a") })));
    let bytes = bytes.collect();
    world.arrive(Incoming::Bytes(bytes));
    world.output();
    world.buffers.take_work();
    let mut turns = 0;
    loop {
        let next = world.ready(false);
        turns += 1;
        let id = world.connection.id;
        assert!(world.core.outbox(id).unwrap().is_empty(), "it was made, and waits although it could be written");
        let work = world.buffers.take_work();
        assert!(work <= 128 * 1024, "{work} bytes of work in one turn");
        if next == Next::Wait {
            break;
        }
    }
    let answered = world.answers().iter().filter(|(_, data)| matches!(data, ServerData::VmDefinition(_))).count();
    assert_eq!(answered, questions);
    assert!((questions..=questions + 5).contains(&turns), "{turns} turns");
}

#[test]
fn what_a_socket_keeps_counts_as_unsent() {
    let mut world = World::new();
    world.connection.socket.keeps = Some(Vec::new());
    world.connection.socket.room = 0;
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready(false), Next::Wait);
    let census = world.core.census();
    assert_eq!((census.connections[0].unsent_bytes, census.held_bytes), (200, 200));
    // It takes all that it is given, so that nothing else tells when it is enough.
    world.connection.socket.keeps = Some(vec![0; UNSENT_BYTES_HIGH]);
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready(false), Next::Wait);
    let unsent = world.core.census().connections[0].unsent_bytes;
    assert_eq!(unsent, UNSENT_BYTES_HIGH + 20, "no more than one packet was taken");
    world.connection.socket.room = usize::MAX;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.core.census().held_bytes, 0);
}

#[test]
fn half_of_what_a_socket_cannot_show_has_its_time_too() {
    let mut world = World::new();
    let ping = world.pings(1);
    world.arrive(Incoming::Bytes(ping));
    assert_eq!(world.ready(false), Next::Wait);
    let timeout = |world: &World| world.core.poll_timeout(world.now.monotonic);
    assert_eq!(timeout(&world), None);
    world.connection.socket.half = 700;
    assert_eq!(world.ready(false), Next::Wait);
    let until = world.now.monotonic + HALF_PACKET_TIME;
    assert_eq!((timeout(&world), world.core.census().held_bytes), (Some(until), 700));
    // More of it gives it no more time, and its end lets the clock go.
    world.now = world.now.later(Duration::from_secs(20));
    world.connection.socket.half = 800;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(timeout(&world), Some(until));
    world.connection.socket.half = 0;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(timeout(&world), None);

    world.connection.socket.half = 1;
    assert_eq!(world.ready(false), Next::Wait);
    world.now = world.now.later(HALF_PACKET_TIME);
    world.core.handle_timeout(&mut Turn { now: world.now, host: &mut NoHost });
    world.output();
    assert_eq!(failure(world.answers().last().unwrap()).code, code::DEADLINE_EXCEEDED);
}

/// Half a megabyte of lists that match nothing kept the loop for 18 s: each is short, and so is its answer.
#[test]
fn work_that_costs_few_bytes_does_not_keep_the_turn_either() {
    let mut world = World::new();
    let lists = 80;
    let title = "a".repeat(250);
    for n in 0..100 {
        let definition = Text::clipped(&format!("name = \"vm{n}\"\nmemory = \"16 MiB\"\ntitle = \"{title}\"\n"));
        let define = world.packet(&ClientData::VmDefine(VmDefineCall { definition, replace: false }));
        world.arrive(Incoming::Bytes(define));
        while world.ready(false) == Next::Again {}
        world.core.collect(&mut Turn { now: world.now, host: &mut NoHost });
    }
    let hello = HelloCall { major: 1, minor: 1, capabilities: List::default(), name: Text::default() };
    let mut bytes = world.packet(&ClientData::Hello(hello));
    let pattern = VmCell::Text(Text::clipped(&format!("{}*b", "*a".repeat(60))));
    let filter = VmFilter { field: vm_field::TITLE, comparison: filter_comparison::MATCHES, value: pattern };
    let list = VmListCall {
        fields: List::clipped([vm_field::NAME]),
        filters: List::clipped([filter]),
        after: Text::default(),
        rows_max: 0,
    };
    for _ in 0..lists {
        bytes.extend(world.packet(&ClientData::VmList(list.clone())));
    }
    world.arrive(Incoming::Bytes(bytes));
    world.arrive(Incoming::End);
    let mut turns = 1;
    while world.ready(true) == Next::Again {
        turns += 1;
    }
    let answered = world.answers().iter().filter(|(_, data)| matches!(data, ServerData::VmList(_))).count();
    assert_eq!(answered, lists, "nothing is lost when it is put off");
    // Forty thousand bytes each.
    assert!((lists..=lists + 5).contains(&turns), "{turns} turns");
}

#[test]
fn the_end_that_came_with_the_data_is_not_missed() {
    let mut world = World::new();
    let pings = world.pings(1);
    world.arrive(Incoming::Bytes(pings));
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Gone);
    assert_eq!(world.answers().len(), 1, "gone before it was answered");
}

#[test]
fn a_socket_that_is_full_is_not_tried_again_before_something_happened_to_it() {
    let mut world = World::new();
    world.connection.socket.room = 0;
    for _ in 0..3 {
        let pings = world.pings(10);
        world.arrive(Incoming::Bytes(pings));
    }
    assert_eq!(world.ready(true), Next::Wait);
    assert_eq!((world.connection.socket.reads, world.connection.socket.writes), (4, 1));
    world.connection.socket.room = usize::MAX;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.answers().len(), 30);
}

#[test]
fn what_cannot_be_written_stops_the_reading_and_nothing_is_lost_when_it_goes_on() {
    let mut world = World::new();
    world.connection.socket.room = 0;
    // Each answer is as long as its request, so this is far more than may be unsent.
    let count = 4 * UNSENT_BYTES_HIGH / 20;
    let pings = world.pings(count);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready_until_done(false), Next::Wait);
    assert!(world.connection.blocked);
    let reads = world.connection.socket.reads;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.connection.socket.reads, reads, "it reads on although it is blocked");
    let id = world.connection.id;
    assert!(world.core.outbox(id).unwrap().unsent().len() < UNSENT_BYTES_HIGH + 64);

    // The socket takes a little at a time; each time an event says that it is writable.
    let mut steps = 0;
    while world.connection.socket.written.len() < count * 20 {
        world.connection.socket.room = 50_000;
        let mut hints = Hints { readable: false, read_closed: false };
        let turn = &mut Turn { now: world.now, host: &mut NoHost };
        while world.connection.handle_ready(&mut world.core, turn, &mut world.buffers, hints) == Next::Again {
            hints.readable = true;
        }
        steps += 1;
        assert!(steps < 1000, "it came to a stand");
    }
    let answered: Vec<u32> = world.answers().into_iter().map(|(reply_to, _)| reply_to).collect();
    let expected: Vec<u32> = (1..=world.serial).collect();
    assert_eq!(answered, expected);
}

#[test]
fn answers_longer_than_their_requests_come_to_no_stand_when_the_socket_takes_everything() {
    let mut world = World::new();
    let count = 5_000;
    let calls = (0..count).flat_map(|_| world.packet(&ClientData::HostCapabilities)).collect();
    world.arrive(Incoming::Bytes(calls));
    let mut turns = 0;
    while world.ready(false) == Next::Again {
        turns += 1;
        assert!(turns < 1000, "it never ends");
    }
    assert_eq!(world.answers().len(), count);
}
