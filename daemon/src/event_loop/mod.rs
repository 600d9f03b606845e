//! What the loop is made of: readiness, timers, signals. Nothing here knows what a virtual machine is.
//!
//! A turn sleeps until the earliest deadline or until something is ready, marks what is, reads the clock once, and
//! works off the marks in a fixed order with a budget each. `server` is where it turns.

mod now;
mod readiness;
mod signals;
mod timers;
mod tokens;

pub use now::Now;
pub use readiness::{Readiness, Ready};
pub use signals::Signals;
pub use timers::Timers;
