//! What the kernel offers and no safe wrapper does: freezing, thawing and trimming a file system, and the address of a vsock. The one
//! room of this crate with `unsafe`; each call is proved where it stands.
#![expect(unsafe_code, reason = "three ioctls and one kind of address that rustix does not know")]

use std::os::fd::AsFd;

use rustix::io;
use rustix::ioctl::{NoArg, Opcode, Updater, ioctl, opcode};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};

/// `FIFREEZE` and `FITHAW` of `linux/fs.h`; their argument is not looked at.
const FREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const THAW: Opcode = opcode::read_write::<i32>(b'X', 120);
/// `FITRIM` of `linux/fs.h`.
const TRIM: Opcode = opcode::read_write::<TrimRange>(b'X', 121);

/// `struct fstrim_range` of `linux/fs.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TrimRange {
    /// Where to begin.
    pub start: u64,
    /// How far to go; the kernel writes back how much was trimmed.
    pub length: u64,
    /// What is smaller is left alone; the kernel writes back what it took.
    pub minimum: u64,
}

/// Freezes the file system that a directory is on.
pub fn freeze(directory: impl AsFd) -> io::Result<()> {
    // SAFETY: the opcode is the kernel's for this, and it reads no argument.
    unsafe { ioctl(directory, NoArg::<FREEZE>::new()) }
}

/// Thaws it.
pub fn thaw(directory: impl AsFd) -> io::Result<()> {
    // SAFETY: as above.
    unsafe { ioctl(directory, NoArg::<THAW>::new()) }
}

/// Tells the disk below it what is not used.
pub fn trim(directory: impl AsFd, range: &mut TrimRange) -> io::Result<()> {
    // SAFETY: for this opcode the kernel reads and writes a `struct fstrim_range`, whose layout `TrimRange` has.
    unsafe { ioctl(directory, Updater::<TRIM, TrimRange>::new(range)) }
}

/// `struct sockaddr_vm` of `linux/vm_sockets.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct VsockAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    padding: [u8; 4],
}

impl VsockAddress {
    /// The address of a port of a machine.
    pub fn new(cid: u32, port: u32) -> VsockAddress {
        VsockAddress { family: rustix::net::AddressFamily::VSOCK.as_raw(), reserved: 0, port, cid, padding: [0; 4] }
    }
}

// SAFETY: the pointer is to `self`, which lives while `f` runs, and the length is that of `self`, which has no hole.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        const LENGTH: SocketAddrLen = 16;
        const { assert!(size_of::<VsockAddress>() == 16) };
        f(std::ptr::from_ref(self).cast(), LENGTH)
    }
}
