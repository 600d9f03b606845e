//! Disks as the kernel shows them in its tree of devices: on which bus each is, and what it is made of.

use std::fs;
use std::path::{Path, PathBuf};

use crate::json::Value;

/// How many devices may be made of each other.
const DEPTH_MAX: usize = 16;

/// Where a device is: what hosts look for to tell which of their disks it is.
pub fn addresses(path: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    collect(path, DEPTH_MAX, &mut found);
    found
}

fn collect(path: &Path, depth: usize, found: &mut Vec<Value>) {
    if depth == 0 {
        return;
    }
    if is_virtual(path) {
        for below in slaves(path) {
            collect(&below, depth - 1, found);
        }
        return;
    }
    found.extend(address(path));
}

/// Whether a device is made of others, or of nothing.
pub fn is_virtual(path: &Path) -> bool {
    path.to_string_lossy().contains("/devices/virtual/block/")
}

/// What a device is made of.
pub fn slaves(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.join("slaves")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    found.sort();
    found
}

/// The name of a device's file.
pub fn node(path: &Path) -> Option<String> {
    let uevent = fs::read_to_string(path.join("uevent")).ok()?;
    Some(format!("/dev/{}", uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="))?))
}

/// The serial number that udev found.
fn serial(path: &Path) -> Option<String> {
    let number = fs::read_to_string(path.join("dev")).ok()?;
    let data = fs::read_to_string(format!("/run/udev/data/b{}", number.trim())).ok()?;
    data.lines().find_map(|line| line.strip_prefix("E:ID_SERIAL=")).map(str::to_owned)
}

/// The address of one device that is there by itself.
pub fn address(path: &Path) -> Option<Value> {
    let place = Place::of(path);
    let (node, serial) = (node(path), serial(path));
    if place.is_none() && node.is_none() && serial.is_none() {
        return None;
    }
    let Place { kind, bus, unit, pci } = place.unwrap_or(Place { kind: "unknown", bus: 0, unit: 0, pci: [-1; 4] });
    let [domain, pci_bus, slot, function] = pci;
    Some(Value::object_of([
        ("bus-type", Some(kind.into())),
        ("bus", Some(bus.into())),
        ("unit", Some(unit.into())),
        ("target", Some(0_i64.into())),
        (
            "pci-controller",
            Some(Value::object([
                ("domain", domain.into()),
                ("bus", pci_bus.into()),
                ("slot", slot.into()),
                ("function", function.into()),
            ])),
        ),
        ("dev", node.map(Value::from)),
        ("serial", serial.map(Value::from)),
    ]))
}

/// Where on a PCI controller a disk is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    kind: &'static str,
    bus: i64,
    unit: i64,
    pci: [i64; 4],
}

impl Place {
    fn of(path: &Path) -> Option<Place> {
        // The last of the bridges and controllers that follow each other is the one that the disk hangs on.
        let mut directory = PathBuf::new();
        let mut controller = None;
        let mut parts = path.iter().map(|part| part.to_string_lossy());
        for part in parts.by_ref() {
            directory.push(&*part);
            if part.starts_with("pci") {
                break;
            }
        }
        let mut behind = Vec::new();
        for part in parts {
            match pci(&part) {
                Some(pci) if behind.is_empty() => {
                    directory.push(&*part);
                    controller = Some((pci, directory.clone()));
                }
                _ => behind.push(part.into_owned()),
            }
        }
        let (pci, directory) = controller?;
        let driver = fs::read_link(directory.join("driver")).ok()?;
        let target = target(&behind);
        let place = |kind, bus, unit| Some(Place { kind, bus, unit, pci });
        match driver.file_name()?.to_str()? {
            "virtio-pci" => match target {
                Some([_, _, unit]) => place("scsi", 0, unit),
                None => place("virtio", 0, 0),
            },
            "ata_piix" => place("ide", port(&directory, &behind)?, target?[1]),
            "ahci" => {
                target?;
                place("sata", 0, port(&directory, &behind)?)
            }
            "sym53c8xx" | "mptspi" | "mptsas" | "megaraid_sas" => place("scsi", 0, target?[1]),
            "nvme" => place("nvme", 0, 0),
            _ => place("unknown", 0, 0),
        }
    }
}

/// `0000:00:1f.2`.
fn pci(part: &str) -> Option<[i64; 4]> {
    let (domain, rest) = part.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (slot, function) = rest.split_once('.')?;
    let number = |text| i64::from_str_radix(text, 16).ok();
    Some([number(domain)?, number(bus)?, number(slot)?, number(function)?])
}

/// Channel, target and unit of `target2:0:1/2:0:1:3`.
fn target(parts: &[String]) -> Option<[i64; 3]> {
    let place = parts.iter().position(|part| part.starts_with("target"))?;
    let numbers: Vec<i64> = parts.get(place + 1)?.split(':').map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [_, channel, target, unit] => Some([channel, target, unit]),
        _ => None,
    }
}

/// Which of a controller's ports a disk hangs on, counted from the first.
fn port(controller: &Path, parts: &[String]) -> Option<i64> {
    let number = |name: &str, kind: &str| name.strip_prefix(kind).and_then(|number| number.parse::<u64>().ok());
    let (kind, own) =
        ["ata", "host"].into_iter().find_map(|kind| Some((kind, parts.iter().find_map(|part| number(part, kind))?)))?;
    let entries = fs::read_dir(controller).ok()?.flatten();
    let mut ports: Vec<u64> = entries.filter_map(|entry| number(entry.file_name().to_str()?, kind)).collect();
    ports.sort_unstable();
    ports.iter().position(|port| *port == own).and_then(|place| i64::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of devices with one controller that has this driver.
    fn tree(driver: &str, below: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let controller = directory.path().join("devices/pci0000:00/0000:00:01.0/0000:02:1f.2");
        let disk = controller.join(below);
        fs::create_dir_all(&disk).unwrap();
        std::os::unix::fs::symlink(format!("/bus/pci/drivers/{driver}"), controller.join("driver")).unwrap();
        for port in ["ata1", "ata2", "ata10"] {
            fs::create_dir_all(controller.join(port)).unwrap();
        }
        (directory, disk)
    }

    #[test]
    fn a_disk_says_where_it_hangs() {
        for (driver, below, kind, bus, unit) in [
            ("virtio-pci", "virtio1/block/vda", "virtio", 0, 0),
            ("virtio-pci", "virtio1/host2/target2:0:0/2:0:0:5/block/sda", "scsi", 0, 5),
            ("ahci", "ata10/host9/target9:0:0/9:0:0:0/block/sda", "sata", 0, 2),
            ("ata_piix", "ata2/host1/target1:0:1/1:0:1:0/block/sda", "ide", 1, 1),
            ("sym53c8xx", "host2/target2:0:3/2:0:3:0/block/sda", "scsi", 0, 3),
            ("nvme", "nvme/nvme0/nvme0n1", "nvme", 0, 0),
            ("strange", "block/xda", "unknown", 0, 0),
        ] {
            let (_directory, disk) = tree(driver, below);
            assert_eq!(Place::of(&disk), Some(Place { kind, bus, unit, pci: [0, 2, 31, 2] }), "{driver} {below}");
        }
    }

    #[test]
    fn a_device_without_a_controller_has_no_place() {
        assert_eq!(Place::of(Path::new("/sys/devices/virtual/block/loop0")), None);
    }
}
