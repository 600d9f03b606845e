//! What is told, when it is due, and what becomes of it where it cannot be written.

use serde_json::Value;
use uuid::Uuid;
use vmwire_protocol::message::{code, role};

use super::*;

const INTERVAL: Duration = Duration::from_secs(600);

fn settings(level: Level) -> Settings {
    let rate = Rate { burst: 1000, interval: INTERVAL };
    Settings { path: PathBuf::from("/audit.jsonl"), level, rotate_bytes: 1 << 20, keep: 3, rate }
}

fn procedure(name: &str) -> &'static Procedure {
    vmwire_protocol::message::PROCEDURES.iter().find(|procedure| procedure.name == name).unwrap()
}

/// Somebody known.
const WHO: Who<'static> =
    Who { connection: 7, transport: "unix", identity: "uid 0", address: None, origin: Origin::User(0) };

/// Tells of a call by who has the role that it needs. One that changes something has an operation.
fn call(audit: &mut Audit, now: Now, name: &str, ending: Ending<'_>) {
    let executed = !matches!(ending, Ending::Failed(failure) if is_refusal(failure));
    call_by(audit, now, WHO, name, executed, ending);
}

fn call_by(audit: &mut Audit, now: Now, who: Who<'_>, name: &str, executed: bool, ending: Ending<'_>) {
    let procedure = procedure(name);
    let object = Object { kind: "vm", name: "web".to_owned(), uuid: Some(Uuid::from_u128(5)), ..Object::default() };
    let duration = Duration::from_micros(250);
    let (object, operation) =
        (Some(&object).filter(|_| audit.tells(procedure)), Some(12).filter(|_| executed && changes(procedure)));
    audit.call(now, who, &Deed { procedure, role: procedure.right.role, object, ending, operation, duration });
}

