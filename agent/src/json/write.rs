//! Values as text: one line of ASCII, in the spelling of QEMU, so that whoever looks for a piece of it in qemu-ga's answers finds
//! it in ours.

use std::fmt::Write;

use super::Value;

/// Appends the text of a value.
pub fn write(value: &Value, text: &mut String) {
    append_value(value, text, double);
}

/// The same for ourselves: a number that is no integer does not look like one either.
pub fn write_exactly(value: &Value, text: &mut String) {
    append_value(value, text, |value, text| append(text, format_args!("{value:?}")));
}

fn append_value(value: &Value, text: &mut String, double: fn(f64, &mut String)) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => append(text, format_args!("{value}")),
        Value::Unsigned(value) => append(text, format_args!("{value}")),
        Value::Double(value) => double(*value, text),
        Value::String(value) => string(value, text),
        Value::Array(values) => {
            text.push('[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    text.push_str(", ");
                }
                append_value(value, text, double);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (place, (key, value)) in members.iter().enumerate() {
                if place > 0 {
                    text.push_str(", ");
                }
                string(key, text);
                text.push_str(": ");
                append_value(value, text, double);
            }
            text.push('}');
        }
    }
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string fails for no reason but memory.
    let _ = text.write_fmt(what);
}

fn string(value: &str, text: &mut String) {
    text.reserve(value.len() + 2);
    text.push('"');
    // Base64 and paths come in long runs that need no escape.
    let mut rest = value;
    while let Some(place) = rest.bytes().position(|byte| !(0x20..0x7f).contains(&byte) || matches!(byte, b'"' | b'\\'))
    {
        let (plain, behind) = rest.split_at(place);
        text.push_str(plain);
        let Some(character) = behind.chars().next() else { break };
        escaped(character, text);
        rest = &behind[character.len_utf8()..];
    }
    text.push_str(rest);
    text.push('"');
}

fn escaped(character: char, text: &mut String) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                append(text, format_args!("\\u{unit:04X}"));
            }
        }
    }
}

/// The fewest digits that read back as the same number. QEMU writes seventeen; the value is the same.
fn double(value: f64, text: &mut String) {
    if value == 0.0 || (1e-5..1e17).contains(&value.abs()) {
        append(text, format_args!("{value}"));
    } else {
        append(text, format_args!("{value:e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value) -> String {
        let mut text = String::new();
        write(value, &mut text);
        text
    }

    #[test]
    fn spells_as_qemu_does() {
        let value = Value::object([
            ("return", Value::empty()),
            ("id", vec![Value::Integer(-1), Value::Unsigned(u64::MAX), Value::Null, true.into()].into()),
        ]);
        assert_eq!(text(&value), r#"{"return": {}, "id": [-1, 18446744073709551615, null, true]}"#);
    }

    #[test]
    fn writes_nothing_but_ascii() {
        assert_eq!(
            text(&"a\0\u{7f}é€😀/\u{8}\u{c}\n\r\t\"\\'".into()),
            r#""a\u0000\u007F\u00E9\u20AC\uD83D\uDE00/\b\f\n\r\t\"\\'""#
        );
    }

    #[test]
    fn doubles_read_back_as_themselves() {
        for value in [0.1, 1.0, -0.0, 1e5, 1e300, -2.5e-7, 18_446_744_073_709_551_616.0, f64::MAX, f64::MIN_POSITIVE] {
            let text = text(&Value::Double(value));
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            serde_json::from_str::<f64>(&text).unwrap();
        }
        assert_eq!(text(&Value::Double(1e5)), "100000");
    }
}
