//! Who gets in.

use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnection};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use vmwire_tls::config::{ClientContext, Protocol, ServerContext};
use vmwire_tls::identity::Fingerprint;
use vmwire_tls::stream::{End, Phase, RECORD_BYTES_MAX, ServerTls, Stream};

use crate::certificates::{Authority, Kind, NOW, Owner, Wish, client, clock, server, subject};
use crate::wire::{Pair, Pipe, Reached};

/// A client of rustls alone, that speaks one version and offers these protocols.
pub(crate) fn bare_client(
    version: &'static SupportedProtocolVersion,
    owner: &Owner,
    authority: &str,
    offers: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(owner.certificates.as_bytes()).map(Result::unwrap).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Not looked at: what others would show must not matter here.
    let key = PrivateKeyDer::from_pem_slice(owner.key.as_bytes()).unwrap();
    let shown = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).unwrap());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock(NOW)))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = offers.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Moves bytes until nothing is left to move; what rustls said in the end.
pub(crate) fn settle_bare(client: &mut ClientConnection, server: &mut Reached<ServerTls>) -> Result<(), rustls::Error> {
    let (mut up, mut down) = (Pipe::new(), Pipe::new());
    let mut result = Ok(());
    for _ in 0..100 {
        while client.wants_write() {
            client.write_tls(&mut up).unwrap();
        }
        let worked = server.turn(&mut up, &mut down);
        if !worked && down.bytes.is_empty() && !client.wants_write() {
            break;
        }
        while !down.bytes.is_empty() && client.read_tls(&mut down).unwrap() > 0 {
            result = result.and(client.process_new_packets().map(|_| ()));
        }
    }
    result
}

fn talk(client: &ClientContext, server: &ServerContext) -> Pair<vmwire_tls::stream::ClientTls, ServerTls> {
    let mut pair = Pair::new(client, server);
    pair.client.unsent = b"a question".to_vec();
    pair.server.unsent = b"an answer".to_vec();
    pair.settle();
    assert_eq!(pair.words(), (String::new(), String::new()));
    assert_eq!(pair.server.plaintext, b"a question");
    assert_eq!(pair.client.plaintext, b"an answer");
    pair
}

#[test]
fn both_ends_know_each_other_whatever_the_keys() {
    for kind in [Kind::Rsa, Kind::Ecdsa, Kind::Ed25519] {
        let authority = Authority::with_key("CA", kind);
        let theirs = authority.issue(Wish { kind, ..Wish::client() });
        let ours = authority.issue(Wish { kind, ..Wish::server() });
        let pair = talk(&client(&theirs, &authority.pem), &server(&ours, &authority.pem));
        assert_eq!(pair.server.stream.phase(), Phase::Open);
        assert_eq!(pair.server.stream.protocol(), Some(Protocol::Vmwire));
        assert_eq!(pair.server.stream.peer().unwrap().subject, "CN=anna");
        assert_eq!(pair.client.stream.peer().unwrap().subject, "CN=vm1");
        assert_eq!(pair.server.stream.summary(), "TLSv1_3, TLS13_AES_256_GCM_SHA384");
    }
}

#[test]
fn both_versions_are_served_with_any_key() {
    for version in [&TLS12, &TLS13] {
        for kind in [Kind::Rsa, Kind::Ecdsa, Kind::Ed25519] {
            let authority = Authority::new("CA");
            let theirs = authority.issue(Wish { kind, ..Wish::client() });
            let ours = authority.issue(Wish { kind, ..Wish::server() });
            let config = bare_client(version, &theirs, &authority.pem, &["vmwire"]);
            let mut bare = ClientConnection::new(config, "vm1.example".try_into().unwrap()).unwrap();
            let mut end = Reached::new(ServerTls::new(server(&ours, &authority.pem)));
            settle_bare(&mut bare, &mut end).unwrap();
            assert_eq!(end.stream.phase(), Phase::Open, "{version:?}");
            assert_eq!(end.stream.peer().unwrap().subject, "CN=anna");
            assert_eq!(bare.protocol_version(), Some(version.version));
        }
    }
}

#[test]
fn a_chain_of_authorities_is_followed() {
    let root = Authority::new("root");
    let (clients, servers) = (root.below("clients"), root.below("servers"));
    let theirs = clients.client().followed_by(&[&clients.pem]);
    let ours = servers.server().followed_by(&[&servers.pem]);
    talk(&client(&theirs, &root.pem), &server(&ours, &root.pem));
}

#[test]
fn a_server_is_known_by_its_address_too() {
    let authority = Authority::new("CA");
    let context = client(&authority.client(), &authority.pem);
    let mut pair = Pair::to("192.0.2.7", &context, &server(&authority.server(), &authority.pem));
    assert_eq!(pair.words(), (String::new(), String::new()));
    assert_eq!(pair.client.stream.phase(), Phase::Open);
}

