//! The five prepared incidents, `contrib/wireshark/incidents`: captures made here, byte for byte, and what is to be seen in
//! each, which the page beside each capture tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use vmwire_protocol::message::{
    ClientData, ConsoleOpenAnswer, ConsoleOpenCall, Cursor, Event, EventOperation, EventVmState, Failure, Gap,
    ListCall, ServerData, StreamCredit, StreamData, SubscribeAnswer, SubscribeCall, VmCall, VmDoneAnswer, VmListCall,
    VmNamesAnswer, VmRef, VmShutdownCall, VmStartCall, code, event_kind, operation_state, role, state_reason, vm_state,
};
use vmwire_protocol::xdr::{Fixed, List, Opaque};

use super::capture::Capture;
use super::talk::{ADMIN, EPOCH, Talk, encoded, text};
use super::tshark::Tshark;
use crate::support::server::hello;

const SECOND_US: u64 = 1_000_000;

/// An incident: its capture, and the sentences that tell it, each with what is complained of.
struct Incident {
    name: &'static str,
    capture: Capture,
    told: &'static [(&'static str, &'static str)],
}

fn list() -> ClientData {
    let fields = List::new([1, 3]).unwrap();
    ClientData::VmList(VmListCall { fields, filters: List::default(), after: text(""), rows_max: 0 })
}

fn names(sequence: u64) -> ServerData {
    ServerData::VmNames(VmNamesAnswer {
        cursor: Cursor { epoch: EPOCH, sequence },
        names: List::new([text("db1"), text("web1")]).unwrap(),
        next: text(""),
    })
}

/// Each virtual machine has a uuid of its own.
fn vm_ref(name: &str) -> VmRef {
    let uuid = if name == "db1" {
        *b"\xdb\x01\x5c\x80\x77\x1a\x4b\x0e\x9d\x3f\x61\xc2\x08\xaa\x4e\x17"
    } else {
        *b"\x3e\xb1\x90\x24\x0c\x6d\x48\xf3\xa5\x52\xe7\x1d\x90\x2b\xc8\x66"
    };
    VmRef { uuid: Fixed(uuid), name: text(name) }
}

/// An event that comes to the subscriber at once.
fn event(capture: &Capture, sequence: u64, operation: u64, vm: &str, kind: u32, detail: Vec<u8>) -> Event {
    // It takes the daemon a moment to tell it.
    let time_ns = capture.now_ns() - 40_000;
    Event {
        epoch: EPOCH,
        sequence,
        time_ns,
        operation,
        vm: Some(vm_ref(vm)),
        kind,
        detail: Opaque::new(detail).unwrap(),
    }
}

fn state_event(capture: &Capture, sequence: u64, operation: u64, vm: &str, states: [u32; 2], reason: u32) -> Event {
    let [previous, state] = states;
    let detail = encoded(&EventVmState { state, previous, reason, message: text("") });
    event(capture, sequence, operation, vm, event_kind::VM_STATE, detail)
}

fn operation_event(
    capture: &Capture,
    sequence: u64,
    operation: u64,
    vm: &str,
    procedure: u32,
    failure: Option<Failure>,
) -> ServerData {
    let state = if failure.is_some() { operation_state::FAILED } else { operation_state::RUNNING };
    let detail = encoded(&EventOperation { procedure, state, identity: text(ADMIN.0), failure });
    ServerData::Event(event(capture, sequence, operation, vm, event_kind::OPERATION, detail))
}

