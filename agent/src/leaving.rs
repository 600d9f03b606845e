//! Children of ours that have to end. Who hangs in the kernel ends only when it does not any more: it is left behind, and taken note of
//! then, so that nothing is left of it.

use crate::error::CommandError;
use crate::process::Process;

/// With so many left behind nothing more is begun that may hang likewise.
const CHILDREN_MAX: usize = 64;

/// Those whose end the system has not told us yet.
#[derive(Debug, Default)]
pub struct Leaving {
    children: Vec<Process>,
}

impl Leaving {
    /// Before something is begun that may hang.
    ///
    /// # Errors
    /// Too much hangs already.
    pub fn demand_room(&self) -> Result<(), CommandError> {
        if self.children.len() < CHILDREN_MAX {
            return Ok(());
        }
        Err(CommandError::generic(
            "too many children of the agent hang in the kernel; see which file system or disk hangs",
        ))
    }

    /// One that ends by itself.
    pub fn add(&mut self, child: Process) {
        self.children.push(child);
        self.tidy();
    }

    /// Ends one.
    pub fn kill(&mut self, child: Process) {
        child.kill();
        self.add(child);
    }

    /// Ends one that has a group of its own, and all of that.
    pub fn kill_group(&mut self, child: Process) {
        child.kill_group();
        self.add(child);
    }

    /// Takes note of who has ended.
    pub fn tidy(&mut self) {
        self.children.retain(|child| child.try_wait().is_ok_and(|status| status.is_none()));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn nothing_more_that_may_hang_is_begun_when_much_does() {
        let mut leaving = Leaving::default();
        for _ in 0..CHILDREN_MAX {
            leaving.demand_room().unwrap();
            leaving.add(Process::from(&Command::new("sleep").arg("1000").spawn().unwrap()));
        }
        assert!(leaving.demand_room().unwrap_err().text().starts_with("too many children"));
        for child in std::mem::take(&mut leaving.children) {
            leaving.kill(child);
        }
        let begin = std::time::Instant::now();
        while !leaving.children.is_empty() {
            assert!(begin.elapsed().as_secs() < 30, "{} are left", leaving.children.len());
            leaving.tidy();
        }
    }
}
