//! The real guest: Debian's kernel and a shell, as `contrib/guest/build` makes it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::archive::Archive;
use super::{Daemon, Running, skip};

/// A guest that is emulated on a busy machine boots in a tenth of this.
const BOOT_TIME: Duration = Duration::from_secs(300);

/// Whose turn it is: guests that are emulated side by side take the processors from each other, and from whoever waits for
/// them.
static TURN: Mutex<()> = Mutex::new(());

/// Where its parts are, and the turn of the one story that may run it.
#[derive(Debug)]
pub(crate) struct Guest(PathBuf, #[expect(dead_code, reason = "it is held, not looked at")] MutexGuard<'static, ()>);

impl Guest {
    /// Finds it, or says that a story is skipped.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let Some(dir) = std::env::var_os("VMWIRE_GUEST") else {
            skip(test, "VMWIRE_GUEST does not say where the test guest is (contrib/guest/build makes it)");
            return None;
        };
        // A story that failed leaves nothing behind that another one would see.
        let turn = || TURN.lock().unwrap_or_else(PoisonError::into_inner);
        has_qemu(test).then(|| Self(PathBuf::from(dir), turn()))
    }

    /// The release of its kernel, as its package says.
    pub(crate) fn release(&self) -> String {
        std::fs::read_to_string(self.0.join("release")).unwrap().trim().to_owned()
    }

    /// A disk with a boot sector that says `BOOT-SECTOR-READY` and halts.
    pub(crate) fn boot_sector(&self) -> PathBuf {
        self.0.join("bootsector.raw")
    }

    /// A definition that boots it with these words on its command line, and with more keys.
    ///
    /// Without `no_timer_check` the kernel panics where its first ticks come late, as they do on a busy machine.
    pub(crate) fn definition(&self, name: &str, words: &str, top: &str, tables: &str) -> String {
        let dir = self.0.display();
        format!(
            "name = \"{name}\"\nmemory = \"128 MiB\"\naccel = \"tcg\"\n{top}\n[boot]\nkernel = \"{dir}/vmlinux\"\n\
             initrd = \"{dir}/initrd\"\ncmdline = \"console=ttyS0 quiet cryptomgr.notests mitigations=off nokaslr \
             audit=0 panic=-1 no_timer_check {words}\"\n{tables}"
        )
    }

    /// A definition that boots it with programs of this machine, by their paths in the guest, and the room that they take;
    /// what they are in is put into this directory.
    pub(crate) fn definition_with(
        &self,
        programs: &[(&str, &Path)],
        directory: &Path,
        name: &str,
        top: &str,
    ) -> String {
        let mut initrd = std::fs::read(self.0.join("initrd")).unwrap();
        initrd.resize(initrd.len().next_multiple_of(512), 0);
        let mut archive = Archive::new();
        for (path, from) in programs {
            archive.program(path, from);
        }
        initrd.extend_from_slice(&archive.finish());
        let whole = directory.join("initrd");
        std::fs::write(&whole, initrd).unwrap();
        let definition = self.definition(name, "", top, "").replace("128 MiB", "384 MiB");
        definition.replace(&self.0.join("initrd").display().to_string(), &whole.display().to_string())
    }

    /// Defines it with these words on its command line.
    pub(crate) fn define(&self, daemon: &Daemon, name: &str, words: &str) {
        daemon.define(&self.definition(name, words, "", ""));
    }
}

/// Whether there is a QEMU; says that a story is skipped where there is none.
pub(crate) fn has_qemu(test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join("qemu-system-x86_64").is_file());
    if !found {
        skip(test, "there is no qemu-system-x86_64");
    }
    found
}

/// A console of the guest, with somebody who types.
#[derive(Debug)]
pub(crate) struct Shell(pub(crate) Running);

impl Shell {
    /// Opens the console of a guest that boots, from the first byte on, and waits until it is up; answers the release
    /// that it says it has.
    pub(crate) fn booted(daemon: &Daemon, vm: &str) -> (Self, String) {
        let mut shell = Self(daemon.begin(&["vm", "console", vm, "--take-over", "--history", "64KiB"]));
        let release = shell.boots();
        (shell, release)
    }

    /// Waits until the guest is up, once more perhaps; answers the release that it says it has.
    pub(crate) fn boots(&mut self) -> String {
        self.0.expect_within("GUEST-READY ", BOOT_TIME);
        let release = self.0.expect("\r\n");
        self.prompted();
        release
    }

    /// Waits for the prompt; answers what came before it.
    pub(crate) fn prompted(&mut self) -> String {
        self.0.expect_within("guest# ", BOOT_TIME)
    }

    /// Types a line.
    pub(crate) fn types(&mut self, line: &str) {
        self.0.write(&format!("{line}\n"));
    }

    /// Types a line; answers what the guest says to it, line by line.
    pub(crate) fn asks(&mut self, line: &str) -> Vec<String> {
        self.types(line);
        // The terminal shows what is typed.
        self.0.expect(&format!("{line}\r\n"));
        self.prompted().lines().map(str::to_owned).collect()
    }

    /// What the guest sees of its machine: what `facts` says of one thing.
    pub(crate) fn facts(&mut self, what: &str) -> Vec<String> {
        let start = format!("FACT {what} ");
        let lines = self.asks(&format!("facts {what}"));
        lines.iter().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
    }
}
