//! How often an address may try to spend a token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Tries that an address has within a minute.
pub const TRIES_MAX: u32 = 5;

const WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered. When there are more, those whose minute is over are forgotten; if that makes no room, every
/// further address is told to wait: a flood from many addresses must cost us no more memory, and no guesses.
const ADDRESSES_MAX: usize = 4096;

/// Counts tries by address.
#[derive(Debug, Default)]
pub struct Tries {
    /// When the minute of an address began, and its tries since then.
    addresses: HashMap<IpAddr, (Instant, u32)>,
}

impl Tries {
    /// Counts a try.
    ///
    /// # Errors
    /// There were too many: how long to wait.
    pub fn take(&mut self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        // IPv6 hosts have whole networks to choose their addresses from.
        let address = match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
            address => address,
        };
        let over = |begun: Instant| now.saturating_duration_since(begun) >= WINDOW;
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            self.addresses.retain(|_, (begun, _)| !over(*begun));
            if self.addresses.len() >= ADDRESSES_MAX {
                return Err(WINDOW);
            }
        }
        let (begun, tries) = self.addresses.entry(address).or_insert((now, 0));
        if over(*begun) {
            (*begun, *tries) = (now, 0);
        }
        if *tries >= TRIES_MAX {
            return Err(WINDOW.saturating_sub(now.saturating_duration_since(*begun)));
        }
        *tries += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_five_tries_a_minute_and_takes_none_of_anothers() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for _ in 0..TRIES_MAX {
            tries.take(address("10.0.0.1"), now).unwrap();
        }
        let later = now + Duration::from_secs(20);
        assert_eq!(tries.take(address("10.0.0.1"), later), Err(Duration::from_secs(40)));
        assert_eq!(tries.take(address("::ffff:10.0.0.1"), later), Err(Duration::from_secs(40)), "the same, mapped");
        assert_eq!(tries.take(address("10.0.0.2"), later), Ok(()));
        assert_eq!(tries.take(address("10.0.0.1"), now + WINDOW), Ok(()));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        let taken = (0..9).filter(|host| tries.take(address(&format!("2001:db8::{host}")), now).is_ok()).count();
        assert_eq!(taken, 5);
        assert_eq!(tries.take(address("2001:db8:0:1::1"), now), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_ends_with_its_minute() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        let from = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..5000 {
            assert_eq!(tries.take(from(number), now).is_ok(), number < 4096, "{number}");
        }
        assert_eq!(tries.addresses.len(), ADDRESSES_MAX);
        assert_eq!(tries.take(from(7), now), Ok(()), "who is known has its tries");
        assert_eq!(tries.take(from(4999), now + WINDOW), Ok(()));
        assert_eq!(tries.addresses.len(), 1);
    }
}
