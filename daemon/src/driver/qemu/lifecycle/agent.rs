//! The channel of the guest's agent: whether somebody in the guest has it open, and the daemon can reach it.
//!
//! QEMU tells each change, but not more often than once a second, and then only the newest: of an agent that was
//! started again it says twice that it is there. What happens while nobody is connected to the monitor is never told,
//! so it is asked for behind each start, adoption and reconnection.

use serde_json::Value;

use super::{Command, Lifecycle, Phase};
use crate::driver::Report;
use crate::driver::qemu::argv::{channel_id, port_id};

/// The agent's channel, if there is one.
#[derive(Debug, Default)]
pub(super) struct AgentPort {
    /// Which of the guest's channels it is.
    index: Option<usize>,
    /// Whether the daemon is connected to it.
    connected: bool,
    /// Whether it is open, as told; nothing where nobody knows.
    told: Option<bool>,
    /// The question whether it is.
    asked: Option<u64>,
}

impl AgentPort {
    pub(super) fn was_asked_by(&self, id: u64) -> bool {
        self.asked == Some(id)
    }
}

impl Lifecycle {
    /// Which of the guest's channels is its agent's. Told before a start, and of a guest that was found.
    pub(in super::super) fn handle_channels(&mut self, agent: Option<usize>) {
        // Of a guest that has yet to be started it is known.
        let told = self.is_stopped().then_some(false);
        self.agent = AgentPort { index: agent, told, ..AgentPort::default() };
    }

    /// Whether the daemon is connected to the agent's channel now; nothing happens if it was so before.
    pub(in super::super) fn handle_agent_line(&mut self, connected: bool) {
        if std::mem::replace(&mut self.agent.connected, connected) == connected {
            return;
        }
        self.ask_agent_port();
    }

    /// Nothing is left of the guest. Told along with that, and not before it: why the agent is gone is the end.
    pub(super) fn end_agent_port(&mut self) {
        self.agent_port_is(false);
    }

    /// The monitor was lost: what becomes of the channel is not told any more.
    pub(super) fn lose_agent_port(&mut self) {
        self.agent.told = None;
    }

    /// Asks whether somebody has the agent's channel open, if there is one and somebody to ask. While the daemon cannot
    /// reach it itself, that is what is told: who in the guest has it open may be told when it can again.
    pub(super) fn ask_agent_port(&mut self) {
        if self.agent.index.is_none() || !matches!(self.phase, Phase::Up) {
            return;
        }
        if !self.agent.connected {
            (self.agent.told, self.agent.asked) = (None, None);
            self.report(Report::AgentPort { vm: self.vm, open: None });
        } else if self.link_is_ready() {
            self.agent.asked = Some(self.send(Command::QueryChardev));
        }
    }

    /// Somebody in the guest opened or closed a channel, the agent's or another.
    pub(super) fn handle_port_change(&mut self, data: &Value) {
        let Some(port) = self.agent.index.map(port_id) else { return };
        if data["id"].as_str() == Some(port.as_str())
            && let Some(open) = data["open"].as_bool()
        {
            self.agent_port_is(open);
        }
    }

    /// What QEMU says of its character devices.
    pub(super) fn handle_chardevs(&mut self, devices: &Value) {
        self.agent.asked = None;
        let Some(channel) = self.agent.index.map(channel_id) else { return };
        let mut devices = devices.as_array().into_iter().flatten();
        let found = devices.find(|device| device["label"].as_str() == Some(channel.as_str()));
        if let Some(open) = found.and_then(|device| device["frontend-open"].as_bool()) {
            self.agent_port_is(open);
        }
    }

    /// Tells what is known. That it is open is told each time, for it may have been closed in between.
    fn agent_port_is(&mut self, open: bool) {
        // Before it is up nobody is told anything; it will be asked for then. Behind that it ends.
        let is_up = matches!(self.phase, Phase::Up);
        let open = open && is_up;
        let news = if is_up {
            self.agent.connected && (open || self.agent.told != Some(false))
        } else {
            self.agent.told == Some(true)
        };
        if news {
            self.agent.told = Some(open);
            self.report(Report::AgentPort { vm: self.vm, open: Some(open) });
        }
    }
}
