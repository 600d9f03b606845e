//! The versions spoken, and the rules for changing them.
//!
//! A released body never changes: no field, arm, bound or meaning. What needs more gets a new number in a new minor and a
//! row in [`PROCEDURES`](crate::message::PROCEDURES). A request is never removed from a major. Nobody speaks newer than
//! agreed, so that an undecodable body is always MALFORMED. Frozen in every major: the header; the first three words of the
//! payload; HELLO = 1 and its first word; FAILURE = 0 and its first two fields.

/// The major spoken.
pub const MAJOR: u32 = 1;
/// The newest minor spoken. What a session speaks at most is its configuration, so that tests run real older peers.
pub const NEWEST_MINOR: u32 = 2;
