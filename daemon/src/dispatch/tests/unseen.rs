//! What those who see some virtual machines only, and those who are no admins of the host, are not told besides.

use super::enrolment::newest;
use super::rights::{HIDDEN, OTHER, OWN, definition, rule, said, subscribe_from_the_start, world};
use super::*;
use crate::access::Role;

#[test]
fn of_the_daemon_those_who_are_no_admins_are_told_what_concerns_themselves() {
    let (mut world, mut admin, mut scoped) = world(Now::read(), Role::Admin, HIDDEN);
    let mut observer = world.visitor_as(Identity::unix(2000, 2000), Base::Everybody(Role::Observer));
    world.dispatch.set_sockets(vec!["tls:[::]:16515".to_owned()]);
    world.dispatch.daemon = DaemonFacts {
        pid: 77,
        release: "0.1.0".to_owned(),
        state_dir: "/var/lib/vmwire".to_owned(),
        runtime_dir: "/run/vmwire".to_owned(),
        ..world.dispatch.daemon.clone()
    };
    let facts = CertificateFacts {
        purpose: "server",
        subject: "CN=vm1".to_owned(),
        not_before_s: 1,
        not_after_s: 2,
        fingerprint: None,
        problem: "cannot read /etc/vmwire/pki/server.crt".to_owned(),
    };
    world.dispatch.set_certificates(vec![facts]);
    let hello = HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
    let mut told = |visitor: &mut Visitor| {
        world.ask(visitor, &ClientData::Hello(hello.clone())).unwrap();
        let Ok(ServerData::HostCertificates(answer)) = world.ask(visitor, &ClientData::HostCertificates) else {
            panic!()
        };
        let Ok(ServerData::DaemonInfo(info)) = world.ask(visitor, &ClientData::DaemonInfo) else { panic!() };
        let sockets: Vec<String> = info.sockets.iter().map(ToString::to_string).collect();
        assert_eq!(info.release, "0.1.0");
        let paths = format!("{} {} {sockets:?} {}", info.state_dir, info.runtime_dir, answer.rows[0].problem);
        (info.pid, info.connections, info.calls, paths)
    };
    let unknown = "  [] the files on the disk cannot be used; the daemon's log says why".to_owned();
    assert_eq!(told(&mut scoped), (0, 1, 2, unknown.clone()));
    assert_eq!(told(&mut observer), (0, 1, 2, unknown));
    let all = "/var/lib/vmwire /run/vmwire [\"tls:[::]:16515\"] cannot read /etc/vmwire/pki/server.crt".to_owned();
    let (pid, connections, calls, paths) = told(&mut admin);
    assert_eq!((pid, connections, paths), (77, 3, all));
    assert!(calls > 8, "{calls}");
}

