//! Who does not get in any more.

use vmwire_tls::config::ServerContext;
use vmwire_tls::error::Refusal;
use vmwire_tls::stream::{End, Stream};

use crate::certificates::{Authority, NOW, Wish, client, server_at};
use crate::wire::Pair;

const REVOKED: &str = "the client's certificate (CN=anna) was revoked on 2026-03-01 00:00:00 UTC: \
                       it needs a new one, with a new key";

fn with_lists(authority: &Authority, lists: &[&str]) -> ServerContext {
    server_at(NOW, &authority.server(), &authority.pem, lists)
}

#[test]
fn a_revoked_client_is_told_since_when() {
    let authority = Authority::new("CA");
    let list = authority.revoke(&[5, 77], 2030);
    let mut pair = Pair::new(&client(&authority.client(), &authority.pem), &with_lists(&authority, &[&list]));
    let (server, client) = pair.words();
    assert_eq!(server, REVOKED);
    assert_eq!(
        client,
        "the server refused: your certificate was revoked (alert certificate revoked): get a new one, with a new key"
    );
}

#[test]
fn others_of_the_same_authority_are_let_in() {
    let authority = Authority::new("CA");
    let list = authority.revoke(&[5], 2030);
    let mut pair = Pair::new(&client(&authority.client(), &authority.pem), &with_lists(&authority, &[&list]));
    assert_eq!(pair.words(), (String::new(), String::new()));
}

#[test]
fn an_authority_without_a_list_has_revoked_nothing() {
    let (authority, other) = (Authority::new("CA"), Authority::new("other"));
    let list = other.revoke(&[77], 2030);
    let mut pair = Pair::new(&client(&authority.client(), &authority.pem), &with_lists(&authority, &[&list]));
    assert_eq!(pair.words(), (String::new(), String::new()));
}

#[test]
fn a_revoked_authority_takes_its_clients_along() {
    let root = Authority::new("root");
    let below = root.below("clients");
    // Its serial number is not ours to choose, so that it is read from the certificate.
    let serial = serial_of(&below.pem);
    let list = root.revoke_bytes(&serial, 2030);
    let theirs = below.client().followed_by(&[&below.pem]);
    let mut pair = Pair::new(&client(&theirs, &root.pem), &with_lists(&root, &[&list]));
    assert_eq!(
        pair.words().0,
        "the client's certificate (CN=clients) was revoked on 2026-03-01 00:00:00 UTC: \
         it needs a new one, with a new key"
    );
}

