//! The configuration file: which keys there are, and which values each takes. What is wrong is told with line and
//! column.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::audit::AuditKeys;
use super::path::{self, Purpose};
use super::tls::TlsKeys;
use super::{DriverKind, Listen};
use crate::access::{Role, Rule, Scope, Users, Who, pattern};
use crate::model::toml_table::{Fault, Found, Keys, Table, TomlError, nearest};

/// More than anybody can keep in mind.
const RULES_MAX: usize = 256;
/// Patterns, and labels, of one rule.
const SCOPE_MAX: usize = 16;

/// Every key there is. `contrib/vmwired.toml` has each with its default.
pub(super) static KEYS: Keys = Keys {
    keys: &[
        "driver",
        "listen",
        "listen.path",
        "listen.mode",
        "listen.group",
        "listen.role",
        "listen.tls",
        "listen.tcp",
        "listen.insecure",
        "state_dir",
        "runtime_dir",
        "connections_max",
        "log",
        "qemu.binary",
        "qemu.accel",
        "tls.certificate",
        "tls.key",
        "tls.client_ca",
        "tls.crl",
        "tls.ca_key",
        "tls.key_log",
        "rule.identity",
        "rule.role",
        "rule.vms",
        "rule.labels",
        "audit.path",
        "audit.level",
        "audit.rotate_bytes",
        "audit.keep",
        "audit.burst",
        "audit.interval_s",
    ],
    tables: &["listen", "qemu", "tls", "rule", "audit"],
};

const LOG_LEVELS: &[(&str, &str)] =
    &[("off", "off"), ("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];

/// What of the configuration says something that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blamed {
    /// A key.
    Key(&'static str),
    /// The place to listen at with this number, from 0.
    Listen(usize),
}

impl Blamed {
    /// The key.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Key(key) => key,
            Self::Listen(_) => "listen",
        }
    }

    /// What is wrong with it, where it stands in a text; `None` if it does not.
    pub(super) fn located(self, text: &str, why: &str) -> Option<TomlError> {
        let located = KEYS.read(text, |top| {
            let table = match self {
                Self::Key(key) => match key.split_once('.') {
                    Some(("tls", _)) => top.table("tls")?,
                    _ => None,
                },
                Self::Listen(_) => None,
            };
            let fault = match self {
                Self::Key(key) => {
                    let table = table.as_ref().unwrap_or(top);
                    table.string(key)?.map(|_| table.wrong(key, why))
                }
                Self::Listen(number) if top.holds_tables("listen") => {
                    top.tables("listen", usize::MAX)?.get(number).map(|table| table.wrong("listen.path", why))
                }
                Self::Listen(number) => {
                    let found = top.strings("listen", usize::MAX)?.unwrap_or_default();
                    found.get(number).map(|found| Fault::value(&found.span, "listen", why))
                }
            };
            fault.map_or(Ok(()), Err)
        });
        located.err()
    }
}

/// What a configuration file says.
#[derive(Debug)]
pub(super) struct File {
    pub(super) driver: Option<DriverKind>,
    pub(super) listen: Option<Vec<Listen>>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) runtime_dir: Option<PathBuf>,
    pub(super) connections_max: Option<u32>,
    pub(super) log: Option<&'static str>,
    pub(super) qemu: Option<PathBuf>,
    pub(super) force_tcg: bool,
    pub(super) tls: TlsKeys,
    pub(super) rules: Vec<Rule>,
    pub(super) audit: AuditKeys,
}

impl File {
    pub(super) fn parse(text: &str, users: &Users) -> Result<Self, TomlError> {
        KEYS.read(text, |top| Self::of_table(top, users))
    }

    fn of_table(top: &Table<'_>, users: &Users) -> Result<Self, Fault> {
        let (qemu, force_tcg) = match top.table("qemu")? {
            Some(table) => qemu(&table)?,
            None => (None, false),
        };
        let connections_max = top.integer("connections_max", 1, u64::from(u32::MAX))?;
        Ok(Self {
            driver: choice(top.string("driver")?, &[("qemu", DriverKind::Qemu), ("test", DriverKind::Test)])?,
            listen: Listen::of_file(top, users)?,
            state_dir: directory(top.string("state_dir")?, &path::STATE_DIR)?,
            runtime_dir: directory(top.string("runtime_dir")?, &path::RUNTIME_DIR)?,
            connections_max: connections_max.map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
            log: choice(top.string("log")?, LOG_LEVELS)?,
            qemu,
            force_tcg,
            rules: top.tables("rule", RULES_MAX)?.iter().map(|table| rule(table, users)).collect::<Result<_, _>>()?,
            audit: top.table("audit")?.map(|table| AuditKeys::of_table(&table)).transpose()?.unwrap_or_default(),
            tls: top.table("tls")?.map(|table| TlsKeys::of_table(&table)).transpose()?.unwrap_or_default(),
        })
    }
}

fn qemu(table: &Table<'_>) -> Result<(Option<PathBuf>, bool), Fault> {
    let binary = table.string("qemu.binary")?;
    let binary = binary.map(|found| found.narrow(|text| path::check_program(text).map(|()| PathBuf::from(text))));
    let accel = choice(table.string("qemu.accel")?, &[("auto", false), ("tcg", true)])?;
    Ok((binary.transpose()?, accel.unwrap_or(false)))
}

fn rule(table: &Table<'_>, users: &Users) -> Result<Rule, Fault> {
    let who = table.required("rule.identity", table.string("rule.identity")?)?;
    let who = who.narrow(|text| Who::parse(text, users))?;
    let role = table.required("rule.role", choice(table.string("rule.role")?, Role::NAMES)?)?;
    let some = |key| match table.strings(key, SCOPE_MAX)? {
        // It would be the same as to say nothing, which means every virtual machine.
        Some(none) if none.is_empty() => Err(table.wrong(key, "an empty list is about no virtual machine at all")),
        some => Ok(some.unwrap_or_default()),
    };
    let names = some("rule.vms")?.into_iter().map(|found| found.narrow(pattern)).collect::<Result<_, _>>()?;
    let labels = some("rule.labels")?.into_iter().map(|found| found.value.to_owned()).collect();
    Ok(Rule { who, role, scope: Scope::new(names, labels).map(Arc::new) })
}

fn directory(found: Option<Found<&str>>, purpose: &Purpose) -> Result<Option<PathBuf>, Fault> {
    let checked = |text: &str| purpose.check(Path::new(text)).map(|()| PathBuf::from(text));
    found.map(|found| found.narrow(checked)).transpose()
}

/// One of a few words, told with the nearest of them if it is none.
pub(super) fn choice<T: Copy>(found: Option<Found<&str>>, words: &[(&'static str, T)]) -> Result<Option<T>, Fault> {
    let Some(found) = found else { return Ok(None) };
    let key = found.key;
    found.narrow(|written| {
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == written) {
            return Ok(Some(*meant));
        }
        let meant = nearest(written, words.iter().map(|(word, _)| *word));
        let meant = meant.map(|word| format!("did you mean \"{word}\"? ")).unwrap_or_default();
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        Err(format!("{written:?} is nothing that {key} can be; {meant}it is one of {}", all.join(", ")))
    })
}
