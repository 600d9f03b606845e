//! Who may do what, over every procedure, and what those see who may see some virtual machines only.

use vmwire_protocol::xdr::Sampler;

use super::super::rights::vm_of;
use super::*;
use crate::access::{Role, Scope, Users, Who, pattern};

pub(super) const OWN: &str = "web-1";
pub(super) const HIDDEN: &str = "web0db";
/// As long as [`HIDDEN`].
pub(super) const OTHER: &str = "other1";

/// Grants a role to user 1000 over what is named so or has one of the labels.
pub(super) fn rule(role: Role, names: &[&str], labels: &[&str]) -> Rule {
    let names = names.iter().map(|name| pattern(name).unwrap()).collect();
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let who = Who::parse("uid:1000", &Users::default()).unwrap();
    Rule { who, role, scope: Scope::new(names, labels).map(Arc::new) }
}

pub(super) fn uuid(last: u32) -> String {
    format!("6f1d5f5c-6f0b-4a3e-9d3c-{last:012}")
}

pub(super) fn definition(name: &str, last: u32, labels: &str) -> String {
    let uuid = uuid(last);
    format!(
        "name = \"{name}\"\nuuid = \"{uuid}\"\nmemory = \"64 MiB\"\nlabels = [{labels}]\n[test]\nconsole = \"hello\"\n"
    )
}

/// A world with one machine for user 1000 and one that is not, both up, and user 1000 in it.
pub(super) fn world(now: Now, role: Role, hidden: &str) -> (World, Visitor, Visitor) {
    let mut world = World::with_rules(now, vec![rule(role, &["web-*"], &[])]);
    let mut admin = world.visitor();
    for (name, last) in [(OWN, 1), (hidden, 2)] {
        world.define(&mut admin, &definition(name, last, "")).unwrap();
        world.ask(&mut admin, &start(name)).unwrap();
    }
    let scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    (world, admin, scoped)
}

/// The calls of a procedure that the test driver has something to say to: sampled ones, those about virtual machines with
/// `vm` in the place of the sampled one.
fn calls(procedure: &Procedure, vm: &str) -> Vec<ClientData> {
    let sample = |seed| {
        let data = ClientData::sample(procedure.number, &mut Sampler::new(seed)).unwrap();
        let Some(sampled) = vm_of(&data) else { return data };
        // What a call is about is its first field.
        let mut body = Vec::new();
        data.encode(&mut body).unwrap();
        let rest = 8 + sampled.len().next_multiple_of(4);
        let mut instead = Vec::new();
        vmwire_protocol::xdr::encode(&mut instead, &Text::<128>::new(vm).unwrap()).unwrap();
        instead.extend(&body[rest..]);
        let data = ClientData::decode_body(procedure.number, &instead).unwrap().unwrap();
        assert_eq!(vm_of(&data), Some(vm), "{}", procedure.name);
        data
    };
    (0..4).map(sample).collect()
}

/// Those that the core judges by role: not those that the session answers, nor the one whose token is judged instead.
fn procedures() -> impl Iterator<Item = &'static Procedure> {
    let others = [number::HELLO, number::PING, number::CANCEL, number::UNSUBSCRIBE, number::ENROLL];
    PROCEDURES.iter().filter(move |procedure| !others.contains(&procedure.number))
}

/// Shows the core a call behind a HELLO. Answers all bytes that come of it and of the second after it, and how it failed.
pub(super) fn said(world: &mut World, mut visitor: Visitor, data: &ClientData) -> (Vec<u8>, Option<Failure>) {
    let hello = HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
    visitor.session.call(&ClientData::Hello(hello), 0).unwrap();
    visitor.session.call(data, 500).unwrap();
    let sent = visitor.session.outbox().unsent().to_vec();
    visitor.session.outbox().advance(sent.len());
    world.turn(|dispatch, turn| dispatch.input(turn, visitor.id, &sent, &mut Share::whole()));
    let mut said = Vec::new();
    for _ in 0..4 {
        world.turn(|dispatch, turn| {
            dispatch.handle_timeout(turn);
            dispatch.collect(turn);
            dispatch.flushed(turn, visitor.id, &mut Share::whole());
        });
        if let Some(outbox) = world.dispatch.outbox(visitor.id) {
            said.extend_from_slice(outbox.unsent());
            outbox.advance(outbox.unsent().len());
        }
        world.now = world.now.later(Duration::from_millis(300));
    }
    visitor.receive(&said);
    let (_, answer) = visitor.answers.pop().expect("an answer to HELLO at least");
    (said, answer.err())
}

