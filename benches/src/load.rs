//! The generator: the same packets to ours and to a yardstick, at as little cost as can be. Requests are made before and
//! only their serials change; of replies the number of bytes is counted, and the last of each turn is looked at.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use vmwire_protocol::message::{ClientData, number};

use crate::Outcome;
use crate::socket::{Address, Socket};
use crate::statistics::percentile;
use crate::wire::{REPLY_TO_AT, SERIAL_AT, Wire, packet, word};

/// A request, and how long its reply is.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    request: Vec<u8>,
    reply_bytes: usize,
}

/// Round-trip times of one run, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoundTrips {
    /// Half are quicker.
    pub(crate) p50: f64,
    /// All but one in a hundred are quicker.
    pub(crate) p99: f64,
}

impl Exchange {
    /// Asks the daemon at `address` once, to learn how long the reply is.
    pub(crate) fn learn(address: &Address, data: &ClientData) -> Outcome<Self> {
        let (mut stream, serial) = Wire::greet(address)?.into_parts();
        let request = packet(serial + 1, data)?;
        stream.write_all(&request)?;
        let mut head = [0; 20];
        stream.read_exact(&mut head)?;
        let length = word(&head, 4).ok_or("no length")?;
        if word(&head, 16) == Some(number::FAILURE) {
            return Err(format!("the daemon does not answer {data:?}").into());
        }
        Ok(Self { request, reply_bytes: usize::try_from(length)? + SERIAL_AT })
    }

    /// Bytes of the request.
    pub(crate) fn request_bytes(&self) -> usize {
        self.request.len()
    }

    /// Bytes of the reply.
    pub(crate) fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }
}

/// A connection that carries one exchange again and again.
#[derive(Debug)]
pub(crate) struct Lane {
    stream: Socket,
    serial: u32,
    exchange: Exchange,
    /// Whether replies are those of a daemon, and tell what they answer.
    answers: bool,
    requests: Vec<u8>,
    replies: Vec<u8>,
}

impl Lane {
    /// To a daemon.
    pub(crate) fn to_daemon(address: &Address, exchange: &Exchange) -> Outcome<Self> {
        let (stream, serial) = Wire::greet(address)?.into_parts();
        Ok(Self::new(stream, serial, exchange, true))
    }

    /// To an echo.
    pub(crate) fn to_echo(address: &Address, exchange: &Exchange) -> Outcome<Self> {
        Ok(Self::new(address.connect()?, 0, exchange, false))
    }

    fn new(stream: Socket, serial: u32, exchange: &Exchange, answers: bool) -> Self {
        Self { stream, serial, exchange: exchange.clone(), answers, requests: Vec::new(), replies: Vec::new() }
    }

    /// One request after the other, each when the reply to the one before has come.
    pub(crate) fn ping_pong(&mut self, time: Duration) -> Outcome<RoundTrips> {
        self.fill(1);
        let mut samples = Vec::with_capacity(1 << 20);
        let begin = Instant::now();
        let mut before = begin;
        while before - begin < time {
            self.turn(1)?;
            let now = Instant::now();
            samples.push((now - before).as_secs_f64() * 1e6);
            before = now;
        }
        Ok(RoundTrips { p50: percentile(&mut samples, 0.5), p99: percentile(&mut samples, 0.99) })
    }

    /// `batch` requests in one write, and the next when all their replies have come: packets each way in a second.
    pub(crate) fn pipelined(&mut self, time: Duration, batch: usize) -> Outcome<f64> {
        self.fill(batch);
        let begin = Instant::now();
        let mut turns = 0.0;
        while begin.elapsed() < time {
            self.turn(batch)?;
            turns += 1.0;
        }
        Ok(turns * f64::from(u32::try_from(batch)?) / begin.elapsed().as_secs_f64())
    }

    /// One request and its reply, `count` times, with a pause before each in which the other side falls asleep.
    pub(crate) fn unhurried(&mut self, count: u32, pause: Duration) -> Outcome<()> {
        self.fill(1);
        for _ in 0..count {
            std::thread::sleep(pause);
            self.turn(1)?;
        }
        Ok(())
    }

