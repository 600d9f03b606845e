//! What is told, when it is due, and what becomes of it where it cannot be written.

use serde_json::Value;

use super::*;

fn settings(level: Level) -> Settings {
    Settings { path: PathBuf::from("/audit.jsonl"), level, rotate_bytes: 1 << 20, keep: 3 }
}

fn procedure(name: &str) -> &'static Procedure {
    vmwire_protocol::message::PROCEDURES.iter().find(|procedure| procedure.name == name).unwrap()
}

/// Tells of a call by an observer, or by an admin where it needs more.
fn call(audit: &mut Audit, now: Now, name: &str, ending: Ending<'_>) {
    let procedure = procedure(name);
    let who = Who { connection: 7, transport: "unix", identity: "uid 0", address: None };
    let object = Object { kind: "vm", name: "web".to_owned(), uuid: Some(Uuid::from_u128(5)), granted: 0 };
    let duration = Duration::from_micros(250);
    let (object, operation) =
        (Some(&object).filter(|_| audit.tells(procedure)), Some(12).filter(|_| changes(procedure)));
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
    assert_eq!(lines.len() + 1, told, "the last one did not fit");
    assert!(lines.len() > 200);
    assert_eq!(due(&mut audit, now.later(DELAY)), None, "one at a time");
    assert_eq!(audit.poll_timeout(), None, "its answer is what is waited for");
    written(&mut audit);
    assert_eq!(due(&mut audit, now).unwrap().len(), 1);
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

#[test]
fn whoever_may_do_nothing_cannot_make_the_audit_forget() {
    let now = Now::read();
    let denied = Failure::new(code::DENIED, "no");
    let mut audit = Audit::new(Some(settings(Level::Changes)));
    for _ in 0..5000 {
        call(&mut audit, now, "vm-show", Ending::Failed(&denied));
    }
    let later = now.later(Duration::from_millis(10));
    audit.handshake_refused(later, "192.0.2.1:9".parse().unwrap(), "expired", "it is over");
    let mut lines = Vec::new();
    while let Some(some) = due(&mut audit, later) {
        lines.extend(some);
        written(&mut audit);
    }
    assert_eq!(lines.len(), 1002);
    assert_eq!((&lines[1000]["event"], &lines[1000]["left_out"]), (&Value::from("left-out"), &Value::from(4000)));
    assert_eq!((&lines[1001]["event"], &lines[1001]["verdict"]), (&Value::from("handshake"), &Value::from("expired")));
}
