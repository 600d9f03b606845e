//! Whatever may happen, in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Fate {
    Begin(Task),
    Prepared(bool),
    Greeting,
    Reply(bool, &'static str),
    Event(&'static str, bool),
    LinkLost,
    Exit,
    Cleaned,
    Wait(u64),
}

fn any_fate() -> impl Strategy<Value = Fate> {
    const STATUSES: &[&str] = &["running", "paused", "prelaunch", "guest-panicked", "shutdown", "save-vm", "nonsense"];
    const EVENTS: &[&str] = &["STOP", "RESUME", "RESET", "SHUTDOWN", "GUEST_PANICKED", "POWERDOWN"];
    let tasks = vec![
        start(),
        Task::Start { cmdline: Some(String::new()), paused: true },
        Task::Stop,
        Task::Reboot,
        Task::Reset,
        Task::Pause,
        Task::Resume,
        Task::PowerButton,
    ];
    prop_oneof![
        3 => proptest::sample::select(tasks).prop_map(Fate::Begin),
        2 => any::<bool>().prop_map(Fate::Prepared),
        2 => Just(Fate::Greeting),
        12 => (proptest::bool::weighted(0.9), proptest::sample::select(STATUSES)).prop_map(|(ok, s)| Fate::Reply(ok, s)),
        3 => (proptest::sample::select(EVENTS), any::<bool>()).prop_map(|(e, guest)| Fate::Event(e, guest)),
        1 => Just(Fate::LinkLost),
        1 => Just(Fate::Exit),
        2 => Just(Fate::Cleaned),
        1 => (0..200_u64).prop_map(Fate::Wait),
    ]
}

/// Whatever happens, in whatever order: the outside world keeps only its own promises, that what was ordered and only
/// that is answered.
struct World {
    stage: Stage,
    preparing: bool,
    process: bool,
    launching: bool,
    cleaning: bool,
    open: Vec<OperationId>,
    /// As told; what a former daemon told of an adopted guest is not known.
    state: Option<VmState>,
    connected: bool,
}

impl World {
    fn collect(&mut self) -> Result<(), TestCaseError> {
        while let Some(order) = self.stage.life.poll_order() {
            match order {
                Order::Prepare => self.preparing = true,
                Order::Launch => self.launching = true,
                Order::CleanUp => {
                    prop_assert!(!self.process && !self.preparing, "cleaned up under a living process");
                    self.cleaning = true;
                }
                Order::Connect => {
                    self.connected = true;
                    self.stage.life.handle_connected(process().pid);
                }
                Order::Disconnect => self.connected = false,
                Order::Send { id, .. } => self.stage.last_command = Some(id),
                Order::Kill => prop_assert!(self.process, "nothing to kill"),
                Order::Report(Report::Finished { operation, .. }) => {
                    let at = self.open.iter().position(|open| *open == operation);
                    prop_assert!(at.is_some(), "operation {operation} was finished twice");
                    self.open.remove(at.unwrap_or_default());
                }
                Order::Report(Report::State { state, .. }) => {
                    prop_assert!(Some(state) != self.state);
                    self.state = Some(state);
                }
                Order::Report(_) => {}
            }
        }
        Ok(())
    }

    fn suffer(&mut self, fate: Fate) -> Result<(), TestCaseError> {
        let now = self.stage.now;
        match fate {
            Fate::Begin(task) => {
                self.stage.operations += 1;
                let operation = OperationId(self.stage.operations);
                self.open.push(operation);
                self.stage.life.begin(now, operation, task);
            }
            Fate::Prepared(ok) if std::mem::take(&mut self.preparing) => {
                self.stage.life.handle_prepared(now, if ok { Ok(()) } else { Err(String::new()) });
            }
            Fate::Greeting if self.process && self.connected => {
                self.stage.life.handle_message(now, Message::Greeting { version: String::new() });
                // One greeting a connection.
                self.connected = false;
            }
            Fate::Reply(ok, status) => {
                if let Some(id) = self.stage.last_command.take() {
                    let result =
                        if ok { Ok(json!({"status": status, "UUID": VM.to_string()})) } else { Err(String::new()) };
                    self.stage.life.handle_message(now, Message::Reply { id, result });
                }
            }
            Fate::Event(name, guest) if self.process => {
                let data = json!({"guest": guest});
                self.stage.life.handle_message(now, Message::Event { name: name.to_owned(), data });
            }
            Fate::LinkLost => self.stage.life.handle_link_lost(now, String::new()),
            Fate::Exit if std::mem::take(&mut self.process) => self.stage.life.handle_exit(Exit::default()),
            Fate::Cleaned if std::mem::take(&mut self.cleaning) => self.stage.life.handle_cleaned(),
            Fate::Wait(seconds) => {
                self.stage.now += Duration::from_secs(seconds);
                self.stage.life.handle_timeout(self.stage.now);
            }
            _ => {}
        }
        self.collect()?;
        // A launch is answered before anything else happens.
        if std::mem::take(&mut self.launching) {
            self.process = true;
            self.connected = true;
            self.stage.life.handle_launched(Ok(process()));
            self.collect()?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_operation_is_finished_once_and_in_the_end_nothing_is_left(
        fates in proptest::collection::vec(any_fate(), 0..80), adopted: bool,
    ) {
        let mut stage = Stage::new();
        if adopted {
            stage.life = Lifecycle::adopt(stage.now, VM, process(), Patience::default(), 1);
        }
        let mut world = World {
            stage, preparing: false, process: adopted, launching: false, cleaning: false, open: Vec::new(),
            state: (!adopted).then_some(VmState::Stopped), connected: true,
        };
        world.collect()?;
        for fate in fates {
            world.suffer(fate)?;
        }
        // Stopped, unless nobody may; then everything that is still owed by the outside comes.
        world.suffer(Fate::Begin(Task::Stop))?;
        for fate in [Fate::Prepared(true), Fate::Exit, Fate::Cleaned, Fate::Wait(1000)] {
            world.suffer(fate)?;
        }
        prop_assert!(world.open.is_empty(), "{:?} were never finished", world.open);
        prop_assert_eq!(world.state, Some(VmState::Stopped));
        prop_assert!(world.stage.life.is_stopped() && world.stage.life.poll_timeout().is_none());
    }
}