    /// Connects, sends one request, hears the reply and goes, again and again: how often in a second. Over TLS the reply
    /// is what shows that the other end is content with us.
    pub(crate) fn visits(address: &Address, exchange: &Exchange, answers: bool, time: Duration) -> Outcome<f64> {
        let begin = Instant::now();
        let mut visits = 0.0;
        while begin.elapsed() < time {
            let mut lane = Self::new(address.connect()?, 0, exchange, answers);
            lane.fill(1);
            lane.turn(1)?;
            visits += 1.0;
        }
        Ok(visits / begin.elapsed().as_secs_f64())
    }

    fn fill(&mut self, batch: usize) {
        self.requests = self.exchange.request.repeat(batch);
        self.replies = vec![0; self.exchange.reply_bytes * batch];
    }

    fn turn(&mut self, batch: usize) -> Outcome<()> {
        for request in self.requests.chunks_exact_mut(self.exchange.request.len()) {
            self.serial = if self.serial == u32::MAX { 1 } else { self.serial + 1 };
            if let Some(field) = request.get_mut(SERIAL_AT..SERIAL_AT + 4) {
                field.copy_from_slice(&self.serial.to_be_bytes());
            }
        }
        self.stream.write_all(&self.requests)?;
        self.stream.read_exact(&mut self.replies)?;
        let last = self.exchange.reply_bytes * (batch - 1);
        if self.answers && word(&self.replies, last + REPLY_TO_AT) != Some(self.serial) {
            return Err("the daemon answered something else than was asked".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustls::HandshakeKind;

    use super::*;
    use crate::papers::{Papers, free_address};
    use crate::yardstick::{Kind, run_here};

    #[test]
    fn every_request_to_an_echo_is_answered_with_as_many_bytes_as_a_daemon_would() {
        for kind in [Kind::MioEcho, Kind::BlockingEcho, Kind::TlsEcho] {
            let dir = tempfile::tempdir().unwrap();
            let address = match kind {
                Kind::TlsEcho => {
                    let papers = Papers::make(dir.path()).unwrap();
                    let address = free_address().unwrap();
                    run_here(kind, address.to_string().as_ref(), 20, 300, Some(dir.path()));
                    Address::Tls(address, papers.client(false).unwrap())
                }
                _ => {
                    let path = dir.path().join("echo");
                    run_here(kind, path.as_os_str(), 20, 300, None);
                    Address::Unix(path)
                }
            };
            let exchange = Exchange { request: packet(1, &ClientData::Ping).unwrap(), reply_bytes: 300 };
            let mut lane = Lane::to_echo(&address, &exchange).unwrap();
            let run = lane.ping_pong(Duration::from_millis(10)).unwrap();
            assert!(run.p50 > 0.0 && run.p50 <= run.p99, "{run:?}");
            let turns = lane.serial;
            assert!(lane.pipelined(Duration::from_millis(10), 5).unwrap() > 0.0);
            assert!(lane.serial > turns && (lane.serial - turns).is_multiple_of(5));
            // The blocking echo serves one after the other.
            drop(lane);
            assert!(Lane::visits(&address, &exchange, false, Duration::from_millis(10)).unwrap() > 0.0);
        }
    }

    #[test]
    fn a_client_that_resumes_does_and_one_that_is_to_shake_hands_in_full_does_so_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let papers = Papers::make(dir.path()).unwrap();
        let at = free_address().unwrap();
        run_here(Kind::TlsEcho, at.to_string().as_ref(), 20, 300, Some(dir.path()));
        let exchange = Exchange { request: packet(1, &ClientData::Ping).unwrap(), reply_bytes: 300 };
        for (resumes, expected) in [(true, HandshakeKind::Resumed), (false, HandshakeKind::Full)] {
            let address = Address::Tls(at, papers.client(resumes).unwrap());
            Lane::visits(&address, &exchange, false, Duration::from_millis(10)).unwrap();
            let mut lane = Lane::to_echo(&address, &exchange).unwrap();
            lane.unhurried(1, Duration::ZERO).unwrap();
            let Socket::Tls(stream) = &lane.stream else { panic!("{:?}", lane.stream) };
            assert_eq!(stream.conn.handshake_kind(), Some(expected));
        }
    }
}
