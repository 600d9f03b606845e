//! How much is done for one connection before others come first.

/// What one connection may have done for it at a time. Little enough that four hundred that come at once keep nobody
/// waiting for long, and enough for what a client asks for in one write.
const SHARE: usize = 32 * 1024;

/// What a packet costs, however little it says.
const PACKET_WORK: usize = 128;

/// What is left of a connection's share, and what was done beyond it.
///
/// Work is counted in bytes that are read, made to be sent, or compared with something by a list: of each a megabyte
/// takes about a millisecond. Who has used up its share comes again when others had theirs.
#[derive(Debug)]
pub struct Share {
    spent: usize,
}

impl Share {
    /// A share of which nothing is used up.
    pub fn whole() -> Self {
        Self { spent: 0 }
    }

    /// Counts work that was done.
    pub fn spend(&mut self, work: usize) {
        self.spent = self.spent.saturating_add(work);
    }

    /// Counts a packet that was dealt with: `work` is what is known of it, `made` the bytes of its answer.
    pub(super) fn spend_on_packet(&mut self, work: usize, made: usize) {
        self.spend(PACKET_WORK.max(work).max(made));
    }

    /// Whether others come first now.
    pub fn is_spent(&self) -> bool {
        self.spent >= SHARE
    }

    /// The work that was done.
    pub fn spent(&self) -> usize {
        self.spent
    }
}
