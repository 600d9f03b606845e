//! The figures, a room for each group.

mod agent;
mod audit;
mod fan_out;
mod idle;
mod list;
mod ping_pong;
mod pipelined;
mod rules;
mod shown_out;
mod ssh;
mod start;
mod system_calls;
mod tls;

use vmwire_protocol::message::{ClientData, VmCall};
use vmwire_protocol::xdr::Text;

use crate::Outcome;
use crate::daemon::name;
use crate::lab::Lab;
use crate::report::Row;

/// Figures that are measured together.
pub(crate) struct Group {
    /// What `--row` says.
    pub(crate) name: &'static str,
    /// Measures them.
    pub(crate) measure: fn(&Lab) -> Outcome<Vec<Row>>,
}

/// All of them, in the order of the table.
pub(crate) const GROUPS: [Group; 15] = [
    Group { name: "ping-pong", measure: ping_pong::measure },
    Group { name: "system-calls", measure: system_calls::measure },
    Group { name: "pipelined", measure: pipelined::measure },
    Group { name: "list", measure: list::measure },
    Group { name: "fan-out", measure: fan_out::measure },
    Group { name: "start", measure: start::measure },
    Group { name: "idle", measure: idle::measure },
    Group { name: "tls-ping-pong", measure: tls::ping_pong },
    Group { name: "tls-handshakes", measure: tls::handshakes },
    Group { name: "rules", measure: rules::measure },
    Group { name: "audit", measure: audit::measure },
    Group { name: "ssh", measure: ssh::measure },
    Group { name: "many-idle", measure: idle::many },
    Group { name: "agent", measure: agent::measure },
    Group { name: "shown-out", measure: shown_out::measure },
];

fn vm_show() -> ClientData {
    ClientData::VmShow(VmCall { vm: Text::clipped(&name(0)) })
}
