//! From an exit status and the lines said before it to what they mean. Pure.
//!
//! ssh has one status, 255, for everything that goes wrong with it, and says the rest in words. They have been the same for
//! many years; where they are not known, they are shown, and that is all.

use serde::Deserialize;

use super::error::{Told, Verdict};

/// ssh's own failure, whatever it is.
const SSH_FAILED: i32 = 255;

/// What a shell says of a command that is not there, and of one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// What vmwire on the far side says with `-o json`.
#[derive(Deserialize)]
struct Envelope {
    error: Body,
}

#[derive(Deserialize)]
struct Body {
    exit: u8,
    code: String,
    message: String,
    #[serde(default)]
    causes: Vec<String>,
    hint: Option<String>,
}

/// What an end means before anything came from the daemon. `code` is the exit status, `None` for a signal.
pub(super) fn verdict(code: Option<i32>, status: &str, said: &[String]) -> Verdict {
    if let Some(told) = said.iter().rev().find_map(|line| told(line)) {
        return told;
    }
    match code {
        Some(0) => Verdict::Nothing,
        Some(NOT_FOUND) => Verdict::NoVmwire,
        Some(NOT_EXECUTABLE) => Verdict::NotExecutable,
        Some(SSH_FAILED) => of_words(said).unwrap_or_else(|| Verdict::Other { status: status.to_owned() }),
        _ => Verdict::Other { status: status.to_owned() },
    }
}

fn told(line: &str) -> Option<Verdict> {
    if !line.starts_with("{\"error\":") {
        return None;
    }
    let Envelope { error } = serde_json::from_str(line).ok()?;
    if error.code == "USAGE" {
        return Some(Verdict::TooOld);
    }
    let hint = error.hint.unwrap_or_default();
    Some(Verdict::Told(Box::new(Told { message: error.message, causes: error.causes, hint, exit: error.exit })))
}

