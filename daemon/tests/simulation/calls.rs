//! Calls of every procedure, sensible and not.

use vmwire_daemon::model::{AGENT_CHANNEL, VmId};
use vmwire_protocol::message::{
    CaptureOpenCall, ClientAddCall, ClientCall, ClientData, ClientInviteCall, ClientSetRoleCall, ConnectionKickCall,
    ConsoleOpenCall, Cursor, ListCall, OperationCall, OperationListCall, SubscribeCall, VmCall, VmCell, VmDefineCall,
    VmFilter, VmListCall, VmShutdownCall, VmStartCall, VmWaitCall, vm_field,
};
use vmwire_protocol::xdr::{Fixed, List, Text};

use crate::random::Random;
use crate::rights::LABELS;

/// What a caller may know of the daemon.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) epoch: [u8; 16],
    pub(crate) newest_event: u64,
    pub(crate) oldest_event: u64,
    pub(crate) newest_operation: u64,
    pub(crate) vms: Vec<(VmId, String)>,
    pub(crate) connections: Vec<u64>,
    /// Virtual machines defined so far, for uuids that were never used.
    pub(crate) defined: u64,
}

/// The name of the virtual machine whose definition is long.
pub(crate) const BIG: &str = "huge";

/// The names of all others.
pub(crate) const NAMES: [&str; 6] = ["blue-a", "blue-b", "blue-c", "red-a", "red-b", "red-c"];

/// A definition with delays and faults of any kind.
pub(crate) fn definition(random: &mut Random, name: &str, uuid: Option<VmId>, padding: usize) -> String {
    let ms = |random: &mut Random, most: u64| if random.chance(40) { 0 } else { random.below(most) };
    let uuid = uuid.map(|vm| format!("uuid = \"{vm}\"\n")).unwrap_or_default();
    let fails = if random.chance(10) { "the disk is on fire" } else { "" };
    let console_bytes = *random.pick(&[0, 0, 100, 9000, 500_000]).unwrap();
    let labels: Vec<&str> = LABELS.into_iter().filter(|_| random.chance(40)).collect();
    let channels: &[&str] = if random.chance(75) { &[AGENT_CHANNEL] } else { &[] };
    let agent = if random.chance(25) { "hangs" } else { "answers" };
    let panic_ms = if random.chance(15) { 1 + random.below(3000) } else { 0 };
    format!(
        "name = \"{name}\"\n{uuid}labels = {labels:?}\nchannels = {channels:?}\nmemory = \"16 MiB\"\nautostart = {}\n[test]\nstart_ms = {}\nstart_fails = \"{fails}\"\n\
         delay_ms = {}\ndeaf = {}\nshutdown_ms = {}\nconsole = \"welcome to {name}\\n\"\npanic_ms = {panic_ms}\nagent = \"{agent}\"\n\
         console_bytes = {console_bytes}\n#{}\n",
        random.chance(20),
        ms(random, 300),
        ms(random, 200),
        random.chance(20),
        ms(random, 5000),
        "x".repeat(padding),
    )
}

/// A virtual machine by name or uuid, now and then one that is not there.
fn vm(random: &mut Random, around: &Surroundings) -> Text<128> {
    let text = match random.pick(&around.vms) {
        Some((id, _)) if random.chance(30) => id.to_string(),
        Some((_, name)) if random.chance(90) => name.clone(),
        _ => "nobody".to_owned(),
    };
    Text::new(text).unwrap()
}

fn list(random: &mut Random) -> ListCall {
    let after = if random.chance(20) { NAMES[1] } else { "" };
    ListCall { after: Text::new(after).unwrap(), rows_max: if random.chance(60) { 0 } else { 1 + random.word(5) } }
}

/// Numbers of states, now and then none or one that is not known.
fn states(random: &mut Random) -> Vec<u32> {
    let count = if random.chance(5) { 0 } else { 1 + random.below(3) };
    (0..count).map(|_| if random.chance(3) { 7 } else { 1 + random.word(6) }).collect()
}

fn operation(random: &mut Random, around: &Surroundings) -> OperationCall {
    OperationCall { id: (around.newest_operation + 1).saturating_sub(random.below(6)) }
}

/// Any call but HELLO, PING, CANCEL, which depend on who calls.
pub(crate) fn any(random: &mut Random, around: &Surroundings) -> ClientData {
    let named = |random: &mut Random| VmCall { vm: vm(random, around) };
    match random.below(115) {
        0..=1 => ClientData::HostInfo,
        2 => ClientData::HostCertificates,
        3..=4 => ClientData::HostCapabilities,
        5..=7 => ClientData::DaemonInfo,
        8..=9 => ClientData::ConnectionList(ListCall { after: Text::default(), rows_max: random.word(4) }),
        10 => ClientData::ConnectionKick(ConnectionKickCall {
            id: random.pick(&around.connections).copied().unwrap_or_default() + u64::from(random.chance(10)),
        }),
        11..=12 => ClientData::OperationList(OperationListCall {
            vm: if random.chance(50) { vm(random, around) } else { Text::default() },
            after: Text::new(around.newest_operation.saturating_sub(5).to_string()).unwrap(),
            rows_max: random.word(10),
        }),
        13..=15 => ClientData::OperationShow(operation(random, around)),
        16..=20 => ClientData::OperationWait(operation(random, around)),
        21..=25 => ClientData::VmNames(list(random)),
        26..=32 => ClientData::VmShow(named(random)),
        33..=35 => ClientData::VmDefinition(named(random)),
        36..=39 => define(random, around),
        40..=41 => ClientData::VmUndefine(named(random)),
        42..=46 => vm_list(random),
        47..=58 => ClientData::VmStart(VmStartCall { vm: vm(random, around), paused: random.chance(15) }),
        59..=63 => ClientData::VmShutdown(VmShutdownCall {
            vm: vm(random, around),
            grace_ms: *random.pick(&[0, 1, 500, 20_000]).unwrap(),
            then: *random.pick(&[1, 1, 1, 2, 2, 2, 3]).unwrap(),
        }),
        64..=68 => ClientData::VmStop(named(random)),
        69..=71 => ClientData::VmReboot(named(random)),
        72..=74 => ClientData::VmReset(named(random)),
        75..=77 => ClientData::VmPause(named(random)),
        78..=81 => ClientData::VmResume(named(random)),
        82..=89 => {
            ClientData::VmWait(VmWaitCall { vm: vm(random, around), states: states(random).try_into().unwrap() })
        }
        90..=94 => console(random, around),
        95..=98 => ClientData::Subscribe(subscribe(random, around)),
        99..=108 => client(random),
        109 => ClientData::Unsubscribe,
        110..=112 => ClientData::AgentPing(named(random)),
        _ => ClientData::CaptureOpen(CaptureOpenCall {
            vm: if random.chance(30) { vm(random, around) } else { Text::default() },
            payload: random.chance(50),
            agents: random.chance(50),
        }),
    }
}

