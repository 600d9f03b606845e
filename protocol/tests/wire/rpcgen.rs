//! Bytes exchanged with C that `rpcgen` makes of `vmwire.x`: every message, both directions, bounds among the values.
//!
//! Ours go to C, which decodes and encodes them again: the same bytes have to come back. C's come to us, made by walking
//! over the generated code (see `peer.c`): we decode them and have to encode the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use vmwire_protocol::message::{ClientData, ServerData};
use vmwire_protocol::xdr::Sampler;

use crate::support::skip::skip;

/// Values of each message, each way.
const VALUES: usize = 200;
const SEED: u64 = 20_260_101;

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr)))
}

/// What has to be there to build the other implementation.
fn flags() -> Result<Vec<String>, String> {
    // Neither knows a harmless option: rpcgen without a file, and gcc told its version, show that they are there.
    Command::new("rpcgen").stdin(Stdio::null()).output().map_err(|error| format!("rpcgen: {error}"))?;
    run(Command::new("cc").arg("--version"))?;
    let flags = run(Command::new("pkg-config").args(["--cflags", "--libs", "libtirpc"]))?;
    Ok(String::from_utf8_lossy(&flags.stdout).split_whitespace().map(str::to_owned).collect())
}

/// The other implementation, built in a directory of its own.
struct Peer {
    directory: TempDir,
}

impl Peer {
    /// Builds it, or says that the test is skipped.
    fn build(test: &str) -> Option<Self> {
        let flags = flags().map_err(|why| skip(test, &why)).ok()?;
        let directory = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // rpcgen names the header after the file it is given, and includes it by that name.
        std::fs::copy(root.join("vmwire.x"), directory.path().join("vmwire.x")).unwrap();
        std::fs::copy(root.join("tests/wire/rpcgen/peer.c"), directory.path().join("peer.c")).unwrap();
        let peer = Self { directory };
        for [kind, made] in [["-h", "vmwire.h"], ["-c", "vmwire_xdr.c"]] {
            run(peer.command("rpcgen").args([kind, "-o", made, "vmwire.x"])).unwrap();
        }
        run(peer.command("cc").args(["-O1", "-w", "-o", "peer", "peer.c"]).args(flags)).unwrap();
        Some(peer)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs it with packets on its input; answers those it wrote.
    fn exchange(&self, arguments: &[String], packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        std::fs::write(self.path("in"), packets.iter().flat_map(|packet| piped(packet)).collect::<Vec<_>>()).unwrap();
        let mut command = Command::new(self.path("peer"));
        command.args(arguments);
        command.stdin(File::open(self.path("in")).unwrap()).stdout(File::create(self.path("out")).unwrap());
        let output = run(&mut command).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert!(output.stderr.is_empty());
        unpiped(&std::fs::read(self.path("out")).unwrap())
    }
}

fn piped(packet: &[u8]) -> Vec<u8> {
    [&u32::try_from(packet.len()).unwrap().to_be_bytes(), packet].concat()
}

fn unpiped(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (packet, rest) = rest.split_at(u32::from_be_bytes(*length).try_into().unwrap());
        packets.push(packet.to_vec());
        bytes = rest;
    }
    packets
}

fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*packet[at..].first_chunk().unwrap())
}

/// One union, by what can be done with it.
struct Union {
    side: &'static str,
    numbers: &'static [u32],
    /// Number and body of some value.
    sample: fn(u32, &mut Sampler) -> Vec<u8>,
    /// Number and body again, of what a number and a body decode to.
    again: fn(u32, &[u8]) -> Vec<u8>,
}

macro_rules! union {
    ($side:literal, $name:ident) => {
        Union {
            side: $side,
            numbers: $name::NUMBERS,
            sample: |number, sampler| {
                let mut bytes = Vec::new();
                $name::sample(number, sampler).expect("a generator for every arm").encode(&mut bytes).unwrap();
                bytes
            },
            again: |number, body| {
                let mut bytes = Vec::new();
                let packet = $name::decode_body(number, body).expect("a known number");
                packet.unwrap_or_else(|error| panic!("{number:#x} of C: {error}")).encode(&mut bytes).unwrap();
                bytes
            },
        }
    };
}

const UNIONS: [Union; 2] = [union!("client", ClientData), union!("server", ServerData)];

/// Each number has its values; nothing is left out and nothing is unknown.
fn count(union: &Union, packets: &[Vec<u8>]) {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for packet in packets {
        *counts.entry(word(packet, 8)).or_default() += 1;
    }
    assert_eq!(counts, union.numbers.iter().map(|number| (*number, VALUES)).collect(), "{}", union.side);
}

#[test]
fn what_we_say_comes_back_from_c_byte_for_byte() {
    let Some(peer) = Peer::build("what_we_say_comes_back_from_c_byte_for_byte") else { return };
    let mut sampler = Sampler::new(SEED);
    for union in &UNIONS {
        let mut packets = Vec::new();
        for number in union.numbers {
            for _ in 0..VALUES {
                let head = [sampler.value::<u32>(), sampler.value::<u32>()].map(u32::to_be_bytes);
                packets.push([head.concat(), (union.sample)(*number, &mut sampler)].concat());
            }
        }
        count(union, &packets);
        let back = peer.exchange(&["echo".to_owned(), union.side.to_owned()], &packets);
        assert_eq!(back.len(), packets.len());
        for (ours, back) in packets.iter().zip(&back) {
            assert!(ours == back, "{}, {:#x}: {ours:02x?} came back as {back:02x?}", union.side, word(ours, 8));
        }
    }
}

#[test]
fn what_c_says_is_what_we_would_say() {
    let Some(peer) = Peer::build("what_c_says_is_what_we_would_say") else { return };
    for union in &UNIONS {
        let mut arguments: Vec<String> = ["make", union.side].map(str::to_owned).into();
        arguments.extend([SEED.to_string(), VALUES.to_string()]);
        arguments.extend(union.numbers.iter().map(ToString::to_string));
        let packets = peer.exchange(&arguments, &[]);
        count(union, &packets);
        for packet in packets {
            let number = word(&packet, 8);
            let ours = (union.again)(number, &packet[12..]);
            assert!(ours == packet[8..], "{}, {number:#x}: {packet:02x?} became {ours:02x?}", union.side);
        }
    }
}
