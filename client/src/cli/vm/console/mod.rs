//! `vmwire vm console`: the serial console of a guest on this terminal, or in a pipe.
//!
//! On a terminal every key goes to the guest, the terminal's own signals included, until the escape character `^]`. That
//! is looked for however much the guest has not taken yet: a deaf one cannot keep a person who pasted a lot. Off a
//! terminal standard input is copied to the guest and the guest's output to standard output, so that scripts need none.
//! What the guest says goes through [`Screen`]. The console ends when the daemon ends it; at the end of standard input
//! only our direction does. A lost connection is made anew where that can be told honestly ([`rejoin`]).

mod rejoin;

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use vmwire_protocol::message::{ConsoleOpenCall, code, console_mode};

use super::super::outage::Teller;
use super::super::output::Format;
use super::super::problem::Problem;
use super::super::quantity::read_bytes;
use super::super::raw::Raw;
use super::super::screen::Screen;
use super::super::{Context, Exit};
use super::vm;
use crate::connection::{Connection, Console, Options, Received};
use crate::error::Error;
use rejoin::{PATIENCE, Rejoin, Rejoined};

/// `^]`, as in telnet and virsh: hardly ever meant for a guest.
const ESCAPE: u8 = 0x1d;

/// How much is read from standard input at once.
const READ_BYTES: usize = 4096;

/// How much may have been typed on a terminal that the guest has not taken. Beyond that a bell answers, as that of a
/// terminal whose line is full.
const TYPED_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire vm console web\n  vmwire vm console --read-only --history 64KiB web\n  \
                        vmwire vm console --read-only web > boot.log\n  \
                        echo poweroff | vmwire vm console web\n\n\
                        On a terminal, ^] (control and ]) leaves the console. Off a terminal it goes on after the end of what\n\
                        is typed, until the guest is gone: `timeout 5 vmwire vm console web` bounds that.\n\n\
                        What makes a terminal answer in your stead or reach for the clipboard is dropped; off a terminal what does\n\
                        not print is written by its number, as in \\u{1b}. --raw keeps every byte.\n")]
pub(crate) struct Arguments {
    /// Name or uuid
    #[arg(value_name = "VM")]
    vm: String,

    /// Read only; any number may do so at once
    #[arg(long, conflicts_with = "take_over")]
    read_only: bool,

    /// Write in the place of whoever writes now
    #[arg(long)]
    take_over: bool,

    /// Begin with what the guest wrote before, at most so much of it, as in 64KiB
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = read_bytes)]
    history: u64,

    /// Write every byte as the guest wrote it
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let mode = match (arguments.read_only, arguments.take_over) {
        (true, _) => console_mode::READ,
        (false, true) => console_mode::TAKE_OVER,
        (false, false) => console_mode::WRITE,
    };
    let call = ConsoleOpenCall {
        vm: vm(&arguments.vm)?,
        mode,
        history_bytes: u32::try_from(arguments.history).unwrap_or(u32::MAX),
    };
    if context.output.format() == Format::Json {
        return Err(Problem::usage("a console is bytes, not JSON").hint("leave out -o json"));
    }
    let stdin = io::stdin();
    // A program that writes is told of a lost connection, for nobody knows which of its bytes got there.
    let lasting = mode == console_mode::READ || stdin.is_terminal();
    let reconnect = if lasting { PATIENCE } else { Duration::ZERO };
    let mut connection = context.connect_with(Options { reconnect, ..Options::default() })?;
    // First what positions count from, so that from the opening on nothing has to be asked before it can be opened again.
    let mut rejoin = if lasting { rejoining(&mut connection, call.clone(), context) } else { None };
    let mut console = connection.open_console(call, context.timeout).map_err(busy)?;
    let terminal = if stdin.is_terminal() {
        context.output.note(&format!("connected to {}, ^] leaves", arguments.vm));
        Some(Raw::enter(stdin.as_fd()).map_err(|error| Problem::local("cannot set up the terminal", &error))?)
    } else {
        None
    };
    context.output.set_raw(terminal.is_some());
    if mode == console_mode::READ && !console.writer().is_empty() {
        context.output.note(&format!("{} writes", console.writer()));
    }
    let mut keyboard = Keyboard {
        open: mode != console_mode::READ || terminal.is_some(),
        writes: mode != console_mode::READ,
        escapes: terminal.is_some(),
        typed: Vec::new(),
        full: false,
    };
    let mut screen = match (arguments.raw, io::stdout().is_terminal()) {
        (true, _) => Screen::Raw,
        (false, true) => Screen::terminal(),
        (false, false) => Screen::text(),
    };
    let mut talk = Talk { connection: &mut connection, console: &mut console, keyboard: &mut keyboard, left: false };
    let outcome = talk.converse(&mut screen, stdin.as_fd(), rejoin.as_mut(), context);
    context.output.write(&screen.finish())?;
    drop(terminal);
    context.output.set_raw(false);
    if keyboard.escapes {
        context.output.begin_line();
        context.output.note("left the console");
    }
    outcome
}

