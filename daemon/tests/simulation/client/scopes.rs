//! Whether what a client is told is within its rights: looked at packet by packet, before its session sees them.

use std::collections::BTreeSet;

use vmwire_daemon::access::Role;
use vmwire_daemon::model::{Definition, VmId};
use vmwire_protocol::message::{ClientData, OperationInfo, Procedure, ServerData, VmRef, code};

use super::{Asked, Connection, Tally};
use crate::rights::{Era, Group, Rights, missing, number, vm_of};
use crate::tap::Packet;
use crate::truth::Truth;

fn id(vm: &VmRef) -> VmId {
    VmId(uuid::Uuid::from_bytes(vm.uuid.0))
}

impl Connection {
    pub(super) fn era(&self) -> &Era {
        self.eras.last().unwrap()
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.era().rights
    }

    /// Whether the rights are the same since an era.
    fn unchanged(&self, since: usize, until: usize) -> bool {
        self.eras[since..=until].iter().all(|era| era.rights == self.eras[until].rights)
    }

    /// Holds a packet against the rights of its era.
    pub(super) fn within_rights(&mut self, packet: &Packet, truth: &Truth, tally: &mut Tally) -> Result<(), String> {
        let at = self.eras.iter().rposition(|era| era.from_byte < packet.end).unwrap_or_default();
        let changes = self.eras.get(at + 1).is_some_and(|next| next.change_byte < packet.end);
        if let Some(asked) = self.asked.get_mut(&packet.reply_to) {
            asked.answered_in = at + usize::from(changes);
        }
        let Some(Ok(data)) = ServerData::decode_body(packet.number, &packet.body) else { return Ok(()) };
        let asked = self.asked.get(&packet.reply_to);
        if let (ServerData::ConsoleOpen(answer), Some(Asked { data: ClientData::ConsoleOpen(call), .. })) =
            (&data, asked)
        {
            self.consoles.insert(answer.stream, Some(super::vm_of(&call.vm)));
        }
        if let ServerData::CaptureOpen(answer) = &data {
            self.consoles.insert(answer.stream, None);
        }
        let era = &self.eras[at];
        let wrong = |why: &str| {
            Err(format!("{why}: {:.300}, with {:?} since {}", format!("{data:?}"), era.rights, era.from_event))
        };
        if let (Some(asked), true) = (asked, packet.number < 0x1000)
            && self.unchanged(asked.era, asked.answered_in)
            && let Some(why) = wrong_verdict(asked, &data, &era.rights, truth, tally)
        {
            return wrong(&format!("{why}: {:.200}", format!("{:?}", asked.data)));
        }
        match &data {
            ServerData::StreamData(call) => {
                let vm = self.consoles.get(&call.stream).copied().ok_or("data of a stream that was never opened")?;
                let Some(vm) = vm else {
                    return match era.rights.host() {
                        Role::Admin => Ok(()),
                        _ => wrong("a capture that it may not have open"),
                    };
                };
                let least = truth.roles_since(era.from_event, &era.rights, |groups| groups.get(&vm)).1;
                if least < Some(Role::Operator) {
                    return wrong("a console that it may not have open");
                }
            }
            ServerData::Event(event) if !truth.is_told_of(event.sequence, &era.rights) => {
                return wrong("an event of what it may not see");
            }
            ServerData::ConnectionList(answer)
                if era.rights.host() != Role::Admin
                    && answer.rows.iter().any(|row| row.identity != self.identity.as_str()) =>
            {
                return wrong("connections of others");
            }
            _ => {}
        }
        if era.rights.sees_all() {
            return Ok(());
        }
        *tally.entry("packets to the scoped".to_owned()).or_default() += 1;
        let (mut own, mut rows) = (String::new(), Vec::new());
        match &data {
            ServerData::Event(event) => {
                own = event.vm.as_ref().map(|vm| vm.name.to_string()).unwrap_or_default();
            }
            ServerData::OperationList(answer) => rows.extend(answer.rows.iter()),
            ServerData::OperationShow(row) | ServerData::OperationWait(row) => rows.push(row),
            ServerData::HostInfo(answer) => {
                let counts = truth
                    .groups_since(era.from_event)
                    .map(|(_, groups)| groups.values().filter(|group| era.rights.over(group).is_some()).count());
                if !counts.into_iter().any(|count| u32::try_from(count).unwrap() == answer.vms_defined) {
                    return wrong("it counts what it may not see");
                }
            }
            ServerData::VmShow(answer) => {
                let group = truth.group_as_of(VmId(uuid::Uuid::from_bytes(answer.vm.uuid.0)), answer.cursor.sequence);
                if group.is_none_or(|group| era.rights.over(group).is_none()) {
                    return wrong("what it may not see is shown");
                }
            }
            _ => {}
        }
        let operations = !rows.is_empty();
        if rows.into_iter().any(|row| !is_seen(row, era, truth)) {
            return wrong("an operation on what it may not see");
        }
        // An operation keeps the name that its virtual machine had. What somebody said may be said again.
        if !operations {
            let text = format!("{data:?}");
            let said = asked.map(|asked| format!("{:?}", asked.data)).unwrap_or_default();
            let hidden = hidden_names(era, truth);
            if let Some(name) =
                hidden.iter().find(|name| **name != own && text.contains(**name) && !said.contains(**name))
            {
                return wrong(&format!("it tells of {name}"));
            }
        }
        Ok(())
    }

