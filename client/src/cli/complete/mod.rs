//! `vmwire completion` and what its scripts ask: the hidden `vmwire complete -- WORD...`.
//!
//! A script only says which words stand before the cursor and puts in what it is told, so every shell offers the same:
//! verbs and options out of the definition of the command line, values out of [`values`], the names of virtual machines
//! from the daemon. Whatever goes wrong meanwhile is silence: a person who presses a key has not asked for an error.

mod values;

use std::ffi::OsString;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap_complete::engine;
use values::Known;

use super::problem::Problem;
use super::{Context, Exit, command, target, text};
use crate::connection::{Connection, Options};
use crate::contexts::{Contexts, is_name};
use crate::transport::{Environment, Location, Place};
use crate::uri::Uri;

/// How long a person waits for the names: less than would make them press the key again.
const PATIENCE: Duration = Duration::from_millis(300);

/// A shell that a completion script is there for.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire completion bash > ~/.local/share/bash-completion/completions/vmwire\n  \
                        vmwire completion zsh > ~/.zfunc/_vmwire\n  \
                        vmwire completion fish > ~/.config/fish/completions/vmwire.fish\n\n\
                        For this shell only: source <(vmwire completion bash)\n")]
pub(crate) struct CompletionArguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompleteArguments {
    /// The command line up to the cursor; its last word, which may be empty, is to be completed
    #[arg(last = true, value_name = "WORD")]
    words: Vec<OsString>,
}

/// Prints a script.
pub(crate) fn completion(arguments: &CompletionArguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let script = match arguments.shell {
        Shell::Bash => include_str!("vmwire.bash"),
        Shell::Zsh => include_str!("vmwire.zsh"),
        Shell::Fish => include_str!("vmwire.fish"),
    };
    context.output.write(script.as_bytes())?;
    Ok(Exit::Ok)
}

/// Prints what the last word may become: a line each, what it is behind a tab.
pub(crate) fn complete(arguments: &CompleteArguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    if let Some(connect) = connect(&arguments.words) {
        context.meant = super::Meant::Said(Some(connect));
    }
    let uri = match hosts(&arguments.words) {
        Some(list) => target::hosts(&[list]).ok().and_then(|hosts| hosts.into_iter().next()).map(|host| host.uri),
        None => context.uri().ok(),
    };
    let names = move || uri.as_ref().map(names).unwrap_or_default();
    let lines = candidates(&arguments.words, names, target::read().unwrap_or_default()).concat();
    context.output.write(lines.as_bytes())?;
    Ok(Exit::Ok)
}

fn candidates(
    words: &[OsString],
    names: impl Fn() -> Vec<String> + Clone + Send + Sync + 'static,
    contexts: Contexts,
) -> Vec<String> {
    let Some(last) = words.last() else { return Vec::new() };
    // What a daemon calls a machine goes onto a command line unquoted, to be run by the next key, and what begins with a
    // colon tells the script what to do; no real daemon has such a name.
    let names = move || names().into_iter().filter(|name| is_name(name)).collect();
    let mut command = values::attach(command(), &Known { names, contexts: Arc::new(contexts) });
    let found = engine::complete(&mut command, words.to_vec(), words.len() - 1, None).unwrap_or_default();
    let found = found.iter().map(|candidate| {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        (candidate.get_value().to_string_lossy(), help.lines().next().unwrap_or_default().to_owned())
    });
    let (options, others): (Vec<_>, Vec<_>) = found.partition(|(value, _)| value.starts_with('-'));
    // Options are offered to whoever begins one, and where there is nothing else.
    let wanted = if others.is_empty() || last.to_string_lossy().starts_with('-') { options } else { others };
    let safe = wanted.into_iter().filter(|(value, _)| !value.contains(text::acts));
    safe.map(|(value, help)| format!("{value}\t{}\n", text::line(&help))).collect()
}

/// The daemon that is named on the command line, wherever that stands.
fn connect(words: &[OsString]) -> Option<String> {
    option(words, "-c", "--connect")
}

/// The same of several.
fn hosts(words: &[OsString]) -> Option<String> {
    option(words, "-H", "--hosts")
}

/// The value of an option that every verb has.
fn option(words: &[OsString], short: &str, long: &str) -> Option<String> {
    let (_, before) = words.split_last()?;
    let mut words = before.iter().map(|word| word.to_string_lossy());
    let mut found = None;
    while let Some(word) = words.next() {
        let joined = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        if word == short || word == long {
            found = words.next().map(std::borrow::Cow::into_owned);
        } else if let Some(value) = joined.or_else(|| word.strip_prefix(short)) {
            found = Some(value.trim_start_matches('=').to_owned());
        }
    }
    found
}

