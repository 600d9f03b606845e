//! What a server says to packets that it does not take.

use crate::header::{self, HeaderError, MAGIC, Stranger};
use crate::limits::CALLS_IN_FLIGHT_MAX;
use crate::message::{Failure, Over, Procedure, code, role};
use crate::version::MAJOR;

pub(super) fn malformed(why: &str) -> Failure {
    Failure::new(code::MALFORMED, "the body could not be decoded").cause(why)
}

pub(super) fn unknown(number: u32) -> Failure {
    Failure::new(code::UNKNOWN_PROCEDURE, &format!("there is no procedure {number:#x}"))
        .detail("procedure", &number.to_string())
        .hint("the daemon may be older than the client")
}

pub(super) fn unsupported(procedure: &Procedure) -> Failure {
    let minor = procedure.minor;
    Failure::new(code::UNSUPPORTED, &format!("{} came with version {MAJOR}.{minor}", procedure.name))
        .detail("minor", &minor.to_string())
        .hint("agree on a newer minor in HELLO, or do without")
}

pub(super) fn denied(procedure: &Procedure, role: u32) -> Failure {
    let (has, needed) = (role_name(role), role_name(procedure.right.role));
    let name = procedure.name;
    let message = match procedure.right.over {
        Over::Host => format!("{name} needs the role {needed} over the host; yours is {has}"),
        Over::Vms => format!("{name} needs the role {needed}; yours is {has}"),
    };
    Failure::new(code::DENIED, &message).detail("role", has).detail("needed", needed).hint(ASK_AN_ADMIN)
}

/// The hint of whoever is denied something for want of a role or a right.
pub const ASK_AN_ADMIN: &str = "an admin of the host says who may do what: with vmwire client role, or with a [[rule]] in the daemon's configuration";

fn role_name(role: u32) -> &'static str {
    role::name(role).unwrap_or("none")
}

pub(super) fn too_many_calls() -> Failure {
    Failure::new(code::OVERLOADED, "too many calls of this connection wait for their answers")
        .detail("limit", &CALLS_IN_FLIGHT_MAX.to_string())
        .hint("wait for an answer first")
}

pub(super) fn version_mismatch(asked: Option<u32>) -> Failure {
    let message = match asked {
        Some(asked) => format!("major {asked} is not spoken here"),
        None => "no version is agreed: the major asked for is not spoken here".to_owned(),
    };
    Failure::new(code::VERSION_MISMATCH, &message).detail("majors", &MAJOR.to_string())
}

pub(super) fn header_failure(error: HeaderError) -> Failure {
    match error {
        HeaderError::Magic { header } => {
            let failure = match Stranger::recognise(header) {
                Some(stranger) => Failure::new(code::BAD_MAGIC, &format!("this is vmwire; that looks like {stranger}"))
                    .detail("looks_like", &stranger.to_string()),
                None => Failure::new(code::BAD_MAGIC, "the bytes are not of this protocol"),
            };
            failure.detail("expected", &hex(&MAGIC)).detail("received", &hex(&header))
        }
        HeaderError::Length { length, bytes_max } => {
            let failure = Failure::new(code::BAD_LENGTH, &format!("a payload of {length} bytes may not come"))
                .detail("limit", &bytes_max.to_string())
                .detail("received", &length.to_string());
            if header::is_length(length.swap_bytes(), bytes_max) {
                failure.detail("looks_like", "a little-endian length")
            } else {
                failure
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
