//! Certificates that our own authority made, in handshakes.

use vmwire_tls::config::ClientContext;
use vmwire_tls::date::Date;
use vmwire_tls::pki::{Authority, HostNames, NewAuthority, Reason, RevocationList, Revoked};
use vmwire_tls::stream::{Phase, Stream};

use crate::certificates::{NOW, Owner, client, clock, server, server_at};
use crate::wire::Pair;

const MOMENT: Date = Date(NOW.cast_signed());

fn owner((key, issued): (String, vmwire_tls::pki::Issued)) -> Owner {
    Owner { certificates: issued.pem, key }
}

#[test]
fn what_it_issues_is_let_in_until_it_is_revoked() {
    let NewAuthority { authority, .. } = Authority::create("home", MOMENT).unwrap();
    let pem = authority.pem();
    let names = HostNames::new(["vm1.example".parse().unwrap()]).unwrap();
    let ours = owner(authority.issue_server(&names, MOMENT).unwrap());
    let issued = authority.issue_client(&"anna".parse().unwrap(), MOMENT).unwrap();
    let serial = issued.1.serial.clone();
    let theirs = client(&owner(issued), &pem);

    let mut pair = Pair::new(&theirs, &server(&ours, &pem));
    assert_eq!(pair.words(), (String::new(), String::new()));
    assert_eq!(pair.server.stream.peer().unwrap().subject, "CN=anna");

    let empty = authority.sign_revocations(&RevocationList::default(), &[], MOMENT).unwrap();
    assert_eq!(Pair::new(&theirs, &server_at(NOW, &ours, &pem, &[&empty])).words(), (String::new(), String::new()));
    let revoked = Revoked { serial, since: MOMENT, reason: Reason::KeyCompromise };
    let list = authority.sign_revocations(&RevocationList::default(), &[revoked], MOMENT).unwrap();
    let words = Pair::new(&theirs, &server_at(NOW, &ours, &pem, &[&list])).words();
    assert_eq!(
        words.0,
        "the client's certificate (CN=anna) was revoked on 2026-06-01 00:00:00 UTC: it needs a new one, with a new key"
    );
}

#[test]
fn its_fingerprint_is_all_that_the_invited_need() {
    let NewAuthority { authority, .. } = Authority::create("home", MOMENT).unwrap();
    let names = HostNames::new(["vm1.example".parse().unwrap()]).unwrap();
    let ours = owner(authority.issue_server(&names, MOMENT).unwrap());
    let invited = ClientContext::enroll(authority.fingerprint(), clock(NOW)).unwrap();
    let mut pair = Pair::new(&invited, &server(&ours, &authority.pem()));
    assert_eq!(pair.words(), (String::new(), String::new()));
    assert_eq!(pair.client.stream.phase(), Phase::Open);
}
