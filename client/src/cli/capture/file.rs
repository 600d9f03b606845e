//! What was captured as a file that Wireshark opens.
//!
//! pcapng has no link that carries our packets as they are, so each record is put into an IPv6 packet of TCP, as if the
//! connection had been one over a network: the daemon is `2001:db8::1`, whoever is on connection n `2001:db8:1::n`
//! (addresses that RFC 3849 keeps for documentation). TCP's sequence numbers are the positions of the records, so that a loss
//! looks like one; who was really there stands in a comment of the connection's first packet, and of the first one under
//! another name.
//!
//! Agents in guests are others whom the daemon calls: number n is `2001:db8:2::n`. They have lines in place of packets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::net::Ipv6Addr;
use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, PcapError};
use vmwire_protocol::message::CaptureRecord;
use vmwire_protocol::xdr::Text;

const DAEMON: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const CLIENTS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);

/// The daemon's port for TLS, which is where somebody would look first.
const DAEMON_PORT: u16 = 16515;
const CLIENT_PORT: u16 = 49152;

/// Where agents are, for the dissector alone: nobody listens there.
const AGENTS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0);
const AGENT_PORT: u16 = 16516;
/// The transport of what agents are told and say.
const AGENT: &str = "agent";

/// How much TCP says that it could take; nobody asks.
const WINDOW: u16 = u16::MAX;
const HOPS: u8 = 64;

/// Times are in units of 10 to the power of minus this, in seconds.
const NANOSECONDS: u8 = 9;

/// How many connections are remembered: more than are there at once. Nobody tells which of them have ended; those that were
/// silent for longest are forgotten, and are introduced again should they say something.
const WAYS_MAX: usize = 16 * 1024;

/// What a capture came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Written {
    /// Packets, and lines of agents; whole ones or what came of them.
    pub(super) packets: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Bytes that passed and did not come.
    pub(super) lost: u64,
}

/// A capture on its way into a file.
pub(super) struct CaptureFile<W> {
    /// Blocks that were not written yet: a file has whole blocks, whenever the program ends.
    blocks: PcapNgWriter<Vec<u8>>,
    /// Where each of them ends that is of a record, and what it comes to with it.
    unwritten: Vec<(usize, Written)>,
    out: W,
    ways: BTreeMap<Other, Ways>,
    /// What was added.
    added: Written,
    /// What has gone out whole, and how many bytes that are.
    written: Written,
    whole_bytes: u64,
    /// How many records there were.
    records: u64,
    /// Whether the packet that the last record is of is there whole.
    whole: bool,
}

/// Who is at the other end, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    Client(u64),
    Agent(u64),
}

impl Other {
    fn of(record: &CaptureRecord) -> Self {
        if &*record.transport == AGENT { Self::Agent(record.connection) } else { Self::Client(record.connection) }
    }

    /// The ends of the connection: the daemon, and the other.
    fn ends(self) -> [([u8; 16], u16); 2] {
        let end = |net: Ipv6Addr, number: u64| Ipv6Addr::from_bits(net.to_bits() | u128::from(number)).octets();
        match self {
            Self::Client(number) => [(DAEMON.octets(), DAEMON_PORT), (end(CLIENTS, number), CLIENT_PORT)],
            Self::Agent(number) => [(DAEMON.octets(), CLIENT_PORT), (end(AGENTS, number), AGENT_PORT)],
        }
    }

    /// How a packet introduces it, the first one or the first under another name.
    fn introduced(self, record: &CaptureRecord) -> String {
        match self {
            Self::Client(number) => format!("connection {number}: {} over {}", record.peer, record.transport),
            Self::Agent(_) => format!("agent of {}", record.peer),
        }
    }
}

