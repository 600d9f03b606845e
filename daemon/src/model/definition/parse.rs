//! From TOML to a [`Definition`]. Where the text is wrong, the first fault is told with its line and column.

use uuid::Uuid;

use super::error::DefinitionError;
use super::{
    Accel, Boot, CPU_MODELS, Cpu, Definition, Disk, DiskBus, DiskFormat, Forward, Machine, Nic, TestAgent, TestScript,
    keys, value,
};
use crate::model::toml_table::{Fault, Found, Quoted, Table, TomlErrorKind};

/// With more processors QEMU's machines need an interrupt remapping that we do not build.
const CPUS_MAX: u64 = 255;
/// PCI slots are 32; each virtio device takes one, and what a machine brings along takes some.
const DISKS_MAX: usize = 16;
const NICS_MAX: usize = 8;
const CHANNELS_MAX: usize = 16;
const LABELS_MAX: usize = 16;
const FORWARDS_MAX: usize = 32;
/// Linux on x86 cuts its command line at 2,048 bytes, the closing zero included.
const CMDLINE_BYTES_MAX: usize = 2047;
const TITLE_BYTES_MAX: usize = 256;
/// Nobody waits longer for a test.
const TEST_MS_MAX: u64 = 3_600_000;
const TEST_CONSOLE_BYTES_MAX: u64 = 1 << 30;
/// What a guest writes at a time where nothing is said, and at most.
const TEST_CONSOLE_BURST: u64 = 4096;
const TEST_CONSOLE_BURST_MAX: u64 = 65_536;

impl Definition {
    /// The longest text of a definition.
    pub const BYTES_MAX: usize = 49_152;

    /// Reads a definition.
    ///
    /// # Errors
    /// What is wrong with it, where, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        if text.len() > Self::BYTES_MAX {
            return Err(DefinitionError::TooLong { bytes: text.len() });
        }
        keys::ALL.read(text, |top| parse(text, top)).map_err(DefinitionError::Content)
    }
}

fn parse(text: &str, top: &Table<'_>) -> Result<Definition, Fault> {
    let name = top.required("name", top.string("name")?)?.narrow(|n| n.parse().map_err(|e| format!("{e}")))?;
    let memory = top.required("memory", top.string("memory")?)?;
    Ok(Definition {
        text: text.to_owned(),
        name,
        uuid: top.string("uuid")?.map(|found| found.narrow(uuid)).transpose()?,
        title: top
            .string("title")?
            .map(|t| t.narrow(|t| value::line(t, TITLE_BYTES_MAX)))
            .transpose()?
            .unwrap_or_default(),
        labels: names(top, "labels", LABELS_MAX, value::label)?.into(),
        memory_bytes: memory.narrow(value::memory)?,
        cpu: cpu(top.table("cpu")?)?,
        machine: choice(top.string("machine")?, &[("q35", Machine::Q35), ("pc", Machine::Pc)])?.unwrap_or(Machine::Q35),
        accel: choice(top.string("accel")?, &[("auto", Accel::Auto), ("kvm", Accel::Kvm), ("tcg", Accel::Tcg)])?
            .unwrap_or(Accel::Auto),
        autostart: top.boolean("autostart")?.unwrap_or(false),
        boot: boot(top.table("boot")?)?,
        disks: top.tables("disk", DISKS_MAX)?.iter().map(disk).collect::<Result<_, _>>()?,
        nics: nics(top)?,
        console: top.boolean("console")?.unwrap_or(true),
        channels: names(top, "channels", CHANNELS_MAX, value::channel)?,
        rng: top.boolean("rng")?.unwrap_or(false),
        test: top.table("test")?.map(|table| test(&table)).transpose()?,
    })
}

/// Canonical, so that a name can never be taken for one and one is written in one way only; and not nil, by which QEMU
/// means "none".
fn uuid(text: &str) -> Result<Uuid, String> {
    match Uuid::try_parse(text) {
        Ok(uuid) if uuid.is_nil() => Err("the uuid of zeros alone means no uuid".to_owned()),
        Ok(uuid) if uuid.as_hyphenated().to_string() == text => Ok(uuid),
        _ => Err("write a uuid in lower case with hyphens, as in 6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11".to_owned()),
    }
}

fn cpu(table: Option<Table<'_>>) -> Result<Cpu, Fault> {
    let Some(table) = table else { return Ok(Cpu { count: 1, sockets: 1, cores: 1, threads: 1, model: None }) };
    let count = table.integer("cpu.count", 1, CPUS_MAX)?;
    let sockets = table.integer("cpu.sockets", 1, CPUS_MAX)?.unwrap_or(1);
    let threads = table.integer("cpu.threads", 1, CPUS_MAX)?.unwrap_or(1);
    let cores = table.integer("cpu.cores", 1, CPUS_MAX)?;
    let cores = cores.unwrap_or_else(|| (count.unwrap_or(1) / (sockets * threads)).max(1));
    let product = sockets * cores * threads;
    let count = count.unwrap_or(product);
    let wrong = |why| Fault { at: table.start(), kind: TomlErrorKind::Value { key: "cpu.count", why } };
    if count != product {
        return Err(wrong(format!(
            "{count} processors are not {sockets} sockets x {cores} cores x {threads} threads, which makes {product}"
        )));
    }
    let narrow = |n: u64| match u32::try_from(n) {
        Ok(n) if u64::from(n) <= CPUS_MAX => Ok(n),
        _ => Err(wrong(format!("{count} processors are more than {CPUS_MAX}"))),
    };
    Ok(Cpu {
        count: narrow(count)?,
        sockets: narrow(sockets)?,
        cores: narrow(cores)?,
        threads: narrow(threads)?,
        model: table.string("cpu.model")?.map(|model| model.narrow(cpu_model)).transpose()?,
    })
}

