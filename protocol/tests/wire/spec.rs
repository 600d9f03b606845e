//! `SPEC.md` against the code: its worked exchanges byte for byte in both directions, its tables row by row.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmwire_protocol::limits;
use vmwire_protocol::message::{ClientData, Over, PROCEDURES, Right, ServerData, code, event_kind, number, role};
use vmwire_protocol::session::{ClientSession, ClientStep, ServerConfig, ServerSession, Step, Ticket};
use vmwire_protocol::xdr::{Fixed, Text};

use crate::support::packets::{Said, said};
use crate::support::server::{hello, peer};

const SPEC: &str = include_str!("../../SPEC.md");

/// The rows of the table whose header begins with these columns, their cells trimmed and without backticks.
fn table(columns: &str) -> Vec<Vec<String>> {
    let header = format!("| {columns} |");
    let mut tables = SPEC.split(&header).skip(1);
    let table = tables.next().unwrap_or_else(|| panic!("no table {columns}"));
    assert!(tables.next().is_none(), "two tables {columns}");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect()).collect()
}

fn seconds(duration: Duration) -> String {
    assert_eq!(duration.subsec_nanos(), 0);
    format!("{} s", duration.as_secs())
}

fn needed(right: Right) -> String {
    let over = match right.over {
        Over::Host => "",
        Over::Vms => " (VM)",
    };
    format!("{}{over}", role::name(right.role).unwrap())
}

#[test]
fn the_table_of_procedures_is_that_of_the_code() {
    let code: Vec<Vec<String>> = PROCEDURES
        .iter()
        .map(|procedure| {
            vec![
                format!("{:#x}", procedure.number),
                procedure.name.to_owned(),
                procedure.minor.to_string(),
                needed(procedure.right),
                seconds(procedure.deadline_default),
                seconds(procedure.deadline_max),
            ]
        })
        .collect();
    assert_eq!(table("number | name | minor | role | default | ceiling"), code);
}

#[test]
fn the_table_of_codes_is_that_of_the_code() {
    let rows = table("code | name | closes | meaning and details");
    let rows: Vec<(u32, &str)> = rows.iter().map(|row| (row[0].parse().unwrap(), row[1].as_str())).collect();
    assert_eq!(rows, code::ALL);
}

#[test]
fn the_table_of_event_kinds_is_that_of_the_code() {
    let rows = table("kind | name | detail");
    let rows: Vec<(u32, &str)> = rows.iter().map(|row| (row[0].parse().unwrap(), row[1].as_str())).collect();
    assert_eq!(rows, event_kind::ALL);
}

#[test]
fn the_table_of_unanswered_numbers_is_that_of_the_code() {
    let rows = table("number | name | sent by");
    let numbers: Vec<String> = rows.into_iter().map(|mut row| row.swap_remove(0)).collect();
    let of_server = ServerData::NUMBERS.iter().filter(|number| **number >= number::UNANSWERED);
    assert_eq!(numbers, of_server.map(|number| format!("{number:#x}")).collect::<Vec<_>>());
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    macro_rules! limits {
        ($($limit:ident)+) => { vec![$(vec![stringify!($limit).to_owned(), limits::$limit.to_string()]),+] };
    }
    macro_rules! times {
        ($($limit:ident)+) => { vec![$(vec![stringify!($limit).to_owned(), seconds(limits::$limit)]),+] };
    }
    let mut code = limits!(
        PAYLOAD_BYTES_MIN CLIENT_BYTES_MAX_BEFORE_HELLO CLIENT_BYTES_MAX SERVER_BYTES_MAX CALLS_IN_FLIGHT_MAX
        UNSENT_BYTES_HIGH EVENT_UNSENT_BYTES_MAX STREAM_CREDIT_INITIAL STREAM_DATA_BYTES_MAX STREAMS_MAX
        LINGER_BYTES_MAX TOTAL_BYTES_MAX
    );
    code.extend(times!(HALF_PACKET_TIME FIRST_PACKET_TIME LINGER_TIME WAIT_DEADLINE_MAX DEADLINE_MAX));
    code.sort();
    let mut rows = table("limit | value");
    rows.sort();
    assert_eq!(rows, code);
}

/// Every Rust source below a directory, one after the other.
fn sources(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_table_of_keys_lists_each_that_the_daemon_sends_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for directory in ["src", "../daemon/src"] {
        sources(&root.join(directory), &mut code);
    }
    let sent: BTreeSet<&str> = code.split(".detail(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let rows = table("key | value");
    let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert!(listed.is_sorted(), "{listed:?}");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), sent);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// The packets of an exchange: who sends each, and its bytes.
