//! What somebody loses who may not see a machine any more, and what they are not told of it then.

use bytes::Bytes;

use super::rights::{HIDDEN, definition, rule, subscribe_from_the_start, uuid};
use super::*;
use crate::access::Role;
use crate::driver::FileRequest;
use crate::enrolment::Registry;

/// Keeps definitions in files, which are written and removed when a test says so.
#[derive(Debug, Default)]
struct PatientStore(MemoryStore);

impl Store for PatientStore {
    fn define(&self, _vm: VmId, text: &str) -> Option<FileRequest> {
        Some(FileRequest::Write { path: "definition".into(), data: text.as_bytes().to_vec(), durable: true })
    }

    fn undefine(&self, _vm: VmId) -> Option<FileRequest> {
        Some(FileRequest::Remove { path: "definition".into(), durable: true })
    }

    fn registry(&self, registry: &Registry) -> Option<FileRequest> {
        self.0.registry(registry)
    }

    fn operation(&mut self) -> (OperationId, Option<FileRequest>) {
        self.0.operation()
    }

    fn operation_not_written(&mut self) {}

    fn append(&mut self, _sequence: u64, _encoded: &Bytes) {}

    fn log_lines_lost(&self) -> u64 {
        0
    }
}

/// Puts a definition in the place of the one with its uuid.
fn redefine(world: &mut World, admin: &mut Visitor, text: &str) {
    let call = VmDefineCall { definition: Text::new(text).unwrap(), replace: true };
    world.ask(admin, &ClientData::VmDefine(call)).unwrap();
}

#[test]
fn whoever_loses_a_machine_by_its_new_name_is_not_told_that_name() {
    let mut world = World::with_rules(Now::read(), vec![rule(Role::Operator, &["web-*"], &[])]);
    let mut admin = world.visitor();
    world.define(&mut admin, &definition("web-1", 1, "")).unwrap();
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    world.ask(&mut scoped, &subscribe_from_the_start()).unwrap();
    let states = List::clipped([vm_state::CRASHED]);
    scoped.session.call(&ClientData::VmWait(VmWaitCall { vm: Text::clipped(&uuid(1)), states }), 0).unwrap();
    world.exchange(&mut scoped);
    redefine(&mut world, &mut admin, &definition(HIDDEN, 1, ""));
    world.exchange(&mut scoped);
    let told: Vec<Failure> = scoped.answers.drain(..).filter_map(|(_, answer)| answer.err()).collect();
    let told: Vec<(u32, &str)> = told.iter().map(|why| (why.code, why.object_name.as_str())).collect();
    assert_eq!(told, [(code::NOT_FOUND, "web-1")]);
    assert!(!format!("{:?}", scoped.events).contains(HIDDEN), "{:?}", scoped.events);
}

#[test]
fn what_becomes_of_a_machine_that_may_not_be_seen_any_more_is_not_told_to_whoever_began_it() {
    let mut world = World::with_rules(Now::read(), vec![rule(Role::Operator, &["web-*"], &[])]);
    let mut admin = world.visitor();
    let slow = |last| definition(&format!("web-{last}"), last, "") + "start_ms = 1000\n";
    for last in [1, 2] {
        world.define(&mut admin, &slow(last)).unwrap();
    }
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    for name in ["web-1", "web-2"] {
        scoped.session.call(&start(name), 0).unwrap();
    }
    world.exchange(&mut scoped);
    let rules = vec![rule(Role::Observer, &["web-2"], &[])];
    world.turn(|dispatch, turn| dispatch.set_access(turn, Access { own_uid: 7, rules }));
    world.exchange(&mut scoped);
    let (_, answer) = scoped.answers.pop().unwrap();
    let refused = answer.unwrap_err();
    assert_eq!((refused.code, refused.object_name.as_str()), (code::NOT_FOUND, "web-1"));
    let operation = refused.fact("operation").unwrap().parse().unwrap();
    assert!(scoped.answers.is_empty(), "whoever may look is told what it began");
    world.pass(&mut scoped, Duration::from_secs(1));
    assert!(scoped.answers.pop().unwrap().1.is_ok() && scoped.answers.is_empty());
    let call = ClientData::OperationShow(OperationCall { id: operation });
    let ServerData::OperationShow(shown) = world.ask(&mut admin, &call).unwrap() else { panic!() };
    assert_eq!(shown.state, operation_state::DONE, "what was begun goes on");
}

#[test]
fn what_waits_for_a_machine_follows_it_to_its_new_name_and_labels() {
    let rules = vec![rule(Role::Admin, &["web-*"], &[])];
    let mut world = World::with_rules(Now::read(), rules);
    world.dispatch.store = Box::new(PatientStore::default());
    let mut admin = world.visitor();
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    world.ask(&mut scoped, &subscribe_from_the_start()).unwrap();
    let define =
        |text: String| ClientData::VmDefine(VmDefineCall { definition: Text::new(text).unwrap(), replace: true });
    let written = |world: &mut World, admin: &mut Visitor| {
        for ticket in std::mem::take(&mut world.host.writing) {
            world.turn(|dispatch, turn| dispatch.handle_file(turn, ticket, FileAnswer::Done));
        }
        world.exchange(admin);
    };
    admin.session.call(&define(definition("web-1", 1, "")), 0).unwrap();
    world.exchange(&mut admin);
    written(&mut world, &mut admin);
    // It is about to go out of sight, and to be undefined behind that.
    admin.session.call(&define(definition(HIDDEN, 1, "")), 0).unwrap();
    world.exchange(&mut admin);
    admin.session.call(&ClientData::VmUndefine(vm("web-1")), 0).unwrap();
    world.exchange(&mut admin);
    world.exchange(&mut scoped);
    let seen = scoped.events.len();
    written(&mut world, &mut admin);
    written(&mut world, &mut admin);
    assert!(admin.answers.len() == 3 && admin.answers.iter().all(|(_, answer)| answer.is_ok()), "{:?}", admin.answers);
    world.exchange(&mut scoped);
    // That the replacing is done is told under the name that it was asked for.
    let after: Vec<u32> = scoped.events[seen..].iter().map(|event| event.kind).collect();
    assert_eq!(after, [event_kind::OPERATION], "{:?}", scoped.events);
    let list =
        ClientData::OperationList(OperationListCall { vm: Text::default(), after: Text::default(), rows_max: 0 });
    let ServerData::OperationList(answer) = world.ask(&mut scoped, &list).unwrap() else { panic!() };
    assert!(answer.rows.iter().all(|row| row.procedure == number::VM_DEFINE), "{:?}", answer.rows);
}
