//! What only TLS can do wrong: handshakes that stop, ends that were cut, files that are wrong, ports that speak something
//! else. Each in the words that a person sees.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{Failure, ServerData, VmCall, VmDefinitionAnswer, code};
use vmwire_protocol::xdr::Text;

use super::scripted::Scripted;
use super::scripted::wire::{
    Listener, Over, TlsEnd, Wire, pki, place, server_context, strangers, write_credentials, write_those,
};
use super::{Connection, Options};
use crate::cli::{Exit, told};
use crate::error::{Error, Lost};
use crate::request;
use crate::transport::Environment;
use crate::uri::Uri;

fn open(uri: &Uri, options: Options) -> Result<Connection, Error> {
    Connection::open(uri, &Environment::default(), options)
}

fn question() -> request::VmDefinition {
    request::VmDefinition(VmCall { vm: Text::clipped("a") })
}

fn definition() -> ServerData {
    ServerData::VmDefinition(VmDefinitionAnswer { definition: Text::clipped("of a") })
}

fn impatient(milliseconds: u64) -> Options {
    let time = Duration::from_millis(milliseconds);
    Options { connect_timeout: time, greeting_timeout: time, reconnect: Duration::ZERO, ..Options::default() }
}

fn ports(listener: Listener) -> TcpListener {
    match listener {
        Listener::Tls(listener, _) | Listener::Tcp(listener) => listener,
        Listener::Unix(_) => panic!("there is no port"),
    }
}

/// What the program would say and how it would end.
fn words(error: Error) -> (Exit, String) {
    let (exit, text) = told(error);
    assert!(text.contains("\n  hint: "), "{text}");
    (exit, text)
}

#[test]
fn bytes_may_come_and_go_in_pieces_of_any_length() {
    for piece in [1, 2, 3, 7, 100, 1000] {
        let place = place(Over::Tls);
        let listener = ports(place.listener);
        let daemon = std::thread::spawn(move || {
            let end = TlsEnd::in_pieces(listener.accept().unwrap().0, server_context(), piece);
            let mut daemon = Scripted::new(Wire::Tls(Box::new(end)), 1);
            for _ in 0..3 {
                let (ticket, _) = daemon.call();
                daemon.answer(ticket, &definition());
            }
            daemon.until_gone();
        });
        let mut connection = open(&place.uri, Options::default()).unwrap();
        for _ in 0..3 {
            connection.call(question(), None).unwrap();
        }
        assert!(connection.tls_summary().unwrap().starts_with("TLS"));
        drop(connection);
        daemon.join().unwrap();
    }
}

/// Stands between client and daemon and lets `limit` bytes of the daemon's pass, then goes or falls silent until the
/// client has gone. Answers how many bytes there were, as far as they came.
fn between(client: TcpStream, limit: usize, goes: bool) -> usize {
    let inner = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = TcpStream::connect(inner.local_addr().unwrap()).unwrap();
    let served = std::thread::spawn(move || {
        let mut daemon =
            Scripted::new(Wire::Tls(Box::new(TlsEnd::new(inner.accept().unwrap().0, server_context()))), 1);
        daemon.only_pings(Instant::now() + Duration::from_secs(10));
    });
    let (mut from_client, mut to_daemon) = (client.try_clone().unwrap(), daemon.try_clone().unwrap());
    let up = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_daemon);
        let _ = to_daemon.shutdown(Shutdown::Both);
    });
    let mut passed = 0;
    let mut buffer = [0; 4096];
    let (mut daemon, mut to_client) = (daemon, client);
    while let Ok(count @ 1..) = daemon.read(&mut buffer) {
        let rest = count.min(limit - passed);
        passed += rest;
        if to_client.write_all(&buffer[..rest]).is_err() || passed == limit {
            break;
        }
    }
    if goes {
        let _ = to_client.shutdown(Shutdown::Both);
    }
    up.join().unwrap();
    served.join().unwrap();
    passed
}

fn stopped(limit: usize, goes: bool) -> (usize, Result<Connection, Error>) {
    let place = place(Over::Tls);
    let listener = ports(place.listener);
    let stranger = std::thread::spawn(move || between(listener.accept().unwrap().0, limit, goes));
    let mut opened = open(&place.uri, impatient(if goes { 20_000 } else { 1500 }));
    if let Ok(connection) = &mut opened {
        connection.link = None;
    }
    (stranger.join().unwrap(), opened)
}

