//! `vmwire pki`: what lies where with which permissions, what is refused in which words, and that nothing is left half
//! done. What other programs make of the certificates is told in `pki_openssl`.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Place, Ran, Running, pki, pki_command as command, vmwire};

/// A place with an authority and a server in it.
pub(crate) fn with_authority() -> Place {
    let place = Place::new();
    pki(&place, &["init", "--name", "Example Ltd", "--server", "vm1.example.org"]).ok();
    place
}

/// Every file below a directory with its permissions, and every directory.
fn tree(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mode = entry.metadata().unwrap().mode() & 0o7777;
        found.insert(format!("{name} {mode:o}"));
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        }
    }
    found
}

/// The error has to be this one; answers its hint.
#[track_caller]
fn refused(ran: Ran, exit: i32, code: &str, message: &str) -> String {
    let error = ran.error(exit);
    assert_eq!((error["code"].as_str().unwrap(), error["message"].as_str().unwrap()), (code, message), "{error}");
    let hint = error["hint"].as_str().unwrap_or_default().to_owned();
    assert!(!hint.is_empty(), "{error}");
    hint
}

#[test]
fn files_have_the_same_permissions_under_every_umask() {
    for umask in ["000", "022", "077", "777"] {
        let place = Place::new();
        for words in [&["init", "--server", "vm1"][..], &["issue", "client", "alice"], &["renew", "client", "alice"]] {
            let inner = command(&place, words);
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(inner.get_program());
            shell.args(inner.get_args()).current_dir(place.path());
            Running::start(shell).end().ok();
        }
        let wanted = [
            "pki 755",
            "pki/ca.crt 644",
            "pki/ca.key 600",
            "pki/crl.pem 644",
            "pki/issued 700",
            "pki/issued.jsonl 600",
            "pki/issued/alice 700",
            "pki/issued/alice/ca.crt 644",
            "pki/issued/alice/client.crt 644",
            "pki/issued/alice/client.key 600",
            "pki/server.crt 644",
            "pki/server.key 600",
        ];
        assert_eq!(tree(place.path()), wanted.map(str::to_owned).into(), "umask {umask}");
    }
}

#[test]
fn nothing_is_written_over() {
    let place = with_authority();
    pki(&place, &["issue", "client", "alice"]).ok();
    let before = std::fs::read(place.join("pki/ca.key")).unwrap();
    let hint = refused(pki(&place, &["init"]), 1, "EXISTS", "there is an authority in pki already");
    assert!(hint.contains("vmwire pki issue"), "{hint}");
    assert_eq!(std::fs::read(place.join("pki/ca.key")).unwrap(), before);
    let hint = refused(
        pki(&place, &["issue", "client", "alice"]),
        1,
        "EXISTS",
        "there is a pki/issued/alice/client.crt already",
    );
    assert!(hint.contains("vmwire pki renew client alice"), "{hint}");
    // A link to nowhere is something too, and is not written through.
    std::fs::create_dir(place.join("elsewhere")).unwrap();
    symlink("../stolen", place.join("elsewhere/client.key")).unwrap();
    refused(
        pki(&place, &["issue", "client", "bob", "--to", "elsewhere"]),
        1,
        "EXISTS",
        "there is elsewhere/client.key without elsewhere/client.crt",
    );
    assert!(!place.join("stolen").exists());
    // What somebody else's authority signs for is not mixed with ours.
    place.write("elsewhere/ca.crt", "another");
    std::fs::remove_file(place.join("elsewhere/client.key")).unwrap();
    let ran = pki(&place, &["issue", "client", "bob", "--to", "elsewhere"]);
    refused(ran, 1, "EXISTS", "elsewhere/ca.crt is of another authority");
}