#[test]
fn every_procedure_is_for_those_roles_that_it_is_for_and_an_invisible_machine_is_none() {
    let now = Now::read();
    for procedure in procedures() {
        for role in [Role::Observer, Role::Operator, Role::Admin] {
            for (at, call) in calls(procedure, OWN).iter().enumerate() {
                let about = format!("{} {role:?} {call:?}", procedure.name);
                let (mut of_own, _, scoped) = world(now, role, HIDDEN);
                let (_, refused) = said(&mut of_own, scoped, call);
                let held = match procedure.right.over {
                    Over::Host => Role::Observer,
                    Over::Vms => role,
                };
                let denied = refused.as_ref().is_some_and(|failure| failure.code == code::DENIED);
                assert_eq!(denied, convert::role(held) < procedure.right.role, "{about}: {refused:?}");
                if denied || vm_of(call).is_none() {
                    continue;
                }
                assert!(refused.is_none_or(|failure| failure.code != code::NOT_FOUND), "{about}");

                // Whether there is one that may not be seen makes no difference to a single byte.
                let hidden = &calls(procedure, HIDDEN)[at];
                let both = [HIDDEN, OTHER].map(|there| {
                    let (mut world, _, scoped) = world(now, role, there);
                    said(&mut world, scoped, hidden)
                });
                assert_eq!(both[0], both[1], "{about}");
                let refused = both[0].1.clone().unwrap();
                assert_eq!((refused.code, refused.object_name.as_str()), (code::NOT_FOUND, HIDDEN), "{about}");
                let by_uuid = [HIDDEN, OTHER].map(|there| {
                    let absent = if there == HIDDEN { 2 } else { 3 };
                    let (mut world, _, scoped) = world(now, role, there);
                    let (_, refused) = said(&mut world, scoped, &calls(procedure, &uuid(absent))[at]);
                    refused.map(|refused| (refused.code, refused.message, refused.hint))
                });
                assert_eq!(by_uuid[0], by_uuid[1], "{about}");
            }
        }
    }
}

#[test]
fn what_is_about_no_machine_says_the_same_whatever_may_not_be_seen() {
    let now = Now::read();
    for procedure in procedures() {
        for at in 0..4 {
            let call = &calls(procedure, HIDDEN)[at];
            if vm_of(call).is_some() {
                continue;
            }
            let both = [HIDDEN, OTHER].map(|there| {
                let (mut world, _, scoped) = world(now, Role::Admin, there);
                said(&mut world, scoped, call)
            });
            assert_eq!(both[0], both[1], "{} {call:?}", procedure.name);
        }
    }
}

pub(super) fn subscribe_from_the_start() -> ClientData {
    let after = Some(Cursor { epoch: Fixed::from([7; 16]), sequence: 0 });
    ClientData::Subscribe(SubscribeCall { after, vm: Text::default(), kinds: List::default() })
}

fn names_of(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().filter_map(|event| Some(event.vm.as_ref()?.name.as_str())).collect();
    names.dedup();
    names
}

