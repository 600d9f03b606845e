//! What the agent is told: options and configuration files, both qemu-ga's. The command line wins over files, lists of commands add
//! up, and what a file says of unknown keys is passed over.

use std::fmt;

use crate::key_file::{self, KeyFile};

mod getopt;

use getopt::{Known, Takes};

/// Where the configuration is looked for, and then ours, which wins.
pub const CONFIGURATIONS: [&str; 2] = ["/etc/qemu/qemu-ga.conf", "/etc/vmwire/vmwire-ga.conf"];
/// Names another file instead.
pub const CONFIGURATION_VARIABLE: &str = "QGA_CONF";

const VIRTIO_PATH: &str = "/dev/virtio-ports/org.qemu.guest_agent.0";
const SERIAL_PATH: &str = "/dev/ttyS0";
const PID_FILE: &str = "/var/run/qemu-ga.pid";
const STATE_DIRECTORY: &str = "/var/run";
const HOOK: &str = "/etc/qemu/fsfreeze-hook";
const GROUP: &str = "general";
/// Ten years, which no clock of a guest runs over.
const SECONDS_MAX: u64 = 10 * 365 * 24 * 60 * 60;

const KNOWN: &[Known] = &[
    ('h', &["help"], Takes::Nothing),
    ('V', &["version"], Takes::Nothing),
    ('D', &["dump-conf"], Takes::Nothing),
    ('c', &["config"], Takes::Argument),
    ('m', &["method"], Takes::Argument),
    ('p', &["path"], Takes::Argument),
    ('l', &["logfile"], Takes::Argument),
    ('f', &["pidfile"], Takes::Argument),
    ('F', &["fsfreeze-hook"], Takes::MaybeArgument),
    ('t', &["statedir"], Takes::Argument),
    ('v', &["verbose"], Takes::Nothing),
    ('d', &["daemonize"], Takes::Nothing),
    ('b', &["block-rpcs", "blacklist"], Takes::Argument),
    ('a', &["allow-rpcs"], Takes::Argument),
    ('r', &["retry-path"], Takes::Nothing),
];

