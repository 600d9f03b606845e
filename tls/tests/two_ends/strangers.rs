//! Who speaks something else, too much of it, or only half.

use std::io::Write;

use vmwire_tls::stream::{End, HELLO_BYTES_MAX, Phase, ServerTls, Stream};

use crate::certificates::{Authority, client, server};
use crate::wire::{Pair, Pipe, Reached};

/// What a server says of bytes, and what it answers.
fn server_on(bytes: &[u8], ended: bool) -> (Option<String>, Vec<u8>) {
    let authority = Authority::new("CA");
    let mut end = Reached::new(ServerTls::new(server(&authority.server(), &authority.pem)));
    let (mut up, mut down) = (Pipe::new(), Pipe::new());
    up.write_all(bytes).unwrap();
    up.ended = ended;
    while end.turn(&mut up, &mut down) {}
    (end.stream.refusal().map(ToString::to_string), down.bytes)
}

/// What a client says of a server's bytes.
fn client_on(bytes: &[u8], ended: bool) -> Option<String> {
    let authority = Authority::new("CA");
    let context = client(&authority.client(), &authority.pem);
    let pair = Pair::new(&context, &server(&authority.server(), &authority.pem));
    let (mut end, mut down, mut up) = (pair.client, Pipe::new(), Pipe::new());
    down.write_all(bytes).unwrap();
    down.ended = ended;
    while end.turn(&mut down, &mut up) {}
    end.stream.refusal().map(ToString::to_string)
}

#[test]
fn a_server_names_who_knocks_on_the_wrong_door() {
    let rows: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\nHost: vm1\r\n\r\n", "an HTTP request"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH banner"),
        (b"\x89VMW\0\0\0\x0c\0\0\0\0", "an unencrypted vmwire packet"),
        (b"\0\0\0\x1c\x20\0\x80\x86\0\0\0\x01", "a libvirt packet"),
        (b"\x80\0\0\x28\0\0\0\x01\0\0\0\x02", "a SunRPC record"),
        (b"\x01\x02hello\n", "\"\\x01\\x02hello\\n\""),
    ];
    for (bytes, looks) in rows {
        let text = format!("the client does not speak TLS: what it sent looks like {looks}");
        assert_eq!(server_on(bytes, false).0, Some(text.clone()));
        assert_eq!(server_on(bytes, true).0, Some(text));
    }
    // Too little to be cut into records, but an end behind it.
    assert_eq!(
        server_on(b"GET", true).0.as_deref(),
        Some("the client does not speak TLS: what it sent looks like \"GET\"")
    );
}

#[test]
fn a_client_names_what_answers_instead() {
    let rows: [(&[u8], &str); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH banner"),
        (b"\x89VMW\0\0\0\x0c\0\0\0\0", "an unencrypted vmwire packet"),
        (b"220 mail.example ESMTP\r\n", "\"220 mail\""),
    ];
    for (bytes, looks) in rows {
        let text = format!(
            "there is no TLS on this port: what the server sent looks like {looks}; \
             is it the port of the daemon's tls listener?"
        );
        assert_eq!(client_on(bytes, false), Some(text));
    }
}

