//! Every form that is read, and every one that is not, with its words.

use proptest::prelude::*;

use super::*;

fn port(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn tls(host: &str, number: u16, pki: Option<&str>) -> Uri {
    let way = Way::Tls { host: port(host, number), pki: pki.map(PathBuf::from) };
    Uri { driver: Driver::Qemu, scope: Scope::System, way }
}

fn qemu(scope: Scope, socket: Option<&str>) -> Uri {
    Uri { driver: Driver::Qemu, scope, way: Way::Unix { socket: socket.map(PathBuf::from) } }
}

#[test]
fn reads_every_form_there_is() {
    let test = |socket: Option<&str>| Uri {
        driver: Driver::Test,
        scope: Scope::Default,
        way: Way::Unix { socket: socket.map(PathBuf::from) },
    };
    let tcp = |driver, scope, host: &str, number| Uri { driver, scope, way: Way::Tcp { host: port(host, number) } };
    let table = [
        ("qemu:///system", qemu(Scope::System, None)),
        ("qemu:///session", qemu(Scope::Session, None)),
        ("qemu+unix:///system", qemu(Scope::System, None)),
        ("qemu+unix:///session", qemu(Scope::Session, None)),
        ("qemu+unix:///system?socket=/a/b", qemu(Scope::System, Some("/a/b"))),
        ("qemu:///system?socket=/a/b", qemu(Scope::System, Some("/a/b"))),
        ("qemu:///system?", qemu(Scope::System, None)),
        ("qemu:///%73ystem", qemu(Scope::System, None)),
        ("qemu+unix:///session?socket=/a%20b%25%26c+d", qemu(Scope::Session, Some("/a b%&c+d"))),
        ("test:///default", test(None)),
        ("test+unix:///default?socket=/t", test(Some("/t"))),
        ("qemu+tls://vm1.example.org/system", tls("vm1.example.org", 16515, None)),
        ("qemu+tls://VM1.example.org./system", tls("vm1.example.org", 16515, None)),
        ("qemu+tls://10.0.0.7:1/system?pkipath=/a%20b", tls("10.0.0.7", 1, Some("/a b"))),
        ("qemu+tls://[FD00::0:7]/system?", tls("fd00::7", 16515, None)),
        ("qemu+tls://[fd00::7]:65535/system", tls("fd00::7", 65535, None)),
        ("qemu+tcp://h:16516/session", tcp(Driver::Qemu, Scope::Session, "h", 16516)),
        ("test+tcp://[::1]:7/default", tcp(Driver::Test, Scope::Default, "::1", 7)),
        ("test+tls://h/default", Uri { driver: Driver::Test, scope: Scope::Default, ..tls("h", 16515, None) }),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
}

#[test]
fn every_malformed_part_has_its_own_words_and_a_hint() {
    let table = [
        ("", UriError::Empty),
        ("qemu:///sys tem", UriError::Character(' ')),
        ("qemu:///system\u{1b}", UriError::Character('\u{1b}')),
        ("qemu:///systém", UriError::Character('é')),
        ("/run/vmwire/vmwired.sock", UriError::NoScheme),
        ("qemu:system", UriError::NoSlashes),
        ("qemu:/system", UriError::NoSlashes),
        ("xen:///system", UriError::Driver("xen".into())),
        ("QEMU:///system", UriError::Driver("QEMU".into())),
        ("qemu+ssh://me@host/system", UriError::TransportNotYet("ssh".into())),
        ("qemu+carrier-pigeon:///system", UriError::Transport("carrier-pigeon".into())),
        ("qemu+:///system", UriError::Transport(String::new())),
        ("qemu+unix+unix:///system", UriError::Transport("unix+unix".into())),
        ("qemu://host/system", UriError::Host("host".into())),
        ("qemu+unix://me@host:1/system", UriError::Host("me@host:1".into())),
        ("qemu://system", UriError::Host("system".into())),
        ("qemu://", UriError::NoPath(Driver::Qemu)),
        ("qemu:///", UriError::NoPath(Driver::Qemu)),
        ("test:///?socket=/a", UriError::NoPath(Driver::Test)),
        ("qemu:///default", UriError::Path { driver: Driver::Qemu, path: "/default".into() }),
        ("qemu:///system/", UriError::Path { driver: Driver::Qemu, path: "/system/".into() }),
        ("qemu:///%ff", UriError::Path { driver: Driver::Qemu, path: "/%ff".into() }),
        ("test:///system", UriError::Path { driver: Driver::Test, path: "/system".into() }),
        ("qemu:///system?socket", UriError::NoValue("socket".into())),
        ("qemu:///system?keyfile=/k", UriError::Parameter { transport: Transport::Unix, name: "keyfile".into() }),
        ("qemu:///system?=/k", UriError::Parameter { transport: Transport::Unix, name: String::new() }),
        ("qemu:///system?socket=/a&socket=/a", UriError::Twice("socket".into())),
        ("qemu:///system?socket=a/b", UriError::NotAbsolute { name: "socket", path: "a/b".into() }),
        ("qemu:///system?socket=", UriError::NotAbsolute { name: "socket", path: String::new() }),
        ("qemu:///system?socket=/a%", UriError::Percent("socket")),
        ("qemu:///system?socket=/a%4", UriError::Percent("socket")),
        ("qemu:///system?socket=/a%+4", UriError::Percent("socket")),
        ("qemu:///%zz", UriError::Percent("path")),
        ("qemu:///system?socket=/a%00b", UriError::Nul("socket")),
        ("qemu:///system#here", UriError::Fragment),
        ("qemu+tls:///system", UriError::NoHost(Transport::Tls)),
        ("qemu+tcp:///system", UriError::NoHost(Transport::Tcp)),
        ("qemu+tls://me@h/system", UriError::User { transport: Transport::Tls, authority: "me@h".into() }),
        ("qemu+tcp://me@h:1/system", UriError::User { transport: Transport::Tcp, authority: "me@h:1".into() }),
        ("qemu+tls://../system", UriError::HostName("..".into())),
        ("qemu+tls://.hidden/system", UriError::HostName(".hidden".into())),
        ("qemu+tls://a%2fb/system", UriError::HostName("a%2fb".into())),
        ("qemu+tls://:16515/system", UriError::HostName(String::new())),
        ("qemu+tls://10.0.0.256/system", UriError::HostName("10.0.0.256".into())),
        ("qemu+tls://[fd00::7/system", UriError::HostName("[fd00::7".into())),
        ("qemu+tls://[fd00::7]1/system", UriError::HostName("[fd00::7]1".into())),
        ("qemu+tls://[fe80::1%25eth0]/system", UriError::HostName("[fe80::1%25eth0]".into())),
        ("qemu+tls://[10.0.0.7]/system", UriError::HostName("[10.0.0.7]".into())),
        ("qemu+tls://fd00::7/system", UriError::NoBrackets("fd00::7".into())),
        ("qemu+tls://h:/system", UriError::Port(String::new())),
        ("qemu+tls://h:0/system", UriError::Port("0".into())),
        ("qemu+tls://h:65536/system", UriError::Port("65536".into())),
        ("qemu+tls://h:+1/system", UriError::Port("+1".into())),
        ("qemu+tls://h:1:2/system", UriError::Port("1:2".into())),
        ("qemu+tcp://h/system", UriError::NoPort("h".into())),
        ("qemu+tls://h", UriError::NoPath(Driver::Qemu)),
        ("test+tls://h/system", UriError::Path { driver: Driver::Test, path: "/system".into() }),
        ("qemu+tls://h/system?socket=/a", UriError::Parameter { transport: Transport::Tls, name: "socket".into() }),
        ("qemu+tcp://h:1/system?pkipath=/a", UriError::Parameter { transport: Transport::Tcp, name: "pkipath".into() }),
        ("qemu+tcp://h:1/system?=/a", UriError::Parameter { transport: Transport::Tcp, name: String::new() }),
        ("qemu:///system?pkipath=/a", UriError::Parameter { transport: Transport::Unix, name: "pkipath".into() }),
        ("qemu+tls://h/system?pkipath=a", UriError::NotAbsolute { name: "pkipath", path: "a".into() }),
        ("qemu+tls://h/system?pkipath=/a%", UriError::Percent("pkipath")),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<Uri>(), Err(expected.clone()), "{text}");
        assert!(!expected.hint().is_empty(), "{text}");
        let words = expected.to_string();
        assert!(!words.ends_with('.') && !words.chars().any(char::is_control), "{words}");
    }
}

#[test]
fn only_ones_own_daemons_are_started() {
    let starts = |text: &str| text.parse::<Uri>().unwrap().starts_daemon();
    assert!(starts("qemu:///session"));
    assert!(starts("test:///default"));
    assert!(!starts("qemu:///system"));
    assert!(!starts("qemu+unix:///session?socket=/a"));
    assert!(!starts("test+unix:///default?socket=/a"));
    assert!(!starts("qemu+tls://h/session"));
    assert!(!starts("test+tcp://h:1/default"));
}

#[test]
fn root_means_the_system_and_others_their_own() {
    assert_eq!(Uri::default_for(0).to_string(), "qemu:///system");
    assert_eq!(Uri::default_for(1000).to_string(), "qemu:///session");
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same(path in proptest::collection::vec(1u8..=255, 0..40)) {
        let mut socket = vec![b'/'];
        socket.extend(path);
        let uri = Uri::from_socket(OsString::from_vec(socket));
        prop_assert_eq!(uri.to_string().parse::<Uri>(), Ok(uri.clone()));
        let pki = uri.socket().map(Path::to_owned);
        for host in ["vm1.example.org", "10.0.0.7", "fd00::7"] {
            for port in [16515, 6515, 1651] {
                let uri = Uri::of_host(HostPort::new(host, port).unwrap(), pki.clone());
                prop_assert_eq!(uri.to_string().parse::<Uri>(), Ok(uri));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[a-z%?&=/0-9]{0,20}") {
        let _ = text.parse::<Uri>();
        let _ = format!("qemu:///system?socket={tail}").parse::<Uri>();
        let _ = format!("qemu+tls://{tail}/system").parse::<Uri>();
        let _ = HostPort::read(&text, Some(1));
    }
}
