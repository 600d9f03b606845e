//! Pings to guests' agents: each verdict, whom one answer serves, and what becomes of a wait when the guest does not stay.

use bytes::Bytes;

use super::capture::{shown, watcher_of_agents};
use super::capture_agents::of_agents;
use super::rights::{HIDDEN, definition, rule};
use super::*;
use crate::access::Role;
use crate::driver::Report;
use crate::model::{StateReason, VmState};

/// A definition with a channel for an agent.
pub(super) fn with_agent(name: &str, script: &str) -> String {
    format!("channels = [\"{}\"]\n{}", crate::model::AGENT_CHANNEL, simple(name, script))
}

pub(super) fn ping(name: &str) -> ClientData {
    ClientData::AgentPing(vm(name))
}

/// What an agent that hangs could have said.
const HANGS: &str = "agent = \"hangs\"";

impl World {
    /// A guest that runs, and somebody who may ask for its agent.
    pub(super) fn running(name: &str, script: &str) -> (Self, Visitor) {
        let mut world = Self::new();
        let mut visitor = world.greeted();
        world.define(&mut visitor, &with_agent(name, script)).unwrap();
        world.ask(&mut visitor, &start(name)).unwrap();
        (world, visitor)
    }

    pub(super) fn greeted(&mut self) -> Visitor {
        let mut visitor = self.visitor();
        self.greet(&mut visitor);
        visitor
    }

    fn greet(&mut self, visitor: &mut Visitor) {
        let hello = HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
        self.ask(visitor, &ClientData::Hello(hello)).unwrap();
    }

    pub(super) fn id(&self, name: &str) -> VmId {
        self.dispatch.vms.find(name).unwrap().id
    }

    /// The driver tells something, and that is all it tells in this turn.
    pub(super) fn reported(&mut self, report: Report) {
        self.turn(|dispatch, turn| {
            dispatch.report(turn, report);
            dispatch.collect(turn);
        });
    }

    pub(super) fn entered(&mut self, name: &str, state: VmState) {
        let vm = self.id(name);
        self.reported(Report::State { vm, state, reason: StateReason::Unknown, message: String::new() });
    }

    fn port(&mut self, name: &str, open: bool) {
        let vm = self.id(name);
        self.reported(Report::AgentPort { vm, open: Some(open) });
    }

    pub(super) fn said(&mut self, name: &str, data: &str) {
        // A byte for each character, for 0xff is no UTF-8.
        let data: Vec<u8> = data.chars().map(|sign| u8::try_from(u32::from(sign)).unwrap()).collect();
        let vm = self.id(name);
        self.reported(Report::Agent { vm, data: Bytes::from(data) });
    }

    /// Asks, and waits for nothing.
    pub(super) fn begin(&mut self, visitor: &mut Visitor, data: &ClientData) -> u32 {
        let serial = visitor.session.call(data, 0).unwrap();
        self.exchange(visitor);
        serial
    }
}

/// The number in the newest request to an agent that somebody who looks on was shown.
pub(super) fn asked(world: &mut World, watcher: &mut Visitor) -> u64 {
    let records = shown(world, watcher);
    let said = records.iter().rfind(|record| record.sent && record.transport.as_str() == "agent").unwrap();
    let said = String::from_utf8_lossy(&said.bytes).into_owned();
    said.rsplit(':').next().unwrap().trim_end().trim_end_matches('}').parse().unwrap()
}

/// Brings the agent of a guest of ours, which hangs, to the point where it has to answer a ping; answers its id.
fn up_to_the_ping(world: &mut World, watcher: &mut Visitor, name: &str) -> u64 {
    let number = asked(world, watcher);
    world.said(name, &format!("\u{ff}{{\"return\": {number}}}\n"));
    asked(world, watcher)
}

#[track_caller]
fn refused(visitor: &mut Visitor, serial: u32) -> Failure {
    let at = visitor.answers.iter().position(|(answered, _)| *answered == serial).expect("an answer");
    visitor.answers.remove(at).1.unwrap_err()
}

