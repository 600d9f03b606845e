//! How many lines one somebody may cause: the file is rotated, so whoever could fill it could make it forget.
//!
//! ```text
//!   a line of somebody ──▶ fewer than so many in the window? ──▶ told
//!                            └─ no ──▶ counted ──▶ one line `left-out` when the window ends
//! ```
//! Who is known counts for itself. Strangers cost nothing to invent, so each address may cause a tenth, and all of them
//! together as many as one who is known. What changed something is not counted here: that is always told.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Those who are known and are counted each for itself; the rest share one count.
const KNOWN_MAX: usize = 1024;

/// Addresses that are counted each for itself.
const STRANGERS_MAX: usize = 256;

/// Of what all strangers may cause, the part of one address.
const ONE_STRANGER: u32 = 10;

/// How many lines there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Lines of a kind that one somebody may cause in a window; 0 for as many as they like.
    pub burst: u32,
    /// How long a window is.
    pub interval: Duration,
}

/// Whose lines are counted together, however many connections they come over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A user of this host.
    User(u32),
    /// Who has shown a key.
    Key(vmwire_tls::identity::Fingerprint),
    /// Whoever is at an address, which proves nothing.
    Address(IpAddr),
}

impl Origin {
    /// Of IPv6 the network, for who has one address there has them all.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// What is counted apart, so that much of one hides nothing of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Coming and going.
    Visit,
    /// Asking in vain.
    Refusal,
    /// Asking for what changes nothing.
    Look,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Visit, Self::Refusal, Self::Look];

    /// As lines have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Visit => "visits",
            Self::Refusal => "refusals",
            Self::Look => "looks",
        }
    }
}

/// Who somebody is, for the line that tells what was left out of theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) transport: &'static str,
    pub(super) identity: String,
    pub(super) address: String,
}

/// What was left out in a window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) whose: Named,
    pub(super) kind: Kind,
    pub(super) lines: u64,
}

/// Counts of everybody.
///
/// Invariant: `next` is the end of the earliest window in which something was left out.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    known: HashMap<Origin, Window>,
    strangers: HashMap<Origin, Window>,
    all_strangers: Window,
    /// Those who are known and found no room.
    others: Window,
    next: Option<Instant>,
}

/// What one somebody has caused since it began.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    told: [u32; 3],
    left_out: [u64; 3],
    whose: Option<Box<Named>>,
}

impl Budgets {
    /// Whether somebody may cause another line now. If not, it is counted; `named` is asked for who it is when that is new.
    /// What windows that have ended left out is to be taken before.
    pub(super) fn spend(
        &mut self,
        now: Instant,
        rate: Rate,
        whose: Origin,
        stranger: bool,
        kind: Kind,
        named: impl FnOnce() -> Named,
    ) -> bool {
        if rate.burst == 0 {
            return true;
        }
        let (windows, most) =
            if stranger { (&mut self.strangers, STRANGERS_MAX) } else { (&mut self.known, KNOWN_MAX) };
        if windows.len() >= most && !windows.contains_key(&whose) {
            windows.retain(|_, window| !window.is_over(now, rate));
        }
        let has_room = windows.len() < most || windows.contains_key(&whose);
        let own = has_room.then(|| windows.entry(whose).or_default());
        let spent = match (own, stranger) {
            (Some(own), false) => own.spend(now, rate, rate.burst, kind, named),
            (Some(own), true) => own
                .spend(now, rate, (rate.burst / ONE_STRANGER).max(1), kind, named)
                .and_then(|()| self.all_strangers.spend(now, rate, rate.burst, kind, Named::default)),
            (None, true) => self.all_strangers.spend(now, rate, rate.burst, kind, Named::default),
            (None, false) => self.others.spend(now, rate, rate.burst, kind, Named::default),
        };
        spent.map_err(|ends| self.next = Some(self.next.map_or(ends, |next| next.min(ends)))).is_ok()
    }

    /// When the next window ends in which something was left out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// What was left out in windows that have ended; they begin anew.
    pub(super) fn take_ended(&mut self, now: Instant, rate: Rate) -> Vec<LeftOut> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.take(rate, |window| window.is_over(now, rate))
    }

    /// What was left out until now; everything begins anew.
    pub(super) fn take_all(&mut self, rate: Rate) -> Vec<LeftOut> {
        let left_out = self.take(rate, |_| true);
        *self = Self::default();
        left_out
    }

    fn take(&mut self, rate: Rate, is_over: impl Fn(&Window) -> bool) -> Vec<LeftOut> {
        self.next = None;
        let mut taken = Vec::new();
        let shared = [&mut self.all_strangers, &mut self.others];
        for window in self.known.values_mut().chain(self.strangers.values_mut()).chain(shared) {
            if is_over(window) {
                window.take(&mut taken);
            }
            if let Some(since) = window.since.filter(|_| window.has_left_out()) {
                let ends = since + rate.interval;
                self.next = Some(self.next.map_or(ends, |next| next.min(ends)));
            }
        }
        taken
    }
}

