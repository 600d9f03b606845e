//! The examples and tables of RFC 4506, a field a row.

use super::{decoded, encoded};
use crate::xdr::{Fixed, List, Opaque, Text, Wire};

/// Expects exactly these bytes, in both directions and from both backends.
fn expect<T: Wire + PartialEq + std::fmt::Debug>(value: T, rows: &[&[u8]]) {
    let bytes = rows.concat();
    assert_eq!(encoded(&value), bytes);
    assert_eq!(decoded(&bytes), Ok(value));
}

crate::wire_union! {
    /// Section 7: `union filetype switch (filekind kind)`.
    enum FileType {
        0 => Text,
        1 => Data(Text<255>),
        2 => Exec(Text<255>),
    }
}

crate::wire_struct! {
    /// Section 7: `struct file`.
    struct File {
        filename: Text<255>,
        kind: FileType,
        owner: Text<32>,
        data: Opaque<65535>,
    }
}

#[test]
fn the_file_of_section_7_is_the_bytes_of_section_7() {
    assert_eq!(FileType::Exec(Text::default()).number(), 2);
    let file = File {
        filename: Text::new("sillyprog").unwrap(),
        kind: FileType::Exec(Text::new("lisp").unwrap()),
        owner: Text::new("john").unwrap(),
        data: Opaque::new("(quit)").unwrap(),
    };
    expect(
        file,
        &[
            &[0x00, 0x00, 0x00, 0x09], // length of filename
            &[0x73, 0x69, 0x6c, 0x6c], // sill
            &[0x79, 0x70, 0x72, 0x6f], // ypro
            &[0x67, 0x00, 0x00, 0x00], // g and three bytes of fill
            &[0x00, 0x00, 0x00, 0x02], // filekind is EXEC
            &[0x00, 0x00, 0x00, 0x04], // length of interpretor
            &[0x6c, 0x69, 0x73, 0x70], // lisp
            &[0x00, 0x00, 0x00, 0x04], // length of owner
            &[0x6a, 0x6f, 0x68, 0x6e], // john
            &[0x00, 0x00, 0x00, 0x06], // length of file data
            &[0x28, 0x71, 0x75, 0x69], // (qui
            &[0x74, 0x29, 0x00, 0x00], // t) and two bytes of fill
        ],
    );
}

#[test]
fn integers_are_four_bytes_of_twos_complement() {
    expect(-2_i32, &[&[0xff, 0xff, 0xff, 0xfe]]); // section 4.1
    expect(i32::MIN, &[&[0x80, 0x00, 0x00, 0x00]]);
    expect(0x0102_0304_u32, &[&[0x01, 0x02, 0x03, 0x04]]); // section 4.2
    expect(u32::MAX, &[&[0xff, 0xff, 0xff, 0xff]]);
}

#[test]
fn hypers_are_eight_bytes() {
    expect(-2_i64, &[&[0xff; 7], &[0xfe]]); // section 4.5
    expect(0x0102_0304_0506_0708_u64, &[&[1, 2, 3, 4, 5, 6, 7, 8]]);
    expect(u64::MAX, &[&[0xff; 8]]);
}

#[test]
fn booleans_are_the_integers_0_and_1() {
    expect(false, &[&[0, 0, 0, 0]]); // section 4.4
    expect(true, &[&[0, 0, 0, 1]]);
}

#[test]
fn fixed_opaque_has_no_length_but_fill() {
    expect(Fixed(*b""), &[]); // section 4.9
    expect(Fixed(*b"1"), &[b"1", &[0; 3]]);
    expect(Fixed(*b"1234"), &[b"1234"]);
    expect(Fixed(*b"12345"), &[b"12345", &[0; 3]]);
    expect(Fixed(*b"123456789"), &[b"123456789", &[0; 3]]);
    expect(Fixed(*b"0123456789abcdef"), &[b"0123456789abcdef"]);
}

#[test]
fn variable_opaque_and_strings_have_length_and_fill() {
    for length in 0..=70 {
        let bytes = vec![0xa5; length];
        let fill = vec![0; (4 - length % 4) % 4];
        let count = u32::try_from(length).unwrap().to_be_bytes();
        expect(Opaque::<70>::new(bytes.clone()).unwrap(), &[&count, &bytes, &fill]); // section 4.10
        let text = "x".repeat(length);
        expect(Text::<70>::new(text.clone()).unwrap(), &[&count, text.as_bytes(), &fill]); // section 4.11
    }
    expect(Text::<8>::new("grüße").unwrap(), &[&[0, 0, 0, 7], b"gr\xc3\xbc\xc3\x9fe", &[0]]);
}

#[test]
fn arrays_have_a_count_and_their_elements_their_own_fill() {
    expect(
        List::<Text<4>, 2>::new([Text::new("a").unwrap(), Text::new("bc").unwrap()]).unwrap(), // section 4.13
        &[&[0, 0, 0, 2], &[0, 0, 0, 1], b"a\0\0\0", &[0, 0, 0, 2], b"bc\0\0"],
    );
}

#[test]
fn void_is_nothing_and_optional_is_a_boolean_and_the_value() {
    expect((), &[]); // section 4.16
    expect(None::<u32>, &[&[0, 0, 0, 0]]); // section 4.19
    expect(Some(7_u32), &[&[0, 0, 0, 1], &[0, 0, 0, 7]]);
    expect(Some(Some(())), &[&[0, 0, 0, 1], &[0, 0, 0, 1]]);
    expect(FileType::Text, &[&[0, 0, 0, 0]]); // section 4.15, a void arm
}
