//! `vmwire vm define` and `vmwire vm definition`: TOML in, and the same TOML out.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use vmwire_protocol::message::{VmCall, VmDefineCall};
use vmwire_protocol::xdr::Text;

use super::super::named::VmRefJson;
use super::super::output::{Align, Format, Output, Table};
use super::super::problem::Problem;
use super::super::stood::Standing;
use super::super::{Context, Exit};
use super::several::tell;
use super::vm;
use crate::request;

/// Standard input, which can be read only once, by however many who need it.
#[derive(Debug, Default)]
pub(in crate::cli) struct Stdin(Mutex<Option<Vec<u8>>>);

impl Stdin {
    /// What it holds, and no more of it than so many bytes.
    fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = &*known {
            return Ok(bytes.clone());
        }
        let mut bytes = Vec::new();
        let _standing = Standing::begin();
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
        Ok(known.insert(bytes).clone())
    }
}

/// What the wire has room for.
const DEFINITION_BYTES_MAX: usize = 49152;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire vm define web.toml\n  vmwire vm define --replace web.toml db.toml\n  \
                        vmwire vm definition web | sed 's/^memory = .*/memory = \"2GiB\"/' | vmwire vm define --replace -\n")]
pub(crate) struct DefineArguments {
    /// The definitions, one in each file; - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Take the place of stopped ones of the same name or uuid
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire vm definition web\n  vmwire vm definition web > web.toml\n")]
pub(crate) struct DefinitionArguments {
    /// Name or uuid
    #[arg(value_name = "VM")]
    vm: String,
}

#[derive(Serialize)]
struct DefinedJson {
    vm: VmRefJson,
    operation: u64,
}

#[derive(Serialize)]
struct DefinitionJson {
    definition: String,
}

/// Defines one out of each file, all at once.
pub(crate) fn define(arguments: &DefineArguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let files = &arguments.files;
    if files.iter().filter(|file| is_stdin(file)).count() > 1 {
        return Err(Problem::usage("standard input can be read only once"));
    }
    let calls: Vec<_> = files.iter().map(|file| call(file, arguments.replace, &context.stdin)).collect();
    if calls.iter().all(Result::is_err) {
        let problems = calls.into_iter().filter_map(Result::err).map(Err);
        return report(context.output, problems);
    }
    let mut connection = context.connect()?;
    let mut pending = Vec::new();
    for call in calls {
        pending.push(call.map(|call| connection.begin(call, context.timeout)));
    }
    let outcomes = files.iter().zip(pending).map(|(file, call)| {
        let answer = call?.and_then(|call| connection.wait(call)).map_err(|error| in_file(error.into(), file))?;
        Ok(DefinedJson { vm: VmRefJson::from(&answer.vm), operation: answer.operation })
    });
    report(context.output, outcomes)
}

fn report(output: &mut Output, outcomes: impl Iterator<Item = Result<DefinedJson, Problem>>) -> Result<Exit, Problem> {
    let (done, exit) = tell(output, outcomes);
    if !done.is_empty() || output.format() == Format::Json {
        output.thing(&done, |done| {
            let mut table = Table::new([("", Align::Left); 3]);
            for defined in done {
                table.row([defined.vm.name.as_str(), "defined", &format!("operation {}", defined.operation)]);
            }
            table
        })?;
    }
    Ok(exit)
}

fn call(file: &Path, replace: bool, stdin: &Stdin) -> Result<request::VmDefine, Problem> {
    Ok(request::VmDefine(VmDefineCall { definition: read(file, stdin)?, replace }))
}

/// What is wrong with the text is wrong with the file.
fn in_file(problem: Problem, file: &Path) -> Problem {
    match problem.object {
        None if problem.details.contains_key("line") => problem.about("file", &shown(file)),
        _ => problem,
    }
}

pub(crate) fn print(arguments: &DefinitionArguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let call = VmCall { vm: vm(&arguments.vm)? };
    let answer = context.connect()?.call(request::VmDefinition(call), context.timeout)?;
    if context.output.format() == Format::Json {
        context.output.json(&DefinitionJson { definition: answer.definition.into_string() })?;
    } else {
        context.output.foreign_text(&answer.definition)?;
    }
    Ok(Exit::Ok)
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// What a file is called in messages.
fn shown(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

/// Reads a definition, and no more of an endless file than shows that it is too long.
fn read(file: &Path, stdin: &Stdin) -> Result<Text<DEFINITION_BYTES_MAX>, Problem> {
    let shown = shown(file);
    let failed = |error: &io::Error| Problem::local(format!("cannot read {shown}"), error);
    let limit = u64::try_from(DEFINITION_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    if is_stdin(file) {
        bytes = stdin.read(limit).map_err(|error| failed(&error))?;
    } else {
        let file = std::fs::File::open(file).map_err(|error| failed(&error))?;
        file.take(limit).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    }
    if bytes.len() > DEFINITION_BYTES_MAX {
        return Err(Problem::usage(format!("{shown} is longer than a definition may be"))
            .hint(format!("at most {DEFINITION_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::usage(format!("{shown} is no text: byte {at} is not UTF-8"))
    })?;
    Text::new(text).map_err(|_| Problem::usage(format!("{shown} is no text: it holds a NUL byte")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &Path) -> Result<Text<DEFINITION_BYTES_MAX>, Problem> {
        super::read(file, &Stdin::default())
    }

    #[test]
    fn a_file_is_read_as_it_is_or_refused_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("d.toml");
        let put = |bytes: &[u8]| std::fs::write(&file, bytes).unwrap();
        put(b"name = \"w\"\r\n# \xc3\xa4\n");
        assert_eq!(read(&file).unwrap(), "name = \"w\"\r\n# ä\n");
        put(&vec![b'#'; DEFINITION_BYTES_MAX]);
        assert!(read(&file).is_ok());
        put(&vec![b'#'; DEFINITION_BYTES_MAX + 1]);
        assert!(read(&file).unwrap_err().message.contains("longer"));
        put(b"ok \xff");
        assert!(read(&file).unwrap_err().message.contains("byte 3"));
        put(b"a\0b");
        assert!(read(&file).unwrap_err().message.contains("NUL"));
        assert_eq!(read(&directory.path().join("none")).unwrap_err().code, "LOCAL");
        assert!(read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a_pipe_is_read_to_its_end_or_until_it_is_too_long() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        for (bytes, taken) in [(DEFINITION_BYTES_MAX, true), (100 * DEFINITION_BYTES_MAX, false)] {
            let written = std::thread::scope(|scope| {
                let writer = scope.spawn(|| std::fs::write(&pipe, vec![b'#'; bytes]));
                assert_eq!(read(&pipe).is_ok(), taken, "{bytes}");
                writer.join().unwrap()
            });
            assert_eq!(written.is_ok(), taken, "the rest was read although it could change nothing");
        }
    }
}
