//! Values with a form of their own: amounts of memory, forwarded ports, names of channels, paths.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::Forward;
use crate::model::toml_table::Quoted;

/// The least memory of a guest: what firmware alone needs.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// The most memory of a guest.
const MEMORY_BYTES_MAX: u64 = 4 << 40;
/// The longest path that Linux takes, without the closing zero.
const PATH_BYTES_MAX: usize = 4095;
/// The longest name that a virtio-serial port is given here.
const CHANNEL_BYTES_MAX: usize = 64;
/// As long as a name of a virtual machine.
const LABEL_BYTES_MAX: usize = 64;

/// `512 MiB`: a whole number and a unit of 1,024.
pub(super) fn memory(text: &str) -> Result<u64, String> {
    let form = || "write a whole number and a unit, as in \"512 MiB\"; units are KiB, MiB, GiB and TiB".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| form())?;
    let shift = match unit.strip_prefix(' ').unwrap_or(unit) {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(form()),
    };
    let bytes = number.checked_mul(1 << shift).filter(|b| (MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(b));
    match bytes {
        None => Err("must be from 16 MiB to 4 TiB".to_owned()),
        Some(bytes) if bytes % (1 << 20) != 0 => Err("must be a multiple of 1 MiB".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

/// `[ADDRESS:]HOST_PORT:GUEST_PORT[/tcp|/udp]`.
pub(super) fn forward(text: &str) -> Result<Forward, String> {
    let form = || {
        "write \"HOST_PORT:GUEST_PORT\" or \"ADDRESS:HOST_PORT:GUEST_PORT\", with \"/udp\" behind it for UDP".to_owned()
    };
    let (rest, udp) = match text.rsplit_once('/') {
        None => (text, false),
        Some((rest, "tcp")) => (rest, false),
        Some((rest, "udp")) => (rest, true),
        Some(_) => return Err(form()),
    };
    let (rest, guest_port) = rest.rsplit_once(':').ok_or_else(form)?;
    let (address, host_port) = match rest.rsplit_once(':') {
        None => (Ipv4Addr::LOCALHOST, rest),
        Some((address, port)) => {
            let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            match bare.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => (address, port),
                Ok(IpAddr::V6(_)) => return Err("QEMU's user network forwards from IPv4 addresses only".to_owned()),
                Err(_) => return Err(format!("{} is no IPv4 address", Quoted(address))),
            }
        }
    };
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err("a port is a number from 1 to 65535".to_owned()),
    };
    Ok(Forward { udp, address, host_port: port(host_port)?, guest_port: port(guest_port)? })
}

/// A name as it appears under `/dev/virtio-ports` of a guest.
pub(super) fn channel(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > CHANNEL_BYTES_MAX || !text.chars().all(good) || text.starts_with('.') {
        return Err(format!(
            "a channel's name is 1 to {CHANNEL_BYTES_MAX} of A-Z a-z 0-9 . _ - and begins with no dot"
        ));
    }
    Ok(text.to_owned())
}

/// A label.
pub(super) fn label(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || !text.chars().all(good) {
        return Err(format!("a label is 1 to {LABEL_BYTES_MAX} of A-Z a-z 0-9 . _ -"));
    }
    Ok(text.to_owned())
}

/// An absolute path.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err("must be an absolute path, for the daemon has no directory that you could mean".to_owned());
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(format!("a path has at most {PATH_BYTES_MAX} bytes"));
    }
    Ok(PathBuf::from(text))
}

/// A line of at most so many bytes, without control characters.
pub(super) fn line(text: &str, bytes_max: usize) -> Result<String, String> {
    if text.len() > bytes_max {
        return Err(format!("has {} bytes, and {bytes_max} is the most", text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("control characters such as {c:?} cannot stand in it")),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_whole_number_with_a_unit() {
        for (text, bytes) in [
            ("16 MiB", 16 << 20),
            ("512MiB", 512 << 20),
            ("65536 KiB", 64 << 20),
            ("1 GiB", 1 << 30),
            ("4 TiB", 4 << 40),
        ] {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for (text, why) in [
            ("", "whole number"),
            ("512", "whole number"),
            ("MiB", "whole number"),
            ("1.5 GiB", "whole number"),
            ("512 MB", "whole number"),
            ("512  MiB", "whole number"),
            ("-1 GiB", "whole number"),
            ("+1 GiB", "whole number"),
            ("15 MiB", "from 16 MiB"),
            ("5 TiB", "from 16 MiB"),
            ("18446744073709551615 GiB", "from 16 MiB"),
            ("99999999999999999999 KiB", "whole number"),
            ("20481 KiB", "multiple"),
        ] {
            assert!(memory(text).unwrap_err().contains(why), "{text}: {:?}", memory(text));
        }
    }

    #[test]
    fn a_forward_binds_the_loopback_address_unless_another_is_written() {
        let forwarded = |udp, address: [u8; 4], host_port, guest_port| {
            Ok(Forward { udp, address: address.into(), host_port, guest_port })
        };
        assert_eq!(forward("8080:80"), forwarded(false, [127, 0, 0, 1], 8080, 80));
        assert_eq!(forward("8080:80/tcp"), forwarded(false, [127, 0, 0, 1], 8080, 80));
        assert_eq!(forward("53:53/udp"), forwarded(true, [127, 0, 0, 1], 53, 53));
        assert_eq!(forward("0.0.0.0:1:65535"), forwarded(false, [0, 0, 0, 0], 1, 65535));
        for (text, why) in [
            ("", "write"),
            ("80", "write"),
            ("8080:80/sctp", "write"),
            ("0:80", "a port is"),
            ("80:0", "a port is"),
            ("+80:80", "a port is"),
            ("80:65536", "a port is"),
            ("80:", "a port is"),
            (":80:80", "no IPv4 address"),
            ("host:80:80", "no IPv4 address"),
            ("127.1:80:80", "no IPv4 address"),
            ("127.0.0.1,x:80:80", "no IPv4 address"),
            ("[::1]:8080:80", "IPv4 addresses only"),
            ("::1:8080:80", "IPv4 addresses only"),
        ] {
            assert!(forward(text).unwrap_err().contains(why), "{text}: {:?}", forward(text));
        }
    }
}
