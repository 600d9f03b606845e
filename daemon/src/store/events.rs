//! The ring of events in a file, so that who follows them misses none when the daemon is started anew.
//!
//! Two files take turns. Each begins with a header and goes on with records; when one has grown to 4 MiB, the other is
//! emptied and goes on with the next generation, so that together they always hold the newest 4 MiB. Both are opened
//! at start-up; after that there are only plain writes, never synced, for the files need not outlive the host.
//!
//! ```text
//!   header   "vmwire events 1\n"  epoch 16  boot id 16  generation u64  crc32 u32  zero u32
//!   record   length u32  crc32 u32 (of what follows)  sequence u64  encoded event, of that length
//! ```
//! Numbers are little-endian. What is missing, damaged in any way, or of another boot of the host begins a new epoch,
//! which tells every client that its position means nothing any more.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::dispatch::Restored;
use crate::regular_file::{self, Links};

const MAGIC: &[u8; 16] = b"vmwire events 1\n";
const HEADER_BYTES: usize = 64;
const RECORD_HEAD_BYTES: usize = 16;

/// A file that has grown beyond this lets the other one go on.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// No event is longer; what claims to be is damage.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// The files, open, with the position at which the next record goes.
#[derive(Debug)]
pub(super) struct EventFiles {
    files: [File; 2],
    current: usize,
    header: Header,
    position: usize,
    /// A write has failed, and nothing is kept until the next start.
    broken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    epoch: [u8; 16],
    boot_id: [u8; 16],
    generation: u64,
}

/// What was found in a file at start-up.
#[derive(Debug)]
enum Found {
    /// It is not in use.
    Nothing,
    /// Something that no daemon leaves there.
    Damage,
    /// Events.
    Content(Content),
}

#[derive(Debug)]
struct Content {
    header: Header,
    bytes: usize,
    events: Vec<(u64, Bytes)>,
}

impl EventFiles {
    /// Opens the files of a directory and reads what is in them.
    pub(super) fn open(dir: &Path, boot_id: [u8; 16]) -> io::Result<(Self, Restored)> {
        let files = [open(&dir.join("events.0"))?, open(&dir.join("events.1"))?];
        let contents = [read(&files[0])?, read(&files[1])?];
        if let Some((current, Content { header, bytes, events })) = join(contents, boot_id) {
            let kept = Self { files, current, header, position: bytes, broken: false };
            return Ok((kept, Restored { epoch: header.epoch, events }));
        }
        let mut epoch = [0; 16];
        getrandom(&mut epoch, GetRandomFlags::empty())?;
        let mut fresh =
            Self { files, current: 1, header: Header { epoch, boot_id, generation: 0 }, position: 0, broken: false };
        fresh.files[1].set_len(0)?;
        fresh.switch()?;
        Ok((fresh, Restored { epoch, events: Vec::new() }))
    }

    /// Appends an event. It is not synced, and it is there for the next daemon as soon as this returns.
    ///
    /// When that fails, both files are emptied: the next daemon must not take up a sequence with a hole in it.
    pub(super) fn append(&mut self, sequence: u64, event: &[u8]) {
        if self.broken {
            return;
        }
        if let Err(error) = self.try_append(sequence, event) {
            log::error!("events are no longer kept for the next start of the daemon: {error}");
            self.broken = true;
            for file in &self.files {
                if let Err(error) = file.set_len(0) {
                    log::error!("cannot empty the file of events: {error}");
                }
            }
        }
    }

    fn try_append(&mut self, sequence: u64, event: &[u8]) -> io::Result<()> {
        if self.position >= FILE_BYTES_MAX {
            self.switch()?;
        }
        let length = u32::try_from(event.len()).map_err(io::Error::other)?;
        let mut record = Vec::with_capacity(RECORD_HEAD_BYTES + event.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&checksum(&sequence.to_le_bytes(), event).to_le_bytes());
        record.extend_from_slice(&sequence.to_le_bytes());
        record.extend_from_slice(event);
        let at = u64::try_from(self.position).map_err(io::Error::other)?;
        self.files[self.current].write_all_at(&record, at)?;
        self.position += record.len();
        Ok(())
    }