#[test]
fn who_offers_no_protocol_is_served_and_who_offers_others_is_not() {
    let authority = Authority::new("CA");
    let (theirs, context) = (authority.client(), server(&authority.server(), &authority.pem));
    let rows: [(&[&str], Option<Protocol>); 5] = [
        (&[], Some(Protocol::Vmwire)),
        (&["vmwire"], Some(Protocol::Vmwire)),
        (&["h2", "vmwire"], Some(Protocol::Vmwire)),
        (&["vmwire-enroll", "vmwire"], Some(Protocol::Vmwire)),
        (&["h2", "http/1.1"], None),
    ];
    for version in [&TLS12, &TLS13] {
        for (offers, protocol) in rows {
            let config = bare_client(version, &theirs, &authority.pem, offers);
            let mut bare = ClientConnection::new(config, "vm1.example".try_into().unwrap()).unwrap();
            let mut end = Reached::new(ServerTls::new(context.clone()));
            let result = settle_bare(&mut bare, &mut end);
            assert_eq!(end.stream.protocol(), protocol, "{offers:?}");
            if protocol.is_none() {
                let alert = rustls::AlertDescription::NoApplicationProtocol;
                assert_eq!(result, Err(rustls::Error::AlertReceived(alert)));
                assert_eq!(end.end, Some(End::Failed));
            }
        }
    }
}

#[test]
fn the_invited_need_no_certificate_and_know_the_server_by_its_authority_s_key() {
    let authority = Authority::new("CA");
    let ours = server(&authority.server(), &authority.pem);
    let der = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    let fingerprint = vmwire_tls::identity::PeerIdentity::of(&der).unwrap().key;
    let invited = ClientContext::enroll(fingerprint, clock(NOW)).unwrap();
    let pair = talk(&invited, &ours);
    assert_eq!(pair.server.stream.protocol(), Some(Protocol::Enroll));
    assert_eq!(pair.server.stream.peer(), None);
    assert_eq!(pair.client.stream.peer().unwrap().subject, "CN=vm1");

    let other = ClientContext::enroll(Fingerprint::of(b"another"), clock(NOW)).unwrap();
    let mut pair = Pair::new(&other, &ours);
    assert_eq!(
        pair.words().1,
        "the server's certificate is not issued by the authority that the invitation names: \
         is this the daemon that invited?"
    );
    let mut pair = Pair::to("other.example", &invited, &ours);
    assert_eq!(
        pair.words().1,
        "the server's certificate is not for other.example, but for DNS:vm1.example, IP:192.0.2.7: \
         connect to a name it is for, or have it issued for this one"
    );
}

#[test]
fn nobody_enrols_where_that_is_not_served() {
    let authority = Authority::new("CA");
    let owner = authority.server();
    let material = vmwire_tls::config::ServerMaterial {
        pair: owner.pair(),
        authorities: authority.pem.as_bytes(),
        revocation_lists: &[],
    };
    let ours = ServerContext::build(&material, clock(NOW), vmwire_tls::config::ServerOptions::default()).unwrap();
    let der = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    let fingerprint = vmwire_tls::identity::PeerIdentity::of(&der).unwrap().key;
    let mut pair = Pair::new(&ClientContext::enroll(fingerprint, clock(NOW)).unwrap(), &ours);
    let (server, client) = pair.words();
    assert_eq!(server, "the client wants to speak vmwire-enroll, and only vmwire is served here");
    assert_eq!(
        client,
        "the server refused: it does not serve what was asked for on this port (alert no application protocol)"
    );
}

#[test]
fn a_client_comes_back_with_its_session() {
    let authority = Authority::new("CA");
    let ours = server(&authority.server(), &authority.pem);
    let theirs = client(&authority.client(), &authority.pem);
    assert!(!talk(&theirs, &ours).server.stream.summary().contains("resumed"));
    for _ in 0..3 {
        let pair = talk(&theirs, &ours);
        assert!(pair.server.stream.summary().ends_with(", resumed"));
        assert_eq!(pair.server.stream.peer().unwrap().subject, "CN=anna");
        assert_eq!(pair.client.stream.peer().unwrap().subject, "CN=vm1");
    }
}