/// How far each way of a connection has come.
#[derive(Debug, Default)]
struct Ways {
    received: Way,
    sent: Way,
    /// Which record was the last one.
    seen: u64,
    /// By which name it was introduced last.
    peer: Option<Text<256>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Way {
    /// The position of the next byte, once there was one: before that others may have looked on.
    next: Option<u64>,
    /// What is still to come of a packet that began; of a line, which does not say how long it is, at least.
    left: u64,
}

impl Way {
    /// Notes that bytes of packets have come. Answers how many packets begin there.
    fn take_of_packet(&mut self, bytes: &[u8], length: u64, jumped: bool) -> u64 {
        let begins = jumped || self.left == 0;
        if begins {
            self.left = packet_bytes(bytes);
        }
        self.left = self.left.saturating_sub(length);
        u64::from(begins)
    }

    /// The same of lines, of which there may be many.
    fn take_of_lines(&mut self, bytes: &[u8], jumped: bool) -> u64 {
        let begins = (jumped || self.left == 0) && !bytes.is_empty();
        let [before @ .., last] = bytes else { return 0 };
        self.left = u64::from(*last != b'\n');
        u64::from(begins) + before.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>()
    }
}

impl<W: Write> CaptureFile<W> {
    /// Begins a capture of the packets of `daemon`; [`CaptureFile::flush`] writes how it begins.
    pub(super) fn begin(out: W, daemon: &str) -> io::Result<Self> {
        let program = concat!("vmwire ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(program))],
            ..SectionHeaderBlock::default()
        };
        let mut blocks = PcapNgWriter::with_section_header(Vec::new(), section).map_err(broken)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(daemon.to_owned())),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        blocks.write_pcapng_block(interface).map_err(broken)?;
        Ok(Self {
            unwritten: vec![(blocks.get_ref().len(), Written::default())],
            blocks,
            out,
            ways: BTreeMap::new(),
            added: Written::default(),
            written: Written::default(),
            whole_bytes: 0,
            records: 0,
            whole: true,
        })
    }

    /// Adds a record; [`CaptureFile::flush`] writes it.
    pub(super) fn add(&mut self, record: &CaptureRecord) -> io::Result<()> {
        let other = Other::of(record);
        if !self.ways.contains_key(&other) {
            self.forget_silent();
        }
        self.records += 1;
        let ways = self.ways.entry(other).or_default();
        ways.seen = self.records;
        // A virtual machine that is defined anew may have another name, and keeps its agent's number.
        let is_another = ways.peer.as_ref() != Some(&record.peer);
        if is_another {
            ways.peer = Some(record.peer.clone());
        }
        let (way, back) = if record.sent { (&mut ways.sent, ways.received) } else { (&mut ways.received, ways.sent) };
        let length = u64::try_from(record.bytes.len()).unwrap_or(u64::MAX);
        let jump = record.position.saturating_sub(way.next.unwrap_or(record.position));
        self.added.packets += match other {
            Other::Client(_) => way.take_of_packet(&record.bytes, length, jump > 0),
            Other::Agent(_) => way.take_of_lines(&record.bytes, jump > 0),
        };
        way.next = Some(record.position.saturating_add(length));
        self.whole = way.left == 0;
        self.added.bytes += length;
        self.added.lost = self.added.lost.saturating_add(jump);

        let mut ends = other.ends();
        if !record.sent {
            ends.reverse();
        }
        let [(from, from_port), (to, to_port)] = ends;
        let builder = PacketBuilder::ipv6(from, to, HOPS)
            .tcp(from_port, to_port, sequence(record.position), WINDOW)
            .ack(sequence(back.next.unwrap_or_default()))
            .psh();
        let mut data = Vec::with_capacity(builder.size(record.bytes.len()));
        builder.write(&mut data, &record.bytes).map_err(io::Error::other)?;
        let options = match is_another {
            true => vec![EnhancedPacketOption::Comment(Cow::Owned(other.introduced(record)))],
            false => Vec::new(),
        };
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(record.time_ns),
            original_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            data: Cow::Owned(data),
            options,
        };
        self.blocks.write_pcapng_block(block).map_err(broken)?;
        self.unwritten.push((self.blocks.get_ref().len(), self.added));
        Ok(())
    }

    /// Makes room for a connection that is new.
    fn forget_silent(&mut self) {
        if self.ways.len() < WAYS_MAX {
            return;
        }
        // Half of them at once: who was silent for how long is not to be found out for each.
        let mut seen: Vec<u64> = self.ways.values().map(|ways| ways.seen).collect();
        let (_, &mut median, _) = seen.select_nth_unstable(WAYS_MAX / 2);
        self.ways.retain(|_, ways| ways.seen >= median);
    }

    /// Writes what was added. After an error [`CaptureFile::whole_bytes`] says where the last whole block ends, and no more
    /// is to be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        let outcome = loop {
            let rest = self.blocks.get_ref().get(done..).unwrap_or_default();
            if rest.is_empty() {
                break self.out.flush();
            }
            match self.out.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let Some((end, written)) = self.unwritten.iter().rev().find(|(end, _)| *end <= done) {
            self.written = *written;
            self.whole_bytes += u64::try_from(*end).unwrap_or(u64::MAX);
        }
        self.unwritten.clear();
        self.blocks.get_mut().clear();
        outcome
    }

    /// How many bytes the blocks have that were written whole.
    pub(super) fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// What it is written to.
    pub(super) fn into_out(self) -> W {
        self.out
    }

    /// Whether the packet that has come last is there whole. One whose end is lost is not waited for.
    pub(super) fn is_between_packets(&self) -> bool {
        self.whole
    }

    /// What was added, whether it was written or not.
    pub(super) fn added(&self) -> Written {
        self.added
    }

    /// What was written whole.
    pub(super) fn written(&self) -> Written {
        self.written
    }
}

