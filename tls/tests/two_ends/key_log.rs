//! Session keys are written only where that was asked for. The library looks at the environment, so that these stories
//! are told by a child with another one.

use std::path::Path;
use std::process::Command;

use rustls::client::ClientConnection;
use rustls::version::TLS13;
use vmwire_tls::config::{ClientContext, ClientMaterial, ServerContext, ServerMaterial, ServerOptions};
use vmwire_tls::stream::ServerTls;

use crate::certificates::{Authority, NOW, clock, server};
use crate::handshakes::{bare_client, settle_bare};
use crate::wire::{Pair, Reached};

/// Runs a test of this file on its own, and says what is in the file of keys.
fn keys_of(story: &str, directory: &Path) -> String {
    let path = directory.join(story);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("key_log::{story}")])
        .env("SSLKEYLOGFILE", &path)
        .output()
        .unwrap()
        .status;
    assert!(status.success(), "{story}");
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_client_writes_keys_when_the_environment_says_so_and_a_server_when_it_is_allowed_too() {
    let directory = tempfile::tempdir().unwrap();
    assert!(keys_of("a_client_shakes_hands", directory.path()).contains("CLIENT_TRAFFIC_SECRET_0 "));
    assert!(keys_of("a_server_that_may_log_keys_shakes_hands", directory.path()).contains("CLIENT_TRAFFIC_SECRET_0 "));
    assert_eq!(keys_of("a_server_that_may_not_log_keys_shakes_hands", directory.path()), "");
}

#[test]
fn a_client_shakes_hands() {
    let authority = Authority::new("CA");
    let owner = authority.client();
    let material =
        ClientMaterial { authorities: authority.pem.as_bytes(), pair: Some(owner.pair()), revocation_lists: &[] };
    let context = ClientContext::build(&material, clock(NOW)).unwrap();
    assert_eq!(Pair::new(&context, &server(&authority.server(), &authority.pem)).words().1, "");
}

#[test]
fn a_server_that_may_log_keys_shakes_hands() {
    serve(true);
}

#[test]
fn a_server_that_may_not_log_keys_shakes_hands() {
    serve(false);
}

/// A client of rustls alone, which writes no keys.
fn serve(key_log: bool) {
    let authority = Authority::new("CA");
    let owner = authority.server();
    let material = ServerMaterial { pair: owner.pair(), authorities: authority.pem.as_bytes(), revocation_lists: &[] };
    let context = ServerContext::build(&material, clock(NOW), ServerOptions { enroll: true, key_log }).unwrap();
    let config = bare_client(&TLS13, &authority.client(), &authority.pem, &["vmwire"]);
    let mut client = ClientConnection::new(config, "vm1.example".try_into().unwrap()).unwrap();
    settle_bare(&mut client, &mut Reached::new(ServerTls::new(context))).unwrap();
    assert!(!client.is_handshaking());
}
