//! `vmwire op`: what was asked of virtual machines, by whom, and what became of it.

use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use vmwire_protocol::message::{OperationCall, OperationInfo, OperationListCall, operation_state};
use vmwire_protocol::xdr::Text;

use super::named::{self, FailureJson, VmRefJson, text, unless_zero};
use super::output::{Align, Table};
use super::problem::Problem;
use super::quantity::{show_duration, show_time};
use super::{Context, Exit};
use crate::pages::{Allowance, Order, Page};
use crate::request;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The operations that the daemon remembers, oldest first
    #[command(after_help = "Examples:\n  vmwire op list\n  vmwire op list --vm web\n  \
                            vmwire op list -o json | jq '.[] | select(.state == \"failed\")'\n")]
    List {
        /// Only those of this virtual machine
        #[arg(long, value_name = "VM")]
        vm: Option<String>,
    },
    /// One operation
    #[command(after_help = "Examples:\n  vmwire op show 12\n")]
    Show {
        /// Its number
        #[arg(value_name = "ID")]
        id: u64,
    },
    /// Wait until an operation has ended; fails if it failed
    #[command(after_help = "Examples:\n  vmwire op wait 12\n  vmwire op wait 12 --timeout 5m\n")]
    Wait {
        /// Its number
        #[arg(value_name = "ID")]
        id: u64,
    },
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let mut connection = context.connect()?;
    match verb {
        Verb::List { vm } => {
            let vm: Text<128> = text("name", vm.as_deref().unwrap_or_default())?;
            let mut rows = Vec::new();
            let ask = |after, deadline| {
                let call = OperationListCall { vm: vm.clone(), after, rows_max: 0 };
                let answer = connection.call(request::OperationList(call), deadline)?;
                Ok(Page { told: (), rows: answer.rows.into_vec(), next: answer.next })
            };
            let mut allowance = Allowance::new(context.timeout);
            Order::Number.each_page(&mut allowance, ask, |row| rows.push(OperationJson::from(&row)))?;
            context.output.listing(&rows, table)?;
            Ok(Exit::Ok)
        }
        Verb::Show { id } => {
            let info = connection.call(request::OperationShow(OperationCall { id: *id }), context.timeout)?;
            context.output.thing(&OperationJson::from(&info), labels)?;
            Ok(Exit::Ok)
        }
        Verb::Wait { id } => {
            let info = connection.call(request::OperationWait(OperationCall { id: *id }), context.timeout)?;
            context.output.thing(&OperationJson::from(&info), labels)?;
            match info.failure {
                Some(failure) => Err(Problem::from(&failure)),
                None if info.state == operation_state::DONE => Ok(Exit::Ok),
                None => Ok(Exit::Failed),
            }
        }
    }
}

fn table(rows: &[OperationJson]) -> Table {
    let mut table = Table::new([
        ("id", Align::Right),
        ("procedure", Align::Left),
        ("vm", Align::Left),
        ("state", Align::Left),
        ("queued", Align::Left),
        ("took", Align::Right),
        ("identity", Align::Left),
        ("failure", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.id.to_string(),
            row.procedure.clone(),
            row.vm.as_ref().map(|vm| vm.name.clone()).unwrap_or_default(),
            row.state.clone(),
            show_time(row.queued_ns),
            row.took(),
            row.identity.clone(),
            row.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
        ]);
    }
    table
}

fn labels(operation: &OperationJson) -> Table {
    let mut table = Table::labels();
    table.label("id", operation.id.to_string());
    table.label("procedure", operation.procedure.as_str());
    if let Some(vm) = &operation.vm {
        table.label("vm", format!("{} ({})", vm.name, vm.uuid));
    }
    table.label("identity", operation.identity.as_str());
    table.label("state", operation.state.as_str());
    table.label("queued", show_time(operation.queued_ns));
    table.label("begun", operation.begun_ns.map(show_time).unwrap_or_default());
    table.label("ended", operation.ended_ns.map(show_time).unwrap_or_default());
    table.label("took", operation.took());
    if let Some(failure) = &operation.failure {
        table.label("failure", failure.message.as_str());
        for cause in &failure.causes {
            table.label("cause", cause.as_str());
        }
    }
    table
}

#[derive(Serialize)]
struct OperationJson {
    id: u64,
    procedure: String,
    vm: Option<VmRefJson>,
    identity: String,
    state: String,
    queued_ns: u64,
    begun_ns: Option<u64>,
    ended_ns: Option<u64>,
    failure: Option<FailureJson>,
}

impl OperationJson {
    fn took(&self) -> String {
        match (self.begun_ns, self.ended_ns) {
            (Some(begun), Some(ended)) => show_duration(Duration::from_nanos(ended.saturating_sub(begun))),
            _ => String::new(),
        }
    }
}

impl From<&OperationInfo> for OperationJson {
    fn from(info: &OperationInfo) -> Self {
        Self {
            id: info.id,
            procedure: named::procedure(info.procedure),
            vm: info.vm.as_ref().map(VmRefJson::from),
            identity: info.identity.to_string(),
            state: named::operation_state(info.state),
            queued_ns: info.queued_ns,
            begun_ns: unless_zero(info.begun_ns),
            ended_ns: unless_zero(info.ended_ns),
            failure: info.failure.as_ref().map(FailureJson::from),
        }
    }
}
