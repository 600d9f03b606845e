//! The Wireshark dissector, `contrib/wireshark/vmwire.lua`: its table is written from `vmwire.x`, and real tshark is shown
//! captures made here.

mod agents;
mod capture;
mod conversations;
mod damaged;
mod definition;
mod explained;
mod fields;
mod filters;
mod hostile;
mod incidents;
mod rendered;
mod speed;
mod streams;
mod table;
mod talk;
mod tshark;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use definition::{Body, Definition, Kind};

const BEGIN: &str =
    "-- ---- generated from protocol/vmwire.x: `VMWIRE_BLESS=1 cargo test -p vmwire-protocol dissector` ----\n";
const END: &str = "-- ---- end of what is generated ----\n";

/// The dissector's one file.
fn lua() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/wireshark/vmwire.lua")
}

/// Compares text with a file of the sources, or writes it there with `VMWIRE_BLESS=1`.
fn hold(path: &Path, text: &str) {
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    if kept == text {
        return;
    }
    let bless = std::env::var_os("VMWIRE_BLESS").is_some_and(|bless| bless == "1");
    assert!(bless, "{} differs; look at the difference after a run with VMWIRE_BLESS=1:\n{text}", path.display());
    std::fs::write(path, text).unwrap();
}

#[test]
fn the_dissectors_table_is_that_of_the_definition() {
    let file = std::fs::read_to_string(lua()).unwrap();
    let (before, rest) = file.split_once(BEGIN).expect("the mark above the table");
    let (_, after) = rest.split_once(END).expect("the mark below the table");
    let expected = table::table();
    hold(&lua(), &[before, BEGIN, &expected, END, after].concat());
}

#[test]
fn it_was_thought_of_each_number_whether_it_has_names() {
    let definition = Definition::read();
    let mut numbers = BTreeSet::new();
    for (name, body) in &definition.bodies {
        let Body::Struct(fields) = body else { continue };
        if ["client_packet", "server_packet"].contains(&name.as_str()) {
            continue;
        }
        for field in fields.iter().filter(|field| field.kind == Kind::Uint) {
            let (named, plain) = (table::set_of(name, &field.name).is_some(), table::is_plain(name, &field.name));
            assert!(named != plain, "{name}.{}: named {named}, plain {plain}", field.name);
            numbers.insert(format!("{name}.{}", field.name));
        }
    }
    let told: BTreeSet<String> = table::told().map(str::to_owned).collect();
    assert_eq!(told, numbers);
}
