//! What is secret on the wire: the fields that `vmwire.x` marks are planted here, everything is run with every log at its
//! loudest, and then nothing that was written has one of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use vmwire_protocol::message::{ClientData, EnrollCall, HelloCall, PROCEDURES, number};
use vmwire_protocol::token::Token;
use vmwire_protocol::xdr::{Fixed, List, Opaque, Sampler, Secret, Text};

use crate::harness::{Daemon, Running, Setup, eventually, vmwire};
use marked::marked;

#[path = "../protocol/tests/wire/marked.rs"]
mod marked;

/// The authority on what is secret.
const AUTHORITY: &str = include_str!("../protocol/vmwire.x");

/// What was planted: the field, and what may stand nowhere, each in every form in which somebody might write it.
#[derive(Default)]
struct Canaries(Vec<(&'static str, Vec<String>)>);

impl Canaries {
    fn bytes(&mut self, field: &'static str, secret: &[u8]) {
        let hex = |separator| secret.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator);
        let list = format!("{secret:?}").trim_matches(['[', ']']).to_owned();
        let escaped = secret.escape_ascii().to_string().to_lowercase();
        let forms = [folded(secret), hex(""), hex(":"), hex(" "), hex(", "), list, escaped];
        self.0.push((field, forms.to_vec()));
    }

    /// A text, of which also a part may stand nowhere.
    fn text(&mut self, field: &'static str, secret: &str) {
        self.0.push((field, secret.as_bytes().windows(12).map(folded).collect()));
    }

    /// The fields of which something stands in there.
    fn found(&self, written: &[u8]) -> Vec<&'static str> {
        let written = folded(written);
        let stands = |form: &String| written.contains(form.as_str());
        self.0.iter().filter(|(_, forms)| forms.iter().any(stands)).map(|(field, _)| *field).collect()
    }

    #[track_caller]
    fn stand_nowhere_in(&self, what: &str, written: &[u8]) {
        let found = self.found(written);
        assert!(found.is_empty(), "{found:?} in {what}:\n{}", String::from_utf8_lossy(written));
    }
}

/// A character for each byte, whatever it is, and letters small.
fn folded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// Looks at how a process was called and what surrounds it, and at those of its children.
fn look_at_processes(canaries: &Canaries, pid: u32) {
    let mut family = vec![pid];
    while let Some(pid) = family.pop() {
        for file in ["cmdline", "environ", "comm"] {
            canaries.stand_nowhere_in(file, &std::fs::read(format!("/proc/{pid}/{file}")).unwrap());
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        family.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
}

/// Looks into every file below.
fn look_at_files(canaries: &Canaries, dir: &Path, seen: &mut usize) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        if kind.is_dir() {
            look_at_files(canaries, &path, seen);
        } else if kind.is_file() {
            *seen += 1;
            canaries.stand_nowhere_in(path.to_str().unwrap(), &std::fs::read(&path).unwrap());
        }
    }
}

/// A command that logs everything.
fn loud(daemon: &Daemon, words: &[&str]) -> Command {
    let mut command = vmwire();
    command.env("VMWIRE_LOG", "trace").env("VMWIRE_URI", daemon.uri()).args(["-o", "json"]).args(words);
    command
}

/// Makes every call there is, with whatever stands in it; those that have a secret are planted.
fn call_everything(daemon: &Daemon, canaries: &mut Canaries) {
    let canary = *b"CANARY-OF-TOKENS";
    canaries.bytes("enroll_call.secret", &canary);
    let name = Text::clipped("alice");
    let enroll = EnrollCall { secret: Secret::new(Fixed::from(canary)), name, request: Opaque::default() };
    let sampled = PROCEDURES
        .iter()
        .filter(|procedure| procedure.number != number::HELLO)
        .filter_map(|procedure| ClientData::sample(procedure.number, &mut Sampler::new(7)));
    let calls: Vec<ClientData> = sampled.chain([ClientData::Enroll(enroll)]).collect();
    assert!(calls.len() >= 35, "{}", calls.len());
    for data in calls {
        if let ClientData::Enroll(call) = &data {
            canaries.bytes("enroll_call.secret", &call.secret.reveal().0);
        }
        let mut raw = daemon.raw();
        let hello = HelloCall { major: 1, minor: 2, capabilities: List::default(), name: Text::default() };
        let hello = raw.call(&ClientData::Hello(hello));
        raw.answer(hello);
        let serial = raw.call_within(200, &data);
        raw.answer(serial);
    }
}

