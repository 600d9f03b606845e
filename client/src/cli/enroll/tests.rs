//! Enrolment against an end that does what a test tells it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use vmwire_protocol::message::{Failure, ServerData, code, number};
use vmwire_protocol::xdr::{self, Fixed, List, Secret};
use vmwire_tls::config::ServerOptions;
use vmwire_tls::pki::{Authority, ClientName};

use super::*;
use crate::connection::scripted::wire::{Pki, TlsEnd, Wire, context_of, pki, strangers};

const SECRET: [u8; 16] = [0xa5; 16];

/// What came over the wire behind the header: serial and deadline, then the packet.
fn received(wire: &mut Wire) -> Option<EnrollCall> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 65536];
    while bytes.len() < 8
        || bytes.len() < 8 + usize::try_from(u32::from_be_bytes(bytes[4..8].try_into().unwrap())).unwrap()
    {
        match wire.read(&mut buffer, Duration::from_secs(5)) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
    assert!(bytes.len() <= 8 * 1024, "one packet of at most 8 KiB");
    assert_eq!(&bytes[8..12], [0, 0, 0, 1], "the first serial");
    assert_eq!(&bytes[16..20], number::ENROLL.to_be_bytes());
    xdr::decode(&bytes[20..]).ok()
}

fn send(wire: &mut Wire, data: &ServerData) {
    let mut body = Vec::new();
    data.encode(&mut body).unwrap();
    let length = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
    let packet = [&b"\x89VMW"[..], &length, &[0, 0, 0, 1], &[0, 0, 0, 1], &body].concat();
    // Whoever does not like the certificate has gone.
    let _ = wire.write_all(&packet);
}

/// A daemon of `pki` that answers one ENROLL with what `answer` makes of it; with nothing, it goes.
fn daemon(
    pki: &'static Pki,
    answer: impl FnOnce(&EnrollCall) -> Option<ServerData> + Send + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let token = token(&listener.local_addr().unwrap().to_string(), pki);
    let thread = std::thread::spawn(move || {
        let options = ServerOptions { enroll: true, ..ServerOptions::default() };
        let mut wire = Wire::Tls(Box::new(TlsEnd::new(listener.accept().unwrap().0, context_of(pki, options))));
        if let Some(call) = received(&mut wire) {
            assert_eq!(call.secret.reveal().0, SECRET);
            if let Some(answer) = answer(&call) {
                send(&mut wire, &answer);
                while wire.read(&mut vec![0; 65536], Duration::from_secs(5)).is_ok_and(|count| count > 0) {}
            }
        }
    });
    (token, thread)
}

fn token(address: &str, pki: &Pki) -> String {
    let ca = Fixed(*pki.authority.fingerprint().bytes());
    Token { address: Text::clipped(address), ca, secret: Secret::new(Fixed(SECRET)) }.to_text().reveal().to_string()
}

fn signed(authority: &Authority, csr: &[u8], ca: &Authority) -> ServerData {
    let name: ClientName = "alice".parse().unwrap();
    let issued = authority.sign_client(csr, &name, Date::from(SystemTime::now())).unwrap();
    ServerData::Enroll(EnrollAnswer {
        name: Text::clipped("alice"),
        role: role::OPERATOR,
        chain: List::clipped([Opaque::new(issued.der).unwrap()]),
        ca: Opaque::new(ca.der().to_vec()).unwrap(),
    })
}

fn granted(call: &EnrollCall) -> Option<ServerData> {
    Some(signed(&pki().authority, &call.request, &pki().authority))
}

fn now() -> Date {
    Date::from(SystemTime::now())
}

