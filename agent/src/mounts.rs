//! What is mounted: file systems on disks of the guest, in the order in which they were mounted.

use std::io;

use rustix::fs::{FileType, major, minor, stat};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub directory: String,
    /// Of what type.
    pub kind: String,
    /// On which device: major and minor number.
    pub device: (u32, u32),
}

/// All of them.
///
/// # Errors
/// What the system says.
pub fn mounts() -> io::Result<Vec<Mount>> {
    Ok(read(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

fn read(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

/// A line of `mountinfo`. File systems without a disk have major number 0; so has btrfs, which names its disk instead.
fn mount(line: &str) -> Option<Mount> {
    let (before, behind) = line.split_once(" - ")?;
    let mut words = before.split(' ').skip(2);
    let (major_number, minor_number) = words.next()?.split_once(':')?;
    let directory = decoded(words.nth(1)?);
    let mut words = behind.split(' ');
    let (kind, source) = (words.next()?.to_owned(), decoded(words.next()?));
    let mut device = (major_number.parse().ok()?, minor_number.parse().ok()?);
    if device.0 == 0 {
        // Of no other is the source looked at: it may be a name on a file system that hangs.
        let found = (kind == "btrfs").then(|| stat(&source).ok()).flatten();
        let found = found.filter(|found| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice)?;
        device = (major(found.st_rdev), minor(found.st_rdev));
    }
    Some(Mount { directory, kind, device })
}

/// A name in which blanks and backslashes stand as `\040`.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let octal = behind
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(value) => {
                bytes.push(value);
                rest = &behind[3..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_a_disk_counts() {
        let text = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                    23 22 0:21 / /proc rw - proc proc rw\n\
                    24 22 254:16 /sub /mnt/a\\040b\\134c rw master:1 shared:2 - xfs /dev/vdb rw\n\
                    25 22 0:44 / /nothing rw - btrfs /nonexistent rw\n\
                    garbage\n";
        let found = read(text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], Mount { directory: "/".to_owned(), kind: "ext4".to_owned(), device: (254, 0) });
        assert_eq!(found[1].directory, "/mnt/a b\\c");
        assert_eq!(found[1].device, (254, 16));
    }
}