#[test]
fn a_daemon_that_goes_at_any_stage_is_told_from_one_that_was_never_there() {
    let (whole, opened) = stopped(usize::MAX, true);
    opened.unwrap();
    let mut outcomes = Vec::new();
    // Its farewell comes last and is not waited for; signatures are not all of one length.
    for limit in (0..whole - 64).step_by(whole / 24) {
        let began = Instant::now();
        let error = stopped(limit, true).1.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(60), "{limit} of {whole}");
        match &error {
            Error::Tls(tls) => assert!(tls.may_pass(), "{error:?}"),
            Error::Lost(Lost::Cut | Lost::Closed | Lost::Io(_)) => {}
            other => panic!("{limit} of {whole}: {other:?}"),
        }
        outcomes.push(words(error).1);
    }
    let told = |part: &str| outcomes.iter().filter(|text| text.contains(part)).count();
    assert!(told("closed the connection in the middle of the handshake") > 5, "{outcomes:?}");
    assert!(told("was cut") > 0, "{outcomes:?}");
}

#[test]
fn a_daemon_that_falls_silent_at_any_stage_is_given_up_in_time() {
    let (whole, opened) = stopped(usize::MAX, true);
    opened.unwrap();
    let mut handshakes = 0;
    for limit in (0..whole - 64).step_by(whole / 8) {
        let began = Instant::now();
        let error = stopped(limit, false).1.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(60), "{limit} of {whole}");
        match &error {
            Error::Lost(Lost::Handshake(_)) => handshakes += 1,
            Error::Lost(Lost::Silent(_)) => {}
            other => panic!("{limit} of {whole}: {other:?}"),
        }
        assert!(error.is_late() && words(error).0 == Exit::NoConnection);
    }
    assert!(handshakes > 3, "{handshakes}");
}

#[test]
fn an_end_that_was_not_announced_is_told_apart() {
    for (rude, cut) in [(false, false), (true, true)] {
        let place = place(Over::Tls);
        let listener = ports(place.listener);
        let daemon = std::thread::spawn(move || {
            let mut end = TlsEnd::new(listener.accept().unwrap().0, server_context());
            end.rude = rude;
            let mut daemon = Scripted::new(Wire::Tls(Box::new(end)), 1);
            let _unanswered = daemon.call();
        });
        let mut connection = open(&place.uri, impatient(20_000)).unwrap();
        let error = connection.call(question(), None).unwrap_err();
        daemon.join().unwrap();
        assert_eq!(matches!(error, Error::Lost(Lost::Cut)), cut, "{error:?}");
        assert_eq!(matches!(error, Error::Lost(Lost::Closed)), !cut, "{error:?}");
    }
}

#[test]
fn the_client_says_its_farewell() {
    let place = place(Over::Tls);
    let listener = ports(place.listener);
    let daemon = std::thread::spawn(move || {
        let mut wire = Wire::Tls(Box::new(TlsEnd::new(listener.accept().unwrap().0, server_context())));
        let mut buffer = vec![0; 65536];
        while wire.read(&mut buffer, Duration::from_secs(10)).unwrap() > 0 {}
        let Wire::Tls(end) = wire else { panic!() };
        end.end
    });
    drop(open(&place.uri, impatient(300)).unwrap_err());
    assert_eq!(daemon.join().unwrap(), Some(vmwire_tls::stream::End::Closed));
}

