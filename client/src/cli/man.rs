//! The hidden `vmwire man`: manual pages out of the definition of the command line.

use std::io;
use std::path::{Path, PathBuf};

use clap_mangen::roff::{Roff, bold, roman};

use super::output::PROGRAM;
use super::problem::Problem;
use super::{ENVIRONMENT, Exit, command};

/// Where the program finds what.
const FILES: [(&str, &str); 5] = [
    ("/run/vmwire/vmwired.sock", "the socket of qemu:///system"),
    ("$XDG_RUNTIME_DIR/vmwire/vmwired.sock", "the socket of qemu:///session"),
    ("$XDG_RUNTIME_DIR/vmwire/test.sock", "the socket of test:///default"),
    ("$XDG_CONFIG_HOME/vmwire/contexts.toml", "names for daemons, as vmwire context keeps them"),
    ("$XDG_STATE_HOME/vmwire", "definitions and the log, vmwired.log, of a daemon of one's own"),
];

/// What a newcomer does first.
pub(crate) const EXAMPLES: &str = "  vmwire vm define web.toml\n  vmwire vm start web\n  vmwire vm console web\n  \
                        vmwire vm list -o json\n  vmwire vm shutdown web";

#[derive(Debug, clap::Args)]
pub(crate) struct ManArguments {
    /// The directory, which must exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn man(arguments: &ManArguments) -> Result<Exit, Problem> {
    let mut root = command();
    root.build();
    write_pages(&root, PROGRAM, &arguments.directory)?;
    Ok(Exit::Ok)
}

fn write_pages(command: &clap::Command, name: &str, directory: &Path) -> Result<(), Problem> {
    let path = directory.join(format!("{name}.1"));
    page(command, name)
        .and_then(|page| std::fs::write(&path, page))
        .map_err(|error| Problem::local(format!("cannot write {}", path.display()), &error))?;
    for child in children(command) {
        write_pages(child, &format!("{name}-{}", child.get_name()), directory)?;
    }
    Ok(())
}

fn children(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help")
}

/// One manual page. The sections that people look for are the same in each; those of the definition stand above them.
fn page(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let release = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).source(release);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    if children(command).next().is_some() {
        roff.control("SH", ["VERBS"]);
        for child in children(command) {
            let about = child.get_about().map(ToString::to_string).unwrap_or_default();
            term(&mut roff, &format!("{name}-{}(1)", child.get_name()), &about);
        }
    }
    if name != PROGRAM {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for part in help.split("\n\n").map(str::trim_end).filter(|part| !part.is_empty()) {
            let (title, body) = match part.strip_prefix("Examples:\n") {
                Some(examples) => ("EXAMPLES", examples),
                None => ("NOTES", part),
            };
            block(&mut roff, title, body);
        }
    } else {
        block(&mut roff, "EXAMPLES", EXAMPLES);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        term(&mut roff, &exit.number().to_string(), exit.meaning());
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (variable, meaning) in ENVIRONMENT {
        term(&mut roff, variable, meaning);
    }
    roff.control("SH", ["FILES"]);
    for (file, meaning) in FILES {
        term(&mut roff, file, meaning);
    }
    roff.control("SH", ["SEE ALSO"]);
    let parent = name.rsplit_once('-').map_or(String::new(), |(parent, _)| format!("{parent}(1), "));
    roff.text([roman(format!("{parent}vmwired(8)"))]);
    page.extend(roff.render().into_bytes());
    Ok(page)
}

fn term(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
}

/// Lines that stay as they are.
fn block(roff: &mut Roff, title: &str, lines: &str) {
    roff.control("SH", [title]).control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_verb() {
        let directory = tempfile::tempdir().unwrap();
        man(&ManArguments { directory: directory.path().to_owned() }).unwrap();
        for page in ["vmwire", "vmwire-vm", "vmwire-vm-list", "vmwire-event-follow", "vmwire-ping"] {
            let text = std::fs::read_to_string(directory.path().join(format!("{page}.1"))).unwrap();
            for section in
                ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"]
            {
                assert!(
                    text.contains(&format!(".SH {section}\n")) || text.contains(&format!(".SH \"{section}\"\n")),
                    "{page} lacks {section}: {text}"
                );
            }
            let verb = page.matches('-').count() > 1;
            assert!(!verb || text.contains(".SH EXAMPLES\n.nf\n  vmwire "), "{page}: {text}");
        }
        assert!(!directory.path().join("vmwire-man.1").exists());
    }
}
