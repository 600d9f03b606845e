//! The table: what was measured, what it was compared with, what was wanted, and on which machine.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::statistics::Comparison;

const BEGIN: &str = "<!-- begin of what `make bench` wrote -->\n";
const END: &str = "<!-- end of what `make bench` wrote -->\n";

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    ours: String,
    yardstick: String,
    ratio: String,
    target: String,
    verdict: Option<bool>,
}

impl Row {
    /// Ours, without a yardstick.
    pub(crate) fn of(what: impl Into<String>, ours: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ours: ours.into(),
            yardstick: "-".to_owned(),
            ratio: "-".to_owned(),
            target: "stated".to_owned(),
            verdict: None,
        }
    }

    /// Ours beside a yardstick, in microseconds.
    pub(crate) fn times(what: impl Into<String>, comparison: &Comparison) -> Self {
        Self::compared(what, comparison, |value| format!("{value:.1} us"))
    }

    /// Ours beside a yardstick, in thousands of packets a second.
    pub(crate) fn rates(what: impl Into<String>, comparison: &Comparison) -> Self {
        Self::compared(what, comparison, |value| format!("{:.0} k/s", value / 1e3))
    }

    /// Ours beside a yardstick, each measured once.
    pub(crate) fn beside(what: impl Into<String>, ours: f64, yardstick: f64, show: impl Fn(f64) -> String) -> Self {
        let ratio = format!("{:.2}", ours / yardstick);
        Self { yardstick: show(yardstick), ratio, ..Self::of(what, show(ours)) }
    }

    /// Ours beside a yardstick, in events a second.
    pub(crate) fn per_second(what: impl Into<String>, comparison: &Comparison) -> Self {
        Self::compared(what, comparison, |value| format!("{value:.0} /s"))
    }

    /// Ours beside a yardstick, shown like this.
    pub(crate) fn compared(what: impl Into<String>, comparison: &Comparison, show: impl Fn(f64) -> String) -> Self {
        let (low, high) = comparison.spread;
        Self {
            yardstick: show(comparison.yardstick),
            ratio: format!("{:.2} ({low:.2} to {high:.2})", comparison.ratio),
            ..Self::of(what, show(comparison.ours))
        }
    }

    /// The same of a yardstick, where the one by the other says nothing.
    pub(crate) fn with_yardstick(self, yardstick: impl Into<String>) -> Self {
        Self { yardstick: yardstick.into(), ..self }
    }

    /// A value that is to be at most this.
    pub(crate) fn at_most(self, value: f64, most: f64, unit: &str) -> Self {
        Self { target: format!("at most {most}{unit}"), verdict: Some(value <= most), ..self }
    }

    /// A value that is to be at least this.
    pub(crate) fn at_least(self, value: f64, least: f64, unit: &str) -> Self {
        Self { target: format!("at least {least}{unit}"), verdict: Some(value >= least), ..self }
    }
}

/// Everything that was measured in one run of the program.
#[derive(Debug)]
pub(crate) struct Report {
    machine: String,
    began: String,
    load_before: String,
    load_after: String,
    rows: Vec<(&'static str, Row)>,
    failures: Vec<String>,
}

impl Report {
    /// Looks at the machine.
    pub(crate) fn begin() -> Self {
        Self {
            machine: machine(),
            began: said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            load_before: load(),
            load_after: String::new(),
            rows: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A group of figures was measured.
    pub(crate) fn add(&mut self, group: &'static str, rows: Vec<Row>) {
        for row in rows {
            eprintln!("{}", line(group, &row));
            self.rows.push((group, row));
        }
    }

    /// A group of figures could not be measured.
    pub(crate) fn failed(&mut self, group: &'static str, why: &str) {
        eprintln!("vmwire-bench: {group}: not measured: {why}");
        self.failures.push(format!("{group}: not measured: {why}"));
    }

    /// Looks at the machine once more.
    pub(crate) fn end(&mut self) {
        self.load_after = load();
    }

    /// Replaces what stands between the marks of a file.
    pub(crate) fn write_into(&self, file: &Path) -> Outcome<()> {
        let text = std::fs::read_to_string(file)?;
        let marks = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) = marks.ok_or_else(|| format!("{} has no marks", file.display()))?;
        std::fs::write(file, format!("{before}{BEGIN}\n{self}\n{END}{after}"))?;
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {}; load {} before, {} after.\n",
            self.began, self.machine, self.load_before, self.load_after
        )?;
        writeln!(f, "| row | figure | ours | yardstick | ratio (spread) | wanted | |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for (group, row) in &self.rows {
            writeln!(f, "{}", line(group, row))?;
        }
        for failure in &self.failures {
            writeln!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

fn line(group: &str, row: &Row) -> String {
    let verdict = match row.verdict {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    };
    let Row { what, ours, yardstick, ratio, target, .. } = row;
    format!("| {group} | {what} | {ours} | {yardstick} | {ratio} | {target} | {verdict} |")
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let count = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} x {}, {}", model.trim_start_matches(['\t', ' ', ':']), said_by("uname", &["-sr"]))
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
