//! Captures of what passes between the daemon and agents: only on request, only what was asked for, and only so much.

use super::agent::{ping, with_agent};
use super::capture::{shown, watcher, watcher_of_agents};
use super::*;

fn text(record: &CaptureRecord) -> String {
    record.bytes.escape_ascii().to_string()
}

pub(super) fn of_agents(records: Vec<CaptureRecord>) -> Vec<CaptureRecord> {
    records.into_iter().filter(|record| record.transport.as_str() == "agent").collect()
}

/// Two guests whose agents answer.
fn two_guests() -> (World, Visitor) {
    let (mut world, mut visitor) = World::running("web", "");
    world.define(&mut visitor, &with_agent("db", "")).unwrap();
    world.ask(&mut visitor, &start("db")).unwrap();
    (world, visitor)
}

#[test]
fn what_is_said_to_an_agent_and_what_it_says_is_shown_in_order_with_its_place() {
    let (mut world, mut visitor) = two_guests();
    let mut watcher = watcher_of_agents(&mut world, "");
    for name in ["db", "web", "db"] {
        world.ask(&mut visitor, &ping(name)).unwrap();
    }
    let records = of_agents(shown(&mut world, &mut watcher));
    let told: Vec<(&str, u64, bool)> =
        records.iter().map(|record| (record.peer.as_str(), record.connection, record.sent)).collect();
    let first = |name, number| [true, false, true, false].map(|sent| (name, number, sent));
    assert_eq!(told, [&first("db", 1)[..], &first("web", 2), &first("db", 1)[..2]].concat());
    assert!(
        text(&records[0]).starts_with("\\xff{\\\"execute\\\":\\\"guest-sync-delimited\\\""),
        "{}",
        text(&records[0])
    );
    assert!(text(&records[1]).contains("\\n\\xff{\\\"return\\\": "), "{}", text(&records[1]));
    assert!(text(&records[2]).starts_with("{\\\"execute\\\":\\\"guest-ping\\\""), "{}", text(&records[2]));
    assert!(text(&records[3]).starts_with("{\\\"return\\\": {}"), "{}", text(&records[3]));
    assert!(records.is_sorted_by_key(|record| record.time_ns));
    for (name, sent) in [("db", true), ("db", false), ("web", true), ("web", false)] {
        let mut at = 0;
        for record in records.iter().filter(|record| record.peer.as_str() == name && record.sent == sent) {
            assert_eq!(record.position, at, "{name} {sent}");
            at += u64::try_from(record.bytes.len()).unwrap();
        }
    }
}

#[test]
fn only_who_asked_for_agents_is_shown_them_and_only_of_the_machine_that_was_meant() {
    let (mut world, mut visitor) = two_guests();
    let mut plain = watcher(&mut world, "", true);
    world.ask(&mut visitor, &ping("web")).unwrap();
    assert_eq!(of_agents(shown(&mut world, &mut plain)), []);
    let mut of_web = watcher_of_agents(&mut world, "web");
    let mut of_all = watcher_of_agents(&mut world, "");
    for name in ["web", "db"] {
        world.ask(&mut visitor, &ping(name)).unwrap();
    }
    assert_eq!(of_agents(shown(&mut world, &mut plain)), []);
    let names = |records: Vec<CaptureRecord>| -> Vec<String> {
        let mut names: Vec<String> = of_agents(records).iter().map(|record| record.peer.to_string()).collect();
        names.dedup();
        names
    };
    assert_eq!(names(shown(&mut world, &mut of_web)), ["web"]);
    assert_eq!(names(shown(&mut world, &mut of_all)), ["web", "db"]);
    // Its own connection has the number of a lane too, and is another thing.
    assert!(of_all.id.number > 2);
    for watcher in [of_web, of_all] {
        world.turn(|dispatch, turn| dispatch.gone(turn, watcher.id));
    }
    world.ask(&mut visitor, &ping("db")).unwrap();
    assert_eq!(of_agents(shown(&mut world, &mut plain)), []);
    assert!(world.dispatch.is_capturing() && world.dispatch.captures.agents_known() == 0, "nothing is kept of lanes");
}

#[test]
fn a_connection_is_not_taken_for_the_agent_of_the_same_number() {
    let mut world = World::new();
    // The first connection captures, and the first lane is shown to it.
    let mut watcher = watcher_of_agents(&mut world, "");
    let mut visitor = world.greeted();
    world.define(&mut visitor, &with_agent("web", "")).unwrap();
    world.ask(&mut visitor, &start("web")).unwrap();
    world.ask(&mut visitor, &ping("web")).unwrap();
    let records = of_agents(shown(&mut world, &mut watcher));
    assert_eq!((watcher.id.number, records.len()), (1, 4));
    assert!(records.iter().all(|record| record.connection == 1));
}