#[test]
fn a_run_that_was_broken_off_is_explained_by_the_next() {
    let place = with_authority();
    pki(&place, &["issue", "client", "alice"]).ok();
    std::fs::remove_file(place.join("pki/issued/alice/client.crt")).unwrap();
    place.write("pki/issued/alice/.client.crt.new", "half of");
    let message = "there is pki/issued/alice/client.key without pki/issued/alice/client.crt";
    let hint = refused(pki(&place, &["issue", "client", "alice"]), 1, "EXISTS", message);
    assert!(hint.ends_with("rm pki/issued/alice/client.key"), "{hint}");
    let shown = pki(&place, &["show"]).json();
    let rows = shown.as_array().unwrap();
    let key = rows.iter().find(|row| row["file"] == "pki/issued/alice/client.key").unwrap();
    assert_eq!(key["problems"], serde_json::json!(["no certificate beside it"]));
    std::fs::remove_file(place.join("pki/issued/alice/client.key")).unwrap();
    pki(&place, &["issue", "client", "alice"]).ok();
    assert!(!place.join("pki/issued/alice/.client.crt.new").exists());

    // Between the two files of a renewal with a new key.
    std::fs::copy(place.join("pki/server.key"), place.join("pki/issued/alice/client.key")).unwrap();
    let message = "pki/issued/alice/client.key does not belong to pki/issued/alice/client.crt";
    let hint = refused(pki(&place, &["renew", "client", "alice"]), 1, "PKI", message);
    assert!(hint.contains("--new-key"), "{hint}");
    pki(&place, &["renew", "client", "alice", "--new-key"]).ok();
    pki(&place, &["renew", "client", "alice"]).ok();

    // In the middle of the making of an authority.
    std::fs::remove_file(place.join("pki/ca.crt")).unwrap();
    let message = "there is pki/ca.key and pki/crl.pem without pki/ca.crt";
    let hint = refused(pki(&place, &["init"]), 1, "EXISTS", message);
    assert!(hint.contains("move the files away"), "{hint}");
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let place = Place::new();
    let run_with = |bytes: u32, words: &[&str]| {
        let inner = command(&place, words);
        let mut shell = Command::new("sh");
        // Files may grow so far and no further; the signal that would say so is not wanted.
        let script = format!("trap '' XFSZ; exec prlimit --fsize={bytes} \"$@\"");
        shell.args(["-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args()).current_dir(place.path());
        Running::start(shell).end()
    };
    // The key fits, the list of revoked certificates does not.
    let hint = refused(run_with(300, &["init"]), 1, "LOCAL", "cannot write pki/crl.pem");
    assert!(hint.contains("make room"), "{hint}");
    assert_eq!(tree(place.path()), ["pki 755".to_owned()].into());

    pki(&place, &["init", "--server", "vm1"]).ok();
    let before = tree(place.path());
    let old = std::fs::read(place.join("pki/server.crt")).unwrap();
    let index = std::fs::metadata(place.join("pki/issued.jsonl")).unwrap().len();
    // Room for one more line in the index, and not for a certificate.
    let room = 2 * u32::try_from(index).unwrap();
    refused(run_with(room, &["renew", "server", "vm1"]), 1, "LOCAL", "cannot write pki/server.crt");
    assert_eq!(std::fs::read(place.join("pki/server.crt")).unwrap(), old);
    assert_eq!(tree(place.path()), before);
}

#[test]
fn a_directory_that_may_not_be_written_is_said_with_the_way_out() {
    let place = Place::new();
    std::fs::create_dir(place.join("pki")).unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(place.join("pki"), PermissionsExt::from_mode(0o555)).unwrap();
    let mut init = command(&place, &["init"]);
    if rustix::process::geteuid().is_root() {
        init.uid(65534).gid(65534);
    }
    let hint = refused(Running::start(init).end(), 1, "LOCAL", "cannot write pki/ca.key");
    assert!(hint.contains("as root"), "{hint}");
}

#[test]
fn of_two_at_once_one_is_told_to_wait() {
    let place = with_authority();
    let directory = std::fs::File::open(place.join("pki")).unwrap();
    directory.lock().unwrap();
    for words in
        [&["issue", "client", "alice"][..], &["renew", "server", "vm1.example.org"], &["revoke", "ab"], &["init"]]
    {
        refused(pki(&place, words), 1, "BUSY", "another vmwire pki is at work in pki");
    }
    // Looking changes nothing and waits for nobody.
    assert_eq!(pki(&place, &["show"]).json().as_array().unwrap().len(), 3);
    drop(directory);

    let many: Vec<Running> =
        (0..12).map(|index| Running::start(command(&place, &["issue", "client", &format!("c{index}")]))).collect();
    let done: Vec<bool> = many.into_iter().map(|running| running.end().code == 0).collect();
    let issued = pki(&place, &["show", "--issued"]).json();
    let done = done.into_iter().filter(|done| *done).count();
    assert!(done >= 1);
    assert_eq!(issued.as_array().unwrap().len(), done + 1);
    let places = std::fs::read_dir(place.join("pki/issued")).unwrap().count();
    assert_eq!(places, done);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let place = with_authority();
    for mode in [0o644, 0o640, 0o604, 0o602] {
        std::fs::set_permissions(place.join("pki/ca.key"), PermissionsExt::from_mode(mode)).unwrap();
        let message = format!("the key pki/ca.key is open to others (mode {mode:04o})");
        let hint = refused(pki(&place, &["issue", "client", "alice"]), 1, "PKI", &message);
        assert!(hint.starts_with("chmod 600 pki/ca.key"), "{hint}");
    }
    std::fs::set_permissions(place.join("pki/server.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let shown = pki(&place, &["show", "pki/server.crt"]).json();
    assert_eq!(shown[0]["problems"], serde_json::json!(["its key is open to others (mode 0644)"]));
}

#[test]
fn the_authoritys_key_may_be_kept_elsewhere() {
    let place = Place::new();
    std::fs::create_dir(place.join("stick")).unwrap();
    pki(&place, &["init", "--ca-key", "stick/ca.key"]).ok();
    assert!(!place.join("pki/ca.key").exists());
    let hint =
        refused(pki(&place, &["issue", "client", "a"]), 5, "NOT_FOUND", "the authority's key pki/ca.key is not there");
    assert!(hint.contains("--ca-key"), "{hint}");
    pki(&place, &["issue", "client", "a", "--ca-key", "stick/ca.key"]).ok();
    let other = Place::new();
    pki(&other, &["init"]).ok();
    let key = other.join("pki/ca.key");
    let ran = pki(&place, &["issue", "client", "b", "--ca-key", key.to_str().unwrap()]);
    refused(ran, 1, "PKI", "the private key does not belong to the certificate");
}

#[test]
fn names_that_are_none_are_refused_before_anything_is_made() {
    let place = with_authority();
    let before = tree(place.path());
    let long = "x".repeat(65_536);
    let told = format!("{}… (65536 bytes)", &long[..80]);
    let client = |name: &str| format!("no name for a client: {name:?} (1 to 64 plain characters)");
    let host = |name: &str| format!("neither a host's name nor an address: {name:?}");
    let rows: Vec<(Vec<&str>, String)> = vec![
        (vec!["issue", "client", ""], client("")),
        (vec!["issue", "client", "../../root"], client("../../root")),
        (vec!["issue", "client", "alice\nroot"], client("alice\nroot")),
        (vec!["issue", "client", &long], client(&told)),
        (vec!["issue", "server", ""], host("")),
        (vec!["issue", "server", "*.org"], host("*.org")),
        (vec!["issue", "server", "vm1", "--host", "vm1:16515"], host("vm1:16515")),
        (vec!["issue", "server", &long], host(&told)),
        (
            vec!["issue", "server", "bücher.example"],
            "the name \"bücher.example\" has letters that the DNS does not have".into(),
        ),
        (vec!["issue", "client", "alice", "--host", "vm1"], "a client is reached by nobody and needs no --host".into()),
        (vec!["init", "--name", ""], "no name for an authority: \"\" (1 to 64 characters)".into()),
        (vec!["init", "--name", "a\u{7}b"], "no name for an authority: \"a\\u{7}b\" (1 to 64 characters)".into()),
        (vec!["revoke", "ab", "--reason", "boredom"], "no reason to revoke is called \"boredom\"".into()),
    ];
    for (words, message) in rows {
        refused(pki(&place, &words), 2, "USAGE", &message);
    }
    assert_eq!(tree(place.path()), before);
}

#[test]
fn a_file_that_is_none_is_refused() {
    let place = with_authority();
    rustix::fs::mknodat(rustix::fs::CWD, place.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    place.write("text", "hello");
    std::fs::File::create(place.join("long")).unwrap().set_len((64 << 20) + 1).unwrap();
    place.write("cut.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let rows = [
        ("pipe", "LOCAL", "pipe is no file"),
        ("text", "PKI", "there is no certificate, key or list of revoked certificates in it"),
        ("cut.crt", "PKI", "the certificate cannot be read"),
    ];
    for (file, code, message) in rows {
        let error = pki(&place, &["show", file]).error(1);
        assert_eq!((error["code"].as_str(), error["message"].as_str()), (Some(code), Some(message)), "{error}");
    }
    refused(pki(&place, &["show", "long"]), 1, "LOCAL", "long has more than 64 MiB");
    refused(pki(&place, &["show", "nothing"]), 5, "NOT_FOUND", "there is no nothing");
    refused(pki(&place, &["sign", "text", "--client", "a"]), 1, "PKI", "there is no certificate request in it");
    refused(pki(&place, &["sign", "nothing", "--client", "a"]), 5, "NOT_FOUND", "there is no nothing");
    pki(&Place::new(), &["show"]).error(5);
    refused(pki(&Place::new(), &["issue", "client", "a"]), 5, "NOT_FOUND", "there is no directory pki");
    // A certificate with the key of another beside it, and one of another authority.
    let other = with_authority();
    std::fs::copy(other.join("pki/server.crt"), place.join("pki/server.crt")).unwrap();
    let shown = pki(&place, &["show", "pki/server.crt"]).json();
    let wanted = ["not signed by the authority in ca.crt", "its key does not belong to it"];
    assert_eq!(shown[0]["problems"], serde_json::json!(wanted));
}

#[test]
fn what_was_revoked_stays_so_when_files_are_lost() {
    let place = with_authority();
    let serial = |ran: Ran| ran.json()["serial"].as_str().unwrap().to_owned();
    let alice = serial(pki(&place, &["issue", "client", "alice"]));
    let bob = serial(pki(&place, &["issue", "client", "bob"]));
    std::fs::remove_dir_all(place.join("pki/issued")).unwrap();

    let hint = refused(
        pki(&place, &["revoke", "carol"]),
        5,
        "NOT_FOUND",
        "carol is no file, no serial number, and no name or fingerprint that was signed for here",
    );
    assert!(hint.contains("vmwire pki show --issued"), "{hint}");
    let unknown = "00112233445566778899aabbccddeeff";
    let message = "no certificate 112233445566778899aabbccddeeff was signed here";
    refused(pki(&place, &["revoke", unknown]), 5, "NOT_FOUND", message);
    let revoked = pki(&place, &["revoke", &alice, "--reason", "key-compromise"]).json()[0].clone();
    assert_eq!((revoked["name"].as_str(), revoked["reason"].as_str()), (Some("alice"), Some("key-compromise")));
    let since = revoked["since_ns"].clone();

    // The list goes, and with it a revocation, until the next one brings both.
    std::fs::remove_file(place.join("pki/crl.pem")).unwrap();
    pki(&place, &["revoke", &bob]).ok();
    pki(&place, &["revoke", unknown, "--unlisted"]).ok();
    assert_eq!(list(&place), 3);
    // Once more changes neither date nor reason.
    let again = pki(&place, &["revoke", &alice]).json()[0].clone();
    assert_eq!((again["reason"].as_str(), &again["since_ns"]), (Some("key-compromise"), &since));
    assert_eq!(list(&place), 3);

    // A list of somebody else is not gone on with.
    let other = with_authority();
    std::fs::copy(other.join("pki/crl.pem"), place.join("pki/crl.pem")).unwrap();
    let message = "the list of revoked certificates cannot be read, or was not signed by this authority";
    refused(pki(&place, &["revoke", &bob]), 1, "PKI", message);
}

#[test]
fn what_was_signed_for_a_name_or_a_key_is_revoked_as_a_whole() {
    let place = with_authority();
    let first = pki(&place, &["issue", "client", "alice"]).json();
    let second = pki(&place, &["renew", "client", "alice"]).json();
    let bob = pki(&place, &["issue", "client", "bob"]).json();
    let serials = |ran: Ran| {
        let rows = ran.json();
        rows.as_array().unwrap().iter().map(|row| row["serial"].clone()).collect::<Vec<_>>()
    };
    let both = [first["serial"].clone(), second["serial"].clone()];
    let key = first["key"].as_str().unwrap();
    assert_eq!(serials(pki(&place, &["revoke", key, "--reason", "key-compromise"])), both);
    assert_eq!(list(&place), 2);
    assert_eq!(serials(pki(&place, &["revoke", "alice"])), both, "once more");
    let rows = pki(&place, &["show", "--issued"]).json();
    let reasons: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["reason"].as_str()).collect();
    assert_eq!(reasons, [None, Some("key-compromise"), Some("key-compromise"), None]);

    // A certificate's own fingerprint means that one; it is written as openssl does.
    let shown = pki(&place, &["show", "pki/issued/bob/client.crt"]).json()[0].clone();
    assert_eq!(shown["key"], bob["key"]);
    let own = shown["certificate_sha256"].as_str().unwrap();
    assert_eq!((own.len(), own.matches(':').count(), own.to_uppercase().as_str()), (95, 31, own));
    assert_eq!(serials(pki(&place, &["revoke", own])), [bob["serial"].clone()]);
    let row = pki(&place, &["show", "--issued"]).json()[3].clone();
    assert_eq!(row["certificate_sha256"], own);
    assert_eq!(list(&place), 3);
}

/// How many certificates the list revokes.
fn list(place: &Place) -> u64 {
    pki(place, &["show", "pki/crl.pem"]).json()[0]["revoked"].as_u64().unwrap()
}

#[test]
fn people_are_told_what_to_do_next() {
    let place = with_authority();
    let mut issue = vmwire();
    issue.current_dir(place.path()).args(["pki", "issue", "client", "alice", "--dir", "pki"]);
    let ran = Running::start(issue).end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("key          sha256:") && ran.err.contains("copy what is in pki/issued/alice into"),
        "{ran:?}"
    );
    let shown: Value = pki(&place, &["show"]).json();
    let files: Vec<&str> = shown.as_array().unwrap().iter().map(|row| row["file"].as_str().unwrap()).collect();
    let wanted =
        ["pki/ca.crt", "pki/crl.pem", "pki/server.crt", "pki/issued/alice/ca.crt", "pki/issued/alice/client.crt"];
    assert_eq!(files, wanted);
    assert!(shown.as_array().unwrap().iter().all(|row| row["problems"] == serde_json::json!([])), "{shown}");
}
