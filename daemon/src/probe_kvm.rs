//! The KVM probe (`vmwired --probe-kvm`): a short-lived child that proves KVM usable, or says which step refused.
//!
//! Opening `/dev/kvm` proves nothing: there are hosts on which every call succeeds and a guest runs a thousand times
//! slower than by emulation. So a processor is made to count, and is timed. The daemon kills a probe that takes too
//! long; here nothing waits for anything else.
//!
//! This is the one place of the project that needs unsafe: KVM is a set of ioctls over memory that is shared with it.

#![expect(unsafe_code, reason = "KVM is spoken with by ioctls, and shares memory with its caller")]
#![expect(clippy::disallowed_methods, reason = "a child of its own, which may wait")]

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use serde::{Deserialize, Serialize};

/// The argument that makes `vmwired` a probe.
pub const ARGUMENT: &str = "--probe-kvm";

/// What the probe writes to standard output, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The step that refused, and how; absent if KVM is usable.
    pub(crate) why_not: Option<String>,
}

const GET_API_VERSION: Opcode = 0xae00;
const CREATE_VM: Opcode = 0xae01;
const GET_VCPU_MMAP_SIZE: Opcode = 0xae04;
const GET_SUPPORTED_CPUID: Opcode = 0xc008_ae05;
const CREATE_VCPU: Opcode = 0xae41;
const SET_USER_MEMORY_REGION: Opcode = 0x4020_ae46;
const RUN: Opcode = 0xae80;
const SET_REGS: Opcode = 0x4090_ae82;
const GET_SREGS: Opcode = 0x8138_ae83;
const SET_SREGS: Opcode = 0x4138_ae84;

const API_VERSION: i32 = 12;
const EXIT_HLT: u32 = 5;
/// `exit_reason` in `struct kvm_run`.
const EXIT_REASON_AT: usize = 8;
const PAGE: usize = 4096;
/// Where the program stands in the guest's memory.
const PROGRAM_AT: u64 = 0x1000;
/// What hardware counts in a few microseconds, and emulation under KVM in milliseconds.
const ITERATIONS: u32 = 1000;
const ITERATIONS_TAKE_MOST: Duration = Duration::from_micros(500);
/// A busy host may take the processor away in the middle; that it does so every time is not likely.
const ATTEMPTS: usize = 3;
const CPUID_ENTRIES: usize = 256;
const CPUID_ENTRIES_U32: u32 = 256;
/// SSE3, which every processor has that virtualizes, and which a half-made KVM does not pass on.
const CPUID_1_ECX_SSE3: u32 = 1;

