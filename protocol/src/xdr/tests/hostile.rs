//! What nobody honest sends, and the verdict on it.

use super::{Cell, Everything, decoded, encoded};
use crate::xdr::{DecodeError, Fixed, List, Opaque, Sampler, Text, Wire, decode, own_backend, serde_backend};

/// Lengths at which additions wrap or signs change.
const LENGTHS: [u32; 6] = [0xffff_ffff, 0xffff_fffe, 0xffff_fffd, 0xffff_fffc, 0x8000_0000, 0x7fff_ffff];

fn refused<T: Wire + PartialEq + std::fmt::Debug>(rows: &[&[u8]]) -> DecodeError {
    decoded::<T>(&rows.concat()).unwrap_err()
}

/// Whatever follows the length: nothing, something, or as much as it takes.
fn over_bound<T: Wire + PartialEq + std::fmt::Debug>(max: u32) {
    for length in LENGTHS.into_iter().chain([max + 1]) {
        for following in [0, 4, 8, 64] {
            let verdict = refused::<T>(&[&length.to_be_bytes(), &vec![0; following]]);
            assert_eq!(verdict, DecodeError::Bound { length, max });
        }
    }
}

#[test]
fn lengths_over_the_bound_are_refused_before_anything_else_is_looked_at() {
    over_bound::<Text<16>>(16);
    over_bound::<Opaque<16>>(16);
    over_bound::<List<u32, 4>>(4);
    over_bound::<List<Text<8>, 4>>(4);
    over_bound::<List<(), 4>>(4);
    over_bound::<Text<0>>(0);
}

#[test]
fn bounds_at_the_top_of_the_range_do_not_wrap() {
    for length in LENGTHS {
        let bytes = length.to_be_bytes();
        assert_eq!(decoded::<Text<0xffff_ffff>>(&bytes), Err(DecodeError::Truncated));
        assert_eq!(decoded::<Opaque<0xffff_ffff>>(&bytes), Err(DecodeError::Truncated));
    }
}

#[test]
fn a_list_of_void_is_as_long_as_it_says_within_its_bound() {
    assert_eq!(decoded::<List<(), 4>>(&[0, 0, 0, 4]), Ok(List::new([(); 4]).unwrap()));
}

#[test]
fn a_length_without_its_bytes_is_refused() {
    for following in 0..8 {
        let bytes = [&[0, 0, 0, 7][..], &vec![b'x'; following]].concat();
        assert_eq!(decoded::<Text<7>>(&bytes), Err(DecodeError::Truncated));
        assert_eq!(decoded::<Opaque<7>>(&bytes), Err(DecodeError::Truncated));
        assert_eq!(decoded::<List<u32, 7>>(&bytes), Err(DecodeError::Truncated));
    }
}

#[test]
fn every_beginning_of_a_value_is_refused_as_truncated() {
    let mut sampler = Sampler::new(1);
    for _ in 0..20 {
        let bytes = encoded(&sampler.value::<Everything>());
        for end in 0..bytes.len() {
            assert_eq!(decoded::<Everything>(&bytes[..end]), Err(DecodeError::Truncated));
        }
    }
}

#[test]
fn bytes_behind_a_value_are_refused_but_by_decode_prefix_handed_back() {
    let mut sampler = Sampler::new(2);
    for _ in 0..20 {
        let value = sampler.value::<Everything>();
        let mut bytes = encoded(&value);
        for more in 1..=8 {
            bytes.push(0);
            assert_eq!(decoded::<Everything>(&bytes), Err(DecodeError::Trailing));
            let rest = &[0; 8][..more];
            assert_eq!(own_backend::decode_prefix::<Everything>(&bytes), Ok((value.clone(), rest)));
            assert_eq!(serde_backend::decode_prefix::<Everything>(&bytes), Ok((value.clone(), rest)));
        }
    }
    assert_eq!(decoded::<()>(&[0]), Err(DecodeError::Trailing));
}