fn version_mismatch() -> Incident {
    let mut capture = Capture::new();
    let refused = || Failure::new(code::VERSION_MISMATCH, "this daemon speaks major 1").detail("majors", "1");
    let mut newer = Talk::new(&mut capture);
    let serial = newer.call(&mut capture, &hello(2, 0, &[]));
    capture.pass_us(300);
    newer.fail(&mut capture, serial, refused());
    let serial = newer.call(&mut capture, &list());
    capture.pass_us(200);
    newer.fail(&mut capture, serial, refused());
    capture.pass_us(SECOND_US);
    let mut older = Talk::agreed(&mut capture, 0, ADMIN.0, ADMIN.1);
    let serial = older.call(&mut capture, &list());
    capture.pass_us(200);
    older.fail(
        &mut capture,
        serial,
        Failure::new(code::UNSUPPORTED, "vm-list came with version 1.1").detail("minor", "1"),
    );
    let serial = older.call(&mut capture, &ClientData::VmNames(ListCall { after: text(""), rows_max: 0 }));
    capture.pass_us(500);
    older.say(&mut capture, serial, &names(7));
    Incident {
        name: "version-mismatch",
        capture,
        told: &[
            ("HELLO: speaks major 2", ""),
            ("HELLO FAILED: VERSION_MISMATCH, this daemon speaks major 1 (0.4 ms)", "version"),
            ("VM_LIST name, state", ""),
            ("VM_LIST FAILED: VERSION_MISMATCH, this daemon speaks major 1 (0.3 ms)", "version"),
            ("HELLO: speaks 1.0, can progress, is \"test\"", ""),
            ("HELLO: 1.0 agreed, of 1.2; \"uid 0\" is admin (0.5 ms)", ""),
            ("VM_LIST name, state", ""),
            ("VM_LIST FAILED: UNSUPPORTED, vm-list came with version 1.1 (0.3 ms)", "unsupported"),
            ("VM_NAMES", ""),
            ("VM_NAMES: 2 names as of event 7 (0.6 ms)", ""),
        ],
    }
}

fn hung_guest() -> Incident {
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let subscribe = SubscribeCall { after: None, vm: text(""), kinds: List::default() };
    let serial = talk.call(&mut capture, &ClientData::Subscribe(subscribe));
    let first = Cursor { epoch: EPOCH, sequence: 41 };
    talk.say(&mut capture, serial, &ServerData::Subscribe(SubscribeAnswer { first }));
    let shutdown = VmShutdownCall { vm: text("db1"), grace_ms: 5000, then: 1 };
    let shutdown = talk.call(&mut capture, &ClientData::VmShutdown(shutdown));
    capture.pass_us(900);
    let begun = operation_event(&capture, 41, 12, "db1", 0x111, None);
    talk.say(&mut capture, 0, &begun);
    capture.pass_us(2 * SECOND_US);
    let ping = talk.call(&mut capture, &ClientData::Ping);
    capture.pass_us(100);
    talk.say(&mut capture, ping, &ServerData::Ping);
    let other = VmStartCall { vm: text("web1"), paused: false };
    let other = talk.call(&mut capture, &ClientData::VmStart(other));
    capture.pass_us(80_000);
    let begun = operation_event(&capture, 42, 13, "web1", 0x110, None);
    talk.say(&mut capture, 0, &begun);
    talk.say(&mut capture, other, &ServerData::VmStart(VmDoneAnswer { operation: 13, state: vm_state::RUNNING }));
    capture.pass_us(3 * SECOND_US);
    let late = Failure::new(code::DEADLINE_EXCEEDED, "the guest did not go down")
        .about("vm", "db1")
        .hint("vmwire vm stop ends it without asking it")
        .detail("begun", "yes")
        .detail("limit", "5000")
        .detail("operation", "12");
    let failed = operation_event(&capture, 43, 12, "db1", 0x111, Some(late.clone()));
    talk.say(&mut capture, 0, &failed);
    talk.fail(&mut capture, shutdown, late);
    capture.pass_us(4 * SECOND_US);
    let stop = talk.call(&mut capture, &ClientData::VmStop(VmCall { vm: text("db1") }));
    capture.pass_us(60_000);
    let states = [vm_state::RUNNING, vm_state::STOPPED];
    let stopped = state_event(&capture, 44, 14, "db1", states, state_reason::REQUESTED);
    talk.say(&mut capture, 0, &ServerData::Event(stopped));
    talk.say(&mut capture, stop, &ServerData::VmStop(VmDoneAnswer { operation: 14, state: vm_state::STOPPED }));
    Incident {
        name: "hung-guest",
        capture,
        told: &[
            ("HELLO: speaks 1.1, can progress, is \"test\"", ""),
            ("HELLO: 1.1 agreed, of 1.2; \"uid 0\" is admin (0.5 ms)", ""),
            ("SUBSCRIBE events from now on", ""),
            ("SUBSCRIBE: event 41 is the first to come (0.1 ms)", ""),
            ("VM_SHUTDOWN db1, a grace of 5 s, then fail", ""),
            ("EVENT 41: operation 12 (VM_SHUTDOWN db1) running", ""),
            ("PING", ""),
            ("PING: answered (0.2 ms)", ""),
            ("VM_START web1", ""),
            ("EVENT 42: operation 13 (VM_START web1) running", ""),
            ("VM_START web1: running, operation 13 (80.2 ms)", ""),
            ("EVENT 43: operation 12 (VM_SHUTDOWN db1) failed: DEADLINE_EXCEEDED, the guest did not go down", ""),
            ("VM_SHUTDOWN db1 FAILED: DEADLINE_EXCEEDED, the guest did not go down (5.08 s)", "deadline"),
            ("VM_STOP db1", ""),
            ("EVENT 44: db1 stopped, was running (requested), by operation 14", ""),
            ("VM_STOP db1: stopped, operation 14 (60.2 ms)", ""),
        ],
    }
}