/// What can be done with those who are known by their keys: few of them, so that the calls meet.
fn client(random: &mut Random) -> ClientData {
    let name = Text::new(format!("c{}", random.below(2))).unwrap();
    let role = 1 + random.word(3);
    match random.below(8) {
        0 => ClientData::ClientList(list(random)),
        1 => ClientData::ClientInvite(ClientInviteCall { name, role, address: Text::default() }),
        2..=3 => ClientData::ClientSetRole(ClientSetRoleCall { name, role }),
        4..=5 => ClientData::ClientRemove(ClientCall { name }),
        _ => ClientData::ClientAdd(ClientAddCall {
            name,
            role,
            key: Fixed([1 + u8::try_from(random.below(4)).unwrap(); 32]),
        }),
    }
}

/// One of the operations that can follow each other on a guest.
pub(crate) fn contend(random: &mut Random, vm: Text<128>) -> ClientData {
    match random.below(6) {
        0 => ClientData::VmStart(VmStartCall { vm, paused: false }),
        1 => ClientData::VmPause(VmCall { vm }),
        2 => ClientData::VmResume(VmCall { vm }),
        3 => ClientData::VmReboot(VmCall { vm }),
        _ => ClientData::VmReset(VmCall { vm }),
    }
}

/// A wait for what does not come.
pub(crate) fn wait(vm: Text<128>) -> ClientData {
    ClientData::VmWait(VmWaitCall { vm, states: List::clipped([6]) })
}

fn define(random: &mut Random, around: &Surroundings) -> ClientData {
    let name = *random.pick(&NAMES).unwrap();
    let known = around.vms.iter().find(|(_, known)| known == name).map(|(id, _)| *id);
    let fresh = VmId(uuid::Uuid::from_u128(0x8000_0000 + u128::from(around.defined)));
    // Now and then one gets the name of another, or one that nobody has.
    let renamed = random.pick(&around.vms).map(|(id, _)| *id).filter(|_| random.chance(15));
    let id = renamed.unwrap_or(if random.chance(80) { known.unwrap_or(fresh) } else { fresh });
    let text = if random.chance(10) {
        format!("name = \"{name}\"\nmemmory = 3")
    } else {
        definition(random, name, Some(id), 0)
    };
    ClientData::VmDefine(VmDefineCall { definition: Text::new(text).unwrap(), replace: random.chance(60) })
}

fn vm_list(random: &mut Random) -> ClientData {
    let filter = VmFilter { field: vm_field::STATE, comparison: 1 + random.word(6), value: VmCell::Number(3) };
    ClientData::VmList(VmListCall {
        fields: (0..random.below(6)).map(|_| 1 + random.word(17)).collect::<Vec<_>>().try_into().unwrap(),
        filters: List::clipped(random.chance(40).then_some(filter)),
        after: Text::default(),
        rows_max: random.word(3),
    })
}

/// By uuid, so that whoever asks knows whose console it is.
fn console(random: &mut Random, around: &Surroundings) -> ClientData {
    let vm = random.pick(&around.vms).map(|(id, _)| id.to_string()).unwrap_or_default();
    ClientData::ConsoleOpen(ConsoleOpenCall {
        vm: Text::new(vm).unwrap(),
        mode: *random.pick(&[1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]).unwrap(),
        history_bytes: *random.pick(&[0, 100, u32::MAX]).unwrap(),
    })
}

fn subscribe(random: &mut Random, around: &Surroundings) -> SubscribeCall {
    let after = match random.below(10) {
        0..=2 => None,
        3 => Some(Cursor { epoch: Fixed::from([9; 16]), sequence: random.below(10) }),
        4 => Some(Cursor { epoch: around.epoch.into(), sequence: around.newest_event + random.below(4) }),
        5..=6 => Some(Cursor { epoch: around.epoch.into(), sequence: around.oldest_event.saturating_sub(1) }),
        _ => {
            let back = random.below(30);
            Some(Cursor { epoch: around.epoch.into(), sequence: around.newest_event.saturating_sub(back) })
        }
    };
    SubscribeCall {
        after,
        vm: if random.chance(25) { vm(random, around) } else { Text::default() },
        kinds: if random.chance(25) { List::clipped([4, 8]) } else { List::default() },
    }
}
