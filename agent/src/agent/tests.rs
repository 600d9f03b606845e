use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::*;
use crate::helper::{End, Program};
use crate::json::{Incoming, Reader, write};
use crate::process::Process;

/// Asks an agent; says what it answers.
fn ask(agent: &mut Agent, text: &str) -> String {
    let Some(Incoming::Value(value)) = Reader::new().next(&mut text.as_bytes()) else { panic!("{text}") };
    match agent.handle(value, Instant::now()) {
        (id, Outcome::Reply(reply)) => String::from_utf8_lossy(&reply.into_line(id)).trim_end().to_owned(),
        (_, outcome) => panic!("{outcome:?}"),
    }
}

fn agent() -> Agent {
    let directory = tempfile::tempdir().unwrap();
    Agent::new(Settings::default(), Log::default(), State::open(directory.path()).unwrap())
}

fn enabled(agent: &mut Agent, name: &str) -> Option<bool> {
    let (_, Outcome::Reply(Reply::Return(info))) =
        agent.handle(Value::object([("execute", "guest-info".into())]), Instant::now())
    else {
        panic!("no info")
    };
    let Some(Value::Array(commands)) = info.member("supported_commands") else { panic!("{info:?}") };
    commands.iter().find(|command| command.member("name") == Some(&name.into())).map(|command| {
        let mut text = String::new();
        write(command.member("enabled").unwrap(), &mut text);
        text == "true"
    })
}

