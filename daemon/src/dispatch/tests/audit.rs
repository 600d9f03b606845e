//! What the audit is told of a session: one line for each call that is told, and everything in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vmwire_protocol::xdr::Sampler;

use super::*;
use crate::access::Role;
use crate::audit::{Level, Rate};

fn world(level: Level, rules: Vec<Rule>) -> World {
    let mut world = World::with_rules(Now::read(), rules);
    let rate = Rate { burst: 1000, interval: Duration::from_secs(600) };
    let settings = Settings { path: "/audit".into(), level, rotate_bytes: 1 << 20, keep: 1, rate };
    world.dispatch.audit = Audit::new(Some(settings));
    world
}

/// Everything that was told since the last time.
fn told(world: &mut World) -> Vec<Value> {
    world.now = world.now.later(Duration::from_secs(1));
    world.turn(Dispatch::hand_over_audit);
    if let Some(ticket) = world.host.unanswered.take() {
        world.turn(|dispatch, turn| dispatch.handle_file(turn, ticket, FileAnswer::Done));
    }
    assert_eq!(world.dispatch.audit.poll_timeout(), None, "more than is written at once");
    std::mem::take(&mut world.host.audited).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Some values of each line, `null` for what it has not.
fn table<const N: usize>(lines: &[Value], keys: [&str; N]) -> Vec<Value> {
    lines.iter().map(|line| keys.map(|key| line[key].clone()).into_iter().collect()).collect()
}

#[test]
fn a_session_is_told_from_its_coming_to_its_going() {
    let mut world = world(Level::Changes, Vec::new());
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("web", "start_ms = 20")).unwrap();
    world.ask(&mut visitor, &start("web")).unwrap();
    world.ask(&mut visitor, &ClientData::VmShow(vm("web"))).unwrap();
    world.ask(&mut visitor, &ClientData::VmPause(vm("web"))).unwrap();
    world.ask(&mut visitor, &ClientData::VmReboot(vm("web"))).unwrap_err();
    world.ask(&mut visitor, &ClientData::VmShow(vm("nobody\"\n"))).unwrap_err();
    world.define(&mut visitor, "name = 5").unwrap_err();
    world.turn(|dispatch, turn| dispatch.gone(turn, visitor.id));

    let told = told(&mut world);
    assert_eq!(
        table(&told, ["event", "procedure", "object", "name", "verdict", "operation"]),
        [
            json!(["connected", null, null, null, null, null]),
            json!(["call", "vm-define", "vm", "web", "ok", 1]),
            json!(["call", "vm-start", "vm", "web", "ok", 2]),
            json!(["call", "vm-pause", "vm", "web", "ok", 3]),
            json!(["call", "vm-reboot", "vm", "web", "INVALID", null]),
            json!(["call", "vm-show", "vm", "nobody\"\n", "NOT_FOUND", null]),
            json!(["call", "vm-define", null, null, "INVALID", null]),
            json!(["gone", null, null, null, null, null]),
        ]
    );
    for line in &told {
        let who = (&line["connection"], &line["identity"], &line["transport"]);
        assert_eq!(who, (&json!(visitor.id.number), &json!("uid 0"), &json!("unix")), "{line}");
    }
    assert_eq!(
        (&told[0]["role"], &told[1]["role"], &told[2]["role"]),
        (&json!("admin"), &json!("admin"), &json!("admin"))
    );
    assert_eq!(told[1]["uuid"].as_str().unwrap().len(), 36);
    assert_eq!(told[2]["uuid"], told[1]["uuid"]);
    assert!(told[2]["duration_us"].as_u64().unwrap() >= 20_000, "{}", told[2]);
    assert_eq!(told[7]["calls"], 7);
}

#[test]
fn what_the_session_refuses_is_told_although_it_never_becomes_a_call() {
    let mut world = world(Level::Changes, Vec::new());
    let mut observer = world.visitor_as(Identity::unix(1000, 1000), Base::Everybody(Role::Observer));
    world.ask(&mut observer, &start("web")).unwrap_err();
    world.ask(&mut observer, &ClientData::Unsubscribe).unwrap();
    world.ask(&mut observer, &ClientData::Ping).unwrap();
    let told = told(&mut world);
    assert_eq!(
        table(&told, ["event", "identity", "role", "procedure", "verdict"]),
        [
            json!(["connected", "uid 1000", "observer", null, null]),
            json!(["call", "uid 1000", "observer", "vm-start", "DENIED"])
        ]
    );
    let message = told[1]["message"].as_str().unwrap();
    assert!(message.contains("needs the role operator"), "{message}");
}

#[test]
fn who_is_turned_away_is_told_with_the_reason_and_nothing_else() {
    let mut world = world(Level::Changes, Vec::new());
    let stranger = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    world.turn(|dispatch, turn| dispatch.gone(turn, stranger.id));
    let told = told(&mut world);
    assert_eq!(
        table(&told, ["event", "identity", "transport", "verdict", "role"]),
        [json!(["refused", "uid 1000", "unix", "DENIED", null])]
    );
    assert!(told[0]["message"].as_str().unwrap().starts_with("user 1000 may not connect here"));
}

