//! Rules and what follows from them, by example and against a naive model.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;
use vmwire_tls::date::Date;
use vmwire_tls::identity::{AlternativeName, PeerIdentity};

use super::*;

const PASSWD: &str =
    "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\nhalf a line\n";
const GROUP: &str = "root:x:0:\nvmwire:x:70:alice,bob,gone\nusers:x:100:\nvm:x:seventy:\n";

fn users() -> Users {
    Users::parse(PASSWD, GROUP)
}

fn rule(who: &str, role: Role, names: &[&str], labels: &[&str]) -> Rule {
    let names = names.iter().map(|name| pattern(name).unwrap()).collect();
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Rule { who: Who::parse(who, &users()).unwrap(), role, scope: Scope::new(names, labels).map(Arc::new) }
}

fn access(rules: Vec<Rule>) -> Access {
    Access { own_uid: 7, rules }
}

fn labels(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn tls(key: u8, subject: &str, dns: &str) -> Identity {
    let fingerprint = vmwire_tls::identity::Fingerprint::from([key; 32]);
    let certificate = PeerIdentity {
        key: fingerprint,
        certificate: fingerprint,
        subject: subject.to_owned(),
        issuer: String::new(),
        serial: String::new(),
        names: vec![AlternativeName::Email("dns:a@b".to_owned()), AlternativeName::Dns(dns.to_owned())],
        not_before: Date(0),
        not_after: Date(0),
    };
    Identity::Tls { address: address(), certificate: Arc::new(certificate) }
}

fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 4711).into()
}

#[test]
fn the_owners_are_admins_on_their_own_socket_whatever_a_rule_says() {
    let access = access(vec![rule("uid:0", Role::Observer, &["x"], &[]), rule("uid:7", Role::Observer, &[], &[])]);
    for uid in [0, 7] {
        let identity = Identity::unix(uid, 5);
        assert_eq!(access.judge(&identity, Base::Owners, None), Ok(Grants::everywhere(Role::Admin)));
        // On a socket for others they are as everybody else.
        let elsewhere = access.judge(&identity, Base::Everybody(Role::Operator), None).unwrap();
        assert_eq!(elsewhere.most(), Role::Observer);
    }
}

#[test]
fn without_a_rule_the_place_where_one_came_in_decides() {
    let access = access(Vec::new());
    let identity = Identity::unix(1000, 1000);
    let told = access.judge(&identity, Base::Owners, None).unwrap_err();
    assert_eq!(told.message, "user 1000 may not connect here; only root and user 7 may");
    assert!(told.hint.contains("\"uid:1000\""), "{}", told.hint);
    for role in [Role::Observer, Role::Operator, Role::Admin] {
        assert_eq!(access.judge(&identity, Base::Everybody(role), None), Ok(Grants::everywhere(role)));
    }
    let stranger = tls(9, "CN=eve", "eve.example.org");
    let told = access.judge(&stranger, Base::Registry, None).unwrap_err();
    assert!(
        told.message.contains("sha256:0909") && told.hint.contains("client add NAME --role operator --key sha256:0909"),
        "{told:?}"
    );
    let known = Known { name: "eve", role: Role::Operator };
    assert_eq!(access.judge(&stranger, Base::Registry, Some(known)), Ok(Grants::everywhere(Role::Operator)));
}

#[test]
fn where_a_rule_names_somebody_the_rules_alone_decide() {
    let access = access(vec![
        rule("uid:1000", Role::Observer, &[], &[]),
        rule("uid:1000", Role::Operator, &["web-*"], &[]),
        rule("uid:1000", Role::Admin, &["web-*"], &["lab"]),
        rule("client:ev*", Role::Operator, &[], &["lab"]),
    ]);
    let grants = access.judge(&Identity::unix(1000, 0), Base::Everybody(Role::Admin), None).unwrap();
    assert_eq!((grants.host(), grants.most()), (Role::Observer, Role::Admin));
    assert!(grants.sees_all() && !grants.is_even());
    assert_eq!(grants.over("db", &labels(&["lab"])), Some(Role::Observer));
    assert_eq!(grants.over("web-1", &[]), Some(Role::Operator));
    assert_eq!(grants.over("web-1", &labels(&["prod", "lab"])), Some(Role::Admin));

    let known = Known { name: "eve", role: Role::Admin };
    let grants = access.judge(&tls(9, "", ""), Base::Registry, Some(known)).unwrap();
    assert_eq!((grants.host(), grants.most(), grants.sees_all()), (Role::Observer, Role::Operator, false));
    assert_eq!((grants.over("web-1", &[]), grants.over("x", &labels(&["lab"]))), (None, Some(Role::Operator)));
    assert!(!grants.sees("web-1", &labels(&["la", "labs"])));
}

