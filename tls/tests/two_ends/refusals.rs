//! Who does not get in, and what each end is told: a table of the exact words.

use std::io::Read;
use std::thread;

use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType};
use vmwire_tls::stream::{End, Phase, ServerTls, Stream};

use crate::certificates::{Authority, NOW, Owner, Wish, client, client_at, server, server_at, subject};
use crate::handshakes::{bare_client, settle_bare};
use crate::wire::{Pair, Reached};

/// Both ends' words: the server's, for its log, and the client's, for a person.
fn words(client: &vmwire_tls::config::ClientContext, server: &vmwire_tls::config::ServerContext) -> (String, String) {
    let mut pair = Pair::new(client, server);
    pair.client.unsent = b"let me in".to_vec();
    let words = pair.words();
    assert_eq!(pair.server.plaintext, b"", "a client that was refused is not listened to");
    assert_eq!((pair.server.end, pair.server.stream.phase()), (Some(End::Failed), Phase::Ended));
    assert_eq!(pair.server.stream.peer(), None);
    words
}

#[track_caller]
fn expect(found: &(String, String), server: &str, client: &str) {
    assert_eq!(found.0, server, "what the server says");
    assert_eq!(found.1, client, "what the client says");
}

fn dated(years: (i32, i32), wish: Wish) -> Wish {
    Wish { years, ..wish }
}

#[test]
fn a_client_without_a_certificate() {
    let authority = Authority::new("CA");
    expect(
        &words(&client_at(NOW, None, &authority.pem), &server(&authority.server(), &authority.pem)),
        "the client sent no certificate: it gets one with \"vmwire enroll\" or \"vmwire pki issue\"",
        "the server refused: it wants a certificate and got none (alert certificate required): get one with \
         \"vmwire enroll\", or name it in the client's configuration",
    );
}

#[test]
fn a_client_of_another_authority() {
    let (authority, other) = (Authority::new("CA"), Authority::new("another CA"));
    expect(
        &words(&client(&other.client(), &authority.pem), &server(&authority.server(), &authority.pem)),
        "the client's certificate (CN=anna) was issued by an authority that is not trusted here (CN=another CA): \
         compare with \"vmwire pki show\" of the CA certificate",
        "the server refused: it does not trust the authority that issued your certificate (alert unknown ca): \
         is it the CA of this daemon?",
    );
}

#[test]
fn a_server_of_another_authority() {
    let (authority, other) = (Authority::new("CA"), Authority::new("another CA"));
    expect(
        &words(&client(&authority.client(), &authority.pem), &server(&other.server(), &authority.pem)),
        "the client refused: it does not trust the authority that issued the certificate of this daemon \
         (alert unknown ca): is it the CA of this daemon?",
        "the server's certificate (CN=vm1) was issued by an authority that is not trusted here (CN=another CA): \
         compare with \"vmwire pki show\" of the CA certificate",
    );
}

#[test]
fn an_authority_made_anew_under_its_old_name() {
    let (old, new) = (Authority::new("CA"), Authority::new("CA"));
    expect(
        &words(&client(&old.client(), &new.pem), &server(&new.server(), &new.pem)),
        "the client's certificate (CN=anna) is not signed with the key of the authority trusted here: \
         was the authority made anew under its old name?",
        "the server refused: a signature did not fit (alert decrypt error): was the authority of your certificate \
         made anew under its old name?",
    );
}

#[test]
fn a_client_that_has_expired() {
    let authority = Authority::new("CA");
    let old = authority.issue(dated((2024, 2025), Wish::client()));
    expect(
        &words(&client(&old, &authority.pem), &server(&authority.server(), &authority.pem)),
        "the client's certificate (CN=anna) expired on 2025-01-01 00:00:00 UTC, and this clock says \
         2026-06-01 00:00:00 UTC: renew it with \"vmwire pki renew\"",
        "the server refused: your certificate has expired or is not valid yet by its clock (alert certificate \
         expired): compare its dates with both clocks",
    );
}

#[test]
fn a_server_that_has_expired() {
    let authority = Authority::new("CA");
    let old = authority.issue(dated((2024, 2025), Wish::server()));
    expect(
        &words(&client(&authority.client(), &authority.pem), &server(&old, &authority.pem)),
        "the client refused: the certificate of this daemon has expired or is not valid yet by its clock \
         (alert certificate expired): compare its dates with both clocks",
        "the server's certificate (CN=vm1) expired on 2025-01-01 00:00:00 UTC, and this clock says \
         2026-06-01 00:00:00 UTC: renew it with \"vmwire pki renew\"",
    );
}

#[test]
fn a_client_that_is_not_valid_yet() {
    let authority = Authority::new("CA");
    let early = authority.issue(dated((2030, 2031), Wish::client()));
    expect(
        &words(&client(&early, &authority.pem), &server(&authority.server(), &authority.pem)),
        "the client's certificate (CN=anna) is valid from 2030-01-01 00:00:00 UTC on, and this clock says \
         2026-06-01 00:00:00 UTC: is the clock right?",
        "the server refused: your certificate has expired or is not valid yet by its clock (alert certificate \
         expired): compare its dates with both clocks",
    );
}