/// The text of `--help`.
pub const HELP: &str = "\
Usage: vmwire-ga [-m <method> -p <path>] [<options>]
A guest agent that drops in for qemu-ga

  -m, --method      transport method: one of unix-listen, virtio-serial,
                    isa-serial, or vsock-listen (virtio-serial is the default)
  -p, --path        device/socket path (the default for virtio-serial is:
                    /dev/virtio-ports/org.qemu.guest_agent.0,
                    the default for isa-serial is:
                    /dev/ttyS0).
                    Socket addresses for vsock-listen are written as
                    <cid>:<port>.
  -l, --logfile     set logfile path, logs to stderr by default
  -f, --pidfile     specify pidfile (default is /var/run/qemu-ga.pid)
  -F, --fsfreeze-hook
                    enable fsfreeze hook. Accepts an optional argument that
                    specifies script to run on freeze/thaw. Script will be
                    called with 'freeze'/'thaw' arguments accordingly.
                    (default is /etc/qemu/fsfreeze-hook)
                    If using -F with an argument, do not follow -F with a
                    space.
                    (for example: -F/var/run/fsfreezehook.sh)
  -t, --statedir    specify dir to store state information (absolute paths
                    only, default is /var/run)
  -v, --verbose     log extra debugging information
  -V, --version     print version information and exit
  -d, --daemonize   become a daemon
  -b, --block-rpcs  comma-separated list of RPCs to disable (no spaces,
                    use \"help\" to list available RPCs)
  -a, --allow-rpcs  comma-separated list of RPCs to enable (no spaces,
                    use \"help\" to list available RPCs)
  -c, --config      configuration file path (default is
                    /etc/qemu/qemu-ga.conf, then /etc/vmwire/vmwire-ga.conf)
  -D, --dump-conf   dump a qemu-ga config file based on current config
                    options / command-line parameters to stdout
  -r, --retry-path  attempt re-opening path if it's unavailable or closed
                    due to an error which may be recoverable in the future
                    (virtio-serial driver re-install, serial device hot
                    plug/unplug, etc.)
  -h, --help        display this help and exit
";

/// What one source says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Print the help.
    pub help: bool,
    /// Print the version.
    pub version: bool,
    /// List the commands.
    pub list: bool,
    /// Print the configuration.
    pub dump: bool,
    /// Read this configuration.
    pub config: Option<String>,
    /// How the channel is reached.
    pub method: Option<String>,
    /// Where it is.
    pub path: Option<String>,
    /// Where the log goes.
    pub log_file: Option<String>,
    /// Where a daemon's number is written.
    pub pid_file: Option<String>,
    /// The program that runs before a freeze and after a thaw.
    pub hook: Option<String>,
    /// Where state is kept.
    pub state_directory: Option<String>,
    /// Log everything.
    pub verbose: bool,
    /// Become a daemon.
    pub daemon: bool,
    /// Open the channel again when it is gone.
    pub retry: bool,
    /// Commands that are refused.
    pub blocked: Vec<String>,
    /// If there are any, all others are.
    pub allowed: Vec<String>,
    /// Seconds that a request may take.
    pub request_deadline: Option<u64>,
    /// Seconds after which frozen file systems thaw by themselves; 0 is never.
    pub freeze_lease: Option<u64>,
}

/// Why options are none, for a person.
#[derive(Debug)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Options {
    /// What a command line says, without the program's name.
    ///
    /// # Errors
    /// It is none.
    pub fn from_words(words: &[String]) -> Result<Options, Wrong> {
        let parsed = getopt::parse(words, KNOWN).map_err(|wrong| Wrong(wrong.to_string()))?;
        let mut options = Options::default();
        for (letter, argument) in parsed {
            match letter {
                'h' => options.help = true,
                'V' => options.version = true,
                'D' => options.dump = true,
                'c' => options.config = argument,
                'm' => options.method = argument,
                'p' => options.path = argument,
                'l' => options.log_file = argument,
                'f' => options.pid_file = argument,
                'F' => options.hook = Some(argument.unwrap_or_else(|| HOOK.to_owned())),
                't' => options.state_directory = argument,
                'v' => options.verbose = true,
                'd' => options.daemon = true,
                'r' => options.retry = true,
                'b' | 'a' => {
                    let argument = argument.unwrap_or_default();
                    if argument == "help" || argument == "?" {
                        options.list = true;
                    }
                    let names = if letter == 'b' { &mut options.blocked } else { &mut options.allowed };
                    names.extend(list(&argument));
                }
                _ => {}
            }
        }
        Ok(options)
    }

    /// What a configuration says.
    ///
    /// # Errors
    /// It is none.
    pub fn from_file(text: &str) -> Result<Options, key_file::Wrong> {
        let file = KeyFile::read(text)?;
        let word = |key| file.text(GROUP, key).map(str::to_owned);
        Ok(Options {
            method: word("method"),
            path: word("path"),
            log_file: word("logfile"),
            pid_file: word("pidfile"),
            hook: word("fsfreeze-hook"),
            state_directory: word("statedir"),
            daemon: file.bool(GROUP, "daemon")?.unwrap_or_default(),
            verbose: file.bool(GROUP, "verbose")?.unwrap_or_default(),
            retry: file.bool(GROUP, "retry-path")?.unwrap_or_default(),
            blocked: list(file.text(GROUP, "block-rpcs").or_else(|| file.text(GROUP, "blacklist")).unwrap_or_default()),
            allowed: list(file.text(GROUP, "allow-rpcs").unwrap_or_default()),
            request_deadline: file.number(GROUP, "request-deadline", SECONDS_MAX)?,
            freeze_lease: file.number(GROUP, "freeze-lease", SECONDS_MAX)?,
            ..Options::default()
        })
    }

    /// Both, where `self` wins.
    #[must_use]
    pub fn over(self, below: Options) -> Options {
        let lists = |mut one: Vec<String>, other: Vec<String>| {
            one.extend(other);
            one
        };
        Options {
            help: self.help,
            version: self.version,
            list: self.list,
            dump: self.dump,
            config: self.config,
            method: self.method.or(below.method),
            path: self.path.or(below.path),
            log_file: self.log_file.or(below.log_file),
            pid_file: self.pid_file.or(below.pid_file),
            hook: self.hook.or(below.hook),
            state_directory: self.state_directory.or(below.state_directory),
            verbose: self.verbose || below.verbose,
            daemon: self.daemon || below.daemon,
            retry: self.retry || below.retry,
            blocked: lists(below.blocked, self.blocked),
            allowed: lists(below.allowed, self.allowed),
            request_deadline: self.request_deadline.or(below.request_deadline),
            freeze_lease: self.freeze_lease.or(below.freeze_lease),
        }
    }

    /// The method that is used.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("virtio-serial")
    }

    /// The path that is used, if there is one.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref().or(match self.method() {
            "virtio-serial" => Some(VIRTIO_PATH),
            "isa-serial" => Some(SERIAL_PATH),
            _ => None,
        })
    }

    /// The pid file that is used.
    pub fn pid_file(&self) -> &str {
        self.pid_file.as_deref().unwrap_or(PID_FILE)
    }

    /// The state directory that is used.
    pub fn state_directory(&self) -> &str {
        self.state_directory.as_deref().unwrap_or(STATE_DIRECTORY)
    }

    /// The configuration that says all this.
    pub fn dumped(&self) -> String {
        let path = self.path();
        let (blocked, allowed) = (self.blocked.join(","), self.allowed.join(","));
        let (deadline, lease) =
            (self.request_deadline.map(|span| span.to_string()), self.freeze_lease.map(|span| span.to_string()));
        let truth = |truth| Some(if truth { "true" } else { "false" });
        let lines = [
            ("daemon", truth(self.daemon)),
            ("method", Some(self.method())),
            ("path", path),
            ("logfile", self.log_file.as_deref()),
            ("pidfile", Some(self.pid_file())),
            ("fsfreeze-hook", self.hook.as_deref()),
            ("statedir", Some(self.state_directory())),
            ("verbose", truth(self.verbose)),
            ("retry-path", truth(self.retry)),
            ("block-rpcs", Some(&blocked)),
            ("allow-rpcs", Some(&allowed)),
            ("request-deadline", deadline.as_deref()),
            ("freeze-lease", lease.as_deref()),
        ];
        let mut text = format!("[{GROUP}]\n");
        for (key, value) in lines {
            let Some(value) = value else { continue };
            text.push_str(&format!("{key}={}\n", key_file::escaped(value)));
        }
        text
    }
}