#[test]
fn lists_counts_operations_and_events_hold_what_may_be_seen() {
    let (mut world, mut admin, mut scoped) = world(Now::read(), Role::Operator, HIDDEN);
    world.ask(&mut scoped, &subscribe_from_the_start()).unwrap();
    world.ask(&mut admin, &subscribe_from_the_start()).unwrap();
    world.ask(&mut admin, &ClientData::VmStop(vm(HIDDEN))).unwrap();
    world.ask(&mut admin, &ClientData::VmPause(vm(OWN))).unwrap();
    world.ask(&mut admin, &ClientData::VmUndefine(vm(HIDDEN))).unwrap();
    world.exchange(&mut scoped);
    assert_eq!(names_of(&scoped.events), [OWN]);
    assert_eq!(scoped.events.last().unwrap().kind, event_kind::OPERATION);
    assert_eq!(names_of(&admin.events), [OWN, HIDDEN, OWN, HIDDEN]);
    assert!(scoped.gaps.is_empty());

    world.define(&mut admin, &definition(HIDDEN, 2, "")).unwrap();
    let list = ListCall { after: Text::default(), rows_max: 0 };
    let mut names = |visitor: &mut Visitor| match world.ask(visitor, &ClientData::VmNames(list.clone())).unwrap() {
        ServerData::VmNames(answer) => (answer.names.iter().map(ToString::to_string).collect::<Vec<_>>(), answer.next),
        other => panic!("{other:?}"),
    };
    assert_eq!(names(&mut scoped), (vec![OWN.to_owned()], Text::default()));
    assert_eq!(names(&mut admin).0, [OWN, HIDDEN]);
    // A page of one: where it goes on does not name what is passed over.
    let one = ClientData::VmNames(ListCall { rows_max: 1, ..list.clone() });
    let ServerData::VmNames(page) = world.ask(&mut scoped, &one).unwrap() else { panic!() };
    assert_eq!((page.names.len(), page.next.as_str()), (1, ""));

    let mut count = |visitor: &mut Visitor| match world.ask(visitor, &ClientData::HostInfo).unwrap() {
        ServerData::HostInfo(info) => (info.vms_defined, info.vms_running),
        other => panic!("{other:?}"),
    };
    assert_eq!((count(&mut scoped), count(&mut admin)), ((1, 1), (2, 1)));

    let all = OperationListCall { vm: Text::default(), after: Text::default(), rows_max: 0 };
    let mut operations =
        |visitor: &mut Visitor| match world.ask(visitor, &ClientData::OperationList(all.clone())).unwrap() {
            ServerData::OperationList(answer) => answer.rows.into_vec(),
            other => panic!("{other:?}"),
        };
    let (mine, theirs) = (operations(&mut scoped), operations(&mut admin));
    assert!(mine.len() < theirs.len() && mine.iter().all(|row| row.vm.as_ref().unwrap().name == OWN), "{mine:?}");
    let hidden = theirs.iter().find(|row| row.vm.as_ref().unwrap().name == HIDDEN).unwrap().id;
    let call = |id| OperationCall { id };
    for ask in [ClientData::OperationShow, ClientData::OperationWait] {
        let of_hidden = world.ask(&mut scoped, &ask(call(hidden))).unwrap_err();
        let of_none = world.ask(&mut scoped, &ask(call(4711))).unwrap_err();
        assert_eq!((of_hidden.code, &of_hidden.message), (code::NOT_FOUND, &of_none.message));
        assert_eq!(of_hidden.hint, of_none.hint);
    }
}

