//! Every form that is read, and every one that is not, with its words.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

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

fn ssh(user: Option<&str>, host: &str, port: Option<u16>) -> Uri {
    let user = user.map(|user| format!("{}@", percent_encode(user.as_bytes(), b"")));
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = port.map(|port| format!(":{port}"));
    let target = SshTarget::read(&[user, Some(host), port].map(Option::unwrap_or_default).concat(), "").unwrap();
    Uri { driver: Driver::Qemu, scope: Scope::System, way: Way::Ssh(Box::new(target)) }
}

fn ssh_with(change: impl Fn(&mut SshTarget)) -> Uri {
    let mut target = SshTarget::read("vm1", "").unwrap();
    change(&mut target);
    Uri { driver: Driver::Qemu, scope: Scope::System, way: Way::Ssh(Box::new(target)) }
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
        ("qemu+ssh://vm1/system", ssh(None, "vm1", None)),
        ("qemu+ssh://Vm_1.example/system?", ssh(None, "Vm_1.example", None)),
        ("qemu+ssh://root@10.0.0.7:2222/system", ssh(Some("root"), "10.0.0.7", Some(2222))),
        ("qemu+ssh://CORP%5cme%40corp@[FD00::0:7]:22/system", ssh(Some("CORP\\me@corp"), "fd00::7", Some(22))),
        ("qemu+ssh://me@corp@vm1/system", ssh(Some("me@corp"), "vm1", None)),
        (
            "qemu+ssh://vm1/system?transport=ssh2&known_hosts=/h&keyfile=/k%20k&socket=/s",
            ssh_with(|target| {
                target.socket = Some("/s".into());
                target.keyfile = Some("/k k".into());
                target.known_hosts = Some("/h".into());
                target.by = SshBy::Ssh2;
            }),
        ),
        ("qemu+ssh://vm1/system?transport=ssh", ssh_with(|target| target.by = SshBy::Program)),
        ("qemu+ssh://vm1/system?transport=auto", ssh_with(|_| ())),
        ("qemu+ssh://vm1/session", Uri { scope: Scope::Session, ..ssh(None, "vm1", None) }),
        ("test+ssh://vm1/default", Uri { driver: Driver::Test, scope: Scope::Default, ..ssh(None, "vm1", None) }),
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
        ("qemu+carrier-pigeon:///system", UriError::Transport("carrier-pigeon".into())),
        ("qemu+:///system", UriError::Transport(String::new())),
        ("qemu+unix+unix:///system", UriError::Transport("unix+unix".into())),
        ("qemu://host/system", UriError::Host("host".into())),
        ("qemu+unix://me@host:1/system", UriError::Host("me@host:1".into())),
        ("qemu+unix://me:se:cr@et@host:1/system", UriError::Host("me@host:1".into())),
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
        ("qemu+tls://me:secret@h/system", UriError::User { transport: Transport::Tls, authority: "me@h".into() }),
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
        ("qemu+ssh:///system", UriError::NoHost(Transport::Ssh)),
        ("qemu+ssh://me@/system", UriError::NoHost(Transport::Ssh)),
        ("qemu+ssh://@vm1/system", UriError::UserName(String::new())),
        ("qemu+ssh://-oProxyCommand=id@vm1/system", UriError::UserName("-oProxyCommand=id".into())),
        ("qemu+ssh://a%20-b@vm1/system", UriError::UserName("a%20-b".into())),
        ("qemu+ssh://a%0Ab@vm1/system", UriError::UserName("a%0Ab".into())),
        ("qemu+ssh://a$(id)@vm1/system", UriError::UserName("a$(id)".into())),
        ("qemu+ssh://a%5c@vm1/system", UriError::UserName("a%5c".into())),
        ("qemu+ssh://%ff@vm1/system", UriError::UserName("%ff".into())),
        ("qemu+ssh://me%@vm1/system", UriError::Percent("user")),
        ("qemu+ssh://me%00@vm1/system", UriError::Nul("user")),
        ("qemu+ssh://me:secret@vm1/system", UriError::Password),
        ("qemu+ssh://-oProxyCommand=id/system", UriError::SshHost("-oProxyCommand=id".into())),
        ("qemu+ssh://me@-G/system", UriError::SshHost("-G".into())),
        ("qemu+ssh://vm1;id/system", UriError::SshHost("vm1;id".into())),
        ("qemu+ssh://vm%31/system", UriError::SshHost("vm%31".into())),
        ("qemu+ssh://../system", UriError::SshHost("..".into())),
        ("qemu+ssh://10.0.0.256/system", UriError::SshHost("10.0.0.256".into())),
        ("qemu+ssh://:22/system", UriError::SshHost(String::new())),
        ("qemu+ssh://fd00::7/system", UriError::NoBrackets("fd00::7".into())),
        ("qemu+ssh://[fd00::7/system", UriError::HostName("[fd00::7".into())),
        ("qemu+ssh://vm1:/system", UriError::Port(String::new())),
        ("qemu+ssh://vm1:-1/system", UriError::Port("-1".into())),
        ("qemu+ssh://vm1:70000/system", UriError::Port("70000".into())),
        ("qemu+ssh://vm1", UriError::NoPath(Driver::Qemu)),
        ("qemu+ssh://vm1/srv", UriError::Path { driver: Driver::Qemu, path: "/srv".into() }),
        ("test+ssh://vm1/system", UriError::Path { driver: Driver::Test, path: "/system".into() }),
        ("qemu+ssh://vm1/system?netcat=/nc", UriError::Parameter { transport: Transport::Ssh, name: "netcat".into() }),
        ("qemu+ssh://vm1/system?Socket=/s", UriError::Parameter { transport: Transport::Ssh, name: "Socket".into() }),
        ("qemu+ssh://vm1/system?keyfile", UriError::NoValue("keyfile".into())),
        ("qemu+ssh://vm1/system?keyfile=~/k", UriError::NotAbsolute { name: "keyfile", path: "~/k".into() }),
        ("qemu+ssh://vm1/system?known_hosts=h", UriError::NotAbsolute { name: "known_hosts", path: "h".into() }),
        ("qemu+ssh://vm1/system?keyfile=/k/${HOME}", UriError::Variable("keyfile")),
        ("qemu+ssh://vm1/system?known_hosts=/%24%7Bx", UriError::Variable("known_hosts")),
        ("qemu+ssh://vm1/system?socket=s", UriError::NotAbsolute { name: "socket", path: "s".into() }),
        ("qemu+ssh://vm1/system?socket=/s%0", UriError::Percent("socket")),
        ("qemu+ssh://vm1/system?keyfile=/a&keyfile=/b", UriError::Twice("keyfile".into())),
        ("qemu+ssh://vm1/system?transport=nc", UriError::Choice { name: "transport", value: "nc".into() }),
        ("qemu+ssh://vm1/system?transport=", UriError::Choice { name: "transport", value: String::new() }),
        ("qemu+ssh://vm1/system?transport=%ff", UriError::Choice { name: "transport", value: "%ff".into() }),
        ("qemu+ssh://vm1/system#x", UriError::Fragment),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<Uri>(), Err(expected.clone()), "{text}");
        assert!(!expected.hint().is_empty(), "{text}");
        let words = expected.to_string();
        assert!(!words.ends_with('.') && !words.chars().any(char::is_control), "{words}");
    }
}

