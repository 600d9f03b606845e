//! However the bytes are cut, the same plaintext comes out.

use proptest::prelude::*;
use vmwire_tls::config::{ClientContext, ServerContext};
use vmwire_tls::stream::{Phase, Stream};

use crate::certificates::{Authority, client, server};
use crate::wire::Pair;

fn contexts() -> (ClientContext, ServerContext) {
    let authority = Authority::new("CA");
    (client(&authority.client(), &authority.pem), server(&authority.server(), &authority.pem))
}

/// Bytes that are not the same at any two places near one another.
fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).unwrap().wrapping_mul(seed | 1)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cutting_gives_the_same_plaintext(
        pieces in prop::collection::vec(1_usize..3000, 1..20),
        room in 100_usize..40_000,
        up in 0_usize..70_000,
        down in 0_usize..70_000,
    ) {
        let (client, server) = contexts();
        let mut pair = Pair::new(&client, &server);
        (pair.client.unsent, pair.server.unsent) = (bytes(up, 3), bytes(down, 7));
        (pair.up.room, pair.down.room) = (room, room);
        let mut pieces = pieces.iter().cycle();
        for _ in 0..20_000 {
            (pair.up.piece, pair.down.piece) = (*pieces.next().unwrap(), *pieces.next().unwrap());
            let worked = pair.client.turn(&mut pair.down, &mut pair.up);
            if !pair.server.turn(&mut pair.up, &mut pair.down) && !worked {
                break;
            }
        }
        prop_assert_eq!(pair.server.stream.phase(), Phase::Open);
        prop_assert_eq!(&pair.server.plaintext, &bytes(up, 3));
        prop_assert_eq!(&pair.client.plaintext, &bytes(down, 7));
    }

    #[test]
    fn one_changed_byte_lets_nothing_false_through(at in 0_usize..4000, change in 1_u8..=255) {
        let (client, server) = contexts();
        let mut pair = Pair::new(&client, &server);
        pair.client.unsent = bytes(2000, 3);
        let mut passed = 0;
        for _ in 0..1000 {
            let worked = pair.client.turn(&mut pair.down, &mut pair.up);
            if let Some(byte) = at.checked_sub(passed).and_then(|at| pair.up.bytes.get_mut(at)) {
                *byte ^= change;
            }
            passed += pair.up.bytes.len();
            if !pair.server.turn(&mut pair.up, &mut pair.down) && !worked {
                break;
            }
        }
        prop_assert!(bytes(2000, 3).starts_with(&pair.server.plaintext));
    }
}

#[test]
fn a_whole_conversation_byte_by_byte() {
    let (client, server) = contexts();
    let mut pair = Pair::new(&client, &server);
    (pair.up.piece, pair.down.piece) = (1, 1);
    (pair.client.unsent, pair.server.unsent) = (bytes(300, 3), bytes(300, 7));
    assert_eq!(pair.words(), (String::new(), String::new()));
    assert_eq!(pair.server.plaintext, bytes(300, 3));
    assert_eq!(pair.client.plaintext, bytes(300, 7));
}
