//! Every bound of the wire, with its reason. One home: `vmwire.x` names the bounds of single fields, here are those of
//! packets, buffers and times.

use std::time::Duration;

/// The header in front of each packet: magic and length.
pub const HEADER_BYTES: usize = 8;
/// The shortest payload: serial, deadline or reply, type.
pub const PAYLOAD_BYTES_MIN: usize = 12;
/// The longest client payload before HELLO has succeeded: enough for a definition, little enough for a stranger.
pub const CLIENT_BYTES_MAX_BEFORE_HELLO: usize = 64 * 1024;
/// The longest client payload once HELLO has succeeded; told in its answer as `packet_bytes_max`.
pub const CLIENT_BYTES_MAX: usize = 256 * 1024;
/// The longest server payload: a list of 4,096 rows fits.
pub const SERVER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls of one connection that may wait for their answers.
pub const CALLS_IN_FLIGHT_MAX: u32 = 256;
/// While more than this is unsent on a connection, no further packet of it is taken.
pub const UNSENT_BYTES_HIGH: usize = 256 * 1024;
/// Events are copied to a connection only while it has less than this unsent.
pub const EVENT_UNSENT_BYTES_MAX: usize = 64 * 1024;
/// Credit of a new stream, in bytes of data, each way.
pub const STREAM_CREDIT_INITIAL: u32 = 64 * 1024;
/// Data of one stream packet.
pub const STREAM_DATA_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a packet in one record of a capture: with its head it fits into one stream packet.
pub const CAPTURED_BYTES_MAX: usize = 16 * 1024;
/// Streams of one connection that may be open at once.
pub const STREAMS_MAX: usize = 64;
/// How long half a packet may take to become whole, while it is being read.
pub const HALF_PACKET_TIME: Duration = Duration::from_secs(30);
/// How long a peer from the network may take from its connect to its first whole packet, the handshake of TLS included.
pub const FIRST_PACKET_TIME: Duration = Duration::from_secs(10);
/// After its last packet the daemon discards what the peer still sends for at most this long.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// And at most this many bytes of it.
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Partial packets and unsent bytes of all connections together.
pub const TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest deadline of a wait.
pub const WAIT_DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest deadline of any other call.
pub const DEADLINE_MAX: Duration = Duration::from_secs(10 * 60);
