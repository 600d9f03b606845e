//! Distinguished names as text (RFC 4514), of certificates that strangers made.
//!
//! What decides about rights must be one text for one name, so a name is either written whole or refused: one with a
//! control character in it, or longer than 256 bytes. What only tells a person something is cut instead.

use std::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Name};

/// The longest name that is taken as an identity, in bytes of its text.
pub const NAME_BYTES_MAX: usize = 256;

/// Why a name is not taken as an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    /// Longer than [`NAME_BYTES_MAX`].
    TooLong,
    /// It holds this control character.
    Control(char),
    /// It is not what the encoding says it is.
    Unreadable,
}

/// Short names of the attribute types that RFC 4514 section 3 wants to be known by them.
const TYPES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// A name that rights may be granted to.
pub(super) fn identity(name: &X509Name<'_>) -> Result<String, NameError> {
    // The text is never shorter than half of the encoding of its shortest form; a 64 KiB name is not even written.
    if name.as_raw().len() > 8 * NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    let text = write(name)?;
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    Ok(text)
}

/// The DER of a name, for a person to read; cut when it is long, and with control characters escaped.
pub(crate) fn for_people(der: &[u8]) -> String {
    if der.len() > 8 * NAME_BYTES_MAX {
        return format!("a name of {} bytes", der.len());
    }
    let text = match X509Name::from_der(der) {
        Ok(([], name)) => write_lossy(&name),
        _ => return "an unreadable name".to_owned(),
    };
    if text.is_empty() {
        return "no name".to_owned();
    }
    shorten(text)
}

/// At most [`NAME_BYTES_MAX`] bytes of a text.
pub(crate) fn shorten(mut text: String) -> String {
    if text.len() > NAME_BYTES_MAX {
        text.truncate(text.floor_char_boundary(NAME_BYTES_MAX - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Refuses a text that is to be part of an identity and cannot be shown as it is.
pub(super) fn check(text: &str) -> Result<(), NameError> {
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    match text.chars().find(|character| is_hidden(*character)) {
        Some(character) => Err(NameError::Control(character)),
        None => Ok(()),
    }
}

/// Control characters, and those that turn the direction of writing.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn write(name: &X509Name<'_>) -> Result<String, NameError> {
    let mut text = String::new();
    let mut control = None;
    write_with(name, &mut text, |character| {
        control.get_or_insert(character);
    });
    control.map_or(Ok(text), |character| Err(NameError::Control(character)))
}

fn write_lossy(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    write_with(name, &mut text, |_| {});
    text
}

/// RFC 4514 section 2.1: the last relative name first.
fn write_with(name: &X509Name<'_>, text: &mut String, mut hidden: impl FnMut(char)) {
    let mut relative: Vec<_> = name.iter_rdn().collect();
    relative.reverse();
    for (index, attributes) in relative.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in attributes.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            write_attribute(attribute, text, &mut hidden);
        }
    }
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String, hidden: &mut impl FnMut(char)) {
    let oid = attribute.attr_type().to_id_string();
    let known = TYPES.iter().find(|(number, _)| *number == oid);
    text.push_str(known.map_or(oid.as_str(), |(_, short)| short));
    text.push('=');
    match value(attribute) {
        Some(value) => escape(value, text, hidden),
        None => {
            // RFC 4514 section 2.4: what is no string is shown as the bytes that it is.
            text.push('#');
            for byte in attribute.as_slice() {
                let _ = write!(text, "{byte:02x}");
            }
        }
    }
}

/// The value as text, if it is one of the string types in use.
fn value<'a>(attribute: &'a AttributeTypeAndValue<'_>) -> Option<&'a str> {
    let string = matches!(
        attribute.attr_value().tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString
    );
    if string { std::str::from_utf8(attribute.as_slice()).ok() } else { None }
}

/// RFC 4514 section 2.4.
fn escape(value: &str, text: &mut String, hidden: &mut impl FnMut(char)) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let at_edge = index == 0 || index == last;
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => text.extend(['\\', character]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if at_edge => text.push_str("\\ "),
            _ if is_hidden(character) => {
                hidden(character);
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            _ => text.push(character),
        }
    }
}