/// What is to be written now, parsed.
fn due(audit: &mut Audit, now: Now) -> Option<Vec<Value>> {
    let (request, records) = audit.poll_request(now)?;
    audit.handed_over(FileTicket(1), records);
    let FileRequest::Append { lines, .. } = request else { panic!("{request:?}") };
    Some(String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn written(audit: &mut Audit) {
    assert!(audit.answered(FileTicket(1), &FileAnswer::Done));
}

fn failed(audit: &mut Audit) {
    assert!(audit.answered(FileTicket(1), &FileAnswer::Failed("no space left on device".to_owned())));
}

#[test]
fn a_line_of_a_call_has_everything_under_its_key() {
    let mut audit = Audit::new(Some(settings(Level::Changes)));
    let now = Now { utc_ns: 1_782_907_200_000_000_007, ..Now::read() };
    call(&mut audit, now, "vm-start", Ending::Done);
    let (request, _) = audit.poll_request(now).unwrap();
    let FileRequest::Append { path, lines, rotate_bytes, keep } = request else { panic!("{request:?}") };
    assert_eq!((path.to_str().unwrap(), rotate_bytes, keep), ("/audit.jsonl", 1 << 20, 3));
    let expected = "{\"time\":\"2026-07-01T12:00:00.000000007Z\",\"event\":\"call\",\"connection\":7,\
                    \"transport\":\"unix\",\"identity\":\"uid 0\",\"role\":\"operator\",\"procedure\":\"vm-start\",\
                    \"object\":\"vm\",\"name\":\"web\",\"uuid\":\"00000000-0000-0000-0000-000000000005\",\
                    \"verdict\":\"ok\",\"operation\":12,\"duration_us\":250}\n";
    assert_eq!(String::from_utf8(lines).unwrap(), expected);
}

#[test]
fn changes_and_refusals_are_told_at_once_and_reads_where_all_is_told_with_others() {
    let now = Now::read();
    let denied = Failure::new(code::DENIED, "no");
    let missing = Failure::new(code::NOT_FOUND, "there is none").about("vm", "wb");
    let given_up = Failure::new(code::CANCELLED, "given up");
    let tell = |level, name, ending| {
        let mut audit = Audit::new(Some(settings(level)));
        call(&mut audit, now, name, ending);
        (audit.poll_timeout().map(|at| at - now.monotonic), due(&mut audit, now.later(DELAY)))
    };
    let at_once = Some(Duration::ZERO);
    for (name, ending, verdict) in [
        ("vm-start", Ending::Done, "ok"),
        ("vm-start", Ending::Failed(&denied), "DENIED"),
        ("vm-start", Ending::Failed(&given_up), "CANCELLED"),
        ("vm-start", Ending::Unanswered, "unanswered"),
        ("enroll", Ending::Done, "ok"),
        ("vm-show", Ending::Failed(&missing), "NOT_FOUND"),
    ] {
        for level in [Level::Changes, Level::All] {
            let (when, lines) = tell(level, name, ending);
            assert_eq!((when, &lines.unwrap()[0]["verdict"]), (at_once, &Value::from(verdict)), "{name} {ending:?}");
        }
    }
    let (_, lines) = tell(Level::Changes, "vm-show", Ending::Failed(&missing));
    assert_eq!(lines.unwrap()[0]["name"], "wb", "what a read was about is known by its failure");
    for ending in [Ending::Done, Ending::Failed(&given_up), Ending::Unanswered] {
        assert_eq!(tell(Level::Changes, "vm-show", ending), (None, None));
        let (when, lines) = tell(Level::All, "vm-show", ending);
        assert_eq!((when, lines.map(|lines| lines.len())), (Some(DELAY), Some(1)), "{ending:?}");
    }
    let mut off = Audit::new(None);
    call(&mut off, now, "vm-start", Ending::Failed(&denied));
    off.started(now, "1", 1);
    assert_eq!((off.poll_timeout(), due(&mut off, now.later(DELAY))), (None, None));
}

#[test]
fn reads_wait_until_there_are_enough_of_them() {
    let now = Now::read();
    let mut audit = Audit::new(Some(settings(Level::All)));
    let mut told = 0;
    while audit.poll_timeout() != Some(now.monotonic) {
        call(&mut audit, now, "vm-show", Ending::Done);
        told += 1;
    }
    let lines = due(&mut audit, now).unwrap();
    assert_eq!(lines.len(), told, "all that waits is written at once");
    assert!(lines.len() > 200);
    call(&mut audit, now, "vm-show", Ending::Done);
    assert_eq!(due(&mut audit, now.later(DELAY)), None, "one at a time");
    assert_eq!(audit.poll_timeout(), None, "its answer is what is waited for");
    written(&mut audit);
    assert_eq!(due(&mut audit, now.later(DELAY)).unwrap().len(), 1);
}

#[test]
fn what_could_not_be_written_is_counted_in_the_next_line_that_can() {
    let now = Now::read();
    let mut audit = Audit::new(Some(settings(Level::Changes)));
    for _ in 0..3 {
        call(&mut audit, now, "vm-start", Ending::Done);
    }
    assert_eq!(due(&mut audit, now).unwrap().len(), 3);
    call(&mut audit, now, "vm-stop", Ending::Done);
    failed(&mut audit);
    let lines = due(&mut audit, now).unwrap();
    assert_eq!((&lines[0]["event"], &lines[0]["lost"]), (&Value::from("lost"), &Value::from(3)));
    assert_eq!((lines.len(), &lines[1]["procedure"]), (2, &Value::from("vm-stop")));
    failed(&mut audit);
    assert_eq!(due(&mut audit, now), None, "nothing is to be told but the loss, and that waits");
    call(&mut audit, now, "vm-stop", Ending::Done);
    assert_eq!(due(&mut audit, now).unwrap()[0]["lost"], 4);
    assert_eq!(audit.lost_since, 4, "what the log will say of it, however often it was tried");
    written(&mut audit);
    call(&mut audit, now, "vm-stop", Ending::Done);
    assert_eq!(due(&mut audit, now).unwrap().len(), 1);
    assert!(!audit.answered(FileTicket(2), &FileAnswer::Done), "somebody else's");
}

/// Everything that is to be written until then.
fn all(audit: &mut Audit, now: Now) -> Vec<Value> {
    let mut lines = Vec::new();
    while let Some(some) = due(audit, now.later(DELAY)) {
        lines.extend(some);
        written(audit);
    }
    lines
}

#[test]
fn nobody_makes_the_audit_forget_and_what_changed_something_is_told_however_often() {
    let now = Now::read();
    let (denied, broken) = (Failure::new(code::DENIED, "no"), Failure::new(code::DRIVER, "it broke"));
    let mut audit = Audit::new(Some(settings(Level::All)));
    let stranger =
        Who { transport: "tcp", identity: "tcp 192.0.2.7:5", origin: Origin::address([192, 0, 2, 7].into()), ..WHO };
    for _ in 0..2000 {
        call(&mut audit, now, "vm-start", Ending::Failed(&denied));
        call(&mut audit, now, "vm-show", Ending::Done);
        call(&mut audit, now, "vm-start", Ending::Done);
        call_by(&mut audit, now, WHO, "vm-start", true, Ending::Failed(&broken));
        call_by(&mut audit, now, WHO, "vm-stop", false, Ending::Done);
        call_by(&mut audit, now, WHO, "client-remove", false, Ending::Done);
        audit.came(now, WHO, role::ADMIN, "", None);
        audit.gone(now, WHO, 0, None, 0);
        audit.call_refused(now, stranger, role::OBSERVER, 77, &denied);
    }
    audit.handshake_refused(now, "192.0.2.1:9".parse().unwrap(), "expired", "it is over");
    let lines = all(&mut audit, now);
    let count = |lines: &[Value], key: &str, value: &str| lines.iter().filter(|line| line[key] == value).count();
    assert_eq!(count(&lines, "procedure", "client-remove"), 2000);
    assert_eq!(count(&lines, "verdict", "DRIVER"), 2000);
    assert_eq!(lines.iter().filter(|line| line["procedure"] == "vm-start" && line["verdict"] == "ok").count(), 2000);
    assert_eq!(count(&lines, "procedure", "vm-show") + count(&lines, "procedure", "vm-stop"), 1000);
    assert_eq!(count(&lines, "event", "connected") + count(&lines, "event", "gone"), 1000);
    assert_eq!(count(&lines, "transport", "tcp"), 100);
    assert_eq!(count(&lines, "verdict", "DENIED"), 1000 + 100);
    assert_eq!(count(&lines, "verdict", "expired"), 1);
    assert_eq!(count(&lines, "event", "left-out"), 0);

    assert_eq!(audit.poll_timeout(), Some((now.later(INTERVAL)).monotonic), "nothing wakes it sooner");
    let mut left_out: Vec<String> = all(&mut audit, now.later(INTERVAL))
        .iter()
        .map(|line| {
            let [transport, identity, address, of] = ["transport", "identity", "address", "of"].map(|key| &line[key]);
            format!("{} {transport} {identity} {address} {of} {}", line["event"], line["left_out"])
        })
        .collect();
    left_out.sort();
    assert_eq!(
        left_out,
        [
            r#""left-out" "tcp" null "192.0.2.7" "refusals" 1900"#,
            r#""left-out" "unix" "uid 0" null "looks" 3000"#,
            r#""left-out" "unix" "uid 0" null "refusals" 1000"#,
            r#""left-out" "unix" "uid 0" null "visits" 3000"#,
        ]
    );
    assert_eq!(audit.poll_timeout(), None);
}

#[test]
fn an_agent_that_is_asked_is_as_it_was_and_whoever_asks_in_vain_has_no_lines_rotated_away() {
    let now = Now::read();
    let silent = Failure::new(code::AGENT, "nobody listens").about("vm", "web");
    for level in [Level::Changes, Level::All] {
        let mut audit = Audit::new(Some(settings(level)));
        for _ in 0..2000 {
            call(&mut audit, now, "agent-ping", Ending::Failed(&silent));
        }
        assert_eq!(all(&mut audit, now).len(), 1000);
        let mut audit = Audit::new(Some(settings(level)));
        for _ in 0..2000 {
            call(&mut audit, now, "agent-ping", Ending::Done);
        }
        assert_eq!(all(&mut audit, now).len(), if level == Level::All { 1000 } else { 0 });
    }
}

#[test]
fn what_was_left_out_is_told_when_the_daemon_leaves_and_then_everybody_s_going_is() {
    let now = Now::read();
    let mut audit = Audit::new(Some(settings(Level::Changes)));
    for _ in 0..1001 {
        // One of them is left out.
        audit.came(now, WHO, role::ADMIN, "", None);
    }
    audit.left(now);
    let lines = due(&mut audit, now).unwrap();
    let events: Vec<_> =
        lines[1000..].iter().map(|line| (line["event"].as_str().unwrap(), &line["left_out"])).collect();
    assert_eq!(events, [("left-out", &Value::from(1)), ("left", &Value::Null)]);
    audit.gone(now, WHO, 0, None, 0);
    assert_eq!(audit.unwritten(), 1002 + 1);
    written(&mut audit);
    assert_eq!(due(&mut audit, now).unwrap().len(), 1, "at once, for the daemon does not wait");
    written(&mut audit);
    assert_eq!(audit.unwritten(), 0);
}

#[test]
fn who_wants_every_line_has_every_line() {
    let now = Now::read();
    let rate = Rate { burst: 0, interval: INTERVAL };
    let mut audit = Audit::new(Some(Settings { rate, ..settings(Level::All) }));
    for _ in 0..5000 {
        call(&mut audit, now, "vm-show", Ending::Done);
    }
    assert_eq!(all(&mut audit, now).len(), 5000);
}

#[test]
fn other_settings_are_in_force_from_a_line_on_and_every_line_is_where_it_belongs() {
    let now = Now::read();
    let mut audit = Audit::new(Some(settings(Level::Changes)));
    audit.set(now, Some(&settings(Level::Changes)));
    assert_eq!(audit.poll_timeout(), None, "nothing is new");
    call(&mut audit, now, "vm-start", Ending::Done);
    audit.set(now, Some(&settings(Level::All)));
    call(&mut audit, now, "vm-show", Ending::Done);
    let elsewhere =
        Settings { path: PathBuf::from("/elsewhere.jsonl"), rotate_bytes: 65536, ..settings(Level::Changes) };
    audit.set(now, Some(&elsewhere));
    call(&mut audit, now, "vm-show", Ending::Done);
    call(&mut audit, now, "vm-stop", Ending::Done);
    audit.set(now, None);
    call(&mut audit, now, "vm-start", Ending::Done);
    audit.set(now, Some(&settings(Level::Changes)));
    call(&mut audit, now, "vm-reset", Ending::Done);

    let mut files = Vec::new();
    while let Some((request, records)) = audit.poll_request(now) {
        audit.handed_over(FileTicket(1), records);
        let FileRequest::Append { path, lines, rotate_bytes, .. } = request else { panic!("{request:?}") };
        for line in String::from_utf8(lines).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let said = if line["event"] == "call" { &line["procedure"] } else { &line["level"] };
            let there = line["path"].as_str().unwrap_or_default();
            files.push(format!("{} {rotate_bytes} {} {there}", path.display(), said.as_str().unwrap()));
        }
        written(&mut audit);
    }
    assert_eq!(
        files,
        [
            "/audit.jsonl 1048576 vm-start ",
            "/audit.jsonl 1048576 all /audit.jsonl",
            "/audit.jsonl 1048576 vm-show ",
            "/audit.jsonl 1048576 changes /elsewhere.jsonl",
            "/elsewhere.jsonl 65536 changes /elsewhere.jsonl",
            "/elsewhere.jsonl 65536 vm-stop ",
            "/elsewhere.jsonl 65536 off ",
            "/audit.jsonl 1048576 changes /audit.jsonl",
            "/audit.jsonl 1048576 vm-reset ",
        ]
    );
}
