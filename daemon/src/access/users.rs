//! Names of users and groups, out of the text of `/etc/passwd` and `/etc/group`: read once, when the configuration is.
//! Nothing here asks a name service, which may take any time.

use std::collections::HashMap;

/// The users and groups of the host, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    users: HashMap<String, u32>,
    groups: HashMap<String, Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    gid: u32,
    members: Vec<String>,
}

impl Users {
    /// Reads both texts. A line that is not as it should be is passed over, as every program does.
    pub fn parse(passwd: &str, group: &str) -> Self {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next()?, fields.nth(1)?);
            Some((name.to_owned(), uid.parse().ok()?))
        };
        let group_of = |line: &str| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?);
            let members = fields.next()?.split(',').filter(|member| !member.is_empty()).map(str::to_owned);
            Some((name.to_owned(), Group { gid: gid.parse().ok()?, members: members.collect() }))
        };
        Self { users: passwd.lines().filter_map(user).collect(), groups: group.lines().filter_map(group_of).collect() }
    }

    /// The number of a user.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    /// The number of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.groups.get(name).map(|group| group.gid)
    }

    /// The users that are members of a group besides those whose own group it is.
    pub(super) fn members(&self, group: &str) -> Vec<u32> {
        let members = self.groups.get(group).map(|group| group.members.as_slice()).unwrap_or_default();
        members.iter().filter_map(|name| self.uid(name)).collect()
    }
}
