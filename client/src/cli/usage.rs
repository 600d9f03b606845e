//! A command line that is not understood: what is wrong with it, in our words, and the help where it was asked for.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::output::{Format, Output, PROGRAM};
use super::problem::Problem;
use super::{Exit, command};

/// Tells why `arguments` could not be parsed, or prints the help or the version that they ask for.
pub(super) fn tell(error: &clap::Error, arguments: &[OsString], output: &mut Output) -> Exit {
    let json = asks_for_json(arguments);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match output.write(error.to_string().as_bytes()) {
            Ok(()) => Exit::Ok,
            Err(error) => Problem::from(error).exit,
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            output.help(&error.to_string());
            Exit::Usage
        }
        _ => {
            output.set(if json { Format::Json } else { Format::Table }, true);
            output.problem(&Problem::usage(message(error)).hint(hint(error, arguments)));
            Exit::Usage
        }
    }
}

fn message(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let (argument, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::InvalidValue if value.is_empty() => format!("{argument} has no value"),
        ErrorKind::InvalidValue => {
            format!("{value:?} is no value for {argument}; there are {}", text(ContextKind::ValidValue))
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map_or_else(String::new, |why| match why.downcast_ref::<ParseIntError>() {
                Some(_) => "it is no whole number in range".to_owned(),
                None => why.to_string(),
            });
            format!("{value:?} is no value for {argument}: {why}")
        }
        _ => {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            first.trim_start_matches("error: ").trim_end().to_owned()
        }
    }
}

/// What was meant, how it is written, and where more is to be read.
fn hint(error: &clap::Error, arguments: &[OsString]) -> String {
    let text = error.to_string();
    let parts = text.split("\n\n").skip(1).map(str::trim);
    let tips = parts.filter(|part| !part.starts_with("For more information"));
    let mut lines: Vec<String> = with_its_noun(error).into_iter().collect();
    lines.extend(tips.map(|part| part.trim_start_matches("tip: ").replace("Usage: ", "usage: ")));
    lines.push(format!("more: {} --help", verb(arguments)));
    lines.join("\n")
}

/// As far as `arguments` name a verb: the program, the noun, the verb.
fn verb(arguments: &[OsString]) -> String {
    let (root, mut path) = (command(), PROGRAM.to_owned());
    let mut at = &root;
    for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(next) = at.find_subcommand(word) {
            path = format!("{path} {word}");
            at = next;
        }
    }
    path
}

/// What is meant by a verb without its noun, as in `vmwire start`: every `NOUN VERB` that ends in it.
fn with_its_noun(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let command = command();
    let meant: Vec<String> = command
        .get_subcommands()
        .filter(|noun| noun.get_subcommands().any(|verb| verb.get_name() == word))
        .map(|noun| format!("{PROGRAM} {} {word}", noun.get_name()))
        .collect();
    (!meant.is_empty()).then(|| format!("did you mean {}?", meant.join(" or ")))
}

/// Whether JSON was asked for by a command line that could not be parsed, so that this error is in JSON too.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "-ojson" || argument == "-o=json" || argument == "--output=json")
        || arguments.windows(2).any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> (String, String) {
        let arguments: Vec<OsString> = format!("vmwire {line}").split(' ').map(OsString::from).collect();
        let error = command().try_get_matches_from(&arguments).unwrap_err();
        (message(&error), hint(&error, &arguments))
    }

    #[test]
    fn a_mistake_is_told_in_words_and_where_more_is_to_be_read() {
        let table = [
            (
                "op show abc",
                "\"abc\" is no value for <ID>: it is no whole number in range",
                "more: vmwire op show --help",
            ),
            (
                "-o yaml ping",
                "\"yaml\" is no value for --output <FORMAT>; there are table, json",
                "more: vmwire ping --help",
            ),
            ("vm show", "<VM> is missing", "usage: vmwire vm show <VM>\nmore: vmwire vm show --help"),
            (
                "vm list --filter name>=1",
                "\"name>=1\" is no value for --filter <CONDITION>: the field name has no order; compare it with =, != or ~",
                "more: vmwire vm list --help",
            ),
            (
                "vm wait a --for up",
                "\"up\" is no value for --for <state=STATE,...>: write state=STATE, as in state=running, in place of \"up\"",
                "more: vmwire vm wait --help",
            ),
            (
                "start web",
                "unrecognized subcommand 'start'",
                "did you mean vmwire vm start?\nusage: vmwire [OPTIONS] <COMMAND>\nmore: vmwire --help",
            ),
        ];
        for (line, message, hint) in table {
            assert_eq!(told(line), (message.to_owned(), hint.to_owned()), "{line}");
        }
    }

    #[test]
    fn json_is_heard_even_where_the_rest_is_not_understood() {
        let asks = |words: &[&str]| asks_for_json(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(asks(&["vmwire", "-o", "json", "nonsense"]));
        assert!(asks(&["vmwire", "nonsense", "--output=json"]));
        assert!(asks(&["vmwire", "-ojson"]));
        assert!(!asks(&["vmwire", "json", "-o", "table"]));
    }
}
