//! One script, asked of qemu-ga and of ours in guests that are alike. What differs is listed in `differences`, a reason a line; what is
//! listed and does not differ is as wrong as what differs and is not listed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::{Machine, Plan};
use crate::port::Port;
use crate::script::{Step, steps};

/// How a request was answered, without what differs from one moment to the next.
type Answers = Vec<(String, Vec<String>)>;

fn ask_all(test: &str, program: &str) -> Option<Answers> {
    let qemu = ["-drive", "file={}/second,format=raw,if=none,id=second", "-device", "nvme,drive=second,serial=one"];
    let plan = Plan { program, words: "-F/etc/hook", qemu: &qemu, kernel: "", programs: &[] };
    let machine = Machine::planned(test, &plan)?;
    let mut port = machine.agent();
    let mut pid = json!(0);
    Some(steps().into_iter().map(|step| answer(&mut port, step, &mut pid)).collect())
}

fn answer(port: &mut Port, step: Step, pid: &mut Value) -> (String, Vec<String>) {
    let bytes = match String::from_utf8(step.bytes) {
        Ok(text) => text.replace("\"$pid\"", &pid.to_string()).into_bytes(),
        Err(error) => error.into_bytes(),
    };
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let lines = port.answers(&bytes);
        let values: Vec<Option<Value>> = lines.iter().map(|line| serde_json::from_slice(line).ok()).collect();
        for value in values.iter().flatten() {
            if value["return"]["pid"].is_number() {
                *pid = value["return"]["pid"].clone();
            }
        }
        let waits = step.until_exited && values.iter().flatten().any(|value| value["return"]["exited"] == json!(false));
        if waits && Instant::now() < end {
            continue;
        }
        let shown = lines.iter().zip(values).map(|(line, value)| match value {
            Some(mut value) => {
                normalise(&step.label, &mut value);
                value.to_string()
            }
            // The answer to `guest-sync-delimited`, or no JSON at all.
            None => line.escape_ascii().to_string(),
        });
        return (step.label.clone(), shown.collect());
    }
}

/// What only one of them has.
fn is_known_to_one(command: &Value) -> bool {
    const NAMES: [&str; 7] = [
        "guest-get-devices",
        "guest-get-load",
        "guest-network-get-route",
        "request-negotiation",
        "qmp_capabilities",
        "guest-set-support-level",
        "guest-client-disconnected",
    ];
    command["name"].as_str().is_some_and(|name| NAMES.contains(&name))
}

/// Takes away what is different each time, and the order of what has none.
pub(crate) fn normalise(label: &str, value: &mut Value) {
    const COUNTERS: [&str; 5] =
        ["guest-get-time", "guest-get-diskstats", "guest-get-cpustats", "guest-get-load", "guest-get-users"];
    const VOLATILE: [&str; 4] = ["pid", "used-bytes", "total-bytes", "statistics"];
    match value {
        Value::Object(members) => {
            if let Some(Value::Array(commands)) = members.get_mut("supported_commands") {
                commands.retain(|command| !is_known_to_one(command));
                members.remove("version");
                members.remove("support_level");
            }
            members.remove("total-bytes-privileged");
            for (key, value) in members.iter_mut() {
                if VOLATILE.contains(&key.as_str()) || (value.is_number() && COUNTERS.contains(&label)) {
                    *value = json!("*");
                }
                normalise(label, value);
            }
        }
        Value::Array(values) => {
            for value in values.iter_mut() {
                normalise(label, value);
            }
            values.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

#[test]
fn answers_as_qemu_ga_does_but_for_what_is_listed() {
    let test = "answers_as_qemu_ga_does_but_for_what_is_listed";
    let Some(theirs) = ask_all(test, "/bin/qemu-ga") else { return };
    let ours = ask_all(test, "/bin/vmwire-ga").unwrap();
    assert!(ours.len() >= 400, "{} requests", ours.len());
    // What one of them does not say at all would not differ.
    for answers in [&theirs, &ours] {
        let (_, disks) = answers.iter().find(|(label, _)| label == "guest-get-disks").unwrap();
        assert!(disks[0].contains("\"percentage-used\":0"), "{disks:?}");
    }
    let listed: Vec<(&str, &str)> = include_str!("differences")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(" | ").unwrap_or_else(|| panic!("no reason: {line}")))
        .collect();
    let mut used = vec![false; listed.len()];
    let mut wrong = String::new();
    for ((label, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        if theirs == ours {
            continue;
        }
        // A label that ends with a star stands for all that begin so.
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(begin) => label.starts_with(begin),
            None => label == pattern,
        };
        match listed.iter().position(|(pattern, _)| fits(pattern)) {
            Some(place) => used[place] = true,
            None => wrong.push_str(&format!(
                "{label}\n  theirs {}\n  ours   {}\n",
                theirs.join("\n         "),
                ours.join("\n         ")
            )),
        }
    }
    for ((pattern, _), used) in listed.iter().zip(used) {
        if !used {
            wrong.push_str(&format!("listed, and does not differ: {pattern}\n"));
        }
    }
    println!("{} requests", ours.len());
    assert!(wrong.is_empty(), "\n{wrong}");
}
