//! `vmwire-ga`: a guest agent that drops in for qemu-ga and adds the handshake it never got.
//!
//! ```text
//!   bytes of a channel → json::Reader → dispatch → agent, command → dispatch → bytes
//!                                                     │    ▲
//!                                                  program ended
//! ```
//!
//! [`event_loop`] moves bytes and waits; nothing else waits. [`agent`] decides, [`command`] has a room per subject.

pub mod agent;
pub mod arguments;
pub mod base64;
pub mod block;
pub mod channel;
pub mod command;
pub mod command_helper;
pub mod dispatch;
pub mod error;
pub mod event_loop;
pub mod feed;
pub mod file_helper;
pub mod files;
pub mod filesystem_helper;
pub mod freezer;
pub mod fuzzing;
pub mod helper;
pub mod json;
pub mod kernel;
pub mod key_file;
pub mod leaving;
pub mod log;
pub mod mounts;
pub mod netlink;
pub mod nvme;
pub mod options;
pub mod pid_file;
pub mod process;
pub mod programs;
pub mod start;
pub mod starter;
pub mod state;
