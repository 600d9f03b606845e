//! What our own decoder says of a packet, as fields: out of the `Debug` of its values, which names structs and fields.

use std::collections::BTreeMap;

use vmwire_protocol::message::{
    EventCertificate, EventClientChanged, EventConsoleWriter, EventDaemonStarted, EventOperation, EventVmDefined,
    EventVmMonitor, EventVmReset, EventVmState,
};
use vmwire_protocol::xdr;

use crate::authority::with_underscores;

/// Values by `struct.field`, in order.
pub(crate) type Fields = BTreeMap<String, Vec<String>>;

/// The fields of a value that was printed by `{:?}`.
pub(crate) fn fields(printed: &str) -> Fields {
    let mut reader = Reader { rest: printed, fields: Fields::new() };
    reader.value("");
    assert_eq!(reader.rest, "");
    reader.fields
}

/// The detail of an event, printed; nothing of a kind that has none.
pub(crate) fn detail(kind: u32, bytes: &[u8]) -> Option<String> {
    macro_rules! print {
        ($($kind:literal => $body:ident)+) => {
            match kind {
                $($kind => Some(format!("{:?}", xdr::decode::<$body>(bytes).ok()?)),)+
                _ => None,
            }
        };
    }
    print!(1 => EventDaemonStarted 2 => EventVmDefined 4 => EventVmState 5 => EventVmReset 6 => EventVmMonitor
        7 => EventConsoleWriter 8 => EventOperation 9 => EventClientChanged 10 => EventCertificate)
}

struct Reader<'a> {
    rest: &'a str,
    fields: Fields,
}

impl Reader<'_> {
    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// A value, of the field of this name.
    fn value(&mut self, field: &str) {
        if self.rest.starts_with('"') {
            let text = self.text();
            self.fields.entry(field.to_owned()).or_default().push(text);
        } else if self.take("[secret]") {
            self.fields.entry(field.to_owned()).or_default().push("[secret]".to_owned());
        } else if self.take("[") {
            while !self.take("]") {
                self.value(field);
                self.take(", ");
            }
        } else {
            let word = self.word();
            if self.take(" { ") {
                let of = match with_underscores(&word).as_str() {
                    // The one body that has another name in the code.
                    "accelerator_info" => "accelerator".to_owned(),
                    of => of.to_owned(),
                };
                while !self.take("}") {
                    let name = self.word();
                    assert!(self.take(": "));
                    self.value(&format!("{of}.{name}"));
                    let _at_the_end = self.take(", ") || self.take(" ");
                }
            } else if self.take("(") {
                // What is opaque says how long it is; the arm of a cell has a name of its own; the rest only wraps.
                match word.as_str() {
                    "Opaque" => {
                        let length = self.word();
                        assert!(self.take(" bytes"));
                        self.fields.entry(field.to_owned()).or_default().push(format!("{length} bytes"));
                    }
                    "Number" => self.value("vm_cell.number"),
                    "Text" => self.value("vm_cell.text"),
                    "Items" => self.value("vm_cell.items"),
                    _ => self.value(field),
                }
                assert!(self.take(")"));
            } else if !field.is_empty() && !["None", "Absent"].contains(&word.as_str()) {
                self.fields.entry(field.to_owned()).or_default().push(word);
            }
        }
    }

    /// Text in quotes, with the escapes of Rust.
    fn text(&mut self) -> String {
        assert!(self.take("\""));
        let mut text = String::new();
        loop {
            let mut characters = self.rest.chars();
            let character = characters.next().unwrap();
            self.rest = characters.as_str();
            match character {
                '"' => return text,
                '\\' => text.push(self.escaped()),
                other => text.push(other),
            }
        }
    }

    fn escaped(&mut self) -> char {
        let mut characters = self.rest.chars();
        let character = characters.next().unwrap();
        self.rest = characters.as_str();
        match character {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (hex, rest) = self.rest[1..].split_once('}').unwrap();
                self.rest = rest;
                char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap()
            }
            other => other,
        }
    }
}
