//! Streams of one connection, the same for both ends: numbers, credit, ends.
//!
//! ```text
//!   opened ──data/credit──▶ opened ──END──▶ half over ──END──▶ over
//!      └──────────────── END with why, either side ───────────▲
//! ```
//! Credit counts bytes of data, each way on its own. A sender never exceeds it; one that does loses the stream, not the
//! connection. Packets for a stream that is over, or never was, are dropped in silence.

use crate::limits::{STREAM_CREDIT_INITIAL, STREAM_DATA_BYTES_MAX, STREAMS_MAX};
use crate::message::{Failure, StreamCredit, StreamEnd, code, number};
use crate::xdr::{self, EncodeError};

/// Why nothing can be done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamError {
    /// It is over, its direction is over, or it never was.
    Over,
    /// Too many are open on this connection.
    TooMany,
}

/// The streams that are open.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Vec<State>,
    last: u32,
}

#[derive(Debug)]
struct State {
    number: u32,
    /// Bytes of data we may still send.
    send_credit: u64,
    /// Bytes of data the other side may still send.
    receive_credit: u64,
    /// Bytes that were taken here and not granted anew yet.
    ungranted: u32,
    we_ended: bool,
    they_ended: bool,
}

/// What a packet for a stream means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Nothing: the stream is over.
    Nothing,
    /// The data may be taken.
    Data,
    /// There is room to send again.
    Room,
    /// The other side sends no more.
    Ended,
    /// The stream is over.
    Over,
    /// The other side sent more than it may; the stream is over and END has to be sent with this.
    Violated(Failure),
}

/// STREAM_DATA without its data, which are sliced out of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataHead {
    pub(super) stream: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
}

impl Streams {
    /// Opens the next stream.
    pub(super) fn open(&mut self) -> Result<u32, StreamError> {
        let number = self.last.checked_add(1).ok_or(StreamError::TooMany)?;
        self.adopt(number).map(|()| number)
    }

