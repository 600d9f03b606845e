//! A console that outlives its link: opened again on the next one, behind what was read of it.
//!
//! The daemon counts the bytes of a console from the first one that it has seen, and keeps the newest. So the same daemon
//! tells by position what was read already and what is lost. Another daemon counts anew: then nobody knows what the guest
//! wrote in between, and that is what is told.

use std::time::Duration;

use vmwire_protocol::message::{ConsoleOpenCall, VmCall};
use vmwire_protocol::xdr::Text;

use super::Connection;
use super::streams::Console;
use crate::error::Error;
use crate::request;

/// What the positions of a console count from: a daemon's process, and a virtual machine of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSource {
    pid: u32,
    started_ns: u64,
    vm: [u8; 16],
}

/// How a console goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// Behind what was read; what is lost of it shows as a jump.
    Behind,
    /// With all that is kept by a daemon that has counted anew. What the guest wrote before may be lost.
    Anew,
}

impl Connection {
    /// What the positions of a machine's console count from, now.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn console_source(&mut self, vm: &Text<128>, deadline: Option<Duration>) -> Result<ConsoleSource, Error> {
        let shown = self.begin(request::VmShow(VmCall { vm: vm.clone() }), deadline)?;
        let daemon = self.call(request::DaemonInfo, deadline)?;
        let vm = self.wait(shown)?.vm.uuid.0;
        Ok(ConsoleSource { pid: daemon.pid, started_ns: daemon.started_ns, vm })
    }

    /// Opens a console again, on the present link, in place of `console`, which was opened on a lost one and counted from
    /// `source`. What was read of it does not come again.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn resume_console(
        &mut self,
        console: &mut Console,
        source: &mut ConsoleSource,
        call: ConsoleOpenCall,
        deadline: Option<Duration>,
    ) -> Result<Resumed, Error> {
        let now = self.console_source(&call.vm, deadline)?;
        let mut again = self.open_console(ConsoleOpenCall { history_bytes: u32::MAX, ..call }, deadline)?;
        let resumed = if now == *source { Resumed::Behind } else { Resumed::Anew };
        if resumed == Resumed::Behind {
            again.expect_at(console.offset());
        }
        (*console, *source) = (again, now);
        Ok(resumed)
    }
}
