//! What each change makes of a registry.

use super::*;

const HOUR: u64 = INVITATION_NS;

/// Makes a "certificate" of whatever the request says; refuses the empty one.
#[derive(Debug)]
struct Mint;

impl Signer for Mint {
    fn sign(&self, name: &str, request: &[u8], _now_utc_ns: u64) -> Result<Signed, String> {
        let [first, ..] = request else { return Err("it is empty".to_owned()) };
        let chain = vec![name.as_bytes().to_vec()];
        let line = format!("{name} {first}");
        Ok(Signed { key: [*first; 32], serial: "0a".to_owned(), not_after_s: 9, chain, ca: vec![1], line })
    }

    fn key(&self, request: &[u8]) -> Result<[u8; 32], String> {
        request.first().map(|first| [*first; 32]).ok_or_else(|| "it is empty".to_owned())
    }
}

fn name(text: &str) -> VmName {
    text.parse().unwrap()
}

fn secret(number: u8) -> Secret {
    Secret([number; 16])
}

fn invite(text: &str, number: u8) -> Change {
    Change::Invite { name: name(text), role: 2, secret: secret(number) }
}

fn enroll(number: u8, wanted: &str, key: u8) -> Change {
    Change::Enroll { secret: secret(number), name: wanted.to_owned(), request: vec![key] }
}

fn add(text: &str, key: u8) -> Change {
    Change::Add { name: name(text), role: 1, key: [key; 32] }
}

fn make(registry: &mut Registry, change: &Change, now: u64) -> Result<Done, Refused> {
    let (new, done) = change.apply(registry, Some(&Mint), now)?;
    *registry = new;
    Ok(done)
}

#[test]
fn a_token_buys_one_certificate_of_its_name_and_role() {
    let mut registry = Registry::default();
    make(&mut registry, &invite("alice", 1), 10).unwrap();
    assert_eq!(registry.invitation("alice", 10).unwrap().expires_ns, 10 + HOUR);
    assert_eq!(make(&mut registry, &enroll(2, "", 7), 11), Err(Refused::UnknownSecret));
    assert_eq!(make(&mut registry, &enroll(1, "bob", 7), 11), Err(Refused::OtherName(name("alice"))));
    let done = make(&mut registry, &enroll(1, "alice", 7), 11).unwrap();
    assert_eq!((done.name.as_str(), done.role), ("alice", 2));
    let certificate = done.certificate.unwrap();
    assert_eq!((certificate.chain, certificate.line.as_str()), (vec![b"alice".to_vec()], "alice 7"));
    let (known, client) = registry.client_of(&[7; 32]).unwrap();
    assert_eq!((known.as_str(), client.role, client.origin), ("alice", 2, Origin::Enrolled));
    assert_eq!(make(&mut registry, &enroll(1, "alice", 8), 12), Err(Refused::Spent));
    assert_eq!(registry.len(), 1);
}

#[test]
fn the_same_key_gets_the_same_certificate_again_within_the_hour_and_while_it_is_known() {
    let mut registry = Registry::default();
    make(&mut registry, &invite("alice", 1), 10).unwrap();
    let first = make(&mut registry, &enroll(1, "", 7), 11).unwrap();
    make(&mut registry, &Change::SetRole { name: name("alice"), role: 1 }, 12).unwrap();
    let mut kept = Registry::from_text(registry.to_text().as_bytes()).unwrap();
    for registry in [&mut registry, &mut kept] {
        let before = registry.clone();
        let again = make(registry, &enroll(1, "alice", 7), HOUR + 9).unwrap();
        assert_eq!((again.name.as_str(), again.role, again.again, first.again), ("alice", 1, true, false));
        let (again, first) = (again.certificate.unwrap(), first.certificate.clone().unwrap());
        assert_eq!((again.chain, again.ca, again.line.as_str()), (first.chain, first.ca, ""));
        assert_eq!(*registry, before, "nothing has changed");
        assert_eq!(make(registry, &enroll(1, "", 8), HOUR + 9), Err(Refused::Spent), "another key");
        assert_eq!(make(registry, &enroll(1, "bob", 7), HOUR + 9), Err(Refused::OtherName(name("alice"))));
        assert_eq!(make(registry, &enroll(1, "", 7), HOUR + 10), Err(Refused::Spent), "another hour");
    }
    make(&mut registry, &Change::Remove { name: name("alice") }, 13).unwrap();
    assert_eq!(make(&mut registry, &enroll(1, "", 7), 14), Err(Refused::Spent), "who was removed");
    // Nor is it for who has that name or that key since.
    make(&mut registry, &invite("alice", 2), 15).unwrap();
    make(&mut registry, &enroll(2, "", 9), 16).unwrap();
    assert_eq!(make(&mut registry, &enroll(1, "", 7), 17), Err(Refused::Spent));
    assert!(make(&mut registry, &enroll(2, "", 9), 17).unwrap().again);
    make(&mut registry, &add("carol", 4), 2 * HOUR).unwrap();
    assert!(registry.bought.is_empty());
}

