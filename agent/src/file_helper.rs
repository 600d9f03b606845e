//! Our own program as the holder of files: it does with them what it is told over its standard input, which is a socket, one order
//! after the other, for as long as the agent is there. A disk that hangs keeps it, and nobody else.
//!
//! ```text
//!   order:  what 1 │ file 8 │ number 8 │ detail 1 │ length 8 │ path or data
//!   answer: 0 or 1 │ number, or error 8 │ at the end 1 │ length 8 │ data
//! ```

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Its first word; of no use to people.
pub const WORD: &str = "--holder-of-files-of-vmwire-ga";
/// What comes before the data of an answer.
pub const ANSWER_HEAD_BYTES: usize = 18;
/// What comes before the data of an order.
const ORDER_HEAD_BYTES: usize = 26;
/// Rights of a file that is made here, whatever the mask of the agent.
const NEW_FILE_MODE: u32 = 0o666;

/// What is to be done with a file.
#[derive(Debug)]
pub enum Order {
    /// Open it; the answer's number is the file's from then on.
    Open(Mode, String),
    /// Close it.
    Close(u64),
    /// Read so many bytes.
    Read(u64, u64),
    /// Write these.
    Write(u64, Vec<u8>),
    /// Go to a position, counted from there.
    Seek(u64, Whence, i64),
}

/// Where a position is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    /// The beginning.
    Set,
    /// Where the file is.
    Current,
    /// Its end.
    End,
}

/// What the letters of `fopen` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    read: bool,
    write: bool,
    create: bool,
    truncate: bool,
    append: bool,
}

/// What came of an order that was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// A file, or a position.
    pub number: i64,
    /// Nothing more is there to be read.
    pub at_end: bool,
    /// What was read.
    pub data: Vec<u8>,
}

impl Mode {
    /// The mode of that name.
    pub fn named(name: &str) -> Option<Mode> {
        let (kind, rest) = name.split_at_checked(1)?;
        let both = match rest {
            "" | "b" => false,
            "+" | "b+" | "+b" => true,
            _ => return None,
        };
        let mode = Mode { read: both, write: true, create: true, truncate: false, append: false };
        match kind {
            "r" => Some(Mode { read: true, write: both, create: false, ..mode }),
            "w" => Some(Mode { truncate: true, ..mode }),
            "a" => Some(Mode { append: true, ..mode }),
            _ => None,
        }
    }

    fn to_bits(self) -> u8 {
        [self.read, self.write, self.create, self.truncate, self.append]
            .iter()
            .fold(0, |bits, &bit| bits << 1 | u8::from(bit))
    }

    fn from_bits(bits: u8) -> Mode {
        let bit = |place: u8| bits >> place & 1 == 1;
        Mode { read: bit(4), write: bit(3), create: bit(2), truncate: bit(1), append: bit(0) }
    }

