//! The channels of the real guest, a Linux with a shell on its console: what is told of its agent's, and that both ends
//! of it hear each other.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use vmwire_daemon::driver::{Action, Driver};
use vmwire_daemon::event_loop::Now;
use vmwire_daemon::model::{AGENT_CHANNEL, Definition};

use crate::stage::{Stage, VM, has_qemu, skip};

/// A definition that boots it. Without `no_timer_check` the kernel panics where its first ticks come late, as they do on
/// a busy machine.
fn definition(test: &str) -> Option<Arc<Definition>> {
    let Some(dir) = std::env::var_os("VMWIRE_GUEST").map(PathBuf::from) else {
        skip(test, "VMWIRE_GUEST does not say where the test guest is (contrib/guest/build makes it)");
        return None;
    };
    let text = format!(
        "name = 'linux'\nmemory = '128 MiB'\nchannels = ['com.example.0', '{AGENT_CHANNEL}']\n[boot]\n\
         kernel = '{0}/vmlinux'\ninitrd = '{0}/initrd'\n\
         cmdline = 'console=ttyS0 quiet cryptomgr.notests mitigations=off nokaslr audit=0 panic=-1 no_timer_check'\n",
        dir.display()
    );
    has_qemu(test).then(|| Arc::new(Definition::parse(&text).unwrap()))
}

impl Stage {
    /// Types a line into the guest's shell, and waits for the answer and for the next prompt.
    fn asks(&mut self, line: &str, answer: &str) {
        self.console.clear();
        self.type_in(&format!("{line}\n"));
        self.until(&format!("{answer} after {line}"), |stage| {
            let said = String::from_utf8_lossy(&stage.console);
            said.contains(answer) && said.ends_with("guest# ")
        });
    }

    fn until_agent(&mut self, said: &str) {
        self.until(said, |stage| stage.agent == said.as_bytes());
        self.agent.clear();
    }

    fn asks_agent(&mut self, request: &str) {
        assert!(self.driver.agent_write(Now::read(), &mut self.host, VM, request.as_bytes()));
    }
}

#[test]
fn an_agent_is_told_of_and_heard_also_by_the_next_daemon() {
    let Some(definition) = definition("an_agent_is_told_of_and_heard_also_by_the_next_daemon") else { return };
    let mut stage = Stage::new();
    assert!(!stage.driver.agent_write(Now::read(), &mut stage.host, VM, b"x"), "there is no guest");
    stage.act(Action::Start { definition, paused: false }).unwrap();
    let pid = Pid::from_raw(i32::try_from(stage.pid()).unwrap()).unwrap();
    stage.until("the prompt", |stage| stage.console.ends_with(b"guest# "));
    assert_eq!(stage.count("agent port"), 0, "nobody opened it: {:?}", stage.told);

    stage.asks(&format!("exec 3<>/dev/virtio-ports/{AGENT_CHANNEL}"), "");
    stage.until("the agent", |stage| stage.count("agent port open=Some(true)") == 1);
    stage.asks("echo hello >&3", "");
    stage.until_agent("hello\n");
    stage.asks_agent("a request\n");
    stage.asks("read -r line <&3; echo \"<$line>\"", "<a request>");
    // What goes over the other channel is not the agent's.
    stage.asks("echo nothing >/dev/virtio-ports/com.example.0; echo everything >&3", "");
    stage.until_agent("everything\n");

    stage.restart();
    stage.until("the adoption", |stage| stage.count("Running Adopted") == 1);
    stage.until("the agent", |stage| stage.count("agent port open=Some(true)") == 1);
    stage.until("the console", |stage| stage.driver.console_room(VM) > 0);
    stage.asks("echo again >&3", "");
    stage.until_agent("again\n");
    stage.asks_agent("another request\n");
    stage.asks("read -r line <&3; echo \"<$line>\"", "<another request>");

    // A guest that stands does not read, and what it does not read is bounded.
    stage.act(Action::Pause).unwrap();
    let mut taken = 0;
    while stage.driver.agent_write(Now::read(), &mut stage.host, VM, &[b'x'; 64 << 10]) {
        taken += 1;
    }
    assert!((1..64).contains(&taken), "{taken}");
    stage.act(Action::Resume).unwrap();
    stage.act(Action::Reset).unwrap();
    stage.until("the end of the agent", |stage| stage.count("agent port open=Some(false)") == 1);
    stage.act(Action::Stop).unwrap();
    assert!(stage.files().is_empty(), "{:?}", stage.files());
    assert!(kill_process(pid, Signal::CONT).is_err(), "it has ended");
}