#[test]
fn connections_are_listed_to_admins_and_to_those_whose_own_they_are() {
    let (mut world, mut admin, mut scoped) = world(Now::read(), Role::Admin, HIDDEN);
    let _other = world.visitor_as(Identity::unix(1000, 1000), Base::Everybody(Role::Operator));
    let list = ClientData::ConnectionList(ListCall { after: Text::default(), rows_max: 0 });
    let mut identities = |visitor: &mut Visitor| match world.ask(visitor, &list).unwrap() {
        ServerData::ConnectionList(answer) => {
            answer.rows.iter().map(|row| row.identity.to_string()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(identities(&mut scoped), ["uid 1000", "uid 1000"]);
    assert_eq!(identities(&mut admin), ["uid 0", "uid 1000", "uid 1000"]);
}

#[test]
fn a_definition_and_what_it_replaces_have_to_be_within_the_scope() {
    let rules = vec![rule(Role::Admin, &["web-*"], &[]), rule(Role::Admin, &[], &["lab"])];
    let mut world = World::with_rules(Now::read(), rules);
    let mut admin = world.visitor();
    world.define(&mut admin, &definition("db", 2, "")).unwrap();
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    let mut define = |world: &mut World, text: &str| {
        let call = VmDefineCall { definition: Text::new(text).unwrap(), replace: true };
        world.ask(&mut scoped, &ClientData::VmDefine(call)).map(drop)
    };
    define(&mut world, &definition("web-9", 9, "")).unwrap();
    define(&mut world, &definition("scratch", 8, "\"lab\"")).unwrap();
    let outside = define(&mut world, &definition("db9", 7, "")).unwrap_err();
    assert_eq!((outside.code, outside.fact("needed")), (code::DENIED, Some("admin")));
    // Neither by name, nor by uuid, nor by a label that was put on it.
    let by_name = define(&mut world, &definition("db", 7, "\"lab\"")).unwrap_err();
    let by_uuid = define(&mut world, &definition("web-2", 2, "")).unwrap_err();
    let out_of_it = define(&mut world, &definition("db9", 9, "")).unwrap_err();
    for refused in [&by_name, &by_uuid, &out_of_it] {
        assert_eq!((refused.code, &refused.message, &refused.hint), (outside.code, &outside.message, &outside.hint));
        assert_eq!(refused.details, outside.details, "which of both it is tells what is there");
    }
    define(&mut world, &definition("web-8", 8, "")).unwrap();
}

#[test]
fn those_who_are_judged_again_lose_what_they_may_not_have_any_more() {
    let rules = |role, name| vec![rule(role, &[name], &[])];
    let mut world = World::with_rules(Now::read(), rules(Role::Operator, "web-*"));
    let mut admin = world.visitor();
    for (name, last) in [("web-1", 1), ("web-2", 2)] {
        world.define(&mut admin, &definition(name, last, "")).unwrap();
        world.ask(&mut admin, &start(name)).unwrap();
    }
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    let open = |name| {
        let call = ConsoleOpenCall { vm: Text::clipped(name), mode: console_mode::WRITE, history_bytes: 0 };
        ClientData::ConsoleOpen(call)
    };
    let wait = |name| {
        let call = VmWaitCall { vm: Text::clipped(name), states: List::clipped([vm_state::STOPPED]) };
        ClientData::VmWait(call)
    };
    for name in ["web-1", "web-2"] {
        world.ask(&mut scoped, &open(name)).unwrap();
        scoped.session.call(&wait(name), 0).unwrap();
    }
    world.exchange(&mut scoped);
    let judge = |world: &mut World, scoped: &mut Visitor, rules| {
        world.turn(|dispatch, turn| dispatch.set_access(turn, Access { own_uid: 7, rules }));
        world.exchange(scoped);
        let over: Vec<(u32, u32)> =
            scoped.over.drain(..).map(|(stream, why)| (stream, why.map_or(0, |why| why.code))).collect();
        let answers: Vec<u32> = scoped.answers.drain(..).filter_map(|(_, answer)| Some(answer.err()?.code)).collect();
        (over, answers)
    };
    assert_eq!(judge(&mut world, &mut scoped, rules(Role::Admin, "web-*")), (vec![], vec![]));
    let after = judge(&mut world, &mut scoped, rules(Role::Admin, "web-1"));
    assert_eq!(after, (vec![(2, code::NOT_FOUND)], vec![code::NOT_FOUND]));
    let after = judge(&mut world, &mut scoped, rules(Role::Observer, "web-1"));
    assert_eq!(after, (vec![(1, code::DENIED)], vec![]), "whoever may look may wait");
    let ServerData::VmShow(shown) = world.ask(&mut admin, &ClientData::VmShow(vm("web-1"))).unwrap() else { panic!() };
    assert_eq!((shown.vm.console_writer.as_str(), shown.vm.console_readers), ("", 0));

    world.turn(|dispatch, turn| dispatch.set_access(turn, Access { own_uid: 7, rules: Vec::new() }));
    world.exchange(&mut scoped);
    let Some(Closing::Told(told)) = &scoped.closed else { panic!("{:?}", scoped.closed) };
    assert_eq!(told.code, code::DENIED);
    assert!(told.message.starts_with("user 1000 may not connect") && !told.hint.is_empty(), "{told:?}");
    assert!(world.dispatch.is_closing(scoped.id) && !world.dispatch.is_closing(admin.id));
}

#[test]
fn a_machine_that_is_regrouped_is_seen_by_others_from_then_on() {
    let mut world = World::with_rules(Now::read(), vec![rule(Role::Operator, &[], &["lab"])]);
    let mut admin = world.visitor();
    world.define(&mut admin, &definition("web-1", 1, "\"lab\"")).unwrap();
    world.ask(&mut admin, &start("web-1")).unwrap();
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    world.ask(&mut scoped, &subscribe_from_the_start()).unwrap();
    assert_eq!(names_of(&scoped.events), ["web-1"]);
    world.ask(&mut admin, &ClientData::VmStop(vm("web-1"))).unwrap();
    let states = List::clipped([vm_state::RUNNING]);
    scoped.session.call(&ClientData::VmWait(VmWaitCall { vm: Text::clipped("web-1"), states }), 0).unwrap();
    world.exchange(&mut scoped);
    let call = VmDefineCall { definition: Text::new(definition("web-1", 1, "")).unwrap(), replace: true };
    world.ask(&mut admin, &ClientData::VmDefine(call)).unwrap();
    world.exchange(&mut scoped);
    let (_, answer) = scoped.answers.pop().unwrap();
    assert_eq!(answer.unwrap_err().code, code::NOT_FOUND, "what cannot be seen is not waited for");
    let seen = scoped.events.len();
    world.ask(&mut admin, &start("web-1")).unwrap();
    world.exchange(&mut scoped);
    assert_eq!(scoped.events.len(), seen);
    assert_eq!(world.ask(&mut scoped, &ClientData::VmShow(vm("web-1"))).unwrap_err().code, code::NOT_FOUND);
}

#[test]
fn labels_are_listed_and_filtered_by_from_minor_2_on() {
    let mut world = World::new();
    let fields = List::clipped([vm_field::NAME, vm_field::LABELS]);
    let value = VmCell::Text(Text::clipped("la*"));
    let filter = VmFilter { field: vm_field::LABELS, comparison: filter_comparison::MATCHES, value };
    let list = |fields: &List<u32, 32>, filters| {
        ClientData::VmList(VmListCall { fields: fields.clone(), filters, after: Text::default(), rows_max: 0 })
    };
    for minor in [1, 2] {
        let mut visitor = world.visitor();
        let hello = HelloCall { major: 1, minor, capabilities: List::default(), name: Text::default() };
        world.ask(&mut visitor, &ClientData::Hello(hello)).unwrap();
        if minor == 1 {
            world.define(&mut visitor, &definition("toy", 1, "\"small\", \"lab\"")).unwrap();
            world.define(&mut visitor, &definition("web", 2, "\"prod\"")).unwrap();
            let names = List::clipped([vm_field::NAME]);
            for call in [list(&fields, List::default()), list(&names, List::clipped([filter.clone()]))] {
                assert_eq!(world.ask(&mut visitor, &call).unwrap_err().code, code::INVALID);
            }
            continue;
        }
        let answer = world.ask(&mut visitor, &list(&fields, List::clipped([filter.clone()]))).unwrap();
        let ServerData::VmList(answer) = answer else { panic!() };
        let labels = VmCell::Items(List::clipped([Text::clipped("small"), Text::clipped("lab")]));
        assert_eq!(answer.rows.len(), 1);
        assert_eq!(answer.rows[0].cells.as_slice(), [VmCell::Text(Text::clipped("toy")), labels]);
    }
}
