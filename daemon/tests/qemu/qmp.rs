//! A look into a running QEMU past the driver, which has let go of it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use vmwire_daemon::driver::Driver;

use crate::stage::{PATIENCE, Stage, VM};

/// A monitor of one's own.
pub(crate) struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Starts a guest, lets the driver go, and takes its place at the monitor.
    pub(crate) fn of(stage: &mut Stage, text: &str) -> Self {
        stage.start(text).unwrap_or_else(|error| panic!("{error:?}: {text}"));
        stage.driver.detach(&mut stage.host);
        let path = stage.dir.path().join(format!("{VM}.monitor"));
        let end = Instant::now() + PATIENCE;
        loop {
            // QEMU may notice that the driver has hung up only when somebody else is there, and hangs up on them as
            // well.
            match Self::greeted(&path) {
                Ok(this) => return this,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        }
    }

    fn greeted(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self(BufReader::new(stream));
        this.line()?;
        writeln!(this.0.get_mut(), "{}", json!({"execute": "qmp_capabilities"}))?;
        while this.line()?.get("return").is_none() {}
        Ok(this)
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    pub(crate) fn ask(&mut self, command: &str, arguments: &Value) -> Value {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.0.get_mut(), "{request}").unwrap();
        loop {
            let mut answer = self.line().unwrap();
            if answer.get("event").is_none() {
                assert!(answer.get("return").is_some(), "{command}: {answer}");
                return answer["return"].take();
            }
        }
    }

    pub(crate) fn query(&mut self, command: &str) -> Value {
        self.ask(command, &json!({}))
    }

    /// A property of a device or of the machine.
    pub(crate) fn property(&mut self, path: &str, property: &str) -> Value {
        self.ask("qom-get", &json!({"path": path, "property": property}))
    }

    /// What the monitor for people says.
    pub(crate) fn human(&mut self, command: &str) -> String {
        let answer = self.ask("human-monitor-command", &json!({"command-line": command}));
        answer.as_str().unwrap().to_owned()
    }

    /// The devices that were given an id.
    pub(crate) fn devices(&mut self) -> Vec<String> {
        let list = self.ask("qom-list", &json!({"path": "/machine/peripheral"}));
        list.as_array().unwrap().iter().map(|device| device["name"].as_str().unwrap().to_owned()).collect()
    }
}
