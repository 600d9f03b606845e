use super::*;
use crate::json::{Incoming, Reader, write};

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