/// What is wrong where somebody writes already.
fn busy(error: Error) -> Problem {
    let busy = error.is(code::BUSY);
    let problem = Problem::from(error);
    if busy { problem.hint("--read-only reads along, --take-over writes in their place") } else { problem }
}

/// What it takes to go on after a lost connection; nothing where the daemon does not say what its positions count from.
fn rejoining(connection: &mut Connection, call: ConsoleOpenCall, context: &Context<'_>) -> Option<Rejoin> {
    let source = connection.console_source(&call.vm, context.timeout).ok()?;
    // Whoever has taken over in the meantime keeps it.
    let mode = if call.mode == console_mode::TAKE_OVER { console_mode::WRITE } else { call.mode };
    let teller = Teller::new(connection, "opening the console again");
    Some(Rejoin { call: ConsoleOpenCall { mode, ..call }, source, teller })
}

/// What comes from standard input.
struct Keyboard {
    /// Whether it is worth reading.
    open: bool,
    /// Whether what is typed goes to the guest.
    writes: bool,
    /// Whether the escape character leaves.
    escapes: bool,
    /// Typed, and not taken by the console yet.
    typed: Vec<u8>,
    /// Something was typed for which there was no place; until there is some again.
    full: bool,
}

impl Keyboard {
    /// Whether more is to be read. Off a terminal what is typed waits in the pipe as long as the guest takes none; on one
    /// it may be the escape character.
    fn listens(&self) -> bool {
        self.open && (self.escapes || self.typed.is_empty())
    }

    /// Takes what was read, as far as there is place; `true` when the escape character was among it.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let escape = bytes.iter().position(|&byte| self.escapes && byte == ESCAPE);
        let before = bytes.get(..escape.unwrap_or(bytes.len())).unwrap_or_default();
        if self.writes {
            let place = TYPED_BYTES_MAX.saturating_sub(self.typed.len());
            self.typed.extend(before.iter().take(place));
            self.full = before.len() > place;
        }
        escape.is_some()
    }
}

/// What ends a conversation: a link, after which another may be had, or anything else.
enum Broken {
    Link(Error),
    Other(Problem),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Link(error)
    }
}

impl From<Problem> for Broken {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

/// A conversation with a guest.
struct Talk<'a> {
    connection: &'a mut Connection,
    console: &'a mut Console,
    keyboard: &'a mut Keyboard,
    /// The person leaves as soon as what was typed is sent.
    left: bool,
}

