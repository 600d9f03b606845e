//! Packets that passed, for those who look on.

use std::ops::Range;
use std::sync::Arc;

use super::VmId;
use super::ring::Item;

/// What a packet is about, as far as captures ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The connection itself: how it begins and ends.
    Connection,
    /// A virtual machine.
    Vm(VmId),
    /// What is said to the agent of a guest, or what it says: for those who asked for that alone.
    Agent(VmId),
    /// Anything else.
    Other,
}

/// Who is at the other end of a connection, or of the lane to an agent, the same for all that passes there.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// The connection's number; lanes are counted apart.
    pub connection: u64,
    /// Who it is, in words.
    pub identity: String,
    /// How it came.
    pub transport: &'static str,
}

/// A packet that passed, or a piece of what passed on a lane.
#[derive(Debug, Clone)]
pub struct Captured {
    /// When; nanoseconds since 1970-01-01 UTC.
    pub time_ns: u64,
    /// Between whom.
    pub peer: Arc<Peer>,
    /// Whether the daemon sent it.
    pub sent: bool,
    /// What it is about.
    pub about: About,
    /// How many bytes went this way before.
    pub position: u64,
    /// Its bytes, without secrets.
    pub bytes: Vec<u8>,
    /// Where in them a stream's data stand.
    pub payload: Range<usize>,
}

impl Item for Captured {
    const COUNT_MAX: usize = 4096;
    const BYTES_MAX: usize = 8 * 1024 * 1024;

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl Captured {
    /// At most `bytes_max` of its bytes from `begin` on; with zeroes for the data of streams unless `payload` is wanted.
    pub fn piece(&self, begin: usize, bytes_max: usize, payload: bool) -> Vec<u8> {
        let end = self.bytes.len().min(begin.saturating_add(bytes_max));
        let mut piece = self.bytes.get(begin..end).unwrap_or_default().to_vec();
        let covered = self.payload.start.clamp(begin, end)..self.payload.end.clamp(begin, end);
        if !payload && let Some(data) = piece.get_mut(covered.start - begin..covered.end - begin) {
            data.fill(0);
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_a_stream_are_covered_in_every_piece_of_it() {
        let peer = Peer { connection: 1, identity: String::new(), transport: "unix" };
        let captured = Captured {
            time_ns: 0,
            peer: Arc::new(peer),
            sent: true,
            about: About::Other,
            position: 0,
            bytes: (1..=20).collect(),
            payload: 8..17,
        };
        let whole = |payload, bytes_max: usize| -> Vec<u8> {
            (0..20).step_by(bytes_max).flat_map(|begin| captured.piece(begin, bytes_max, payload)).collect()
        };
        for bytes_max in [1, 3, 7, 8, 20, 100] {
            assert_eq!(whole(true, bytes_max), captured.bytes);
            let covered: Vec<u8> = (1..=20).map(|byte| if (9..=17).contains(&byte) { 0 } else { byte }).collect();
            assert_eq!(whole(false, bytes_max), covered);
        }
    }
}
