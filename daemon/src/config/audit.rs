//! `[audit]`: what is written down of what clients do, and where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::choice;
use super::path;
use crate::audit::{Level, Rate, Settings};
use crate::model::toml_table::{Fault, Table};

/// Its name in the state directory.
const NAME: &str = "audit.jsonl";

/// At least what is written at once.
const ROTATE_BYTES_MIN: u64 = 64 * 1024;

/// More than anybody has room for.
const ROTATE_BYTES_MAX: u64 = 1 << 40;

/// Length of the file at which a new one is begun, unless said otherwise.
const ROTATE_BYTES: u64 = 16 * 1024 * 1024;

/// Old files at most. All of them are renamed when another comes.
const KEEP_MAX: u64 = 1000;

/// Old files that are kept, unless said otherwise.
const KEEP: u32 = 8;

const LEVELS: &[(&str, Option<Level>)] = &[("off", None), ("changes", Some(Level::Changes)), ("all", Some(Level::All))];

/// Lines that one somebody may cause in a window, unless said otherwise.
const BURST: u32 = 1000;

/// Beyond this it is no bound.
const BURST_MAX: u64 = 1_000_000;

/// How long a window is, unless said otherwise.
const INTERVAL_S: u64 = 600;

/// Nobody waits longer to be told what was left out.
const INTERVAL_S_MAX: u64 = 86_400;

/// What the configuration says of it.
#[derive(Debug, Default)]
pub(super) struct AuditKeys {
    path: Option<PathBuf>,
    level: Option<Option<Level>>,
    rotate_bytes: Option<u64>,
    keep: Option<u64>,
    burst: Option<u64>,
    interval_s: Option<u64>,
}

impl AuditKeys {
    pub(super) fn of_table(table: &Table<'_>) -> Result<Self, Fault> {
        let checked = |text: &str| path::AUDIT.check(Path::new(text)).map(|()| PathBuf::from(text));
        Ok(Self {
            path: table.string("audit.path")?.map(|found| found.narrow(checked)).transpose()?,
            level: choice(table.string("audit.level")?, LEVELS)?,
            rotate_bytes: table.integer("audit.rotate_bytes", ROTATE_BYTES_MIN, ROTATE_BYTES_MAX)?,
            keep: table.integer("audit.keep", 1, KEEP_MAX)?,
            burst: table.integer("audit.burst", 0, BURST_MAX)?,
            interval_s: table.integer("audit.interval_s", 1, INTERVAL_S_MAX)?,
        })
    }

    /// With the default in the state directory; `None` where nothing is to be told.
    pub(super) fn resolve(self, state_dir: &Path) -> Option<Settings> {
        Some(Settings {
            level: self.level.unwrap_or(Some(Level::Changes))?,
            path: self.path.unwrap_or_else(|| state_dir.join(NAME)),
            rotate_bytes: self.rotate_bytes.unwrap_or(ROTATE_BYTES),
            keep: self.keep.map_or(KEEP, |keep| u32::try_from(keep).unwrap_or(KEEP)),
            rate: Rate {
                burst: self.burst.map_or(BURST, |burst| u32::try_from(burst).unwrap_or(BURST)),
                interval: Duration::from_secs(self.interval_s.unwrap_or(INTERVAL_S)),
            },
        })
    }
}

/// What was read anew, for a daemon that keeps its state in `kept` until it starts again, whatever `state_dir` says now.
pub(super) fn kept_in(settings: Settings, state_dir: &Path, kept: &Path) -> Settings {
    let path = if settings.path == state_dir.join(NAME) { kept.join(NAME) } else { settings.path };
    Settings { path, ..settings }
}
