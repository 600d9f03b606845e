use super::super::write;
use super::*;

/// All that comes out of these bytes, as lines: the text of a value, or `! ` and why not.
fn read(bytes: &[u8]) -> Vec<String> {
    read_in_pieces(&[bytes])
}

fn read_in_pieces(pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = Reader::new();
    let mut lines = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(incoming) = reader.next(&mut input) {
            lines.push(match incoming {
                Incoming::Value(value) => {
                    let mut text = String::new();
                    write(&value, &mut text);
                    text
                }
                Incoming::Refused(refusal) => format!("! {refusal}"),
            });
        }
        assert!(input.is_empty());
    }
    lines
}

fn refused(what: &str) -> String {
    format!("! JSON parse error, {what}")
}

#[test]
fn reads_what_qemu_reads() {
    for (bytes, text) in [
        (&br#"{"execute":"guest-ping","id":1.5}"#[..], r#"{"execute": "guest-ping", "id": 1.5}"#),
        (br#"{'a':'b"\'c'}"#, r#"{"a": "b\"'c"}"#),
        (br#""a\u0000b\u00e9\ud83d\ude00\/\b""#, r#""a\u0000b\u00E9\uD83D\uDE00/\b""#),
        (b"\"\xc0\x80\"", r#""\u0000""#),
        (b"\"\xc3\xa9\"", r#""\u00E9""#),
        (b"[]", "[]"),
        (b"[ 18446744073709551615 , -0 , -9223372036854775808 ]", "[18446744073709551615, 0, -9223372036854775808]"),
        (b"[18446744073709551616]", "[1.8446744073709552e19]"),
        (b"5 ", "5"),
        (b"true\n", "true"),
        (b"-1.5e3,", "-1500"),
        (b"\r\n\t {\n}\r\n", "{}"),
    ] {
        assert_eq!(read(bytes)[0], text, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_number_or_a_word_ends_with_what_follows_it() {
    assert!(read(b"5").is_empty());
    assert_eq!(read(b"1 true[]null{}"), ["1", "true", "[]", "null", "{}"]);
}

#[test]
fn refuses_what_qemu_refuses_in_its_words() {
    for (bytes, why) in [
        (&br#"{"a":"\ud800"}"#[..], "\\ud800 is not a valid Unicode character"),
        (br#"{"a":"\udc00"}"#, "\\udc00 is not a valid Unicode character"),
        (br#"{"a":"\uD800\u0041"}"#, "\\uD800 is not a valid Unicode character"),
        (br#"{"a":"\u12G4"}"#, "\\u12G4 is not a valid Unicode character"),
        (br#"{"a":"\uFDD0"}"#, "\\uFDD0 is not a valid Unicode character"),
        (br#"{"a":"\x"}"#, "invalid escape sequence in string"),
        (b"{\"a\":\"\xed\xa0\x80\"}", "invalid UTF-8 sequence in string"),
        (b"{\"a\":\"\xef\xbf\xbe\"}", "invalid UTF-8 sequence in string"),
        (b"{\"a\":\"\x80\"}", "invalid UTF-8 sequence in string"),
        (br#"{"a":1,"a":2}"#, "duplicate key"),
        (br#"{"a":1,}"#, "expecting value"),
        (br#"{"a":[1,]}"#, "expecting value"),
        (br#"{"a":01}"#, "stray input"),
        (br#"{"a":1.}"#, "stray input"),
        (br#"{"a":.5}"#, "stray '.'"),
        (br#"{"a":+5}"#, "stray '+'"),
        (br#"{"a":%d}"#, "stray '%'"),
        (br#"{"a":nul}"#, "invalid keyword"),
        (br#"{"a":1e999}"#, "number out of range"),
        (br#"{"a" 1}"#, "missing : in object pair"),
        (br#"{"a":}"#, "expecting value"),
        (br#"{"a"}"#, "missing : in object pair"),
        (b"{:1}", "expecting value"),
        (b"{1:2}", "key is not a string in object"),
        (br#"{"a":1 "b":2}"#, "expected separator in dict"),
        (b"[1 2]", "expected separator in list"),
        (b"]", "expecting value"),
        (b"{]", "expecting value"),
        (b"[1}", "expected separator in list"),
        (br#"{"a":1]}"#, "expected separator in dict"),
        (b"{\"a\":\"a\tb\"}", "stray input"),
        (b"@#$", "stray '@'"),
        (b"\x00", "stray ''"),
        (b"\xfe", "stray '\u{fffd}'"),
        (b"hello, world", "invalid keyword"),
    ] {
        assert_eq!(read(bytes), [refused(why)], "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_next_message_is_read_whatever_stood_before_it() {
    for bytes in [
        &b"]"[..],
        b"{\"a\":1]}",
        b"{\"a\":[}\n",
        b"{\"a\":01}\n",
        b"hello, world\n",
        b"@ ",
        b"{\"a\":\"x\n",
        b"{\"a\":1,\"a\":2}",
        b"{\"b\":{\"a\":1,\"a\":2}}",
        b"[1 2]",
        b"[[1 2]]",
        b"\x04",
        b"\xff",
        b"{\"half\":\xff",
        b"{\"half\": \"str\xff",
    ] {
        let mut all = bytes.to_vec();
        all.extend_from_slice(b"{\"next\":1}\n");
        let lines = read(&all);
        assert_eq!(lines.len(), 2, "{}: {lines:?}", bytes.escape_ascii());
        assert_eq!(lines[1], r#"{"next": 1}"#, "{}", bytes.escape_ascii());
    }
}

#[test]
fn half_a_request_does_not_swallow_the_next_line() {
    assert_eq!(
        read(b"{\"execute\":\"guest-ping\"{\"execute\":\"a\"}\n{\"execute\":\"b\"}"),
        [refused("expected separator in dict"), r#"{"execute": "b"}"#.to_owned()],
    );
    assert_eq!(
        read(b"{\"execute\":\"guest-ping\"\n{\"execute\":\"b\"}"),
        [refused("expected separator in dict"), r#"{"execute": "b"}"#.to_owned()],
    );
}

#[test]
fn nothing_within_a_refused_message_is_taken_for_one() {
    assert_eq!(read(br#"{"a":@,"b":{"execute":"guest-shutdown"}}"#), [refused("stray '@'")]);
    assert_eq!(read(br#"{"a" {"execute":"guest-shutdown"}}"#), [refused("missing : in object pair")]);
    assert_eq!(read(b"{\"a\":\"\t\", \"b\":\n  {\"execute\":\"guest-shutdown\"}}"), [refused("stray input")]);
}

#[test]
fn every_reset_is_answered_and_garbage_once() {
    assert_eq!(read(b"\xff\xff").len(), 2);
    assert_eq!(read(b"hello, world ] } , : @ !").len(), 1);
    assert_eq!(read(b"hello\nworld\n").len(), 2);
}

#[test]
fn depth_tokens_and_bytes_are_bounded() {
    let deep = b"[".repeat(DEPTH_MAX);
    assert!(read(&deep).is_empty());
    assert_eq!(read(&b"[".repeat(5000)), ["! JSON nesting depth limit exceeded"]);
    let mut then = b"[".repeat(5000);
    then.extend_from_slice(b"\n{}");
    assert_eq!(read(&then), ["! JSON nesting depth limit exceeded", "{}"]);

    let mut many = b"[".to_vec();
    many.extend(b"1,".repeat(TOKENS_MAX));
    assert_eq!(read(&many), ["! JSON token count limit exceeded"]);

    let mut long = b"{\"a\":\"".to_vec();
    long.resize(TOKEN_BYTES_MAX + 10, b'x');
    long.extend_from_slice(b"\"}\n{}");
    assert_eq!(read(&long), ["! JSON token size limit exceeded", "{}"]);
}

#[test]
fn what_is_begun_is_told_from_what_is_not() {
    let mut reader = Reader::new();
    for (bytes, idle) in
        [(&b" \n"[..], true), (b"{", false), (b"}", true), (b"\"x", false), (b"\xff", true), (b"@", true)]
    {
        let mut input = bytes;
        while reader.next(&mut input).is_some() {}
        assert_eq!(reader.is_idle(), idle, "{}", bytes.escape_ascii());
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Equal, where -1500 and -1.5e3 are.
    fn alike(one: &serde_json::Value, other: &serde_json::Value) -> bool {
        use serde_json::Value::{Array, Number, Object};
        match (one, other) {
            (Number(one), Number(other)) => one == other || one.as_f64() == other.as_f64(),
            (Array(one), Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
            }
            (Object(one), Object(other)) => {
                one.len() == other.len()
                    && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| alike(value, other)))
            }
            _ => one == other,
        }
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(&b"{\"execute\":\"guest-ping\"}"[..]),
            Just(&b"\n"[..]),
            Just(&b"{"[..]),
            Just(&b"}"[..]),
            Just(&b"[1,2,{\"a\":null}]"[..]),
            Just(&b"\"a\\u00e9\\n\""[..]),
            Just(&b","[..]),
            Just(&b":"[..]),
            Just(&b"\xff"[..]),
            Just(&b"-1.5e3 "[..]),
            Just(&b"'"[..]),
            Just(&b"\\"[..]),
            Just(&b"nul"[..]),
        ];
        let pieces = proptest::collection::vec(
            prop_oneof![
                4 => piece.prop_map(<[u8]>::to_vec),
                1 => proptest::collection::vec(any::<u8>(), 0..6),
            ],
            0..12,
        );
        pieces.prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same(bytes in hostile(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let whole = read(&bytes);
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.sort_unstable();
            let mut pieces = Vec::new();
            let mut begin = 0;
            for place in places {
                pieces.push(&bytes[begin..place]);
                begin = place;
            }
            pieces.push(&bytes[begin..]);
            prop_assert_eq!(read_in_pieces(&pieces), whole);
        }

        #[test]
        fn after_a_reset_a_request_is_read(bytes in hostile()) {
            let mut all = bytes;
            all.extend_from_slice(b"\xff{\"execute\":\"guest-sync\"}\n");
            prop_assert_eq!(read(&all).pop().unwrap(), r#"{"execute": "guest-sync"}"#);
        }

        #[test]
        fn what_everybody_calls_json_is_read_alike(bytes in hostile()) {
            let Ok(theirs) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return Ok(()) };
            let mut all = bytes.clone();
            all.push(b'\n');
            let ours = read(&all);
            // Duplicate keys are the only thing that serde_json takes and QEMU does not, of what is made here.
            prop_assert_eq!(ours.len(), 1);
            let ours: serde_json::Value = serde_json::from_str(&ours[0]).unwrap();
            prop_assert!(alike(&ours, &theirs), "{ours} {theirs}");
        }
    }
}