fn lost_event() -> Incident {
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let serial = talk.call(&mut capture, &ClientData::VmNames(ListCall { after: text(""), rows_max: 0 }));
    capture.pass_us(300);
    talk.say(&mut capture, serial, &names(6100));
    // Its link broke here, and it was long until it came back.
    capture.pass_us(40 * SECOND_US);
    let mut back = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let after = Some(Cursor { epoch: EPOCH, sequence: 6100 });
    // States are all that it wants; 6142 is of another kind, that operation 900 runs.
    let kinds = List::new([event_kind::VM_STATE]).unwrap();
    let subscribe = SubscribeCall { after, vm: text(""), kinds };
    let serial = back.call(&mut capture, &ClientData::Subscribe(subscribe));
    capture.pass_us(200);
    let first = Cursor { epoch: EPOCH, sequence: 6101 };
    back.say(&mut capture, serial, &ServerData::Subscribe(SubscribeAnswer { first }));
    back.say(&mut capture, 0, &ServerData::Gap(Gap { epoch: EPOCH, first: 6101, last: 6140 }));
    let crashed = [vm_state::RUNNING, vm_state::CRASHED];
    // What the daemon still has happened while the subscriber was away.
    let crashed = state_event(&capture, 6141, 0, "web1", crashed, state_reason::GUEST);
    let started = [vm_state::STARTING, vm_state::RUNNING];
    let started = state_event(&capture, 6143, 900, "db1", started, state_reason::REQUESTED);
    for (event, ago_ns) in [(crashed, 4_000_000_000), (started, 1_500_000_000)] {
        let time_ns = event.time_ns - ago_ns;
        back.say(&mut capture, 0, &ServerData::Event(Event { time_ns, ..event }));
    }
    Incident {
        name: "lost-event",
        capture,
        told: &[
            ("HELLO: speaks 1.1, can progress, is \"test\"", ""),
            ("HELLO: 1.1 agreed, of 1.2; \"uid 0\" is admin (0.5 ms)", ""),
            ("VM_NAMES", ""),
            ("VM_NAMES: 2 names as of event 6100 (0.4 ms)", ""),
            ("HELLO: speaks 1.1, can progress, is \"test\"", ""),
            ("HELLO: 1.1 agreed, of 1.2; \"uid 0\" is admin (0.5 ms)", ""),
            ("SUBSCRIBE vm-state events after event 6100", ""),
            ("SUBSCRIBE: event 6101 is the first to come (0.3 ms)", ""),
            ("GAP: events 6101 to 6140 are lost", "gap"),
            ("EVENT 6141: web1 crashed, was running (guest)", ""),
            ("EVENT 6143: db1 running, was starting (requested), by operation 900", "sequence"),
        ],
    }
}