/// What ssh's words mean. Those that say more come first: `Host key verification failed` ends all that is about host keys.
fn of_words(said: &[String]) -> Option<Verdict> {
    let table: [(&[&str], Verdict); 14] = [
        (&["REMOTE HOST IDENTIFICATION HAS CHANGED", "HOST IDENTIFICATION HAS CHANGED"], Verdict::HostKeyChanged(None)),
        (&["REVOKED HOST KEY", "marked as revoked"], Verdict::HostKeyRevoked),
        (&["Host key verification failed", "host key is known for"], Verdict::HostKeyUnknown),
        (&["Too many authentication failures"], Verdict::TooManyKeys),
        (&["Permission denied", "No more authentication methods"], Verdict::Denied),
        (&["no matching", "no mutual", "Invalid key length"], Verdict::NoAlgorithm),
        (&["Could not resolve hostname", "Name or service not known"], Verdict::NoSuchHost),
        (&["Bad configuration option", "terminating, ", "Bad owner or permissions"], Verdict::Settings),
        (&["Connection refused"], Verdict::Refused),
        (&["Connection timed out", "Operation timed out", "timed out"], Verdict::Silent),
        (&["No route to host", "Network is unreachable"], Verdict::Unreachable),
        (
            &["Connection closed", "closed by remote host", "Connection reset", "kex_exchange_identification"],
            Verdict::Cut,
        ),
        (&["banner exchange", "ssh_dispatch_run_fatal", "Broken pipe", "Bad packet length"], Verdict::Cut),
        (&["Corrupted MAC", "message authentication code incorrect", "padding error", "Disconnecting"], Verdict::Cut),
    ];
    let found = |words: &[&str]| said.iter().any(|line| words.iter().any(|word| line.contains(word)));
    table.into_iter().find(|(words, _)| found(words)).map(|(_, verdict)| verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_openssh_says_is_understood() {
        let table = [
            ("me@vm1: Permission denied (publickey,password).", Verdict::Denied),
            (
                "@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\nHost key verification failed.",
                Verdict::HostKeyChanged(None),
            ),
            (
                "@       WARNING: REVOKED HOST KEY DETECTED!               @\nHost key verification failed.",
                Verdict::HostKeyRevoked,
            ),
            (
                "No ED25519 host key is known for vm1 and you have requested strict checking.\n\
                 Host key verification failed.",
                Verdict::HostKeyUnknown,
            ),
            ("ssh: Could not resolve hostname vm1: Name or service not known", Verdict::NoSuchHost),
            ("ssh: connect to host vm1 port 22: Connection refused", Verdict::Refused),
            ("ssh: connect to host vm1 port 22: Connection timed out", Verdict::Silent),
            ("Connection timed out during banner exchange", Verdict::Silent),
            ("ssh: connect to host vm1 port 22: No route to host", Verdict::Unreachable),
            (
                "Unable to negotiate with 10.0.0.7 port 22: no matching host key type found. Their offer: ssh-rsa",
                Verdict::NoAlgorithm,
            ),
            ("Received disconnect from 10.0.0.7 port 22:2: Too many authentication failures", Verdict::TooManyKeys),
            ("kex_exchange_identification: Connection closed by remote host", Verdict::Cut),
            ("Connection to 10.0.0.7 closed by remote host.", Verdict::Cut),
            ("Connection reset by 10.0.0.7 port 22", Verdict::Cut),
            ("/home/me/.ssh/config: line 1: Bad configuration option: nonsense", Verdict::Settings),
        ];
        for (said, expected) in table {
            assert_eq!(verdict(Some(255), "exit status: 255", &lines(said)), expected, "{said}");
        }
        let other = Verdict::Other { status: "exit status: 255".into() };
        assert_eq!(verdict(Some(255), "exit status: 255", &lines("from the future")), other);
    }

    #[test]
    fn the_far_side_is_told_from_ssh_itself() {
        let said = lines("sh: 1: vmwire: not found");
        assert_eq!(verdict(Some(127), "exit status: 127", &said), Verdict::NoVmwire);
        assert_eq!(verdict(Some(126), "exit status: 126", &[]), Verdict::NotExecutable);
        assert_eq!(verdict(Some(0), "exit status: 0", &[]), Verdict::Nothing);
        let other = |status: &str| Verdict::Other { status: status.to_owned() };
        // What sshd's banner says is no word of ssh's own.
        let said = lines("Permission denied here for all but admins");
        assert_eq!(verdict(Some(1), "exit status: 1", &said), other("exit status: 1"));
        assert_eq!(verdict(None, "signal: 15", &[]), other("signal: 15"));
    }

    #[test]
    fn what_vmwire_on_the_far_side_says_is_heard_whatever_else_is_said() {
        let told = |exit, hint: &str| {
            Verdict::Told(Box::new(Told {
                message: "cannot connect to /s".into(),
                causes: vec!["No such file".into()],
                hint: hint.into(),
                exit,
            }))
        };
        let line = r#"{"error":{"code":"NO_CONNECTION","exit":3,"message":"cannot connect to /s","object":null,"causes":["No such file"],"hint":"start it","retry_after_ms":null,"details":{}}}"#;
        let said = lines(&format!("Authorized uses only\n{line}\nConnection to vm1 closed."));
        assert_eq!(verdict(Some(3), "exit status: 3", &said), told(3, "start it"));
        let denied = line.replace("\"exit\":3", "\"exit\":4").replace("\"start it\"", "null");
        assert_eq!(verdict(Some(4), "exit status: 4", &[denied]), told(4, ""));
        let usage = line.replace("NO_CONNECTION", "USAGE").replace("\"exit\":3", "\"exit\":2");
        assert_eq!(verdict(Some(2), "exit status: 2", &[usage]), Verdict::TooOld);
        for rubbish in ["{\"error\":", "{\"error\":{}}", "{\"error\":{\"exit\":300,\"code\":\"\",\"message\":\"\"}}"] {
            let other = Verdict::Other { status: "exit status: 3".into() };
            assert_eq!(verdict(Some(3), "exit status: 3", &lines(rubbish)), other, "{rubbish}");
        }
    }
}