#[test]
fn a_clock_at_1970() {
    let authority = Authority::new("CA");
    expect(
        &words(&client_at(0, Some(&authority.client()), &authority.pem), &server(&authority.server(), &authority.pem)),
        "the client refused: the certificate of this daemon has expired or is not valid yet by its clock \
         (alert certificate expired): compare its dates with both clocks",
        "the server's certificate (CN=vm1) is valid from 2026-01-01 00:00:00 UTC on, and this clock says \
         1970-01-01 00:00:00 UTC: is the clock right?",
    );
    expect(
        &words(&client(&authority.client(), &authority.pem), &server_at(0, &authority.server(), &authority.pem, &[])),
        "the client's certificate (CN=anna) is valid from 2026-01-01 00:00:00 UTC on, and this clock says \
         1970-01-01 00:00:00 UTC: is the clock right?",
        "the server refused: your certificate has expired or is not valid yet by its clock (alert certificate \
         expired): compare its dates with both clocks",
    );
}

#[test]
fn a_server_with_another_name() {
    let authority = Authority::new("CA");
    let ours = server(&authority.server(), &authority.pem);
    for (host, wanted) in [("vm2.example", "vm2.example"), ("192.0.2.8", "192.0.2.8")] {
        let mut pair = Pair::to(host, &client(&authority.client(), &authority.pem), &ours);
        expect(
            &pair.words(),
            "the client refused: the certificate of this daemon is not taken (alert bad certificate): \
             its own log says why",
            &format!(
                "the server's certificate is not for {wanted}, but for DNS:vm1.example, IP:192.0.2.7: \
                 connect to a name it is for, or have it issued for this one"
            ),
        );
    }
    let nobody = authority.issue(Wish { names: Vec::new(), ..Wish::server() });
    expect(
        &words(&client(&authority.client(), &authority.pem), &server(&nobody, &authority.pem)),
        "the client refused: the certificate of this daemon is not taken (alert bad certificate): its own log says why",
        "the server's certificate is not for vm1.example, but for no host at all: connect to a name it is for, \
         or have it issued for this one",
    );
}

#[test]
fn a_server_s_certificate_in_the_hands_of_a_client() {
    let authority = Authority::new("CA");
    let wrong = authority.issue(Wish { usage: ExtendedKeyUsagePurpose::ServerAuth, ..Wish::client() });
    expect(
        &words(&client(&wrong, &authority.pem), &server(&authority.server(), &authority.pem)),
        "the client's certificate (CN=anna) was not issued for a client: it needs a client's one",
        "the server refused: your certificate was not issued for this use (alert unsupported certificate)",
    );
}

#[test]
fn a_chain_that_is_too_long() {
    let root = Authority::new("root");
    let mut chain = vec![root.below("0")];
    for depth in 1..12 {
        let below = chain[depth - 1].below(&depth.to_string());
        chain.push(below);
    }
    let certificates: Vec<&str> = chain.iter().rev().map(|authority| authority.pem.as_str()).collect();
    let long = chain[11].client().followed_by(&certificates);
    expect(
        &words(&client(&long, &root.pem), &server(&root.server(), &root.pem)),
        "the client's certificate chain is longer than is followed: at most 4 authorities",
        "the server refused: your certificate is not taken (alert certificate unknown): its own log says why",
    );
}

/// Each of them could be the next: whoever is not known has only so many of them looked at.
#[test]
fn a_heap_of_authorities_around_the_right_one() {
    let root = Authority::new("root");
    let below = root.below("clients");
    let heap: Vec<Authority> = (0..4).map(|_| Authority::new("clients")).collect();
    let mut certificates = vec![below.pem.as_str()];
    certificates.extend(heap.iter().map(|authority| authority.pem.as_str()));
    let with = |count: usize| {
        let owner = below.client().followed_by(&certificates[..count]);
        (client(&owner, &root.pem), server(&root.server(), &root.pem))
    };
    let (ours, theirs) = with(4);
    assert_eq!(Pair::new(&ours, &theirs).words(), (String::new(), String::new()));
    let (ours, theirs) = with(5);
    expect(
        &words(&ours, &theirs),
        "the client's certificate chain is longer than is followed: at most 4 authorities",
        "the server refused: your certificate is not taken (alert certificate unknown): its own log says why",
    );
}

#[test]
fn a_chain_of_which_a_link_is_missing() {
    let root = Authority::new("root");
    let below = root.below("clients");
    expect(
        &words(&client(&below.client(), &root.pem), &server(&root.server(), &root.pem)),
        "the client's certificate (CN=anna) was issued by an authority that is not trusted here (CN=clients): \
         compare with \"vmwire pki show\" of the CA certificate",
        "the server refused: it does not trust the authority that issued your certificate (alert unknown ca): \
         is it the CA of this daemon?",
    );
}

