//! Clients that are known by their keys: invited, enrolled, changed, listed; and the certificates of the daemon itself.

use super::*;

/// Makes a "certificate" for any request; its key is the request's first byte.
#[derive(Debug)]
struct Mint;

impl crate::enrolment::Signer for Mint {
    fn sign(&self, name: &str, request: &[u8], _now: u64) -> Result<crate::enrolment::Signed, String> {
        let first = request.first().ok_or("it is empty")?;
        Ok(crate::enrolment::Signed {
            key: [*first; 32],
            serial: "0a".to_owned(),
            not_after_s: 9,
            chain: vec![name.as_bytes().to_vec()],
            ca: b"root".to_vec(),
            line: format!("{name} {first}"),
        })
    }

    fn key(&self, request: &[u8]) -> Result<[u8; 32], String> {
        Ok([*request.first().ok_or("it is empty")?; 32])
    }
}

impl World {
    fn with_authority() -> Self {
        let mut world = Self::new();
        let (host, index) = ("vm1".to_owned(), "/issued".into());
        let authority = crate::enrolment::Authority { host, port: 16515, index, ca: [4; 32], signer: Box::new(Mint) };
        world.dispatch.set_authority(Some(authority));
        world
    }

    /// Asks something that the end of a turn answers.
    pub(super) fn ask_to_change(&mut self, visitor: &mut Visitor, data: &ClientData) -> Result<ServerData, Failure> {
        let serial = visitor.session.call(data, 0).unwrap();
        self.exchange(visitor);
        self.exchange(visitor);
        let at = visitor.answers.iter().position(|(answered, _)| *answered == serial).expect("an answer");
        visitor.answers.remove(at).1
    }

    fn spend(&mut self, secret: [u8; 16], key: u8, from: &str) -> Result<EnrollAnswer, Failure> {
        let call = EnrollCall {
            secret: vmwire_protocol::xdr::Secret::new(Fixed(secret)),
            name: Text::default(),
            request: vec![key].try_into().unwrap(),
        };
        let id = self.turn(|dispatch, turn| {
            let id = dispatch.enroll(turn, from.parse().unwrap(), &call);
            dispatch.collect(turn);
            id
        });
        if self.host.noting.is_some() {
            assert!(self.dispatch.poll_enrolled().is_none(), "the line is on the disk before anybody is answered");
            self.noted(FileAnswer::Done);
        }
        let (answered, outcome) = self.dispatch.poll_enrolled().expect("an answer");
        assert_eq!(answered, id);
        outcome
    }
}

impl World {
    /// The line that was to be added is, or could not be.
    fn noted(&mut self, answer: FileAnswer) {
        let ticket = self.host.noting.take().unwrap();
        self.turn(|dispatch, turn| {
            dispatch.handle_file(turn, ticket, answer);
            dispatch.collect(turn);
        });
    }
}

fn invite(name: &str, address: &str) -> ClientData {
    ClientData::ClientInvite(ClientInviteCall { name: Text::clipped(name), role: 2, address: Text::clipped(address) })
}

pub(super) fn newest(visitor: &mut World, admin: &mut Visitor) -> Result<ServerData, Failure> {
    let hello = HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
    visitor.ask_to_change(admin, &ClientData::Hello(hello))
}