impl Talk<'_> {
    fn converse(
        &mut self,
        screen: &mut Screen,
        stdin: BorrowedFd<'_>,
        mut rejoin: Option<&mut Rejoin>,
        context: &mut Context<'_>,
    ) -> Result<Exit, Problem> {
        loop {
            let error = match self.turn(screen, stdin, context) {
                Ok(None) => continue,
                Ok(Some(exit)) => return Ok(exit),
                Err(Broken::Other(problem)) => return Err(problem),
                Err(Broken::Link(error)) => error,
            };
            match rejoin.as_deref_mut() {
                Some(rejoin) if !self.connection.is_connected() && !self.left => {
                    if rejoin.rejoin(self, stdin, context)? == Rejoined::Left {
                        return Ok(Exit::Ok);
                    }
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// Prints what has come, sends what was typed, and waits for more of either.
    fn turn(
        &mut self,
        screen: &mut Screen,
        stdin: BorrowedFd<'_>,
        context: &mut Context<'_>,
    ) -> Result<Option<Exit>, Broken> {
        let Self { connection, console, keyboard, left } = self;
        while let Some(received) = connection.take_console(console)? {
            match received {
                Received::Data { lost, data } => {
                    if lost > 0 {
                        context.output.note(&format!("{lost} bytes of the guest's output are lost here"));
                    }
                    context.output.write(&screen.show(&data))?;
                }
                Received::End(None) => return Ok(Some(Exit::Ok)),
                Received::End(Some(why)) => return Err(Problem::from(&why).into()),
            }
        }
        let sent = connection.write_console(console, &keyboard.typed)?;
        keyboard.typed.drain(..sent);
        if *left {
            return Ok(Some(Exit::Ok));
        }
        if keyboard.typed.is_empty() && !keyboard.open && keyboard.writes {
            connection.end_console(console)?;
            keyboard.writes = false;
        }
        if keyboard.listens() {
            if connection.wait_beside(stdin, None)? {
                let was_full = keyboard.full;
                *left = read(stdin, keyboard)?;
                if keyboard.full && !was_full {
                    context.output.bell();
                }
            }
        } else {
            connection.wait_a_moment(Duration::from_secs(60))?;
        }
        Ok(None)
    }
}

/// Reads what was typed; `true` when the person leaves.
fn read(stdin: BorrowedFd<'_>, keyboard: &mut Keyboard) -> Result<bool, Problem> {
    let mut buffer = [0; READ_BYTES];
    match rustix::io::read(stdin, &mut buffer) {
        Ok(0) => {
            keyboard.open = false;
            // A terminal that ends is gone, and with it the person.
            Ok(keyboard.escapes)
        }
        Ok(count) => Ok(keyboard.take(buffer.get(..count).unwrap_or_default())),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(Problem::local("cannot read standard input", &io::Error::from(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use vmwire_protocol::message::{ConsoleOpenAnswer, ServerData};
    use vmwire_protocol::xdr::Text;

    use super::super::super::Output;
    use super::*;
    use crate::connection::scripted::connected;
    use crate::connection::scripted::wire::Over;

    fn keyboard(escapes: bool, writes: bool) -> Keyboard {
        Keyboard { open: true, writes, escapes, typed: Vec::new(), full: false }
    }

    /// A person types at a guest that takes nothing but what the daemon takes for it at first. Answers how the console
    /// ends, what is still kept of what was typed, and what the person was told.
    fn typed_at_a_deaf_guest(typed: Vec<u8>) -> (Result<Exit, Problem>, usize, String) {
        let (mut connection, daemon) = connected(Over::Unix, 1, Options::default(), |mut daemon| {
            let (ticket, _) = daemon.call();
            let stream = daemon.session.stream_open().unwrap();
            let opened = ConsoleOpenAnswer { stream, offset: 0, writer: Text::default() };
            daemon.answer(ticket, &ServerData::ConsoleOpen(opened));
            // Whoever cannot leave is thrown out at the end.
            daemon.only_pings(Instant::now() + Duration::from_secs(60));
        });
        let call = ConsoleOpenCall { vm: Text::clipped("a"), mode: console_mode::WRITE, history_bytes: 0 };
        let mut console = connection.open_console(call, None).unwrap();
        let (mut person, stdin) = UnixStream::pair().unwrap();
        // Nobody may be there any more to read what follows the escape character.
        let person = std::thread::spawn(move || drop(person.write_all(&typed)));
        let (err, mut told) = UnixStream::pair().unwrap();
        let mut output = Output::new(Box::new(io::sink()), Box::new(err), true);
        let mut context = Context::new(&mut output, None, None);
        let mut keyboard = keyboard(true, true);
        let (screen, fd) = (&mut Screen::Raw, stdin.as_fd());
        let mut talk =
            Talk { connection: &mut connection, console: &mut console, keyboard: &mut keyboard, left: false };
        let end = talk.converse(screen, fd, None, &mut context);
        drop((output, connection, stdin));
        daemon.join().unwrap();
        person.join().unwrap();
        let mut text = String::new();
        told.read_to_string(&mut text).unwrap();
        (end, keyboard.typed.len(), text)
    }

    #[test]
    fn a_deaf_guest_cannot_keep_a_person_who_pasted_a_lot() {
        let (end, kept, told) = typed_at_a_deaf_guest([&[b'x'; 200_000], &b"\x1d"[..]].concat());
        assert_eq!(end, Ok(Exit::Ok));
        assert!((100_000..200_000).contains(&kept), "{kept} bytes");
        assert_eq!(told, "", "all of it has its place");
        let (end, kept, told) = typed_at_a_deaf_guest([&[b'x'; 3 * TYPED_BYTES_MAX], &b"\x1d"[..]].concat());
        assert_eq!(end, Ok(Exit::Ok));
        assert_eq!(kept, TYPED_BYTES_MAX);
        assert_eq!(told, "\x07", "one bell, however much is dropped");
    }

    #[test]
    fn off_a_terminal_what_the_guest_does_not_take_stays_in_the_pipe() {
        let mut pipe = keyboard(false, true);
        assert!(pipe.listens());
        pipe.take(b"a");
        assert!(!pipe.listens());
        let mut terminal = keyboard(true, true);
        terminal.take(b"a");
        assert!(terminal.listens());
    }

    #[test]
    fn the_escape_character_leaves_and_what_was_typed_before_it_is_sent() {
        let mut terminal = keyboard(true, true);
        assert!(!terminal.take(b"ls\x03\n"));
        assert!(terminal.take(b"exit\n\x1dmore"));
        assert_eq!(terminal.typed, b"ls\x03\nexit\n");
    }

    #[test]
    fn off_a_terminal_every_byte_is_the_guests() {
        let mut pipe = keyboard(false, true);
        assert!(!pipe.take(b"a\x1db"));
        assert_eq!(pipe.typed, b"a\x1db");
    }

    #[test]
    fn a_reader_only_leaves() {
        let mut reader = keyboard(true, false);
        assert!(!reader.take(b"typed"));
        assert!(reader.take(b"\x1d"));
        assert!(reader.typed.is_empty());
    }
}