/// The names of the virtual machines. No daemon is started for that, and a slow one is not waited for.
fn names(uri: &Uri) -> Vec<String> {
    let environment = Environment::of_process();
    let uri = match Location::of(uri, &environment).map(|location| location.place) {
        Ok(Place::Unix(socket)) => Uri::from_socket(socket),
        Ok(Place::Tcp(_) | Place::Tls { .. }) => uri.clone(),
        // Logging in takes longer than that, and may ask something.
        Ok(Place::Ssh(_)) | Err(_) => return Vec::new(),
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let options = Options { connect_timeout: PATIENCE, reconnect: Duration::ZERO, ..Options::default() };
        let names = Connection::open(&uri, &environment, options)
            .and_then(|mut connection| connection.vm_names(Some(PATIENCE)))
            .map(|(_, names)| names);
        // Whoever asked may have given up.
        let _ = sender.send(names.unwrap_or_default());
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contexts::{self, ContextsFile};

    fn some_contexts() -> Contexts {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment { home: Some(home.path().to_owned()), ..Environment::default() };
        let file = ContextsFile::of(&environment).unwrap();
        for (name, port) in [("vm1", 1), ("vm2", 2)] {
            let uri = format!("qemu+tcp://h:{port}/system").parse().unwrap();
            let context = contexts::Context { name: name.to_owned(), uri, groups: ["prod".to_owned()].into() };
            file.add(context, false).unwrap();
        }
        file.read().unwrap()
    }

    /// What is offered for a command line of words, the last of which is not whole.
    fn offered(line: &str) -> Vec<String> {
        let words: Vec<OsString> = format!("vmwire {line}").split(' ').map(OsString::from).collect();
        let names = || vec!["db".to_owned(), "web-1".to_owned(), "web-2".to_owned(), "e\u{1b}vil".to_owned()];
        let lines = candidates(&words, names, some_contexts());
        lines.iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_kind_of_value_is_offered() {
        let table: [(&str, &[&str]); 28] = [
            ("v", &["vm", "version"]),
            ("vm re", &["reboot", "reset", "resume"]),
            ("vm start web", &["web-1", "web-2"]),
            ("vm start db w", &["web-1", "web-2"]),
            ("vm start --paused d", &["db"]),
            ("vm show ", &["db", "web-1", "web-2"]),
            ("event follow --vm=w", &["--vm=web-1", "--vm=web-2"]),
            ("vm list --fi", &["--fields", "--filter"]),
            ("vm list --fields na", &["name"]),
            ("vm list --fields name,st", &["name,state"]),
            ("vm list --filter st", &["state="]),
            ("vm list --filter state=ru", &["state=running"]),
            ("vm list --filter state!=p", &["state!=paused"]),
            ("vm list --filter autostart=", &["autostart=yes", "autostart=no"]),
            ("vm list --filter name=d", &["name=db"]),
            ("vm wait db --for st", &["state="]),
            ("vm wait db --for state=running,pa", &["state=running,paused"]),
            ("-o ", &["table", "json"]),
            ("event follow --kind vm-s", &["vm-state"]),
            ("-c t", &["test:///default"]),
            ("-c v", &["vm1", "vm2"]),
            ("-H p", &["prod"]),
            ("-H vm2,v", &["vm2,vm1", "vm2,vm2"]),
            ("context use ", &["vm1", "vm2"]),
            ("context remove vm1 v", &["vm1", "vm2"]),
            ("context add x test:///default --group p", &["prod"]),
            ("vm shutdown --then s", &["stop"]),
            ("vm define ./w", &[":files"]),
        ];
        for (line, expected) in table {
            assert_eq!(offered(line), expected, "{line}");
        }
        assert_eq!(offered("op show "), ["--connect", "--hosts", "--output", "--timeout", "--no-header", "--help"]);
        assert_eq!(offered("nonsense x"), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_a_shell_would_heed_is_not_offered() {
        let bad = [
            "w$(touch${IFS}pwn)",
            "w;id",
            "w`id`",
            "w id",
            "w'",
            "w\\",
            "w\n:files",
            "w\tx",
            "w*",
            "w=",
            "wé",
            "w\u{1b}",
            ":files",
            ":directories",
            "-w",
            "--help",
            ".w",
            "~w",
            "",
            "w/../x",
        ];
        let mut names = bad.map(str::to_owned).to_vec();
        names.extend(["w".repeat(65), "w".repeat(64), "w.1_-".to_owned()]);
        for line in
            ["vm start w", "vm start ", "vm start :", "vm start ~", "vm list --filter name=", "event follow --vm="]
        {
            let words: Vec<OsString> = format!("vmwire {line}").split(' ').map(OsString::from).collect();
            let names = names.clone();
            let offered = candidates(&words, move || names.clone(), Contexts::default()).concat();
            let values = offered.lines().map(|line| line.split('\t').next().unwrap());
            let values: Vec<_> = values.map(|value| value.rsplit('=').next().unwrap()).collect();
            let wanted = ["w".repeat(64), "w.1_-".to_owned()];
            let wanted: &[String] = if line.ends_with([':', '~']) { &[] } else { &wanted };
            assert_eq!(values, wanted, "{line}");
        }
    }

    #[test]
    fn the_daemon_asked_is_the_one_on_the_command_line() {
        let uri = |line: &str| connect(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(uri("vmwire -c test:///default vm start "), Some("test:///default".into()));
        assert_eq!(uri("vmwire vm start --connect=a -cb "), Some("b".into()));
        assert_eq!(uri("vmwire vm start -c"), None, "that is what is being typed");
        let words = ["vmwire", "-Ha,b", "vm", "start", "--hosts=c", ""].map(OsString::from);
        assert_eq!(hosts(&words), Some("c".into()));
        assert_eq!(hosts(&words[..4]), Some("a,b".into()));
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let uri = Uri::from_socket(directory.path().join("s"));
        assert_eq!(names(&uri), Vec::<String>::new());
        let _listens = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(names(&uri), Vec::<String>::new());
        assert!(began.elapsed() < PATIENCE * 100, "{:?}", began.elapsed());
    }
}
