//! What goes between the daemon and its file helper: the same binary on both ends, so this may change at any time.
//!
//! A packet is its length (u32, of what follows), a ticket (u64), a kind (u8), and what the kind has. Numbers are
//! little-endian.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::driver::{FileAnswer, FileRequest, FileTicket, ReadFile};

const WRITE: u8 = 0;
const WRITE_DURABLE: u8 = 1;
const REMOVE: u8 = 2;
const REMOVE_DURABLE: u8 = 3;
const READ: u8 = 4;
const APPEND: u8 = 5;
const ADD_LINE: u8 = 6;

const DONE: u8 = 0;
const DATA: u8 = 1;
const FAILED: u8 = 2;

/// A request as a packet: for the kinds that write, the path with its length (u32) and the data, in front of them for the
/// one that appends how long the file may become (u64) and how many old ones there may be (u32); for those that remove, the
/// path; for reading, for each file two booleans (u8), what is read at most (u64) and the path with its length.
pub(super) fn request(ticket: FileTicket, request: &FileRequest) -> Vec<u8> {
    match request {
        FileRequest::Write { path, data, durable } => {
            let path = path.as_os_str().as_bytes();
            let kind = if *durable { WRITE_DURABLE } else { WRITE };
            packet(ticket, kind, &[&length(path), path, data])
        }
        FileRequest::Append { path, lines, rotate_bytes, keep } => {
            let path = path.as_os_str().as_bytes();
            packet(ticket, APPEND, &[&rotate_bytes.to_le_bytes(), &keep.to_le_bytes(), &length(path), path, lines])
        }
        FileRequest::AddLine { path, line } => packet(ticket, ADD_LINE, &[&length(bytes(path)), bytes(path), line]),
        FileRequest::Remove { path, durable } => {
            packet(ticket, if *durable { REMOVE_DURABLE } else { REMOVE }, &[bytes(path)])
        }
        FileRequest::Read { files } => {
            let mut body = Vec::new();
            for file in files {
                body.extend([u8::from(file.private), u8::from(file.optional)]);
                body.extend(u64::try_from(file.bytes_max).unwrap_or(u64::MAX).to_le_bytes());
                body.extend(length(bytes(&file.path)));
                body.extend(bytes(&file.path));
            }
            packet(ticket, READ, &[&body])
        }
    }
}

/// An answer as a packet.
pub(super) fn answer(ticket: FileTicket, answer: &FileAnswer) -> Vec<u8> {
    match answer {
        FileAnswer::Done => packet(ticket, DONE, &[]),
        FileAnswer::Read(files) => {
            let mut body = Vec::new();
            for file in files {
                body.push(u8::from(file.is_some()));
                let data = file.as_deref().unwrap_or_default();
                body.extend(length(data));
                body.extend(data);
            }
            packet(ticket, DATA, &[&body])
        }
        FileAnswer::Failed(why) => packet(ticket, FAILED, &[why.as_bytes()]),
    }
}

/// Takes the first packet off `received`, if it is there whole.
pub(super) fn take_request(received: &mut Vec<u8>) -> Result<Option<(FileTicket, FileRequest)>, ()> {
    take(received, |kind, rest| {
        Some(match kind {
            WRITE | WRITE_DURABLE => {
                let (path, data) = take_counted(rest)?;
                FileRequest::Write { path: path_of(path), data: data.to_vec(), durable: kind == WRITE_DURABLE }
            }
            APPEND => {
                let (rotate_bytes, rest) = rest.split_first_chunk()?;
                let (keep, rest) = rest.split_first_chunk()?;
                let (path, lines) = take_counted(rest)?;
                let (rotate_bytes, keep) = (u64::from_le_bytes(*rotate_bytes), u32::from_le_bytes(*keep));
                FileRequest::Append { path: path_of(path), lines: lines.to_vec(), rotate_bytes, keep }
            }
            ADD_LINE => {
                let (path, line) = take_counted(rest)?;
                FileRequest::AddLine { path: path_of(path), line: line.to_vec() }
            }
            REMOVE | REMOVE_DURABLE => FileRequest::Remove { path: path_of(rest), durable: kind == REMOVE_DURABLE },
            READ => {
                let mut rest = rest;
                let mut files = Vec::new();
                while !rest.is_empty() {
                    let ([private, optional], after) = rest.split_first_chunk()?;
                    let (bytes_max, after) = after.split_first_chunk()?;
                    let bytes_max = usize::try_from(u64::from_le_bytes(*bytes_max)).ok()?;
                    let (path, after) = take_counted(after)?;
                    let (private, optional) = (*private == 1, *optional == 1);
                    files.push(ReadFile { path: path_of(path), bytes_max, private, optional });
                    rest = after;
                }
                FileRequest::Read { files }
            }
            _ => return None,
        })
    })
}