fn enrol(token: &str, directory: &Path, force: bool) -> Result<Enrolled, Problem> {
    with_token(token, directory, true, force, None, now())
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_token_becomes_a_certificate_in_the_directory_of_its_host() {
    let directory = tempfile::tempdir().unwrap();
    let pki_directory = directory.path().join("pki");
    let (token, thread) = daemon(pki(), granted);
    let enrolled = enrol(&token, &pki_directory, false).unwrap();
    thread.join().unwrap();
    let place = pki_directory.join("127.0.0.1");
    assert_eq!((enrolled.name.as_str(), enrolled.role.as_str()), ("alice", "operator"));
    assert!(enrolled.uri.ends_with(&format!("/system?pkipath={}", place.display())), "{}", enrolled.uri);
    assert_eq!(names(&pki_directory), ["127.0.0.1"]);
    assert_eq!(names(&place), ["ca.crt", "client.crt", "client.key"]);
    assert_eq!(fs::metadata(place.join("client.key")).unwrap().permissions().mode() & 0o7777, 0o600);
    let uri: Uri = enrolled.uri.parse().unwrap();
    assert_eq!(uri.pki(), Some(place.as_path()));
    let key = key_fingerprint(&fs::read(place.join("client.key")).unwrap()).unwrap();
    assert_eq!(key.to_string(), enrolled.key);

    // A second time nothing is asked, unless it was meant.
    let before = fs::read(place.join("client.key")).unwrap();
    let refused = enrol(&token, &pki_directory, false).unwrap_err();
    assert!(refused.code == "EXISTS" && refused.hint.contains("--force"), "{refused:?}");
    fs::write(place.join("crl.pem"), "a list").unwrap();
    let (token, thread) = daemon(pki(), granted);
    enrol(&token, &pki_directory, true).unwrap();
    thread.join().unwrap();
    assert_ne!(fs::read(place.join("client.key")).unwrap(), before);
    assert_eq!(names(&place), ["ca.crt", "client.crt", "client.key", "crl.pem"]);
    assert_eq!(names(&pki_directory), ["127.0.0.1"]);
}

#[test]
fn whatever_goes_wrong_has_its_words_and_leaves_what_was_there() {
    type Row = (fn() -> (String, Option<JoinHandle<()>>), Exit, &'static str, &'static str);
    fn with(pki: &'static Pki, answer: fn(&EnrollCall) -> Option<ServerData>) -> (String, Option<JoinHandle<()>>) {
        let (token, thread) = daemon(pki, answer);
        (token, Some(thread))
    }
    let rows: [Row; 11] = [
        (|| ("hello".to_owned(), None), Exit::Usage, "this is no token", "vmwire client invite NAME"),
        (
            || {
                let token = token("127.0.0.1:1", pki());
                (token[..token.len() - 9].to_owned(), None)
            },
            Exit::Usage,
            "the end of the token is missing",
            "the whole line",
        ),
        (|| (token("127.0.0.1:1", pki()).replacen("vmw1-AAAA", "vmw1-AAAB", 1), None), Exit::Usage, "", "copy it"),
        (|| (token("not a host", pki()), None), Exit::Failed, "the token names no daemon", "--address HOST:PORT"),
        (
            || {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
                (token(&port.to_string(), pki()), None)
            },
            Exit::NoConnection,
            "cannot connect to 127.0.0.1:",
            "The token is good still",
        ),
        (
            || {
                let (good, thread) = daemon(strangers(), |_| None);
                let address = Token::parse(&good).unwrap().address.to_string();
                (token(&address, pki()), Some(thread))
            },
            Exit::NoConnection,
            "no TLS with 127.0.0.1:",
            "the token is of another daemon, or somebody is in between",
        ),
        (
            || {
                with(pki(), |_| {
                    Some(ServerData::Failure(
                        Failure::new(code::DENIED, "the token was spent already").hint("ask for another"),
                    ))
                })
            },
            Exit::Denied,
            "the token was spent already",
            "ask for another",
        ),
        (
            || with(pki(), |call| Some(signed(&pki().authority, &call.request, &strangers().authority))),
            Exit::Failed,
            "the daemon has sent another CA (",
            "no certificate was kept",
        ),
        (
            || {
                with(pki(), |_| {
                    let other = Request::new(&"x".parse().unwrap()).unwrap();
                    Some(signed(&pki().authority, &other.csr_der, &pki().authority))
                })
            },
            Exit::Failed,
            "the daemon has sent a certificate for another key",
            "no certificate was kept",
        ),
        (
            || {
                with(pki(), |call| {
                    let Some(ServerData::Enroll(mut answer)) = granted(call) else { panic!() };
                    answer.chain = List::clipped([]);
                    Some(ServerData::Enroll(answer))
                })
            },
            Exit::Failed,
            "the daemon has sent no certificate",
            "no certificate was kept",
        ),
        (
            || {
                with(pki(), |call| {
                    let Some(ServerData::Enroll(mut answer)) = granted(call) else { panic!() };
                    answer.ca = Opaque::new(vec![0; 9]).unwrap();
                    Some(ServerData::Enroll(answer))
                })
            },
            Exit::Failed,
            "the daemon has sent a CA certificate that cannot be read",
            "no certificate was kept",
        ),
    ];
    for (prepare, exit, message, hint) in rows {
        let directory = tempfile::tempdir().unwrap();
        let (token, thread) = prepare();
        let problem = enrol(&token, directory.path(), false).unwrap_err();
        if let Some(thread) = thread {
            thread.join().unwrap();
        }
        assert!(problem.message.starts_with(message) && problem.hint.contains(hint), "{problem:?}");
        assert_eq!(problem.exit, exit, "{problem:?}");
        assert!(!format!("{problem:?}").contains("a5a5"), "{problem:?}");
        assert_eq!(names(directory.path()), [""; 0], "{problem:?}");
    }
}

#[test]
fn a_token_whose_answer_was_lost_is_spent_again_by_the_same_key_and_another_token_by_another() {
    fn spend(directory: &Path, token: &str, daemon: JoinHandle<()>) -> Result<Enrolled, Problem> {
        let enrolled = enrol(token, directory, false);
        daemon.join().unwrap();
        enrolled
    }
    /// A daemon that tells which key it was sent, and answers or does not.
    fn telling(answers: bool) -> (String, JoinHandle<()>, std::sync::mpsc::Receiver<Fingerprint>) {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (token, thread) = daemon(pki(), move |call| {
            sender.send(vmwire_tls::pki::request_key(&call.request).unwrap()).unwrap();
            granted(call).filter(|_| answers)
        });
        (token, thread, receiver)
    }
    let directory = tempfile::tempdir().unwrap();
    let (token, thread, first) = telling(false);
    let lost = spend(directory.path(), &token, thread).unwrap_err();
    assert!(lost.message.starts_with("the daemon closed the connection"), "{lost:?}");
    assert_eq!(lost.exit, Exit::NoConnection);
    assert!(lost.hint.contains("the token may be spent. Try it again from here"), "{lost:?}");
    assert_eq!(names(directory.path()), [".127.0.0.1.new"]);
    assert_eq!(names(&directory.path().join(".127.0.0.1.new")), ["client.key", "token.sha256"]);
    // Nobody is there, and then somebody who is overloaded: what was sent is still what was sent.
    enrol(&self::token("127.0.0.1:1", pki()), directory.path(), false).unwrap_err();
    let (token, thread) = daemon(pki(), |_| Some(ServerData::Failure(Failure::new(code::OVERLOADED, "too many"))));
    spend(directory.path(), &token, thread).unwrap_err();
    let (token, thread, second) = telling(true);
    let enrolled = spend(directory.path(), &token, thread).unwrap();
    let key = first.recv().unwrap();
    assert_eq!((second.recv().unwrap(), enrolled.key), (key, key.to_string()));
    assert_eq!(names(directory.path()), ["127.0.0.1"]);
    assert_eq!(names(&directory.path().join("127.0.0.1")), ["ca.crt", "client.crt", "client.key"]);

    // A key that was sent with one token is not sent with another.
    let directory = tempfile::tempdir().unwrap();
    let (token, thread, first) = telling(false);
    spend(directory.path(), &token, thread).unwrap_err();
    let ready = directory.path().join(".127.0.0.1.new/token.sha256");
    fs::write(&ready, Fingerprint::of(b"another").to_string()).unwrap();
    let (token, thread, second) = telling(false);
    spend(directory.path(), &token, thread).unwrap_err();
    let second = second.recv().unwrap();
    assert_ne!(first.recv().unwrap(), second);
    // What is known to be worth nothing goes.
    let (token, thread) = daemon(pki(), |_| Some(ServerData::Failure(Failure::new(code::DENIED, "it was spent"))));
    spend(directory.path(), &token, thread).unwrap_err();
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn a_daemon_that_enrols_nobody_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let token = token(&listener.local_addr().unwrap().to_string(), pki());
    let thread = std::thread::spawn(move || {
        let context = context_of(pki(), ServerOptions::default());
        let mut wire = Wire::Tls(Box::new(TlsEnd::new(listener.accept().unwrap().0, context)));
        assert!(received(&mut wire).is_none());
    });
    let directory = tempfile::tempdir().unwrap();
    let problem = enrol(&token, directory.path(), false).unwrap_err();
    thread.join().unwrap();
    assert!(problem.hint.contains("this daemon enrols nobody"), "{problem:?}");
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    let (token, thread) = daemon(pki(), granted);
    let directory = tempfile::tempdir().unwrap();
    let problem = with_token(&token, directory.path(), true, false, None, Date(0)).unwrap_err();
    thread.join().unwrap();
    assert!(
        problem.message.contains("this clock says 1970-01-01")
            && problem.hint.contains("set this clock and spend the same token"),
        "{problem:?}"
    );
    assert_eq!(names(directory.path()), [".127.0.0.1.new"]);
}

#[test]
fn two_at_once_do_not_meet() {
    let directory = tempfile::tempdir().unwrap();
    let token = Fingerprint::of(b"token");
    let _first = Place::new(directory.path(), "vm1", false, token).unwrap();
    let second = Place::new(directory.path(), "vm1", false, token).err().unwrap();
    assert!(second.code == "BUSY" && second.hint.contains("good still"), "{second:?}");
}
