//! What happens to a guest that is up: states, events, resets.

use std::time::Instant;

use serde_json::Value;

use super::{Command, Lifecycle, Phase, ShutdownCause, failed};
use crate::driver::Report;
use crate::model::{StateReason, VmState};

impl Lifecycle {
    pub(super) fn handle_event(&mut self, now: Instant, name: &str, data: &Value) {
        if !matches!(self.phase, Phase::Configuring | Phase::Up | Phase::Ending(_)) {
            return;
        }
        match name {
            "STOP" => {
                self.status_stale = true;
                self.panicking = false;
            }
            "RESUME" => {
                self.status_stale = true;
                self.panicking = false;
                self.resets.resumed(now);
            }
            "RESET" => self.handle_reset(now, data["guest"].as_bool().unwrap_or(false)),
            "SHUTDOWN" => self.handle_shutdown(data),
            "GUEST_PANICKED" => self.handle_panic(now, data),
            "VSERPORT_CHANGE" => self.handle_port_change(data),
            _ => {}
        }
    }

    /// The guest has said something on its console.
    pub(in super::super) fn handle_console(&mut self, now: Instant) {
        self.resets.said_something(now);
    }

    /// Asks what the state is, once nothing is under way that will ask by itself.
    ///
    /// STOP and RESUME also come from snapshots and migrations, so only the status says what they meant.
    pub(super) fn ask_status_if_stale(&mut self) {
        let idle = self.script.is_none() && self.asked_status.is_none();
        if self.status_stale && idle && matches!(self.phase, Phase::Up) && self.link_is_ready() {
            self.status_stale = false;
            self.asked_status = Some(self.send(Command::QueryStatus));
        }
    }

    /// Enters the state that a status names. Passing ones change nothing.
    pub(super) fn handle_status(&mut self, status: &Value, reason: StateReason) {
        if !matches!(self.phase, Phase::Up) {
            return;
        }
        let hypervisor = match reason {
            StateReason::Adopted => StateReason::Adopted,
            _ => StateReason::Hypervisor,
        };
        let (state, reason, message) = match status["status"].as_str().unwrap_or_default() {
            "running" if self.panicking => return,
            "running" => {
                self.shutdown = None;
                (VmState::Running, reason, "")
            }
            "paused" | "prelaunch" => (VmState::Paused, reason, ""),
            "suspended" => (VmState::Paused, StateReason::Guest, "the guest has suspended itself"),
            "guest-panicked" => match reason {
                StateReason::Adopted => (VmState::Crashed, reason, "the guest panicked"),
                _ => (VmState::Crashed, StateReason::Guest, "the guest panicked"),
            },
            "io-error" => (VmState::Paused, hypervisor, "a disk failed"),
            "watchdog" => (VmState::Paused, hypervisor, "the guest's watchdog ran out"),
            "internal-error" => (VmState::Crashed, hypervisor, "QEMU found an error in itself"),
            // QEMU is going, and has said why; or the guest powered off while QEMU was told to stand after that, and
            // whoever told it is gone.
            "shutdown" => {
                let unseen = || ShutdownCause { by_guest: true, reason: "guest-shutdown".to_owned() };
                self.shutdown.get_or_insert_with(unseen);
                self.send(Command::Quit);
                return;
            }
            // It stands for now, or for good; that will be told by RESUME or by nothing.
            _ if reason == StateReason::Adopted => {
                (VmState::Paused, reason, "QEMU let it stand for some work of its own")
            }
            _ => return,
        };
        self.enter(state, reason, message);
    }

    fn handle_reset(&mut self, now: Instant, by_guest: bool) {
        if !by_guest && let Some(script) = &mut self.script {
            script.saw_reset();
        }
        let told = self.resets.seen(now, by_guest);
        self.status_stale = true;
        if told && matches!(self.phase, Phase::Up) {
            self.report(Report::Reset { vm: self.vm, by_guest });
        }
        self.advance();
    }

    fn handle_shutdown(&mut self, data: &Value) {
        self.shutdown = Some(ShutdownCause {
            by_guest: data["guest"].as_bool().unwrap_or(false),
            reason: data["reason"].as_str().unwrap_or("no reason given").to_owned(),
        });
        if let Some(script) = &mut self.script {
            script.saw_shutdown();
            self.advance();
        }
    }

    fn handle_panic(&mut self, now: Instant, data: &Value) {
        if !matches!(self.phase, Phase::Up) {
            return;
        }
        self.panicking = data["action"] == "pause";
        self.status_stale = true;
        self.enter(VmState::Crashed, StateReason::Guest, "the guest panicked");
        if self.script.as_ref().is_some_and(super::script::Script::waits_for_guest)
            && let Some(script) = self.script.take()
        {
            self.give_up(now, &script, failed("the guest panicked meanwhile"));
        }
    }
}