#[test]
fn the_page_tells_of_every_form_and_every_parameter_and_of_no_other() {
    let page = include_str!("../../../docs/cli.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `qemu")?.split_once("` |"));
    let forms: Vec<String> = rows.map(|(form, _)| format!("qemu{form}").replace("\\|", "|")).collect();
    let all = [("socket", "/s"), ("keyfile", "/k"), ("known_hosts", "/h"), ("transport", "ssh2"), ("pkipath", "/p")];
    let mut ways = Vec::new();
    for form in &forms {
        let form =
            form.replace("[USER@]", "me@").replace("HOST", "vm1").replace("[:PORT]", ":7").replace(":PORT", ":7");
        let (bare, parameters) = form.split_once('?').unwrap_or((&form, ""));
        let bare = bare.trim_end_matches('[');
        let told: Vec<&str> =
            parameters.trim_end_matches(']').split('&').filter_map(|part| Some(part.split_once('=')?.0)).collect();
        ways.push(bare.split_once("://").unwrap().0.to_owned());
        bare.parse::<Uri>().unwrap_or_else(|error| panic!("{bare}: {error}"));
        for (name, value) in all {
            let uri = format!("{bare}?{name}={value}").parse::<Uri>();
            // `+unix` may be left out.
            let may = told.contains(&name) || bare.starts_with("qemu:///") && name == "socket";
            assert_eq!(uri.is_ok(), may, "{bare}?{name}");
            // Each is in what is shown of it, and with it in what is asked over there.
            let is_kept = uri.map(|uri| uri.to_string().contains(name));
            assert!(is_kept.unwrap_or(true), "{bare}?{name}");
        }
        assert!(told.iter().all(|name| all.iter().any(|(known, _)| known == name)), "{form}");
    }
    for way in ["qemu", "qemu+unix", "qemu+ssh", "qemu+tls", "qemu+tcp"] {
        assert!(ways.iter().any(|told| told == way), "{way}");
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
    assert!(!starts("test+ssh://h/default"));
}