    /// Whether it has a console open, or waits for something.
    pub(crate) fn has_something_open(&self) -> bool {
        !self.streams.is_empty() || self.asked.values().any(|asked| matches!(asked.data, ClientData::VmWait(_)))
    }

    /// Whether a console may have been taken away.
    pub(super) fn may_have_lost(&self, vm: VmId, truth: &Truth) -> bool {
        let least = |era: &Era| truth.roles_since(era.from_event, &era.rights, |groups| groups.get(&vm)).0;
        self.eras.iter().any(|era| least(era) < Some(Role::Operator))
    }

    /// Whether the role may have been too small.
    pub(super) fn may_be_denied(&self, asked: &Asked, truth: &Truth) -> bool {
        if !self.unchanged(asked.era, asked.answered_in) {
            return true;
        }
        let rights = &self.eras[asked.answered_in].rights;
        let needed = Procedure::of(asked.data.number()).unwrap().right.role;
        let least = vm_of(&asked.data)
            .map(|text| truth.roles_since(asked.newest_event, rights, |groups| Truth::find_in(groups, text)).0);
        let define = matches!(asked.data, ClientData::VmDefine(_)) && rights.host() != Role::Admin;
        define || least.is_some_and(|least| least.map_or(0, number) < needed)
    }

    /// A refusal that was foretold does not hold where the rights have become others.
    pub(super) fn must_fail(&self, asked: &Asked) -> Option<u32> {
        let same = self.unchanged(asked.era, asked.answered_in);
        asked.must_fail.filter(|code| same || *code != code::DENIED)
    }
}

/// What is wrong with the answer to a call about one virtual machine, or with a definition.
fn wrong_verdict(
    asked: &Asked,
    answer: &ServerData,
    rights: &Rights,
    truth: &Truth,
    tally: &mut Tally,
) -> Option<&'static str> {
    let full = asked.open >= 256;
    if asked.must_fail.is_some() || full {
        return None;
    }
    if let (ClientData::VmDefine(call), ServerData::VmDefine(answer)) = (&asked.data, answer) {
        let group = Group::of(&Definition::parse(&call.definition).unwrap());
        let vm = id(&answer.vm);
        let former =
            truth.before_definition(answer.operation, vm).is_none_or(|group| rights.over(group) == Some(Role::Admin));
        let theirs = former && rights.over(&group) == Some(Role::Admin);
        return (!theirs).then_some("it is not theirs to be defined");
    }
    let text = vm_of(&asked.data)?;
    let procedure = Procedure::of(asked.data.number())?;
    let (least, most) = truth.roles_since(asked.newest_event, rights, |groups| Truth::find_in(groups, text));
    let failure = match answer {
        ServerData::Failure(failure) => Some(failure),
        _ => None,
    };
    match (least, most) {
        (_, None) => {
            *tally.entry("invisible or missing".to_owned()).or_default() += 1;
            (failure != Some(&missing(text))).then_some("it has to be as if it were not there")
        }
        (Some(_), Some(most)) if number(most) < procedure.right.role => {
            *tally.entry("denied over one".to_owned()).or_default() += 1;
            failure.is_none_or(|failure| failure.code != code::DENIED).then_some("its role over it is too small")
        }
        (Some(_), _) if failure == Some(&missing(text)) => Some("it is there"),
        _ => None,
    }
}

fn is_seen(row: &OperationInfo, era: &Era, truth: &Truth) -> bool {
    let Some(vm) = &row.vm else { return true };
    let there = truth.roles_since(era.from_event, &era.rights, |groups| groups.get(&id(vm))).1;
    there.is_some() || truth.operation_group(row.id, &vm.name).is_some_and(|group| era.rights.over(&group).is_some())
}

/// Names that were never within the rights in an era.
fn hidden_names<'a>(era: &Era, truth: &'a Truth) -> BTreeSet<&'a str> {
    let groups = || truth.groups_since(era.from_event).flat_map(|(_, groups)| groups.values());
    let seen: BTreeSet<&str> =
        groups().filter(|group| era.rights.over(group).is_some()).map(|group| group.name.as_str()).collect();
    groups().map(|group| group.name.as_str()).filter(|name| !seen.contains(name)).collect()
}
