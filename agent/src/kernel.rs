//! What the system offers and no safe wrapper does: freezing, thawing and trimming a file system, asking an NVMe disk how it is, the
//! address of a vsock, keeping descriptors to ourselves, a child that is not waited for, giving memory back. The one room of this crate with `unsafe`; each call is proved
//! where it stands.
#![expect(
    unsafe_code,
    reason = "four ioctls, one kind of address that rustix does not know, descriptors by number, a child that nobody waits for, memory"
)]

use std::io::PipeWriter;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io;
use rustix::ioctl::{NoArg, Opcode, Updater, ioctl, opcode};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::process::Pid;

/// `FIFREEZE` and `FITHAW` of `linux/fs.h`; their argument is not looked at.
const FREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const THAW: Opcode = opcode::read_write::<i32>(b'X', 120);
/// `FITRIM` of `linux/fs.h`.
const TRIM: Opcode = opcode::read_write::<TrimRange>(b'X', 121);

/// `NVME_IOCTL_ADMIN_CMD` of `linux/nvme_ioctl.h`.
const NVME_ADMIN: Opcode = opcode::read_write::<NvmeCommand>(b'N', 0x41);

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

/// Keeps what we were started with, but for its first three descriptors, from what we start. Ours never go there.
///
/// # Errors
/// What the system says.
pub fn keep_descriptors() -> std::io::Result<()> {
    for number in descriptors()? {
        if number > 2 {
            // SAFETY: it is listed as open, is not -1, and nothing of ours is closed before the call returns, as there is one thread.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = io::fcntl_setfd(descriptor, io::FdFlags::CLOEXEC);
        }
    }
    Ok(())
}

/// Has a child do something that ends in its becoming another program. It has these as its first three descriptors, and one more; none of
/// ours besides, as it may hang for long, and what somebody else is to see the end of would have none. It is told whether that is so.
///
/// # Errors
/// What the system says.
pub fn fork(
    standard: [BorrowedFd<'_>; 3],
    more: PipeWriter,
    work: impl FnOnce(std::io::Result<()>, PipeWriter),
) -> std::io::Result<Pid> {
    // SAFETY: this is how `unistd.h` declares them; what one of them asks of its caller is proved there.
    unsafe extern "C" {
        fn fork() -> i32;
        safe fn _exit(code: i32) -> !;
    }
    /// Nothing of ours goes on in the child, not even if it panics.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            _exit(127);
        }
    }
    // SAFETY: there is one thread, so that in the child no lock stays closed for want of who would open it.
    match unsafe { fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            let _ends = Ends;
            work(keep_only(standard, &more), more);
            _exit(127)
        }
        pid => Pid::from_raw(pid).ok_or_else(|| io::Errno::CHILD.into()),
    }
}

/// In a child: puts these in the first three places, and closes all others but one.
fn keep_only([input, output, errors]: [BorrowedFd<'_>; 3], kept: &PipeWriter) -> std::io::Result<()> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(errors)?;
    let kept = kept.as_raw_fd();
    if close_all(3, kept - 1) && close_all(kept + 1, i32::MAX) {
        return Ok(());
    }
    for number in descriptors()? {
        if number > 2 && number != kept {
            // SAFETY: whoever owns it is in the parent, where it stays open. Here nobody uses it any more: `fork` does not return.
            unsafe { io::close(number) };
        }
    }
    Ok(())
}

/// Closes all from one number to another at once, in a child; Linux before 5.9 cannot.
fn close_all(first: i32, last: i32) -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: this is how `unistd.h` declares it. Whoever owns what is closed is in the parent, as above.
        unsafe extern "C" {
            safe fn close_range(first: std::ffi::c_uint, last: std::ffi::c_uint, flags: i32) -> i32;
        }
        first > last || close_range(first.cast_unsigned(), last.cast_unsigned(), 0) == 0
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = (first, last);
        false
    }
}

/// The numbers of all that are open.
fn descriptors() -> std::io::Result<Vec<i32>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open("/proc/self/fd", flags, Mode::empty())?;
    // It is listed itself, and is closed when this returns.
    let own = directory.as_raw_fd();
    let entries = Dir::new(directory)?.flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok());
    Ok(numbers.filter(|number| *number != own).collect())
}

/// Gives memory back to the system that was freed. Of a million small values it would be kept for the next million.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: this is how `malloc.h` declares it, and it may be called at any time.
        unsafe extern "C" {
            safe fn malloc_trim(kept_bytes: usize) -> i32;
        }
        malloc_trim(0);
    }
}

/// `struct nvme_admin_cmd` of `linux/nvme_ioctl.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    words_2: [u32; 2],
    metadata: u64,
    address: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    words_10: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

/// Bytes of the page in which an NVMe disk says how it is.
pub const HEALTH_BYTES: u16 = 512;

/// Has an NVMe disk say how it is.
pub fn nvme_health(disk: impl AsFd) -> io::Result<[u8; HEALTH_BYTES as usize]> {
    const GET_LOG_PAGE: u8 = 2;
    const HEALTH: u32 = 2;
    /// What was told so far is not forgotten for it.
    const RETAIN: u32 = 1 << 15;
    const EVERY_NAMESPACE: u32 = u32::MAX;
    const { assert!(size_of::<NvmeCommand>() == 72) };
    let mut page = [0; HEALTH_BYTES as usize];
    let mut command = NvmeCommand {
        opcode: GET_LOG_PAGE,
        namespace: EVERY_NAMESPACE,
        address: u64::try_from(page.as_mut_ptr().expose_provenance()).map_err(|_| io::Errno::FAULT)?,
        data_bytes: HEALTH_BYTES.into(),
        // How much: in words of four bytes, less one.
        words_10: [HEALTH | RETAIN | (u32::from(HEALTH_BYTES) / 4 - 1) << 16, 0, 0, 0, 0, 0],
        ..NvmeCommand::default()
    };
    // SAFETY: for this opcode the kernel reads and writes a `struct nvme_admin_cmd`, whose layout `NvmeCommand` has, and writes at most
    // `data_bytes` bytes to `address`, which are those of `page`.
    unsafe { ioctl(disk, Updater::<NVME_ADMIN, NvmeCommand>::new(&mut command)) }?;
    Ok(page)
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