#[test]
fn a_name_of_256_bytes_is_too_long() {
    let of = |user: usize, host: usize| {
        format!("qemu+ssh://{}@{}/system", "u".repeat(user), "h".repeat(host)).parse::<Uri>()
    };
    assert!(of(255, 255).is_ok());
    assert_eq!(of(256, 1), Err(UriError::UserName("u".repeat(256))));
    assert_eq!(of(1, 256), Err(UriError::SshHost("h".repeat(256))));
}

#[test]
fn a_daemon_behind_ssh_is_called_there_as_by_those_who_are_there() {
    let there = |text: &str| text.parse::<Uri>().unwrap().at_its_host().to_string();
    assert_eq!(there("qemu+ssh://me@vm1/system?keyfile=/k"), "qemu:///system");
    assert_eq!(there("qemu+ssh://me@vm1/session?socket=/s'$(id)"), "qemu+unix:///session?socket=/s%27%24%28id%29");
    assert_eq!(there("test+ssh://me@vm1/default"), "test:///default");
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
    fn what_is_shown_of_the_way_by_ssh_reads_back_as_the_same(
        user in proptest::option::of("[a-zA-Z0-9@%\\\\ .é_+:-]{0,10}[a-z]"),
        host in "[a-zA-Z_][a-zA-Z0-9_-]{0,20}|fd00::7|10\\.0\\.0\\.7",
        port in proptest::option::of(1u16..),
        paths in proptest::collection::vec(proptest::option::of(proptest::collection::vec(1u8..=255, 0..20)), 3),
        by in 0usize..3,
    ) {
        let user = user.filter(|user| !user.split(' ').any(|word| word.starts_with('-')));
        let path = |bytes: &Option<Vec<u8>>| {
            let bytes = bytes.as_ref().filter(|bytes| !bytes.windows(2).any(|two| two == b"${"))?;
            Some(PathBuf::from(OsString::from_vec([b"/", bytes.as_slice()].concat())))
        };
        let mut uri = ssh(user.as_deref(), &host, port);
        let Way::Ssh(target) = &mut uri.way else { unreachable!() };
        target.socket = path(&paths[0]);
        target.keyfile = path(&paths[1]);
        target.known_hosts = path(&paths[2]);
        target.by = [SshBy::Auto, SshBy::Ssh2, SshBy::Program][by];
        prop_assert_eq!(uri.ssh().unwrap().user(), user.as_deref());
        prop_assert_eq!(uri.ssh().unwrap().host(), host);
        let there = uri.at_its_host();
        prop_assert_eq!(there.to_string().parse::<Uri>(), Ok(there));
        prop_assert_eq!(uri.to_string().parse::<Uri>(), Ok(uri));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[a-z%?&=/0-9]{0,20}") {
        let _ = text.parse::<Uri>();
        let _ = format!("qemu:///system?socket={tail}").parse::<Uri>();
        let _ = format!("qemu+tls://{tail}/system").parse::<Uri>();
        let _ = format!("qemu+ssh://{text}@{tail}").parse::<Uri>();
        let _ = HostPort::read(&text, Some(1));
    }
}
