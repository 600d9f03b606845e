//! What an idle connection costs, beside one of rustls alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use rustls::client::ClientConnection;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, ServerConnection, WebPkiClientVerifier};
use rustls::version::TLS13;
use vmwire_tls::stream::{Phase, ServerTls, Stream};

use crate::certificates::{Authority, NOW, Owner, clock, server};
use crate::handshakes::{bare_client, settle_bare};
use crate::wire::{Pipe, Reached};

const CONNECTIONS: usize = 20;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with a note of what each thread holds.
struct Noting;

fn note(bytes: usize, sign: isize) {
    LIVE.with(|live| live.set(live.get() + sign * bytes.cast_signed()));
}

#[expect(unsafe_code, reason = "an allocator can be had in no other way; all of it is handed on to the system's")]
// SAFETY: each method hands its arguments unchanged to the system's allocator, whose contract is the caller's; noting a
// number in a constant-initialised thread-local without destructor neither allocates nor panics.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 1);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(layout.size(), -1);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout.size(), -1);
        note(size, 1);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

fn bare_server(owner: &Owner, authority: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let chain = CertificateDer::pem_slice_iter(owner.certificates.as_bytes()).map(Result::unwrap).collect();
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(clock(NOW)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(owner.key.as_bytes()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"vmwire".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    Arc::new(config)
}

/// A connection of rustls alone, after its handshake.
fn bare(client: &mut ClientConnection, config: &Arc<ServerConfig>) -> Box<ServerConnection> {
    let mut server = Box::new(ServerConnection::new(config.clone()).unwrap());
    let (mut up, mut down) = (Pipe::new(), Pipe::new());
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        while client.wants_write() {
            client.write_tls(&mut up).unwrap();
        }
        while !up.bytes.is_empty() {
            server.read_tls(&mut up).unwrap();
            server.process_new_packets().unwrap();
        }
        while server.wants_write() {
            server.write_tls(&mut down).unwrap();
        }
        while !down.bytes.is_empty() {
            client.read_tls(&mut down).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    server
}

fn ours(client: &mut ClientConnection, context: &vmwire_tls::config::ServerContext) -> Box<ServerTls> {
    let mut end = Reached::new(ServerTls::new(context.clone()));
    settle_bare(client, &mut end).unwrap();
    assert_eq!(end.stream.phase(), Phase::Open);
    Box::new(end.stream)
}

/// What each of the connections holds that `make` makes.
fn held<T>(mut make: impl FnMut() -> T) -> usize {
    drop(make());
    let mut kept = Vec::with_capacity(CONNECTIONS);
    let before = LIVE.get();
    kept.extend((0..CONNECTIONS).map(|_| make()));
    let bytes = LIVE.get() - before;
    usize::try_from(bytes).unwrap() / CONNECTIONS
}

#[test]
fn an_idle_connection_holds_hardly_more_than_rustls_does() {
    let authority = Authority::new("CA");
    let (theirs, owner) = (authority.client(), authority.server());
    let mut config = Arc::unwrap_or_clone(bare_client(&TLS13, &theirs, &authority.pem, &["vmwire"]));
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let client = || ClientConnection::new(config.clone(), "vm1.example".try_into().unwrap()).unwrap();
    let bare_config = bare_server(&owner, &authority.pem);
    let context = server(&owner, &authority.pem);
    let alone = held(|| bare(&mut client(), &bare_config));
    let with_us = held(|| ours(&mut client(), &context));
    assert!(alone > 4096, "rustls holds {alone} bytes: this counts nothing");
    assert!(with_us * 100 <= alone * 120, "{with_us} bytes, and rustls alone holds {alone}");
}

#[test]
fn what_a_connection_took_for_much_is_given_back() {
    let authority = Authority::new("CA");
    let theirs = crate::certificates::client(&authority.client(), &authority.pem);
    let mut pair = crate::wire::Pair::new(&theirs, &server(&authority.server(), &authority.pem));
    pair.settle();
    let before = LIVE.get();
    (pair.client.unsent, pair.server.unsent) = (vec![7; 1 << 20], vec![7; 1 << 20]);
    pair.settle();
    assert_eq!((pair.client.plaintext.len(), pair.server.plaintext.len()), (1 << 20, 1 << 20));
    for buffer in [
        &mut pair.client.plaintext,
        &mut pair.server.plaintext,
        &mut pair.client.unsent,
        &mut pair.server.unsent,
        &mut pair.up.bytes,
        &mut pair.down.bytes,
    ] {
        *buffer = Vec::new();
    }
    // A small message each way: rustls shrinks what it reads into when it reads next.
    (pair.client.unsent, pair.server.unsent) = (vec![7; 8], vec![7; 8]);
    pair.settle();
    let kept = LIVE.get() - before;
    assert!(kept < 20_000, "{kept} bytes more than before");
}