#[test]
fn an_end_in_the_middle_of_the_handshake_is_told() {
    let cut = "closed the connection in the middle of the handshake";
    assert_eq!(server_on(b"", true).0, Some(format!("the client {cut}")));
    assert_eq!(server_on(b"\x16\x03\x01\x02\x00\x01", true).0, Some(format!("the client {cut}")));
    assert_eq!(client_on(b"", true), Some(format!("the server {cut}")));
    // An unencrypted close_notify may come from anybody, and is none.
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    assert_eq!(client_on(&close_notify, false), None);
    assert_eq!(client_on(&close_notify, true), Some(format!("the server {cut}")));
    let authority = Authority::new("CA");
    let mut pair =
        Pair::new(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    pair.client.turn(&mut pair.down, &mut pair.up);
    pair.server.turn(&mut pair.up, &mut pair.down);
    assert_eq!(pair.server.stream.phase(), Phase::Handshake);
    pair.up.ended = true;
    pair.server.turn(&mut pair.up, &mut pair.down);
    assert_eq!(pair.server.stream.refusal().unwrap().to_string(), format!("the client {cut}"));
}

#[test]
fn a_first_message_that_never_ends_is_not_gathered() {
    // A handshake message of 60,000 bytes, in records of 1,000.
    let mut bytes = Vec::new();
    for index in 0..60 {
        bytes.extend([0x16, 3, 1, 3, 0xe8]);
        let start: &[u8] = if index == 0 { &[1, 0, 0xea, 0x60, 3, 3] } else { &[] };
        bytes.extend(start);
        bytes.extend(vec![0; 1000 - start.len()]);
    }
    let authority = Authority::new("CA");
    let mut end = Reached::new(ServerTls::new(server(&authority.server(), &authority.pem)));
    let (mut up, mut down) = (Pipe::new(), Pipe::new());
    up.write_all(&bytes).unwrap();
    while end.turn(&mut up, &mut down) {}
    let words = "the client's first message is longer than 16 KiB";
    assert_eq!(end.stream.refusal().map(ToString::to_string).as_deref(), Some(words));
    let taken = bytes.len() - up.bytes.len();
    assert!((HELLO_BYTES_MAX..HELLO_BYTES_MAX + 4096).contains(&taken), "{taken}");
    assert_eq!(down.bytes, [21, 3, 3, 0, 2, 2, 50]);
    // One that announces more than rustls takes at all.
    assert_eq!(server_on(&[0x16, 3, 1, 0, 6, 1, 0xff, 0xff, 0xff, 3, 3], false).0.as_deref(), Some(words));
}

#[test]
fn damaged_tls_is_refused_with_an_alert() {
    // A ClientHello that is shorter inside than it says.
    let (words, answer) = server_on(&[0x16, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3], false);
    assert!(words.as_deref().unwrap().starts_with("what came is no sound TLS: "), "{words:?}");
    assert_eq!(answer[..3], [21, 3, 3], "an alert");
}

#[test]
fn a_client_too_old_is_told_so() {
    // A ClientHello of TLS 1.1 with one cipher.
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    let mut bytes = vec![0x16, 3, 1, 0, 0, 1, 0, 0, 0];
    bytes[8] = hello.len().try_into().unwrap();
    bytes[4] = bytes[8] + 4;
    bytes.extend(hello);
    let (words, answer) = server_on(&bytes, false);
    assert_eq!(
        words.as_deref(),
        Some(
            "the two ends have no version of TLS or no cipher in common (SignatureAlgorithmsExtensionRequired): \
             TLS 1.2 is the oldest"
        )
    );
    assert_eq!(answer[..3], [21, 3, 3], "an alert");
}

#[test]
fn a_first_message_may_come_byte_by_byte() {
    let authority = Authority::new("CA");
    let mut pair =
        Pair::new(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    pair.up.piece = 1;
    pair.client.turn(&mut pair.down, &mut pair.up);
    while !pair.up.bytes.is_empty() {
        assert_eq!(pair.server.stream.phase(), Phase::Hello);
        pair.server.turn(&mut pair.up, &mut pair.down);
    }
    assert_eq!(pair.server.stream.phase(), Phase::Handshake);
    assert_eq!(pair.words(), (String::new(), String::new()));
    assert_eq!(pair.server.stream.phase(), Phase::Open);
}

#[test]
fn damage_behind_the_handshake_comes_after_what_was_sound() {
    let authority = Authority::new("CA");
    let mut pair =
        Pair::new(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    pair.settle();
    pair.client.stream.write(&mut pair.up, b"sound").unwrap();
    pair.up
        .write_all(&[0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
        .unwrap();
    let (server, client) = pair.words();
    assert_eq!(pair.server.plaintext, b"sound");
    assert_eq!(pair.server.end, Some(End::Failed));
    assert_eq!(server, "what came is no sound TLS: cannot decrypt peer's message");
    assert_eq!(client, "the server refused: alert bad record mac");
}

#[test]
fn behind_the_end_that_was_announced_nothing_counts() {
    let authority = Authority::new("CA");
    let theirs = client(&authority.client(), &authority.pem);
    let mut pair = Pair::new(&theirs, &server(&authority.server(), &authority.pem));
    pair.settle();
    pair.client.stream.write(&mut pair.up, b"last words").unwrap();
    pair.client.stream.close();
    pair.client.stream.write(&mut pair.up, b"").unwrap();
    pair.up.write_all(&[0xff; 20_000]).unwrap();
    pair.settle();
    assert_eq!(pair.server.plaintext, b"last words");
    assert_eq!((pair.server.end, pair.server.stream.refusal()), (Some(End::Closed), None));
}