fn packets(exchange: &str) -> Vec<(Side, Vec<u8>)> {
    let mut packets: Vec<(Side, Vec<u8>)> = Vec::new();
    for line in exchange.lines().filter(|line| !line.is_empty()) {
        match line {
            "client" => packets.push((Side::Client, Vec::new())),
            "server" => packets.push((Side::Server, Vec::new())),
            row => {
                let (_, bytes) = packets.last_mut().expect("a row stands below who sends it");
                let words = row.get(4..39.min(row.len())).expect("a row is indented").trim();
                for word in words.split(' ') {
                    assert_eq!(word.len(), 8, "{row:?}");
                    bytes.extend_from_slice(&u32::from_str_radix(word, 16).unwrap().to_be_bytes());
                }
            }
        }
    }
    packets
}

fn exchanges() -> Vec<Vec<(Side, Vec<u8>)>> {
    SPEC.split("```exchange\n").skip(1).map(|rest| packets(rest.split("\n```").next().unwrap())).collect()
}

/// Lets the session send what an exchange says that the daemon said, as its core would.
fn say(session: &mut ServerSession, tickets: &mut Vec<Ticket>, said: &Said) {
    let mut bytes = Vec::new();
    said.data.encode(&mut bytes).unwrap();
    match &said.data {
        ServerData::StreamData(data) => session.stream_send(data.stream, data.flags, data.offset, &data.data).unwrap(),
        ServerData::StreamEnd(end) => session.stream_end(end.stream, end.why.clone()),
        ServerData::Event(_) | ServerData::Gap(_) => session.event(&bytes),
        data => {
            let at = tickets.iter().position(|ticket| ticket.serial() == said.reply_to).expect("an open call");
            let ticket = tickets.swap_remove(at);
            match data {
                ServerData::Failure(failure) => session.fail(ticket, failure.clone()),
                ServerData::ConsoleOpen(answer) => {
                    assert_eq!(session.stream_open(), Ok(answer.stream));
                    session.answer(ticket, data);
                }
                data => session.answer(ticket, data),
            }
        }
    }
}

#[test]
fn the_daemon_says_in_each_worked_exchange_what_it_says_there() {
    let exchanges = exchanges();
    assert!(exchanges.len() >= 9, "{}", exchanges.len());
    let epoch = Fixed(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    let config = Arc::new(ServerConfig { newest_minor: 1, server: Text::clipped("vmwired 0.1.0"), epoch });
    for (number, exchange) in exchanges.into_iter().enumerate() {
        let mut session = ServerSession::new(config.clone(), peer());
        let mut tickets = Vec::new();
        for (side, packet) in exchange {
            if side == Side::Client {
                let mut input = &packet[..];
                loop {
                    match session.step(Instant::now(), &mut input) {
                        Step::Call(call) => tickets.push(call.ticket),
                        Step::Idle | Step::Closed => break,
                        _ => {}
                    }
                }
                continue;
            }
            let expected = said(&packet).remove(0);
            if session.outbox().is_empty() {
                say(&mut session, &mut tickets, &expected);
            }
            let unsent = session.outbox().unsent().to_vec();
            let spoken = said(&unsent).remove(0);
            assert_eq!(spoken, expected, "exchange {number}");
            assert_eq!(unsent.get(..packet.len()), Some(&packet[..]), "exchange {number}: {expected:?}");
            session.outbox().advance(packet.len());
        }
        assert!(session.outbox().is_empty(), "exchange {number}: more was said");
        assert!(tickets.is_empty(), "exchange {number}: calls without an answer");
    }
}

#[test]
fn a_client_takes_each_worked_exchange() {
    for (number, exchange) in exchanges().into_iter().enumerate() {
        let mut client = ClientSession::new();
        let mut open = BTreeSet::new();
        for (side, packet) in exchange {
            if side == Side::Client {
                // What is no packet of a client is not for its session to send.
                let Some(payload) = packet.strip_prefix(b"\x89VMW").and_then(|rest| rest.get(4..)) else { continue };
                let word = |at: usize| u32::from_be_bytes(*payload[at..].first_chunk().unwrap());
                // Nor is a HELLO of another major, in its own words.
                let data = ClientData::decode_body(word(8), &payload[12..]).unwrap();
                let (data, ours) = data.map_or_else(|_| (hello(2, 0, &[]), false), |data| (data, true));
                if data.number() < number::UNANSWERED {
                    let serial = client.call(&data, word(4)).unwrap();
                    open.insert(serial);
                    let same = client.outbox().unsent() == packet;
                    assert!(same || !ours || serial != word(0), "exchange {number}");
                    client.outbox().advance(usize::MAX);
                }
                continue;
            }
            let mut input = &packet[..];
            match client.step(&mut input) {
                ClientStep::Answer { serial, .. } => assert!(open.remove(&serial), "exchange {number}"),
                ClientStep::Closed(closing) => {
                    assert!(said(&packet)[0].reply_to == 0, "exchange {number}: {closing:?}");
                    open.clear();
                }
                _ => {}
            }
        }
        assert!(open.is_empty(), "exchange {number}: {open:?}");
    }
}
