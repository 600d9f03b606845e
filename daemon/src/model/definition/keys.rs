//! The keys of a definition, by name.

use crate::model::toml_table::Keys;

/// Every key that may carry a value, with its table. `docs/definition.md` has a row for each.
pub(super) const KEYS: &[&str] = &[
    "name",
    "uuid",
    "title",
    "labels",
    "memory",
    "machine",
    "accel",
    "autostart",
    "rng",
    "console",
    "channels",
    "cpu.count",
    "cpu.sockets",
    "cpu.cores",
    "cpu.threads",
    "cpu.model",
    "boot.kernel",
    "boot.initrd",
    "boot.cmdline",
    "disk.path",
    "disk.format",
    "disk.bus",
    "disk.readonly",
    "nic.network",
    "nic.outbound",
    "nic.forward",
    "test.start_ms",
    "test.start_fails",
    "test.delay_ms",
    "test.deaf",
    "test.shutdown_ms",
    "test.console",
    "test.panic_ms",
    "test.console_bytes",
    "test.console_burst",
    "test.agent",
];

/// The tables of a definition.
pub(super) const TABLES: &[&str] = &["cpu", "boot", "disk", "nic", "test"];

/// Both, for the reader of TOML.
pub(super) static ALL: Keys = Keys { keys: KEYS, tables: TABLES };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_finds_the_one_that_was_meant() {
        for (table, written, meant) in [
            ("", "memmory", Some("memory")),
            ("", "nmae", Some("name")),
            ("", "Name", Some("name")),
            ("", "disks", Some("disk")),
            ("", "kernel", Some("boot.kernel")),
            ("disk", "read-only", Some("disk.readonly")),
            ("nic", "forwards", Some("nic.forward")),
            ("cpu", "title", Some("title")),
            ("", "frobnicate", None),
            ("", "", None),
        ] {
            assert_eq!(ALL.nearest(table, written), meant, "{table} {written}");
        }
    }

    #[test]
    fn every_dotted_key_belongs_to_a_known_table() {
        for key in KEYS {
            if let Some((table, _)) = key.split_once('.') {
                assert!(TABLES.contains(&table), "{key}");
            }
        }
    }
}