impl Window {
    /// The error is when it ends.
    fn spend(
        &mut self,
        now: Instant,
        rate: Rate,
        burst: u32,
        kind: Kind,
        named: impl FnOnce() -> Named,
    ) -> Result<(), Instant> {
        if self.is_over(now, rate) && !self.has_left_out() {
            *self = Self { since: Some(now), ..Self::default() };
        }
        let told = &mut self.told[kind as usize];
        if *told < burst {
            *told += 1;
            return Ok(());
        }
        self.left_out[kind as usize] += 1;
        self.whose.get_or_insert_with(|| Box::new(named()));
        Err(self.since.unwrap_or(now) + rate.interval)
    }

    fn is_over(&self, now: Instant, rate: Rate) -> bool {
        self.since.is_none_or(|since| since + rate.interval <= now)
    }

    fn has_left_out(&self) -> bool {
        self.left_out != [0; 3]
    }

    fn take(&mut self, taken: &mut Vec<LeftOut>) {
        let window = std::mem::take(self);
        let whose = window.whose.map_or_else(Named::default, |whose| *whose);
        for (kind, lines) in Kind::ALL.into_iter().zip(window.left_out).filter(|(_, lines)| *lines > 0) {
            taken.push(LeftOut { whose: whose.clone(), kind, lines });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 1000, interval: Duration::from_secs(600) };

    /// How many of so many attempts are told.
    fn told(budgets: &mut Budgets, now: Instant, whose: Origin, kind: Kind, attempts: u32) -> u32 {
        let named = || Named { identity: format!("{whose:?}"), ..Named::default() };
        let stranger = matches!(whose, Origin::Address(_));
        let attempts = (0..attempts).filter(|_| budgets.spend(now, RATE, whose, stranger, kind, named));
        u32::try_from(attempts.count()).unwrap()
    }

    fn stranger(number: u32) -> Origin {
        Origin::address(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_flood_of_one_is_cut_short_counted_and_hides_nothing_of_others_nor_of_another_kind() {
        let (begin, mut budgets) = (Instant::now(), Budgets::default());
        let (user, other) = (Origin::User(1000), Origin::User(1001));
        assert_eq!(told(&mut budgets, begin, user, Kind::Refusal, 5000), 1000);
        assert_eq!(told(&mut budgets, begin, user, Kind::Visit, 5), 5);
        assert_eq!(told(&mut budgets, begin, other, Kind::Refusal, 5), 5);
        assert_eq!(budgets.next(), Some(begin + RATE.interval));
        assert_eq!(budgets.take_ended(begin + RATE.interval / 2, RATE), []);

        let later = begin + RATE.interval;
        let whose = Named { identity: "User(1000)".to_owned(), ..Named::default() };
        assert_eq!(budgets.take_ended(later, RATE), [LeftOut { whose, kind: Kind::Refusal, lines: 4000 }]);
        assert_eq!((budgets.next(), budgets.take_ended(later, RATE)), (None, Vec::new()));
        assert_eq!(told(&mut budgets, later, user, Kind::Refusal, 1001), 1000);
        assert_eq!(budgets.take_all(RATE).len(), 1, "what the last window left out is not forgotten");
    }

    #[test]
    fn strangers_share_what_one_has_who_is_known_and_one_address_has_a_tenth() {
        let (begin, mut budgets) = (Instant::now(), Budgets::default());
        let network = "2001:db8::1".parse().unwrap();
        let neighbour = "2001:db8::ffff:2".parse().unwrap();
        assert_eq!(Origin::address(network), Origin::address(neighbour));
        assert_eq!(Origin::address("::ffff:192.0.2.1".parse().unwrap()), Origin::address("192.0.2.1".parse().unwrap()));
        let all: u32 = (0..2000).map(|number| told(&mut budgets, begin, stranger(number), Kind::Refusal, 200)).sum();
        assert_eq!(all, 1000);
        assert_eq!(told(&mut budgets, begin, Origin::User(0), Kind::Refusal, 1), 1, "who is known is heard");
        assert!(budgets.strangers.len() <= STRANGERS_MAX, "{}", budgets.strangers.len());
        let left_out: u64 = budgets.take_all(RATE).iter().map(|left_out| left_out.lines).sum();
        assert_eq!(left_out, 2000 * 200 - 1000, "every one is counted");
    }

    #[test]
    fn there_is_room_for_so_many_and_the_rest_share_what_one_has() {
        let (begin, mut budgets) = (Instant::now(), Budgets::default());
        let all: u32 = (0..5000).map(|uid| told(&mut budgets, begin, Origin::User(uid), Kind::Visit, 1)).sum();
        assert_eq!(all, 1024 + 1000);
        assert_eq!(budgets.known.len(), KNOWN_MAX);
        let left_out = budgets.take_ended(begin + RATE.interval, RATE);
        assert_eq!(left_out, [LeftOut { whose: Named::default(), kind: Kind::Visit, lines: 5000 - 2024 }]);
        assert_eq!(told(&mut budgets, begin + RATE.interval, Origin::User(9999), Kind::Visit, 2), 2);
        assert_eq!(budgets.known.len(), 1, "those who are silent make room");
    }
}
