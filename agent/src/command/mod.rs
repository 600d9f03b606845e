//! The commands: a table, and a room per subject. A command that is not in the table does not exist.

use std::io;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::dispatch::Told;
use crate::error::CommandError;
use crate::file_helper::{Answer, Order};
use crate::files::Failure;
use crate::filesystem_helper::PROGRAM;
use crate::helper::{End, Program};
use crate::json::Value;
use crate::leaving::Purpose;
use crate::programs;

pub mod channel;
mod cpu;
mod disk;
mod exec;
mod file;
mod filesystem;
pub mod freeze;
pub mod handshake;
mod memory;
mod network;
mod password;
mod power;
mod ssh;
mod system;
mod time;
mod time_zone;

use handshake::Capability;

/// What a command came to.
#[derive(Debug)]
pub enum Done {
    /// It returns this.
    Return(Value),
    /// The same, behind the byte FF.
    Delimited(Value),
    /// A child said what is answered.
    Told(Told),
    /// It succeeded, and that is not answered.
    Silence,
    /// A program has to end first, or a file to answer.
    Later(Task),
}

/// How a command goes on when its program ended.
pub type Then = Box<dyn FnOnce(&mut Agent, End) -> Result<Done, CommandError>>;

/// How a command goes on when something was done with a file, or not.
pub type FileThen = Box<dyn FnOnce(&mut Agent, Result<Answer, Failure>) -> Result<Done, CommandError>>;

/// How a command goes on when a program began to run on its own, or did not.
pub type StartThen = Box<dyn FnOnce(&mut Agent, io::Result<i32>) -> Result<Done, CommandError>>;

/// What a command waits for, and what is done then.
pub enum Task {
    /// A program ends.
    Program(Program, Then),
    /// A program begins.
    Start(programs::Order, StartThen),
    /// Something is done with a file.
    File(Order, FileThen),
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Task::Program(program, _) => f.debug_tuple("Program").field(program).finish_non_exhaustive(),
            Task::Start(order, _) => f.debug_tuple("Start").field(order).finish_non_exhaustive(),
            Task::File(order, _) => f.debug_tuple("File").field(order).finish_non_exhaustive(),
        }
    }
}

impl Task {
    /// Has a program run, then goes on.
    pub fn run(
        path: &str,
        arguments: &[&str],
        span: Duration,
        then: impl FnOnce(&mut Agent, End) -> Result<Done, CommandError> + 'static,
    ) -> Done {
        Task::with_input(path, arguments, Vec::new(), span, then)
    }

    /// The same for a program that reads something.
    pub fn with_input(
        path: &str,
        arguments: &[&str],
        input: Vec<u8>,
        span: Duration,
        then: impl FnOnce(&mut Agent, End) -> Result<Done, CommandError> + 'static,
    ) -> Done {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let program = Program { path: path.to_owned(), arguments, input, span, purpose: Purpose::Other };
        Done::Later(Task::Program(program, Box::new(then)))
    }

    /// The same for our own program, which is there for something.
    pub fn by_ourselves(
        purpose: Purpose,
        arguments: &[&str],
        input: Vec<u8>,
        span: Duration,
        then: impl FnOnce(&mut Agent, End) -> Result<Done, CommandError> + 'static,
    ) -> Done {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let program = Program { path: PROGRAM.to_owned(), arguments, input, span, purpose };
        Done::Later(Task::Program(program, Box::new(then)))
    }

    /// Has something done with a file, then goes on.
    pub fn file(
        order: Order,
        then: impl FnOnce(&mut Agent, Result<Answer, Failure>) -> Result<Done, CommandError> + 'static,
    ) -> Done {
        Done::Later(Task::File(order, Box::new(then)))
    }
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Whether its success is answered.
    pub success_response: bool,
    /// Whether it is safe while file systems are frozen.
    pub while_frozen: bool,
    /// What has to be enabled before.
    pub needs: Option<Capability>,
    /// What it does. All arguments are judged before anything is done.
    pub run: Run,
}

/// Who does a command.
#[derive(Debug)]
pub enum Run {
    /// The agent itself, which nothing may keep waiting.
    Here(Here),
    /// A child of it, as a file system, a disk or the kernel's tree of devices may keep who asks it; within so many times what a
    /// request may take.
    Elsewhere(Elsewhere, u32),
}

type Here = fn(&mut Agent, &mut Arguments, Instant) -> Result<Done, CommandError>;
type Elsewhere = fn(&mut Arguments) -> Result<Value, CommandError>;

