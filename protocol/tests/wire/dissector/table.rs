//! The table of the Wireshark dissector, written out of `vmwire.x`: what the walker in `vmwire.lua` goes by.

use std::fmt::Write as _;

use vmwire_protocol::message::{PROCEDURES, role};
use vmwire_protocol::{limits, version};

use super::definition::{Body, Definition, Field, Kind, Repeat, number};
use crate::authority::{AUTHORITY, constants};

/// The sets of names, and which constants are theirs.
const SETS: [(&str, &str); 15] = [
    ("capability", "CAPABILITY_"),
    ("role", "ROLE_"),
    ("code", "CODE_"),
    ("state", "STATE_"),
    ("reason", "REASON_"),
    ("operation_state", "OPERATION_"),
    ("shutdown_then", "SHUTDOWN_THEN_"),
    ("console_mode", "CONSOLE_"),
    ("field", "FIELD_"),
    ("comparison", "FILTER_"),
    ("event", "EVENT_"),
    ("client_state", "CLIENT_STATE_"),
    ("client_change", "CLIENT_CHANGE_"),
    ("certificate_change", "CERTIFICATE_CHANGE_"),
    ("flag", "STREAM_FLAG_"),
];

/// Which set the numbers of a field are of; `vmwire.x` says it in prose only. Sorted, and `procedure` is the set of types.
const NAMED: [(&str, &str); 26] = [
    ("client_add_call.role", "role"),
    ("client_info.role", "role"),
    ("client_info.state", "client_state"),
    ("client_invite_call.role", "role"),
    ("client_set_role_call.role", "role"),
    ("connection_info.role", "role"),
    ("console_open_call.mode", "console_mode"),
    ("enroll_answer.role", "role"),
    ("event.kind", "event"),
    ("event_certificate.change", "certificate_change"),
    ("event_client_changed.change", "client_change"),
    ("event_client_changed.role", "role"),
    ("event_operation.procedure", "procedure"),
    ("event_operation.state", "operation_state"),
    ("event_vm_state.previous", "state"),
    ("event_vm_state.reason", "reason"),
    ("event_vm_state.state", "state"),
    ("failure.code", "code"),
    ("hello_answer.capabilities", "capability"),
    ("hello_answer.role", "role"),
    ("hello_call.capabilities", "capability"),
    ("operation_info.procedure", "procedure"),
    ("operation_info.state", "operation_state"),
    ("stream_data.flags", "flag"),
    ("subscribe_call.kinds", "event"),
    ("vm_done_answer.state", "state"),
];
const NAMED_OF_VMS: [(&str, &str); 7] = [
    ("vm_filter.comparison", "comparison"),
    ("vm_filter.field", "field"),
    ("vm_info.reason", "reason"),
    ("vm_info.state", "state"),
    ("vm_list_call.fields", "field"),
    ("vm_shutdown_call.then", "shutdown_then"),
    ("vm_wait_answer.state", "state"),
];
const NAMED_WAITS: [(&str, &str); 1] = [("vm_wait_call.states", "state")];

/// Numbers that are only numbers. A test holds that each `unsigned int` is here or has a set, so that a new one is thought of.
const PLAIN: &[&str] = &[
    "cancel_call.serial",
    "capture_open_answer.stream",
    "connection_info.calls_open",
    "connection_info.minor",
    "connection_info.streams",
    "connection_info.unsent_bytes",
    "console_open_answer.stream",
    "console_open_call.history_bytes",
    "daemon_info_answer.connections",
    "daemon_info_answer.connections_max",
    "daemon_info_answer.pid",
    "event_certificate.days",
    "failure.retry_after_ms",
    "hello_answer.calls_in_flight_max",
    "hello_answer.major",
    "hello_answer.minor",
    "hello_answer.newest_minor",
    "hello_answer.packet_bytes_max",
    "hello_call.major",
    "hello_call.minor",
    "host_info_answer.cpus",
    "host_info_answer.vms_defined",
    "host_info_answer.vms_running",
    "list_call.rows_max",
    "operation_list_call.rows_max",
    "stream_credit.bytes",
    "stream_credit.stream",
    "stream_data.stream",
    "stream_end.stream",
    "vm_info.console_readers",
    "vm_info.cpus",
    "vm_info.operations_waiting",
    "vm_info.pid",
    "vm_list_call.rows_max",
    "vm_shutdown_call.grace_ms",
];