#[test]
fn an_agent_answers_as_often_as_it_is_asked_and_after_resets_and_restarts_too() {
    let (mut world, mut visitor) = World::running("web", "");
    let again = [
        vec![],
        vec![ClientData::VmReset(vm("web"))],
        vec![ClientData::VmPause(vm("web")), ClientData::VmResume(vm("web"))],
        vec![ClientData::VmStop(vm("web")), start("web")],
    ];
    for calls in again {
        for call in &calls {
            world.ask(&mut visitor, call).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(world.ask(&mut visitor, &ping("web")), Ok(ServerData::AgentPing), "after {calls:?}");
        }
    }
    assert_eq!(world.dispatch.agents.count(), (1, 0));
    world.ask(&mut visitor, &ClientData::VmStop(vm("web"))).unwrap();
    world.ask(&mut visitor, &ClientData::VmUndefine(vm("web"))).unwrap();
    assert_eq!(world.dispatch.agents.count(), (0, 0));
}

#[test]
fn where_no_agent_can_answer_it_is_said_at_once_why_not() {
    let mut world = World::new();
    let mut visitor = world.greeted();
    world.define(&mut visitor, &simple("deaf", "")).unwrap();
    let failure = world.ask(&mut visitor, &ping("deaf")).unwrap_err();
    assert_eq!(failure.code, code::INVALID);
    assert!(failure.hint.contains("org.qemu.guest_agent.0"), "{failure:?}");
    world.define(&mut visitor, &with_agent("web", "")).unwrap();
    for (state, wanted, name) in [
        (VmState::Stopped, code::INVALID, "stopped"),
        (VmState::Starting, code::INVALID, "starting"),
        (VmState::Paused, code::INVALID, "paused"),
        (VmState::Crashed, code::INVALID, "crashed"),
        (VmState::Lost, code::INVALID, "lost"),
        (VmState::Adopting, code::BUSY, "adopting"),
    ] {
        world.entered("web", state);
        let failure = world.ask(&mut visitor, &ping("web")).unwrap_err();
        let told = (failure.code, failure.object_name.as_str(), failure.fact("state"), failure.hint.is_empty());
        assert_eq!(told, (wanted, "web", Some(name), false), "{failure:?}");
    }
    assert_eq!(world.ask(&mut visitor, &ping("nobody")).unwrap_err().code, code::NOT_FOUND);
    assert_eq!(world.dispatch.agents.count(), (0, 0), "nothing is kept of what was never asked");
}

#[test]
fn where_nobody_in_the_guest_listens_it_is_said_at_once_and_again_when_somebody_does() {
    let (mut world, mut visitor) = World::running("web", HANGS);
    world.port("web", false);
    let before = world.now.monotonic;
    let failure = world.ask(&mut visitor, &ping("web")).unwrap_err();
    assert_eq!((failure.code, failure.hint.contains("qemu-guest-agent")), (code::AGENT, true), "{failure:?}");
    assert_eq!(world.now.monotonic, before);
    world.port("web", true);
    let serial = world.begin(&mut visitor, &ping("web"));
    assert_eq!(visitor.answers, []);
    // A guest that was just launched has no agent yet.
    world.entered("web", VmState::Starting);
    world.exchange(&mut visitor);
    refused(&mut visitor, serial);
    world.entered("web", VmState::Running);
    assert_eq!(world.ask(&mut visitor, &ping("web")).unwrap_err().code, code::AGENT);
    // When the monitor is gone, nobody knows any more.
    let vm = world.id("web");
    world.reported(Report::Monitor { vm, connected: false, why: String::new() });
    world.begin(&mut visitor, &ping("web"));
    assert_eq!(visitor.answers, []);
}

#[test]
fn who_does_not_get_an_answer_in_time_is_told_that_the_deadline_passed_and_nothing_waits_any_more() {
    let (mut world, mut visitor) = World::running("web", HANGS);
    let before = world.now.monotonic;
    let failure = world.ask(&mut visitor, &ping("web")).unwrap_err();
    assert_eq!((failure.code, failure.fact("begun")), (code::DEADLINE_EXCEEDED, None), "{failure:?}");
    assert_eq!((failure.object_name.as_str(), failure.hint.is_empty()), ("web", false));
    assert_eq!(world.now.monotonic - before, Duration::from_secs(10));
    assert_eq!(world.dispatch.agents.count(), (1, 0));

    let serial = world.begin(&mut visitor, &ping("web"));
    assert_eq!(world.dispatch.agents.count(), (1, 1));
    world.begin(&mut visitor, &ClientData::Cancel(CancelCall { serial }));
    assert_eq!(refused(&mut visitor, serial).code, code::CANCELLED);
    assert_eq!(world.dispatch.agents.count(), (1, 0));

    let mut other = world.greeted();
    world.begin(&mut other, &ping("web"));
    world.begin(&mut visitor, &ping("web"));
    world.turn(|dispatch, turn| dispatch.gone(turn, other.id));
    assert_eq!(world.dispatch.agents.count(), (1, 1));
    world.turn(|dispatch, turn| dispatch.gone(turn, visitor.id));
    assert_eq!(world.dispatch.agents.count(), (1, 0));
    assert_eq!(world.dispatch.poll_timeout(world.now.monotonic), None);
}

