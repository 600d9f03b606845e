//! One subscription, held against what really happened: every event that matches comes exactly once and in order, or
//! within a GAP that covers exactly what was lost.

use vmwire_protocol::message::{Cursor, Event, Gap, SubscribeAnswer, SubscribeCall};

use crate::rights::Era;
use crate::truth::Truth;

/// A subscription and how far it has come.
#[derive(Debug)]
pub(crate) struct Subscription {
    vm: String,
    kinds: Vec<u32>,
    /// Events before this one are done with.
    next: u64,
    start: Start,
}

#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// Events come, or the GAP of those that were lost.
    Known,
    /// GAP 0..0 has to come first.
    Unknown,
    /// The place asked for lay ahead when it was asked for: it may have come to be known meanwhile.
    Ahead,
}

impl Subscription {
    /// The daemon has taken up a subscription.
    pub(crate) fn begin(
        call: SubscribeCall,
        newest_when_asked: u64,
        answer: &SubscribeAnswer,
        truth: &Truth,
    ) -> Result<Self, String> {
        let first = answer.first.sequence;
        if answer.first.epoch.0 != truth.epoch || first > truth.next() {
            return Err(format!("{:?} begins at {:?}, but {} is next", call.after, answer.first, truth.next()));
        }
        let (next, start) = match &call.after {
            None if first <= newest_when_asked => return Err(format!("from now on began in the past, at {first}")),
            None => (first, Start::Known),
            Some(after) if after.epoch.0 != truth.epoch => (first, Start::Unknown),
            Some(after) if after.sequence > newest_when_asked => (first, Start::Ahead),
            Some(after) if first < after.sequence + 1 => return Err(format!("{after:?} begins before, at {first}")),
            Some(after) => (after.sequence + 1, Start::Known),
        };
        Ok(Self { vm: call.vm.into_string(), kinds: call.kinds.into_vec(), next, start })
    }

    fn wants(&self, event: &Event) -> bool {
        let vm = self.vm.is_empty()
            || event.vm.as_ref().is_some_and(|vm| {
                vm.name == self.vm.as_str() || uuid::Uuid::from_bytes(vm.uuid.0).to_string() == self.vm
            });
        vm && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
    }

    /// Nothing that matches, and might be told at any time, lies before `until` and was not told.
    fn pass(&mut self, until: u64, eras: &[Era], truth: &Truth) -> Result<(), String> {
        let may = |sequence| eras.iter().all(|era| truth.is_told_of(sequence, &era.rights));
        for sequence in self.next..until {
            if truth.event(sequence).is_some_and(|event| self.wants(event)) && may(sequence) {
                return Err(format!("event {sequence} was left out before {until}: {self:?}"));
            }
        }
        self.next = self.next.max(until);
        Ok(())
    }

    pub(crate) fn event(&mut self, event: &Event, eras: &[Era], truth: &Truth) -> Result<(), String> {
        let sequence = event.sequence;
        if self.start == Start::Unknown {
            return Err(format!("event {sequence} came before GAP 0..0"));
        }
        self.start = Start::Known;
        if sequence < self.next {
            return Err(format!("event {sequence} came again or out of order: {} is next", self.next));
        }
        if truth.event(sequence) != Some(event) {
            return Err(format!("event {sequence} is not what happened"));
        }
        if !self.wants(event) {
            return Err(format!("event {sequence} was not asked for"));
        }
        self.pass(sequence, eras, truth)?;
        self.next = sequence + 1;
        Ok(())
    }

    pub(crate) fn gap(&mut self, gap: &Gap, eras: &[Era], truth: &Truth) -> Result<(), String> {
        if (gap.first, gap.last) == (0, 0) {
            if self.start == Start::Known {
                return Err("GAP 0..0 in a sequence that is known".to_owned());
            }
            self.start = Start::Known;
            return Ok(());
        }
        if self.start == Start::Unknown || gap.epoch.0 != truth.epoch {
            return Err(format!("{gap:?} of a sequence that is unknown"));
        }
        if gap.first < self.next || gap.last < gap.first {
            return Err(format!("{gap:?} covers what was told: {} is next", self.next));
        }
        if gap.last >= truth.ring_first() {
            return Err(format!("{gap:?} covers what was not lost: {} is kept", truth.ring_first()));
        }
        self.pass(gap.first, eras, truth)?;
        self.next = gap.last + 1;
        Ok(())
    }

    /// Everything was read that will come: nothing is missing.
    pub(crate) fn complete(&mut self, eras: &[Era], truth: &Truth) -> Result<(), String> {
        if self.start == Start::Unknown {
            return Err("GAP 0..0 never came".to_owned());
        }
        self.pass(truth.next(), eras, truth)
    }

    /// From where a later subscription would go on.
    pub(crate) fn cursor(&self, truth: &Truth) -> Cursor {
        Cursor { epoch: truth.epoch.into(), sequence: self.next - 1 }
    }

    /// The same once more, from where this one stands.
    pub(crate) fn again(&self, truth: &Truth) -> SubscribeCall {
        SubscribeCall {
            after: Some(self.cursor(truth)),
            vm: self.vm.as_str().try_into().unwrap(),
            kinds: self.kinds.clone().try_into().unwrap(),
        }
    }
}
