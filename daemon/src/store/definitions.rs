//! Definitions on disk: `vms/UUID.toml`, each byte for byte what its owner wrote. At start-up all are read, and none
//! is believed before it was checked. What cannot be understood is told and left where it is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::files::child::UNFINISHED_SUFFIX;
use crate::logging::escape;
use crate::model::{Definition, VmId, VmName};
use crate::regular_file::{Links, read_text};

const SUFFIX: &str = ".toml";

/// Where the definition of a virtual machine is kept.
pub(super) fn path(dir: &Path, vm: VmId) -> PathBuf {
    dir.join(format!("{vm}{SUFFIX}"))
}

/// Reads all definitions of a directory, in the order of their uuids. What a write left unfinished is removed.
pub(super) fn load(dir: &Path) -> io::Result<Vec<(VmId, Definition)>> {
    let mut names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    let mut loaded = Vec::new();
    let mut taken: BTreeMap<VmName, VmId> = BTreeMap::new();
    for name in names {
        let path = dir.join(&name);
        let Some(name) = name.to_str() else {
            skipped(&path, "its name is not of ours");
            continue;
        };
        if name.starts_with('.') && name.ends_with(UNFINISHED_SUFFIX) {
            fs::remove_file(&path)?;
            continue;
        }
        let Some(vm) = vm_of(name) else {
            skipped(&path, "its name is no uuid followed by .toml");
            continue;
        };
        match read(&path, vm) {
            Err(why) => skipped(&path, &why),
            Ok(definition) => match taken.get(&definition.name) {
                Some(other) => {
                    skipped(
                        &path,
                        &format!("{other}{SUFFIX} defines a virtual machine of the same name, {}", definition.name),
                    );
                }
                None => {
                    taken.insert(definition.name.clone(), vm);
                    loaded.push((vm, definition));
                }
            },
        }
    }
    Ok(loaded)
}

fn skipped(path: &Path, why: &str) {
    log::error!("{} is left alone and defines nothing: {}", escape(&path.to_string_lossy()), why);
}

/// The virtual machine whose definition has this file name. Only the one that we would give it counts.
fn vm_of(name: &str) -> Option<VmId> {
    let stem = name.strip_suffix(SUFFIX)?;
    let vm = VmId(Uuid::try_parse(stem).ok()?);
    (vm.to_string() == stem).then_some(vm)
}

fn read(path: &Path, vm: VmId) -> Result<Definition, String> {
    let text = read_text(path, Definition::BYTES_MAX, Links::Refuse).map_err(|error| error.to_string())?;
    let definition = Definition::parse(&text).map_err(|error| error.to_string())?;
    match definition.uuid {
        Some(uuid) if uuid != vm.0 => Err(format!("the uuid in it is {uuid}")),
        _ => Ok(definition),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn uuid(number: u128) -> String {
        Uuid::from_u128(number).to_string()
    }

    fn definition(name: &str) -> String {
        format!("# kept\nname = \"{name}\"\nmemory = \"64 MiB\"\n")
    }

    #[test]
    fn what_is_right_is_loaded_byte_for_byte_and_what_is_not_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &[u8]| fs::write(at(name), text).unwrap();
        write(&format!("{}.toml", uuid(1)), definition("one").as_bytes());
        write(&format!("{}.toml", uuid(2)), format!("uuid = \"{}\"\n{}", uuid(2), definition("two")).as_bytes());
        // Everything from here on is wrong in its own way.
        write(&format!("{}.toml", uuid(3)), definition("one").as_bytes());
        write(&format!("{}.toml", uuid(4)), format!("uuid = \"{}\"\n{}", uuid(5), definition("four")).as_bytes());
        write(&format!("{}.toml", uuid(6)), b"name = \"six\"\nmemroy = \"64 MiB\"\n");
        write(&format!("{}.toml", uuid(7)), b"\xff\xfe");
        write(&format!("{}.toml", uuid(8)), &[b'#'; Definition::BYTES_MAX + 1]);
        write(&format!("{}.toml", uuid(0xabc).to_uppercase()), definition("upper").as_bytes());
        write(&format!("{}.toml", Uuid::from_u128(9).simple()), definition("simple").as_bytes());
        write("notes.txt", b"mine");
        fs::create_dir(at(&format!("{}.toml", uuid(10)))).unwrap();
        mkfifoat(CWD, at(&format!("{}.toml", uuid(12))), Mode::RUSR).unwrap();
        std::os::unix::fs::symlink(at(&format!("{}.toml", uuid(1))), at(&format!("{}.toml", uuid(11)))).unwrap();
        let before = fs::read_dir(dir.path()).unwrap().count();
        write(&format!(".{}.toml.77-1.unfinished", uuid(1)), b"half");

        let loaded = load(dir.path()).unwrap();
        let names: Vec<(String, &str)> =
            loaded.iter().map(|(vm, definition)| (vm.to_string(), definition.name.as_str())).collect();
        assert_eq!(names, [(uuid(1), "one"), (uuid(2), "two")]);
        assert_eq!(loaded[0].1.text, definition("one"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "only the unfinished file is gone");
    }
}