#[test]
fn what_happens_to_the_guest_meanwhile_is_told_at_once() {
    let pause = ClientData::VmPause(vm("web"));
    for (call, message, state) in [
        (Some(pause), "the guest was paused meanwhile", Some("paused")),
        (Some(ClientData::VmStop(vm("web"))), "the guest has ended meanwhile", Some("stopped")),
        (Some(ClientData::VmReset(vm("web"))), "the guest was reset meanwhile", None),
        (None, "the agent has closed its channel meanwhile", None),
    ] {
        let (mut world, mut visitor) = World::running("web", HANGS);
        let serials = [world.begin(&mut visitor, &ping("web")), world.begin(&mut visitor, &ping("web"))];
        match call {
            Some(call) => drop(world.ask(&mut visitor, &call).unwrap()),
            None => {
                world.port("web", false);
                world.exchange(&mut visitor);
            }
        }
        for serial in serials {
            let failure = refused(&mut visitor, serial);
            let told = (failure.code, failure.message.as_str(), failure.fact("state"));
            assert_eq!(told, (code::AGENT, message, state));
        }
        assert_eq!(world.dispatch.agents.count(), (1, 0));
    }
    let (mut world, mut visitor) = World::running("web", "agent = \"hangs\"\ndelay_ms = 500");
    let serial = world.begin(&mut visitor, &ping("web"));
    world.begin(&mut visitor, &ClientData::VmStop(vm("web")));
    world.begin(&mut visitor, &ClientData::VmUndefine(vm("web")));
    world.pass(&mut visitor, Duration::from_secs(1));
    assert_eq!(refused(&mut visitor, serial).message.as_str(), "the guest has ended meanwhile");
    assert!(world.dispatch.vms.is_empty() && world.dispatch.agents.count() == (0, 0));

    let (mut world, mut visitor) = World::running("web", "agent = \"hangs\"\npanic_ms = 500");
    let failure = world.ask(&mut visitor, &ping("web")).unwrap_err();
    assert_eq!((failure.message.as_str(), failure.fact("state")), ("the guest has crashed meanwhile", Some("crashed")));
}

#[test]
fn an_agent_that_is_started_anew_answers_those_who_asked_the_former_one() {
    let (mut world, mut visitor) = World::running("web", HANGS);
    let mut watcher = watcher_of_agents(&mut world, "");
    let serial = world.begin(&mut visitor, &ping("web"));
    asked(&mut world, &mut watcher);
    // Both are told in one turn, and nobody has to know.
    let vm = world.id("web");
    world.turn(|dispatch, turn| {
        dispatch.report(turn, Report::AgentPort { vm, open: Some(false) });
        dispatch.report(turn, Report::AgentPort { vm, open: Some(true) });
        dispatch.collect(turn);
    });
    let id = up_to_the_ping(&mut world, &mut watcher, "web");
    world.said("web", &format!("{{\"return\": {{}}, \"id\": {id}}}\n"));
    world.exchange(&mut visitor);
    assert_eq!(visitor.answers, [(serial, Ok(ServerData::AgentPing))]);
}

