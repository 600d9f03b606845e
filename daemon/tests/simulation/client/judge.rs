//! Whether an answer is right: held against what was asked and what really happened.

use std::collections::BTreeMap;
use std::time::Duration;

use vmwire_daemon::model::VmId;
use vmwire_protocol::message::{
    ClientData, Failure, Procedure, ServerData, VmCell, VmListAnswer, VmListCall, VmRow, code, console_mode,
    operation_state, vm_field, vm_state,
};
use vmwire_protocol::xdr::Text;

use super::{Asked, Connection, Tally, vm_of};
use crate::captures::Capture;
use crate::events::Subscription;
use crate::rights::Rights;
use crate::streams::Stream;
use crate::truth::Truth;

/// In so much time an agent that answers has been heard, one more try because of noise included.
const LONG: Duration = Duration::from_secs(5);

/// Holds a page of rows against who there was: it tells of all that were looked at and meant, and of nobody else.
fn wrong_rows(call: &VmListCall, answer: &VmListAnswer, rights: &Rights, truth: &Truth) -> Option<String> {
    let sequence = answer.cursor.sequence;
    let seen = truth.groups_as_of(sequence).iter().filter(|(_, group)| rights.over(group).is_some());
    let after: BTreeMap<String, VmId> = seen.map(|(id, group)| (group.name.clone(), *id)).collect();
    let known = |name: &Text<128>| after.contains_key(name.as_str()) && *name > call.after;
    if !answer.next.is_empty() && !known(&answer.next) {
        return Some(format!("it goes on behind {}, who was not looked at", answer.next));
    }
    if call.rows_max != 0 && answer.rows.len() > usize::try_from(call.rows_max).unwrap() {
        return Some("more rows than were asked for".to_owned());
    }
    let looked_at = after
        .into_iter()
        .filter(|(name, _)| name.as_str() > call.after.as_str())
        .filter(|(name, _)| answer.next.is_empty() || name.as_str() <= answer.next.as_str());
    let cells = looked_at.map(|(name, id)| (name, truth.state_as_of(id, sequence).map(u64::from)));
    // Whoever the filter is about, it asks for the state alone.
    let meant = cells.filter(|(_, state)| {
        let cell = state.map_or(VmCell::Absent, VmCell::Number);
        call.filters.iter().all(|filter| filter.condition().unwrap().holds(&cell))
    });
    let expected: Vec<Vec<Option<VmCell>>> = meant
        .map(|(name, state)| {
            let cell = |field: &u32| match *field {
                vm_field::NAME => Some(VmCell::Text(Text::clipped(&name))),
                vm_field::STATE => state.map(VmCell::Number),
                _ => None,
            };
            call.fields.iter().map(cell).collect()
        })
        .collect();
    let fits = |row: &VmRow, expected: &[Option<VmCell>]| {
        row.cells.len() == expected.len()
            && row.cells.iter().zip(expected).all(|(cell, expected)| expected.as_ref().is_none_or(|it| it == cell))
    };
    let same = answer.rows.len() == expected.len()
        && answer.rows.iter().zip(&expected).all(|(row, expected)| fits(row, expected));
    (!same).then(|| format!("the rows as of the cursor are {expected:?}"))
}

/// What is wrong with it that a ping has failed so: a guest with an agent has run all the time.
fn unlikely(asked: &Asked, failure: u32, truth: &Truth) -> Option<&'static str> {
    let ClientData::AgentPing(call) = &asked.data else { return None };
    let mut meant = truth.meant_since(asked.newest_event, &call.vm).collect::<Vec<_>>();
    meant.dedup();
    let [vm] = meant[..] else { return None };
    if !truth.has_run_since(vm, asked.newest_event) || !truth.agents.has_channel(vm) {
        return None;
    }
    match failure {
        code::INVALID => Some("has run with a channel for an agent"),
        // Before it is calm the daemon may have slept longer than the deadline.
        code::DEADLINE_EXCEEDED if truth.agents.answer(vm) => {
            let had_time = truth.calm_since.is_some_and(|calm| asked.at + asked.deadline >= calm + LONG);
            had_time.then_some("has an agent that answers")
        }
        code::AGENT if truth.agents.undisturbed_since(vm, asked.at) => Some("has an agent that nothing happened to"),
        _ => None,
    }
}

