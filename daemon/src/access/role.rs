//! Roles, in their order.

/// What somebody may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Observer,
    /// Also start, stop and talk to guests.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role with its name in the configuration.
    pub const NAMES: &[(&'static str, Self)] =
        &[("observer", Self::Observer), ("operator", Self::Operator), ("admin", Self::Admin)];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observer => "observer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}
