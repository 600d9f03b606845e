//! Every procedure as every role, over every way there is; and machines that are not to be seen.

use vmwire_protocol::message::{
    ClientData, ConsoleOpenCall, HelloCall, ListCall, OperationCall, OperationListCall, Over, PROCEDURES, Procedure,
    ServerData, SubscribeCall, VmCall, VmCell, VmDefineCall, VmFilter, VmListCall, VmShutdownCall, VmStartCall,
    VmWaitCall, code, filter_comparison, number, role, vm_field,
};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{List, Text};

use crate::harness::{Daemon, Raw, Setup, Socket, Way, client_context, pki};

const ROLES: [(&str, u32); 3] = [("observer", role::OBSERVER), ("operator", role::OPERATOR), ("admin", role::ADMIN)];

/// Somebody at the daemon, who has said HELLO.
fn greet(socket: Socket) -> Raw {
    let mut raw = Raw::new(socket);
    let hello =
        HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::constant("story") };
    let serial = raw.call(&ClientData::Hello(hello));
    assert!(matches!(raw.answer(serial), ServerData::Hello(_)));
    raw
}

/// With one socket for each role, and one client of the authority.
fn setup(roles: &[&str]) -> (Setup, String) {
    let setup = Setup::test();
    pki(&setup.place, &["init", "--server", "127.0.0.1"]).ok();
    let mut lines = setup.listeners();
    let tables = lines.find("[tls]").unwrap();
    for name in roles {
        pki(&setup.place, &["issue", "client", name]).ok();
        let path = setup.place.join(&format!("{name}.sock"));
        lines.insert_str(tables, &format!("[[listen]]\npath = \"{}\"\nrole = \"operator\"\n", path.display()));
    }
    (setup, lines)
}

fn by_tls(daemon: &Daemon, client: &str) -> Raw {
    let context = client_context(&daemon.place().join("pki/issued").join(client));
    greet(Socket::tls(daemon.address(Way::Tls), &context).unwrap())
}

#[test]
fn every_procedure_asks_for_its_role_over_every_way() {
    let (setup, mut lines) = setup(&ROLES.map(|(name, _)| name));
    for (name, _) in ROLES {
        let socket = format!("{}\"\nrole = \"operator\"", setup.place.join(&format!("{name}.sock")).display());
        lines = lines.replace(&socket, &socket.replace("\"operator\"", &format!("\"{name}\"")));
        lines += &format!("[[rule]]\nidentity = \"subject:CN={name}\"\nrole = \"{name}\"\n");
    }
    let daemon = setup.config(&lines).start();
    let mut peers = vec![(format!("{:?} observer", Way::Tcp), role::OBSERVER, daemon.raw_by(Way::Tcp))];
    peers[0].2 = greet(Socket::tcp(daemon.address(Way::Tcp)));
    for (name, role) in ROLES {
        let unix = greet(Socket::unix(&daemon.place().join(&format!("{name}.sock"))));
        peers.push((format!("{:?} {name}", Way::Unix), role, unix));
        peers.push((format!("{:?} {name}", Way::Tls), role, by_tls(&daemon, name)));
    }
    let asked = PROCEDURES.iter().filter(|procedure| {
        // The first is said already, the others are judged by nobody; the last has a door of its own.
        ![number::HELLO, number::PING, number::CANCEL, number::UNSUBSCRIBE, number::ENROLL].contains(&procedure.number)
    });
    let mut refused = 0;
    for procedure in asked {
        for (who, role, peer) in &mut peers {
            // The role is judged before the body, so that a body that is none tells who came so far.
            let serial = peer.send_next(0, procedure.number, &[0xff; 4]);
            let failure = peer.failure(serial);
            let denied = *role < procedure.right.role;
            let expected = if denied { code::DENIED } else { code::MALFORMED };
            assert_eq!(failure.code, expected, "{} as {who}: {failure:?}", procedure.name);
            refused += usize::from(denied);
        }
    }
    assert!(refused > 60, "{refused}");
}

/// Calls that mean no machine: what they tell of machines is compared in the daemon's own tests, over every procedure.
// A capture may be narrowed to a machine by those who see all of them.
const OF_NO_MACHINE: [u32; 19] = [
    number::CAPTURE_OPEN,
    number::HELLO,
    number::PING,
    number::CANCEL,
    number::UNSUBSCRIBE,
    number::ENROLL,
    number::HOST_INFO,
    number::HOST_CAPABILITIES,
    number::HOST_CERTIFICATES,
    number::DAEMON_INFO,
    number::CONNECTION_LIST,
    number::CONNECTION_KICK,
    number::CLIENT_LIST,
    number::CLIENT_INVITE,
    number::CLIENT_ADD,
    number::CLIENT_SET_ROLE,
    number::CLIENT_REMOVE,
    number::OPERATION_SHOW,
    number::OPERATION_WAIT,
];

