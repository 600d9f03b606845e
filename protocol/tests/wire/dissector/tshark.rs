//! Real tshark, with the dissector of the sources and nobody's settings.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::capture::Capture;
use crate::support::skip::skip;

/// tshark on one capture.
pub(crate) struct Tshark {
    directory: TempDir,
    capture: PathBuf,
}

/// Whether there is one; otherwise says that the test is skipped.
fn is_there(test: &str) -> bool {
    let there = Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        skip(test, "tshark is not installed");
    }
    there
}

impl Tshark {
    /// To read a capture made here; none where there is no tshark.
    pub(crate) fn of(test: &str, capture: &Capture) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let path = capture.write(&directory);
        is_there(test).then(|| Self { directory, capture: path })
    }

    /// What it prints. That it says nothing of an error in Lua is seen to here, for its exit status does not tell.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let script = format!("lua_script:{}", super::lua().display());
        self.run_installed(&[&["-X", &script], arguments].concat())
    }

    /// The same with what is installed for the person who runs it.
    pub(crate) fn run_installed(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tshark");
        command.args(["-n", "-r"]).arg(&self.capture).args(arguments);
        command.env("HOME", self.directory.path()).env("XDG_CONFIG_HOME", self.directory.path()).env("TZ", "UTC");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tshark {arguments:?}: {said}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("Lua"), "{said}");
        assert!(!printed.contains("Lua Error"), "{printed}");
        printed
    }

    /// That there is neither an error of the script nor a packet that Wireshark finds malformed.
    pub(crate) fn is_sound(&self) {
        self.is_free_of("_ws.lua.error || _ws.malformed");
    }

    /// That there is no error of the script, whatever there is of the packets.
    pub(crate) fn is_read(&self) {
        self.is_free_of("_ws.lua.error");
    }

    /// In one pass as in two: the second judges nothing, so what goes wrong in the first shows there alone.
    fn is_free_of(&self, filter: &str) {
        let fields = ["-T", "fields", "-e", "frame.number", "-e", "_ws.lua.text", "-e", "_ws.expert.message"];
        for passes in [&[][..], &["-2"]] {
            assert_eq!(self.run(&[passes, &["-Y", filter], &fields].concat()), "");
        }
    }

    /// The info column of these frames, as sharkd shows it: it holds the capture open, as Wireshark does, and dissects a frame
    /// each time that it is asked for it.
    pub(crate) fn shown_by_sharkd(&self, test: &str, numbers: &[u32]) -> Option<Vec<String>> {
        self.install();
        let mut command = Command::new("sharkd");
        command.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.env("HOME", self.directory.path()).env("XDG_CONFIG_HOME", self.directory.path());
        let Ok(mut sharkd) = command.spawn() else {
            skip(test, "sharkd, which comes with tshark, is not installed");
            return None;
        };
        let mut asked = vec![json!({"jsonrpc": "2.0", "id": 1, "method": "load", "params": {"file": self.capture}})];
        asked.extend(numbers.iter().map(|number| {
            json!({"jsonrpc": "2.0", "id": number + 1, "method": "frames", "params": {"skip": number - 1, "limit": 1}})
        }));
        let mut stdin = sharkd.stdin.take().unwrap();
        asked.iter().for_each(|asked| writeln!(stdin, "{asked}").unwrap());
        drop(stdin);
        let output = sharkd.wait_with_output().unwrap();
        let said: Vec<Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let info = |said: &Value| said["result"][0]["c"][6].as_str().map(str::to_owned);
        Some(said.iter().filter_map(info).collect())
    }

    /// Puts the dissector where the person who runs it has plugins.
    pub(crate) fn install(&self) {
        let folder = self.home().join(".local/lib/wireshark/plugins");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(super::lua(), folder.join("vmwire.lua")).unwrap();
    }

    /// The frames that bear packets, in order, of the second pass.
    pub(crate) fn frames(&self, arguments: &[&str]) -> Vec<Frame> {
        let arguments =
            [&["-2", "-T", "json", "--no-duplicate-keys", "-J", "frame tcp vmwire", "-Y", "vmwire"], arguments]
                .concat();
        let Value::Array(frames) = serde_json::from_str(&self.run(&arguments)).unwrap() else { panic!("an array") };
        frames.iter().map(|frame| Frame::read(&frame["_source"]["layers"])).collect()
    }

    /// The info column of each frame that bears packets.
    pub(crate) fn sentences(&self, arguments: &[&str]) -> Vec<String> {
        let arguments = [&["-2", "-Y", "vmwire", "-T", "fields", "-e", "_ws.col.Info"], arguments].concat();
        self.run(&arguments).lines().map(str::to_owned).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.capture
    }

    /// The home of the person who runs it.
    pub(crate) fn home(&self) -> &Path {
        self.directory.path()
    }
}

/// What tshark found in one frame: every field by its name, with its values in order.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) fields: BTreeMap<String, Vec<String>>,
}

impl Frame {
    fn read(layers: &Value) -> Self {
        let mut fields = BTreeMap::new();
        collect("", layers, &mut fields);
        Self { fields }
    }

    pub(crate) fn all(&self, field: &str) -> &[String] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }

    /// The one value of a field.
    #[track_caller]
    pub(crate) fn one(&self, field: &str) -> &str {
        match self.all(field) {
            [value] => value,
            other => panic!("{field}: {other:?} in {:?}", self.fields),
        }
    }

    /// Number of its connection.
    pub(crate) fn stream(&self) -> usize {
        self.one("tcp.stream").parse().unwrap()
    }

    /// What it complains of, without the prefix.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaint = |(name, values): (&String, &Vec<String>)| {
            let name = name.strip_prefix("vmwire.expert.")?;
            Some(vec![name.to_owned(); values.len()])
        };
        self.fields.iter().filter_map(complaint).flatten().collect()
    }
}

fn collect(name: &str, value: &Value, fields: &mut BTreeMap<String, Vec<String>>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| collect(name, value, fields)),
        Value::Array(values) => values.iter().for_each(|value| collect(name, value, fields)),
        Value::String(text) => fields.entry(name.to_owned()).or_default().push(text.clone()),
        other => panic!("{name}: {other}"),
    }
}