#[test]
fn a_rule_names_whom_it_says_and_nobody_else() {
    let eve = tls(9, "CN=eve,O=lab", "Eve.Example.org");
    let key = format!("key:sha256:{}", "09".repeat(32));
    let other = format!("key:sha256:{}", "08".repeat(32));
    let known = Some(Known { name: "eve", role: Role::Observer });
    let tcp = Identity::Tcp { address: address() };
    for (who, identity, is) in [
        ("uid:1000", Identity::unix(1000, 0), true),
        ("uid:1000", Identity::unix(100, 1000), false),
        ("user:alice", Identity::unix(1000, 0), true),
        ("gid:100", Identity::unix(5, 100), true),
        ("gid:100", Identity::unix(100, 5), false),
        ("group:users", Identity::unix(5, 100), true),
        ("group:vmwire", Identity::unix(5, 70), true),
        ("group:vmwire", Identity::unix(1001, 1001), true),
        ("group:vmwire", Identity::unix(1002, 1002), false),
        ("client:e*", eve.clone(), true),
        ("client:eve2", eve.clone(), false),
        (&key, eve.clone(), true),
        (&other, eve.clone(), false),
        ("subject:CN=*,O=lab", eve.clone(), true),
        ("subject:CN=eve", eve.clone(), false),
        ("dns:*.EXAMPLE.org", eve.clone(), true),
        ("dns:*@b", eve.clone(), false),
        ("dns:*", tcp.clone(), false),
        ("client:*", tcp.clone(), false),
        ("subject:*", Identity::unix(0, 0), false),
        ("uid:1000", eve.clone(), false),
    ] {
        assert_eq!(Who::parse(who, &users()).unwrap().is(&identity, known), is, "{who} {identity:?}");
    }
    assert!(!Who::parse("client:*", &users()).unwrap().is(&eve, None), "whom the registry does not know has no name");
}

#[test]
fn a_rule_that_names_nobody_says_why() {
    for (who, why) in [
        ("", "names nobody"),
        ("alice", "write uid:, user:"),
        ("uid:", "something has to stand behind the colon"),
        ("uid:-1", "\"-1\" is no number of a user"),
        ("uid:+1", "no number"),
        ("gid:x", "\"x\" is no number of a group"),
        ("user:carol", "there is no user \"carol\" in /etc/passwd"),
        ("group:vm", "there is no group \"vm\" in /etc/group"),
        ("key:sha256:12", "is no fingerprint"),
        ("address:10.0.0.1", "names nobody"),
    ] {
        let told = Who::parse(who, &users()).unwrap_err();
        assert!(told.contains(why), "{who}: {told}");
    }
    let long = format!("subject:{}", "x".repeat(129));
    assert_eq!(Who::parse(&long, &users()).unwrap_err(), "a pattern has at most 128 bytes");
}

#[test]
fn an_identity_is_told_by_the_name_that_the_registry_knows() {
    let eve = tls(9, "CN=eve", "");
    assert_eq!(eve.text(Some(Known { name: "eve", role: Role::Admin })), "client eve");
    assert!(eve.text(None).starts_with("sha256:0909") && eve.text(None).ends_with("09 CN=eve"));
    assert_eq!(Identity::unix(1000, 5).text(None), "uid 1000");
    assert_eq!(Identity::Tcp { address: address() }.text(None), "tcp 127.0.0.1:4711");
}

/// Whether a pattern fits, by the definition.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => fits(rest, text),
        (Some((b'*', rest)), Some((_, tail))) => fits(rest, text) || fits(pattern, tail),
        (Some((p, rest)), Some((t, tail))) => (*p == b'?' || p == t) && fits(rest, tail),
        _ => false,
    }
}

/// A rule before it was compiled: whom, role, names, labels.
type Plain = (u32, Role, Vec<String>, Vec<String>);

fn plain() -> impl Strategy<Value = Plain> {
    let role = prop_oneof![Just(Role::Observer), Just(Role::Operator), Just(Role::Admin)];
    let names = proptest::collection::vec("[ab*?]{0,3}", 0..3);
    let labels = proptest::collection::vec("[xyz]", 0..3);
    (0..3_u32, role, names, labels)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_rules_grant_is_what_the_obvious_reading_of_them_grants(
        rules in proptest::collection::vec(plain(), 0..5),
        uid in 0..3_u32,
        vms in proptest::collection::vec(("[ab]{1,3}", proptest::collection::vec("[xyz]", 0..3)), 1..8),
    ) {
        let compiled = rules.iter().map(|(who, role, names, labels)| Rule {
            who: Who::User(*who),
            role: *role,
            scope: Scope::new(names.iter().map(|name| pattern(name).unwrap()).collect(), labels.clone()).map(Arc::new),
        });
        let access = access(compiled.collect());
        let judged = access.judge(&Identity::unix(uid, 0), Base::Registry, None);
        let mine: Vec<&Plain> = rules.iter().filter(|(who, ..)| *who == uid).collect();
        prop_assert_eq!(judged.is_ok(), !mine.is_empty());
        let Ok(grants) = judged else { return Ok(()) };
        for (name, labels) in &vms {
            let holds = |(_, _, names, of): &&&Plain| {
                (names.is_empty() || names.iter().any(|pattern| fits(pattern.as_bytes(), name.as_bytes())))
                    && (of.is_empty() || of.iter().any(|label| labels.contains(label)))
            };
            let over = mine.iter().filter(holds).map(|(_, role, ..)| *role).max();
            prop_assert_eq!(grants.over(name, labels), over, "{} {:?}", name, labels);
            prop_assert_eq!(grants.sees(name, labels), over.is_some());
            prop_assert!(over <= Some(grants.most()));
            prop_assert!(!grants.is_even() || over == Some(grants.most()));
            prop_assert!(!grants.sees_all() || over.is_some());
        }
        let unscoped = mine.iter().filter(|(_, _, names, labels)| names.is_empty() && labels.is_empty());
        let host = unscoped.map(|(_, role, ..)| *role).max();
        prop_assert_eq!(grants.host(), host.unwrap_or(Role::Observer));
        prop_assert_eq!(Some(grants.most()), mine.iter().map(|(_, role, ..)| *role).max());
    }
}
