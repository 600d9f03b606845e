//! `vmwire event`: what happens, as it happens.
//!
//! Events go to standard output, a line each: a sentence for people, or an object of JSON. A gap is an event of its
//! own in that stream, because it is data: whoever reads has to know that something is missing, and where.

use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};
use vmwire_protocol::message::{
    Cursor, Event, EventCertificate, EventClientChanged, EventConsoleWriter, EventDaemonStarted, EventOperation,
    EventVmDefined, EventVmMonitor, EventVmReset, EventVmState, Gap, certificate_change, client_change, event_kind,
    role, state_reason,
};
use vmwire_protocol::xdr::{self, Fixed, List};

use super::named::{
    CursorJson, FailureJson, VmRefJson, hex, name_of, operation_state, procedure, read_hex, state, text, unless_empty,
    unless_zero,
};
use super::outage::Teller;
use super::output::Format;
use super::problem::Problem;
use super::quantity::show_time;
use super::{Context, Exit};
use crate::connection::{Connection, Notice, Options, Subscription};

/// How often the state of the link is looked at.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print events until interrupted, also across restarts of the daemon
    #[command(after_help = "Examples:\n  vmwire event follow\n  vmwire event follow --vm web --kind vm-state\n  \
                            vmwire event follow --since 0 -o json | jq -c 'select(.kind == \"vm-state\")'\n  \
                            vmwire event follow --count 1 --kind vm-defined\n\n\
                            Where events were lost, a gap is printed with the first and the last one missing.\n")]
    Follow(Follow),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Follow {
    /// Begin behind this event: a number, or EPOCH:NUMBER as the JSON of an event has them; 0 for all that is remembered
    #[arg(long, value_name = "[EPOCH:]SEQUENCE", value_parser = read_since)]
    since: Option<Since>,

    /// Only events of this virtual machine
    #[arg(long, value_name = "VM")]
    vm: Option<String>,

    /// Only events of this kind; can be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = read_kind)]
    kinds: Vec<u32>,

    /// End after so many
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A place in the sequence of events; without an epoch, in the daemon's present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    epoch: Option<[u8; 16]>,
    sequence: u64,
}

fn read_since(text: &str) -> Result<Since, String> {
    let (epoch, sequence) = match text.split_once(':') {
        Some((epoch, sequence)) => {
            let epoch = read_hex(epoch).ok_or("the epoch before the colon has 32 hexadecimal digits")?;
            (Some(epoch), sequence)
        }
        None => (None, text),
    };
    let sequence = sequence.parse().map_err(|_| format!("{sequence:?} is not the number of an event"))?;
    Ok(Since { epoch, sequence })
}

