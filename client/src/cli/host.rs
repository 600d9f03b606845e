//! `vmwire host`: the machine that the guests run on.

use clap::Subcommand;
use serde::Serialize;
use vmwire_protocol::message::{CertificateInfo, HostCapabilitiesAnswer, HostInfoAnswer, code};
use vmwire_protocol::xdr::Fixed;
use vmwire_tls::identity::Fingerprint;

use super::named::{unless_empty, unless_zero};
use super::output::{Align, Table};
use super::problem::Problem;
use super::quantity::{show_bytes, show_time};
use super::{Context, Exit, unless_too_old};
use crate::connection::Connection;
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
    /// What the daemon proves itself with and judges clients by
    #[command(after_help = "Examples:\n  vmwire host certificates\n  \
                            vmwire host certificates -o json | jq '.[] | select(.problem) | .subject'\n")]
    Certificates,
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let mut connection = context.connect()?;
    match verb {
        Verb::Info => {
            let mut info = InfoJson::from(connection.call(request::HostInfo, context.timeout)?);
            info.certificates_until_ns = certificates_until_ns(&mut connection, context)?;
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
                if let Some(until) = info.certificates_until_ns {
                    table.label("certificates", format!("until {}", show_time(until)));
                }
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
        Verb::Certificates => {
            let answer = connection.call(request::HostCertificates, context.timeout).map_err(unless_too_old)?;
            let rows: Vec<CertificateJson> = answer.rows.into_iter().map(CertificateJson::from).collect();
            context.output.listing(&rows, certificates)?;
            if rows.is_empty() {
                context.output.note("the daemon uses no certificates: it does not listen with TLS");
            }
        }
    }
    Ok(Exit::Ok)
}

/// When the first of the daemon's certificates and lists ends; `None` where there are none, or the daemon is too old to say.
fn certificates_until_ns(connection: &mut Connection, context: &Context<'_>) -> Result<Option<u64>, Problem> {
    match connection.call(request::HostCertificates, context.timeout) {
        Ok(answer) => Ok(answer.rows.into_iter().filter_map(|row| CertificateJson::from(row).not_after_ns).min()),
        Err(error) if error.is(code::UNSUPPORTED) || error.is(code::UNKNOWN_PROCEDURE) => Ok(None),
        Err(error) => Err(Problem::from(error)),
    }
}

fn certificates(rows: &[CertificateJson]) -> Table {
    let mut table = Table::new([
        ("purpose", Align::Left),
        ("subject", Align::Left),
        ("from", Align::Left),
        ("until", Align::Left),
        ("problem", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.purpose.clone(),
            row.subject.clone(),
            row.not_before_ns.map(show_time).unwrap_or_default(),
            row.not_after_ns.map(show_time).unwrap_or_default(),
            row.problem.clone().unwrap_or_default(),
        ]);
    }
    table
}

#[derive(Serialize)]
struct CertificateJson {
    purpose: String,
    subject: String,
    not_before_ns: Option<u64>,
    not_after_ns: Option<u64>,
    certificate_sha256: Option<String>,
    problem: Option<String>,
}

impl From<CertificateInfo> for CertificateJson {
    fn from(info: CertificateInfo) -> Self {
        let ns = |seconds: u64| unless_zero(seconds.saturating_mul(1_000_000_000));
        let has_fingerprint = info.fingerprint != Fixed::default();
        Self {
            purpose: info.purpose.to_string(),
            subject: info.subject.to_string(),
            not_before_ns: ns(info.not_before_s),
            not_after_ns: ns(info.not_after_s),
            certificate_sha256: has_fingerprint.then(|| Fingerprint::from(info.fingerprint.0).as_openssl()),
            problem: unless_empty(&info.problem),
        }
    }
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
    /// When the first of the daemon's certificates ends.
    certificates_until_ns: Option<u64>,
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
            certificates_until_ns: None,
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