#[test]
fn what_a_guest_says_without_end_is_lost_beyond_a_bound_and_pushes_out_nothing() {
    let (mut world, mut visitor) = two_guests();
    let mut watcher = watcher_of_agents(&mut world, "");
    world.ask(&mut visitor, &ClientData::DaemonInfo).unwrap();
    for round in 0..5000 {
        world.said("web", &"y".repeat(if round % 2 == 0 { 1 } else { 10_000 }));
    }
    world.ask(&mut visitor, &ping("db")).unwrap();
    let mut records = Vec::new();
    loop {
        let more = shown(&mut world, &mut watcher);
        if more.is_empty() {
            break;
        }
        records.extend(more);
    }
    let flood: Vec<&CaptureRecord> = records.iter().filter(|record| record.peer.as_str() == "web").collect();
    let bytes: usize = flood.iter().map(|record| record.bytes.len()).sum();
    assert!((1..=64 * 1024).contains(&bytes) && flood.len() <= 256, "{bytes} bytes in {} pieces", flood.len());
    assert!(records.iter().any(|record| record.transport.as_str() == "unix"), "the others are there");
    assert_eq!(records.iter().filter(|record| record.peer.as_str() == "db").count(), 4);
    // The next second is shown again, where it belongs.
    world.now = world.now.later(Duration::from_secs(1));
    world.said("web", "z");
    let after = of_agents(shown(&mut world, &mut watcher));
    assert_eq!((after.len(), after[0].position), (1, 2500 * 10_001));
}

#[test]
fn many_guests_that_talk_without_end_do_not_push_out_what_passes_beside_them() {
    let (mut world, mut visitor) = World::running("web", "");
    let names: Vec<String> = (0..20).map(|number| format!("loud-{number}")).collect();
    for name in &names {
        world.define(&mut visitor, &with_agent(name, "")).unwrap();
        world.ask(&mut visitor, &start(name)).unwrap();
    }
    let mut plain = watcher(&mut world, "", true);
    let mut of_all = watcher_of_agents(&mut world, "");
    world.ask(&mut visitor, &ClientData::DaemonInfo).unwrap();
    for _ in 0..300 {
        for name in &names {
            world.said(name, "y");
        }
    }
    let records = shown(&mut world, &mut plain);
    assert_eq!(records.iter().filter(|record| record.connection == visitor.id.number).count(), 2, "{records:?}");
    let mut pieces = 0;
    loop {
        let more = shown(&mut world, &mut of_all);
        if more.is_empty() {
            break;
        }
        pieces += of_agents(more).len();
    }
    assert_eq!(pieces, 1023, "what the last of them has left is not enough for one more");
    // The next second is theirs again, and a guest alone has less than all.
    world.now = world.now.later(Duration::from_secs(1));
    for _ in 0..300 {
        world.said("loud-7", "y");
    }
    assert_eq!(of_agents(shown(&mut world, &mut of_all)).len(), 255);
}

#[test]
fn a_lane_keeps_its_number_while_its_machine_is_defined_and_nobody_gets_it_afterwards() {
    let (mut world, mut visitor) = two_guests();
    let number = |world: &mut World, visitor: &mut Visitor, name: &str| {
        let mut watcher = watcher_of_agents(world, name);
        world.ask(visitor, &ping(name)).unwrap();
        let number = of_agents(shown(world, &mut watcher))[0].connection;
        world.turn(|dispatch, turn| dispatch.gone(turn, watcher.id));
        number
    };
    assert_eq!(["web", "db", "web"].map(|name| number(&mut world, &mut visitor, name)), [1, 2, 1]);
    for call in [ClientData::VmStop(vm("web")), start("web")] {
        world.ask(&mut visitor, &call).unwrap();
    }
    assert_eq!(number(&mut world, &mut visitor, "web"), 1);
    for call in [ClientData::VmStop(vm("web")), ClientData::VmUndefine(vm("web"))] {
        world.ask(&mut visitor, &call).unwrap();
    }
    world.define(&mut visitor, &with_agent("web", "")).unwrap();
    world.ask(&mut visitor, &start("web")).unwrap();
    assert_eq!(number(&mut world, &mut visitor, "web"), 3);
}