#[test]
fn a_token_whose_spending_could_not_be_kept_is_good_still() {
    let mut registry = Registry::default();
    make(&mut registry, &invite("alice", 1), 10).unwrap();
    // The write fails: what was made is dropped.
    enroll(1, "", 7).apply(&registry, Some(&Mint), 11).unwrap();
    assert!(make(&mut registry, &enroll(1, "", 8), 12).is_ok());
    assert!(registry.client_of(&[7; 32]).is_none() && registry.client_of(&[8; 32]).is_some());
}

#[test]
fn a_token_is_spent_by_nothing_but_a_certificate() {
    let mut registry = Registry::default();
    make(&mut registry, &invite("alice", 1), 10).unwrap();
    make(&mut registry, &add("bob", 5), 10).unwrap();
    let empty = Change::Enroll { secret: secret(1), name: String::new(), request: Vec::new() };
    assert_eq!(make(&mut registry, &empty, 11), Err(Refused::Request("it is empty".to_owned())));
    assert_eq!(make(&mut registry, &enroll(1, "", 5), 11), Err(Refused::KeyTaken(name("bob"))));
    assert_eq!(enroll(1, "", 6).apply(&registry, None, 11), Err(Refused::NoAuthority));
    assert!(make(&mut registry, &enroll(1, "", 6), 11).is_ok());
}

#[test]
fn who_comes_too_late_is_told_why_and_a_stranger_is_not() {
    let mut registry = Registry::default();
    make(&mut registry, &invite("alice", 1), 0).unwrap();
    make(&mut registry, &invite("bob", 2), 0).unwrap();
    make(&mut registry, &invite("carol", 3), 0).unwrap();
    make(&mut registry, &invite("carol", 4), 0).unwrap();
    make(&mut registry, &Change::Remove { name: name("bob") }, 0).unwrap();
    assert_eq!(make(&mut registry, &enroll(2, "", 7), HOUR - 1), Err(Refused::Void));
    assert_eq!(make(&mut registry, &enroll(3, "", 7), HOUR - 1), Err(Refused::Void));
    assert_eq!(make(&mut registry, &enroll(1, "", 7), HOUR), Err(Refused::Expired));
    assert!(registry.invitation("carol", HOUR).is_none());
    assert_eq!(make(&mut registry, &enroll(9, "", 7), HOUR), Err(Refused::UnknownSecret));
}

#[test]
fn names_and_keys_are_of_one_client_each() {
    let mut registry = Registry::default();
    make(&mut registry, &invite("alice", 1), 0).unwrap();
    make(&mut registry, &add("bob", 5), 0).unwrap();
    assert_eq!(make(&mut registry, &add("alice", 6), 0), Err(Refused::NameInvited(name("alice"))));
    assert_eq!(make(&mut registry, &add("bob", 6), 0), Err(Refused::NameTaken(name("bob"))));
    assert_eq!(make(&mut registry, &add("carol", 5), 0), Err(Refused::KeyTaken(name("bob"))));
    assert_eq!(make(&mut registry, &invite("bob", 2), 0), Err(Refused::NameTaken(name("bob"))));
    let role = Change::SetRole { name: name("alice"), role: 3 };
    make(&mut registry, &role, 0).unwrap();
    assert_eq!(registry.invitation("alice", 0).unwrap().role, 3, "the one it will have");
    make(&mut registry, &Change::Remove { name: name("bob") }, 0).unwrap();
    assert_eq!(make(&mut registry, &Change::Remove { name: name("bob") }, 0), Err(Refused::NoClient(name("bob"))));
    let role = Change::SetRole { name: name("bob"), role: 3 };
    assert_eq!(make(&mut registry, &role, 0), Err(Refused::NoClient(name("bob"))));
}

#[test]
fn there_are_so_many_invitations_and_clients_and_no_more() {
    let mut registry = Registry::default();
    for number in 0..64 {
        make(&mut registry, &invite(&format!("i{number}"), number), 0).unwrap();
    }
    assert_eq!(make(&mut registry, &invite("one-more", 99), 0), Err(Refused::TooManyInvitations));
    make(&mut registry, &invite("i3", 99), 0).unwrap();
    make(&mut registry, &invite("one-more", 100), HOUR).unwrap();
    assert_eq!((registry.len(), registry.past.len()), (1, PAST_MAX));
    let client =
        Client { role: 1, key: [0; 32], serial: String::new(), not_after_s: 0, since_ns: 0, origin: Origin::Added };
    for number in 0..4096_u16 {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        registry.clients.insert(name(&format!("c{number}")), Client { key, ..client.clone() });
    }
    assert_eq!(make(&mut registry, &add("one-more-client", 255), HOUR), Err(Refused::TooManyClients));
    assert_eq!(make(&mut registry, &enroll(100, "", 255), HOUR), Err(Refused::TooManyClients));
}

#[test]
fn no_secret_is_kept_or_printed() {
    let mut registry = Registry::default();
    let change = invite("alice", 0xc5);
    make(&mut registry, &change, 0).unwrap();
    let printed = format!("{change:?} {registry:?}");
    assert!(printed.contains("[secret]") && !printed.contains("197, 197"), "{printed}");
}
