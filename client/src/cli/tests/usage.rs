//! The command line as a text: mistakes in it, its help, its examples.

use serde_json::Value;

use super::*;

#[test]
fn a_command_line_that_is_not_understood_is_told_in_the_format_asked_for() {
    let usage = |words: &[&str]| {
        let (out, err) = (Paper::default(), Paper::default());
        let mut output = Output::new(Box::new(out.clone()), Box::new(err.clone()), false);
        let exit = run(["vmwire"].iter().chain(words).map(OsString::from), &mut output);
        (exit, out.text(), err.text())
    };
    let (exit, out, err) = usage(&["vm", "lst", "-o", "json"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert_eq!(serde_json::from_str::<Value>(&err).unwrap()["error"]["code"], "USAGE");
    let (_, _, err) = usage(&["vm", "lst"]);
    assert!(err.contains("hint: some similar subcommands exist"), "{err}");
    let (_, _, err) = usage(&["start", "web"]);
    assert!(err.contains("hint: did you mean vmwire vm start?\n"), "{err}");
    let (_, _, err) = usage(&["list"]);
    assert!(
        err.contains(
            "did you mean vmwire vm list or vmwire op list or vmwire connection list or vmwire client list or \
             vmwire context list?"
        ),
        "{err}"
    );
    let (exit, _, err) = usage(&["-c", "qemu+nc://h/system", "ping"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("there is no transport \"nc\"") && err.contains("hint: "), "{err}");
    let (exit, out, err) = usage(&["vm", "list", "--help"]);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert!(out.contains("Examples:"), "{out}");
    let (exit, out, err) = usage(&[]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("Usage: vmwire"), "{err}");
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn every_verb_shows_examples() {
    fn visit(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let mut leaf = true;
        for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
            leaf = false;
            visit(child, &path);
        }
        if leaf {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:") && help.contains("vmwire "), "{path} has no examples");
        }
        assert!(command.get_about().is_some(), "{path} does not say what it is");
    }
    visit(&command(), "");
}

/// The lines under `Examples:` of every verb, the root's manual page included.
fn examples(command: &clap::Command, found: &mut Vec<String>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (_, lines) = help.split_once("Examples:\n").unwrap_or_default();
    let lines = lines.lines().take_while(|line| line.starts_with("  "));
    found.extend(lines.map(|line| line.trim().to_owned()));
    command.get_subcommands().for_each(|child| examples(child, found));
}

#[test]
fn every_example_is_understood_as_the_shell_passes_it_on() {
    let mut lines = Vec::new();
    examples(&command(), &mut lines);
    lines.extend(man::EXAMPLES.lines().map(|line| line.trim().to_owned()));
    assert!(lines.len() > 40, "{lines:?}");
    let home = tempfile::tempdir().unwrap();
    for place in [".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"] {
        std::fs::create_dir_all(home.path().join(place)).unwrap();
    }
    for line in lines {
        // What is called is written down instead, a word a line; programs beside it do nothing.
        let script = format!(
            "vmwire() {{ printf '%s\\n' -- \"$@\" >> words; }}\njq() {{ cat; }}\nsed() {{ cat; }}\nwireshark() {{ cat; }}\n\
             timeout() {{ shift; \"$@\"; }}\n{line}\n"
        );
        let mut sh = std::process::Command::new("sh");
        sh.args(["-ec", &script]).env("HOME", home.path()).current_dir(home.path());
        assert!(sh.status().unwrap().success(), "{line}");
        let words = std::fs::read_to_string(home.path().join("words")).unwrap();
        std::fs::remove_file(home.path().join("words")).unwrap();
        for words in words.split("--\n").skip(1) {
            let parsed = command().try_get_matches_from(std::iter::once("vmwire").chain(words.lines()));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn the_help_has_the_exit_codes() {
    let help = command().render_long_help().to_string();
    assert!(help.contains("7  what was waited for can never come true"), "{help}");
}