impl Connection {
    pub(super) fn answered(
        &mut self,
        serial: u32,
        result: &Result<ServerData, Failure>,
        truth: &Truth,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let asked = self.asked.remove(&serial).ok_or("an answer to a call that was not open")?;
        let wrong =
            |why: &str| Err(format!("{why}: call {serial} {:.200}: {result:.300?}", format!("{:?}", asked.data)));
        let name = Procedure::of(asked.data.number()).unwrap().name;
        let outcome = result.as_ref().map_or_else(|failure| code::name(failure.code).unwrap_or("?"), |_| "ok");
        *tally.entry(format!("{name} {outcome}")).or_default() += 1;
        if let Some(code) = self.must_fail(&asked)
            && result.as_ref().err().map(|failure| failure.code) != Some(code)
        {
            return wrong(&format!("it had to fail with {code}"));
        }
        if self.cancelled.remove(&serial) && result.as_ref().err().map(|failure| failure.code) != Some(code::CANCELLED)
        {
            return wrong("it was found to be cancelled");
        }
        match result {
            Ok(data) => match self.judge(serial, &asked, data, truth)? {
                None => Ok(()),
                Some(why) => wrong(&why),
            },
            Err(failure) => {
                let fact = |key: &str| failure.details.iter().find(|detail| detail.key == key);
                let operation = fact("operation").and_then(|detail| detail.value.parse::<u64>().ok());
                if let Some(id) = operation.filter(|_| failure.code != code::BUSY) {
                    let begun = fact("begun").map(|detail| detail.value.as_str());
                    match (truth.operations.get(&id).map(|operation| operation.state), begun) {
                        (None, _) => return wrong("its operation was never heard of"),
                        (Some(operation_state::DROPPED), Some("yes")) => return wrong("it was dropped"),
                        (Some(state), Some("no")) if state != operation_state::DROPPED => {
                            return wrong("it was not dropped");
                        }
                        _ => {}
                    }
                }
                if let (ClientData::AgentPing(call), Some(why)) = (&asked.data, unlikely(&asked, failure.code, truth)) {
                    return wrong(&format!("{} {why}", call.vm));
                }
                let shutdown = matches!(asked.data, ClientData::VmShutdown(_) | ClientData::OperationWait(_));
                let elapsed = truth.now.monotonic.saturating_duration_since(asked.at);
                match failure.code {
                    code::DEADLINE_EXCEEDED if !shutdown && elapsed < asked.deadline => wrong("too early"),
                    code::OVERLOADED if asked.open < 256 => {
                        let stream = matches!(asked.data, ClientData::ConsoleOpen(_) | ClientData::CaptureOpen(_));
                        if stream { Ok(()) } else { wrong("it had room") }
                    }
                    code::MALFORMED | code::INTERNAL | code::ANSWER_TOO_LARGE => wrong("it makes no sense"),
                    code::AGENT if !matches!(asked.data, ClientData::AgentPing(_)) => wrong("it asks no agent"),
                    code::VERSION_MISMATCH | code::UNSUPPORTED | code::UNKNOWN_PROCEDURE
                        if asked.must_fail.is_none() =>
                    {
                        wrong("the versions fit")
                    }
                    code::DENIED if asked.must_fail.is_none() && !self.may_be_denied(&asked, truth) => {
                        wrong("its role suffices")
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Holds an answer against what happened. Answers what is wrong with it.
    fn judge(
        &mut self,
        serial: u32,
        asked: &Asked,
        data: &ServerData,
        truth: &Truth,
    ) -> Result<Option<String>, String> {
        let done = |id: u64, number: u32| match truth.operations.get(&id) {
            _ if id == 0 => None,
            Some(operation) if (operation.procedure, operation.state) == (number, operation_state::DONE) => None,
            other => Some(format!("operation {id} is {other:?}")),
        };
        Ok(match (&asked.data, data) {
            (ClientData::Cancel(call), ServerData::Cancel(answer)) => {
                let open = call.serial < serial && self.asked.contains_key(&call.serial);
                if answer.found {
                    self.cancelled.insert(call.serial);
                }
                (answer.found != open).then(|| format!("whether it is open: {open}"))
            }
            (ClientData::Subscribe(call), ServerData::Subscribe(answer)) => {
                self.subscription = Some(Subscription::begin(call.clone(), asked.newest_event, answer, truth)?);
                None
            }
            (_, ServerData::Unsubscribe) => {
                self.subscription = None;
                None
            }
            (ClientData::ConsoleOpen(call), ServerData::ConsoleOpen(answer)) => {
                let writes = call.mode != console_mode::READ;
                let stream = Stream::open(vm_of(&call.vm), asked.generation, writes, answer.offset, truth)?;
                self.streams.insert(answer.stream, stream);
                None
            }
            (ClientData::CaptureOpen(call), ServerData::CaptureOpen(answer)) => {
                self.captures.insert(answer.stream, Capture::open(asked.era, call.agents));
                None
            }
            (ClientData::AgentPing(call), ServerData::AgentPing) => {
                let mut meant = truth.meant_since(asked.newest_event, &call.vm);
                let answered = meant.any(|vm| truth.agents.answered_since(vm, asked.at));
                (!answered).then(|| "no agent has answered what it was asked since".to_owned())
            }
            (ClientData::VmShow(_), ServerData::VmShow(answer)) => {
                let vm = VmId(uuid::Uuid::from_bytes(answer.vm.uuid.0));
                let state = truth.state_as_of(vm, answer.cursor.sequence);
                (state != Some(answer.vm.state)).then(|| format!("its state as of the cursor is {state:?}"))
            }
            (ClientData::VmWait(call), ServerData::VmWait(answer)) => {
                let vm = VmId(uuid::Uuid::from_bytes(answer.vm.uuid.0));
                let state = truth.state_as_of(vm, answer.cursor.sequence);
                let fits = call.states.contains(&answer.state) && state == Some(answer.state);
                (!fits).then(|| format!("its state as of the cursor is {state:?}"))
            }
            (ClientData::VmNames(call), ServerData::VmNames(answer)) => {
                let groups = truth.groups_as_of(answer.cursor.sequence).values();
                let rights = &self.eras[asked.answered_in].rights;
                let seen = groups.filter(|group| rights.over(group).is_some());
                let mut names: Vec<String> = seen.map(|group| group.name.clone()).collect();
                names.retain(|name| name.as_str() > call.after.as_str());
                names.sort_unstable();
                let most = usize::try_from(call.rows_max).unwrap();
                names.truncate(if most == 0 { 4096 } else { most });
                let same = answer.names.iter().map(Text::as_str).eq(names.iter().map(String::as_str));
                (!same).then(|| format!("the names as of the cursor are {names:?}"))
            }
            (ClientData::VmList(call), ServerData::VmList(answer)) => {
                wrong_rows(call, answer, &self.eras[asked.answered_in].rights, truth)
            }
            (ClientData::VmDefine(call), ServerData::VmDefine(answer)) => {
                let replaced = truth.operations.get(&answer.operation).is_some_and(|operation| operation.replaced);
                let unasked = replaced && !call.replace;
                done(answer.operation, data.number()).or(unasked.then(|| "it was not to replace".to_owned()))
            }
            (
                _,
                ServerData::VmUndefine(answer)
                | ServerData::VmStart(answer)
                | ServerData::VmShutdown(answer)
                | ServerData::VmStop(answer)
                | ServerData::VmReboot(answer)
                | ServerData::VmReset(answer)
                | ServerData::VmPause(answer)
                | ServerData::VmResume(answer),
            ) => done(answer.operation, data.number()),
            _ => None,
        })
    }

    /// Nothing is waited for that has come true already.
    pub(crate) fn settled(&self, truth: &Truth) -> Result<(), String> {
        for (serial, asked) in &self.asked {
            let lags = match &asked.data {
                ClientData::VmWait(call) => {
                    // It may have another name by now.
                    let mut meant = truth.meant_since(asked.newest_event, &call.vm);
                    meant.all(|vm| truth.state(vm).is_none_or(|state| call.states.contains(&state)))
                }
                ClientData::OperationWait(call) => {
                    truth.operations.get(&call.id).is_none_or(|operation| operation.state >= operation_state::DONE)
                }
                // They wait for a file.
                ClientData::ClientAdd(_) | ClientData::ClientSetRole(_) | ClientData::ClientRemove(_) => false,
                data => data.number() < 0x100,
            };
            if lags {
                return Err(format!("call {serial} waits for what has come true: {:?}", asked.data));
            }
        }
        Ok(())
    }

    /// All that will ever come has come.
    pub(crate) fn complete(&mut self, client: u8, truth: &Truth) -> Result<(), String> {
        if self.told.is_some() {
            return Ok(());
        }
        if !self.asked.is_empty() {
            return Err(format!("never answered: {:.600}", format!("{:?}", self.asked)));
        }
        if let Some(subscription) = &mut self.subscription {
            subscription.complete(&self.eras, truth)?;
        }
        for (number, stream) in &self.streams {
            stream.complete(truth)?;
            let reads = truth.state(stream.vm) == Some(vm_state::RUNNING) && !stream.they_ended;
            let typed = |stream: &Stream| stream.writes && stream.typed > 0;
            let mut later = self.streams.range(number + 1..).map(|(_, later)| later);
            let is_last = typed(stream) && !later.any(|later| typed(later) && later.vm == stream.vm);
            if reads && is_last && stream.last_mark() != truth.last_typed(stream.vm, client) {
                return Err(format!("stream {number}: what was typed last never reached {}: {stream:?}", stream.vm));
            }
        }
        Ok(())
    }
}