fn serial_of(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let serial = vmwire_tls::identity::PeerIdentity::of(&der).unwrap().serial;
    (0..serial.len()).step_by(2).map(|at| u8::from_str_radix(&serial[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_list_that_has_expired_lets_nobody_in() {
    let authority = Authority::new("CA");
    let list = authority.revoke(&[5], 2026);
    let mut pair = Pair::new(&client(&authority.client(), &authority.pem), &with_lists(&authority, &[&list]));
    assert_eq!(
        pair.words().0,
        "the revocation list of the authority was to be replaced by 2026-01-01 00:00:00 UTC, and this clock says \
         2026-06-01 00:00:00 UTC: put a new one in its place"
    );
}

#[test]
fn a_list_of_somebody_else_under_the_same_name_lets_nobody_in() {
    let (authority, false_one) = (Authority::new("CA"), Authority::new("CA"));
    let list = false_one.revoke(&[5], 2030);
    let mut pair = Pair::new(&client(&authority.client(), &authority.pem), &with_lists(&authority, &[&list]));
    assert_eq!(
        pair.words().0,
        "the revocation list of the authority is not signed by it: put the one in its place that it issued"
    );
}

#[test]
fn a_client_revoked_since_does_not_come_back_with_its_session() {
    let authority = Authority::new("CA");
    let theirs = client(&authority.client(), &authority.pem);
    let before = with_lists(&authority, &[]);
    for _ in 0..2 {
        assert_eq!(Pair::new(&theirs, &before).words(), (String::new(), String::new()));
    }
    let mut pair = Pair::new(&theirs, &before);
    pair.settle();
    assert!(pair.server.stream.summary().ends_with(", resumed"), "the session would have been taken");

    let after = with_lists(&authority, &[&authority.revoke(&[77], 2030)]);
    let mut pair = Pair::new(&theirs, &after);
    pair.client.unsent = b"let me in".to_vec();
    assert_eq!(pair.words().0, REVOKED);
    assert_eq!(pair.server.plaintext, b"");
}

#[test]
fn a_live_connection_is_judged_again_by_a_new_context() {
    let authority = Authority::new("CA");
    let mut pair = Pair::new(&client(&authority.client(), &authority.pem), &with_lists(&authority, &[]));
    pair.settle();
    let judge = |context: &ServerContext| pair.server.stream.judge(context).verdict;
    assert_eq!(judge(&with_lists(&authority, &[])), Ok(()));
    let revoked = judge(&with_lists(&authority, &[&authority.revoke(&[77], 2030)]));
    assert_eq!(revoked.map_err(|refusal| refusal.to_string()), Err(REVOKED.to_owned()));
    let other = Authority::new("other");
    let unknown = judge(&with_lists(&other, &[]));
    assert!(matches!(unknown, Err(Refusal::UnknownIssuer { .. })), "{unknown:?}");
    let later = judge(&server_at(NOW + 400 * 86_400, &authority.server(), &authority.pem, &[]));
    assert!(matches!(later, Err(Refusal::Expired { .. })), "{later:?}");
}

#[test]
fn a_live_connection_goes_with_the_authority_that_leads_to_it() {
    let root = Authority::new("root");
    let below = root.below("clients");
    let theirs = below.client().followed_by(&[&below.pem]);
    let before = with_lists(&root, &[]);
    let mut pair = Pair::new(&client(&theirs, &root.pem), &before);
    pair.settle();
    let judge = |context: &ServerContext| pair.server.stream.judge(context).verdict;
    assert_eq!(judge(&before), Ok(()));
    // Each way of judging anew counts, however often its signatures were right before.
    let list = root.revoke_bytes(&serial_of(&below.pem), 2030);
    let revoked = judge(&with_lists(&root, &[&list]));
    assert!(matches!(revoked, Err(Refusal::Revoked { .. })), "{revoked:?}");
    let own = judge(&with_lists(&root, &[&below.revoke(&[77], 2030)]));
    assert!(matches!(own, Err(Refusal::Revoked { .. })), "{own:?}");
    let false_root = Authority::new("root");
    let unknown = judge(&with_lists(&false_root, &[]));
    assert!(matches!(unknown, Err(Refusal::BadSignature { .. })), "{unknown:?}");
    // The authority between may be trusted itself, and needs nobody above it then.
    assert_eq!(judge(&with_lists(&below, &[])), Ok(()));
    assert_eq!(judge(&with_lists(&root, &[])), Ok(()));
}

#[test]
fn a_client_that_expired_since_does_not_come_back_with_its_session() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, UNIX_EPOCH};
    use vmwire_tls::config::{ServerMaterial, ServerOptions};
    use vmwire_tls::date::Clock;

    let authority = Authority::new("CA");
    let now = Arc::new(AtomicU64::new(NOW));
    let clock = Clock::new({
        let now = now.clone();
        move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed))
    });
    // The client's certificate ends with the year; the server's does not.
    let owner = authority.issue(Wish { years: (2026, 2030), ..Wish::server() });
    let material = ServerMaterial { pair: owner.pair(), authorities: authority.pem.as_bytes(), revocation_lists: &[] };
    let ours = ServerContext::build(&material, clock, ServerOptions::default()).unwrap();
    let new_year = 1_798_761_600;
    let before = new_year - 60;
    now.store(before, Ordering::Relaxed);
    let theirs = crate::certificates::client_at(before, Some(&authority.client()), &authority.pem);
    assert_eq!(Pair::new(&theirs, &ours).words(), (String::new(), String::new()));

    now.store(new_year + 60, Ordering::Relaxed);
    let mut pair = Pair::new(&theirs, &ours);
    pair.client.unsent = b"let me in".to_vec();
    assert!(pair.words().0.contains("expired on 2027-01-01"), "{:?}", pair.server.stream.refusal());
    assert!(pair.server.stream.summary().ends_with(", resumed"), "else this shows nothing");
    assert_eq!((pair.server.plaintext.as_slice(), pair.server.end), (&b""[..], Some(End::Failed)));
    assert_eq!(pair.server.stream.peer(), None);
}