#[test]
fn a_client_whose_name_cannot_be_taken() {
    let authority = Authority::new("CA");
    let ours = server(&authority.server(), &authority.pem);
    let many: Vec<SanType> = (0..65).map(|n| SanType::IpAddress([192, 0, 2, n].into())).collect();
    let uri = |text: String| vec![SanType::URI(text.try_into().unwrap())];
    let mut organisation = subject("anna");
    organisation.push(DnType::OrganizationName, "x".repeat(300));
    let rows: [(Wish, &str); 6] = [
        (
            Wish { subject: subject("anna\0.example"), ..Wish::client() },
            "the client is not told from its certificate: the certificate's subject has the control character U+0000 \
             in it",
        ),
        (
            Wish { subject: subject("an\u{202e}na"), ..Wish::client() },
            "the client is not told from its certificate: the certificate's subject has the control character U+202E \
             in it",
        ),
        (
            Wish { subject: organisation, ..Wish::client() },
            "the client is not told from its certificate: the certificate's subject is longer than 256 bytes",
        ),
        (
            Wish { subject: subject(&"a".repeat(40_000)), ..Wish::client() },
            "the client is not told from its certificate: the certificate's subject is longer than 256 bytes",
        ),
        (
            Wish { names: uri("a:\0".to_owned()), ..Wish::client() },
            "the client is not told from its certificate: an alternative name of the certificate has the control \
             character U+0000 in it",
        ),
        (
            Wish { names: many, ..Wish::client() },
            "the client is not told from its certificate: the certificate has 65 alternative names: at most 64 are \
             taken",
        ),
    ];
    for (wish, text) in rows {
        let theirs = bare(&authority.issue(wish), &authority);
        let (server, alert) = words_of_bare(theirs, &ours);
        assert_eq!(server, text);
        assert_eq!(alert, rustls::AlertDescription::BadCertificate);
    }
}

#[test]
fn a_certificate_with_a_name_of_64_kib() {
    let authority = Authority::new("CA");
    let mut theirs =
        bare(&authority.issue(Wish { subject: subject(&"a".repeat(65_536)), ..Wish::client() }), &authority);
    let mut end = Reached::new(ServerTls::new(server(&authority.server(), &authority.pem)));
    // rustls has no alert for it; the client sees the end.
    assert_eq!(settle_bare(&mut theirs, &mut end), Ok(()));
    let words = end.stream.refusal().map(ToString::to_string);
    assert_eq!(words.as_deref(), Some("the client's certificates are longer than 64 KiB together"));
    assert!(matches!(theirs.reader().read(&mut [0]), Ok(0)));
}

/// A client that does not look at its own certificate before it shows it.
fn bare(owner: &Owner, authority: &Authority) -> rustls::client::ClientConnection {
    let config = bare_client(&rustls::version::TLS13, owner, &authority.pem, &["vmwire"]);
    rustls::client::ClientConnection::new(config, "vm1.example".try_into().unwrap()).unwrap()
}

fn words_of_bare(
    mut client: rustls::client::ClientConnection,
    context: &vmwire_tls::config::ServerContext,
) -> (String, rustls::AlertDescription) {
    let mut end = Reached::new(ServerTls::new(context.clone()));
    let result = settle_bare(&mut client, &mut end);
    let Err(rustls::Error::AlertReceived(alert)) = result else { panic!("{result:?} {:?}", end.stream.refusal()) };
    (end.stream.refusal().unwrap().to_string(), alert)
}

#[test]
fn what_one_thread_saw_is_not_told_by_another() {
    let (authority, other) = (Authority::new("CA"), Authority::new("another CA"));
    let ours = server(&authority.server(), &authority.pem);
    let (good, bad) = (client(&authority.client(), &authority.pem), client(&other.client(), &authority.pem));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(Pair::new(&good, &ours).words(), (String::new(), String::new()));
                    assert!(Pair::new(&bad, &ours).words().0.contains("(CN=another CA)"));
                }
            });
        }
    });
}

#[test]
fn an_authority_in_the_chain_that_has_expired_is_named() {
    let root = Authority::new("root");
    let below = root.below_until("clients", 2026);
    let theirs = below.client().followed_by(&[&below.pem]);
    let (server, _) = words(&client(&theirs, &root.pem), &server(&root.server(), &root.pem));
    assert_eq!(
        server,
        "the client's certificate (CN=clients) expired on 2026-01-01 00:00:00 UTC, and this clock says \
         2026-06-01 00:00:00 UTC: renew it with \"vmwire pki renew\""
    );
}

#[test]
fn an_authority_s_own_certificate_in_the_hands_of_a_client() {
    let authority = Authority::new("CA");
    let owner = Owner { certificates: authority.pem.clone(), key: authority.issuer.key().serialize_pem() };
    let (server, _) = words(&client(&owner, &authority.pem), &server(&authority.server(), &authority.pem));
    assert_eq!(server, "the client's certificate is not sound: CaUsedAsEndEntity");
}
