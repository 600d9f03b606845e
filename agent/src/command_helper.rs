//! Our own program as who does a command: one that asks a file system, the kernel's tree of devices or a disk may take as long as those
//! like, so a child does it, within the deadline. It is called with the command's name, reads the arguments, and says the answer.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::command::{Done, Run, Task, find};
use crate::dispatch::{Reply, Told};
use crate::error::CommandError;
use crate::helper::End;
use crate::json::{Incoming, Reader, Value, write_exactly};
use crate::leaving::Purpose;

/// Its first word; of no use to people.
pub const WORD: &str = "--command-of-vmwire-ga";

/// Has a command done within a span.
pub fn task(name: &'static str, arguments: Vec<(String, Value)>, span: Duration) -> Done {
    let mut text = String::new();
    write_exactly(&Value::Object(arguments), &mut text);
    text.push('\n');
    Task::by_ourselves(Purpose::Command, &[WORD, name], text.into_bytes(), span, move |_, end| {
        end.demand(&format!("the helper for {name} failed"))?;
        let End::Exited(_, said) = end else { return Err(CommandError::generic("the helper said nothing")) };
        let told = Told::new(said);
        told.map(Done::Told).ok_or_else(|| CommandError::generic(format!("the helper for {name} said nothing")))
    })
}

/// Does the command of that name.
pub fn run(words: &[String]) -> ExitCode {
    let command = words.first().and_then(|name| find(name));
    let Some(Run::Elsewhere(run, _)) = command.map(|command| &command.run) else { return ExitCode::FAILURE };
    let mut text = Vec::new();
    if io::stdin().read_to_end(&mut text).is_err() {
        return ExitCode::FAILURE;
    }
    let Some(Incoming::Value(Value::Object(arguments))) = Reader::new().next(&mut &text[..]) else {
        return ExitCode::FAILURE;
    };
    drop(text);
    let reply = Reply::from(run(&mut Arguments::new(arguments)));
    match io::stdout().write_all(&reply.into_line(None)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
