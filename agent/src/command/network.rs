//! Network interfaces with their addresses, and routes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::Done;
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::json::Value;
use crate::netlink::{ADDRESSES, LINKS, attributes, dump};

/// Attributes of a link: address, name, statistics.
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_STATISTICS: u16 = 23;
const LINK_FIXED_BYTES: usize = 16;
/// Attributes of an address: the other end's, our own, the name it goes by.
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_LABEL: u16 = 3;
const ADDRESS_FIXED_BYTES: usize = 8;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

#[derive(Debug, Default)]
struct Interface {
    index: u32,
    name: String,
    hardware: String,
    addresses: Vec<Value>,
    statistics: Option<Value>,
}

/// All interfaces.
pub(super) fn interfaces(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let failed = |error| CommandError::system("getifaddrs failed", error);
    let links = dump(LINKS).map_err(failed)?;
    let addresses = dump(ADDRESSES).map_err(failed)?;
    let mut interfaces: Vec<Interface> = links.iter().filter_map(|link| interface(link)).collect();
    for address in &addresses {
        add_address(&mut interfaces, address);
    }
    let values: Vec<Value> = interfaces
        .into_iter()
        .map(|interface| {
            let is_used = !interface.addresses.is_empty();
            Value::object_of([
                ("name", Some(interface.name.into())),
                ("ip-addresses", is_used.then(|| interface.addresses.into())),
                ("statistics", interface.statistics.filter(|_| is_used)),
                ("hardware-address", Some(interface.hardware.into())),
            ])
        })
        .collect();
    Ok(Done::Return(values.into()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

fn interface(link: &[u8]) -> Option<Interface> {
    let index = u32::from_ne_bytes(link.get(4..8)?.try_into().ok()?);
    let mut interface = Interface { index, hardware: hardware(&[]), ..Interface::default() };
    for (kind, value) in attributes(link, LINK_FIXED_BYTES) {
        match kind {
            LINK_NAME => interface.name = text(value),
            LINK_ADDRESS => interface.hardware = hardware(value),
            LINK_STATISTICS => interface.statistics = statistics(value),
            _ => {}
        }
    }
    Some(interface)
}

/// An address of six bytes, whatever the interface has.
fn hardware(bytes: &[u8]) -> String {
    let byte = |place: usize| bytes.get(place).copied().unwrap_or_default();
    (0..6).map(|place| format!("{:02x}", byte(place))).collect::<Vec<_>>().join(":")
}

/// The counters of `rtnl_link_stats64`, added up as `/proc/net/dev` does.
fn statistics(bytes: &[u8]) -> Option<Value> {
    let counter = |place: usize| Some(u64::from_ne_bytes(bytes.get(place * 8..place * 8 + 8)?.try_into().ok()?));
    Some(Value::object([
        ("rx-packets", counter(0)?.into()),
        ("tx-packets", counter(1)?.into()),
        ("rx-bytes", counter(2)?.into()),
        ("tx-bytes", counter(3)?.into()),
        ("rx-errs", counter(4)?.into()),
        ("tx-errs", counter(5)?.into()),
        // What was dropped for lack of room counts as dropped.
        ("rx-dropped", counter(6)?.saturating_add(counter(14)?).into()),
        ("tx-dropped", counter(7)?.into()),
    ]))
}

fn add_address(interfaces: &mut Vec<Interface>, message: &[u8]) -> Option<()> {
    let (family, prefix) = (*message.first()?, *message.get(1)?);
    let index = u32::from_ne_bytes(message.get(4..8)?.try_into().ok()?);
    let (mut own, mut other, mut label) = (None, None, None);
    for (kind, value) in attributes(message, ADDRESS_FIXED_BYTES) {
        match kind {
            ADDRESS_LOCAL => own = Some(value),
            ADDRESS => other = Some(value),
            ADDRESS_LABEL => label = Some(text(value)),
            _ => {}
        }
    }
    let bytes = own.or(other)?;
    let (kind, address) = match family {
        IPV4 => ("ipv4", Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        IPV6 => ("ipv6", Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => return None,
    };
    let address = Value::object([
        ("ip-address-type", kind.into()),
        ("ip-address", address.into()),
        ("prefix", u32::from(prefix).into()),
    ]);
    let place = interfaces
        .iter()
        .position(|interface| interface.index == index && label.as_ref().is_none_or(|label| *label == interface.name));
    match place {
        Some(place) => interfaces[place].addresses.push(address),
        // An address may go by a name of its own, as `eth0:1`.
        None => {
            let hardware = interfaces.iter().find(|interface| interface.index == index)?.hardware.clone();
            interfaces.push(Interface { index, name: label?, hardware, addresses: vec![address], statistics: None });
        }
    }
    Some(())
}

/// All routes.
pub(super) fn routes(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let mut routes = Vec::new();
    for (path, read) in [("/proc/net/route", route4 as fn(&str) -> Option<Value>), ("/proc/net/ipv6_route", route6)] {
        match std::fs::read_to_string(path) {
            Ok(text) => routes.extend(text.lines().filter_map(read)),
            // A kernel without the protocol has no routes of it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(CommandError::system(format!("open(\"{path}\")"), error)),
        }
    }
    Ok(Done::Return(routes.into()))
}

/// A line of `/proc/net/route`, whose addresses are as they lie in memory.
fn route4(line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [interface, destination, gateway, flags, references, uses, metric, mask, mtu, window, irtt] = words[..] else {
        return None;
    };
    let address = |word: &str| Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes()).to_string());
    let decimal = |word: &str| word.parse::<u64>().ok();
    Some(Value::object([
        ("iface", interface.into()),
        ("destination", address(destination)?.into()),
        ("metric", decimal(metric)?.into()),
        ("gateway", address(gateway)?.into()),
        ("mask", address(mask)?.into()),
        ("irtt", decimal(irtt)?.into()),
        ("flags", u64::from_str_radix(flags, 16).ok()?.into()),
        ("refcnt", decimal(references)?.into()),
        ("use", decimal(uses)?.into()),
        ("window", decimal(window)?.into()),
        ("mtu", decimal(mtu)?.into()),
        ("version", 4_i64.into()),
    ]))
}

/// A line of `/proc/net/ipv6_route`, all of it in base 16.
fn route6(line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [destination, prefix, source, source_prefix, gateway, metric, references, uses, flags, interface] = words[..]
    else {
        return None;
    };
    let address = |word: &str| Some(Ipv6Addr::from(u128::from_str_radix(word, 16).ok()?).to_string());
    let number = |word: &str| u64::from_str_radix(word, 16).ok();
    Some(Value::object([
        ("iface", interface.into()),
        ("destination", address(destination)?.into()),
        ("metric", number(metric)?.into()),
        ("desprefixlen", number(prefix)?.to_string().into()),
        ("source", address(source)?.into()),
        ("srcprefixlen", number(source_prefix)?.to_string().into()),
        ("nexthop", address(gateway)?.into()),
        ("flags", number(flags)?.into()),
        ("refcnt", number(references)?.into()),
        ("use", number(uses)?.into()),
        ("version", 6_i64.into()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_from_both_tables() {
        assert_eq!(route4("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"), None);
        let route = route4("eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00FFFFFF\t0\t0\t0   ").unwrap();
        assert_eq!(route.member("gateway"), Some(&"192.168.0.1".into()));
        assert_eq!(route.member("mask"), Some(&"255.255.255.0".into()));
        assert_eq!(route.member("flags"), Some(&Value::Integer(3)));
        assert_eq!(route.member("metric"), Some(&Value::Integer(100)));
        let zeros = "0".repeat(32);
        let route = route6(&format!(
            "fe80{} 40 {zeros} 00 {zeros} 00000100 00000001 00000000 80200001       lo",
            "0".repeat(28)
        ))
        .unwrap();
        assert_eq!(route.member("destination"), Some(&"fe80::".into()));
        assert_eq!(route.member("desprefixlen"), Some(&"64".into()));
        assert_eq!(route.member("flags"), Some(&Value::Integer(0x8020_0001)));
        assert_eq!(route.member("metric"), Some(&Value::Integer(256)));
    }

    #[test]
    fn an_address_with_a_name_of_its_own_stands_apart() {
        let mut interfaces = vec![Interface {
            index: 2,
            name: "eth0".to_owned(),
            hardware: hardware(&[2, 0, 0, 0, 0, 1]),
            ..Interface::default()
        }];
        let address = |label: &[u8], last: u8| {
            let mut message = vec![IPV4, 24, 0, 0, 2, 0, 0, 0];
            message.extend_from_slice(&[8, 0, 2, 0, 192, 0, 2, last]);
            message.extend_from_slice(&[u8::try_from(label.len() + 4).unwrap(), 0, 3, 0]);
            message.extend_from_slice(label);
            message.resize(message.len().next_multiple_of(4), 0);
            message
        };
        add_address(&mut interfaces, &address(b"eth0\0", 1)).unwrap();
        add_address(&mut interfaces, &address(b"eth0:1\0", 2)).unwrap();
        add_address(&mut interfaces, &address(b"eth0:1\0", 3)).unwrap();
        assert_eq!(interfaces.len(), 2);
        assert_eq!((interfaces[0].addresses.len(), interfaces[1].addresses.len()), (1, 2));
        assert_eq!(interfaces[1].hardware, "02:00:00:00:00:01");
        assert_eq!(
            interfaces[1].addresses[1],
            Value::object([
                ("ip-address-type", "ipv4".into()),
                ("ip-address", "192.0.2.3".into()),
                ("prefix", 24_u32.into()),
            ])
        );
    }

    #[test]
    fn every_counter_is_read_where_it_stands() {
        let bytes: Vec<u8> = (0..24_u64).flat_map(u64::to_ne_bytes).collect();
        let expected = [
            ("rx-packets", 0_u64),
            ("tx-packets", 1),
            ("rx-bytes", 2),
            ("tx-bytes", 3),
            ("rx-errs", 4),
            ("tx-errs", 5),
            ("rx-dropped", 6 + 14),
            ("tx-dropped", 7),
        ];
        assert_eq!(statistics(&bytes), Some(Value::object(expected.map(|(name, count)| (name, count.into())))));
        assert_eq!(statistics(&bytes[..100]), None);
    }
}