#[test]
fn a_link_that_is_made_anew_resumes_unless_the_certificate_is_new() {
    let place = place(Over::Tls);
    let directory = place._directory.path().to_owned();
    let listener = place.listener;
    let (go, gone) = std::sync::mpsc::channel();
    let daemon = std::thread::spawn(move || {
        for _ in 0..3 {
            let mut daemon = Scripted::new(listener.accept(), 1);
            let (ticket, _) = daemon.call();
            daemon.answer(ticket, &definition());
            gone.recv().unwrap();
        }
    });
    let mut connection = open(&place.uri, Options::default()).unwrap();
    let mut summaries = Vec::new();
    for _ in 0..3 {
        connection.call(question(), None).unwrap();
        summaries.push(connection.tls_summary().unwrap());
        go.send(()).unwrap();
        while connection.is_connected() {
            let _ = connection.wait_a_moment(Duration::from_secs(5));
        }
        if summaries.len() == 2 {
            fs::write(directory.join("ca.crt"), format!("{}\n", pki().authority_pem)).unwrap();
        }
    }
    daemon.join().unwrap();
    let resumed: Vec<bool> = summaries.iter().map(|summary| summary.ends_with(", resumed")).collect();
    assert_eq!(resumed, [false, true, false], "{summaries:?}");
}