    /// Goes on in the other file, with the next generation.
    fn switch(&mut self) -> io::Result<()> {
        self.current = 1 - self.current;
        self.header.generation += 1;
        let file = &self.files[self.current];
        file.set_len(0)?;
        let header = self.header.encode();
        file.write_all_at(&header, 0)?;
        self.position = header.len();
        Ok(())
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..32].copy_from_slice(&self.epoch);
        bytes[32..48].copy_from_slice(&self.boot_id);
        bytes[48..56].copy_from_slice(&self.generation.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..56]);
        bytes[56..60].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let header = Self {
            epoch: bytes[16..32].try_into().ok()?,
            boot_id: bytes[32..48].try_into().ok()?,
            generation: u64::from_le_bytes(bytes[48..56].try_into().ok()?),
        };
        // Magic, checksum and zeros are right exactly if it encodes to what it was decoded from.
        (header.encode() == *bytes).then_some(header)
    }
}

/// What is in a file that is in use; `None` if it is damaged.
fn decode(bytes: &[u8]) -> Option<Content> {
    let header = Header::decode(bytes.first_chunk()?)?;
    let mut at = HEADER_BYTES;
    let mut events: Vec<(u64, Bytes)> = Vec::new();
    while at < bytes.len() {
        let head: &[u8; RECORD_HEAD_BYTES] = bytes.get(at..)?.first_chunk()?;
        let [length, sum] = [&head[..4], &head[4..8]].map(|word| word.try_into().map(u32::from_le_bytes));
        let length = usize::try_from(length.ok()?).ok().filter(|length| *length <= EVENT_BYTES_MAX)?;
        let sequence = u64::from_le_bytes(head[8..].try_into().ok()?);
        at += RECORD_HEAD_BYTES;
        let event = bytes.get(at..at + length)?;
        if checksum(&head[8..], event) != sum.ok()? || events.last().is_some_and(|(last, _)| last + 1 != sequence) {
            return None;
        }
        events.push((sequence, Bytes::copy_from_slice(event)));
        at += length;
    }
    Some(Content { header, bytes: at, events })
}

/// Which file goes on, and what is in it, with the events of the other one in front. `None` if they are not, beyond
/// doubt, what a daemon of this boot left.
fn join(contents: [Found; 2], boot_id: [u8; 16]) -> Option<(usize, Content)> {
    let (current, mut newer, older) = match contents {
        [Found::Content(first), Found::Content(second)] => {
            if first.header.generation > second.header.generation {
                (0, first, Some(second))
            } else {
                (1, second, Some(first))
            }
        }
        [Found::Content(only), Found::Nothing] => (0, only, None),
        [Found::Nothing, Found::Content(only)] => (1, only, None),
        _ => return None,
    };
    if newer.header.boot_id != boot_id {
        return None;
    }
    if let Some(mut older) = older {
        if older.header != (Header { generation: newer.header.generation.checked_sub(1)?, ..newer.header }) {
            return None;
        }
        if let (Some((last, _)), Some((first, _))) = (older.events.last(), newer.events.first())
            && last + 1 != *first
        {
            return None;
        }
        older.events.append(&mut newer.events);
        newer.events = older.events;
    }
    Some((current, newer))
}

fn checksum(sequence: &[u8], event: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(sequence);
    hasher.update(event);
    hasher.finalize()
}