    /// Takes up a stream that the other side opened.
    pub(super) fn adopt(&mut self, number: u32) -> Result<(), StreamError> {
        if self.open.len() >= STREAMS_MAX {
            return Err(StreamError::TooMany);
        }
        if number <= self.last {
            return Err(StreamError::Over);
        }
        self.last = number;
        self.open.push(State {
            number,
            send_credit: STREAM_CREDIT_INITIAL.into(),
            receive_credit: STREAM_CREDIT_INITIAL.into(),
            ungranted: 0,
            we_ended: false,
            they_ended: false,
        });
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    fn position(&self, number: u32) -> Option<usize> {
        self.open.iter().position(|state| state.number == number)
    }

    fn state(&mut self, number: u32) -> Option<&mut State> {
        self.open.iter_mut().find(|state| state.number == number)
    }

    fn forget(&mut self, number: u32) {
        if let Some(at) = self.position(number) {
            self.open.swap_remove(at);
        }
        if self.open.is_empty() {
            self.open = Vec::new();
        }
    }

    /// How many bytes of data may be sent in one packet now.
    pub(super) fn room(&self, number: u32) -> usize {
        let state = self.open.iter().find(|state| state.number == number && !state.we_ended);
        let credit = state.map_or(0, |state| state.send_credit);
        usize::try_from(credit).unwrap_or(usize::MAX).min(STREAM_DATA_BYTES_MAX)
    }

    /// Whether the stream is open.
    pub(super) fn is_open(&self, number: u32) -> bool {
        self.position(number).is_some()
    }

    /// Takes leave to send `bytes` of data.
    pub(super) fn spend(&mut self, number: u32, bytes: usize) -> Result<(), StreamError> {
        if bytes > self.room(number) {
            return Err(StreamError::Over);
        }
        if let Some(state) = self.state(number) {
            state.send_credit = state.send_credit.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Our direction is over, or with `both` the whole stream. Answers whether there was anything to end.
    pub(super) fn end(&mut self, number: u32, both: bool) -> bool {
        let Some(state) = self.state(number) else { return false };
        if state.we_ended && !both {
            return false;
        }
        state.we_ended = true;
        if both || state.they_ended {
            self.forget(number);
        }
        true
    }

    /// `bytes` of received data were taken into the stream's own buffer. Answers the credit to grant now: a grant for
    /// every packet would double the packets, so it waits for a quarter of the window.
    pub(super) fn taken(&mut self, number: u32, bytes: usize) -> Option<StreamCredit> {
        let state = self.state(number).filter(|state| !state.they_ended)?;
        state.ungranted = state.ungranted.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if state.ungranted < STREAM_CREDIT_INITIAL / 4 {
            return None;
        }
        let bytes = std::mem::take(&mut state.ungranted);
        state.receive_credit += u64::from(bytes);
        Some(StreamCredit { stream: number, bytes })
    }

    /// Grants so much beside what is granted for data that were taken.
    pub(super) fn widen(&mut self, number: u32, bytes: u32) -> Option<StreamCredit> {
        let state = self.state(number).filter(|state| !state.they_ended)?;
        state.receive_credit += u64::from(bytes);
        Some(StreamCredit { stream: number, bytes })
    }

    pub(super) fn handle_data(&mut self, head: DataHead, bytes: usize) -> Received {
        let Some(state) = self.state(head.stream).filter(|state| !state.they_ended) else { return Received::Nothing };
        match state.receive_credit.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX)) {
            Some(left) => {
                state.receive_credit = left;
                Received::Data
            }
            None => {
                let credit = state.receive_credit;
                self.forget(head.stream);
                Received::Violated(
                    Failure::new(code::INVALID, "more data than the stream's credit allows")
                        .detail("limit", &credit.to_string()),
                )
            }
        }
    }

    pub(super) fn handle_credit(&mut self, credit: &StreamCredit) -> Received {
        let Some(state) = self.state(credit.stream).filter(|state| !state.we_ended) else { return Received::Nothing };
        state.send_credit = state.send_credit.saturating_add(credit.bytes.into());
        Received::Room
    }

    pub(super) fn handle_end(&mut self, end: &StreamEnd) -> Received {
        // Whoever has ended its own direction may still end the other one, with a reason.
        let Some(state) = self.state(end.stream).filter(|state| !state.they_ended || end.why.is_some()) else {
            return Received::Nothing;
        };
        state.they_ended = true;
        if end.why.is_some() || state.we_ended {
            self.forget(end.stream);
            return Received::Over;
        }
        Received::Ended
    }
}

/// Splits the body of STREAM_DATA into its head and its data, which stay where they lie. `None`: malformed.
pub(super) fn split_data(body: &[u8]) -> Option<(DataHead, &[u8])> {
    let (stream, rest) = word(body)?;
    let (flags, rest) = word(rest)?;
    let (high, rest) = word(rest)?;
    let (low, rest) = word(rest)?;
    let (length, rest) = word(rest)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= STREAM_DATA_BYTES_MAX)?;
    let (data, padding) = rest.split_at_checked(length)?;
    let whole = padding.len() == length.next_multiple_of(4) - length && padding.iter().all(|byte| *byte == 0);
    whole.then_some((DataHead { stream, flags, offset: u64::from(high) << 32 | u64::from(low) }, data))
}

