//! What passed between the core and the agents of guests, noted at the seam of the driver: what the answer to a ping is
//! held against.

use std::collections::BTreeMap;
use std::time::Instant;

use vmwire_daemon::model::{AGENT_CHANNEL, Definition, TestAgent, VmId};

/// What a guest may say where its agent should be. No agent here says any of it.
pub(crate) const NOISES: [&[u8]; 5] = [b"login: ", b"\xff", b"{\"return\": {}}\n", b"\n", b"\xff{\"return\": 1}\n"];

/// What was said with the agents of all guests.
#[derive(Debug, Default)]
pub(crate) struct Agents(BTreeMap<VmId, Guest>);

#[derive(Debug, Default)]
struct Guest {
    /// There is a channel, and what listens there answers.
    channel: bool,
    answers: bool,
    /// It listens, as far as the core was told.
    listens: bool,
    /// When something last happened that a ping may have failed for.
    disturbed: Option<Instant>,
    /// The number that was sent last, and whether it was repeated since.
    number: Option<u64>,
    in_step: bool,
    /// The id of the ping under way, and when it was sent.
    ping: Option<(u64, Instant)>,
    /// When the newest ping that was answered had been sent.
    answered: Option<Instant>,
}

impl Agents {
    /// A guest is launched by this definition.
    pub(crate) fn launched(&mut self, vm: VmId, definition: &Definition) {
        let channel = definition.channels.iter().any(|name| name == AGENT_CHANNEL);
        let hangs = definition.test.as_ref().is_some_and(|script| script.agent == TestAgent::Hangs);
        let guest = self.0.entry(vm).or_default();
        *guest = Guest { channel, answers: channel && !hangs, answered: guest.answered, ..Guest::default() };
    }

    /// The channel was opened or closed, or its guest does something else: what was said before is void.
    pub(crate) fn interrupted(&mut self, vm: VmId, now: Instant) {
        self.disturbed(vm, now);
        if let Some(guest) = self.0.get_mut(&vm) {
            (guest.number, guest.in_step, guest.ping) = (None, false, None);
        }
    }

    /// The core is told whether somebody in the guest has opened the channel.
    pub(crate) fn port(&mut self, vm: VmId, open: bool, now: Instant) {
        self.interrupted(vm, now);
        if let Some(guest) = self.0.get_mut(&vm) {
            guest.listens = open;
        }
    }

    /// The channel takes nothing, or something else than the agent speaks there.
    pub(crate) fn disturbed(&mut self, vm: VmId, now: Instant) {
        if let Some(guest) = self.0.get_mut(&vm) {
            guest.disturbed = Some(now);
        }
    }

    /// The core says something to an agent: one request at a time, and none before a number was repeated.
    pub(crate) fn asked(&mut self, vm: VmId, now: Instant, data: &[u8]) -> Result<(), String> {
        let guest = self.0.get_mut(&vm).filter(|guest| guest.channel).ok_or("to a guest without a channel")?;
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            let number = digits(&text, "\"id\":").ok_or_else(|| format!("without a number: {text}"))?;
            if line.starts_with(b"\xff{\"execute\":\"guest-sync-delimited\"") {
                (guest.number, guest.in_step, guest.ping) = (Some(number), false, None);
            } else if !line.starts_with(b"{\"execute\":\"guest-ping\"") {
                return Err(format!("what nobody asked for: {text}"));
            } else if !guest.in_step {
                return Err(format!("before it is in step: {text}"));
            } else if let Some(under_way) = guest.ping.replace((number, now)) {
                return Err(format!("{text} beside {under_way:?}"));
            }
        }
        Ok(())
    }

    /// An agent said something, or whatever is in its place.
    pub(crate) fn said(&mut self, vm: VmId, data: &[u8], now: Instant) {
        if NOISES.contains(&data) {
            self.disturbed(vm, now);
        }
        let Some(guest) = self.0.get_mut(&vm) else { return };
        for line in data.split(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(line);
            match line.strip_prefix(b"\xff") {
                Some(_) => guest.in_step |= guest.number.is_some() && digits(&text, "\"return\": ") == guest.number,
                None if text.starts_with("{\"return\": {}") => {
                    let id = digits(&text, "\"id\": ");
                    if let Some((_, at)) = guest.ping.take_if(|(ping, _)| Some(*ping) == id) {
                        guest.answered = guest.answered.max(Some(at));
                    }
                }
                None => {}
            }
        }
    }

    /// Whether a ping that was sent since then was answered.
    pub(crate) fn answered_since(&self, vm: VmId, at: Instant) -> bool {
        self.0.get(&vm).is_some_and(|guest| guest.answered >= Some(at))
    }

    /// Whether what listens there answers.
    pub(crate) fn answer(&self, vm: VmId) -> bool {
        self.0.get(&vm).is_some_and(|guest| guest.answers)
    }

    /// Whether a call to it that was made then could not fail: it has listened all the time, and nothing happened to it.
    pub(crate) fn undisturbed_since(&self, vm: VmId, at: Instant) -> bool {
        self.0.get(&vm).is_some_and(|guest| guest.answers && guest.listens && guest.disturbed < Some(at))
    }

    /// Whether there is a channel.
    pub(crate) fn has_channel(&self, vm: VmId) -> bool {
        self.0.get(&vm).is_some_and(|guest| guest.channel)
    }
}

/// The number behind the last of these words.
fn digits(text: &str, behind: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(behind)?;
    let end = rest.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