/// How long a packet says it is, its header included.
fn packet_bytes(bytes: &[u8]) -> u64 {
    let length = bytes.get(4..8).and_then(|field| field.try_into().ok()).map_or(0, u32::from_be_bytes);
    u64::from(length) + 8
}

/// The sequence number of TCP at a position; they go round.
fn sequence(position: u64) -> u32 {
    u32::try_from(position.wrapping_add(1) & u64::from(u32::MAX)).unwrap_or_default()
}

fn broken(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;
    use pcap_file::pcapng::{Block, PcapNgReader};
    use vmwire_protocol::xdr::Opaque;

    use super::*;

    fn record(connection: u64, sent: bool, position: u64, bytes: &[u8]) -> CaptureRecord {
        CaptureRecord {
            time_ns: 1_700_000_000_123_456_789,
            connection,
            sent,
            peer: Text::clipped("uid 0"),
            transport: Text::clipped("unix"),
            position,
            bytes: Opaque::new(bytes).unwrap(),
        }
    }

    fn packet(length: u8) -> Vec<u8> {
        let mut packet = vec![0x89, b'V', b'M', b'W', 0, 0, 0, length];
        packet.resize(8 + usize::from(length), 7);
        packet
    }

    /// From where each went to where.
    fn ends(file: &[u8]) -> Vec<String> {
        let mut reader = PcapNgReader::new(file).unwrap();
        let mut all = Vec::new();
        while let Some(block) = reader.next_block() {
            let Block::EnhancedPacket(block) = block.unwrap() else { continue };
            let sliced = SlicedPacket::from_ip(&block.data).unwrap();
            let Some(etherparse::NetSlice::Ipv6(ip)) = sliced.net else { panic!("no IPv6") };
            let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
            let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
            all.push(format!("{from} {} {to} {}", tcp.source_port(), tcp.destination_port()));
        }
        all
    }

    /// Sequence number, payload and comment of each.
    fn read(file: &[u8]) -> Vec<(u32, Vec<u8>, Option<String>)> {
        let mut reader = PcapNgReader::new(file).unwrap();
        let mut all = Vec::new();
        while let Some(block) = reader.next_block() {
            let Block::EnhancedPacket(block) = block.unwrap() else { continue };
            assert_eq!(block.timestamp.as_nanos(), 1_700_000_000_123_456_789);
            let sliced = SlicedPacket::from_ip(&block.data).unwrap();
            let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
            let comment = block.options.iter().find_map(|option| match option {
                EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
                _ => None,
            });
            all.push((tcp.sequence_number(), tcp.payload().to_vec(), comment));
        }
        all
    }

    #[test]
    fn each_record_is_a_segment_where_it_stood_and_the_first_says_who_it_was() {
        let mut out = Vec::new();
        let mut file = CaptureFile::begin(&mut out, "qemu:///system").unwrap();
        let (ping, pong) = (packet(12), packet(16));
        file.add(&record(7, false, 0, &ping)).unwrap();
        file.add(&record(7, true, 0, &pong[..10])).unwrap();
        file.add(&record(7, true, 10, &pong[10..])).unwrap();
        file.add(&record(8, false, 20, &ping)).unwrap();
        // Others were lost before this one.
        file.add(&record(7, false, 120, &ping)).unwrap();
        assert_eq!(file.written(), Written::default());
        file.flush().unwrap();
        assert_eq!(file.written(), Written { packets: 4, bytes: 3 * 20 + 24, lost: 100 });
        let who = |number: u64| Some(format!("connection {number}: uid 0 over unix"));
        let expected = [
            (1, ping.clone(), who(7)),
            (1, pong[..10].to_vec(), None),
            (11, pong[10..].to_vec(), None),
            (21, ping.clone(), who(8)),
            (121, ping, None),
        ];
        assert_eq!(read(&out), expected);
    }

    #[test]
    fn an_agent_is_another_whom_the_daemon_calls_and_its_lines_are_what_is_counted() {
        let said = |sent, position, bytes: &[u8]| CaptureRecord {
            peer: Text::clipped("web"),
            transport: Text::clipped("agent"),
            ..record(7, sent, position, bytes)
        };
        let mut out = Vec::new();
        let mut file = CaptureFile::begin(&mut out, "qemu:///system").unwrap();
        file.add(&record(7, false, 0, &packet(12))).unwrap();
        let mut count = |record: &CaptureRecord| {
            file.add(record).unwrap();
            (file.added().packets, file.is_between_packets())
        };
        // One line in two pieces, two lines and a half in one, the rest of it, a mark, and what is not of its line.
        assert_eq!(count(&said(true, 0, b"\xff{\"execute\":")), (2, false));
        assert_eq!(count(&said(true, 12, b"1}\n")), (2, true));
        assert_eq!(count(&said(false, 0, b"{}\n\xff{}\n{")), (5, false));
        assert_eq!(count(&said(false, 8, b"}\n")), (5, true));
        assert_eq!(count(&said(false, 10, b"")), (5, true));
        assert_eq!(count(&said(false, 10, b"\xff")), (6, false));
        assert_eq!(count(&said(false, 111, b"{}\n")), (7, true));
        assert_eq!(file.added(), Written { packets: 7, bytes: 20 + 12 + 3 + 8 + 2 + 1 + 3, lost: 100 });
        file.flush().unwrap();
        let comments: Vec<_> = read(&out).into_iter().filter_map(|(.., comment)| comment).collect();
        assert_eq!(comments, ["connection 7: uid 0 over unix", "agent of web"]);
        assert_eq!(ends(&out)[1], "2001:db8::1 49152 2001:db8:2::7 16516");
        assert_eq!(ends(&out)[3], "2001:db8:2::7 16516 2001:db8::1 49152");
    }

    #[test]
    fn an_agent_whose_virtual_machine_gets_another_name_is_introduced_by_it() {
        let mut out = Vec::new();
        let mut file = CaptureFile::begin(&mut out, "qemu:///system").unwrap();
        for (position, name) in (0..).step_by(3).zip(["web", "web", "front", "front", "web"]) {
            let (peer, transport) = (Text::clipped(name), Text::clipped("agent"));
            let said = CaptureRecord { peer, transport, ..record(7, position % 2 == 0, position, b"{}\n") };
            file.add(&said).unwrap();
        }
        file.flush().unwrap();
        let comments: Vec<_> = read(&out).into_iter().map(|(.., comment)| comment).collect();
        let who = |name: &str| Some(format!("agent of {name}"));
        assert_eq!(comments, [who("web"), None, who("front"), None, who("web")]);
    }

    #[test]
    fn what_was_flushed_can_be_read_whenever_it_ends() {
        let mut out = Vec::new();
        let mut file = CaptureFile::begin(&mut out, "test:///default").unwrap();
        file.add(&record(1, false, 0, &packet(12))).unwrap();
        file.flush().unwrap();
        file.add(&record(1, false, 20, &packet(12))).unwrap();
        drop(file);
        assert_eq!(read(&out).len(), 1);
    }

    /// A disk with so much room.
    #[derive(Default)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room - self.bytes.len());
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn where_a_disk_is_full_is_known_how_much_of_it_is_whole() {
        let mut whole = Disk { room: usize::MAX, ..Disk::default() };
        let mut ends = Vec::new();
        let mut file = CaptureFile::begin(&mut whole, "test:///default").unwrap();
        for position in [0, 20, 40] {
            file.flush().unwrap();
            ends.push(file.whole_bytes());
            file.add(&record(1, false, position, &packet(12))).unwrap();
        }
        file.flush().unwrap();
        ends.push(file.whole_bytes());
        for room in 0..whole.bytes.len() {
            let mut file = CaptureFile::begin(Disk { room, ..Disk::default() }, "test:///default").unwrap();
            for position in [0, 20] {
                file.add(&record(1, false, position, &packet(12))).unwrap();
            }
            let first = file.flush();
            file.add(&record(1, false, 40, &packet(12))).unwrap();
            // After an error nothing more is written.
            assert_eq!(first.and_then(|()| file.flush()).unwrap_err().kind(), ErrorKind::StorageFull);
            let fitting = ends.iter().filter(|end| **end <= u64::try_from(room).unwrap()).count();
            let last = fitting.checked_sub(1).map_or(0, |last| ends[last]);
            assert_eq!(file.whole_bytes(), last, "{room}");
            let packets = u64::try_from(fitting.saturating_sub(1)).unwrap();
            assert_eq!(file.written(), Written { packets, bytes: 20 * packets, lost: 0 }, "{room}");
        }
    }

    #[test]
    fn of_more_connections_than_can_be_there_the_silent_ones_are_forgotten() {
        let mut out = Vec::new();
        let mut file = CaptureFile::begin(&mut out, "test:///default").unwrap();
        let last = u64::try_from(3 * WAYS_MAX).unwrap();
        for connection in 1..=last {
            file.add(&record(connection, false, 0, &packet(0))).unwrap();
            // One that never falls silent.
            file.add(&record(1, true, 8 * (connection - 1), &packet(0))).unwrap();
            assert!(file.ways.len() <= WAYS_MAX);
            file.flush().unwrap();
        }
        file.add(&record(1, true, 8 * last, &packet(0))).unwrap();
        // Forgotten: what it said meanwhile is not known to be lost, and it is introduced again.
        file.add(&record(2, false, 800, &packet(0))).unwrap();
        file.flush().unwrap();
        assert_eq!(file.added().lost, 0);
        let records = read(&out);
        let comments = |peer: &str| records.iter().filter(|(.., comment)| comment.as_deref() == Some(peer)).count();
        assert_eq!((comments("connection 1: uid 0 over unix"), comments("connection 2: uid 0 over unix")), (1, 2));
    }
}
