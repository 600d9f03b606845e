//! Captures made here: a pcap file of Ethernet, IP and TCP around bytes of ours, on a clock of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where daemons listen, as the dissector knows without being told.
pub(crate) const PORT: u16 = 16515;
/// Where captures of the daemon have agents.
pub(crate) const AGENT_PORT: u16 = 16516;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// One connection of a capture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow(usize);

struct Ends {
    client: (IpAddr, u16),
    server: (IpAddr, u16),
    /// The next sequence number of each side, and the room it says it has.
    next: [u32; 2],
    window: [u16; 2],
}

/// The bytes of a pcap file.
pub(crate) struct Capture {
    bytes: Vec<u8>,
    now_us: u64,
    flows: Vec<Ends>,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// When captures begin: 2026-11-01 12:00:00 UTC.
const BEGUN_US: u64 = 1_793_534_400_000_000;
/// The most data of one segment; a frame has to fit into IPv4's length.
const SEGMENT_BYTES_MAX: usize = 65_000;

impl Capture {
    pub(crate) fn new() -> Self {
        let mut bytes = Vec::new();
        // Big-endian, microseconds, version 2.4, UTC, frames of up to 256 KiB, Ethernet.
        for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 262_144, 1] {
            bytes.extend(word.to_be_bytes());
        }
        Self { bytes, now_us: 0, flows: Vec::new() }
    }

    /// A connection to the daemon's port, its handshake included.
    pub(crate) fn flow(&mut self) -> Flow {
        self.flow_to(PORT)
    }

    pub(crate) fn flow_to(&mut self, port: u16) -> Flow {
        let [.., high, low] = u32::try_from(self.flows.len()).unwrap().to_be_bytes();
        let client = (Ipv4Addr::new(10, 1, high, low).into(), 40_000);
        let flow = self.flow_between(client, (Ipv4Addr::new(10, 0, 0, 1).into(), port));
        self.shake_hands(flow);
        flow
    }

    /// A connection between these ends, of which only the middle was captured.
    pub(crate) fn flow_between(&mut self, client: (IpAddr, u16), server: (IpAddr, u16)) -> Flow {
        self.flows.push(Ends { client, server, next: [1000, 5000], window: [u16::MAX; 2] });
        Flow(self.flows.len() - 1)
    }

    /// The daemon and an agent, as `vmwire capture` has them: it is the daemon that asks.
    pub(crate) fn lane(&mut self, number: u16) -> Flow {
        let daemon = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let agent = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, number);
        self.flow_between((daemon.into(), 49_152), (agent.into(), AGENT_PORT))
    }

    /// Another connection between the same ports.
    pub(crate) fn open_again(&mut self, flow: Flow) {
        self.flows[flow.0].next = [700_000, 900_000];
        self.shake_hands(flow);
    }

    fn shake_hands(&mut self, flow: Flow) {
        self.segment(flow, Side::Client, SYN, &[]);
        self.segment(flow, Side::Server, SYN | ACK, &[]);
        self.segment(flow, Side::Client, ACK, &[]);
    }

    /// Lets time go by.
    pub(crate) fn pass_us(&mut self, time_us: u64) {
        self.now_us += time_us;
    }

    /// What the clock says now, as events have it.
    pub(crate) fn now_ns(&self) -> u64 {
        (BEGUN_US + self.now_us) * 1000
    }

    /// Bytes of one side, in one segment where they fit.
    pub(crate) fn say(&mut self, flow: Flow, side: Side, bytes: &[u8]) {
        for piece in bytes.chunks(SEGMENT_BYTES_MAX) {
            self.segment(flow, side, PUSH | ACK, piece);
        }
    }

    /// Bytes that were sent and that the capture has missed.
    pub(crate) fn lose(&mut self, flow: Flow, side: Side, bytes: &[u8]) {
        let next = &mut self.flows[flow.0].next[at(side)];
        *next = next.wrapping_add(u32::try_from(bytes.len()).unwrap());
    }

    /// The end of one side.
    pub(crate) fn end(&mut self, flow: Flow, side: Side) {
        self.segment(flow, side, FIN | ACK, &[]);
    }

    /// Acknowledges, and says how much room there is from now on.
    pub(crate) fn window(&mut self, flow: Flow, side: Side, bytes: u16) {
        self.flows[flow.0].window[at(side)] = bytes;
        self.segment(flow, side, ACK, &[]);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn segment(&mut self, flow: Flow, side: Side, flags: u8, data: &[u8]) {
        let Ends { client, server, next, window } = &mut self.flows[flow.0];
        let (from, to) = if side == Side::Client { (*client, *server) } else { (*server, *client) };
        let sequence = next[at(side)];
        let acknowledged = if flags & ACK == 0 { 0 } else { next[1 - at(side)] };
        let taken = u32::try_from(data.len()).unwrap() + u32::from(flags & (SYN | FIN) != 0);
        next[at(side)] = sequence.wrapping_add(taken);
        let mut tcp = Vec::new();
        tcp.extend(from.1.to_be_bytes());
        tcp.extend(to.1.to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(acknowledged.to_be_bytes());
        tcp.extend([0x50, flags]);
        tcp.extend(window[at(side)].to_be_bytes());
        // No checksum, for Wireshark checks none unless it is told to, and nothing urgent.
        tcp.extend([0, 0, 0, 0]);
        tcp.extend(data);
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
        match (from.0, to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend(length(20 + tcp.len()));
                frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length(tcp.len()));
                frame.extend([6, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => panic!("ends of one kind"),
        }
        frame.extend(tcp);
        let now_us = BEGUN_US + self.now_us;
        let length = u32::try_from(frame.len()).unwrap();
        for word in
            [u32::try_from(now_us / 1_000_000).unwrap(), u32::try_from(now_us % 1_000_000).unwrap(), length, length]
        {
            self.bytes.extend(word.to_be_bytes());
        }
        self.bytes.extend(frame);
        self.now_us += 100;
    }

    /// Writes it into a directory.
    pub(crate) fn write(&self, directory: &TempDir) -> PathBuf {
        let path = directory.path().join("capture.pcap");
        self.write_to(&path);
        path
    }

    pub(crate) fn write_to(&self, path: &Path) {
        std::fs::write(path, &self.bytes).unwrap();
    }
}

fn at(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}