#[test]
fn either_end_says_when_it_sends_no_more() {
    let authority = Authority::new("CA");
    let mut pair = talk(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    pair.client.stream.close();
    pair.client.unsent = b"too late".to_vec();
    pair.settle();
    assert_eq!(pair.server.end, Some(End::Closed));
    // It may be answered all the same.
    pair.server.unsent = b"farewell".to_vec();
    pair.settle();
    assert!(pair.client.plaintext.ends_with(b"farewell"));
    assert_eq!(pair.client.end, None);
    assert_eq!(pair.client.unsent, b"too late");
}

#[test]
fn who_says_everything_with_the_end_of_the_handshake_and_leaves_is_heard() {
    let authority = Authority::new("CA");
    let mut pair =
        Pair::new(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    while pair.client.stream.phase() != Phase::Open {
        pair.server.turn(&mut pair.up, &mut pair.down);
        pair.client.turn(&mut pair.down, &mut pair.up);
    }
    pair.client.stream.write(&mut pair.up, b"all there is").unwrap();
    pair.client.stream.close();
    pair.client.stream.write(&mut pair.up, b"").unwrap();
    pair.up.ended = true;
    pair.server.turn(&mut pair.up, &mut pair.down);
    assert_eq!((pair.server.plaintext.as_slice(), pair.server.end), (&b"all there is"[..], Some(End::Closed)));
    assert_eq!(pair.server.stream.peer().unwrap().subject, "CN=anna");
    pair.server.unsent = b"farewell".to_vec();
    pair.settle();
    assert!(pair.client.plaintext.ends_with(b"farewell"));
}

#[test]
fn an_end_that_nobody_announced_is_told_apart() {
    let authority = Authority::new("CA");
    let mut pair = talk(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    pair.up.ended = true;
    pair.settle();
    assert_eq!(pair.server.end, Some(End::Cut));
    assert_eq!(pair.server.stream.refusal(), None);
}

#[test]
fn a_slow_peer_costs_no_more_than_what_is_encrypted_ahead() {
    let authority = Authority::new("CA");
    let mut pair = talk(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    pair.down.room = 1000;
    let sent = pair.server.stream.write(&mut pair.down, &[7; 1 << 20]).unwrap();
    assert!(sent.blocked);
    assert_eq!((sent.taken, sent.written), (vmwire_tls::stream::UNSENT_BYTES_MAX, 1000));
    let again = pair.server.stream.write(&mut pair.down, &[7; 1 << 20]).unwrap();
    assert_eq!((again.taken, again.written, again.blocked), (0, 0, true));
}

#[test]
fn it_says_how_much_it_keeps_of_what_it_was_given() {
    let authority = Authority::new("CA");
    let mut pair = talk(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    assert_eq!(pair.server.stream.unsent_bytes(), 0);
    pair.down.room = 1000;
    pair.server.stream.write(&mut pair.down, &[7; 20_000]).unwrap();
    let kept = pair.server.stream.unsent_bytes();
    assert!((19_000..19_100).contains(&kept), "{kept}");
    pair.down.room = 15_000;
    pair.server.stream.write(&mut pair.down, &[]).unwrap();
    assert_eq!(pair.server.stream.unsent_bytes(), kept - 14_000);
    pair.down.room = usize::MAX;
    pair.server.stream.write(&mut pair.down, &[]).unwrap();
    assert_eq!(pair.server.stream.unsent_bytes(), 0);
}

#[test]
fn it_says_how_much_has_come_of_a_record_that_is_not_whole() {
    let authority = Authority::new("CA");
    let mut pair = talk(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    assert_eq!(pair.server.stream.half_bytes(), 0, "the handshake left something");
    pair.client.stream.write(&mut pair.up, &[7; 100]).unwrap();
    let rest = pair.up.bytes.split_off(60);
    pair.server.plaintext.clear();
    pair.server.turn(&mut pair.up, &mut pair.down);
    assert_eq!((pair.server.stream.half_bytes(), pair.server.plaintext.len()), (60, 0));
    pair.up.bytes = rest;
    pair.server.turn(&mut pair.up, &mut pair.down);
    assert_eq!((pair.server.stream.half_bytes(), pair.server.plaintext.len()), (0, 100));
}

#[test]
fn a_read_never_leaves_plaintext_behind() {
    let authority = Authority::new("CA");
    let mut pair = talk(&client(&authority.client(), &authority.pem), &server(&authority.server(), &authority.pem));
    let sent = pair.client.stream.write(&mut pair.up, &[7; 300_000]).unwrap();
    assert_eq!(sent.taken, 300_000);
    let (mut scratch, mut plaintext) = (vec![0; 1 << 20], vec![0; RECORD_BYTES_MAX + 5000]);
    let mut count = 0;
    while !pair.up.bytes.is_empty() {
        let received = pair.server.stream.read(&mut pair.up, &mut scratch, &mut plaintext).unwrap();
        assert!(received.taken <= 5000);
        count += received.plaintext;
    }
    assert_eq!(count, 300_000);
}

#[test]
fn names_are_those_of_who_came() {
    let authority = Authority::new("CA");
    let bob = authority.issue(Wish { subject: subject("bob"), ..Wish::client() });
    let ours = server(&authority.server(), &authority.pem);
    let anna = client(&authority.client(), &authority.pem);
    let bob = client(&bob, &authority.pem);
    // Two handshakes on one thread, step by step in turn.
    let (mut first, mut second) = (Pair::new(&anna, &ours), Pair::new(&bob, &ours));
    for _ in 0..20 {
        first.client.turn(&mut first.down, &mut first.up);
        second.client.turn(&mut second.down, &mut second.up);
        first.server.turn(&mut first.up, &mut first.down);
        second.server.turn(&mut second.up, &mut second.down);
    }
    assert_eq!(first.server.stream.peer().unwrap().subject, "CN=anna");
    assert_eq!(second.server.stream.peer().unwrap().subject, "CN=bob");
}
