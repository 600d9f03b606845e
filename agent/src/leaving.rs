//! Children of ours that have to end. Who hangs in the kernel ends only when it does not any more: it is left behind, and taken note of
//! then, so that nothing is left of it.

use crate::error::CommandError;
use crate::process::Process;

/// With so many left behind nothing more is begun that may hang likewise.
const CHILDREN_MAX: usize = 64;

/// What a child of ours is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It freezes. What it was given up for may come about behind our back, until it has ended.
    Freeze,
    /// It thaws.
    Thaw,
    /// It does a command.
    Command,
    /// Anything else.
    Other,
}

/// Those whose end the system has not told us yet.
#[derive(Debug, Default)]
pub struct Leaving {
    children: Vec<(Process, Purpose)>,
}

impl Leaving {
    /// Before something is begun that may hang. A thaw may be what all others wait for: it has room of its own.
    ///
    /// # Errors
    /// Too much hangs already.
    pub fn demand_room(&self, purpose: Purpose) -> Result<(), CommandError> {
        let counts = |left: Purpose| purpose != Purpose::Thaw || left == Purpose::Thaw;
        if self.children.iter().filter(|(_, left)| counts(*left)).count() < CHILDREN_MAX {
            return Ok(());
        }
        Err(CommandError::generic(
            "too many children of the agent hang in the kernel; see which file system or disk hangs",
        ))
    }

    /// Whether one that was there for this is left.
    pub fn hangs(&self, purpose: Purpose) -> bool {
        self.children.iter().any(|(_, left)| *left == purpose)
    }

    /// One that ends by itself.
    pub fn add(&mut self, child: Process, purpose: Purpose) {
        self.children.push((child, purpose));
        self.tidy();
    }

    /// Ends one.
    pub fn kill(&mut self, child: Process, purpose: Purpose) {
        child.kill();
        self.add(child, purpose);
    }

    /// Ends one that has a group of its own, and all of that.
    pub fn kill_group(&mut self, child: Process, purpose: Purpose) {
        child.kill_group();
        self.add(child, purpose);
    }

    /// Takes note of who has ended.
    pub fn tidy(&mut self) {
        self.children.retain(|(child, _)| child.try_wait().is_ok_and(|status| status.is_none()));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeping() -> Process {
        Process::from(&Command::new("sleep").arg("1000").spawn().unwrap())
    }

    #[test]
    fn nothing_more_that_may_hang_is_begun_when_much_does() {
        let mut leaving = Leaving::default();
        for _ in 0..CHILDREN_MAX {
            leaving.demand_room(Purpose::Other).unwrap();
            leaving.add(sleeping(), Purpose::Other);
        }
        assert!(leaving.demand_room(Purpose::Other).unwrap_err().text().starts_with("too many children"));
        // What hangs may hang until it is thawed; but thaws are not without end either.
        for _ in 0..CHILDREN_MAX {
            leaving.demand_room(Purpose::Thaw).unwrap();
            leaving.add(sleeping(), Purpose::Thaw);
        }
        assert!(leaving.demand_room(Purpose::Thaw).unwrap_err().text().starts_with("too many children"));
        for (child, purpose) in std::mem::take(&mut leaving.children) {
            leaving.kill(child, purpose);
        }
        let begin = std::time::Instant::now();
        while !leaving.children.is_empty() {
            assert!(begin.elapsed().as_secs() < 30, "{} are left", leaving.children.len());
            leaving.tidy();
        }
    }
}