#[test]
fn nobody_is_told_that_no_one_listens_where_that_is_not_known() {
    let (mut world, mut visitor) = World::running("web", HANGS);
    let mut watcher = watcher_of_agents(&mut world, "");
    let vm = world.id("web");
    world.reported(Report::AgentPort { vm, open: Some(false) });
    let failure = world.ask(&mut visitor, &ping("web")).unwrap_err();
    assert_eq!(failure.code, code::AGENT, "{}", failure.message);
    world.reported(Report::AgentPort { vm, open: None });
    let serial = world.begin(&mut visitor, &ping("web"));
    up_to_the_ping(&mut world, &mut watcher, "web");
    // Lost again: what was asked may never have come there. The driver takes what it is told, so it is asked anew.
    world.reported(Report::AgentPort { vm, open: None });
    let id = up_to_the_ping(&mut world, &mut watcher, "web");
    world.said("web", &format!("{{\"return\": {{}}, \"id\": {id}}}\n"));
    world.exchange(&mut visitor);
    assert_eq!(visitor.answers, [(serial, Ok(ServerData::AgentPing))]);
}

#[test]
fn where_nobody_knew_whether_somebody_listens_nobody_is_told_that_the_agent_went() {
    for heard_of in [false, true] {
        let (mut world, mut visitor) = World::running("web", HANGS);
        let vm = world.id("web");
        world.reported(Report::Monitor { vm, connected: false, why: String::new() });
        let serial = world.begin(&mut visitor, &ping("web"));
        // The monitor is there again and tells, perhaps of more than it was asked for.
        world.turn(|dispatch, turn| {
            for open in [Some(true)].into_iter().filter(|_| heard_of).chain([Some(false)]) {
                dispatch.report(turn, Report::AgentPort { vm, open });
            }
            dispatch.collect(turn);
        });
        world.exchange(&mut visitor);
        let failure = refused(&mut visitor, serial);
        let message = if heard_of {
            "the agent has closed its channel meanwhile"
        } else {
            "nobody in the guest listens on the channel of its agent"
        };
        assert_eq!((failure.code, failure.message.as_str()), (code::AGENT, message));
    }
}

#[test]
fn all_who_ask_while_a_request_is_under_way_share_the_next_one() {
    let (mut world, mut visitor) = World::running("web", HANGS);
    let mut watcher = watcher_of_agents(&mut world, "web");
    let mut others = [world.greeted(), world.greeted()];
    let first = world.begin(&mut visitor, &ping("web"));
    let id = up_to_the_ping(&mut world, &mut watcher, "web");
    let mut late = vec![world.begin(&mut visitor, &ping("web"))];
    for other in &mut others {
        for _ in 0..50 {
            world.begin(other, &ping("web"));
        }
    }
    late.push(world.begin(&mut visitor, &ping("web")));
    assert_eq!(of_agents(shown(&mut world, &mut watcher)), [], "one request at a time");
    world.said("web", &format!("{{\"return\": {{}}, \"id\": {id}}}\n"));
    world.exchange(&mut visitor);
    assert_eq!(std::mem::take(&mut visitor.answers), [(first, Ok(ServerData::AgentPing))]);
    let id = asked(&mut world, &mut watcher);
    world.said("web", &format!("{{\"return\": {{}}, \"id\": {id}}}\n"));
    world.exchange(&mut visitor);
    assert_eq!(visitor.answers, late.into_iter().map(|serial| (serial, Ok(ServerData::AgentPing))).collect::<Vec<_>>());
    for other in &mut others {
        world.exchange(other);
        assert_eq!(other.answers.len(), 50);
        assert!(other.answers.is_sorted_by_key(|(serial, _)| *serial), "in order");
    }
    assert_eq!(of_agents(shown(&mut world, &mut watcher)).len(), 1, "its answer, and nothing more is asked");
}