/// Names with commas between them; semicolons, as key files have them, will do.
fn list(text: &str) -> Vec<String> {
    text.split([',', ';']).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Options {
        Options::from_words(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn without_options_qemu_gas_defaults_hold() {
        assert_eq!(
            words(&["-D"]).dumped(),
            "[general]\ndaemon=false\nmethod=virtio-serial\npath=/dev/virtio-ports/org.qemu.guest_agent.0\n\
             pidfile=/var/run/qemu-ga.pid\nstatedir=/var/run\nverbose=false\nretry-path=false\nblock-rpcs=\nallow-rpcs=\n"
        );
    }

    #[test]
    fn the_command_line_wins_and_lists_add_up() {
        let file = Options::from_file(
            "[general]\ndaemon=true\nmethod=isa-serial\nblock-rpcs=a;b,c\nfsfreeze-hook=/x\nfoo=bar\nfreeze-lease=7\n[x]\nmethod=no",
        )
        .unwrap();
        let both = words(&["-m", "unix-listen", "-b", "d", "-b", "e", "-F", "-p", "/x"]).over(file);
        assert_eq!(
            both.dumped(),
            "[general]\ndaemon=true\nmethod=unix-listen\npath=/x\npidfile=/var/run/qemu-ga.pid\n\
             fsfreeze-hook=/etc/qemu/fsfreeze-hook\nstatedir=/var/run\nverbose=false\nretry-path=false\n\
             block-rpcs=a,b,c,d,e\nallow-rpcs=\nfreeze-lease=7\n"
        );
        assert_eq!(both.blocked, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn what_is_dumped_reads_back() {
        let options = words(&[
            "-m",
            "unix-listen",
            "-p",
            " /a\\b",
            "-l",
            "/l",
            "-f",
            "/p",
            "-F/h",
            "-t",
            "/s",
            "-v",
            "-d",
            "-r",
            "-b",
            "x",
            "-a",
            "y",
        ]);
        assert_eq!(Options::from_file(&options.dumped()).unwrap(), options);
    }

    #[test]
    fn a_socket_has_no_path_of_its_own() {
        assert_eq!(words(&["-m", "unix-listen"]).path(), None);
        assert_eq!(words(&["-m", "isa-serial"]).path(), Some("/dev/ttyS0"));
    }

    #[test]
    fn a_span_that_no_clock_can_hold_is_refused() {
        for key in ["request-deadline", "freeze-lease"] {
            let read = |seconds: u64| Options::from_file(&format!("[general]\n{key}={seconds}"));
            assert!(read(SECONDS_MAX).is_ok());
            for seconds in [SECONDS_MAX + 1, u64::MAX] {
                let wrong = read(seconds).unwrap_err().to_string();
                assert_eq!(wrong, format!("key '{key}' has a value which is too large; 315360000 is the largest"));
            }
        }
    }

    #[test]
    fn a_bad_truth_value_is_refused() {
        assert!(Options::from_file("[general]\nverbose=zz").is_err());
    }
}
