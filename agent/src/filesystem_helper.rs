//! Our own program as who freezes and thaws: what may hang for as long as a disk does is done by a child, which can be left behind.
//!
//! It is called with a verb and directories, and says one value on its standard output. It opens nothing but those, for it runs while
//! the file system that it came from is frozen.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{CommandError, reason};
use crate::helper::End;
use crate::json::{Incoming, Reader, Value, write};
use crate::kernel;

/// The program.
pub const PROGRAM: &str = "/proc/self/exe";
/// Its first word; of no use to people.
pub const WORD: &str = "--helper-of-vmwire-ga";

/// A verb and its operands.
///
/// # Errors
/// There is nothing that it could do.
pub fn run(words: &[String]) -> ExitCode {
    let value = match words {
        [verb, directories @ ..] if verb == "freeze" => freeze(directories),
        [verb, directories @ ..] if verb == "thaw" => Value::Integer(thaw(directories)),
        _ => return ExitCode::FAILURE,
    };
    let mut text = String::new();
    write(&value, &mut text);
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the helper said of a verb.
///
/// # Errors
/// It failed, or said so.
pub fn answer(end: &End, verb: &str) -> Result<Value, CommandError> {
    end.demand(&format!("the helper for {verb} failed"))?;
    let End::Exited(_, text) = end else { return Err(CommandError::generic("the helper said nothing")) };
    let mut text = text.clone();
    text.push(b'\n');
    match Reader::new().next(&mut &text[..]) {
        Some(Incoming::Value(Value::String(error))) => Err(CommandError::generic(error)),
        Some(Incoming::Value(value)) => Ok(value),
        _ => Err(CommandError::generic(format!("the helper for {verb} said nothing"))),
    }
}

/// Opens a directory, or a disk.
///
/// # Errors
/// What the system says.
pub fn open(directory: &str) -> io::Result<File> {
    // A mount point that is not what it was is not waited for.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).map_err(io::Error::other)?;
    File::options().read(true).custom_flags(flags).open(directory)
}

/// Freezes file systems, the one mounted last first; says how many that were, or why not all that can be frozen were.
fn freeze(directories: &[String]) -> Value {
    let mut count = 0_i64;
    for directory in directories.iter().rev() {
        let failed = |what: &str, error: &io::Error| {
            thaw(directories);
            Value::String(format!("failed to {what} {directory}: {}", reason(error)))
        };
        let file = match open(directory) {
            Ok(file) => file,
            Err(error) => return failed("open", &error),
        };
        match kernel::freeze(&file) {
            Ok(()) => count += 1,
            // It cannot be frozen, or is already: by another mount of it.
            Err(Errno::OPNOTSUPP | Errno::BUSY) => {}
            Err(error) => return failed("freeze", &error.into()),
        }
    }
    Value::Integer(count)
}

/// Thaws file systems, each as often as it was frozen; says how many were.
fn thaw(directories: &[String]) -> i64 {
    let mut count = 0;
    for directory in directories {
        let Ok(file) = open(directory) else { continue };
        if kernel::thaw(&file).is_ok() {
            count += 1;
            while kernel::thaw(&file).is_ok() {}
        }
    }
    count
}
