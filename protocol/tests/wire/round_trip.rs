//! Every message of both unions survives: what is encoded decodes to itself, consumes every byte, and has no second
//! encoding. The values come out of a seed and lie on the bounds of their types often; see `xdr::Sampler`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;
use vmwire_protocol::message::{ClientData, ServerData};
use vmwire_protocol::xdr::{DecodeError, Sampler};

type Decoded<T> = Option<Result<T, DecodeError>>;

/// Both unions, seen alike.
struct Union<T: 'static> {
    numbers: &'static [u32],
    sample: fn(u32, &mut Sampler) -> Option<T>,
    encode: fn(&T) -> Vec<u8>,
    decode: fn(u32, &[u8]) -> Decoded<T>,
}

const CLIENT: Union<ClientData> = Union {
    numbers: ClientData::NUMBERS,
    sample: ClientData::sample,
    encode: |packet| {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).unwrap();
        bytes
    },
    decode: ClientData::decode_body,
};

const SERVER: Union<ServerData> = Union {
    numbers: ServerData::NUMBERS,
    sample: ServerData::sample,
    encode: |packet| {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).unwrap();
        bytes
    },
    decode: ServerData::decode_body,
};

impl<T: PartialEq + Debug> Union<T> {
    fn survives(&self, seed: u64) {
        let mut sampler = Sampler::new(seed);
        for number in self.numbers {
            let packet = (self.sample)(*number, &mut sampler).expect("a generator for every arm");
            let bytes = (self.encode)(&packet);
            let (head, body) = bytes.split_first_chunk().unwrap();
            assert_eq!(u32::from_be_bytes(*head), *number);
            assert_eq!(bytes.len() % 4, 0);
            for end in (0..body.len()).step_by(body.len() / 8 + 1) {
                assert!(matches!((self.decode)(*number, &body[..end]), Some(Err(_))), "{number:#x} cut at {end}");
            }
            let longer = [body, &[0; 4]].concat();
            assert_eq!((self.decode)(*number, &longer), Some(Err(DecodeError::Trailing)), "{number:#x}");
            assert_eq!((self.decode)(*number, body), Some(Ok(packet)), "{number:#x}");
        }
    }

    /// Damages one word; what is still accepted has to be what those bytes stand for.
    fn has_one_encoding(&self, seed: u64, at: prop::sample::Index, word: u32) {
        let mut sampler = Sampler::new(seed);
        for number in self.numbers {
            let packet = (self.sample)(*number, &mut sampler).expect("a generator for every arm");
            let mut bytes = (self.encode)(&packet);
            if bytes.len() == 4 {
                continue;
            }
            let at = 4 + at.index(bytes.len() / 4 - 1) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
            if let Some(Ok(packet)) = (self.decode)(*number, &bytes[4..]) {
                assert!((self.encode)(&packet) == bytes, "{number:#x}: {packet:?} has two encodings");
            }
        }
    }

    /// How many different values each arm gets out of 200 seeds.
    fn variety(&self) -> BTreeMap<u32, usize> {
        let mut seen: BTreeMap<u32, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for seed in 0..200 {
            let mut sampler = Sampler::new(seed);
            for number in self.numbers {
                let packet = (self.sample)(*number, &mut sampler).expect("a generator for every arm");
                seen.entry(*number).or_default().insert((self.encode)(&packet));
            }
        }
        seen.into_iter().map(|(number, values)| (number, values.len())).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_says_survives(seed: u64) {
        CLIENT.survives(seed);
    }

    #[test]
    fn what_a_server_says_survives(seed: u64) {
        SERVER.survives(seed);
    }

    #[test]
    fn no_value_has_two_encodings(seed: u64, at: prop::sample::Index, word in prop_oneof![0_u32..9, any::<u32>()]) {
        CLIENT.has_one_encoding(seed, at, word);
        SERVER.has_one_encoding(seed, at, word);
    }
}

#[test]
fn every_arm_is_tried_with_many_values() {
    for (number, values) in CLIENT.variety().into_iter().chain(SERVER.variety()) {
        let least = match number {
            // No body: PING, UNSUBSCRIBE, HOST_INFO, HOST_CAPABILITIES, DAEMON_INFO, HOST_CERTIFICATES, CONNECTION_KICK,
            // CLIENT_REMOVE, AGENT_PING.
            2 | 5 | 0x10 | 0x11 | 0x12 | 0x13 | 0x21 | 0x44 | 0x130 => 1,
            // A boolean.
            3 => 2,
            // A number.
            0x50 => 20,
            _ => 50,
        };
        assert!(values >= least, "{number:#x}: {values} different values");
    }
}
