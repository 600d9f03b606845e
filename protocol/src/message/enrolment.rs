//! The clients that the daemon knows by their keys: listing, inviting, adding and removing them, and how one that was invited
//! gets its certificate. What a token's text looks like is told by [`token`](crate::token).

use super::named::named_numbers;
use crate::wire_struct;
use crate::xdr::{Fixed, List, Opaque, Secret, Text};

named_numbers! {
    /// How far the daemon knows a client.
    client_state {
        /// It was given a token and has no certificate yet.
        INVITED = 1 => "invited",
        /// Its certificate was made for a token.
        ENROLLED = 2 => "enrolled",
        /// Its key was told by hand.
        ADDED = 3 => "added",
    }
}

named_numbers! {
    /// What happened to a client.
    client_change {
        /// It was invited.
        INVITED = 1 => "invited",
        /// It got its certificate.
        ENROLLED = 2 => "enrolled",
        /// Its key was told by hand.
        ADDED = 3 => "added",
        /// It has another role.
        ROLE = 4 => "role",
        /// It is known no more, or its invitation is void.
        REMOVED = 5 => "removed",
    }
}

wire_struct! {
    /// A client, or one that was invited.
    pub struct ClientInfo {
        /// Its name, of which there is one.
        pub name: Text<64>,
        /// One of `role`.
        pub role: u32,
        /// One of [`client_state`].
        pub state: u32,
        /// The SHA-256 of its public key; zeros while it is invited.
        pub key: Fixed<32>,
        /// The serial number of its certificate, in hexadecimal; empty when that is not known.
        pub serial: Text<64>,
        /// When its certificate expires, in seconds since 1970-01-01 UTC; 0 when that is not known.
        pub not_after_s: u64,
        /// Since when it is in this state, in nanoseconds since 1970-01-01 UTC.
        pub since_ns: u64,
        /// When its invitation expires, in nanoseconds since 1970-01-01 UTC; 0 if it has none.
        pub expires_ns: u64,
    }
}

wire_struct! {
    /// Clients, ordered by name.
    pub struct ClientListAnswer {
        /// The rows.
        pub rows: List<ClientInfo, 4096>,
        /// Where the list goes on; empty at its end.
        pub next: Text<128>,
    }
}

wire_struct! {
    /// Invite a client: make a token that buys one certificate.
    pub struct ClientInviteCall {
        /// What it will be called.
        pub name: Text<64>,
        /// What it will be, of `role`.
        pub role: u32,
        /// Where it reaches the daemon, as in `host:port`; empty for what the daemon takes for its address.
        pub address: Text<256>,
    }
}

wire_struct! {
    /// The invitation. The daemon keeps no token, so that it can be told once only.
    pub struct ClientInviteAnswer {
        /// The token.
        pub token: Secret<Text<512>>,
        /// When it expires, in nanoseconds since 1970-01-01 UTC.
        pub expires_ns: u64,
        /// The address in the token.
        pub address: Text<256>,
    }
}

wire_struct! {
    /// Make a client known whose certificate another authority made.
    pub struct ClientAddCall {
        /// What it will be called.
        pub name: Text<64>,
        /// What it will be, of `role`.
        pub role: u32,
        /// The SHA-256 of its public key.
        pub key: Fixed<32>,
    }
}

wire_struct! {
    /// Give a client another role.
    pub struct ClientSetRoleCall {
        /// Its name.
        pub name: Text<64>,
        /// One of `role`.
        pub role: u32,
    }
}

wire_struct! {
    /// Name a client.
    pub struct ClientCall {
        /// Its name.
        pub name: Text<64>,
    }
}

wire_struct! {
    /// Spend a token.
    pub struct EnrollCall {
        /// The secret in the token.
        pub secret: Secret<Fixed<16>>,
        /// The name that the client was invited by; empty if it does not care.
        pub name: Text<64>,
        /// A request for a certificate: PKCS #10 in DER.
        pub request: Opaque<4096>,
    }
}

wire_struct! {
    /// What a token bought.
    pub struct EnrollAnswer {
        /// What the client is called from now on.
        pub name: Text<64>,
        /// What it is, of `role`.
        pub role: u32,
        /// Its certificate and those between it and the root, in DER.
        pub chain: List<Opaque<16384>, 8>,
        /// The root, in DER.
        pub ca: Opaque<16384>,
    }
}
