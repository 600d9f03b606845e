//! Numbers of operations, never given twice, however often the daemon starts: they are reserved in blocks, and the
//! end of the block is on disk before a number of it is given.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::driver::FileRequest;
use crate::files::child::replace;
use crate::model::OperationId;
use crate::regular_file::{self, Links};

/// How many numbers are reserved at once.
const BLOCK: u64 = 1000;

/// More than any number and its line end.
const FILE_BYTES_MAX: usize = 64;

/// The counter behind the numbers.
#[derive(Debug)]
pub(super) struct OperationNumbers {
    path: PathBuf,
    next: u64,
    /// The first number that is not ours to give.
    reserved: u64,
}

impl OperationNumbers {
    /// Reads the counter and reserves the first block.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let read = match regular_file::read(path, FILE_BYTES_MAX, Links::Refuse) {
            // Longer than any number: as damaged as any other text.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Vec::new()),
            read => read,
        };
        let next = match read {
            Ok(text) => parse(&text).unwrap_or_else(|| {
                // No daemon gives a thousand numbers a second for long, so this is beyond all that were given.
                let beyond = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() * 1000;
                log::error!("{} holds no number; operations are numbered from {beyond} on", path.display());
                beyond
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
            Err(error) => return Err(error),
        };
        let numbers = Self { path: path.to_owned(), next, reserved: next.saturating_add(BLOCK) };
        replace(path, &numbers.content(), true, 0)?;
        Ok(numbers)
    }

    /// The next number. When half of the block has been given, the next block is to be reserved by what comes with it.
    pub(super) fn take(&mut self) -> (OperationId, Option<FileRequest>) {
        let number = self.next;
        self.next += 1;
        let request = (self.reserved.saturating_sub(self.next) < BLOCK / 2).then(|| {
            self.reserved += BLOCK;
            FileRequest::Write { path: self.path.clone(), data: self.content(), durable: true }
        });
        (OperationId(number), request)
    }

    /// The reservation that was asked for last could not be written: it is asked for again with the next number.
    pub(super) fn not_reserved(&mut self) {
        self.reserved = self.reserved.saturating_sub(BLOCK);
    }

    fn content(&self) -> Vec<u8> {
        format!("{}\n", self.reserved).into_bytes()
    }
}

fn parse(text: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(text).ok()?.strip_suffix('\n')?.parse().ok()?;
    // As far as this nobody counts; what is beyond is damage, and must not make the counter overflow.
    (1..u64::MAX / 2).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn take(numbers: &mut OperationNumbers) -> u64 {
        let (OperationId(number), request) = numbers.take();
        if let Some(FileRequest::Write { path, data, durable }) = request {
            assert!(durable);
            fs::write(path, data).unwrap();
        }
        number
    }

    #[test]
    fn numbers_are_never_given_twice_whenever_the_daemon_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operations");
        let mut last = 0;
        for life in [0, 1, 499, 500, 501, 999, 1000, 1001, 2500] {
            let mut numbers = OperationNumbers::open(&path).unwrap();
            for _ in 0..life {
                let number = take(&mut numbers);
                assert!(number > last, "{number} came after {last}");
                last = number;
                let on_disk = parse(&fs::read(&path).unwrap()).unwrap();
                assert!(on_disk > number, "{number} was given before it was reserved");
            }
        }
    }

    #[test]
    fn a_reservation_that_could_not_be_written_is_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = OperationNumbers::open(&dir.path().join("operations")).unwrap();
        let asked = std::iter::from_fn(|| Some(numbers.take().1)).position(|request| request.is_some()).unwrap();
        assert_eq!(asked, 500);
        numbers.not_reserved();
        let (number, request) = numbers.take();
        assert_eq!(number, OperationId(502));
        let Some(FileRequest::Write { data, .. }) = request else { panic!() };
        assert_eq!(data, b"2001\n");
    }

    #[test]
    fn the_first_number_ever_is_1() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(take(&mut OperationNumbers::open(&dir.path().join("operations")).unwrap()), 1);
    }

    #[test]
    fn a_damaged_counter_goes_on_beyond_all_that_could_have_been_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operations");
        let long = [b'1'; 1000];
        for damaged in [&b""[..], b"12", &long, b"twelve\n", b"0\n", b"-5\n", b"18446744073709551615\n", b"\xff\n"] {
            fs::write(&path, damaged).unwrap();
            let number = take(&mut OperationNumbers::open(&path).unwrap());
            assert!(number > 1_700_000_000_000, "{damaged:?}: {number}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operations");
        regular_file::each_impostor(&path, |what| {
            assert!(OperationNumbers::open(&path).is_err(), "{what}");
        });
    }
}