#[test]
fn what_becomes_of_keys_is_told_to_admins_of_the_host_and_to_whom_they_are_of() {
    let mut world = World::with_rules(Now::read(), vec![rule(Role::Admin, &["web-*"], &[])]);
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    let mut visitors = vec![
        world.visitor_as(Identity::unix(1000, 1000), Base::Owners),
        world.visitor_as(Identity::unix(2000, 2000), Base::Everybody(Role::Operator)),
    ];
    let add = |name: &str, key| ClientAddCall { name: Text::clipped(name), role: 1, key: Fixed([key; 32]) };
    for (name, key) in [("alice", 1), ("bob", 2)] {
        world.ask_to_change(&mut admin, &ClientData::ClientAdd(add(name, key))).unwrap();
        visitors.push(world.visitor_as(tls_identity([key; 32]), Base::Registry));
    }
    visitors.push(admin);
    let mut told = |world: &mut World| {
        visitors
            .iter_mut()
            .map(|visitor| {
                world.exchange(visitor);
                world.ask(visitor, &subscribe_from_the_start()).unwrap();
                let kinds = visitor.events.drain(..).filter(|event| [9, 10].contains(&event.kind));
                kinds.map(|event| event.sequence).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    world.turn(|dispatch, turn| {
        dispatch.certificate_changed(turn, "server", CertificateChange::TakenUp, "/etc/vmwire/pki/server.crt");
    });
    let expected = vec![vec![], vec![], vec![2], vec![3], vec![2, 3, 4]];
    assert_eq!(told(&mut world), expected);
    // The next daemon finds them in its ring, and tells no more of them.
    let events = (1..=4).map(|number| (number, world.dispatch.ring.at(number).unwrap().encoded.clone())).collect();
    world.dispatch.ring = event::restore(Restored { epoch: [7; 16], events }, &world.dispatch.vms);
    assert_eq!(told(&mut world), expected);
}

#[test]
fn what_is_being_defined_is_as_good_as_there_for_who_may_not_see_it() {
    let mut world = World::with_rules(Now::read(), vec![rule(Role::Admin, &[], &["lab"])]);
    let mut admin = world.visitor();
    world.dispatch.store = Box::new(SlowStore);
    let define =
        |text: String| ClientData::VmDefine(VmDefineCall { definition: Text::new(text).unwrap(), replace: false });
    admin.session.call(&define(definition("db", 2, "")), 0).unwrap();
    world.exchange(&mut admin);
    assert!(world.dispatch.vms.find("db").is_none() && world.dispatch.tasks.len() == 1);
    let mut scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    let outside = world.ask(&mut scoped, &define(definition("db", 3, ""))).unwrap_err();
    let by_name = world.ask(&mut scoped, &define(definition("db", 3, "\"lab\""))).unwrap_err();
    let by_uuid =
        world.ask(&mut scoped, &define(definition("db", 2, "\"lab\"").replace("\"db\"", "\"xx\""))).unwrap_err();
    assert_eq!((outside.code, &by_name), (code::DENIED, &outside));
    assert_eq!((by_uuid.code, by_uuid.message), (code::DENIED, outside.message));
}

/// Somebody with a certificate of this key.
fn tls_identity(key: [u8; 32]) -> Identity {
    let date = vmwire_tls::date::Date(0);
    let certificate = vmwire_tls::identity::PeerIdentity {
        key: key.into(),
        certificate: key.into(),
        subject: String::new(),
        issuer: String::new(),
        serial: String::new(),
        names: Vec::new(),
        not_before: date,
        not_after: date,
    };
    Identity::Tls { address: "192.0.2.1:1".parse().unwrap(), certificate: Arc::new(certificate) }
}

/// Keeps definitions in files, and the files are never written.
struct SlowStore;

impl Store for SlowStore {
    fn define(&self, _vm: VmId, text: &str) -> Option<crate::driver::FileRequest> {
        Some(crate::driver::FileRequest::AddLine { path: "/slow".into(), line: text.into() })
    }

    fn undefine(&self, _vm: VmId) -> Option<crate::driver::FileRequest> {
        None
    }

    fn registry(&self, _registry: &crate::enrolment::Registry) -> Option<crate::driver::FileRequest> {
        None
    }

    fn operation(&mut self) -> (OperationId, Option<crate::driver::FileRequest>) {
        (OperationId(1), None)
    }

    fn operation_not_written(&mut self) {}

    fn append(&mut self, _sequence: u64, _encoded: &bytes::Bytes) {}

    fn log_lines_lost(&self) -> u64 {
        0
    }
}

/// Like `world`, but the machine that is not to be seen is starting, and as much waits for it as may.
fn busy_world(now: Now, hidden: &str) -> (World, Visitor) {
    let mut world = World::with_rules(now, vec![rule(Role::Admin, &["web-*"], &[])]);
    let mut admin = world.visitor();
    for (name, last) in [(OWN, 1), (hidden, 2)] {
        world.define(&mut admin, &(definition(name, last, "\"lab\"") + "start_ms = 60000\n")).unwrap();
    }
    admin.session.call(&start(hidden), 0).unwrap();
    for _ in 0..9 {
        admin.session.call(&ClientData::VmPause(vm(hidden)), 0).unwrap();
    }
    world.exchange(&mut admin);
    let refused: Vec<u32> = admin.answers.iter().filter_map(|(_, answer)| Some(answer.as_ref().err()?.code)).collect();
    assert_eq!(refused, [code::BUSY]);
    let scoped = world.visitor_as(Identity::unix(1000, 1000), Base::Owners);
    (world, scoped)
}

#[test]
fn a_machine_that_is_busy_and_may_not_be_seen_is_none_and_no_filter_finds_it() {
    let now = Now::read();
    let filter = |field, comparison, value| VmFilter { field, comparison, value };
    let text = |text: &str| VmCell::Text(Text::clipped(text));
    let filters = [
        filter(vm_field::NAME, filter_comparison::MATCHES, text("web*")),
        filter(vm_field::NAME, filter_comparison::EQUAL, text(HIDDEN)),
        filter(vm_field::NAME, filter_comparison::NOT_EQUAL, text(OWN)),
        filter(vm_field::LABELS, filter_comparison::MATCHES, text("la?")),
        filter(vm_field::STATE, filter_comparison::EQUAL, VmCell::Number(vm_state::STARTING.into())),
        filter(vm_field::OPERATION, filter_comparison::NOT_EQUAL, VmCell::Number(0)),
    ];
    let list = |filter: &VmFilter, rows_max| {
        let fields = List::clipped([vm_field::NAME, vm_field::OPERATION]);
        ClientData::VmList(VmListCall {
            fields,
            filters: List::clipped([filter.clone()]),
            after: Text::default(),
            rows_max,
        })
    };
    let mut calls: Vec<ClientData> = filters.iter().flat_map(|filter| [list(filter, 0), list(filter, 1)]).collect();
    let named = vm(HIDDEN);
    let operations = OperationListCall { vm: Text::clipped(HIDDEN), after: Text::default(), rows_max: 0 };
    let events = SubscribeCall { after: None, vm: Text::clipped(HIDDEN), kinds: List::default() };
    calls.extend([
        start(HIDDEN),
        ClientData::VmPause(named.clone()),
        ClientData::VmStop(named.clone()),
        ClientData::VmUndefine(named.clone()),
        ClientData::VmShow(named),
        ClientData::OperationList(operations),
        ClientData::Subscribe(events),
        subscribe_from_the_start(),
        ClientData::HostInfo,
    ]);
    for call in &calls {
        let both = [HIDDEN, OTHER].map(|there| {
            let (mut world, scoped) = busy_world(now, there);
            said(&mut world, scoped, call)
        });
        assert_eq!(both[0], both[1], "{call:?}");
        assert!(both[0].1.as_ref().is_none_or(|failure| failure.code == code::NOT_FOUND), "{call:?}: {both:?}");
        assert!(both[0].1.as_ref().is_none_or(|failure| failure.retry_after_ms == 0 && failure.details.is_empty()));
    }
}