#[test]
fn what_is_marked_as_secret_stands_in_no_log_no_file_no_event_and_around_no_process() {
    let daemon =
        Setup::test().config("log = \"trace\"\n").networked().config("[audit]\nlevel = \"all\"\nburst = 0\n").start();
    let address = daemon.address(crate::harness::Way::Tls).to_string();
    let follow = Running::start(loud(&daemon, &["event", "follow"]));
    let capture = daemon.place().join("capture.pcapng");
    let capture = daemon.begin(&["capture", "--payload", "-w", capture.to_str().unwrap()]);
    eventually("it is captured", || capture.err().contains("capturing into").then_some(()));
    eventually("somebody listens", || daemon.ok(&["connection", "list"]).contains("yes").then_some(()));

    let mut canaries = Canaries::default();
    let invite =
        Running::start(loud(&daemon, &["client", "invite", "bob", "--role", "operator", "--address", &address]));
    let invited = invite.end();
    let token: serde_json::Value = serde_json::from_str(&invited.out).unwrap();
    let token = token["token"].as_str().unwrap();
    // The beginning is an address and a fingerprint, which are no secrets.
    canaries.text("client_invite_answer.token", &token[token.len() - 24..]);
    let secret = Token::parse(token).unwrap().secret;
    canaries.bytes("token.secret", &secret.reveal().0);
    canaries.bytes("enroll_call.secret", &secret.reveal().0);
    assert_eq!(canaries.found(token.as_bytes()), ["client_invite_answer.token"]);
    canaries.stand_nowhere_in("what the inviting client logged", invited.err.as_bytes());

    // While the daemon sleeps, whoever enrols stands there with the token in hand.
    daemon.signal(Signal::STOP);
    let dir = daemon.place().join("bob");
    let mut enroll = Running::start(loud(&daemon, &["enroll", "--dir", dir.to_str().unwrap()]));
    enroll.write(token);
    enroll.end_input();
    eventually("it has begun", || enroll.err().contains("connected to").then_some(()));
    look_at_processes(&canaries, enroll.pid());
    look_at_processes(&canaries, daemon.pid());
    daemon.signal(Signal::CONT);
    let enrolled = enroll.end();
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    // Spent, it is refused, and that is told.
    let again = loud(&daemon, &["enroll", "--dir", daemon.place().join("again").to_str().unwrap()]);
    let mut again = Running::start(again);
    again.write(token);
    let again = again.end();
    assert_eq!(again.code, 4, "{again:?}");
    call_everything(&daemon, &mut canaries);

    let planted: BTreeSet<String> = canaries.0.iter().map(|(field, _)| (*field).to_owned()).collect();
    let marked = marked(AUTHORITY).into_iter().map(|(of, field)| format!("{of}.{field}"));
    assert_eq!(planted, marked.collect(), "every field that is marked as secret has to be planted here");

    for what in ["client", "connection", "operation", "event"] {
        let listed = Running::start(loud(&daemon, &[what, "list"])).end();
        canaries.stand_nowhere_in(&format!("{what} list"), [listed.out, listed.err].concat().as_bytes());
    }
    eventually("who listens has heard of it", || follow.out().contains("enrolled").then_some(()));
    for (what, written) in [
        ("events", follow.out()),
        ("the log of who listens", follow.err()),
        ("what the enrolled one printed", enrolled.out),
        ("what the enrolled one logged", enrolled.err),
        ("what the one who came too late was told", again.out + &again.err),
    ] {
        canaries.stand_nowhere_in(what, written.as_bytes());
    }
    look_at_processes(&canaries, daemon.pid());
    drop(follow);
    capture.signal(Signal::INT);
    let captured = capture.wait();
    assert!(captured.code == 0 && !captured.err.contains(" 0 packets"), "{captured:?}");
    let place = daemon.stopped();
    let mut seen = 0;
    look_at_files(&canaries, place.place.path(), &mut seen);
    assert!(seen >= 10, "registry, events, audit, log, certificates: {seen} files");
    // It was loud, and it was told of whom this is about.
    let log = std::fs::read_to_string(place.place.join("log")).unwrap();
    let audit = std::fs::read_to_string(place.place.join("state/audit.jsonl")).unwrap();
    for (text, expected) in [(&log, "TRACE"), (&log, "bob"), (&audit, "bob"), (&audit, "\"procedure\":\"enroll\"")] {
        assert!(text.contains(expected), "{expected}");
    }
}
