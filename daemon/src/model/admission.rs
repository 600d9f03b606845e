//! May this be done now? A pure function of the state of a virtual machine and the work before it.

use super::VmState;

/// How many operations may wait per virtual machine.
pub const WAITING_MAX: usize = 8;

/// What can be asked of a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Bring the guest up.
    Start,
    /// Ask the guest to go down.
    Shutdown,
    /// End the guest now.
    Stop,
    /// Ask the guest to go down and come up again.
    Reboot,
    /// Press the reset button.
    Reset,
    /// Let the processors stand still.
    Pause,
    /// Let the processors run.
    Resume,
    /// Forget it.
    Undefine,
    /// Put another definition in its place.
    Redefine,
}

/// What becomes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Do it.
    Do,
    /// It is so already: done without doing anything.
    Already,
    /// Whether it can be done is being found out: it waits until that is known.
    Wait,
    /// It cannot be done in this state.
    Refuse,
}

/// Judges a wish that has come to its turn. While the state is `Starting`, an operation is under way, so that nothing but
/// a stop has its turn.
pub fn judge(wish: Wish, state: VmState) -> Verdict {
    use VmState::{Adopting, Crashed, Lost, Paused, Running, Starting, Stopped};
    match (wish, state) {
        (_, Lost) => Verdict::Refuse,
        (_, Adopting) => Verdict::Wait,
        (Wish::Stop, Stopped) | (Wish::Shutdown, Stopped) | (Wish::Pause, Paused) | (Wish::Resume, Running) => {
            Verdict::Already
        }
        (Wish::Start | Wish::Undefine | Wish::Redefine, Stopped)
        | (Wish::Stop, Starting | Running | Paused | Crashed)
        | (Wish::Shutdown | Wish::Reboot, Running)
        | (Wish::Reset, Running | Paused | Crashed)
        | (Wish::Pause, Running)
        | (Wish::Resume, Paused) => Verdict::Do,
        _ => Verdict::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [VmState; 7] = [
        VmState::Stopped,
        VmState::Starting,
        VmState::Running,
        VmState::Paused,
        VmState::Crashed,
        VmState::Lost,
        VmState::Adopting,
    ];

    /// The model: a guest is there or not, runs or not, and hears or not.
    fn model(wish: Wish, state: VmState) -> Verdict {
        if state == VmState::Lost {
            return Verdict::Refuse;
        }
        // Whose process it is decides, and is not known yet: nothing is carried out, and nothing refused for ever.
        if state == VmState::Adopting {
            return Verdict::Wait;
        }
        let there = state != VmState::Stopped;
        let settled = state != VmState::Starting;
        let runs = state == VmState::Running;
        let (so_already, possible) = match wish {
            Wish::Start => (false, !there),
            Wish::Undefine | Wish::Redefine => (false, !there),
            Wish::Stop => (!there, there),
            Wish::Shutdown => (!there, runs),
            Wish::Reboot => (false, runs),
            Wish::Reset => (false, there && settled),
            Wish::Pause => (state == VmState::Paused, runs),
            Wish::Resume => (runs, state == VmState::Paused),
        };
        match (so_already, possible) {
            (true, _) => Verdict::Already,
            (false, true) => Verdict::Do,
            (false, false) => Verdict::Refuse,
        }
    }

    #[test]
    fn agrees_with_the_model_for_every_wish_in_every_state() {
        let wishes = [
            Wish::Start,
            Wish::Shutdown,
            Wish::Stop,
            Wish::Reboot,
            Wish::Reset,
            Wish::Pause,
            Wish::Resume,
            Wish::Undefine,
            Wish::Redefine,
        ];
        for wish in wishes {
            for state in STATES {
                assert_eq!(judge(wish, state), model(wish, state), "{wish:?} while {state:?}");
            }
        }
    }

    #[test]
    fn stop_is_idempotent() {
        assert_eq!(judge(Wish::Stop, VmState::Stopped), Verdict::Already);
    }
}
