//! The bounded types as their users meet them.

use crate::xdr::{Fixed, List, NotText, Opaque, Text, TooLong};

#[test]
fn text_takes_what_fits_in_bytes_not_in_characters() {
    assert_eq!(Text::<4>::new("üü").unwrap(), "üü");
    assert_eq!(Text::<4>::new("üüü"), Err(NotText::TooLong(TooLong { length: 6, max: 4 })));
    assert_eq!(Text::<4>::new("a\0"), Err(NotText::Nul));
    assert_eq!(Text::<4>::try_from(String::from("abcde")), Err(NotText::TooLong(TooLong { length: 5, max: 4 })));
}

#[test]
fn clipped_text_ends_between_two_characters_and_lacks_nul() {
    assert_eq!(Text::<4>::clipped("abcdef"), "abcd");
    assert_eq!(Text::<4>::clipped("abcü"), "abc");
    assert_eq!(Text::<4>::clipped("\0a\0b\0"), "ab");
    assert_eq!(Text::<3>::clipped("🦀"), "");
    assert_eq!(Text::<0>::clipped("a"), "");
    assert_eq!(Text::<3>::constant("\0a\0bü"), "ab");
    assert_eq!(Text::<3>::constant("abü"), "ab");
}

#[test]
fn opaque_and_lists_take_what_fits() {
    assert_eq!(Opaque::<2>::new([1, 2]).unwrap().as_slice(), [1, 2]);
    assert_eq!(Opaque::<2>::new([1, 2, 3]), Err(TooLong { length: 3, max: 2 }));
    assert_eq!(List::<u32, 2>::new([1, 2, 3]), Err(TooLong { length: 3, max: 2 }));
    let mut list = List::<u32, 2>::clipped(0..9);
    assert_eq!(list.as_slice(), [0, 1]);
    assert_eq!(list.push(2), Err(TooLong { length: 3, max: 2 }));
    assert_eq!(list.into_vec(), [0, 1]);
}

#[test]
fn bytes_show_as_little_as_one_needs() {
    assert_eq!(format!("{:?}", Opaque::<9>::new("password").unwrap()), "Opaque(8 bytes)");
    assert_eq!(format!("{:?}", Fixed([0xab, 0x01])), "ab01");
}

#[test]
fn errors_read_as_sentences() {
    assert_eq!(Text::<4>::new("abcde").unwrap_err().to_string(), "text of 5 bytes where at most 4 are allowed");
    assert_eq!(Opaque::<1>::new("ab").unwrap_err().to_string(), "a length of 2 where at most 1 is allowed");
}
