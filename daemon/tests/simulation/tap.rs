//! An ear on the wire: reads what the daemon sends without the help of the code under test, as `SPEC.md` has it.

use std::collections::BTreeSet;

/// A packet that was heard.
#[derive(Debug)]
pub(crate) struct Packet {
    /// How many bytes were heard when it was whole.
    pub(crate) end: u64,
    pub(crate) reply_to: u32,
    pub(crate) number: u32,
    pub(crate) body: Vec<u8>,
}

/// What was heard on one connection.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    bytes: Vec<u8>,
    last_serial: u32,
    /// Calls of the client that were not answered yet.
    unanswered: BTreeSet<u32>,
    /// The connection's last packet was heard.
    over: bool,
    /// Bytes of whole packets.
    bytes_heard: u64,
}

impl Tap {
    /// The client has put a call on the wire.
    pub(crate) fn asked(&mut self, serial: u32) {
        self.unanswered.insert(serial);
    }

    /// The daemon has sent bytes: every packet has the next serial, every call is answered at most once, nothing follows
    /// the last packet. Answers those that are whole.
    pub(crate) fn heard(&mut self, bytes: &[u8]) -> Result<Vec<Packet>, String> {
        self.bytes.extend_from_slice(bytes);
        let (mut at, mut packets) = (0, Vec::new());
        while let Some(header) = self.bytes.get(at..at + 8) {
            if header[..4] != *b"\x89VMW" {
                return Err(format!("no packet stands where one was due: {header:02x?}"));
            }
            let length = usize::try_from(word(&header[4..])).unwrap();
            if length < 12 || length % 4 != 0 || length > 4 << 20 {
                return Err(format!("a payload of {length} bytes"));
            }
            let Some(payload) = self.bytes.get(at + 8..at + 8 + length) else { break };
            let (serial, reply_to, number) = (word(payload), word(&payload[4..]), word(&payload[8..]));
            at += 8 + length;
            let end = self.bytes_heard + u64::try_from(at).unwrap();
            packets.push(Packet { end, reply_to, number, body: payload[12..].to_vec() });
            self.packet(serial, reply_to, number)?;
        }
        self.bytes_heard += u64::try_from(at).unwrap();
        self.bytes.drain(..at);
        Ok(packets)
    }

    fn packet(&mut self, serial: u32, reply_to: u32, number: u32) -> Result<(), String> {
        if self.over {
            return Err(format!("packet {number:#x} came behind the last one"));
        }
        if serial != self.last_serial + 1 {
            return Err(format!("serial {serial} came behind {}", self.last_serial));
        }
        self.last_serial = serial;
        match (number, reply_to) {
            (0x1000, _) if self.unanswered.contains(&reply_to) => Ok(()),
            (0x1000, _) => Err(format!("progress of call {reply_to}, which does not wait")),
            (0x1001.., 0) => Ok(()),
            (0x1001.., _) => Err(format!("packet {number:#x} answers {reply_to}")),
            (0, 0) => {
                self.over = true;
                Ok(())
            }
            _ if self.unanswered.remove(&reply_to) => Ok(()),
            _ => Err(format!("answer {number:#x} to call {reply_to}, which does not wait")),
        }
    }

    /// The connection's end was heard; half a packet must not be left.
    pub(crate) fn ended(&self) -> Result<(), String> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(format!("{} bytes of half a packet are left", self.bytes.len()))
        }
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(*bytes.first_chunk().unwrap())
}
