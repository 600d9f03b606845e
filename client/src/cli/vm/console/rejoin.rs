//! A console whose connection is lost: there again as soon as the daemon is.
//!
//! For a person at a terminal and for whoever only reads. A program that writes has to know whether its bytes got there, and
//! nobody can tell it, so for that one a lost connection is an error.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{ConsoleOpenCall, code};

use super::super::super::Context;
use super::super::super::outage::Teller;
use super::super::super::problem::Problem;
use super::{Keyboard, Talk, busy, read};
use crate::connection::{ConsoleSource, Resumed};

/// For how long a lost connection is tried to be made anew.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How often the state of the link is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// For how long the place of the writer is waited for: the daemon may not have noticed yet that the one who has it, we, is
/// gone; and how often it is asked for.
const WRITER_PATIENCE: Duration = Duration::from_secs(20);
const WRITER_LOOK: Duration = Duration::from_millis(500);

/// What it takes to open a console again.
pub(super) struct Rejoin {
    pub(super) call: ConsoleOpenCall,
    pub(super) source: ConsoleSource,
    pub(super) teller: Teller,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejoined {
    Again,
    /// The person does not wait for it.
    Left,
}

impl Rejoin {
    /// Connects again and opens the console again.
    pub(super) fn rejoin(
        &mut self,
        talk: &mut Talk<'_>,
        stdin: BorrowedFd<'_>,
        context: &mut Context<'_>,
    ) -> Result<Rejoined, Problem> {
        let Talk { connection, console, keyboard, .. } = talk;
        let writes = keyboard.writes;
        let mut busy_since = None;
        loop {
            while !connection.is_connected() {
                let heard = keyboard.escapes.then_some(stdin);
                let typed = connection.reconnect_beside(heard, LOOK)?;
                self.teller.look(connection, context.output);
                if typed && hear(stdin, keyboard, context)? {
                    return Ok(Rejoined::Left);
                }
            }
            let call = self.call.clone();
            match connection.resume_console(console, &mut self.source, call, context.timeout) {
                Ok(resumed) => {
                    self.tell(resumed, writes, context);
                    keyboard.typed.clear();
                    return Ok(Rejoined::Again);
                }
                Err(_) if !connection.is_connected() => {}
                Err(error) if error.is(code::BUSY) => {
                    let since = *busy_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > WRITER_PATIENCE {
                        return Err(busy(error));
                    }
                    let typed = connection.wait_beside(stdin, Some(WRITER_LOOK)).unwrap_or(false);
                    if typed && hear(stdin, keyboard, context)? {
                        return Ok(Rejoined::Left);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&mut self, resumed: Resumed, writes: bool, context: &mut Context<'_>) {
        if resumed == Resumed::Anew {
            context.output.note("the daemon was started anew: what the guest wrote meanwhile may be missing here");
        }
        if writes {
            context.output.note("what was typed just before may be lost");
        }
    }
}

/// Listens for the escape character; what else is typed goes nowhere, which a bell says.
fn hear(stdin: BorrowedFd<'_>, keyboard: &mut Keyboard, context: &mut Context<'_>) -> Result<bool, Problem> {
    let before = keyboard.typed.len();
    let left = read(stdin, keyboard)?;
    if keyboard.typed.len() > before {
        keyboard.typed.truncate(before);
        context.output.bell();
    }
    Ok(left)
}
