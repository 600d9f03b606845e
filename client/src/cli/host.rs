//! `vmwire host`: the machine that the guests run on.

use clap::Subcommand;
use serde::Serialize;
use vmwire_protocol::message::{HostCapabilitiesAnswer, HostInfoAnswer};

use super::named::unless_empty;
use super::output::Table;
use super::problem::Problem;
use super::quantity::show_bytes;
use super::{Context, Exit};
use crate::request;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Name, size, hypervisor, and how many virtual machines there are
    #[command(after_help = "Examples:\n  vmwire host info\n  vmwire host info -o json\n")]
    Info,
    /// What a definition may ask for on this host
    #[command(after_help = "Examples:\n  vmwire host capabilities\n  \
                            vmwire host capabilities -o json | jq '.accelerators[] | select(.usable) | .name'\n")]
    Capabilities,
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let mut connection = context.connect()?;
    match verb {
        Verb::Info => {
            let info = InfoJson::from(connection.call(request::HostInfo, context.timeout)?);
            context.output.thing(&info, |info| {
                let mut table = Table::labels();
                table.label("hostname", info.hostname.as_str());
                table.label("kernel", info.kernel.as_str());
                table.label("architecture", info.architecture.as_str());
                table.label("cpus", info.cpus.to_string());
                table.label("memory", show_bytes(info.memory_bytes));
                table.label("driver", info.driver.as_str());
                table.label("hypervisor", info.hypervisor.clone().unwrap_or_default());
                table.label("defined", info.vms_defined.to_string());
                table.label("running", info.vms_running.to_string());
                table
            })?;
        }
        Verb::Capabilities => {
            let capabilities = CapabilitiesJson::from(connection.call(request::HostCapabilities, context.timeout)?);
            context.output.thing(&capabilities, |capabilities| {
                let mut table = Table::labels();
                table.label("hypervisor", capabilities.hypervisor.clone().unwrap_or_default());
                for accelerator in &capabilities.accelerators {
                    let usable = match &accelerator.why_not {
                        _ if accelerator.usable => "usable".to_owned(),
                        Some(why_not) => format!("not usable: {why_not}"),
                        None => "not usable".to_owned(),
                    };
                    table.label("accelerator", format!("{}, {usable}", accelerator.name));
                }
                table.label("machines", capabilities.machines.join(" "));
                table.label("cpu models", capabilities.cpu_models.join(" "));
                table
            })?;
        }
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct InfoJson {
    hostname: String,
    kernel: String,
    architecture: String,
    cpus: u32,
    memory_bytes: u64,
    driver: String,
    hypervisor: Option<String>,
    vms_defined: u32,
    vms_running: u32,
}

impl From<HostInfoAnswer> for InfoJson {
    fn from(info: HostInfoAnswer) -> Self {
        Self {
            hypervisor: unless_empty(&info.hypervisor),
            hostname: info.hostname.into(),
            kernel: info.kernel.into(),
            architecture: info.architecture.into(),
            cpus: info.cpus,
            memory_bytes: info.memory_bytes,
            driver: info.driver.into(),
            vms_defined: info.vms_defined,
            vms_running: info.vms_running,
        }
    }
}

#[derive(Serialize)]
struct CapabilitiesJson {
    hypervisor: Option<String>,
    accelerators: Vec<AcceleratorJson>,
    machines: Vec<String>,
    cpu_models: Vec<String>,
}

#[derive(Serialize)]
struct AcceleratorJson {
    name: String,
    usable: bool,
    why_not: Option<String>,
}

impl From<HostCapabilitiesAnswer> for CapabilitiesJson {
    fn from(answer: HostCapabilitiesAnswer) -> Self {
        Self {
            hypervisor: unless_empty(&answer.hypervisor),
            accelerators: answer
                .accelerators
                .iter()
                .map(|accelerator| AcceleratorJson {
                    name: accelerator.name.to_string(),
                    usable: accelerator.usable,
                    why_not: unless_empty(&accelerator.why_not),
                })
                .collect(),
            machines: answer.machines.iter().map(ToString::to_string).collect(),
            cpu_models: answer.cpu_models.iter().map(ToString::to_string).collect(),
        }
    }
}
