//! Which resets are told: the firmware resets the machine once more, up to six times, before it does anything else.
//!
//! Nothing in those events tells an echo from a guest that resets itself. But the firmware does it before anything else
//! and says nothing before it: so what comes soon is an echo, unless the guest has said something meanwhile. No time
//! alone tells them apart: a small guest is up and down again within two seconds, and on a host that is busy with
//! everything else a moment of the firmware's takes as long.

use std::time::{Duration, Instant};

/// What comes within this of a reset or of its echo is an echo while the console is silent.
const QUIET: Duration = Duration::from_secs(2);
/// So is what comes within this of the reset. Not counted anew with each echo: a guest that never says anything and
/// resets itself again and again is to be told of.
const SILENT: Duration = Duration::from_secs(20);
/// What the console says so soon after a reset was said before it. Whoever tells of resets has the console heard first;
/// this is for what QEMU could not pass on by then.
const SAID_BEFORE: Duration = Duration::from_millis(200);

/// What is known of the resets of a guest.
#[derive(Debug, Default)]
pub(super) struct Resets {
    quiet_until: Option<Instant>,
    silent_until: Option<Instant>,
    last: Option<Instant>,
    /// A told reset still echoes when the processors run again.
    echoes: bool,
}

impl Resets {
    /// The machine was reset. Says whether that is to be told.
    pub(super) fn seen(&mut self, now: Instant, by_guest: bool) -> bool {
        let before = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let echo = by_guest && (before(self.quiet_until) || before(self.silent_until));
        if !echo {
            self.silent_until = Some(now + SILENT);
        }
        self.quiet_until = Some(now + QUIET);
        self.last = Some(now);
        self.echoes = !by_guest;
        !echo
    }

    /// The processors run again.
    pub(super) fn resumed(&mut self, now: Instant) {
        if std::mem::take(&mut self.echoes) {
            self.quiet_until = Some(now + QUIET);
            self.silent_until = Some(now + SILENT);
            self.last = Some(now);
        }
    }

    /// The guest has said something on its console.
    pub(super) fn said_something(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now >= last + SAID_BEFORE) {
            self.quiet_until = None;
            self.silent_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_the_firmware_does_is_told_once_however_slowly_it_does_it() {
        let start = Instant::now();
        let mut resets = Resets::default();
        assert!(resets.seen(start, false));
        for late in [1_900, 3_800, 7_500, 19_900] {
            assert!(!resets.seen(start + ms(late), true), "{late}");
        }
        // The last one was an echo of the first all the same.
        assert!(!resets.seen(start + ms(21_000), true));
        assert!(resets.seen(start + ms(24_000), true));
    }

    #[test]
    fn a_guest_that_was_heard_of_meanwhile_has_reset_itself() {
        let start = Instant::now();
        let mut resets = Resets::default();
        assert!(resets.seen(start, false));
        assert!(!resets.seen(start + ms(100), true));
        resets.said_something(start + ms(1_000));
        assert!(resets.seen(start + ms(1_500), true), "a small guest on a quick host is up and down as soon as that");
        assert!(!resets.seen(start + ms(1_600), true), "and that has an echo too");
    }

    #[test]
    fn what_was_said_before_a_reset_is_heard_behind_it_and_proves_nothing() {
        let start = Instant::now();
        let mut resets = Resets::default();
        resets.said_something(start);
        assert!(resets.seen(start, true));
        resets.said_something(start + ms(100));
        assert!(!resets.seen(start + ms(5_000), true));
    }

    #[test]
    fn a_guest_that_resets_itself_and_never_says_anything_is_told_of_again_and_again() {
        let start = Instant::now();
        let mut resets = Resets::default();
        let told = (0..12).filter(|round| resets.seen(start + ms(round * 5_000), true)).count();
        assert_eq!(told, 3);
    }

    #[test]
    fn a_reset_that_comes_from_outside_is_always_told() {
        let start = Instant::now();
        let mut resets = Resets::default();
        assert!(resets.seen(start, true) && resets.seen(start + ms(1), false));
    }

    #[test]
    fn the_echo_of_a_paused_machine_comes_when_it_runs_again() {
        let start = Instant::now();
        let mut resets = Resets::default();
        assert!(resets.seen(start, false));
        resets.resumed(start + ms(60_000));
        assert!(!resets.seen(start + ms(65_000), true));
        resets.resumed(start + ms(70_000));
        assert!(resets.seen(start + ms(85_000), true), "a resume without a reset has no echo");
    }
}
