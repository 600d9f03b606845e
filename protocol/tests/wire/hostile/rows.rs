//! The table of what a hostile or mistaken client can send, each row with its verdict.
//!
//! Two programs read it: the tests of the session, and the stories, which send each row to a real daemon. What makes
//! packets is their own and comes from the module above.

use vmwire_protocol::message::{ClientData, code, number};

use super::{hello, packet, raw};

/// The session that a row is shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// A fresh one; the first serial is 1.
    Fresh,
    /// A fresh one of a daemon that speaks 1.0.
    FreshOld,
    /// One that has agreed on the newest minor; the next serial is 2.
    Agreed,
    /// The same with an observer.
    AgreedObserver,
    /// The same with an admin of some virtual machines, who has no role over the host.
    AgreedVmAdmin,
    /// A fresh one with an observer.
    FreshObserver,
}
use To::{Agreed, AgreedObserver, AgreedVmAdmin, Fresh, FreshObserver, FreshOld};

/// What has to come of a row.
pub(crate) enum Verdict {
    /// An answer of this number to this serial.
    Answer(u32, u32),
    /// FAILURE in reply to a serial, with these facts. The connection lives on.
    Refused(u32, u32, &'static [(&'static str, &'static str)]),
    /// FAILURE in reply to nothing, with these facts, as the last packet.
    Last(u32, &'static [(&'static str, &'static str)]),
    /// A call is handed out.
    Call(u32),
}
use Verdict::{Answer, Call, Last, Refused};

/// One of them.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) to: To,
    pub(crate) bytes: Vec<u8>,
    pub(crate) verdicts: Vec<Verdict>,
    /// The most bytes that the session may hold at once, its answers among them.
    pub(crate) memory_max: usize,
}

fn row(name: &'static str, to: To, bytes: impl Into<Vec<u8>>, verdicts: impl Into<Vec<Verdict>>) -> Row {
    // A refusal: the failure in words, its encoding, and what the decoder took.
    Row { name, to, bytes: bytes.into(), verdicts: verdicts.into(), memory_max: 1536 }
}

impl Row {
    fn memory(self, memory_max: usize) -> Self {
        Self { memory_max, ..self }
    }
}

const MAGIC: (&str, &str) = ("expected", "89564d57");

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn header(length: u32) -> Vec<u8> {
    [&b"\x89VMW"[..], &length.to_be_bytes()].concat()
}

/// The first packet of a client, by number and body.
fn first(number: u32, body: &[u8]) -> Vec<u8> {
    raw(1, 0, number, body)
}

fn strangers() -> Vec<Row> {
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03random bytes and what follows them";
    let auth_list = words(&[28, 0x2000_8086, 1, 66, 0, 0, 0]);
    let null_call = words(&[0x8000_0028, 0x1234_5678, 0, 2, 100_000, 2, 0, 0, 0, 0, 0]);
    let like = |name, bytes: &[u8], facts| row(name, Fresh, bytes, [Last(code::BAD_MAGIC, facts)]);
    vec![
        like("HTTP", http, &[("looks_like", "an HTTP request"), MAGIC, ("received", "474554202f204854")]),
        like("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[("looks_like", "an HTTP request")]),
        like("TLS", tls, &[("looks_like", "a TLS ClientHello"), ("received", "1603010200010001")]),
        like("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n", &[("looks_like", "an SSH banner")]),
        like("libvirt", &auth_list, &[("looks_like", "a libvirt packet")]),
        like("libvirt's keepalive", &words(&[28, 0x6b65_6570, 1, 1, 2, 0, 0]), &[("looks_like", "a libvirt packet")]),
        like("SunRPC", &null_call, &[("looks_like", "a SunRPC record")]),
        like("nothing known", b"\x89VMX\x00\x00\x00\x0c", &[MAGIC, ("received", "89564d580000000c")]),
        like("zeros", &[0; 64], &[("received", "0000000000000000")]),
        row("seven bytes of a stranger", Fresh, *b"GET / H", []),
    ]
}

fn lengths() -> Vec<Row> {
    let bad = |name, to, length: u32, facts| row(name, to, header(length), [Last(code::BAD_LENGTH, facts)]);
    vec![
        bad("length 0xffffffff", Fresh, u32::MAX, &[("received", "4294967295"), ("limit", "65536")]),
        bad("length 0xfffffffc", Fresh, u32::MAX - 3, &[("received", "4294967292")]),
        bad("length 0", Fresh, 0, &[("received", "0")]),
        bad("length 8", Fresh, 8, &[("received", "8")]),
        bad("length 11", Fresh, 11, &[("received", "11")]),
        bad("length 13", Fresh, 13, &[("received", "13")]),
        bad("length 14", Fresh, 14, &[("received", "14")]),
        bad("too long before HELLO", Fresh, 65_540, &[("limit", "65536")]),
        bad("too long after HELLO", Agreed, 262_148, &[("received", "262148"), ("limit", "262144")]),
        bad("little-endian", Fresh, 0x0c00_0000, &[("looks_like", "a little-endian length")]),
        row("the longest before HELLO, announced", Fresh, [&header(65_536)[..], &[0; 9]].concat(), []).memory(64),
        row("the longest after HELLO, announced", Agreed, [&header(262_144)[..], &[0; 9]].concat(), []).memory(64),
        row("half a header", Fresh, *b"\x89VMW\x00", []).memory(64),
        row(
            "the longest before HELLO, come",
            Fresh,
            first(number::PING, &[0; 65_536 - 12]),
            [Refused(1, code::MALFORMED, &[])],
        )
        .memory(192 * 1024),
        row(
            "a length after a bad serial",
            Fresh,
            [raw(9, 0, number::PING, &[]), header(0)].concat(),
            [Last(code::SERIAL, &[("expected", "1"), ("received", "9")])],
        ),
    ]
}

fn serials() -> Vec<Row> {
    let ping = |serial| packet(serial, &ClientData::Ping);
    let bad = |name, bytes: Vec<u8>, facts| row(name, Fresh, bytes, [Last(code::SERIAL, facts)]);
    vec![
        bad("serial 0", ping(0), &[("expected", "1"), ("received", "0")]),
        bad("begins at 2", ping(2), &[("expected", "1"), ("received", "2")]),
        bad("begins at the end", ping(u32::MAX), &[("received", "4294967295")]),
        bad("before an unknown number", raw(7, 0, 0xdead, &[1; 4]), &[("received", "7")]),
        bad("before a body", raw(7, 0, number::HELLO, &[]), &[("received", "7")]),
        row(
            "a repeated serial",
            Fresh,
            [ping(1), ping(2), ping(2), ping(3)].concat(),
            [Answer(1, 2), Answer(2, 2), Last(code::SERIAL, &[("expected", "3"), ("received", "2")])],
        ),
        row(
            "a skipped serial",
            Fresh,
            [ping(1), ping(3)].concat(),
            [Answer(1, 2), Last(code::SERIAL, &[("expected", "2"), ("received", "3")])],
        ),
        row(
            "a refused packet has used its serial",
            Fresh,
            [raw(1, 0, 0x7f, &[]), ping(2)].concat(),
            [Refused(1, code::UNKNOWN_PROCEDURE, &[]), Answer(2, 2)],
        ),
        row(
            "serial before refused major",
            Fresh,
            [packet(1, &hello(2, 0, &[])), raw(3, 0, number::SUBSCRIBE, &[])].concat(),
            [Refused(1, code::VERSION_MISMATCH, &[]), Last(code::SERIAL, &[("expected", "2")])],
        ),
    ]
}

fn bodies() -> Vec<Row> {
    let malformed =
        |name, number, body: &[u8]| row(name, Fresh, first(number, body), [Refused(1, code::MALFORMED, &[])]);
    let text = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let hello = |rest: &[u8]| [&words(&[1, 1, 0])[..], rest].concat();
    let start = |paused: u32| [text(b"web1"), words(&[paused])].concat();
    let cell = |kind: u32| words(&[1, 1, 1, 1, 1, kind, 0, 0, 0]);
    vec![
        malformed("PING with a body", number::PING, &[0; 4]),
        malformed("HELLO without a major", number::HELLO, &[]),
        malformed("HELLO cut short", number::HELLO, &words(&[1, 1])),
        malformed("HELLO with bytes left over", number::HELLO, &hello(&words(&[0, 0]))),
        malformed("65 capabilities", number::HELLO, &words(&[&[1, 1, 65], &[1; 65][..], &[0]].concat())),
        malformed("capabilities without end", number::HELLO, &words(&[1, 1, u32::MAX, 1])),
        malformed("64 capabilities, none there", number::HELLO, &words(&[1, 1, 64])),
        malformed("a name without end", number::HELLO, &hello(&words(&[u32::MAX]))),
        malformed("a name whose length wraps", number::HELLO, &hello(&words(&[u32::MAX - 2]))),
        malformed("a name above its bound", number::HELLO, &hello(&text(&[b'x'; 132]))),
        malformed("a name that is not UTF-8", number::HELLO, &hello(&text(b"\xff\xfe\xfd\xfc"))),
        malformed("a name with a surrogate", number::HELLO, &hello(&text(b"x\xed\xa0\x80"))),
        malformed("a name in overlong UTF-8", number::HELLO, &hello(&text(b"ab\xc0\xaf"))),
        malformed("a name with U+0000", number::HELLO, &hello(&text(b"a\0bc"))),
        malformed("dirty padding", number::HELLO, &hello(b"\0\0\0\x03abc\x01")),
        malformed("CANCEL of nothing", number::CANCEL, &[]),
        malformed("CANCEL of two", number::CANCEL, &words(&[1, 2])),
        malformed("UNSUBSCRIBE with a body", number::UNSUBSCRIBE, &[0; 4]),
        malformed("optional 2", number::SUBSCRIBE, &words(&[2, 0, 0])),
        malformed("65 kinds", number::SUBSCRIBE, &words(&[&[0, 0, 65], &[1; 65][..]].concat())),
        malformed("bool 2", 0x110, &start(2)),
        malformed("bool 0x01000000", 0x110, &start(0x0100_0000)),
        malformed("bool missing", 0x110, &text(b"web1")),
        malformed("a definition of 48 KiB announced", 0x103, &words(&[49_152, 0])).memory(4300),
        malformed("a definition above its bound", 0x103, &words(&[49_153, 0])),
        malformed("STREAM_CREDIT cut short", number::STREAM_CREDIT, &words(&[1])),
        malformed("STREAM_END with flag 2", number::STREAM_END, &words(&[1, 2])),
        malformed("STREAM_DATA cut short", number::STREAM_DATA, &words(&[1, 0, 0])),
        malformed("STREAM_DATA with less than announced", number::STREAM_DATA, &words(&[1, 0, 0, 0, 8, 0])),
        malformed("STREAM_DATA with more than announced", number::STREAM_DATA, &words(&[1, 0, 0, 0, 4, 0, 0])),
        malformed("STREAM_DATA with dirty padding", number::STREAM_DATA, &words(&[1, 0, 0, 0, 3, 0x6162_6301])),
        malformed("STREAM_DATA without end", number::STREAM_DATA, &words(&[1, 0, 0, 0, u32::MAX])),
        malformed(
            "STREAM_DATA above its bound",
            number::STREAM_DATA,
            &[words(&[1, 0, 0, 0, 32_769]), vec![0; 32_772]].concat(),
        )
        .memory(96 * 1024),
        row(
            "a cell of a fourth kind",
            Agreed,
            raw(2, 0, 0x105, &[cell(4), words(&[0, 0])].concat()),
            [Refused(2, code::MALFORMED, &[])],
        ),
        row(
            "STREAM packets of streams that never were",
            Fresh,
            [
                raw(1, 0, number::STREAM_DATA, &words(&[1, 0, 0, 0, 0])),
                raw(2, 0, number::STREAM_CREDIT, &words(&[7, 1])),
                raw(3, 0, number::STREAM_END, &words(&[u32::MAX, 0])),
            ]
            .concat(),
            [],
        ),
    ]
}

fn procedures() -> Vec<Row> {
    let unknown = |name, number, facts| {
        row(name, Fresh, first(number, b"\xff\xff\xff\xff"), [Refused(1, code::UNKNOWN_PROCEDURE, facts)])
    };
    vec![
        unknown("FAILURE from a client", number::FAILURE, &[("procedure", "0")]),
        unknown("the first number that is free", 6, &[("procedure", "6")]),
        unknown("a number between", 0x106, &[("procedure", "262")]),
        unknown("PROGRESS from a client", number::PROGRESS, &[("procedure", "4096")]),
        unknown("EVENT from a client", number::EVENT, &[]),
        unknown("a stream packet nobody knows", 0x1013, &[]),
        unknown("the last number", u32::MAX, &[("procedure", "4294967295")]),
        row("a newer minor", Fresh, first(0x105, b"junk"), [Refused(1, code::UNSUPPORTED, &[("minor", "1")])]),
        row(
            "a newer minor than agreed",
            Fresh,
            [packet(1, &hello(1, 0, &[])), raw(2, 0, 0x105, &[])].concat(),
            [Answer(1, number::HELLO), Refused(2, code::UNSUPPORTED, &[("minor", "1")])],
        ),
        row(
            "a newer minor than the daemon's",
            FreshOld,
            [packet(1, &hello(1, 9, &[])), raw(2, 0, 0x105, &[])].concat(),
            [Answer(1, number::HELLO), Refused(2, code::UNKNOWN_PROCEDURE, &[("procedure", "261")])],
        ),
    ]
}

fn versions() -> Vec<Row> {
    let ping = |serial| packet(serial, &ClientData::Ping);
    let mismatch = |serial| Refused(serial, code::VERSION_MISMATCH, &[("majors", "1")]);
    let hello_again = |name, body: &[u8], code| row(name, Agreed, raw(2, 0, 1, body), [Refused(2, code, &[])]);
    vec![
        hello_again("HELLO twice", &words(&[1, 1, 0, 0]), code::INVALID),
        hello_again("HELLO twice, of another major", &words(&[2]), code::INVALID),
        hello_again("HELLO twice, undecodable", &words(&[1]), code::MALFORMED),
        row("a major of which one word is ours to read", Fresh, first(number::HELLO, &words(&[2])), [mismatch(1)]),
        row("major 0 and junk", Fresh, first(number::HELLO, &[0; 40_000]), [mismatch(1)]).memory(96 * 1024),
        row(
            "calls behind a refused HELLO, then PING, then a good HELLO",
            Fresh,
            [
                packet(1, &hello(7, 0, &[])),
                packet(2, &ClientData::HostInfo),
                raw(3, 0, 0x7777, &[]),
                raw(4, 0, number::CANCEL, &[]),
                raw(5, 0, number::STREAM_DATA, &[]),
                ping(6),
                raw(7, 0, number::HELLO, &words(&[1])),
                packet(8, &ClientData::HostInfo),
                packet(9, &hello(1, 1, &[])),
                packet(10, &ClientData::HostInfo),
            ]
            .concat(),
            [
                mismatch(1),
                mismatch(2),
                mismatch(3),
                mismatch(4),
                mismatch(5),
                Answer(6, number::PING),
                Refused(7, code::MALFORMED, &[]),
                mismatch(8),
                Answer(9, number::HELLO),
                Call(10),
            ],
        )
        .memory(2048),
        row(
            "HELLO after other calls, and what it allows behind it",
            Fresh,
            [
                packet(1, &ClientData::HostInfo),
                raw(2, 0, 0x105, &[]),
                packet(3, &hello(1, 1, &[1])),
                raw(4, 0, 0x105, &words(&[0, 0, 0, 0])),
                raw(5, 0, number::PING, &[0; 100_000]),
            ]
            .concat(),
            [
                Call(1),
                Refused(2, code::UNSUPPORTED, &[("minor", "1")]),
                Answer(3, number::HELLO),
                Call(4),
                Refused(5, code::MALFORMED, &[]),
            ],
        )
        .memory(300 * 1024),
    ]
}

fn roles() -> Vec<Row> {
    let observer: &[_] = &[("role", "observer"), ("needed", "operator")];
    let nobody: &[_] = &[("role", "none"), ("needed", "observer")];
    vec![
        row("a call beyond the role", AgreedObserver, raw(2, 0, 0x112, &[0; 4]), [Refused(2, code::DENIED, observer)]),
        row(
            "a call beyond the role, undecodable: the role is judged first",
            AgreedObserver,
            raw(2, 0, 0x103, b"junk"),
            [Refused(2, code::DENIED, &[("role", "observer"), ("needed", "admin")])],
        ),
        row(
            "an undecodable call within the role",
            AgreedObserver,
            raw(2, 0, 0x101, b"junk"),
            [Refused(2, code::MALFORMED, &[])],
        ),
        row(
            "a newer minor is judged before the role",
            FreshObserver,
            first(0x105, b"junk"),
            [Refused(1, code::UNSUPPORTED, &[("minor", "1")])],
        ),
        row(
            "an unknown number is judged before the role",
            FreshObserver,
            first(0x999, b"junk"),
            [Refused(1, code::UNKNOWN_PROCEDURE, &[])],
        ),
        row(
            "a role over some virtual machines is none over the host",
            AgreedVmAdmin,
            [packet(2, &ClientData::HostInfo), raw(3, 0, 0x112, &[0; 4]), packet(4, &ClientData::Ping)].concat(),
            [Call(3), Refused(2, code::DENIED, nobody), Answer(4, number::PING)],
        ),
    ]
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [strangers(), lengths(), serials(), bodies(), procedures(), versions(), roles()].into_iter().flatten().collect()
}