fn cpu_model(text: &str) -> Result<&'static str, String> {
    CPU_MODELS.iter().copied().find(|known| *known == text).ok_or_else(|| {
        let like = CPU_MODELS.iter().find(|known| known.eq_ignore_ascii_case(text));
        match like {
            Some(like) => format!("{} is not known; did you mean \"{like}\"?", Quoted(text)),
            None => format!("{} is not known; known are {}", Quoted(text), CPU_MODELS.join(", ")),
        }
    })
}

fn boot(table: Option<Table<'_>>) -> Result<Boot, Fault> {
    let Some(table) = table else { return Ok(Boot::Disk) };
    let kernel = table.string("boot.kernel")?;
    let initrd = table.string("boot.initrd")?;
    let cmdline = table.string("boot.cmdline")?;
    let Some(kernel) = kernel else {
        if let Some(found) = initrd.or(cmdline) {
            return Err(Fault::value(&found.span, found.key, "means nothing without `boot.kernel`"));
        }
        return Ok(Boot::Disk);
    };
    Ok(Boot::Kernel {
        kernel: kernel.narrow(value::path)?,
        initrd: initrd.map(|found| found.narrow(value::path)).transpose()?,
        cmdline: cmdline.map(|c| c.narrow(|c| value::line(c, CMDLINE_BYTES_MAX))).transpose()?.unwrap_or_default(),
    })
}

fn disk(table: &Table<'_>) -> Result<Disk, Fault> {
    let format = table.required("disk.format", table.string("disk.format")?)?;
    Ok(Disk {
        path: table.required("disk.path", table.string("disk.path")?)?.narrow(value::path)?,
        format: one_of(format, &[("qcow2", DiskFormat::Qcow2), ("raw", DiskFormat::Raw)])?,
        bus: choice(table.string("disk.bus")?, &[("virtio", DiskBus::Virtio), ("scsi", DiskBus::Scsi)])?
            .unwrap_or(DiskBus::Virtio),
        readonly: table.boolean("disk.readonly")?.unwrap_or(false),
    })
}

/// All interfaces; no port of the host is forwarded twice.
fn nics(top: &Table<'_>) -> Result<Vec<Nic>, Fault> {
    let mut taken: Vec<Forward> = Vec::new();
    let mut nics = Vec::new();
    for table in top.tables("nic", NICS_MAX)? {
        one_of(table.required("nic.network", table.string("nic.network")?)?, &[("user", ())])?;
        let outbound = table.required("nic.outbound", table.boolean("nic.outbound")?)?;
        let mut forwards = Vec::new();
        for found in table.strings("nic.forward", FORWARDS_MAX)?.unwrap_or_default() {
            let (span, key) = (found.span.clone(), found.key);
            let forward = found.narrow(value::forward)?;
            let same =
                |f: &Forward| (f.udp, f.address, f.host_port) == (forward.udp, forward.address, forward.host_port);
            if taken.iter().any(same) {
                return Err(Fault::value(&span, key, format!("port {} is forwarded twice", forward.host_port)));
            }
            taken.push(forward.clone());
            forwards.push(forward);
        }
        nics.push(Nic { outbound, forwards });
    }
    Ok(nics)
}

/// A list of names, each once.
fn names(
    top: &Table<'_>,
    key: &'static str,
    most: usize,
    name: impl Fn(&str) -> Result<String, String>,
) -> Result<Vec<String>, Fault> {
    let mut names: Vec<String> = Vec::new();
    for found in top.strings(key, most)?.unwrap_or_default() {
        names.push(found.narrow(|text| match name(text)? {
            name if names.contains(&name) => Err(format!("\"{name}\" is named twice")),
            name => Ok(name),
        })?);
    }
    Ok(names)
}

fn test(table: &Table<'_>) -> Result<TestScript, Fault> {
    let ms = |key| table.integer(key, 0, TEST_MS_MAX).map(Option::unwrap_or_default);
    let text = |key| Ok(table.string(key)?.map(|found| found.value.to_owned()).unwrap_or_default());
    Ok(TestScript {
        start_ms: ms("test.start_ms")?,
        start_fails: text("test.start_fails")?,
        delay_ms: ms("test.delay_ms")?,
        deaf: table.boolean("test.deaf")?.unwrap_or(false),
        shutdown_ms: ms("test.shutdown_ms")?,
        console: text("test.console")?,
        panic_ms: ms("test.panic_ms")?,
        console_bytes: table.integer("test.console_bytes", 0, TEST_CONSOLE_BYTES_MAX)?.unwrap_or_default(),
        console_burst: table.integer("test.console_burst", 1, TEST_CONSOLE_BURST_MAX)?.unwrap_or(TEST_CONSOLE_BURST),
        agent: choice(table.string("test.agent")?, &[("answers", TestAgent::Answers), ("hangs", TestAgent::Hangs)])?
            .unwrap_or_default(),
    })
}

/// One of a few words, if any stands there.
fn choice<T: Copy>(found: Option<Found<&str>>, words: &[(&str, T)]) -> Result<Option<T>, Fault> {
    found.map(|found| one_of(found, words)).transpose()
}

/// One of a few words.
fn one_of<T: Copy>(found: Found<&str>, words: &[(&str, T)]) -> Result<T, Fault> {
    found.narrow(|text| {
        words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("must be {}", known.join(" or "))
        })
    })
}
