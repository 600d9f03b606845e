//! The vmwire wire protocol, as pure computation: bytes in, bytes out, time as an argument. No sockets, no files, no
//! threads, no clocks; both ends and every test use the same core.
//!
//! The rooms, in the order in which bytes pass them: [`limits`], [`xdr`], [`header`], [`frame`], [`serial`], [`version`],
//! [`message`], [`session`]. [`fuzzing`] tries them. The rules are told in `SPEC.md`, the packets in `vmwire.x`.

pub mod fault;
pub mod frame;
pub mod fuzzing;
pub mod header;
pub mod limits;
pub mod message;
pub mod serial;
pub mod session;
pub mod token;
pub mod version;
pub mod xdr;
