//! What a session keeps for captures of what passes it.

use vmwire_protocol::message::{
    ClientData, ClientInviteAnswer, ClientInviteCall, EnrollCall, ServerData, StreamData, VmCall, number,
};
use vmwire_protocol::session::{Passed, Said};
use vmwire_protocol::xdr::{Fixed, Opaque, Sampler, Secret, Text};

use crate::support::packets::{packet, raw};
use crate::support::server::Server;

fn tapped() -> Server {
    let mut server = Server::agreed();
    server.session.set_tapped(true);
    server
}

fn holds(passed: &Passed, bytes: &[u8]) -> bool {
    passed.bytes.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn packets_pass_in_their_order_with_their_bytes() {
    let mut server = tapped();
    let show = packet(3, &ClientData::VmShow(VmCall { vm: Text::clipped("web1") }));
    server.show(&[packet(2, &ClientData::Ping), show.clone()].concat());
    let passed = server.session.take_passed();
    let serials: Vec<_> = passed.iter().map(|passed| (passed.serial, matches!(passed.said, Said::Client(_)))).collect();
    assert_eq!(serials, [(2, true), (2, false), (3, true)], "PING, its answer, and the call that is still open");
    assert_eq!((&passed[1].said, passed[1].number), (&Said::Server(2, None), number::PING), "nobody asks for more");
    assert_eq!(passed[2].bytes, show);
    assert_eq!(server.session.take_passed(), []);
    server.session.set_tapped(false);
    server.show(&packet(4, &ClientData::Ping));
    assert_eq!(server.session.take_passed(), []);
}

#[test]
fn secrets_are_written_over_and_nothing_else_is() {
    let mut server = tapped();
    let secret = [0xc5; 16];
    let call = EnrollCall {
        secret: Secret::new(Fixed(secret)),
        name: Text::clipped("alice"),
        request: Opaque::new([7; 33]).unwrap(),
    };
    let enroll = packet(2, &ClientData::Enroll(call));
    let invite = ClientInviteCall { name: Text::clipped("alice"), role: 1, address: Text::clipped("[::1]:16515") };
    server.show(&[enroll.clone(), packet(3, &ClientData::ClientInvite(invite))].concat());
    let answer = ClientInviteAnswer { token: Secret::new(Text::clipped("a-token-to-be-hidden")), ..sample() };
    let token = answer.token.reveal().to_string();
    server.answer(3, &ServerData::ClientInvite(answer));
    let passed = server.session.take_passed();
    let covered: Vec<u8> = enroll.iter().map(|byte| if *byte == 0xc5 { b'*' } else { *byte }).collect();
    assert_eq!(passed[0].bytes, covered);
    let answered = passed.last().unwrap();
    assert!(!holds(answered, token.as_bytes()) && holds(answered, &[b'*'; 20]));
    for passed in &passed {
        assert!(!format!("{passed:?}").contains("a-token"));
    }
}

fn sample() -> ClientInviteAnswer {
    Sampler::new(1).value()
}

#[test]
fn every_packet_is_as_long_as_it_was() {
    for seed in 0..20 {
        let mut sampler = Sampler::new(seed);
        for &number in ClientData::NUMBERS.iter().filter(|number| **number != number::HELLO) {
            let mut server = tapped();
            let data = ClientData::sample(number, &mut sampler).unwrap();
            let sent = packet(2, &data);
            server.show(&sent);
            let passed = server.session.take_passed();
            assert_eq!(passed[0].bytes.len(), sent.len(), "{number:#x}");
            assert_eq!(passed[0].bytes == sent, ClientData::has_secrets(number) == Some(false), "{number:#x}");
        }
    }
}

#[test]
fn a_body_that_cannot_be_read_is_written_over_where_secrets_may_be_in_it() {
    let cases = [
        (number::ENROLL, true, "half of a secret"),
        (number::CLIENT_INVITE, false, "without secrets, whatever it is"),
        (0x7ff, true, "a call of a minor to come"),
    ];
    for (number, covered, what) in cases {
        let mut server = tapped();
        server.show(&raw(2, 0, number, &[0xc5; 20]));
        let passed = server.session.take_passed();
        assert_eq!(passed[0].bytes[20..], if covered { [b'*'; 20] } else { [0xc5; 20] }, "{what}");
    }
}

#[test]
fn the_data_of_streams_are_found_wherever_they_stand() {
    let mut server = tapped();
    let stream = server.open_stream(2);
    server.session.take_passed();
    let data = StreamData { stream, flags: 0, offset: 0, data: Opaque::new(*b"typed").unwrap() };
    let whole = packet(3, &ClientData::StreamData(data));
    server.show(&whole);
    server.session.stream_send(stream, 0, 0, b"said").unwrap();
    // Its length is a lie: all of the body may be data.
    server.show(&raw(4, 0, number::STREAM_DATA, b"no stream data at all..."));
    let passed = server.session.take_passed();
    let payloads: Vec<&[u8]> = passed.iter().map(|passed| &passed.bytes[passed.payload.clone()]).collect();
    assert_eq!(payloads, [&b"typed"[..], b"said", b"no stream data at all...", b""], "and the refusal of the last");
}
