//! One capture, held against what packets are: whole but for what was lost, in their order, and never its own.

use std::collections::BTreeMap;

use vmwire_protocol::header::MAGIC;
use vmwire_protocol::message::CaptureRecord;
use vmwire_protocol::xdr;

/// A capture as its client sees it.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// The era in which it was opened.
    pub(crate) era: usize,
    /// It asked for agents too.
    agents: bool,
    /// Bytes read and not taken over yet.
    pub(crate) untaken: usize,
    /// The offset of the next record.
    offset: u64,
    /// Of each connection and way: the next position, and how much of the packet there is still to come.
    ways: BTreeMap<(u64, bool), (u64, usize)>,
    /// Of the lane of each virtual machine and way: its number, and the next position.
    lanes: BTreeMap<(String, bool), (u64, u64)>,
}

impl Capture {
    /// One that is opened in this era.
    pub(crate) fn open(era: usize, agents: bool) -> Self {
        Self { era, agents, ..Self::default() }
    }

    /// A record came to the connection `own`; answers whether there is a hole before it, and whether it is of an agent.
    pub(crate) fn data(&mut self, own: u64, offset: u64, data: &[u8]) -> Result<(bool, bool), String> {
        let record: CaptureRecord = xdr::decode(data).map_err(|error| format!("no record of a capture: {error}"))?;
        if offset != self.offset {
            return Err(format!("a capture goes on at {offset}, not at {}", self.offset));
        }
        self.offset += u64::try_from(data.len()).unwrap();
        self.untaken += data.len();
        if record.transport.as_str() == "agent" {
            return Ok((self.of_agent(&record)?, true));
        }
        if record.connection == own {
            return Err("a capture of itself".to_owned());
        }
        let known = self.ways.get(&(record.connection, record.sent)).copied();
        let (next, left) = known.unwrap_or((record.position, 0));
        if record.position < next {
            return Err(format!("{record:?} where {next} is next"));
        }
        let jumped = record.position > next;
        let left = if jumped || left == 0 {
            let head = record.bytes.first_chunk::<8>().filter(|head| head.starts_with(&MAGIC));
            let head = head.ok_or_else(|| format!("{record:?} is no beginning of a packet"))?;
            8 + usize::try_from(u32::from_be_bytes(*head.last_chunk().unwrap())).unwrap()
        } else {
            left
        };
        let length = record.bytes.len();
        let left = left.checked_sub(length).ok_or_else(|| format!("{record:?} is longer than its packet"))?;
        let next = record.position + u64::try_from(length).unwrap();
        self.ways.insert((record.connection, record.sent), (next, left));
        Ok((jumped, false))
    }

    /// A record of a lane; answers whether there is a hole before it.
    fn of_agent(&mut self, record: &CaptureRecord) -> Result<bool, String> {
        if !self.agents {
            return Err(format!("nobody asked for agents: {record:?}"));
        }
        let way = (record.peer.to_string(), record.sent);
        let (number, next) = self.lanes.get(&way).copied().unwrap_or((record.connection, record.position));
        // One that is undefined and defined again has another lane, which begins anew.
        let jumped = number == record.connection && record.position > next;
        if number > record.connection || number == record.connection && record.position < next {
            return Err(format!("{record:?} where {next} of lane {number} is next"));
        }
        let begin = if record.sent { matches!(record.bytes[0], 0xff | b'{') } else { true };
        if !begin {
            return Err(format!("{record:?} is nothing that an agent is asked"));
        }
        let length = u64::try_from(record.bytes.len()).unwrap();
        self.lanes.insert(way, (record.connection, record.position + length));
        Ok(jumped)
    }
}
