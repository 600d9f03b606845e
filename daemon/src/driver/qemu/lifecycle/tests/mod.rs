//! A lifecycle on a stage: what it is told, by hand, and what it orders.

mod adopting;
mod agent;
mod fates;
mod starting;
mod up;

use serde_json::json;
use uuid::Uuid;

use super::*;

const VM: VmId = VmId(Uuid::from_u128(0x6f1d_5f5c_6f0b_4a3e_9d3c_2f6f_3b1d_8a11));

/// A lifecycle with a clock that is set by hand, and what it ordered so far.
struct Stage {
    life: Lifecycle,
    now: Instant,
    operations: u64,
    last_command: Option<u64>,
}

impl Stage {
    fn new() -> Self {
        let now = Instant::now();
        Self { life: Lifecycle::new(VM, Patience::default()), now, operations: 0, last_command: None }
    }

    /// A guest that runs, and everything told of it forgotten.
    fn running() -> Self {
        let mut stage = Self::new();
        stage.begin(start());
        stage.life.handle_prepared(stage.now, Ok(()));
        stage.life.handle_launched(Ok(process()));
        stage.greet();
        stage.orders();
        for _ in 0..4 {
            stage.reply(json!({"status": "running"}));
        }
        assert_eq!(stage.life.state, Some(VmState::Running));
        stage
    }

    fn begin(&mut self, task: Task) -> Vec<String> {
        self.operations += 1;
        self.life.begin(self.now, OperationId(self.operations), task);
        self.orders()
    }

    fn greet(&mut self) {
        self.life.handle_message(self.now, Message::Greeting { version: "7.2.22".to_owned() });
    }

    fn event(&mut self, name: &str, data: Value) -> Vec<String> {
        self.life.handle_message(self.now, Message::Event { name: name.to_owned(), data });
        self.orders()
    }

    /// Answers the last command.
    fn reply(&mut self, value: Value) -> Vec<String> {
        let id = self.last_command.take().expect("nothing was asked");
        self.life.handle_message(self.now, Message::Reply { id, result: Ok(value) });
        self.orders()
    }

    /// Answers so many commands with nothing.
    fn reply_all(&mut self, count: usize) {
        self.orders();
        for _ in 0..count {
            self.reply(json!({}));
        }
    }

    fn refuse(&mut self, why: &str) -> Vec<String> {
        let id = self.last_command.take().expect("nothing was asked");
        self.life.handle_message(self.now, Message::Reply { id, result: Err(why.to_owned()) });
        self.orders()
    }

    fn wait(&mut self, by: Duration) -> Vec<String> {
        self.now += by;
        self.life.handle_timeout(self.now);
        self.orders()
    }

    fn exit(&mut self, exit: Exit) -> Vec<String> {
        self.life.handle_exit(exit);
        self.orders()
    }

    fn cleaned(&mut self) -> Vec<String> {
        self.life.handle_cleaned();
        self.orders()
    }

    /// What was ordered, in short.
    fn orders(&mut self) -> Vec<String> {
        let mut orders = Vec::new();
        while let Some(order) = self.life.poll_order() {
            orders.push(match order {
                Order::Send { id, command } => {
                    self.last_command = Some(id);
                    match command {
                        Command::StandAfterShutdown(stand) => format!("send stand={stand}"),
                        Command::SetCommandLine(line) => format!("send append {line}"),
                        other => format!("send {}", other.qmp().0),
                    }
                }
                Order::Report(Report::State { state, reason, message, .. }) => {
                    format!("{state:?} {reason:?} {message}").trim_end().to_owned()
                }
                Order::Report(Report::Finished { operation, result, .. }) => match result {
                    Ok(()) => format!("{operation} done"),
                    Err(error) => format!("{operation} {:?}: {} {:?}", error.kind, error.message, error.causes),
                },
                Order::Report(Report::Process { process, .. }) => {
                    format!("process {:?}", process.map(|process| process.pid))
                }
                Order::Report(Report::Reset { by_guest, .. }) => format!("reset by_guest={by_guest}"),
                Order::Report(Report::Monitor { connected, .. }) => format!("monitor {connected}"),
                Order::Report(Report::Console { .. }) => "console".to_owned(),
                Order::Report(Report::AgentPort { open, .. }) => format!("agent port open={open:?}"),
                other => format!("{other:?}").to_lowercase(),
            });
        }
        orders
    }
}

fn start() -> Task {
    Task::Start { cmdline: None, paused: false }
}

fn process() -> Process {
    Process { pid: 7, accelerator: "tcg" }
}

fn status(exit: i32, stderr: &str) -> Exit {
    Exit { status: Some(exit), stderr: stderr.lines().map(str::to_owned).collect(), ..Exit::default() }
}