    /// Opens a file, or makes it with rights of its own.
    fn open(self, path: &str) -> io::Result<File> {
        let flags = i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        let mut options = File::options();
        options.read(self.read).write(self.write && !self.append).append(self.append).custom_flags(flags);
        if self.create {
            match options.clone().create_new(true).mode(0o0).open(path) {
                Ok(file) => {
                    file.set_permissions(Permissions::from_mode(NEW_FILE_MODE))?;
                    return Ok(file);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        options.truncate(self.truncate).open(path)
    }
}

impl Order {
    /// The bytes of it.
    pub fn into_bytes(self) -> Vec<u8> {
        let (what, file, number, detail, data) = match self {
            Order::Open(mode, path) => (b'o', 0, 0, mode.to_bits(), path.into_bytes()),
            Order::Close(file) => (b'c', file, 0, 0, Vec::new()),
            Order::Read(file, count) => (b'r', file, count.cast_signed(), 0, Vec::new()),
            Order::Write(file, data) => (b'w', file, 0, 0, data),
            Order::Seek(file, whence, offset) => (b's', file, offset, whence as u8, Vec::new()),
        };
        let mut bytes = Vec::with_capacity(ORDER_HEAD_BYTES + data.len());
        bytes.push(what);
        bytes.extend_from_slice(&file.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.push(detail);
        bytes.extend_from_slice(&u64::try_from(data.len()).unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend_from_slice(&data);
        bytes
    }

    fn read(mut from: impl Read) -> io::Result<Order> {
        let [what] = array(&mut from)?;
        let file = u64::from_le_bytes(array(&mut from)?);
        let number = i64::from_le_bytes(array(&mut from)?);
        let [detail] = array(&mut from)?;
        let length = u64::from_le_bytes(array(&mut from)?);
        let mut data = Vec::new();
        from.take(length).read_to_end(&mut data)?;
        match (what, detail) {
            (b'o', bits) => {
                let path = String::from_utf8(data).map_err(io::Error::other)?;
                Ok(Order::Open(Mode::from_bits(bits), path))
            }
            (b'c', _) => Ok(Order::Close(file)),
            (b'r', _) => Ok(Order::Read(file, number.cast_unsigned())),
            (b'w', _) => Ok(Order::Write(file, data)),
            (b's', 0) => Ok(Order::Seek(file, Whence::Set, number)),
            (b's', 1) => Ok(Order::Seek(file, Whence::Current, number)),
            (b's', _) => Ok(Order::Seek(file, Whence::End, number)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Answer {
    /// The bytes of an answer up to its data, and what they say of it: the answer or the error, and how long the data is.
    pub fn read_head(head: &[u8; ANSWER_HEAD_BYTES]) -> (io::Result<Answer>, u64) {
        let number = |at: usize| head[at..].first_chunk::<8>().copied().unwrap_or_default();
        let (value, length) = (i64::from_le_bytes(number(1)), u64::from_le_bytes(number(10)));
        match head[0] {
            0 => (Ok(Answer { number: value, at_end: head[9] == 1, data: Vec::new() }), length),
            _ => (Err(io::Error::from_raw_os_error(i32::try_from(value).unwrap_or_default())), length),
        }
    }
}

/// Holds files until the agent is gone.
pub fn run() -> ExitCode {
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let mut holder = Holder::default();
    while let Ok(order) = Order::read(&socket) {
        if answer(&socket, holder.obey(order)).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn answer(mut to: impl Write, result: io::Result<Answer>) -> io::Result<()> {
    let (failed, answer) = match result {
        Ok(answer) => (0, answer),
        Err(error) => {
            let code = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
            (1, Answer { number: code.into(), ..Answer::default() })
        }
    };
    let mut head = Vec::with_capacity(ANSWER_HEAD_BYTES);
    head.push(failed);
    head.extend_from_slice(&answer.number.to_le_bytes());
    head.push(answer.at_end.into());
    head.extend_from_slice(&u64::try_from(answer.data.len()).map_err(io::Error::other)?.to_le_bytes());
    to.write_all(&head)?;
    to.write_all(&answer.data)
}

#[derive(Debug, Default)]
struct Holder {
    files: BTreeMap<u64, File>,
    last: u64,
}

impl Holder {
    fn file(&self, number: u64) -> io::Result<&File> {
        self.files.get(&number).ok_or_else(|| Errno::BADF.into())
    }

    fn obey(&mut self, order: Order) -> io::Result<Answer> {
        match order {
            Order::Open(mode, path) => {
                let file = mode.open(&path)?;
                self.last += 1;
                self.files.insert(self.last, file);
                Ok(Answer { number: self.last.cast_signed(), ..Answer::default() })
            }
            Order::Close(number) => {
                self.files.remove(&number);
                Ok(Answer::default())
            }
            Order::Read(number, wanted) => {
                let mut data = Vec::new();
                match self.file(number)?.take(wanted).read_to_end(&mut data) {
                    // What came before there was nothing more for now is an answer.
                    Err(error) if data.is_empty() || error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    Err(_) => Ok(Answer { data, ..Answer::default() }),
                    Ok(read) => {
                        let at_end = u64::try_from(read).is_ok_and(|read| read < wanted);
                        Ok(Answer { number: 0, at_end, data })
                    }
                }
            }
            Order::Write(number, data) => self.file(number)?.write_all(&data).map(|()| Answer::default()),
            Order::Seek(number, whence, offset) => {
                let to = match whence {
                    Whence::Set => SeekFrom::Start(u64::try_from(offset).map_err(|_| io::Error::from(Errno::INVAL))?),
                    Whence::Current => SeekFrom::Current(offset),
                    Whence::End => SeekFrom::End(offset),
                };
                let position = self.file(number)?.seek(to)?;
                Ok(Answer { number: position.cast_signed(), ..Answer::default() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_fopen_are_known_in_every_order() {
        for name in ["r", "rb", "w", "wb", "a", "ab", "r+", "rb+", "r+b", "w+", "wb+", "w+b", "a+", "ab+", "a+b"] {
            let mode = Mode::named(name).unwrap();
            assert_eq!(Mode::from_bits(mode.to_bits()), mode, "{name}");
        }
        for name in ["", "q", "rw", "br", "r++", "rbb", "r+b+", "R", "é"] {
            assert_eq!(Mode::named(name), None, "{name}");
        }
    }

    #[test]
    fn a_new_file_has_its_rights_whatever_the_mask() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let path = path.to_str().unwrap();
        Mode::named("w").unwrap().open(path).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o666);
        std::fs::write(path, "old").unwrap();
        assert!(Mode::named("r").unwrap().open("/nonexistent/x").is_err());
        let mut appended = Mode::named("a+").unwrap().open(path).unwrap();
        appended.write_all(b" and new").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "old and new");
        Mode::named("w+").unwrap().open(path).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "");
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file").to_str().unwrap().to_owned();
        let mut holder = Holder::default();
        let mut obey = |order: Order| {
            let order = Order::read(&order.into_bytes()[..]).unwrap();
            let mut bytes = Vec::new();
            answer(&mut bytes, holder.obey(order)).unwrap();
            let (head, data) = bytes.split_first_chunk().unwrap();
            let (result, length) = Answer::read_head(head);
            assert_eq!(length, u64::try_from(data.len()).unwrap());
            result.map(|answer| Answer { data: data.to_vec(), ..answer })
        };
        let file = obey(Order::Open(Mode::named("w+").unwrap(), path)).unwrap().number.cast_unsigned();
        obey(Order::Write(file, b"hello".to_vec())).unwrap();
        assert_eq!(obey(Order::Seek(file, Whence::End, -4)).unwrap().number, 1);
        let read = Answer { number: 0, at_end: true, data: b"ello".to_vec() };
        assert_eq!(obey(Order::Read(file, 10)).unwrap(), read);
        let wrong = obey(Order::Seek(file, Whence::Set, -1)).unwrap_err();
        assert_eq!(wrong.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
        obey(Order::Close(file)).unwrap();
        assert!(obey(Order::Read(file, 1)).is_err());
    }
}