#[test]
fn the_greeting_is_an_answer_and_carries_the_id() {
    let answer = ask(&mut agent(), r#"{"execute":"request-negotiation","id":"x"}"#);
    assert!(
        answer.starts_with(r#"{"return": {"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 0}"#),
        "{answer}"
    );
    assert!(answer.ends_with(r#""capabilities": ["client-disconnect"]}}, "id": "x"}"#), "{answer}");
}

#[test]
fn a_capability_counts_once_it_was_enabled_and_until_somebody_else_negotiates() {
    let mut agent = agent();
    let gone = r#"{"execute":"guest-client-disconnected","arguments":{"client":4}}"#;
    assert!(ask(&mut agent, gone).contains("CommandNotFound"));
    assert_eq!(enabled(&mut agent, "guest-client-disconnected"), Some(false));
    let enable = r#"{"execute":"qmp_capabilities","arguments":{"enable":["client-disconnect"]}}"#;
    assert_eq!(ask(&mut agent, enable), r#"{"return": {}}"#);
    assert_eq!(ask(&mut agent, gone), r#"{"return": {}}"#);
    assert_eq!(ask(&mut agent, gone), r#"{"return": {}}"#);
    ask(&mut agent, r#"{"execute":"request-negotiation"}"#);
    assert!(ask(&mut agent, gone).contains("CommandNotFound"));
    ask(&mut agent, enable);
    agent.connected();
    assert!(ask(&mut agent, gone).contains("CommandNotFound"));
}

#[test]
fn an_unknown_capability_enables_none() {
    let mut agent = agent();
    let answer =
        ask(&mut agent, r#"{"execute":"qmp_capabilities","arguments":{"enable":["client-disconnect","oob"]}}"#);
    assert!(answer.contains("GenericError"), "{answer}");
    assert_eq!(enabled(&mut agent, "guest-client-disconnected"), Some(false));
    assert_eq!(ask(&mut agent, r#"{"execute":"qmp_capabilities"}"#), r#"{"return": {}}"#);
}

#[test]
fn the_support_level_is_the_oldest_until_it_is_set_and_never_below() {
    let mut agent = agent();
    let level = |agent: &mut Agent| ask(agent, r#"{"execute":"guest-info"}"#);
    let oldest = r#""support_level": {"major": 1, "minor": 0, "micro": 0}"#;
    assert!(level(&mut agent).contains(oldest));
    ask(&mut agent, r#"{"execute":"guest-set-support-level","arguments":{"major":1,"minor":2}}"#);
    assert!(level(&mut agent).contains(r#""support_level": {"major": 1, "minor": 2, "micro": 0}"#));
    agent.connected();
    assert!(level(&mut agent).contains(r#""minor": 2"#));
    ask(&mut agent, r#"{"execute":"guest-set-support-level","arguments":{"major":0,"minor":9,"micro":1}}"#);
    assert!(level(&mut agent).contains(oldest));
    let missing = ask(&mut agent, r#"{"execute":"guest-set-support-level","arguments":{"major":1}}"#);
    assert!(missing.contains("Parameter 'minor' is missing"), "{missing}");
}

#[test]
fn a_blocked_command_is_disabled_even_if_it_is_allowed() {
    let mut agent = agent();
    agent.settings.blocked = vec!["guest-ping".to_owned(), "no-such-command".to_owned()];
    let answer = ask(&mut agent, r#"{"execute":"guest-ping","id":1}"#);
    let disabled =
        r#"{"error": {"class": "CommandNotFound", "desc": "Command guest-ping has been disabled"}, "id": 1}"#;
    assert_eq!(answer, disabled);
    agent.settings.allowed = vec!["guest-ping".to_owned(), "guest-info".to_owned()];
    assert_eq!(ask(&mut agent, r#"{"execute":"guest-ping","id":1}"#), disabled);
    assert_eq!(enabled(&mut agent, "guest-sync"), Some(false));
    assert_eq!(enabled(&mut agent, "guest-info"), Some(true));
}

#[test]
fn a_disabled_command_is_refused_before_its_arguments() {
    let mut agent = agent();
    agent.settings.blocked = vec!["guest-sync".to_owned()];
    assert!(ask(&mut agent, r#"{"execute":"guest-sync","arguments":{"x":1}}"#).contains("CommandNotFound"));
}

#[test]
fn an_unknown_command_is_named() {
    let answer = ask(&mut agent(), r#"{"execute":"guest-nope"}"#);
    assert_eq!(
        answer,
        r#"{"error": {"class": "CommandNotFound", "desc": "The command guest-nope has not been found"}}"#
    );
}

#[test]
fn while_frozen_only_what_touches_nothing_is_done() {
    let mut agent = agent();
    agent.freezer.freeze(Instant::now());
    let harmless = [
        "guest-sync-delimited",
        "guest-sync",
        "guest-ping",
        "guest-info",
        "guest-fsfreeze-status",
        "guest-fsfreeze-thaw",
        "request-negotiation",
        "qmp_capabilities",
        "guest-set-support-level",
    ];
    for command in command::TABLE {
        assert_eq!(enabled(&mut agent, command.name), Some(harmless.contains(&command.name)), "{}", command.name);
    }
    let answer = ask(&mut agent, r#"{"execute":"guest-file-close","arguments":{"x":1}}"#);
    assert_eq!(
        answer,
        r#"{"error": {"class": "CommandNotFound", "desc": "Command guest-file-close has been disabled: the agent is in frozen state"}}"#
    );
    agent.freezer.thaw();
    assert_eq!(enabled(&mut agent, "guest-exec"), Some(true));
}

#[test]
fn nothing_is_logged_from_the_freeze_to_the_thaw() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = Log::new(Some(std::fs::File::create(&path).unwrap()), true);
    let mut agent = Agent::new(Settings::default(), log, State::open(directory.path()).unwrap());
    // The helper that would freeze is never started.
    let freeze = Value::object([("execute", "guest-fsfreeze-freeze".into())]);
    let (_, outcome) = agent.handle(freeze, Instant::now());
    assert!(matches!(outcome, Outcome::Task(_)), "{outcome:?}");
    let marker = directory.path().join("qga.state.isfrozen");
    assert!(marker.exists());
    let before = std::fs::read_to_string(&path).unwrap();
    agent.log.say(Level::Critical, "this would never return");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    agent.thawed();
    assert!(!marker.exists());
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("logging re-enabled due to filesystem unfreeze\n"));
}

/// What a command wants to have run.
fn begin(agent: &mut Agent, command: &str) -> (Program, command::Then) {
    let (_, outcome) = agent.handle(Value::object([("execute", command.into())]), Instant::now());
    program(outcome)
}

fn program(outcome: Outcome) -> (Program, command::Then) {
    match outcome {
        Outcome::Task(Task::Program(program, then)) => (program, then),
        outcome => panic!("{outcome:?}"),
    }
}

/// The end of a helper that said this.
fn said(text: &str) -> End {
    End::Exited(ExitStatus::from_raw(0), text.as_bytes().to_vec())
}

/// What is answered when a program ended so.
fn answer(agent: &mut Agent, then: command::Then, end: End) -> String {
    match agent.resume(then, end) {
        Outcome::Reply(reply) => String::from_utf8_lossy(&reply.into_line(None)).trim_end().to_owned(),
        outcome => panic!("{outcome:?}"),
    }
}

/// Somebody whom killing does not end, as the kernel keeps them; and how it lets them go.
fn hang(agent: &mut Agent, purpose: Purpose) -> impl FnOnce(&mut Agent) + use<> {
    let child = Process::from(&std::process::Command::new("sleep").arg("1000").spawn().unwrap());
    let pid = rustix::process::Pid::from_raw(child.id()).unwrap();
    agent.leaving.add(child, purpose);
    move |agent| {
        Process::from(pid).kill();
        let begin = Instant::now();
        while agent.leaving.hangs(purpose) {
            assert!(begin.elapsed().as_secs() < 60, "it does not end");
            agent.leaving.tidy();
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_freeze_that_hangs_is_not_thawed_before_it_is_over() {
    let directory = tempfile::tempdir().unwrap();
    for freeze_lease in [None, Some(Duration::from_secs(1000))] {
        let settings = Settings { freeze_lease, ..Settings::default() };
        let mut agent = Agent::new(settings, Log::default(), State::open(directory.path()).unwrap());
        let marker = directory.path().join("qga.state.isfrozen");
        let (helper, then) = begin(&mut agent, "guest-fsfreeze-freeze");
        let let_go = hang(&mut agent, helper.purpose);
        // What can be thawed is, but what hangs may freeze after that.
        let (_, then) = program(agent.resume(then, End::TooLong));
        assert!(answer(&mut agent, then, said("0")).contains("child process took too long and was killed"));
        let (_, then) = begin(&mut agent, "guest-fsfreeze-thaw");
        assert!(answer(&mut agent, then, said("0")).contains("still hangs in the kernel"));
        assert_eq!(ask(&mut agent, r#"{"execute":"guest-fsfreeze-status"}"#), r#"{"return": "frozen"}"#);
        assert!(ask(&mut agent, r#"{"execute":"guest-fsfreeze-freeze"}"#).contains("the agent is in frozen state"));
        assert!(marker.exists());
        // Nothing wakes it but the end of who hangs.
        assert!(agent.look_after(Instant::now()).is_none());
        assert_eq!(agent.deadline(), None);

        // That one dies when the disk is back, and has frozen it.
        let_go(&mut agent);
        assert!(agent.deadline().is_some_and(|deadline| deadline <= Instant::now()));
        let (_, then) = program(agent.look_after(Instant::now()).unwrap());
        answer(&mut agent, then, said("1"));
        assert_eq!(ask(&mut agent, r#"{"execute":"guest-fsfreeze-status"}"#), r#"{"return": "thawed"}"#);
        assert!(!marker.exists());
        // Whoever asked for the freeze was told that there is none.
        let (_, then) = begin(&mut agent, "guest-fsfreeze-thaw");
        assert_eq!(answer(&mut agent, then, said("0")), r#"{"return": 0}"#);
    }
}

#[test]
fn a_thaw_counts_that_began_when_nothing_hung() {
    let mut agent = agent();
    agent.freezer.freeze(Instant::now());
    let let_go = hang(&mut agent, Purpose::Freeze);
    let (_, then) = begin(&mut agent, "guest-fsfreeze-thaw");
    // It may have frozen behind the back of the thaw that is under way.
    let_go(&mut agent);
    assert!(answer(&mut agent, then, said("0")).contains("still hangs in the kernel"));
    assert!(agent.freezer.is_frozen());
    let (_, then) = begin(&mut agent, "guest-fsfreeze-thaw");
    assert_eq!(answer(&mut agent, then, said("1")), r#"{"return": 1}"#);
    assert!(!agent.freezer.is_frozen());
}

#[test]
fn while_a_thaw_hangs_the_agent_begins_no_other_by_itself() {
    let mut agent = agent();
    agent.freezer.freeze(Instant::now());
    let later = agent.deadline().unwrap();
    let (helper, _) = begin(&mut agent, "guest-fsfreeze-thaw");
    let let_go = hang(&mut agent, helper.purpose);
    assert!(agent.look_after(later).is_none());
    assert_eq!(agent.deadline(), None);
    let_go(&mut agent);
    assert_eq!(agent.deadline(), Some(later));
    assert!(matches!(agent.look_after(later), Some(Outcome::Task(_))));
}
