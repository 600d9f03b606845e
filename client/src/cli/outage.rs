//! What a person is told while a lost connection is being made anew.

use std::error::Error as _;
use std::time::{Duration, Instant};

use super::output::Output;
use crate::connection::Connection;
use crate::error::Error;

/// How often is told that it is still lost, where nothing is new about it.
const REMIND: Duration = Duration::from_secs(30);

/// What was told last.
#[derive(Debug)]
pub(crate) struct Teller {
    links: u64,
    told: Option<(String, Instant)>,
    /// What follows a new connection, in words.
    goes_on: &'static str,
}

impl Teller {
    pub(crate) fn new(connection: &Connection, goes_on: &'static str) -> Self {
        Self { links: connection.reconnections(), told: None, goes_on }
    }

    /// Tells what is new: that the link is lost, why no other can be had, that there is one.
    pub(crate) fn look(&mut self, connection: &Connection, output: &mut Output) {
        if connection.reconnections() > self.links {
            self.links = connection.reconnections();
            // The first attempt may have been enough, and then nobody has heard of it yet.
            let loss = connection.last_loss().filter(|_| self.told.is_none()).map(why);
            let loss = loss.map(|why| format!("the connection was lost: {why}; ")).unwrap_or_default();
            self.told = None;
            output.note(&format!("{loss}connected again, {}", self.goes_on));
        }
        let Some(outage) = connection.outage() else { return };
        let why = why(outage.error);
        let known = self.told.as_ref().is_some_and(|(told, at)| *told == why && at.elapsed() < REMIND);
        if !known {
            output.note(&format!("the connection is lost: {why}; trying again{}", in_words(outage.next)));
            self.told = Some((why, Instant::now()));
        }
    }
}

fn why(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// When, if that is not at once.
fn in_words(next: Duration) -> String {
    match next.as_millis().div_ceil(1000) {
        0 | 1 if next < Duration::from_millis(500) => String::new(),
        seconds => format!(" in {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_next_attempt_comes_is_told_in_whole_seconds() {
        for (milliseconds, words) in [(0, ""), (499, ""), (500, " in 1 s"), (1000, " in 1 s"), (1001, " in 2 s")] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), words);
        }
    }
}
