//! What the loop is made of: readiness, timers, the run queue. Nothing here knows what a virtual machine is.

mod now;
mod timers;

pub use now::Now;
pub use timers::Timers;
