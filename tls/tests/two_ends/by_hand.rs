//! What a peer can send that writes its records by hand, once the handshake is over.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::client::ClientConnection;
use rustls::version::TLS13;
use vmwire_tls::stream::{ServerTls, Stream};

use crate::certificates::{Authority, server};
use crate::handshakes::{bare_client, settle_bare};
use crate::wire::{Pipe, Reached};

const HANDSHAKE: u8 = 22;
const CONTENT: u8 = 23;

/// The keys of a client whose handshake is over.
struct Hand {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Hand {
    /// A server, and the hand of its client.
    fn shaken() -> (Self, Reached<ServerTls>) {
        let authority = Authority::new("CA");
        let mut config = Arc::unwrap_or_clone(bare_client(&TLS13, &authority.client(), &authority.pem, &["vmwire"]));
        config.enable_secret_extraction = true;
        let mut client = ClientConnection::new(Arc::new(config), "vm1.example".try_into().unwrap()).unwrap();
        let mut end = Reached::new(ServerTls::new(server(&authority.server(), &authority.pem)));
        settle_bare(&mut client, &mut end).unwrap();
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher was agreed") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        (Self { key, iv: iv.as_ref().try_into().unwrap(), sequence }, end)
    }

    fn record(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut inner = [content, &[kind], &vec![0; padding]].concat();
        let [high, low] = u16::try_from(inner.len() + AES_256_GCM.tag_len()).unwrap().to_be_bytes();
        let header = [CONTENT, 3, 3, high, low];
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut inner).unwrap();
        [&header[..], &inner].concat()
    }
}

/// Shows the server what was sent; what it says that it keeps.
fn kept(end: &mut Reached<ServerTls>, bytes: Vec<u8>) -> usize {
    let (mut up, mut down) = (Pipe::new(), Pipe::new());
    up.bytes = bytes;
    while end.turn(&mut up, &mut down) {}
    end.stream.half_bytes()
}

#[test]
fn a_message_in_pieces_that_are_whole_records_counts_as_half_of_something() {
    let (mut hand, mut end) = Hand::shaken();
    let first = hand.record(HANDSHAKE, &[&[4, 0, 0xff, 0xff][..], &[0; 15_000]].concat(), 0);
    let mut sent = first.len();
    assert_eq!(kept(&mut end, first), sent);
    for _ in 0..2 {
        let more = hand.record(HANDSHAKE, &[0; 15_000], 0);
        sent += more.len();
        assert_eq!(kept(&mut end, more), sent);
    }
    assert_eq!(end.stream.refusal(), None);
}

#[test]
fn records_without_content_count_until_there_is_some_and_an_update_of_keys_does_not() {
    let (mut hand, mut end) = Hand::shaken();
    let empty = hand.record(CONTENT, b"", 10_000);
    let sent = empty.len();
    assert_eq!(kept(&mut end, empty), sent);
    assert_eq!(kept(&mut end, hand.record(CONTENT, b"hello", 10_000)), 0);
    assert_eq!(end.plaintext, b"hello");
    assert_eq!(kept(&mut end, hand.record(HANDSHAKE, &[24, 0, 0, 1, 0], 0)), 0);
    assert_eq!(end.stream.refusal(), None);
}

/// What a client says first that has more to say at once.
fn hello_with_early_data() -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| {
        [&kind.to_be_bytes()[..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    };
    let extensions = [
        extension(43, &[2, 3, 4]),
        extension(10, &[0, 2, 0, 0x1d]),
        extension(13, &[0, 2, 4, 3]),
        extension(51, &[&[0, 36, 0, 0x1d, 0, 32][..], &[9; 32]].concat()),
        extension(42, &[]),
    ]
    .concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let hello = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &length, &extensions].concat();
    let [_, _, high, low] = u32::try_from(hello.len()).unwrap().to_be_bytes();
    let message = [&[1, 0, high, low][..], &hello].concat();
    let [high, low] = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22, 3, 1, high, low][..], &message].concat()
}

#[test]
fn early_data_is_refused_however_it_comes() {
    let authority = Authority::new("CA");
    let server = server(&authority.server(), &authority.pem);
    let record = [&[CONTENT, 3, 3, 0x40, 0][..], &[5; 16_384]].concat();
    for piece in [1, 100, 4000, 16_384, usize::MAX] {
        let mut end = Reached::new(ServerTls::new(server.clone()));
        let (mut up, mut down) = (Pipe::new(), Pipe::new());
        up.bytes = [hello_with_early_data(), record.clone(), record.clone()].concat();
        up.piece = piece;
        while end.turn(&mut up, &mut down) {}
        let told = end.stream.refusal().map(ToString::to_string);
        assert!(told.as_deref().is_some_and(|told| told.contains("TLS")), "every {piece}: {told:?}");
    }
}
