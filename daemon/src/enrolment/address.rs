//! The address that goes into a token: where a client will look for the daemon.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest name of a host (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// Makes `host:port` of what was written, with brackets around an IPv6 address. Where no port was written it is `port`.
///
/// # Errors
/// Why nobody is reached there, in words.
pub fn address(text: &str, port: u16) -> Result<String, String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]:{port}"));
    }
    let (host, written) = match text.rsplit_once(':') {
        // The colon is one of an address in brackets.
        Some(_) if text.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if !is_host(host) {
        return Err(format!(
            "{host:?} is neither the name of a host nor an address; write one, as in vm1.example.org, 10.0.0.7 or [fd00::7]"
        ));
    }
    let port = match written {
        None => port,
        Some(digits) => {
            let number =
                digits.parse().ok().filter(|port| *port > 0 && digits.bytes().all(|digit| digit.is_ascii_digit()));
            number.ok_or_else(|| {
                format!("{digits:?} is no port; write a number from 1 to 65535 behind the colon, or neither for {port}")
            })?
        }
    };
    Ok(format!("{host}:{port}"))
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    let is_number = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    match is_number {
        true => host.parse::<Ipv4Addr>().is_ok(),
        false => host.len() <= NAME_BYTES_MAX && labels.into_iter().all(is_label),
    }
}

fn is_label(label: &str) -> bool {
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (1..=63).contains(&label.len()) && plain && !label.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_not_written_is_the_usual_one() {
        for (text, expected) in [
            ("vm1.example.org", "vm1.example.org:16515"),
            ("vm1.example.org:7", "vm1.example.org:7"),
            ("vm1", "vm1:16515"),
            ("10.0.0.7", "10.0.0.7:16515"),
            ("10.0.0.7:65535", "10.0.0.7:65535"),
            ("fd00::7", "[fd00::7]:16515"),
            ("[fd00::7]", "[fd00::7]:16515"),
            ("[::1]:7", "[::1]:7"),
            ("a_b-c.", "a_b-c.:16515"),
        ] {
            assert_eq!(address(text, 16515).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_reaches_nobody_is_told_with_what_is_wrong() {
        let long = "a.".repeat(127);
        for (text, words) in [
            ("", "\"\" is neither the name of a host nor an address"),
            (":7", "\"\" is neither the name"),
            ("vm 1", "\"vm 1\" is neither the name"),
            ("10.0.0.256", "\"10.0.0.256\" is neither"),
            ("vm1/x", "\"vm1/x\" is neither"),
            ("-vm1", "\"-vm1\" is neither"),
            ("a..b", "\"a..b\" is neither"),
            ("fe80::1%eth0", "is neither"),
            ("[10.0.0.7]:7", "\"[10.0.0.7]\" is neither"),
            (&long, "is neither"),
            ("vm1:", "\"\" is no port; write a number from 1 to 65535 behind the colon, or neither for 16515"),
            ("vm1:0", "\"0\" is no port"),
            ("vm1:+7", "\"+7\" is no port"),
            ("vm1:65536", "\"65536\" is no port"),
            ("[::1]:x", "\"x\" is no port"),
        ] {
            let told = address(text, 16515).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }
}