fn read_kind(text: &str) -> Result<u32, String> {
    event_kind::number(text).ok_or_else(|| {
        let known: Vec<&str> = event_kind::ALL.iter().map(|(_, name)| *name).collect();
        format!("there is no such kind; there are {}", known.join(", "))
    })
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let Verb::Follow(follow) = verb;
    let vm = text("name", follow.vm.as_deref().unwrap_or_default())?;
    let kinds = List::new(follow.kinds.as_slice()).map_err(|_| Problem::usage("too many kinds"))?;
    // Whoever follows events wants them for as long as there may be any: a daemon that is away comes back.
    let mut connection = context.connect_with(Options { reconnect: Duration::MAX, ..Options::default() })?;
    let after = follow
        .since
        .map(|since| Cursor { epoch: since.epoch.map_or(connection.hello().epoch, Fixed), sequence: since.sequence });
    connection.subscribe(Subscription { after, vm, kinds, deadline: context.timeout })?;
    let mut count = 0;
    let mut teller = Teller::new(&connection, "going on behind the last event");
    while let Some(notice) = next(&mut connection, &mut teller, context)? {
        if context.output.format() == Format::Json {
            context.output.json(&NoticeJson::from(&notice))?;
        } else {
            context.output.line(&sentence(&notice))?;
        }
        count += u64::from(matches!(notice, Notice::Event(_)));
        if follow.count.is_some_and(|wanted| count >= wanted) {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// The next event; says on standard error how it stands with a link that is lost.
fn next(
    connection: &mut Connection,
    teller: &mut Teller,
    context: &mut Context<'_>,
) -> Result<Option<Notice>, Problem> {
    loop {
        let notice = connection.next_notice(Some(LOOK))?;
        teller.look(connection, context.output);
        if notice.is_some() {
            return Ok(notice);
        }
    }
}

/// What is known of an event, for people.
fn sentence(notice: &Notice) -> String {
    let event = match notice {
        Notice::Event(event) => event,
        Notice::Gap(gap) => return gap_sentence(gap),
    };
    let vm = event.vm.as_ref().map(|vm| format!(" {}", vm.name)).unwrap_or_default();
    let operation = unless_zero(event.operation).map(|id| format!(" [operation {id}]")).unwrap_or_default();
    format!(
        "{} #{}{vm} {}{}{operation}",
        show_time(event.time_ns),
        event.sequence,
        name_of(event.kind, event_kind::name),
        what(event).map(|what| format!(": {what}")).unwrap_or_default(),
    )
}

fn gap_sentence(gap: &Gap) -> String {
    if gap.last == 0 {
        return "-- events may be missing here: the daemon does not remember the one to begin behind".to_owned();
    }
    format!("-- the events #{} to #{} are lost", gap.first, gap.last)
}

fn what(event: &Event) -> Option<String> {
    let because = |why: &str| if why.is_empty() { String::new() } else { format!(": {why}") };
    Some(match decode(event)? {
        Detail::DaemonStarted(detail) => format!("release {}", detail.release),
        Detail::VmDefined(detail) => if detail.replaced { "replaced" } else { "new" }.to_owned(),
        Detail::VmState(detail) => format!(
            "{} -> {} ({}){}",
            state(detail.previous),
            state(detail.state),
            name_of(detail.reason, state_reason::name),
            because(&detail.message)
        ),
        Detail::VmReset(detail) => if detail.by_guest { "by the guest" } else { "by request" }.to_owned(),
        Detail::VmMonitor(detail) if detail.connected => "connected".to_owned(),
        Detail::VmMonitor(detail) => format!("lost{}", because(&detail.why)),
        Detail::ConsoleWriter(detail) if detail.identity.is_empty() => "nobody".to_owned(),
        Detail::ConsoleWriter(detail) => detail.identity.to_string(),
        Detail::Operation(detail) => format!(
            "{} by {} {}{}",
            procedure(detail.procedure),
            detail.identity,
            operation_state(detail.state),
            because(detail.failure.as_ref().map_or("", |failure| &failure.message))
        ),
        Detail::ClientChanged(detail) => format!(
            "{} ({}) {}",
            detail.name,
            name_of(detail.role, role::name),
            match detail.change {
                client_change::ROLE => "has this role from now on".to_owned(),
                change => name_of(change, client_change::name),
            }
        ),
        Detail::Certificate(detail) => format!(
            "{} {}{}",
            detail.purpose,
            match detail.change {
                certificate_change::TAKEN_UP => "taken up".to_owned(),
                // A day that has begun is none, and so is none at all: the message says which.
                certificate_change::EXPIRES => match detail.days {
                    0 => "is at its end".to_owned(),
                    1 => "expires in a day".to_owned(),
                    days => format!("expires in {days} days"),
                },
                change => name_of(change, certificate_change::name),
            },
            because(&detail.message)
        ),
    })
}

/// The detail of an event whose kind this version knows.
enum Detail {
    DaemonStarted(EventDaemonStarted),
    VmDefined(EventVmDefined),
    VmState(EventVmState),
    VmReset(EventVmReset),
    VmMonitor(EventVmMonitor),
    ConsoleWriter(EventConsoleWriter),
    Operation(Box<EventOperation>),
    ClientChanged(EventClientChanged),
    Certificate(EventCertificate),
}

fn decode(event: &Event) -> Option<Detail> {
    let bytes = event.detail.as_slice();
    match event.kind {
        event_kind::DAEMON_STARTED => xdr::decode(bytes).ok().map(Detail::DaemonStarted),
        event_kind::VM_DEFINED => xdr::decode(bytes).ok().map(Detail::VmDefined),
        event_kind::VM_STATE => xdr::decode(bytes).ok().map(Detail::VmState),
        event_kind::VM_RESET => xdr::decode(bytes).ok().map(Detail::VmReset),
        event_kind::VM_MONITOR => xdr::decode(bytes).ok().map(Detail::VmMonitor),
        event_kind::CONSOLE_WRITER => xdr::decode(bytes).ok().map(Detail::ConsoleWriter),
        event_kind::OPERATION => xdr::decode(bytes).ok().map(|detail| Detail::Operation(Box::new(detail))),
        event_kind::CLIENT_CHANGED => xdr::decode(bytes).ok().map(Detail::ClientChanged),
        event_kind::CERTIFICATE => xdr::decode(bytes).ok().map(Detail::Certificate),
        _ => None,
    }
}

fn detail_json(event: &Event) -> Value {
    match decode(event) {
        None => Value::Null,
        Some(Detail::DaemonStarted(detail)) => json!({"release": detail.release.as_str()}),
        Some(Detail::VmDefined(detail)) => json!({"replaced": detail.replaced}),
        Some(Detail::VmState(detail)) => json!({
            "state": state(detail.state),
            "previous": state(detail.previous),
            "reason": name_of(detail.reason, state_reason::name),
            "message": unless_empty(&detail.message),
        }),
        Some(Detail::VmReset(detail)) => json!({"by_guest": detail.by_guest}),
        Some(Detail::VmMonitor(detail)) => json!({"connected": detail.connected, "why": unless_empty(&detail.why)}),
        Some(Detail::ConsoleWriter(detail)) => json!({"identity": unless_empty(&detail.identity)}),
        Some(Detail::Operation(detail)) => json!({
            "procedure": procedure(detail.procedure),
            "state": operation_state(detail.state),
            "identity": detail.identity.as_str(),
            "failure": detail.failure.as_ref().map(FailureJson::from),
        }),
        Some(Detail::ClientChanged(detail)) => json!({
            "name": detail.name.as_str(),
            "role": name_of(detail.role, role::name),
            "change": name_of(detail.change, client_change::name),
        }),
        Some(Detail::Certificate(detail)) => json!({
            "purpose": detail.purpose.as_str(),
            "change": name_of(detail.change, certificate_change::name),
            "days": (detail.change == certificate_change::EXPIRES).then_some(detail.days),
            "message": unless_empty(&detail.message),
        }),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum NoticeJson {
    Event {
        epoch: String,
        sequence: u64,
        time_ns: u64,
        operation: Option<u64>,
        vm: Option<VmRefJson>,
        kind: String,
        detail: Value,
    },
    Gap {
        gap: GapJson,
    },
}

#[derive(Serialize)]
struct GapJson {
    epoch: String,
    first: u64,
    last: u64,
}

impl From<&Notice> for NoticeJson {
    fn from(notice: &Notice) -> Self {
        match notice {
            Notice::Event(event) => {
                let CursorJson { epoch, sequence } =
                    CursorJson::from(&Cursor { epoch: event.epoch, sequence: event.sequence });
                Self::Event {
                    epoch,
                    sequence,
                    time_ns: event.time_ns,
                    operation: unless_zero(event.operation),
                    vm: event.vm.as_ref().map(VmRefJson::from),
                    kind: name_of(event.kind, event_kind::name),
                    detail: detail_json(event),
                }
            }
            Notice::Gap(gap) => {
                Self::Gap { gap: GapJson { epoch: hex(&gap.epoch.0), first: gap.first, last: gap.last } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vmwire_protocol::message::{Failure, VmRef, code, number};
    use vmwire_protocol::xdr::{Opaque, Text, Wire};

    use super::*;

    fn event<T: Wire>(kind: u32, detail: &T) -> Notice {
        let mut bytes = Vec::new();
        xdr::encode(&mut bytes, detail).unwrap();
        Notice::Event(Event {
            epoch: Fixed([0xab; 16]),
            sequence: 42,
            time_ns: 1_709_164_800_000_000_000,
            operation: 7,
            vm: Some(VmRef { uuid: Fixed([0x11; 16]), name: Text::clipped("web") }),
            kind,
            detail: Opaque::new(bytes).unwrap(),
        })
    }

    #[test]
    fn what_became_of_clients_and_certificates_is_told_in_words_and_in_json() {
        let changed = |change| EventClientChanged { name: Text::clipped("alice"), role: 2, change };
        let Notice::Event(told) = event(event_kind::CLIENT_CHANGED, &changed(client_change::ROLE)) else { panic!() };
        assert_eq!(what(&told).unwrap(), "alice (operator) has this role from now on");
        assert_eq!(detail_json(&told), json!({"name": "alice", "role": "operator", "change": "role"}));
        let Notice::Event(told) = event(event_kind::CLIENT_CHANGED, &changed(client_change::INVITED)) else { panic!() };
        assert_eq!(what(&told).unwrap(), "alice (operator) invited");
        let expires = EventCertificate {
            purpose: Text::clipped("server"),
            change: certificate_change::EXPIRES,
            days: 7,
            message: Text::default(),
        };
        let Notice::Event(told) = event(event_kind::CERTIFICATE, &expires) else { panic!() };
        assert_eq!(what(&told).unwrap(), "server expires in 7 days");
        let json = json!({"purpose": "server", "change": "expires", "days": 7, "message": null});
        assert_eq!(detail_json(&told), json);
        let words = "the certificate (CN=vm1) expired on 2026-01-01 00:00:00 UTC";
        for (days, message, said) in [
            (1, "", "server expires in a day".to_owned()),
            (0, "", "server is at its end".to_owned()),
            (0, words, format!("server is at its end: {words}")),
        ] {
            let expires = EventCertificate { days, message: Text::clipped(message), ..expires.clone() };
            let Notice::Event(told) = event(event_kind::CERTIFICATE, &expires) else { panic!() };
            assert_eq!(what(&told).unwrap(), said);
        }
        let refused = EventCertificate {
            change: certificate_change::REFUSED,
            days: 0,
            message: Text::clipped("the key is another's"),
            ..expires
        };
        let Notice::Event(told) = event(event_kind::CERTIFICATE, &refused) else { panic!() };
        assert_eq!(what(&told).unwrap(), "server refused: the key is another's");
        assert_eq!(detail_json(&told)["days"], Value::Null);
    }

    fn started() -> Notice {
        let detail = EventVmState { state: 3, previous: 2, reason: 1, message: Text::clipped("") };
        event(event_kind::VM_STATE, &detail)
    }

    #[test]
    fn people_read_a_sentence() {
        let expected = "2024-02-29T00:00:00.000Z #42 web vm-state: starting -> running (requested) [operation 7]";
        assert_eq!(sentence(&started()), expected);
        let unknown = event(999, &5_u32);
        assert_eq!(sentence(&unknown), "2024-02-29T00:00:00.000Z #42 web #999 [operation 7]");
        let gap = Notice::Gap(Gap { epoch: Fixed([0; 16]), first: 3, last: 9 });
        assert_eq!(sentence(&gap), "-- the events #3 to #9 are lost");
    }

    #[test]
    fn programs_read_every_kind_under_its_keys() {
        let value = serde_json::to_value(NoticeJson::from(&started())).unwrap();
        let expected = json!({
            "epoch": "ab".repeat(16),
            "sequence": 42,
            "time_ns": 1_709_164_800_000_000_000_u64,
            "operation": 7,
            "vm": {"uuid": "11111111-1111-1111-1111-111111111111", "name": "web"},
            "kind": "vm-state",
            "detail": {"state": "running", "previous": "starting", "reason": "requested", "message": null},
        });
        assert_eq!(value, expected);

        let failure = Some(Failure::new(code::DRIVER, "no luck"));
        let operation =
            EventOperation { procedure: number::VM_START, state: 4, identity: Text::clipped("uid 0"), failure };
        let value = serde_json::to_value(NoticeJson::from(&event(event_kind::OPERATION, &operation))).unwrap();
        assert_eq!(value["detail"]["procedure"], "vm-start");
        assert_eq!(value["detail"]["failure"]["code"], "DRIVER");

        let gap = Notice::Gap(Gap { epoch: Fixed([0; 16]), first: 3, last: 9 });
        let value = serde_json::to_value(NoticeJson::from(&gap)).unwrap();
        assert_eq!(value, json!({"gap": {"epoch": "00".repeat(16), "first": 3, "last": 9}}));
    }

    #[test]
    fn a_kind_of_tomorrow_is_shown_without_its_detail() {
        let value = serde_json::to_value(NoticeJson::from(&event(999, &5_u32))).unwrap();
        assert_eq!((&value["kind"], &value["detail"]), (&json!("#999"), &Value::Null));
        // A detail that is not of its kind is no reason to end either.
        let value = serde_json::to_value(NoticeJson::from(&event(event_kind::VM_STATE, &5_u32))).unwrap();
        assert_eq!(value["detail"], Value::Null);
    }

    #[test]
    fn the_place_to_begin_at_is_a_number_with_or_without_an_epoch() {
        assert_eq!(read_since("12"), Ok(Since { epoch: None, sequence: 12 }));
        let epoch = "0f".repeat(16);
        assert_eq!(read_since(&format!("{epoch}:3")), Ok(Since { epoch: Some([0x0f; 16]), sequence: 3 }));
        for text in ["", "x", ":3", "ff:3", "-1", &format!("{epoch}:")] {
            assert!(read_since(text).is_err(), "{text}");
        }
        assert!(read_kind("vm-stat").unwrap_err().contains("vm-state"));
    }
}