/// What can be asked about one machine.
fn calls(vm: &str) -> Vec<ClientData> {
    let named = || VmCall { vm: Text::clipped(vm) };
    let filter = VmFilter {
        field: vm_field::NAME,
        comparison: filter_comparison::MATCHES,
        value: VmCell::Text(Text::clipped(vm)),
    };
    let definition = Text::new(format!("name = \"{vm}\"\nmemory = \"64 MiB\"\n")).unwrap();
    vec![
        ClientData::VmShow(named()),
        ClientData::VmDefinition(named()),
        ClientData::VmStop(named()),
        ClientData::VmReboot(named()),
        ClientData::VmReset(named()),
        ClientData::VmPause(named()),
        ClientData::VmResume(named()),
        ClientData::AgentPing(named()),
        ClientData::VmStart(VmStartCall { vm: named().vm, paused: false }),
        ClientData::VmShutdown(VmShutdownCall { vm: named().vm, grace_ms: 1, then: 1 }),
        ClientData::VmWait(VmWaitCall { vm: named().vm, states: List::clipped([5]) }),
        ClientData::ConsoleOpen(ConsoleOpenCall { vm: named().vm, mode: 1, history_bytes: 0 }),
        ClientData::OperationList(OperationListCall { vm: named().vm, after: Text::default(), rows_max: 0 }),
        ClientData::Subscribe(SubscribeCall { after: None, vm: named().vm, kinds: List::default() }),
        ClientData::VmNames(ListCall { after: named().vm, rows_max: 0 }),
        ClientData::VmList(VmListCall {
            fields: List::clipped([vm_field::NAME]),
            filters: List::clipped([filter]),
            after: Text::default(),
            rows_max: 0,
        }),
        ClientData::VmDefine(VmDefineCall { definition, replace: true }),
        ClientData::VmUndefine(named()),
    ]
}

#[test]
fn every_procedure_is_tried_on_a_machine_or_means_none() {
    let tried: Vec<u32> = calls("web").iter().map(ClientData::number).collect();
    for procedure in PROCEDURES {
        let (tried, means_none) = (tried.contains(&procedure.number), OF_NO_MACHINE.contains(&procedure.number));
        assert!(tried != means_none, "{}: put it into one of both lists", procedure.name);
        assert!(tried || procedure.right.over == Over::Host, "{} is about machines", procedure.name);
    }
}

/// Asks over one way as one role over what is named `own-*`.
fn compare(daemon: &Daemon, peer: &mut Raw, role: u32, about: &str) {
    let mut ask = |call: &ClientData| {
        let serial = peer.call_within(500, call);
        peer.answer(serial)
    };
    // The two names are of one length, and nothing else is different.
    let neutral = |answer: ServerData| format!("{answer:?}").replace("hid-a", "NAME").replace("non-a", "NAME");
    for (hidden, absent) in calls("hid-a").iter().zip(&calls("non-a")) {
        let (hidden_answer, absent_answer) = (ask(hidden), ask(absent));
        assert_eq!(neutral(hidden_answer), neutral(absent_answer), "{hidden:?} {about}");
    }
    // The first thing that was done here was to define it.
    let hidden = 1;
    for of in [ClientData::OperationShow, ClientData::OperationWait] {
        let [of_hidden, of_none] = [hidden, 900_000].map(|id| {
            let answer = format!("{:?}", ask(&of(OperationCall { id })));
            answer.replace(&format!("\"{id}\""), "ID")
        });
        assert_eq!(of_hidden, of_none, "{about}");
    }
    for own in calls("own-a") {
        let procedure = Procedure::of(own.number()).unwrap();
        let answer = ask(&own);
        let code = match &answer {
            ServerData::Failure(failure) => Some(failure.code),
            _ => None,
        };
        assert_ne!(code, Some(code::NOT_FOUND), "{own:?} {about}: {answer:?}");
        // Whoever may say what a machine is over some of them may define one of theirs.
        assert_eq!(code == Some(code::DENIED), role < procedure.right.role, "{own:?} {about}: {answer:?}");
    }
    assert_eq!(daemon.state("hid-a"), "running", "it was touched {about}");
}

#[test]
fn a_machine_that_is_not_to_be_seen_is_answered_as_one_that_is_not_there_over_every_way() {
    if !rustix::process::geteuid().is_root() {
        return crate::harness::skip("a_machine_that_is_not_to_be_seen", "the rule is for root");
    }
    for (name, role) in ROLES {
        let (setup, mut lines) = setup(&["scoped"]);
        for identity in ["subject:CN=scoped", "uid:0"] {
            lines += &format!("[[rule]]\nidentity = \"{identity}\"\nrole = \"{name}\"\nvms = [\"own*\"]\n");
        }
        let daemon = setup.config(&lines).start();
        daemon.define("name = \"hid-a\"\nmemory = \"64 MiB\"\n");
        daemon.ok(&["vm", "start", "hid-a"]);
        let unix = greet(Socket::unix(&daemon.place().join("scoped.sock")));
        // Over plain TCP nobody has a role over some machines alone: an address proves nothing that a rule could name.
        for (way, mut peer) in [(Way::Unix, unix), (Way::Tls, by_tls(&daemon, "scoped"))] {
            daemon.define("name = \"own-a\"\nmemory = \"64 MiB\"\n");
            compare(&daemon, &mut peer, role, &format!("over {way:?} as {name}"));
            if name != "admin" {
                daemon.ok(&["vm", "undefine", "own-a"]);
            }
        }
    }
}