#[test]
fn calls_whose_connection_goes_are_told_and_why_it_had_to() {
    let mut world = world(Level::All, Vec::new());
    let (mut admin, mut kicked) = (world.visitor(), world.visitor());
    world.define(&mut admin, &simple("slow", "start_ms = 60000")).unwrap();
    let wait = VmWaitCall { vm: Text::clipped("slow"), states: List::clipped([vm_state::CRASHED]) };
    kicked.session.call(&start("slow"), 0).unwrap();
    kicked.session.call(&ClientData::VmWait(wait), 0).unwrap();
    world.exchange(&mut kicked);
    told(&mut world);
    world.ask(&mut admin, &ClientData::ConnectionKick(ConnectionKickCall { id: kicked.id.number })).unwrap();
    world.turn(|dispatch, turn| dispatch.gone(turn, kicked.id));
    assert_eq!(
        table(&told(&mut world), ["connection", "event", "procedure", "name", "verdict", "operation", "closed"]),
        [
            json!([2, "call", "vm-start", "slow", "unanswered", 2, null]),
            json!([2, "call", "vm-wait", "slow", "unanswered", null, null]),
            json!([1, "call", "connection-kick", "2", "ok", null, null]),
            json!([2, "gone", null, null, null, null, "GOING_AWAY"]),
        ]
    );
}

#[test]
fn where_all_is_told_every_call_has_one_line_however_it_ends_and_no_line_has_a_secret() {
    let mut world = world(Level::All, Vec::new());
    let quiet = [number::HELLO, number::PING, number::CANCEL, number::UNSUBSCRIBE];
    let mut asked: BTreeMap<&str, usize> = BTreeMap::new();
    let mut secrets = Vec::new();
    for procedure in PROCEDURES.iter().filter(|procedure| !quiet.contains(&procedure.number)) {
        for seed in 0..4 {
            let data = ClientData::sample(procedure.number, &mut Sampler::new(seed)).unwrap();
            if let ClientData::Enroll(call) = &data {
                secrets.push(format!("{:?}", call.secret.reveal().0));
                secrets.push(call.secret.reveal().0.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            let hello =
                HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
            let mut caller = world.visitor();
            caller.session.call(&ClientData::Hello(hello), 0).unwrap();
            caller.session.call(&data, 100).unwrap();
            world.exchange(&mut caller);
            world.pass(&mut caller, Duration::from_secs(1));
            world.turn(|dispatch, turn| dispatch.gone(turn, caller.id));
            *asked.entry(procedure.name).or_default() += 1;
        }
    }
    let told = told(&mut world);
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for line in told.iter().filter(|line| line["event"] == "call") {
        *found.entry(line["procedure"].as_str().unwrap()).or_default() += 1;
        assert!(line["verdict"].is_string() && line["duration_us"].is_u64(), "{line}");
    }
    assert_eq!(found, asked);
    assert_eq!(secrets.len(), 8);
    for line in &told {
        assert!(!secrets.iter().any(|secret| line.to_string().contains(secret)), "{line}");
    }
}

#[test]
fn a_role_that_is_given_is_told_with_whom_it_is_given_to() {
    let mut world = world(Level::Changes, Vec::new());
    let mut admin = world.visitor();
    let hello = HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
    world.ask(&mut admin, &ClientData::Hello(hello)).unwrap();
    let call = ClientSetRoleCall { name: Text::clipped("alice"), role: role::OPERATOR };
    let _outcome = world.ask(&mut admin, &ClientData::ClientSetRole(call));
    let told = told(&mut world);
    assert_eq!(
        table(&told[1..], ["procedure", "object", "name", "granted"]),
        [json!(["client-set-role", "client", "alice", "operator"])]
    );
}

#[test]
fn what_a_capture_shows_is_told_whatever_it_is_of_and_also_where_it_was_refused() {
    let mut world = world(Level::Changes, Vec::new());
    let mut admin = world.visitor();
    let hello = HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
    world.ask(&mut admin, &ClientData::Hello(hello)).unwrap();
    world.define(&mut admin, &simple("web", "")).unwrap();
    told(&mut world);
    for (name, payload, agents) in [("", false, false), ("web", false, true), ("", true, true), ("nobody", true, false)]
    {
        let call = CaptureOpenCall { vm: Text::clipped(name), payload, agents };
        let outcome = world.ask(&mut admin, &ClientData::CaptureOpen(call));
        assert_eq!(outcome.is_err(), name == "nobody");
    }
    assert_eq!(
        table(&told(&mut world), ["procedure", "object", "name", "verdict", "payload", "agents"]),
        [
            json!(["capture-open", null, null, "ok", false, false]),
            json!(["capture-open", "vm", "web", "ok", false, true]),
            json!(["capture-open", null, null, "ok", true, true]),
            json!(["capture-open", "vm", "nobody", "NOT_FOUND", true, false]),
        ]
    );
}

#[test]
fn a_token_that_bought_nothing_and_a_handshake_that_failed_are_told_with_the_address_they_came_from() {
    let mut world = world(Level::Changes, Vec::new());
    let call = EnrollCall {
        secret: vmwire_protocol::xdr::Secret::new(Fixed::from([0x5e; 16])),
        name: Text::clipped("alice"),
        request: vmwire_protocol::xdr::Opaque::default(),
    };
    world.turn(|dispatch, turn| {
        dispatch.enroll(turn, "192.0.2.1".parse().unwrap(), &call);
        dispatch.collect(turn);
        let address = "192.0.2.2:4711".parse().unwrap();
        dispatch.handshake_refused(turn, address, "expired", "the certificate is of the past");
    });
    assert_eq!(
        table(&told(&mut world), ["event", "transport", "address", "verdict"]),
        [json!(["enroll", "tls", "192.0.2.1", "DENIED"]), json!(["handshake", "tls", "192.0.2.2:4711", "expired"]),]
    );
}
