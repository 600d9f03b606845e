//! Random values and random damage: both backends say the same, and nothing has two encodings.

use proptest::prelude::*;

use super::{Everything, Packet, decoded, encoded};
use crate::xdr::{List, Sampler, Text, Wire};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_itself(seed: u64) {
        let value = Sampler::new(seed).value::<Everything>();
        let bytes = encoded(&value);
        prop_assert!(bytes.len() <= Everything::BYTES_MAX);
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(decoded(&bytes), Ok(value));
    }

    #[test]
    fn damaged_bytes_get_the_same_verdict_from_both(
        seed: u64,
        damage in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..4),
    ) {
        let mut bytes = encoded(&Sampler::new(seed).value::<Everything>());
        for (at, damage) in damage {
            inflict(&damage, at, &mut bytes);
        }
        // The helper compares the verdicts, and the bytes that an accepted value encodes back to.
        let _ = decoded::<Everything>(&bytes);
    }

    #[test]
    fn noise_gets_the_same_verdict_from_both(bytes in prop::collection::vec(prop_oneof![4 => Just(0), 2 => 0_u8..8, 1 => any::<u8>()], 0..200)) {
        let _ = decoded::<Everything>(&bytes);
    }

    #[test]
    fn packets_survive(seed: u64) {
        let mut sampler = Sampler::new(seed);
        for number in Packet::NUMBERS {
            let packet = Packet::sample(*number, &mut sampler).unwrap();
            prop_assert_eq!(packet.number(), *number);
            let mut bytes = Vec::new();
            packet.encode(&mut bytes).unwrap();
            prop_assert!(bytes.len() <= 4 + Packet::BODY_BYTES_MAX);
            prop_assert_eq!(Packet::compare_backends(*number, &bytes[4..]), Some(true));
            prop_assert_eq!(Packet::decode_body(*number, &bytes[4..]), Some(Ok(packet)));
        }
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Byte(u8),
    Word(u32),
    Cut,
    Insert(u32),
    Remove,
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![0_u32..20, 0xffff_ffe0_u32..=0xffff_ffff, any::<u32>()];
    prop_oneof![
        any::<u8>().prop_map(Damage::Byte),
        word.clone().prop_map(Damage::Word),
        Just(Damage::Cut),
        word.prop_map(Damage::Insert),
        Just(Damage::Remove),
    ]
}

fn inflict(damage: &Damage, at: prop::sample::Index, bytes: &mut Vec<u8>) {
    if bytes.len() < 4 {
        return;
    }
    let byte_at = at.index(bytes.len());
    let word_at = at.index(bytes.len() / 4) * 4;
    match damage {
        Damage::Byte(byte) => bytes[byte_at] = *byte,
        Damage::Word(word) => bytes[word_at..word_at + 4].copy_from_slice(&word.to_be_bytes()),
        Damage::Cut => bytes.truncate(byte_at),
        Damage::Insert(word) => drop(bytes.splice(word_at..word_at, word.to_be_bytes())),
        Damage::Remove => drop(bytes.drain(word_at..word_at + 4)),
    }
}

#[test]
fn sampled_values_reach_every_arm_and_every_bound() {
    let mut sampler = Sampler::new(3);
    let values: Vec<Everything> = (0..500).map(|_| sampler.value()).collect();
    for number in super::Cell::NUMBERS {
        assert!(values.iter().any(|value| value.cell.number() == *number), "no arm {number}");
    }
    for length in [0, 24] {
        assert!(values.iter().any(|value| value.text.len() == length), "no text of {length} bytes");
    }
    for count in [0, 4] {
        assert!(values.iter().any(|value| value.numbers.len() == count), "no list of {count} numbers");
    }
    for length in [0, 50_000] {
        assert!((0..100).any(|_| sampler.value::<Text<50_000>>().len() == length), "no text of {length} bytes");
        assert!((0..100).any(|_| sampler.value::<List<Text<9>, 1000>>().len() == length / 50), "no such list");
    }
    assert!(values.iter().any(|value| value.unsigned == u32::MAX));
    assert!(values.iter().any(|value| value.signed_hyper == i64::MIN));
}

#[test]
fn sampled_lists_of_long_texts_stay_handy() {
    let mut sampler = Sampler::new(4);
    for _ in 0..500 {
        let bytes = encoded(&sampler.value::<List<Text<100_000>, 1000>>());
        assert!(bytes.len() < 200_000, "{} bytes", bytes.len());
    }
}