/// Probes, and writes the outcome to standard output.
pub fn main() -> ExitCode {
    let outcome = Outcome { why_not: probe().err() };
    let Ok(text) = serde_json::to_string(&outcome) else { return ExitCode::FAILURE };
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn probe() -> Result<(), String> {
    let refused = |step: &'static str| move |error: io::Error| format!("{step}: {error}");
    let kvm = File::options().read(true).write(true).open("/dev/kvm").map_err(refused("opening /dev/kvm"))?;
    match number(&kvm, GET_API_VERSION).map_err(refused("KVM_GET_API_VERSION"))? {
        API_VERSION => {}
        other => return Err(format!("KVM_GET_API_VERSION: {other}, and {API_VERSION} is needed")),
    }
    let vm = descriptor(&kvm, CREATE_VM).map_err(refused("KVM_CREATE_VM"))?;
    let vcpu = descriptor(&vm, CREATE_VCPU).map_err(refused("KVM_CREATE_VCPU"))?;
    check_cpuid(&kvm)?;
    let size = number(&kvm, GET_VCPU_MMAP_SIZE).map_err(refused("KVM_GET_VCPU_MMAP_SIZE"))?;
    let size = usize::try_from(size).ok().filter(|size| *size >= PAGE).ok_or("KVM_GET_VCPU_MMAP_SIZE: too little")?;
    let run = Shared::of_descriptor(&vcpu, size).map_err(refused("mapping the processor's state"))?;
    let memory = Shared::anonymous(PAGE).map_err(refused("mapping the guest's memory"))?;
    memory.write(&program());
    lend_memory(&vm, &memory).map_err(refused("KVM_SET_USER_MEMORY_REGION"))?;
    let mut best = Duration::MAX;
    for _ in 0..ATTEMPTS {
        set_up(&vcpu).map_err(refused("setting the processor up"))?;
        let begun = Instant::now();
        number(&vcpu, RUN).map_err(refused("KVM_RUN"))?;
        best = best.min(begun.elapsed());
        match run.read_u32(EXIT_REASON_AT) {
            EXIT_HLT => {}
            other => return Err(format!("KVM_RUN: ended for reason {other}, and {EXIT_HLT} was expected")),
        }
    }
    if best > ITERATIONS_TAKE_MOST {
        let each = best.as_nanos() / u128::from(2 * ITERATIONS);
        return Err(format!("too slow: {each} ns an instruction, which emulation beats"));
    }
    Ok(())
}

/// Counts down from `ITERATIONS` and halts: `mov ecx, n; again: dec ecx; jnz again; hlt`, in real mode.
fn program() -> Vec<u8> {
    let mut program = vec![0x66, 0xb9];
    program.extend(ITERATIONS.to_le_bytes());
    program.extend([0x66, 0x49, 0x75, 0xfc, 0xf4]);
    program
}

fn check_cpuid(kvm: &File) -> Result<(), String> {
    // `struct kvm_cpuid2`: the number of entries, padding, then entries of ten words.
    let mut cpuid = [0_u32; 2 + 10 * CPUID_ENTRIES];
    cpuid[0] = CPUID_ENTRIES_U32;
    with(kvm, GET_SUPPORTED_CPUID, &mut cpuid).map_err(|error| format!("KVM_GET_SUPPORTED_CPUID: {error}"))?;
    let leaf_1 = cpuid[2..].chunks_exact(10).find(|entry| entry[0] == 1);
    match leaf_1 {
        Some(entry) if entry[5] & CPUID_1_ECX_SSE3 != 0 => Ok(()),
        Some(_) => Err("KVM_GET_SUPPORTED_CPUID: a guest would have no SSE3".to_owned()),
        None => Err("KVM_GET_SUPPORTED_CPUID: leaf 1 is missing".to_owned()),
    }
}

/// Real mode, at the beginning of the program.
fn set_up(vcpu: &OwnedFd) -> io::Result<()> {
    // `struct kvm_sregs` begins with the code segment: base, then limit, selector and flags in one word.
    let mut sregs = [0_u64; 39];
    with(vcpu, GET_SREGS, &mut sregs)?;
    sregs[0] = 0;
    sregs[1] &= !(0xffff << 32);
    with(vcpu, SET_SREGS, &mut sregs)?;
    // `struct kvm_regs`: sixteen registers, then rip and rflags, of which bit 1 is always set.
    let mut regs = [0_u64; 18];
    regs[16] = PROGRAM_AT;
    regs[17] = 2;
    with(vcpu, SET_REGS, &mut regs).map(drop)
}

fn lend_memory(vm: &OwnedFd, memory: &Shared) -> io::Result<()> {
    // `struct kvm_userspace_memory_region`: slot and flags in one word, then three words. The memory outlives its use:
    // `probe` drops the processor before it.
    let mut region = [0, PROGRAM_AT, memory.bytes as u64, memory.start.expose_provenance() as u64];
    with(vm, SET_USER_MEMORY_REGION, &mut region).map(drop)
}

/// An ioctl without argument that returns a number.
fn number(fd: impl AsFd, opcode: Opcode) -> io::Result<i32> {
    debug_assert!([GET_API_VERSION, CREATE_VM, CREATE_VCPU, GET_VCPU_MMAP_SIZE, RUN].contains(&opcode));
    // SAFETY: these read and write no memory of the caller's but what was mapped for them or lent to them.
    Ok(unsafe { ioctl(fd, Call { opcode, argument: std::ptr::null_mut() }) }?)
}

/// An ioctl without argument that returns a descriptor.
fn descriptor(fd: impl AsFd, opcode: Opcode) -> io::Result<OwnedFd> {
    let number = number(fd, opcode)?;
    // SAFETY: `CREATE_VM` and `CREATE_VCPU` return a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// An ioctl over a structure that is as large as its opcode says, or larger.
fn with<T: Copy, const N: usize>(fd: impl AsFd, opcode: Opcode, argument: &mut [T; N]) -> io::Result<i32> {
    // Bits 16 to 29 of an opcode are the size of its structure. (That of `GET_SUPPORTED_CPUID` counts no entries; how
    // many there is room for is said in the structure.)
    debug_assert!(usize::try_from(opcode >> 16 & 0x3fff).is_ok_and(|size| size <= size_of_val(argument)));
    // SAFETY: the structure is there for the time of the call, is of plain numbers, and is not smaller than what the
    // kernel reads and writes.
    Ok(unsafe { ioctl(fd, Call { opcode, argument: argument.as_mut_ptr().cast() }) }?)
}

/// An ioctl whose result is a number.
struct Call {
    opcode: Opcode,
    argument: *mut c_void,
}

// SAFETY: opcode and pointer are passed on as they are; who makes a `Call` answers for their fitting together.
unsafe impl Ioctl for Call {
    type Output = i32;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}

/// Memory that somebody else reads and writes too. Mapped until the process ends, which is soon.
struct Shared {
    start: *mut u8,
    bytes: usize,
}

impl Shared {
    fn of_descriptor(fd: &OwnedFd, bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at a place of the kernel's choice, disturbs nobody.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, 0) }?;
        Ok(Self { start: start.cast(), bytes })
    }

    fn anonymous(bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at a place of the kernel's choice, disturbs nobody.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED) }?;
        Ok(Self { start: start.cast(), bytes })
    }

    fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.bytes);
        // SAFETY: the mapping is writable and long enough, and nobody else uses it at the time.
        unsafe { self.start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn read_u32(&self, at: usize) -> u32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.bytes);
        // SAFETY: within the mapping, which begins at a page, and aligned; volatile, for the kernel writes it.
        unsafe { self.start.add(at).cast::<u32>().read_volatile() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_counts_down_and_halts() {
        assert_eq!(program(), [0x66, 0xb9, 0xe8, 0x03, 0, 0, 0x66, 0x49, 0x75, 0xfc, 0xf4]);
    }

    #[test]
    fn whatever_the_host_is_the_probe_comes_to_an_answer() {
        if let Err(why) = probe() {
            assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
        }
    }
}