/// Connects to a daemon of our authority with the files that `prepare` leaves in their directory.
fn with_files(host: &str, prepare: impl FnOnce(&Path)) -> (Exit, String) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    write_credentials(directory);
    prepare(directory);
    let listener = TcpListener::bind((host, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri: Uri = format!("qemu+tls://{host}:{port}/system?pkipath={}", directory.display()).parse().unwrap();
    let listener = Listener::Tls(listener, server_context());
    let daemon = std::thread::spawn(move || {
        let mut wire = listener.accept();
        while wire.read(&mut vec![0; 65536], Duration::from_secs(5)).is_ok_and(|count| count > 0) {}
    });
    let (exit, text) = words(open(&uri, impatient(20_000)).unwrap_err());
    // Where nobody has come, the daemon still waits for somebody.
    drop(TcpStream::connect((host, port)));
    daemon.join().unwrap();
    (exit, text.replace(&directory.display().to_string(), "DIR").replace(&port.to_string(), "PORT"))
}

#[test]
fn whoever_does_not_fit_is_told_what_to_do() {
    type Row<'a> = (&'a str, fn(&Path), Exit, &'a str);
    let rows: [Row<'_>; 11] = [
        (
            "127.0.0.1",
            |directory| write_those(directory, &strangers().authority_pem, &pki().client),
            Exit::NoConnection,
            "no TLS with 127.0.0.1:PORT\n  cause: the server's certificate (CN=127.0.0.1) was issued by an authority that \
             is not trusted here (CN=scripted)",
        ),
        (
            "127.0.0.1",
            |directory| write_those(directory, &pki().authority_pem, &strangers().client),
            Exit::Denied,
            "127.0.0.1:PORT does not let this client in\n  cause: the server refused: it does not trust the authority that \
             issued your certificate (alert unknown ca)",
        ),
        (
            "127.0.0.2",
            |_| {},
            Exit::NoConnection,
            "no TLS with 127.0.0.2:PORT\n  cause: the server's certificate is not for 127.0.0.2, but for ",
        ),
        (
            "127.0.0.1",
            |directory| fs::remove_file(directory.join("client.crt")).unwrap(),
            Exit::NoConnection,
            "there is no certificate at DIR/client.crt\n  hint: get them from the daemon's host: \"vmwire client invite \
             NAME\" there, \"vmwire enroll\" here",
        ),
        (
            "127.0.0.1",
            |directory| fs::remove_file(directory.join("ca.crt")).unwrap(),
            Exit::NoConnection,
            "there is no CA certificate at DIR/ca.crt\n",
        ),
        (
            "127.0.0.1",
            |directory| {
                fs::remove_file(directory.join("ca.crt")).unwrap();
                for host in ["vm1.example.org", "empty"] {
                    fs::create_dir(directory.join(host)).unwrap();
                }
                fs::write(directory.join("vm1.example.org/client.crt"), "").unwrap();
            },
            Exit::NoConnection,
            "there is no CA certificate at DIR/ca.crt\n  hint: there are some for vm1.example.org: use that name of the host",
        ),
        (
            "127.0.0.1",
            |directory| fs::set_permissions(directory.join("client.key"), Permissions::from_mode(0o640)).unwrap(),
            Exit::NoConnection,
            "DIR/client.key can be read or written by others (mode 0640)",
        ),
        (
            "127.0.0.1",
            |directory| fs::write(directory.join("client.crt"), &strangers().client.0).unwrap(),
            Exit::NoConnection,
            "DIR/client.crt: the private key does not belong to the certificate",
        ),
        (
            "127.0.0.1",
            |directory| fs::write(directory.join("ca.crt"), "hello").unwrap(),
            Exit::NoConnection,
            "DIR/ca.crt holds no CA certificate in PEM form\n",
        ),
        (
            "127.0.0.1",
            |directory| {
                fs::write(directory.join("crl.pem"), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
                    .unwrap();
            },
            Exit::NoConnection,
            "DIR/crl.pem holds a revocation list that cannot be used",
        ),
        (
            "127.0.0.1",
            |directory| {
                fs::remove_file(directory.join("client.crt")).unwrap();
                rustix::fs::mkfifoat(rustix::fs::CWD, directory.join("client.crt"), 0o600.into()).unwrap();
            },
            Exit::NoConnection,
            "DIR/client.crt is no file\n",
        ),
    ];
    for (host, prepare, exit, beginning) in rows {
        let (ended, text) = with_files(host, prepare);
        assert!(text.starts_with(&format!("vmwire: {beginning}")), "{text}");
        assert_eq!(ended, exit, "{text}");
    }
}

#[test]
fn a_port_that_speaks_something_else_is_told_by_what_it_speaks() {
    let answer = |bytes: Vec<u8>, scheme: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        write_credentials(directory.path());
        let query = if scheme == "tls" { format!("?pkipath={}", directory.path().display()) } else { String::new() };
        let uri = format!("qemu+{scheme}://{}/system{query}", listener.local_addr().unwrap());
        let stranger = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(&bytes);
            let _ = socket.shutdown(Shutdown::Write);
            while socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
        });
        let error = open(&uri.parse().unwrap(), impatient(20_000)).unwrap_err();
        stranger.join().unwrap();
        words(error)
    };
    let mut plain = Vec::new();
    let failure = Failure::new(code::BAD_MAGIC, "a TLS ClientHello");
    ServerData::Failure(failure).encode(&mut plain).unwrap();
    let packet = [b"\x89VMW".as_slice(), &[0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0], &plain].concat();
    let (exit, text) = answer(packet, "tls");
    assert_eq!(exit, Exit::NoConnection);
    assert!(
        text.contains("there is no TLS on this port: what the server sent looks like an unencrypted vmwire packet")
    );
    assert!(text.contains("hint: the daemon speaks plainly on this port: qemu+tcp://127.0.0.1:"), "{text}");
    let (_, text) = answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "tls");
    assert!(text.contains("looks like an HTTP answer") && text.contains("hint: a web server listens there"), "{text}");

    for alert in [&[0x15, 3, 3, 0, 2, 2, 50][..], &[0x15]] {
        let (exit, text) = answer(alert.to_vec(), "tcp");
        assert_eq!(exit, Exit::NoConnection);
        assert!(text.starts_with("vmwire: the server speaks TLS on this port\n  hint: use qemu+tls://"), "{text}");
    }
}

#[test]
fn a_plain_client_is_told_of_tls_by_the_end_that_speaks_it() {
    let place = place(Over::Tls);
    let uri: Uri = format!("qemu+tcp://{}/system", place.uri.host().unwrap()).parse().unwrap();
    let listener = place.listener;
    let daemon = std::thread::spawn(move || {
        let mut wire = listener.accept();
        while wire.read(&mut vec![0; 65536], Duration::from_secs(5)).is_ok_and(|count| count > 0) {}
    });
    let error = open(&uri, impatient(20_000)).unwrap_err();
    daemon.join().unwrap();
    assert!(matches!(error, Error::WantsTls), "{error:?}");
}

#[test]
fn nobody_there_is_told_with_the_port() {
    let place = place(Over::Tls);
    let port = place.uri.host().unwrap().port();
    drop(place.listener);
    let (exit, text) = words(open(&place.uri, impatient(20_000)).unwrap_err());
    assert_eq!(exit, Exit::NoConnection);
    let beginning = format!("vmwire: cannot connect to 127.0.0.1:{port}\n  cause: Connection refused");
    assert!(text.starts_with(&beginning) && text.contains(&format!("listens on port {port}")), "{text}");
}