#[test]
fn what_the_agent_has_against_it_and_what_it_says_instead_is_told() {
    let (mut world, mut visitor) = World::running("web", HANGS);
    let mut watcher = watcher_of_agents(&mut world, "");
    let serial = world.begin(&mut visitor, &ping("web"));
    let id = up_to_the_ping(&mut world, &mut watcher, "web");
    let error = format!(r#"{{"error": {{"class": "CommandNotFound", "desc": "it is {{frozen\n"}}, "id": {id}}}"#);
    world.said("web", &(error + "\n"));
    world.exchange(&mut visitor);
    let failure = refused(&mut visitor, serial);
    assert_eq!((failure.code, failure.message.as_str()), (code::AGENT, "the guest agent refused"));
    assert_eq!(failure.causes.iter().map(Text::as_str).collect::<Vec<_>>(), ["CommandNotFound: it is {frozen\n"]);

    let serial = world.begin(&mut visitor, &ping("web"));
    world.said("web", "login: \n");
    assert_eq!(visitor.answers, [], "it is asked once more");
    up_to_the_ping(&mut world, &mut watcher, "web");
    world.said("web", "login: \n");
    world.exchange(&mut visitor);
    let failure = refused(&mut visitor, serial);
    assert_eq!((failure.code, failure.causes[0].as_str()), (code::AGENT, "it sent what is no JSON object"));
}

#[test]
fn a_channel_that_takes_nothing_more_fails_whoever_waits() {
    let (mut world, mut visitor) = World::running("web", HANGS);
    let first = world.begin(&mut visitor, &ping("web"));
    let id = world.id("web");
    let filled = world.turn(|dispatch, turn| {
        (0..1 << 16).take_while(|_| dispatch.driver.agent_write(turn.now, turn.host, id, b"x")).count()
    });
    assert!(filled > 0);
    // The next time that something is to be said is when the answer is late.
    world.pass(&mut visitor, Duration::from_secs(5));
    let failure = refused(&mut visitor, first);
    assert_eq!((failure.code, failure.retry_after_ms), (code::AGENT, 1000), "{failure:?}");
    let failure = world.ask(&mut visitor, &ping("web")).unwrap_err();
    assert_eq!((failure.code, failure.retry_after_ms), (code::AGENT, 1000), "{failure:?}");
    assert_eq!(world.dispatch.agents.count(), (1, 0));
}

#[test]
fn whoever_may_not_see_the_machine_any_more_waits_no_longer() {
    let mut world = World::with_rules(Now::read(), vec![rule(Role::Operator, &["web-*"], &[])]);
    let mut admin = world.greeted();
    let text = |name, last| {
        let text = definition(name, last, "") + HANGS + "\n";
        format!("channels = [\"{}\"]\n{text}", crate::model::AGENT_CHANNEL)
    };
    for (name, last) in [("web-1", 1), (HIDDEN, 2)] {
        world.define(&mut admin, &text(name, last)).unwrap();
        world.ask(&mut admin, &start(name)).unwrap();
    }
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    world.greet(&mut scoped);
    let hidden = world.ask(&mut scoped, &ping(HIDDEN)).unwrap_err();
    let nobody = world.ask(&mut scoped, &ping("nobody")).unwrap_err();
    assert_eq!((hidden.code, &hidden.message), (code::NOT_FOUND, &nobody.message));
    let serial = world.begin(&mut scoped, &ping("web-1"));
    let rules = vec![rule(Role::Operator, &["db-*"], &[])];
    world.turn(|dispatch, turn| dispatch.set_access(turn, Access { own_uid: 7, rules }));
    world.exchange(&mut scoped);
    let failure = refused(&mut scoped, serial);
    assert_eq!((failure.code, failure.object_name.as_str()), (code::NOT_FOUND, "web-1"));
    assert_eq!(world.dispatch.agents.count(), (1, 0));
}

#[test]
fn whoever_may_not_ask_the_machine_s_agent_any_more_waits_no_longer_and_who_may_does() {
    let mut world = World::with_rules(Now::read(), vec![rule(Role::Operator, &["web-*"], &[])]);
    let mut admin = world.greeted();
    let text = definition("web-1", 1, "") + HANGS + "\n";
    world.define(&mut admin, &format!("channels = [\"{}\"]\n{text}", crate::model::AGENT_CHANNEL)).unwrap();
    world.ask(&mut admin, &start("web-1")).unwrap();
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    world.greet(&mut scoped);
    let serial = world.begin(&mut scoped, &ping("web-1"));
    for (role, waits) in [(Role::Admin, true), (Role::Operator, true), (Role::Observer, false)] {
        let rules = vec![rule(role, &["web-1"], &[])];
        world.turn(|dispatch, turn| dispatch.set_access(turn, Access { own_uid: 7, rules }));
        world.exchange(&mut scoped);
        assert_eq!((scoped.answers.is_empty(), world.dispatch.agents.count().1 == 1), (waits, waits), "{role:?}");
    }
    let failure = refused(&mut scoped, serial);
    assert_eq!((failure.code, failure.object_name.as_str()), (code::DENIED, "web-1"), "{failure:?}");
}