fn read(file: &File) -> io::Result<Found> {
    match regular_file::read_open(file, FILE_BYTES_MAX + 2 * EVENT_BYTES_MAX) {
        Ok(bytes) if bytes.is_empty() => Ok(Found::Nothing),
        Ok(bytes) => Ok(decode(&bytes).map_or(Found::Damage, Found::Content)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Found::Damage),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    regular_file::open(path, &mut options, Links::Refuse)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BOOT: [u8; 16] = [7; 16];

    fn event(sequence: u64, bytes: usize) -> Vec<u8> {
        let mut event = sequence.to_be_bytes().to_vec();
        event.resize(bytes.max(8), 0x5a);
        event
    }

    /// Appends the events `from..=to`.
    fn fill(dir: &Path, from: u64, to: u64, bytes: usize) -> [u8; 16] {
        let (mut files, restored) = EventFiles::open(dir, BOOT).unwrap();
        (from..=to).for_each(|sequence| files.append(sequence, &event(sequence, bytes)));
        restored.epoch
    }

    fn sequences(restored: &Restored) -> Vec<u64> {
        restored.events.iter().map(|(sequence, _)| *sequence).collect()
    }

    #[test]
    fn the_next_daemon_finds_the_events_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let epoch = fill(dir.path(), 1, 3, 100);
        assert_eq!(fill(dir.path(), 4, 5, 8), epoch);
        let (_, restored) = EventFiles::open(dir.path(), BOOT).unwrap();
        assert_eq!(restored.epoch, epoch);
        assert_eq!(sequences(&restored), [1, 2, 3, 4, 5]);
        for (sequence, bytes) in &restored.events {
            assert_eq!(**bytes, event(*sequence, if *sequence < 4 { 100 } else { 8 }));
        }
    }

    #[test]
    fn the_newest_4_mib_survive_any_number_of_turns_and_the_files_stay_small() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = 16_000;
        let per_life = 400;
        let mut epoch = None;
        for life in 0..4 {
            let of_this_life = fill(dir.path(), life * per_life + 1, (life + 1) * per_life, bytes);
            assert_eq!(*epoch.get_or_insert(of_this_life), of_this_life);
            let (_, restored) = EventFiles::open(dir.path(), BOOT).unwrap();
            let kept = sequences(&restored);
            assert_eq!(kept.last(), Some(&((life + 1) * per_life)));
            assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a hole");
            assert!(kept.len() * bytes >= 4 << 20, "only {} events are left", kept.len());
            for name in ["events.0", "events.1"] {
                assert!(fs::metadata(dir.path().join(name)).unwrap().len() <= (4 << 20) + 16_064);
            }
        }
    }

    #[test]
    fn what_is_missing_or_of_another_boot_begins_a_new_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let first = fill(dir.path(), 1, 3, 10);
        let (_, restored) = EventFiles::open(dir.path(), [8; 16]).unwrap();
        assert_ne!(restored.epoch, first);
        assert!(restored.events.is_empty());
        let second = fill(dir.path(), 1, 3, 10);
        fs::remove_file(dir.path().join("events.0")).unwrap();
        let (_, restored) = EventFiles::open(dir.path(), BOOT).unwrap();
        assert_ne!(restored.epoch, second);
        assert!(restored.events.is_empty());
    }

    #[test]
    fn damage_anywhere_begins_a_new_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.0");
        let epoch = fill(dir.path(), 5, 7, 10);
        let good = fs::read(&path).unwrap();
        assert_eq!(good.len(), 64 + 3 * 26);
        let reopened = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            fs::write(dir.path().join("events.1"), b"").unwrap();
            EventFiles::open(dir.path(), BOOT).unwrap().1
        };
        assert_eq!(sequences(&reopened(&good)), [5, 6, 7]);
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 0x10;
            let restored = reopened(&damaged);
            assert_ne!(restored.epoch, epoch, "byte {at} was not missed");
            assert!(restored.events.is_empty());
        }
        for length in (1..good.len()).filter(|length| ![64, 90, 116].contains(length)) {
            assert_ne!(reopened(&good[..length]).epoch, epoch, "cut to {length} bytes");
        }
        let twice = [&good[..], &good[64..90]].concat();
        assert_ne!(reopened(&twice).epoch, epoch, "a hole in the sequence");
    }

    #[test]
    fn files_that_do_not_belong_together_begin_a_new_epoch() {
        let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let epochs = [fill(one.path(), 1, 400, 16_000), fill(other.path(), 1, 400, 16_000)];
        fs::copy(other.path().join("events.1"), one.path().join("events.1")).unwrap();
        let (_, restored) = EventFiles::open(one.path(), BOOT).unwrap();
        assert!(!epochs.contains(&restored.epoch));
        assert!(restored.events.is_empty());
    }

    #[test]
    fn what_is_no_file_is_refused_and_what_is_too_long_begins_a_new_epoch() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["events.0", "events.1"] {
            regular_file::each_impostor(&dir.path().join(name), |what| {
                assert!(EventFiles::open(dir.path(), BOOT).is_err(), "{what}");
            });
        }
        let epoch = fill(dir.path(), 1, 3, 10);
        let endless = OpenOptions::new().write(true).open(dir.path().join("events.0")).unwrap();
        endless.set_len(1 << 40).unwrap();
        let (_, restored) = EventFiles::open(dir.path(), BOOT).unwrap();
        assert_ne!(restored.epoch, epoch);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_no_hole_for_the_next_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let epoch = fill(dir.path(), 1, 3, 10);
        let (mut files, _) = EventFiles::open(dir.path(), BOOT).unwrap();
        let read_only = File::open(dir.path().join("events.0")).unwrap();
        let writable = std::mem::replace(&mut files.files[0], read_only);
        files.append(4, &event(4, 10));
        assert!(files.broken);
        // The descriptor that cannot write cannot empty either; a full disk would let it.
        writable.set_len(0).unwrap();
        files.append(5, &event(5, 10));
        let (_, restored) = EventFiles::open(dir.path(), BOOT).unwrap();
        assert_ne!(restored.epoch, epoch);
    }
}
