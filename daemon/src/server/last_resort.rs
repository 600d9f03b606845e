//! The end of the process, whatever keeps it on the way out.
//!
//! Leaving is bounded by `LEAVE_TIME` in the loop, and what follows waits for nothing that we know of. This is for what we
//! do not know of: a turn that never ends, a close that the kernel does not come back from. It is the one thread beside
//! the loop's, begun when there is nothing left but to go, and it says where the other one was.
//!
//! ```text
//!   begun ──(TIME)──▶ says where ──▶ ends the process
//!                        └──(SAYING_TIME)──▶ ends it unsaid
//! ```
//! What the kernel itself does with a process that has ended (its files, its memory) is bounded by nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::logging::Log;

/// How long leaving may take in all. Long enough for a host that is busy with everything else.
const TIME: Duration = Duration::from_secs(10);

/// How long it may take to say so: whoever hangs may hang in the log.
const SAYING_TIME: Duration = Duration::from_secs(1);

/// The process ends with this when it had to be ended.
const EXIT_CODE: i32 = 1;

/// How far the process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the loop, which lets connections and the file helper finish.
    Turning,
    /// Behind the loop: descriptors, children, the last lines of the log.
    LettingGo,
}

/// What waits beside the loop. Dropping it changes nothing: only the end of the process ends it.
#[derive(Debug, Default, Clone)]
pub(super) struct LastResort {
    stage: Arc<AtomicU8>,
}

impl LastResort {
    /// From now on, in the loop, the process lives for [`TIME`] at most.
    pub(super) fn begin(&self, log: &Log) {
        self.reached(Stage::Turning);
        self.begin_with(log, TIME);
    }

    /// Says how far we are.
    pub(super) fn reached(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    #[expect(clippy::disallowed_methods, reason = "another thread than the loop's waits")]
    fn begin_with(&self, log: &Log, time: Duration) {
        let (log, stage) = (log.clone(), self.stage.clone());
        let waiting = std::thread::Builder::new().name("last-resort".to_owned()).spawn(move || {
            std::thread::sleep(time);
            let unsaid = std::thread::Builder::new().spawn(|| {
                std::thread::sleep(SAYING_TIME);
                end();
            });
            if unsaid.is_ok() {
                let at = match stage.load(Ordering::Relaxed) {
                    at if at == Stage::LettingGo as u8 => "behind the loop, letting go of descriptors and children",
                    _ => "in a turn of the loop",
                };
                log::error!("leaving did not end within {} s and is cut short: it hung {at}", time.as_secs_f32());
                log.flush_waiting(SAYING_TIME);
            }
            end();
        });
        if let Err(error) = waiting {
            log::warn!("nobody will end this process if leaving hangs: {error}");
        }
    }
}

/// At once: what runs at the exit of a process may be what hangs.
fn end() -> ! {
    signal_hook::low_level::exit(EXIT_CODE)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests wait for processes")]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    /// Makes this test program one that leaves and hangs, at the stage that it names.
    const HANG: &str = "VMWIRE_TEST_HANG";

    /// What the others start; by itself it does nothing.
    #[test]
    fn a_process_that_hangs() {
        let Ok(stage) = std::env::var(HANG) else { return };
        let log = Log::start("info").unwrap();
        let last_resort = LastResort::default();
        match stage.as_str() {
            "turning" => last_resort.reached(Stage::Turning),
            _ => last_resort.reached(Stage::LettingGo),
        }
        // Long enough for who is to hang in the log to have come there.
        last_resort.begin_with(&log, Duration::from_secs(2));
        if stage == "the log" {
            log.hang_in_it();
        }
        std::thread::sleep(Duration::from_secs(600));
    }

    fn hanging(stage: &str) -> (Option<i32>, String) {
        let name = "server::last_resort::tests::a_process_that_hangs";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(HANG, stage)
            .env_remove("VMWIRE_LOG")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(300), "it ended by itself");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    #[test]
    fn a_turn_that_never_ends_ends_with_the_process_and_is_told() {
        let (code, told) = hanging("turning");
        assert_eq!(code, Some(EXIT_CODE), "{told}");
        let line = "ERROR leaving did not end within 2 s and is cut short: it hung in a turn of the loop\n";
        assert!(told.ends_with(line), "{told}");
    }

    #[test]
    fn whatever_hangs_behind_the_loop_is_told_apart() {
        let (code, told) = hanging("letting go");
        assert_eq!(code, Some(EXIT_CODE), "{told}");
        assert!(told.contains("it hung behind the loop, letting go of descriptors and children\n"), "{told}");
    }

    #[test]
    fn who_hangs_in_the_log_itself_ends_all_the_same() {
        let (code, told) = hanging("the log");
        assert_eq!((code, told.as_str()), (Some(EXIT_CODE), ""));
    }
}