#[test]
fn an_invitation_becomes_a_certificate_once() {
    let mut world = World::with_authority();
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    let subscribe = SubscribeCall { after: None, vm: Text::default(), kinds: List::clipped([9]) };
    world.ask_to_change(&mut admin, &ClientData::Subscribe(subscribe)).unwrap();
    let Ok(ServerData::ClientInvite(answer)) = world.ask_to_change(&mut admin, &invite("alice", "")) else { panic!() };
    let token = vmwire_protocol::token::Token::parse(answer.token.reveal()).unwrap();
    assert_eq!((token.address.as_str(), token.ca), ("vm1:16515", Fixed([4; 32])));
    assert_eq!(answer.expires_ns, world.now.utc_ns + 3_600_000_000_000);
    let secret = token.secret.reveal().0;

    assert_eq!(world.spend([9; 16], 7, "10.0.0.1").unwrap_err().code, code::DENIED);
    let bought = world.spend(secret, 7, "10.0.0.1").unwrap();
    assert_eq!((bought.name.as_str(), bought.role, bought.ca.as_slice()), ("alice", 2, &b"root"[..]));
    assert!(!world.dispatch.take_registry_changed(), "in the turn of a change everybody is judged again");
    assert_eq!(world.dispatch.registry().client_of(&[7; 32]).unwrap().1.role, 2);
    assert_eq!(world.spend(secret, 8, "10.0.0.1").unwrap_err().message, "this token was spent already");
    assert_eq!(world.spend(secret, 7, "10.0.0.1").unwrap().chain, bought.chain, "the answer may have been lost");
    assert_eq!(world.host.noted, ["/issued alice 7"], "a certificate is signed and noted once");

    world.exchange(&mut admin);
    let changes: Vec<u32> = admin
        .events
        .iter()
        .map(|event| vmwire_protocol::xdr::decode::<EventClientChanged>(&event.detail).unwrap().change)
        .collect();
    assert_eq!(changes, [client_change::INVITED, client_change::ENROLLED]);
}

#[test]
fn a_certificate_that_the_authority_cannot_note_down_is_given_to_nobody() {
    let mut world = World::with_authority();
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    let Ok(ServerData::ClientInvite(answer)) = world.ask_to_change(&mut admin, &invite("alice", "")) else { panic!() };
    let token = vmwire_protocol::token::Token::parse(answer.token.reveal()).unwrap();
    let secret = token.secret.reveal().0;
    let request = vec![7].try_into().unwrap();
    let call = EnrollCall { secret: token.secret, name: Text::default(), request };
    world.turn(|dispatch, turn| {
        dispatch.enroll(turn, "10.0.0.1".parse().unwrap(), &call);
        dispatch.collect(turn);
    });
    world.noted(FileAnswer::Failed("no space left on device".to_owned()));
    let refused = world.dispatch.poll_enrolled().unwrap().1.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (code::DRIVER, "the certificate could not be noted down"));
    assert!(world.dispatch.registry().client_of(&[7; 32]).is_none());
    // The token is good still, for another key as well.
    world.spend(secret, 8, "10.0.0.1").unwrap();
}

#[test]
fn an_address_that_tries_token_after_token_has_to_wait() {
    let mut world = World::with_authority();
    for _ in 0..5 {
        assert_eq!(world.spend([9; 16], 7, "10.0.0.1").unwrap_err().code, code::DENIED);
    }
    let refused = world.spend([9; 16], 7, "10.0.0.1").unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (code::OVERLOADED, 60_000));
    assert_eq!(world.spend([9; 16], 7, "10.0.0.2").unwrap_err().code, code::DENIED);
}

