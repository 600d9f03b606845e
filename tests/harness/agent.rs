//! An ssh-agent.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::eventually;

/// An agent with a socket of its own. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    pub(crate) socket: String,
}

impl Agent {
    /// Starts one at a socket, which takes libraries of tokens from everywhere; what it calls finds these variables.
    pub(crate) fn start(socket: &Path, variables: &[(&str, &Path)]) -> Self {
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-P", "/*", "-a"]).arg(socket).envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("ssh-agent: install openssh-client");
        eventually("the agent listens", || socket.exists().then_some(()));
        Self { child, socket: socket.to_str().unwrap().to_owned() }
    }

    /// Gives it a key.
    pub(crate) fn add(&self, key: &Path) {
        let added = self.ssh_add(&[key]).output().unwrap();
        assert!(added.status.success(), "{}", said(&added));
    }

    /// The program that gives it keys.
    pub(crate) fn ssh_add(&self, arguments: &[&Path]) -> Command {
        let mut command = Command::new("ssh-add");
        command.arg("-q").args(arguments).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
    }
}