/// Takes the first packet off `received`, if it is there whole.
pub(super) fn take_answer(received: &mut Vec<u8>) -> Result<Option<(FileTicket, FileAnswer)>, ()> {
    take(received, |kind, rest| {
        Some(match kind {
            DONE => FileAnswer::Done,
            DATA => {
                let mut rest = rest;
                let mut files = Vec::new();
                while let Some((there, after)) = rest.split_first() {
                    let (data, after) = take_counted(after)?;
                    files.push((*there == 1).then(|| data.to_vec()));
                    rest = after;
                }
                FileAnswer::Read(files)
            }
            FAILED => FileAnswer::Failed(String::from_utf8_lossy(rest).into_owned()),
            _ => return None,
        })
    })
}

fn take<T>(received: &mut Vec<u8>, read: impl Fn(u8, &[u8]) -> Option<T>) -> Result<Option<(FileTicket, T)>, ()> {
    let Some((length, rest)) = received.split_first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| ())?;
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let (ticket, body) = body.split_first_chunk().ok_or(())?;
    let (kind, body) = body.split_first().ok_or(())?;
    let taken = (FileTicket(u64::from_le_bytes(*ticket)), read(*kind, body).ok_or(())?);
    received.drain(..4 + length);
    if received.is_empty() {
        // A large packet leaves no memory behind.
        *received = Vec::new();
    }
    Ok(Some(taken))
}

fn packet(ticket: FileTicket, kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let mut packet = Vec::with_capacity(4 + 8 + 1 + body);
    // Both ends bound what they send far below 4 GiB.
    packet.extend_from_slice(&u32::try_from(8 + 1 + body).unwrap_or(u32::MAX).to_le_bytes());
    packet.extend_from_slice(&ticket.0.to_le_bytes());
    packet.push(kind);
    parts.iter().for_each(|part| packet.extend_from_slice(part));
    packet
}

/// Bytes with their length in front, and what is behind them.
fn take_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_arrive_as_they_were_sent_however_the_bytes_are_cut() {
        let path = path_of(b"/a/\xff b");
        let requests = [
            FileRequest::Write { path: path.clone(), data: b"data".to_vec(), durable: true },
            FileRequest::Write { path: path.clone(), data: Vec::new(), durable: false },
            FileRequest::Append { path: path.clone(), lines: b"line\n".to_vec(), rotate_bytes: 1 << 40, keep: 8 },
            FileRequest::AddLine { path: path.clone(), line: b"{}".to_vec() },
            FileRequest::Remove { path: path.clone(), durable: true },
            FileRequest::Remove { path: path.clone(), durable: false },
            FileRequest::Read {
                files: vec![
                    ReadFile { path: path.clone(), bytes_max: 77, private: true, optional: false },
                    ReadFile { path, bytes_max: 0, private: false, optional: true },
                ],
            },
        ];
        let mut received = Vec::new();
        let mut taken = Vec::new();
        for (number, sent) in (1..).zip(&requests) {
            for byte in request(FileTicket(number), sent) {
                assert_eq!(take_request(&mut received), Ok(None));
                received.push(byte);
            }
            taken.push(take_request(&mut received).unwrap().unwrap());
        }
        let expected: Vec<_> = (1..).map(FileTicket).zip(requests).collect();
        assert_eq!(taken, expected);

        for sent in [
            FileAnswer::Done,
            FileAnswer::Read(vec![Some(vec![0, 255]), None, Some(Vec::new())]),
            FileAnswer::Failed("why".into()),
        ] {
            let mut received = answer(FileTicket(9), &sent);
            let (ticket, taken) = take_answer(&mut received).unwrap().unwrap();
            assert_eq!((ticket, format!("{taken:?}")), (FileTicket(9), format!("{sent:?}")));
            assert!(received.is_empty());
        }
    }

    #[test]
    fn nonsense_is_told_apart_from_what_is_not_there_yet() {
        assert_eq!(take_request(&mut vec![4, 0, 0, 0, 1, 2, 3, 4]), Err(()));
        assert_eq!(take_request(&mut [&[9, 0, 0, 0][..], &[0; 8], &[77]].concat()), Err(()));
        assert_eq!(take_request(&mut [&[13, 0, 0, 0][..], &[0; 8], &[WRITE], &[255; 4]].concat()), Err(()));
        assert_eq!(take_request(&mut [&[13, 0, 0, 0][..], &[0; 8], &[READ], &[1; 4]].concat()), Err(()));
        assert!(take_answer(&mut [&[9, 0, 0, 0][..], &[0; 8], &[77]].concat()).is_err());
        assert!(take_answer(&mut [&[14, 0, 0, 0][..], &[0; 8], &[DATA], &[1, 9, 0, 0, 0]].concat()).is_err());
    }
}
