//! What depends on the clock, which here is an argument.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use clap::Parser;
use serde_json::{Value, json};

use super::super::Output;
use super::super::output::Format;
use super::super::tests::keys::{documented, paths};
use super::*;

const NOW: Date = Date(1_795_313_706);
const DAY: i64 = 86_400;

#[derive(Parser)]
struct Words {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a verb at a moment; answers its JSON.
fn pki(directory: &Path, now: Date, words: &[&str]) -> Result<Value, Problem> {
    let all = [&["pki"][..], words, &["--dir", directory.to_str().unwrap()]].concat();
    let (paper, verb) = (Paper::default(), Words::try_parse_from(all).unwrap().verb);
    let mut output = Output::new(Box::new(paper.clone()), Box::new(io::sink()), false);
    output.set(Format::Json, true);
    run_at(&verb, now, &mut Context::new(&mut output, None, None))?;
    let bytes = paper.0.borrow();
    Ok(serde_json::from_slice(&bytes).unwrap())
}

fn problems(shown: &Value) -> Vec<&str> {
    shown[0]["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect()
}

#[test]
fn the_end_is_announced_and_then_said() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("pki");
    pki(&directory, NOW, &["init", "--server", "vm1"]).unwrap();
    let file = directory.join("server.crt");
    let end = NOW.0 + 397 * DAY;
    let rows = [
        (NOW.0, None),
        (end - 31 * DAY, None),
        (end - 31 * DAY + 1, Some("expires in 30 days".to_owned())),
        (end - 1, Some("expires within a day".to_owned())),
        (end + 1, Some(format!("expired; this machine's clock says {}", Date(end + 1)))),
        (
            0,
            Some(
                "not valid before 2026-11-22 02:10:06 UTC; this machine's clock says 1970-01-01 00:00:00 UTC"
                    .to_owned(),
            ),
        ),
    ];
    for (now, problem) in rows {
        let shown = pki(&directory, Date(now), &["show", file.to_str().unwrap()]).unwrap();
        assert_eq!(problems(&shown), problem.iter().collect::<Vec<_>>(), "{now}");
        let state = pki(&directory, Date(now), &["show", "--issued"]).unwrap();
        assert_eq!(state[0]["days_left"], json!(Date(end).days_left(Date(now))));
    }
}

#[test]
fn a_clock_at_1970_makes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("pki");
    let problem = pki(&directory, Date(100), &["init"]).unwrap_err();
    assert_eq!(problem.message, "this machine's clock says 1970-01-01 00:01:40 UTC, which cannot be");
    assert!(problem.hint.contains("timedatectl") && !directory.exists());

    pki(&directory, NOW, &["init", "--server", "vm1"]).unwrap();
    let serial = pki(&directory, NOW, &["show", "--issued"]).unwrap()[0]["serial"].as_str().unwrap().to_owned();
    let files = || ["crl.pem", "issued.jsonl"].map(|name| std::fs::read_to_string(directory.join(name)).unwrap());
    let before = files();
    for words in [&["issue", "client", "alice"][..], &["renew", "server", "vm1"], &["revoke", &serial]] {
        let problem = pki(&directory, Date(100), words).unwrap_err();
        assert_eq!(problem.message, "this machine's clock says 1970-01-01 00:01:40 UTC, which cannot be", "{words:?}");
    }
    assert!(!directory.join("issued").exists());
    assert_eq!(files(), before);
}

#[test]
fn nothing_is_signed_after_the_authoritys_end() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("pki");
    pki(&directory, NOW, &["init"]).unwrap();
    let late = Date(NOW.0 + 3650 * DAY);
    let issued = pki(&directory, late, &["issue", "client", "alice"]).unwrap();
    assert_eq!(issued["not_after_ns"], json!(nanoseconds(Date(NOW.0 + 3653 * DAY))));
    let over = Date(NOW.0 + 3653 * DAY);
    let problem = pki(&directory, over, &["issue", "client", "bob"]).unwrap_err();
    assert_eq!(
        problem.message,
        "the authority has expired on 2036-11-22 02:15:06 UTC; this machine's clock says 2036-11-22 02:15:06 UTC"
    );
    assert!(problem.hint.contains("vmwire pki init --dir DIR"), "{}", problem.hint);
}

#[test]
fn a_renewal_takes_the_same_names_and_key_into_another_year() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("pki");
    pki(&directory, NOW, &["init", "--server", "vm1.example.org", "--server", "::1"]).unwrap();
    let old = pki(&directory, NOW, &["show", "--issued"]).unwrap();
    let later = Date(NOW.0 + 390 * DAY);
    let new = pki(&directory, later, &["renew", "server", "vm1.example.org"]).unwrap();
    assert_eq!(new["names"], json!(["DNS:vm1.example.org", "IP:::1"]));
    assert_eq!(new["key"], old[0]["key"]);
    assert_eq!(new["not_after_ns"], json!(nanoseconds(Date(later.0 + 397 * DAY))));
    let rekeyed = pki(&directory, later, &["renew", "server", "::1", "--new-key"]).unwrap();
    assert_ne!(rekeyed["key"], old[0]["key"]);
    let problem = pki(&directory, later, &["renew", "server", "vm2"]).unwrap_err();
    assert!(problem.message.starts_with("there is no certificate of the server vm2 in "), "{}", problem.message);
}

#[test]
fn the_page_for_programs_names_every_key() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("pki");
    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("request"), vmwire_tls::pki::Request::new(&"bob".parse().unwrap()).unwrap().csr_der).unwrap();
    let init = pki(&directory, NOW, &["init", "--server", "vm1"]).unwrap();
    assert_eq!(keys(&init["server"]), documented("pki issue renew"));
    let without: BTreeSet<String> = keys(&init).into_iter().filter(|key| !key.starts_with("server.")).collect();
    assert_eq!(without, documented("pki init"));
    let issued = pki(&directory, NOW, &["issue", "client", "alice"]).unwrap();
    let renewed = pki(&directory, NOW, &["renew", "client", "alice"]).unwrap();
    let signed = pki(&directory, NOW, &["sign", &file("request"), "--client", "bob"]).unwrap();
    assert_eq!(keys(&issued), documented("pki issue renew"));
    assert_eq!(keys(&renewed), documented("pki issue renew"));
    let mut more = documented("pki issue renew");
    more.insert("certificate_pem".to_owned());
    assert_eq!(keys(&signed), more);
    let shown = pki(&directory, NOW, &["show", directory.join("ca.crt").to_str().unwrap()]).unwrap();
    assert_eq!(keys(&shown), documented("pki show"));
    assert_eq!(keys(&pki(&directory, NOW, &["show", "--issued"]).unwrap()), documented("pki show --issued"));
    let revoked = pki(&directory, NOW, &["revoke", issued["serial"].as_str().unwrap()]).unwrap();
    assert_eq!(keys(&revoked), documented("pki revoke"));
}

fn keys(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    paths(value, "", &mut found);
    found
}