#[test]
fn booleans_and_flags_are_0_or_1() {
    for word in [2, 0x100, 0x0100_0000, 0x8000_0000, u32::MAX] {
        assert_eq!(refused::<bool>(&[&word.to_be_bytes()]), DecodeError::Bool);
        assert_eq!(refused::<Option<()>>(&[&word.to_be_bytes()]), DecodeError::Optional);
        assert_eq!(refused::<Option<u32>>(&[&word.to_be_bytes(), &[0; 4]]), DecodeError::Optional);
    }
}

#[test]
fn every_byte_of_padding_is_zero() {
    for length in 1..=70_usize {
        let end = (4 - length % 4) % 4;
        let mut bytes = encoded(&Opaque::<70>::new(vec![b'x'; length]).unwrap());
        for back in 1..=end {
            let at = bytes.len() - back;
            bytes[at] = 1;
            assert_eq!(decoded::<Opaque<70>>(&bytes), Err(DecodeError::Padding));
            assert_eq!(decoded::<Text<70>>(&bytes), Err(DecodeError::Padding));
            bytes[at] = 0;
        }
    }
    assert_eq!(refused::<Fixed<7>>(&[b"12345678"]), DecodeError::Padding);
    assert_eq!(refused::<Fixed<5>>(&[b"12345", &[0, 0, 1]]), DecodeError::Padding);
    assert_eq!(refused::<Fixed<3>>(&[b"1234"]), DecodeError::Padding);
    assert_eq!(refused::<Fixed<9>>(&[b"123456789", &[1, 0, 0]]), DecodeError::Padding);
}

#[test]
fn text_is_utf8() {
    for bytes in [
        &b"\xff\x00\x00\x00"[..], // no such byte
        b"\x80abc",               // a continuation of nothing
        b"abc\xc3",               // cut in the middle
        b"\xc0\x80ab",            // U+0000 in two bytes
        b"\xe0\x80\xafx",         // a slash in three
        b"\xed\xa0\x80x",         // half a surrogate pair
        b"\xf4\x90\x80\x80",      // past U+10FFFF
    ] {
        assert_eq!(refused::<Text<4>>(&[&[0, 0, 0, 4], bytes]), DecodeError::Utf8);
    }
}

#[test]
fn text_has_no_nul_but_opaque_may() {
    for bytes in [b"\0abc", b"ab\0c", b"abc\0"] {
        assert_eq!(refused::<Text<4>>(&[&[0, 0, 0, 4], bytes]), DecodeError::Nul);
        assert!(decoded::<Opaque<4>>(&[&[0, 0, 0, 4][..], bytes].concat()).is_ok());
    }
}

#[test]
fn unknown_arms_are_refused() {
    for number in [2, 6, 8, 0xffff_ffef, 0xffff_fff1, 0x7fff_ffff, u32::MAX] {
        assert_eq!(refused::<Cell>(&[&number.to_be_bytes()]), DecodeError::Discriminant(number));
        assert_eq!(refused::<Cell>(&[&number.to_be_bytes(), &[0; 64]]), DecodeError::Discriminant(number));
    }
}

#[test]
fn no_error_tells_what_was_in_the_bytes() {
    let bytes = [&[0, 0, 0, 7][..], b"hunter2", &[1]].concat();
    for error in [
        serde_backend::decode::<Text<7>>(&bytes).unwrap_err(),
        serde_backend::decode::<Text<6>>(&bytes).unwrap_err(),
        serde_backend::decode::<Cell>(&bytes).unwrap_err(),
        decode::<Text<7>>(&[&bytes[..11], &[0, 0]].concat()).unwrap_err(),
    ] {
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
    }
}

#[test]
fn all_one_byte_changes_get_the_same_verdict_from_both() {
    let bytes = encoded(&super::every_kind());
    let mut accepted = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        for byte in 0..=255 {
            changed[at] = byte;
            // The helper compares the verdicts, and the bytes that an accepted value encodes back to.
            accepted += u32::from(decoded::<Everything>(&changed).is_ok());
        }
    }
    assert!(accepted > 10_000, "{accepted} accepted");
}
