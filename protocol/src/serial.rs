//! Serials: one sequence per side and direction, from 1, one more a packet, skipping 0 at the wrap.

use std::fmt;

/// The serial of the next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serials {
    next: u32,
}

/// A packet that bore another serial than the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialError {
    /// The serial that had to come.
    pub expected: u32,
    /// The serial that came.
    pub received: u32,
}

impl Serials {
    /// A new sequence.
    pub fn new() -> Self {
        Self { next: 1 }
    }

    /// A sequence that goes on at `next`; 0 is no serial and means 1.
    pub fn starting_at(next: u32) -> Self {
        Self { next: next.max(1) }
    }

    /// Takes the next serial.
    pub fn take(&mut self) -> u32 {
        let serial = self.next;
        self.next = serial.checked_add(1).unwrap_or(1);
        serial
    }

    /// Checks that `received` is the next serial, and takes it.
    ///
    /// # Errors
    /// When it is another.
    pub fn check(&mut self, received: u32) -> Result<(), SerialError> {
        if received == self.next {
            self.take();
            Ok(())
        } else {
            Err(SerialError { expected: self.next, received })
        }
    }
}

impl Default for Serials {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {} came where {} was due", self.received, self.expected)
    }
}

impl std::error::Error for SerialError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_one_and_skips_zero_at_the_wrap() {
        let mut serials = Serials::new();
        assert_eq!((serials.take(), serials.take()), (1, 2));
        let mut serials = Serials::starting_at(u32::MAX);
        assert_eq!((serials.take(), serials.take()), (u32::MAX, 1));
    }

    #[test]
    fn takes_the_next_one_and_no_other() {
        let mut serials = Serials::new();
        assert_eq!(serials.check(1), Ok(()));
        for received in [1, 3, 0] {
            assert_eq!(serials.check(received), Err(SerialError { expected: 2, received }));
        }
        assert_eq!(serials.check(2), Ok(()));
    }
}