/// The set that a field's numbers are of.
pub(crate) fn set_of(body: &str, field: &str) -> Option<&'static str> {
    let name = format!("{body}.{field}");
    let mut all = NAMED.iter().chain(&NAMED_OF_VMS).chain(&NAMED_WAITS);
    all.find(|(of, _)| *of == name).map(|(_, set)| *set)
}

/// Whether it was thought of that a number has no names.
pub(crate) fn is_plain(body: &str, field: &str) -> bool {
    PLAIN.contains(&format!("{body}.{field}").as_str())
}

/// Every field that [`set_of`] or [`is_plain`] says something about.
pub(crate) fn told() -> impl Iterator<Item = &'static str> {
    NAMED.iter().chain(&NAMED_OF_VMS).chain(&NAMED_WAITS).map(|(field, _)| *field).chain(PLAIN.iter().copied())
}

/// The whole table, as Lua.
pub(crate) fn table() -> String {
    let definition = Definition::read();
    let mut lua = String::from("local WIRE = {\n");
    versions_and_limits(&mut lua);
    sets(&mut lua);
    event_details(&mut lua);
    bodies(&mut lua, &definition);
    for (side, union) in [("client", "client_data"), ("server", "server_data")] {
        packets(&mut lua, side, definition.body(union));
    }
    lua.push_str("}\n");
    lua
}

fn versions_and_limits(lua: &mut String) {
    let rows = [
        ("payload_bytes_min", limits::PAYLOAD_BYTES_MIN),
        ("client_bytes_max_before_hello", limits::CLIENT_BYTES_MAX_BEFORE_HELLO),
        ("client_bytes_max", limits::CLIENT_BYTES_MAX),
        ("server_bytes_max", limits::SERVER_BYTES_MAX),
    ];
    writeln!(lua, "  major = {},", version::MAJOR).unwrap();
    writeln!(lua, "  newest_minor = {},", version::NEWEST_MINOR).unwrap();
    for (name, limit) in rows {
        writeln!(lua, "  {name} = {limit},").unwrap();
    }
    writeln!(lua, "  stream_credit_initial = {},", limits::STREAM_CREDIT_INITIAL).unwrap();
}

/// The name of a constant without its prefix: of codes and types as it stands, of others as people read it.
fn written(set: &str, name: &str) -> String {
    if set == "code" { name.to_owned() } else { name.to_lowercase().replace('_', "-") }
}

fn sets(lua: &mut String) {
    lua.push_str("  names = {\n");
    for (set, prefix) in SETS {
        let members = crate::authority::members(prefix);
        let row = |(number, name): &(u32, &str)| format!("[{number}] = \"{}\"", written(set, name));
        let rows: Vec<String> = members.iter().map(row).collect();
        writeln!(lua, "    {set} = {{ {} }},", rows.join(", ")).unwrap();
    }
    lua.push_str("  },\n");
}

/// Which struct the detail of an event is: the comment behind its number.
fn event_details(lua: &mut String) {
    lua.push_str("  event_detail = {\n");
    for (number, name) in crate::authority::members("EVENT_") {
        let declared =
            AUTHORITY.lines().find(|line| line.starts_with(&format!("const VMWIRE_EVENT_{name} = "))).unwrap();
        let (_, comment) = declared.split_once("/* ").unwrap();
        match comment.trim_end_matches(" */") {
            "nothing" => {}
            body => writeln!(lua, "    [{number}] = \"{body}\",").unwrap(),
        }
    }
    lua.push_str("  },\n");
}

