//! What must not be printed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Erase, Sampler, Wire};

/// A value that opens a door to whoever reads it. On the wire it is the value itself; `Debug` tells nothing of it, so that no
/// log line, audit record or failed assertion can. In `vmwire.x` the comment of such a field is `secret`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Keeps `value` from being printed.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one who has to use it.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: Wire + Erase> Wire for Secret<T> {
    const BYTES_MAX: usize = T::BYTES_MAX;
    const SECRET: bool = true;

    fn blank(&mut self) {
        self.0.erase();
    }

    fn sample(sampler: &mut Sampler) -> Self {
        Self(T::sample(sampler))
    }
}

impl<T: Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}