#[test]
fn clients_are_added_changed_listed_and_removed() {
    let mut world = World::new();
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    let add = |name: &str, role, key| {
        ClientData::ClientAdd(ClientAddCall { name: Text::clipped(name), role, key: Fixed([key; 32]) })
    };
    let Ok(ServerData::ClientAdd(bob)) = world.ask_to_change(&mut admin, &add("bob", 1, 7)) else { panic!() };
    assert_eq!((bob.name.as_str(), bob.state, bob.key), ("bob", client_state::ADDED, Fixed([7; 32])));
    world.ask_to_change(&mut admin, &add("alice", 3, 8)).unwrap();
    let refused = world.ask_to_change(&mut admin, &add("carol", 3, 8)).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (code::EXISTS, "that key is known as alice"));
    for (wrong, field) in [(add("carol", 4, 9), "role"), (add("../carol", 3, 9), "name"), (add("carol", 3, 0), "key")] {
        let refused = world.ask_to_change(&mut admin, &wrong).unwrap_err();
        assert_eq!((refused.code, refused.details[0].value.as_str()), (code::INVALID, field));
    }
    let role = ClientData::ClientSetRole(ClientSetRoleCall { name: Text::clipped("bob"), role: 2 });
    world.ask_to_change(&mut admin, &role).unwrap();
    let list = ClientData::ClientList(ListCall { after: Text::default(), rows_max: 0 });
    let Ok(ServerData::ClientList(answer)) = world.ask_to_change(&mut admin, &list) else { panic!() };
    let rows: Vec<(&str, u32)> = answer.rows.iter().map(|row| (row.name.as_str(), row.role)).collect();
    assert_eq!(rows, [("alice", 3), ("bob", 2)]);
    let remove = ClientData::ClientRemove(ClientCall { name: Text::clipped("bob") });
    world.ask_to_change(&mut admin, &remove).unwrap();
    assert_eq!(world.ask_to_change(&mut admin, &remove).unwrap_err().code, code::NOT_FOUND);
    assert_eq!(world.dispatch.registry().len(), 1);
}

#[test]
fn invitations_need_an_authority_and_an_address_that_can_be_one() {
    let mut world = World::new();
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    let refused = world.ask_to_change(&mut admin, &invite("alice", "")).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (code::INVALID, "this daemon cannot make certificates"));
    let mut world = World::with_authority();
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    for wrong in ["vm1:", ":16515", "vm1:0", "vm1:70000", "vm 1:1", "::1:16515", "[vm1]:1", "vm1:+5"] {
        let refused = world.ask_to_change(&mut admin, &invite("alice", wrong)).unwrap_err();
        assert_eq!((refused.code, refused.details[0].value.as_str()), (code::INVALID, "address"), "{wrong}");
        assert_eq!(refused.causes.len(), 1, "{wrong}");
    }
    for (right, address) in [
        ("", "vm1:16515"),
        ("vm1.example.org", "vm1.example.org:16515"),
        ("fd00::7", "[fd00::7]:16515"),
        ("10.0.0.7:1", "10.0.0.7:1"),
        ("[::1]:65535", "[::1]:65535"),
    ] {
        let Ok(ServerData::ClientInvite(answer)) = world.ask_to_change(&mut admin, &invite("alice", right)) else {
            panic!("{right}")
        };
        let token = vmwire_protocol::token::Token::parse(answer.token.reveal()).unwrap();
        assert_eq!((token.address.as_str(), answer.address.as_str()), (address, address));
    }
    assert_eq!(world.dispatch.registry().len(), 1, "each invitation takes the place of the one before");
}

#[test]
fn a_token_is_not_spent_on_a_connection_of_another_kind() {
    let mut world = World::with_authority();
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    let call = EnrollCall {
        secret: vmwire_protocol::xdr::Secret::new(Fixed([1; 16])),
        name: Text::default(),
        request: vec![1].try_into().unwrap(),
    };
    assert_eq!(world.ask_to_change(&mut admin, &ClientData::Enroll(call)).unwrap_err().code, code::DENIED);
}

#[test]
fn certificates_are_told_as_they_were_last_read() {
    let mut world = World::new();
    let mut admin = world.visitor();
    newest(&mut world, &mut admin).unwrap();
    world.dispatch.set_certificates(vec![CertificateFacts {
        purpose: "crl",
        subject: "CN=root".to_owned(),
        not_before_s: 1,
        not_after_s: 2,
        fingerprint: None,
        problem: "the next is overdue".to_owned(),
    }]);
    let Ok(ServerData::HostCertificates(answer)) = world.ask_to_change(&mut admin, &ClientData::HostCertificates)
    else {
        panic!()
    };
    assert_eq!(answer.rows.len(), 1);
    assert_eq!((answer.rows[0].subject.as_str(), answer.rows[0].fingerprint), ("CN=root", Fixed::default()));
}