/// A field as a row: name, kind, bounds and marks.
fn row(body: &str, field: &Field) -> String {
    let mut row = format!("{{ \"{}\", ", field.name);
    match &field.kind {
        Kind::Uint => row.push_str("\"uint\""),
        Kind::Hyper => row.push_str("\"hyper\""),
        Kind::Bool => row.push_str("\"bool\""),
        Kind::Uuid => row.push_str("\"uuid\""),
        Kind::String(max) => write!(row, "\"string\", max = {max}").unwrap(),
        Kind::Opaque(max) => write!(row, "\"opaque\", max = {max}").unwrap(),
        Kind::Fixed(size) => write!(row, "\"fixed\", size = {size}").unwrap(),
        Kind::Body(name) => write!(row, "\"{name}\"").unwrap(),
    }
    match field.repeat {
        Repeat::Once => {}
        Repeat::Optional => row.push_str(", optional = true"),
        Repeat::List(max) => write!(row, ", list = {max}").unwrap(),
    }
    if let Some(set) = set_of(body, &field.name) {
        write!(row, ", names = \"{set}\"").unwrap();
    }
    if field.secret {
        row.push_str(", secret = true");
    }
    row.push_str(" }");
    row
}

fn bodies(lua: &mut String, definition: &Definition) {
    // The outer shapes are the dissector's own matter, and a token never travels as such.
    const OTHERS: [&str; 5] = ["client_data", "server_data", "client_packet", "server_packet", "token"];
    lua.push_str("  bodies = {\n");
    for (name, body) in definition.bodies.iter().filter(|(name, _)| !OTHERS.contains(&name.as_str())) {
        match body {
            Body::Struct(fields) => {
                writeln!(lua, "    {name} = {{").unwrap();
                fields.iter().for_each(|field| writeln!(lua, "      {},", row(name, field)).unwrap());
            }
            Body::Union(arms) => {
                writeln!(lua, "    {name} = {{ union = {{").unwrap();
                for (number, field) in arms {
                    let field = field.as_ref().map_or_else(|| "false".to_owned(), |field| row(name, field));
                    writeln!(lua, "      [{number}] = {field},").unwrap();
                }
                lua.push_str("    } ");
            }
        }
        lua.push_str("    },\n");
    }
    lua.push_str("  },\n");
}

/// The packets that one side may send, by number.
fn packets(lua: &mut String, side: &str, union: &Body) {
    let Body::Union(arms) = union else { panic!("the outer shape is a union") };
    writeln!(lua, "  {side} = {{").unwrap();
    for (number, field) in arms {
        let name = type_name(*number);
        write!(lua, "    [0x{number:04x}] = {{ name = \"{name}\"").unwrap();
        if let Some(Field { kind: Kind::Body(body), .. }) = field {
            write!(lua, ", body = \"{body}\"").unwrap();
        }
        match PROCEDURES.iter().find(|procedure| procedure.number == *number) {
            Some(procedure) if side == "client" => {
                let (default, most) = (procedure.deadline_default.as_millis(), procedure.deadline_max.as_millis());
                let role = role::name(procedure.right.role).unwrap();
                write!(lua, ", minor = {}, role = \"{role}\"", procedure.minor).unwrap();
                write!(lua, ", deadline_ms = {default}, deadline_ms_max = {most}").unwrap();
            }
            Some(procedure) => write!(lua, ", minor = {}", procedure.minor).unwrap(),
            None => lua.push_str(", minor = 0"),
        }
        lua.push_str(" },\n");
    }
    lua.push_str("  },\n");
}

/// The constant that has this number among those of types: the ones above the bounds.
fn type_name(wanted: u32) -> &'static str {
    let types = AUTHORITY.split("/* ---- Bounds").next().unwrap();
    let names = types.lines().filter_map(|line| line.strip_prefix("const VMWIRE_")?.split_once(" = "));
    let mut names = names.map(|(name, _)| name).filter(|name| !["MAJOR", "NEWEST_MINOR"].contains(name));
    names.find(|name| constants()[name] == wanted && number(&format!("VMWIRE_{name}")) == wanted).unwrap()
}
