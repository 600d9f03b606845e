//! Who is connected: who may be, who goes on, who is cut, and who sends no more.

use super::*;

#[test]
fn a_subscriber_goes_on_where_it_was_or_is_told_of_the_gap() {
    let mut world = World::new();
    let mut first = world.visitor();
    world.define(&mut first, &simple("a", "")).unwrap();
    let resume = |epoch: [u8; 16], sequence| SubscribeCall {
        after: Some(Cursor { epoch: Fixed::from(epoch), sequence }),
        vm: Text::default(),
        kinds: List::default(),
    };
    world.ask(&mut first, &ClientData::Subscribe(resume([7; 16], 0))).unwrap();
    assert_eq!(first.events.first().map(|event| (event.sequence, event.kind)), Some((1, event_kind::DAEMON_STARTED)));
    let newest = first.events.last().unwrap().sequence;
    let mut second = world.visitor();
    world.ask(&mut second, &ClientData::Subscribe(resume([7; 16], newest - 1))).unwrap();
    assert_eq!(second.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [newest]);
    world.ask(&mut second, &ClientData::Subscribe(resume([9; 16], 55))).unwrap();
    assert_eq!(second.gaps, [Gap { epoch: Fixed::from([7; 16]), first: 0, last: 0 }]);
    assert_eq!(second.events.len(), 1 + first.events.len(), "the whole ring is replayed");
}

#[test]
fn those_who_may_not_connect_are_told_and_closed() {
    let mut world = World::new();
    let arrival =
        Arrival { identity: Identity::unix(1000, 0), base: Base::Owners, refusal: None, first_packet_by: None };
    let id = world.turn(|dispatch, turn| dispatch.accept(turn, arrival));
    let mut session = ClientSession::new();
    let bytes = world.dispatch.outbox(id).unwrap().unsent().to_vec();
    let mut input = bytes.as_slice();
    let ClientStep::Closed(Closing::Told(failure)) = session.step(&mut input) else { panic!() };
    assert_eq!(failure.code, code::DENIED);
    assert!(world.dispatch.is_closing(id));
}

/// One who came often enough, and read nothing, once had everybody cut: what a connection holds counted until it was gone.
#[test]
fn those_who_hold_too_much_are_cut_and_nobody_else_with_them() {
    let mut world = World::new();
    let mut bystander = world.visitor();
    let text = format!("{}# {}\n", simple("web", ""), "x".repeat(48_000));
    world.define(&mut bystander, &text).unwrap();
    let greedy: Vec<Visitor> = (0..300)
        .map(|_| {
            let mut visitor = world.visitor();
            for _ in 0..6 {
                visitor.session.call(&ClientData::VmDefinition(vm("web")), 0).unwrap();
            }
            let sent = visitor.session.outbox().unsent().to_vec();
            world.turn(|dispatch, turn| {
                let mut sent = sent.as_slice();
                while dispatch.input(turn, visitor.id, std::mem::take(&mut sent), &mut Share::whole()) == Flow::PutOff {
                }
            });
            assert!(world.dispatch.census().held_bytes <= TOTAL_BYTES_MAX);
            visitor
        })
        .collect();
    world.ask(&mut bystander, &ClientData::HostInfo).unwrap();
    assert!(!world.dispatch.is_cut(bystander.id));
    assert!(greedy.iter().any(|visitor| world.dispatch.is_cut(visitor.id)), "it was not enough");
    let held = world.dispatch.census().held_bytes;
    assert!(held > TOTAL_BYTES_MAX - 512 * 1024, "{held}: nobody was cut for whom there was room");
}

#[test]
fn a_half_close_has_all_that_was_sent_before_carried_out() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("big", "")).unwrap();
    // More answers than may be unsent, so that packets are left untaken when the end comes.
    for _ in 0..3000 {
        visitor.session.call(&ClientData::VmShow(vm("big")), 0).unwrap();
    }
    let sent = visitor.session.outbox().unsent().to_vec();
    visitor.session.outbox().advance(sent.len());
    let mut sent = sent.as_slice();
    let mut go_on = |dispatch: &mut Dispatch, turn: &mut Turn<'_>| {
        dispatch.input(turn, visitor.id, std::mem::take(&mut sent), &mut Share::whole())
    };
    let mut shares = 1;
    let flow = loop {
        match world.turn(&mut go_on) {
            Flow::PutOff => shares += 1,
            flow => break flow,
        }
    };
    assert_eq!(flow, Flow::Blocked);
    assert!((6..=12).contains(&shares), "{shares} shares for a quarter of a megabyte");
    world.dispatch.input_ended(visitor.id);
    assert!(!world.dispatch.is_closing(visitor.id));
    world.exchange(&mut visitor);
    assert_eq!(visitor.answers.len(), 3000);
    assert!(world.dispatch.is_closing(visitor.id));
}

/// Thousands of connections were counted for each of the two hundred and fifty such calls that one could make at a time.
#[test]
fn what_is_counted_for_an_answer_is_work_however_short_the_answer_is() {
    for call in [ClientData::DaemonInfo, ClientData::HostInfo] {
        let mut world = World::new();
        let mut visitors: Vec<Visitor> = (0..64).map(|_| world.visitor()).collect();
        for number in 0..64 {
            world.define(&mut visitors[0], &simple(&format!("vm{number}"), "")).unwrap();
        }
        let asker = &mut visitors[1];
        for _ in 0..100 {
            asker.session.call(&call, 0).unwrap();
        }
        let sent = asker.session.outbox().unsent().to_vec();
        let mut sent = sent.as_slice();
        let mut shares = 1;
        while world.turn(|dispatch, turn| {
            dispatch.input(turn, asker.id, std::mem::take(&mut sent), &mut Share::whole()) == Flow::PutOff
        }) {
            shares += 1;
        }
        assert!((20..=30).contains(&shares), "{shares} shares for what looks at 6,400 of them");
    }
}