fn role_refused() -> Incident {
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 2, "CN=alice", role::OBSERVER);
    let serial = talk.call(&mut capture, &ClientData::VmNames(ListCall { after: text(""), rows_max: 0 }));
    capture.pass_us(300);
    talk.say(&mut capture, serial, &names(7));
    let start = ClientData::VmStart(VmStartCall { vm: text("web1"), paused: false });
    let serial = talk.call(&mut capture, &start);
    capture.pass_us(150);
    let denied = Failure::new(code::DENIED, "vm-start needs the role operator; yours is observer")
        .detail("role", "observer")
        .detail("needed", "operator")
        .hint("an admin of the host says who may do what");
    talk.fail(&mut capture, serial, denied);
    Incident {
        name: "role-refused",
        capture,
        told: &[
            ("HELLO: speaks 1.2, can progress, is \"test\"", ""),
            ("HELLO: 1.2 agreed, of 1.2; \"CN=alice\" is observer (0.5 ms)", ""),
            ("VM_NAMES", ""),
            ("VM_NAMES: 2 names as of event 7 (0.4 ms)", ""),
            ("VM_START web1", ""),
            ("VM_START web1 FAILED: DENIED, vm-start needs the role operator; yours is observer (0.25 ms)", "denied"),
        ],
    }
}

fn client_that_does_not_read() -> Incident {
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let open = ConsoleOpenCall { vm: text("db1"), mode: 1, history_bytes: 0 };
    let serial = talk.call(&mut capture, &ClientData::ConsoleOpen(open));
    capture.pass_us(300);
    let answer = ConsoleOpenAnswer { stream: 1, offset: 1_000_000, writer: text("") };
    talk.say(&mut capture, serial, &ServerData::ConsoleOpen(answer));
    let data = |offset, bytes: usize| {
        let line = b"db1 kernel: out of memory\r\n".iter().copied().cycle();
        let data = Opaque::new(line.take(bytes).collect::<Vec<u8>>()).unwrap();
        ServerData::StreamData(StreamData { stream: 1, flags: 0, offset, data })
    };
    talk.say(&mut capture, 0, &data(1_000_000, 32_768));
    talk.window(&mut capture, 30_000);
    talk.say(&mut capture, 0, &data(1_032_768, 32_768));
    talk.window(&mut capture, 0);
    // It hangs, and the guest goes on writing.
    capture.pass_us(45 * SECOND_US);
    talk.window(&mut capture, 65_535);
    talk.call(&mut capture, &ClientData::StreamCredit(StreamCredit { stream: 1, bytes: 65_536 }));
    capture.pass_us(200);
    talk.say(&mut capture, 0, &data(4_510_720, 1_000));
    Incident {
        name: "client-that-does-not-read",
        capture,
        told: &[
            ("HELLO: speaks 1.1, can progress, is \"test\"", ""),
            ("HELLO: 1.1 agreed, of 1.2; \"uid 0\" is admin (0.5 ms)", ""),
            ("CONSOLE_OPEN db1 to read", ""),
            ("CONSOLE_OPEN db1: stream 1, from byte 1000000 (0.4 ms)", ""),
            ("STREAM_DATA 1: 32768 bytes at 1000000", ""),
            ("STREAM_DATA 1: 32768 bytes at 1032768, the last that it has credit for", "spent"),
            ("STREAM_CREDIT 1: 65536 bytes more; credit was spent for 45 s, since frame 10", "spent"),
            ("STREAM_DATA 1: 1000 bytes at 4510720, 3445184 bytes lost before", "jump"),
        ],
    }
}

fn all() -> [Incident; 5] {
    [version_mismatch(), hung_guest(), lost_event(), role_refused(), client_that_does_not_read()]
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/wireshark/incidents")
}