/// Trimming a large disk takes its time.
const TRIM_DEADLINES: u32 = 20;
/// A disk that does not say how it is keeps who asks for as long as the kernel waits for it, which is a minute; the list comes without.
const DISKS_DEADLINES: u32 = 3;

const fn command(name: &'static str, run: Here) -> Command {
    Command { name, success_response: true, while_frozen: false, needs: None, run: Run::Here(run) }
}

/// One whose success is seen, not answered.
const fn silent(name: &'static str, run: Here) -> Command {
    Command { success_response: false, ..command(name, run) }
}

const fn safe(name: &'static str, run: Here) -> Command {
    Command { while_frozen: true, ..command(name, run) }
}

const fn elsewhere(name: &'static str, run: Elsewhere) -> Command {
    Command { name, success_response: true, while_frozen: false, needs: None, run: Run::Elsewhere(run, 1) }
}

/// The command of that name.
pub fn find(name: &str) -> Option<&'static Command> {
    TABLE.iter().find(|command| command.name == name)
}

/// All commands, in the order in which they are listed.
pub static TABLE: &[Command] = &[
    safe("guest-sync-delimited", channel::sync_delimited),
    safe("guest-sync", channel::sync),
    safe("guest-ping", channel::ping),
    command("guest-get-time", time::get),
    command("guest-set-time", time::set),
    safe("guest-info", channel::info),
    silent("guest-shutdown", power::shutdown),
    command("guest-file-open", file::open),
    command("guest-file-close", file::close),
    command("guest-file-read", file::read),
    command("guest-file-write", file::write),
    command("guest-file-seek", file::seek),
    command("guest-file-flush", file::flush),
    safe("guest-fsfreeze-status", freeze::status),
    command("guest-fsfreeze-freeze", freeze::freeze),
    command("guest-fsfreeze-freeze-list", freeze::freeze_list),
    safe("guest-fsfreeze-thaw", freeze::thaw),
    Command { run: Run::Elsewhere(filesystem::trim, TRIM_DEADLINES), ..elsewhere("guest-fstrim", filesystem::trim) },
    silent("guest-suspend-disk", power::suspend_disk),
    silent("guest-suspend-ram", power::suspend_ram),
    silent("guest-suspend-hybrid", power::suspend_hybrid),
    command("guest-network-get-interfaces", network::interfaces),
    elsewhere("guest-get-vcpus", cpu::list),
    elsewhere("guest-set-vcpus", cpu::set),
    Command { run: Run::Elsewhere(disk::list, DISKS_DEADLINES), ..elsewhere("guest-get-disks", disk::list) },
    elsewhere("guest-get-fsinfo", filesystem::info),
    command("guest-set-user-password", password::set),
    elsewhere("guest-get-memory-blocks", memory::list),
    elsewhere("guest-set-memory-blocks", memory::set),
    elsewhere("guest-get-memory-block-info", memory::block_info),
    command("guest-exec-status", exec::status),
    command("guest-exec", exec::exec),
    command("guest-get-host-name", system::host_name),
    elsewhere("guest-get-users", system::users),
    elsewhere("guest-get-timezone", system::time_zone),
    elsewhere("guest-get-osinfo", system::osinfo),
    elsewhere("guest-ssh-get-authorized-keys", ssh::get),
    elsewhere("guest-ssh-add-authorized-keys", ssh::add),
    elsewhere("guest-ssh-remove-authorized-keys", ssh::remove),
    command("guest-get-diskstats", disk::stats),
    command("guest-get-cpustats", cpu::stats),
    command("guest-get-load", system::load),
    command("guest-network-get-route", network::routes),
    safe("request-negotiation", handshake::request_negotiation),
    safe("qmp_capabilities", handshake::qmp_capabilities),
    safe("guest-set-support-level", handshake::set_support_level),
    Command {
        needs: Some(Capability::ClientDisconnect),
        ..safe("guest-client-disconnected", handshake::client_disconnected)
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Settings;

    #[test]
    fn a_disk_that_does_not_say_how_it_is_is_listed_without() {
        let Some(Command { run: Run::Elsewhere(_, deadlines), .. }) = find("guest-get-disks") else { panic!() };
        let patience_of_the_kernel = Duration::from_secs(60);
        assert!(Settings::default().request_deadline * *deadlines > patience_of_the_kernel);
    }

    #[test]
    fn no_command_is_in_the_table_twice() {
        let mut names: Vec<_> = TABLE.iter().map(|command| command.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
