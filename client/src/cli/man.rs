//! The hidden `vmwire man`: manual pages out of the definition of the command line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::output::PROGRAM;
use super::problem::Problem;
use super::{Exit, command};

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
    std::fs::write(&path, page(command, name))
        .map_err(|error| Problem::local(format!("cannot write {}", path.display()), &error))?;
    for child in command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        write_pages(child, &format!("{name}-{}", child.get_name()), directory)?;
    }
    Ok(())
}

/// One manual page: name, and the long help in a block of its own, which says all there is in the form people know.
fn page(command: &clap::Command, name: &str) -> String {
    let mut page = String::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(page, ".TH {} 1", roff(&name.to_uppercase()));
    let _ = writeln!(page, ".SH NAME\n{} \\- {}", roff(name), roff(&about));
    let help = command.clone().term_width(78).render_long_help().to_string();
    let _ = writeln!(page, ".SH DESCRIPTION\n.nf");
    for line in help.lines() {
        let _ = writeln!(page, "{}", roff(line));
    }
    let _ = writeln!(page, ".fi");
    page
}

/// A line as roff prints it: no escapes, no requests.
fn roff(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
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
            assert!(text.starts_with(".TH VMWIRE") && text.contains(".SH NAME"), "{text}");
        }
        assert!(!directory.path().join("vmwire-man.1").exists());
    }

    #[test]
    fn nothing_in_a_line_is_taken_for_a_request() {
        assert_eq!(roff(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(roff("'a \\fB --x"), "\\&'a \\efB \\-\\-x");
    }
}