#[test]
fn the_captures_of_the_incidents_are_those_made_here_and_each_has_its_page() {
    for Incident { name, capture, .. } in all() {
        let path = folder().join(format!("{name}.pcap"));
        if std::fs::read(&path).ok().as_deref() != Some(capture.bytes()) {
            let bless = std::env::var_os("VMWIRE_BLESS").is_some_and(|bless| bless == "1");
            assert!(bless, "{} is not what is made here; VMWIRE_BLESS=1 writes it", path.display());
            std::fs::write(&path, capture.bytes()).unwrap();
        }
        let page = std::fs::read_to_string(folder().join(format!("{name}.md"))).unwrap();
        assert!(page.contains(&format!("{name}.pcap")), "{name}.md");
    }
}

/// What a page has in italics: the words of the expert information.
fn quoted(page: &str) -> Vec<String> {
    let bold_is_none = page.replace("**", "");
    let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    bold_is_none.split('*').skip(1).step_by(2).map(words).collect()
}

#[test]
fn each_incident_tells_what_its_page_says() {
    let test = "each_incident_tells_what_its_page_says";
    for Incident { name, capture, told } in all() {
        let Some(tshark) = Tshark::of(test, &capture) else { return };
        tshark.is_sound();
        let page = std::fs::read_to_string(folder().join(format!("{name}.md"))).unwrap();
        let sentences = tshark.sentences(&[]);
        let complaints: Vec<String> = tshark.frames(&[]).iter().map(|frame| frame.complaints().join(" ")).collect();
        let found: Vec<(&str, &str)> = sentences
            .iter()
            .zip(&complaints)
            .map(|(sentence, complaint)| (sentence.as_str(), complaint.as_str()))
            .collect();
        assert_eq!(found, told, "{name}");
        // The page shows the sentence that matters, as it stands in the column.
        for (sentence, _) in told.iter().filter(|(_, complaint)| !complaint.is_empty()) {
            assert!(page.contains(sentence), "{name}.md does not show: {sentence}");
        }
        let said = tshark.run(&["-2", "-Y", "vmwire", "-T", "fields", "-e", "_ws.expert.message"]);
        let quoted = quoted(&page);
        assert!(!quoted.is_empty(), "{name}.md quotes nothing");
        quoted
            .iter()
            .for_each(|words| assert!(said.contains(words), "{name}.md has {words}, which is not in:\n{said}"));
    }
}

#[test]
fn events_of_the_incidents_are_told_after_they_happened_and_each_machine_has_its_own_uuid() {
    let test = "events_of_the_incidents_are_told_after_they_happened_and_each_machine_has_its_own_uuid";
    for Incident { name, capture, .. } in all() {
        let Some(tshark) = Tshark::of(test, &capture) else { return };
        let shown = ["frame.time_epoch", "vmwire.event.time_ns", "vmwire.vm_ref.name", "vmwire.vm_ref.uuid"];
        let shown: Vec<&str> = shown.iter().flat_map(|field| ["-e", field]).collect();
        let events = tshark.run(&[&["-Y", "vmwire.event.sequence", "-T", "fields"], &shown[..]].concat());
        let mut uuids = BTreeMap::new();
        for event in events.lines() {
            let &[told, happened, vm, uuid] = &event.split('\t').collect::<Vec<_>>()[..] else { panic!("{event}") };
            let told_ns: u64 = told.replace('.', "").parse().unwrap();
            let ago_ns = told_ns.checked_sub(happened.parse().unwrap());
            assert!(ago_ns.is_some_and(|ago_ns| ago_ns < 40_000_000_000), "{name}: {event}");
            assert_eq!(uuids.entry(uuid.to_owned()).or_insert_with(|| vm.to_owned()), vm, "{name}");
        }
        let names: BTreeSet<&String> = uuids.values().collect();
        assert_eq!(names.len(), uuids.len(), "{name}: {uuids:?}");
    }
}
