//! `vmwire ping`: how long the daemon takes to answer.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::output::{Align, Format, Table};
use super::problem::Problem;
use super::quantity::show_duration;
use super::{Context, Exit};
use crate::request;
use crate::uri::Transport;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire ping\n  vmwire ping -n 100 -o json\n  vmwire -c test:///default ping\n")]
pub(crate) struct Arguments {
    /// How often, one after the other
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

impl Arguments {
    /// The time for all of them, where one has this.
    pub(super) fn several(&self, one: Duration) -> Duration {
        one.saturating_mul(self.count)
    }
}

#[derive(Serialize)]
struct Summary {
    count: u32,
    transport: &'static str,
    min_ns: u64,
    median_ns: u64,
    max_ns: u64,
    rtts_ns: Vec<u64>,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let mut connection = context.connect()?;
    let mut rtts = Vec::new();
    for number in 1..=arguments.count {
        let asked = Instant::now();
        connection.call(request::Ping, context.timeout)?;
        let rtt = asked.elapsed();
        rtts.push(rtt);
        if context.output.format() == Format::Table {
            let over = match connection.transport() {
                Transport::Unix => String::new(),
                far => format!(" over {}", far.word()),
            };
            context.output.line(&format!("answer {number} after {}{over}", show_duration(rtt)))?;
        }
    }
    let summary = summary(arguments.count, connection.transport(), &rtts);
    if context.output.format() == Format::Json {
        context.output.json(&summary)?;
    } else if arguments.count > 1 {
        let show = |nanoseconds: u64| show_duration(Duration::from_nanos(nanoseconds));
        context.output.thing(&summary, |summary| {
            let mut table = Table::new([("", Align::Left), ("", Align::Right)]);
            table.row(["min", &show(summary.min_ns)]);
            table.row(["median", &show(summary.median_ns)]);
            table.row(["max", &show(summary.max_ns)]);
            table
        })?;
    }
    Ok(Exit::Ok)
}

fn summary(count: u32, transport: Transport, rtts: &[Duration]) -> Summary {
    let rtts_ns: Vec<u64> = rtts.iter().map(|rtt| u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX)).collect();
    let mut sorted = rtts_ns.clone();
    sorted.sort_unstable();
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0);
    Summary {
        count,
        transport: transport.word(),
        min_ns: at(0),
        median_ns: at(sorted.len() / 2),
        max_ns: at(sorted.len().saturating_sub(1)),
        rtts_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_least_middle_and_most() {
        let rtts = [Duration::from_nanos(30), Duration::from_nanos(10), Duration::from_nanos(20)];
        let summary = summary(3, Transport::Tcp, &rtts);
        assert_eq!((summary.min_ns, summary.median_ns, summary.max_ns), (10, 20, 30));
        assert_eq!(summary.rtts_ns, [30, 10, 20]);
    }
}
