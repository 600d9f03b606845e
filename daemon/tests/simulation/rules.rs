//! Rules that change in the middle of a run, and where on each connection the change begins to hold.

use std::collections::BTreeMap;

use vmwire_daemon::access::{Access, Role, Rule};
use vmwire_daemon::dispatch::Turn;

use crate::client::{Connection, uid};
use crate::random::Random;
use crate::rights::{Era, Rights};
use crate::world::World;

impl World {
    /// The rules become others for a client, now and then for all: from now on nothing is said beyond the new ones, and
    /// whoever has no right left is shown out.
    pub(crate) fn rule(&mut self, client: usize) -> String {
        if !self.ruled {
            return "the rules stay".to_owned();
        }
        let all = self.random.chance(20);
        // Somebody has to stay an admin.
        let others = (0..self.clients.len()).filter(|other| !other.is_multiple_of(4));
        let others: Vec<usize> = others.collect();
        // Rather somebody who has something to lose.
        let losers = others
            .iter()
            .copied()
            .filter(|other| self.clients[*other].connection.as_ref().is_some_and(Connection::has_something_open));
        let losers: Vec<usize> = losers.collect();
        let client = self.random.pick(&losers).copied().filter(|_| self.random.chance(70)).unwrap_or(client);
        let changed: Vec<usize> = others.into_iter().filter(|other| all || *other == client).collect();
        for client in &changed {
            self.truth.borrow_mut().rights[*client] = Rights::any(&mut self.random);
        }
        let rights = self.truth.borrow().rights.clone();
        let now = self.truth.borrow().now;
        let access = Access { own_uid: 0, rules: rules_of(&rights) };
        let before = self.places();
        self.server.core.set_access(&mut Turn { now, host: &mut self.server.files }, access);
        for client in changed.iter().filter(|client| rights[**client].is_none()) {
            self.refused.extend(self.clients[*client].connection.as_ref().map(|connection| connection.id));
        }
        self.begin_eras(&before, |client| changed.contains(&client));
        *self.tally.entry("rules changed".to_owned()).or_default() += 1;
        format!("other rules for {changed:?}: {:?}", rights[client])
    }

    /// How many bytes have their place behind each other on each connection, written or not.
    pub(crate) fn places(&self) -> BTreeMap<u64, u64> {
        let unsent = self.server.core.census().connections.into_iter().map(|known| (known.number, known.unsent_bytes));
        let unsent: BTreeMap<u64, usize> = unsent.collect();
        let connections = self.clients.iter().filter_map(|client| client.connection.as_ref());
        let place = |connection: &Connection| {
            let unsent = unsent.get(&connection.id).copied().unwrap_or_default();
            (connection.id, connection.link.borrow().written + u64::try_from(unsent).unwrap())
        };
        connections.map(place).collect()
    }

    /// What takes its place from now on has to obey what holds now. What took it since `before` may tell of the change.
    pub(crate) fn begin_eras(&mut self, before: &BTreeMap<u64, u64>, whose: impl Fn(usize) -> bool) {
        let now = self.places();
        let truth = self.truth.borrow();
        for (at, client) in self.clients.iter_mut().enumerate().filter(|(at, _)| whose(*at)) {
            let Some(connection) = &mut client.connection else { continue };
            connection.eras.push(Era {
                change_byte: before[&connection.id],
                from_byte: now[&connection.id],
                from_event: truth.next() - 1,
                rights: truth.rights[at].clone(),
            });
        }
    }
}

/// What a client may do at first. Without rules it depends on the door by which it comes, and stays.
pub(crate) fn first_rights(random: &mut Random, client: u8, ruled: bool) -> Rights {
    match client % 4 {
        1 | 3 if ruled => Rights::any(random),
        1 => Rights::everywhere(Role::Operator),
        3 => Rights::everywhere(*random.pick(&[Role::Observer, Role::Operator]).unwrap()),
        _ => Rights::everywhere(Role::Admin),
    }
}

/// The rules that grant each client what it may do.
pub(crate) fn rules_of(rights: &[Rights]) -> Vec<Rule> {
    let ruled = rights.iter().zip(0..).flat_map(|(rights, client)| rights.rules(uid(client)));
    ruled.collect()
}
