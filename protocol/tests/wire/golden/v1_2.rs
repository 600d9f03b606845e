//! The bytes that 1.2 added, frozen: what is known of certificates and clients.
//!
//! **To whoever breaks this test:** read the note at the top of `v1_0.rs`; it holds here as well.

use vmwire_protocol::message::*;
use vmwire_protocol::xdr::{Fixed, Opaque, Secret};

use super::{Golden, list, text};

const FINGERPRINT: Fixed<32> = Fixed([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31,
]);

fn secret() -> Secret<Fixed<16>> {
    Secret::new(Fixed(std::array::from_fn(|at| 0x10 + u8::try_from(at).unwrap())))
}

/// What a client of 1.2 may send besides.
pub(super) fn client() -> Vec<Golden<ClientData>> {
    vec![
        Golden {
            packet: ClientData::HostCertificates,
            rows: "
                00000013 | HOST_CERTIFICATES
            ",
        },
        Golden {
            packet: ClientData::ClientList(ListCall { after: text("alice"), rows_max: 100 }),
            rows: "
                00000040 | CLIENT_LIST
                00000005 | after, bytes: 5
                616c6963 65000000 | after: 'alice'
                00000064 | rows_max: 100
            ",
        },
        Golden {
            packet: ClientData::ClientInvite(ClientInviteCall {
                name: text("alice"),
                role: 2,
                address: text("vm1.example.org:16515"),
            }),
            rows: "
                00000041 | CLIENT_INVITE
                00000005 | name, bytes: 5
                616c6963 65000000 | name: 'alice'
                00000002 | role: 2
                00000015 | address, bytes: 21
                766d312e 6578616d 706c652e 6f72673a | address: 'vm1.example.org:16515'
                31363531 35000000 | address: 'vm1.example.org:16515', on
            ",
        },
        Golden {
            packet: ClientData::ClientAdd(ClientAddCall { name: text("bob"), role: 1, key: FINGERPRINT }),
            rows: "
                00000042 | CLIENT_ADD
                00000003 | name, bytes: 3
                626f6200 | name: 'bob'
                00000001 | role: 1
                00010203 04050607 08090a0b 0c0d0e0f | key
                10111213 14151617 18191a1b 1c1d1e1f | key, on
            ",
        },
        Golden {
            packet: ClientData::ClientSetRole(ClientSetRoleCall { name: text("bob"), role: 3 }),
            rows: "
                00000043 | CLIENT_SET_ROLE
                00000003 | name, bytes: 3
                626f6200 | name: 'bob'
                00000003 | role: 3
            ",
        },
        Golden {
            packet: ClientData::ClientRemove(ClientCall { name: text("bob") }),
            rows: "
                00000044 | CLIENT_REMOVE
                00000003 | name, bytes: 3
                626f6200 | name: 'bob'
            ",
        },
        Golden {
            packet: ClientData::Enroll(EnrollCall {
                secret: secret(),
                name: text("alice"),
                request: Opaque::new([0x30, 0x82, 0x01]).unwrap(),
            }),
            rows: "
                00000045 | ENROLL
                10111213 14151617 18191a1b 1c1d1e1f | secret
                00000005 | name, bytes: 5
                616c6963 65000000 | name: 'alice'
                00000003 | request, bytes: 3
                30820100 | request
            ",
        },
        Golden {
            packet: ClientData::CaptureOpen(CaptureOpenCall { vm: text("web1"), payload: true, agents: false }),
            rows: "
                00000050 | CAPTURE_OPEN
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
                00000001 | payload: true
                00000000 | agents: false
            ",
        },
        Golden {
            packet: ClientData::AgentPing(VmCall { vm: text("web1") }),
            rows: "
                00000130 | AGENT_PING
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
    ]
}

/// What a server of 1.2 may send besides.
pub(super) fn server() -> Vec<Golden<ServerData>> {
    vec![
        Golden {
            packet: ServerData::HostCertificates(HostCertificatesAnswer {
                rows: list([CertificateInfo {
                    purpose: text("server"),
                    subject: text("CN=vm1"),
                    not_before_s: 1_767_225_600,
                    not_after_s: 1_798_761_600,
                    fingerprint: FINGERPRINT,
                    problem: text("expired"),
                }]),
            }),
            rows: "
                00000013 | HOST_CERTIFICATES
                00000001 | rows, count: 1
                00000006 | rows[0].purpose, bytes: 6
                73657276 65720000 | rows[0].purpose: 'server'
                00000006 | rows[0].subject, bytes: 6
                434e3d76 6d310000 | rows[0].subject: 'CN=vm1'
                00000000 6955b900 | rows[0].not_before_s: 1767225600
                00000000 6b36ec80 | rows[0].not_after_s: 1798761600
                00010203 04050607 08090a0b 0c0d0e0f | rows[0].fingerprint
                10111213 14151617 18191a1b 1c1d1e1f | rows[0].fingerprint, on
                00000007 | rows[0].problem, bytes: 7
                65787069 72656400 | rows[0].problem: 'expired'
            ",
        },
        Golden {
            packet: ServerData::ClientList(ClientListAnswer {
                rows: list([
                    ClientInfo {
                        name: text("alice"),
                        role: 2,
                        state: 2,
                        key: FINGERPRINT,
                        serial: text("0a1b"),
                        not_after_s: 1_798_761_600,
                        since_ns: 1_767_225_600_000_000_000,
                        expires_ns: 0,
                    },
                    ClientInfo {
                        name: text("carol"),
                        role: 1,
                        state: 1,
                        key: Fixed::default(),
                        serial: text(""),
                        not_after_s: 0,
                        since_ns: 1_767_225_600_000_000_000,
                        expires_ns: 1_767_229_200_000_000_000,
                    },
                ]),
                next: text("carol"),
            }),
            rows: "
                00000040 | CLIENT_LIST
                00000002 | rows, count: 2
                00000005 | rows[0].name, bytes: 5
                616c6963 65000000 | rows[0].name: 'alice'
                00000002 | rows[0].role: 2
                00000002 | rows[0].state: 2
                00010203 04050607 08090a0b 0c0d0e0f | rows[0].key
                10111213 14151617 18191a1b 1c1d1e1f | rows[0].key, on
                00000004 | rows[0].serial, bytes: 4
                30613162 | rows[0].serial: '0a1b'
                00000000 6b36ec80 | rows[0].not_after_s: 1798761600
                18867251 edfa0000 | rows[0].since_ns: 1767225600000000000
                00000000 00000000 | rows[0].expires_ns: 0
                00000005 | rows[1].name, bytes: 5
                6361726f 6c000000 | rows[1].name: 'carol'
                00000001 | rows[1].role: 1
                00000001 | rows[1].state: 1
                00000000 00000000 00000000 00000000 | rows[1].key
                00000000 00000000 00000000 00000000 | rows[1].key, on
                00000000 | rows[1].serial, bytes: 0
                00000000 00000000 | rows[1].not_after_s: 0
                18867251 edfa0000 | rows[1].since_ns: 1767225600000000000
                18867598 1eb2a000 | rows[1].expires_ns: 1767229200000000000
                00000005 | next, bytes: 5
                6361726f 6c000000 | next: 'carol'
            ",
        },
        Golden {
            packet: ServerData::ClientInvite(ClientInviteAnswer {
                token: Secret::new(text("vmw1-AAAA")),
                expires_ns: 1_767_229_200_000_000_000,
                address: text("vm1:16515"),
            }),
            rows: "
                00000041 | CLIENT_INVITE
                00000009 | token, bytes: 9
                766d7731 2d414141 41000000 | token: 'vmw1-AAAA'
                18867598 1eb2a000 | expires_ns: 1767229200000000000
                00000009 | address, bytes: 9
                766d313a 31363531 35000000 | address: 'vm1:16515'
            ",
        },
        Golden {
            packet: ServerData::ClientAdd(ClientInfo {
                name: text("alice"),
                role: 2,
                state: 2,
                key: FINGERPRINT,
                serial: text("0a1b"),
                not_after_s: 1_798_761_600,
                since_ns: 1_767_225_600_000_000_000,
                expires_ns: 0,
            }),
            rows: "
                00000042 | CLIENT_ADD
                00000005 | name, bytes: 5
                616c6963 65000000 | name: 'alice'
                00000002 | role: 2
                00000002 | state: 2
                00010203 04050607 08090a0b 0c0d0e0f | key
                10111213 14151617 18191a1b 1c1d1e1f | key, on
                00000004 | serial, bytes: 4
                30613162 | serial: '0a1b'
                00000000 6b36ec80 | not_after_s: 1798761600
                18867251 edfa0000 | since_ns: 1767225600000000000
                00000000 00000000 | expires_ns: 0
            ",
        },
        Golden {
            packet: ServerData::ClientSetRole(ClientInfo {
                name: text("alice"),
                role: 2,
                state: 2,
                key: FINGERPRINT,
                serial: text("0a1b"),
                not_after_s: 1_798_761_600,
                since_ns: 1_767_225_600_000_000_000,
                expires_ns: 0,
            }),
            rows: "
                00000043 | CLIENT_SET_ROLE
                00000005 | name, bytes: 5
                616c6963 65000000 | name: 'alice'
                00000002 | role: 2
                00000002 | state: 2
                00010203 04050607 08090a0b 0c0d0e0f | key
                10111213 14151617 18191a1b 1c1d1e1f | key, on
                00000004 | serial, bytes: 4
                30613162 | serial: '0a1b'
                00000000 6b36ec80 | not_after_s: 1798761600
                18867251 edfa0000 | since_ns: 1767225600000000000
                00000000 00000000 | expires_ns: 0
            ",
        },
        Golden {
            packet: ServerData::ClientRemove,
            rows: "
                00000044 | CLIENT_REMOVE
            ",
        },
        Golden {
            packet: ServerData::Enroll(EnrollAnswer {
                name: text("alice"),
                role: 2,
                chain: list([Opaque::new([0x30, 1, 2]).unwrap(), Opaque::new([0x30, 3]).unwrap()]),
                ca: Opaque::new([0x30, 4, 5, 6]).unwrap(),
            }),
            rows: "
                00000045 | ENROLL
                00000005 | name, bytes: 5
                616c6963 65000000 | name: 'alice'
                00000002 | role: 2
                00000002 | chain, count: 2
                00000003 | chain[0], bytes: 3
                30010200 | chain[0]
                00000002 | chain[1], bytes: 2
                30030000 | chain[1]
                00000004 | ca, bytes: 4
                30040506 | ca
            ",
        },
        Golden {
            packet: ServerData::CaptureOpen(CaptureOpenAnswer { stream: 3 }),
            rows: "
                00000050 | CAPTURE_OPEN
                00000003 | stream: 3
            ",
        },
        Golden {
            packet: ServerData::AgentPing,
            rows: "
                00000130 | AGENT_PING
            ",
        },
    ]
}

/// The details of the kinds of events that 1.2 added.
pub(super) fn details() -> Vec<(u32, Vec<u8>, &'static str)> {
    vec![
        (
            9,
            super::bytes(&EventClientChanged { name: text("alice"), role: 2, change: 4 }),
            "
                00000005 | name, bytes: 5
                616c6963 65000000 | name: 'alice'
                00000002 | role: 2
                00000004 | change: 4
            ",
        ),
        (
            10,
            super::bytes(&EventCertificate { purpose: text("server"), change: 3, days: 30, message: text("soon") }),
            "
                00000006 | purpose, bytes: 6
                73657276 65720000 | purpose: 'server'
                00000003 | change: 3
                0000001e | days: 30
                00000004 | message, bytes: 4
                736f6f6e | message: 'soon'
            ",
        ),
    ]
}

/// What the streams of 1.2 carry.
pub(super) fn records() -> Vec<(Vec<u8>, &'static str)> {
    vec![(
        super::bytes(&CaptureRecord {
            time_ns: 0x1_0000_0002,
            connection: 7,
            sent: true,
            peer: text("uid 0"),
            transport: text("unix"),
            position: 20,
            bytes: Opaque::new(*b"\x89VM").unwrap(),
        }),
        "
            00000001 00000002 | time_ns: 4294967298
            00000000 00000007 | connection: 7
            00000001 | sent: true
            00000005 | peer, bytes: 5
            75696420 30000000 | peer: 'uid 0'
            00000004 | transport, bytes: 4
            756e6978 | transport: 'unix'
            00000000 00000014 | position: 20
            00000003 | bytes, bytes: 3
            89564d00 | bytes
        ",
    )]
}
