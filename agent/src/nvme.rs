//! What an NVMe disk says of its health, in the page of that name of the NVM Express Base Specification.

use crate::json::Value;
use crate::kernel::HEALTH_BYTES;

/// Counters of 16 bytes, from there on, one behind the other.
const COUNTERS_AT: usize = 32;
const COUNTERS: [(&str, &str); 10] = [
    ("data-units-read-lo", "data-units-read-hi"),
    ("data-units-written-lo", "data-units-written-hi"),
    ("host-read-commands-lo", "host-read-commands-hi"),
    ("host-write-commands-lo", "host-write-commands-hi"),
    ("controller-busy-time-lo", "controller-busy-time-hi"),
    ("power-cycles-lo", "power-cycles-hi"),
    ("power-on-hours-lo", "power-on-hours-hi"),
    ("unsafe-shutdowns-lo", "unsafe-shutdowns-hi"),
    ("media-errors-lo", "media-errors-hi"),
    ("number-of-error-log-entries-lo", "number-of-error-log-entries-hi"),
];

/// The page as hosts know it.
pub fn health(page: &[u8; HEALTH_BYTES as usize]) -> Value {
    let mut members = vec![
        ("type".to_owned(), "nvme".into()),
        ("critical-warning".to_owned(), u32::from(page[0]).into()),
        ("temperature".to_owned(), u32::from(u16::from_le_bytes([page[1], page[2]])).into()),
        ("available-spare".to_owned(), u32::from(page[3]).into()),
        ("available-spare-threshold".to_owned(), u32::from(page[4]).into()),
        ("percentage-used".to_owned(), u32::from(page[5]).into()),
    ];
    let (halves, _) = page[COUNTERS_AT..].as_chunks::<8>();
    let names = COUNTERS.iter().flat_map(|(low, high)| [low, high]);
    members.extend(names.zip(halves).map(|(name, half)| ((*name).to_owned(), u64::from_le_bytes(*half).into())));
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_where_it_stands() {
        let mut page = [0; HEALTH_BYTES as usize];
        page[..6].copy_from_slice(&[1, 0x43, 0x01, 100, 10, 7]);
        page[32] = 3;
        page[40] = 4;
        page[176..184].copy_from_slice(&u64::MAX.to_le_bytes());
        page[184] = 9;
        let health = health(&page);
        for (name, value) in [
            ("critical-warning", Value::Integer(1)),
            ("temperature", Value::Integer(323)),
            ("available-spare", Value::Integer(100)),
            ("available-spare-threshold", Value::Integer(10)),
            ("percentage-used", Value::Integer(7)),
            ("data-units-read-lo", Value::Integer(3)),
            ("data-units-read-hi", Value::Integer(4)),
            ("data-units-written-lo", Value::Integer(0)),
            ("number-of-error-log-entries-lo", Value::Unsigned(u64::MAX)),
            ("number-of-error-log-entries-hi", Value::Integer(9)),
        ] {
            assert_eq!(health.member(name), Some(&value), "{name}");
        }
    }
}