/// Appends type and body of STREAM_DATA.
pub(super) fn encode_data(out: &mut Vec<u8>, head: DataHead, data: &[u8]) -> Result<(), EncodeError> {
    xdr::encode(out, &number::STREAM_DATA)?;
    xdr::encode(out, &head.stream)?;
    xdr::encode(out, &head.flags)?;
    xdr::encode(out, &head.offset)?;
    xdr::encode(out, &u32::try_from(data.len()).unwrap_or(u32::MAX))?;
    out.extend_from_slice(data);
    out.resize(out.len() + data.len().next_multiple_of(4) - data.len(), 0);
    Ok(())
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ClientData, StreamData};
    use crate::xdr::Opaque;

    fn head(stream: u32) -> DataHead {
        DataHead { stream, flags: 1, offset: 0x1_0000_0002 }
    }

    #[test]
    fn data_are_sliced_as_the_codec_would_read_them() {
        for length in [0_usize, 1, 2, 3, 4, 5, 32768] {
            let data = vec![0x5a; length];
            let mut sliced = Vec::new();
            encode_data(&mut sliced, head(9), &data).unwrap();
            let mut whole = Vec::new();
            let packet =
                StreamData { stream: 9, flags: 1, offset: 0x1_0000_0002, data: Opaque::new(data.clone()).unwrap() };
            ClientData::StreamData(packet).encode(&mut whole).unwrap();
            assert_eq!(sliced, whole);
            assert_eq!(split_data(&sliced[4..]), Some((head(9), &data[..])));
            for cut in 4..sliced.len().min(64) {
                assert_eq!(split_data(&sliced[4..cut]), None);
            }
        }
    }

    #[test]
    fn refuses_data_with_a_lying_length_or_dirty_padding() {
        let mut body = Vec::new();
        encode_data(&mut body, head(1), b"abc").unwrap();
        let body = &body[4..];
        let mut dirty = body.to_vec();
        *dirty.last_mut().unwrap() = 1;
        assert_eq!(split_data(&dirty), None);
        for length in [0_u32, 4, 5, 32769, u32::MAX] {
            let mut lying = body.to_vec();
            lying[16..20].copy_from_slice(&length.to_be_bytes());
            assert_eq!(split_data(&lying).map(|(_, data)| data.len()), (length == 4).then_some(4));
        }
    }

    #[test]
    fn credit_counts_down_and_comes_back_in_quarters() {
        let mut streams = Streams::default();
        let number = streams.open().unwrap();
        assert_eq!(streams.room(number), 32768);
        streams.spend(number, 32768).unwrap();
        streams.spend(number, 32768).unwrap();
        assert_eq!(streams.room(number), 0);
        assert_eq!(streams.spend(number, 1), Err(StreamError::Over));
        assert_eq!(streams.handle_credit(&StreamCredit { stream: number, bytes: 5 }), Received::Room);
        assert_eq!(streams.room(number), 5);

        assert_eq!(streams.handle_data(head(number), 65536), Received::Data);
        assert_eq!(streams.taken(number, 16383), None);
        assert_eq!(streams.taken(number, 1), Some(StreamCredit { stream: number, bytes: 16384 }));
        assert_eq!(streams.handle_data(head(number), 16384), Received::Data);
        assert_eq!(streams.widen(number, 7), Some(StreamCredit { stream: number, bytes: 7 }));
        assert_eq!(streams.handle_data(head(number), 7), Received::Data);
        assert!(matches!(streams.handle_data(head(number), 1), Received::Violated(_)));
        assert!(!streams.is_open(number));
        assert_eq!(streams.widen(number, 7), None);
        assert_eq!(streams.handle_data(head(number), 1), Received::Nothing);
    }

    #[test]
    fn a_stream_is_over_when_both_have_ended_it_or_one_said_why() {
        let mut streams = Streams::default();
        let end = |stream, why: bool| StreamEnd { stream, why: why.then(|| Failure::new(code::BUSY, "taken over")) };
        let first = streams.open().unwrap();
        assert!(streams.end(first, false));
        assert!(!streams.end(first, false));
        assert_eq!(streams.room(first), 0);
        assert_eq!(streams.handle_data(head(first), 4), Received::Data);
        assert_eq!(streams.handle_end(&end(first, false)), Received::Over);
        let second = streams.open().unwrap();
        assert_eq!(second, first + 1, "numbers are never reused");
        assert_eq!(streams.handle_end(&end(second, false)), Received::Ended);
        assert!(streams.end(second, false));
        let third = streams.open().unwrap();
        assert_eq!(streams.handle_end(&end(third, true)), Received::Over);
        let fourth = streams.open().unwrap();
        assert_eq!(streams.handle_end(&end(fourth, false)), Received::Ended);
        assert_eq!(streams.handle_end(&end(fourth, false)), Received::Nothing);
        assert_eq!(streams.handle_end(&end(fourth, true)), Received::Over);
        assert_eq!(streams.len(), 0);
    }
}
