//! How much memory hostile bytes can take: the biggest single allocation while they are being refused.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use vmwire_protocol::{
    wire_struct, wire_union,
    xdr::{DecodeError, List, Opaque, Text, Wire, own_backend, serde_backend},
};

/// What refusing may take that has nothing to do with the announced length: the errors of serde-xdr are texts.
const REFUSAL_BYTES: usize = 512;
/// What may be reserved for bytes that were announced and did not come.
const CHUNK_BYTES: usize = 4096;

thread_local! {
    static BIGGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a note of the biggest request of each thread.
struct Noting;

fn note(bytes: usize) {
    BIGGEST.with(|biggest| biggest.set(biggest.get().max(bytes)));
}

#[expect(unsafe_code, reason = "an allocator can be had in no other way; all of it is handed on to the system's")]
// SAFETY: each method hands its arguments unchanged to the system's allocator, whose contract is the caller's; noting a
// number in a constant-initialised thread-local without destructor neither allocates nor panics.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

const MAX: u32 = 1 << 20;
type LongText = Text<{ 1 << 20 }>;
type LongOpaque = Opaque<{ 1 << 20 }>;
type Numbers = List<u64, { 1 << 20 }>;
type Texts = List<LongText, { 1 << 20 }>;
type Voids = List<(), { 1 << 20 }>;

wire_struct! {
    struct Row {
        number: u64,
        name: LongText,
        cells: List<Nested, { 1 << 20 }>,
    }
}

wire_union! {
    /// A list in a list.
    pub enum Nested {
        /// The inner one, perhaps.
        1 => Texts(Option<Texts>),
    }
}

type Rows = List<Row, { 1 << 20 }>;

/// Expects both backends to refuse these bytes, and to ask for no more than so much at once.
fn refused<T: Wire>(bytes: &[u8], verdict: DecodeError, bytes_max: usize) {
    for (backend, decode) in [
        ("own", own_backend::decode::<T> as fn(&[u8]) -> Result<T, DecodeError>),
        ("serde-xdr", serde_backend::decode::<T>),
    ] {
        BIGGEST.set(0);
        let error = decode(bytes).err();
        let biggest = BIGGEST.get();
        assert_eq!(error, Some(verdict), "{backend}");
        assert!(biggest <= bytes_max, "{backend}: {biggest} bytes at once for {verdict:?} in {}", size_of::<T>());
    }
}

#[test]
fn lengths_over_the_bound_reserve_nothing() {
    for length in [u32::MAX, u32::MAX - 1, u32::MAX - 2, u32::MAX - 3, 1 << 31, MAX + 1] {
        for following in [0, 4, 64] {
            let bytes = [&length.to_be_bytes()[..], &vec![0; following]].concat();
            let verdict = DecodeError::Bound { length, max: MAX };
            refused::<LongText>(&bytes, verdict, REFUSAL_BYTES);
            refused::<LongOpaque>(&bytes, verdict, REFUSAL_BYTES);
            refused::<Numbers>(&bytes, verdict, REFUSAL_BYTES);
            refused::<Texts>(&bytes, verdict, REFUSAL_BYTES);
            refused::<Voids>(&bytes, verdict, REFUSAL_BYTES);
            refused::<Rows>(&bytes, verdict, REFUSAL_BYTES);
        }
    }
}

#[test]
fn lengths_within_the_bound_reserve_one_chunk_while_bytes_are_missing() {
    for length in [MAX, MAX - 1, 1 << 19, 5000] {
        for following in [0, 4, 64, 4000] {
            let bytes = [&length.to_be_bytes()[..], &vec![0; following]].concat();
            refused::<LongText>(&bytes, DecodeError::Truncated, CHUNK_BYTES);
            refused::<LongOpaque>(&bytes, DecodeError::Truncated, CHUNK_BYTES);
            refused::<Numbers>(&bytes, DecodeError::Truncated, CHUNK_BYTES);
        }
    }
    refused::<Texts>(&MAX.to_be_bytes(), DecodeError::Truncated, CHUNK_BYTES);
    refused::<Rows>(&MAX.to_be_bytes(), DecodeError::Truncated, CHUNK_BYTES);
}

#[test]
fn memory_grows_with_what_arrived() {
    let arrived = 100_000;
    let bytes = [&MAX.to_be_bytes()[..], &vec![b'x'; arrived]].concat();
    refused::<LongText>(&bytes, DecodeError::Truncated, 2 * arrived);
    refused::<LongOpaque>(&bytes, DecodeError::Truncated, 2 * arrived);
    refused::<Numbers>(&bytes, DecodeError::Truncated, 2 * arrived);
}

#[test]
fn lies_within_lies_reserve_one_chunk_each() {
    let bytes = [
        &MAX.to_be_bytes()[..],       // so many rows
        &7_u64.to_be_bytes(),         // the first one's number
        &[0, 0, 0, 1, b'x', 0, 0, 0], // its name
        &MAX.to_be_bytes(),           // so many cells
        &1_u32.to_be_bytes(),         // the arm
        &1_u32.to_be_bytes(),         // there are texts
        &MAX.to_be_bytes(),           // so many
        &MAX.to_be_bytes(),           // the first one's length
        b"and then no more",
    ]
    .concat();
    refused::<Rows>(&bytes, DecodeError::Truncated, CHUNK_BYTES);
    for end in 0..bytes.len() {
        refused::<Rows>(&bytes[..end], DecodeError::Truncated, CHUNK_BYTES);
    }
}
