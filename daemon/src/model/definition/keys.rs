//! The keys of a definition, by name, and the one a mistyped key most looks like.

/// Every key that may carry a value, with its table. `docs/definition.md` has a row for each.
pub(super) const KEYS: &[&str] = &[
    "name",
    "uuid",
    "title",
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
];

/// The tables of a definition.
pub(super) const TABLES: &[&str] = &["cpu", "boot", "disk", "nic", "test"];

/// The names that may stand in `table` (empty: at the top), tables included.
pub(super) fn names_in(table: &'static str) -> impl Iterator<Item = &'static str> {
    let own = KEYS.iter().filter_map(move |key| match key.split_once('.') {
        Some((of, name)) => (of == table).then_some(name),
        None => table.is_empty().then_some(*key),
    });
    let tables = if table.is_empty() { TABLES } else { &[] };
    own.chain(tables.iter().copied())
}

/// The known key that `written`, which stood in `table`, most looks like: one of the same table, else one of the same
/// name in another.
pub(super) fn nearest(table: &'static str, written: &str) -> Option<&'static str> {
    // Longer than any key can be mistyped to; also keeps the comparison cheap.
    if written.len() > 32 {
        return None;
    }
    let folded = written.to_ascii_lowercase().replace('-', "_");
    names_in(table)
        .map(|name| (strsim::osa_distance(&folded, name), name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
        .or_else(|| KEYS.iter().copied().find(|key| key.rsplit('.').next() == Some(folded.as_str())))
}

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
            ("disk", "read-only", Some("readonly")),
            ("nic", "forwards", Some("forward")),
            ("cpu", "title", Some("title")),
            ("", "frobnicate", None),
            ("", "", None),
        ] {
            assert_eq!(nearest(table, written), meant, "{table} {written}");
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
