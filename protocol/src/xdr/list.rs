//! Lists with a bound.

use std::{fmt, marker::PhantomData, ops::Deref, slice, vec};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};

use super::{
    Sampler, Wire,
    bytes::{CHUNK_BYTES, checked, next},
    error::TooLong,
};

/// At most `MAX` values of one type.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// Takes `values` if they are not too many.
    pub fn new(values: impl Into<Vec<T>>) -> Result<Self, TooLong> {
        let values = values.into();
        if values.len() > MAX {
            return Err(TooLong { length: values.len(), max: MAX });
        }
        Ok(Self(values))
    }

    /// The first `MAX` of `values`: for what is said to people.
    pub fn clipped(values: impl IntoIterator<Item = T>) -> Self {
        Self(values.into_iter().take(MAX).collect())
    }

    /// Appends `value` if there is room.
    pub fn push(&mut self, value: T) -> Result<(), TooLong> {
        if self.0.len() >= MAX {
            return Err(TooLong { length: self.0.len() + 1, max: MAX });
        }
        self.0.push(value);
        Ok(())
    }

    /// The values.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// The values, without their bound.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T: Wire, const MAX: usize> Wire for List<T, MAX> {
    const BYTES_MAX: usize = T::BYTES_MAX.saturating_mul(MAX).saturating_add(4);
    const SECRET: bool = T::SECRET;
    const HAS_SECRETS: bool = T::HAS_SECRETS;

    fn secret_fields(found: &mut Vec<(&'static str, &'static str)>) {
        T::secret_fields(found);
    }

    fn blank(&mut self) {
        self.0.iter_mut().for_each(T::blank);
    }

    fn sample(sampler: &mut Sampler) -> Self {
        let count = sampler.length(MAX, 4);
        Self((0..count).map(|_| T::sample(sampler)).collect())
    }
}

impl<T: Wire, const MAX: usize> Serialize for List<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de, T: Wire, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Wire, const MAX: usize> Visitor<'de> for Values<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "at most {MAX} values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<List<T, MAX>, A::Error> {
                let count = checked(next(&mut access)?, MAX)?;
                let first_chunk = CHUNK_BYTES.checked_div(size_of::<T>()).unwrap_or(count);
                let mut values = Vec::with_capacity(count.min(first_chunk));
                for _ in 0..count {
                    values.push(next(&mut access)?);
                }
                Ok(List(values))
            }
        }

        // The count, and at most so many values: a backend never sees the count as a length to believe.
        deserializer.deserialize_tuple(MAX + 1, Values(PhantomData))
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> IntoIterator for List<T, MAX> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;

    fn into_iter(self) -> vec::IntoIter<T> {
        self.0.into_iter()
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a List<T, MAX> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> slice::Iter<'a, T> {
        self.0.iter()
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = TooLong;

    fn try_from(values: Vec<T>) -> Result<Self, TooLong> {
        Self::new(values)
    }
}

impl<T, const MAX: usize> From<List<T, MAX>> for Vec<T> {
    fn from(list: List<T, MAX>) -> Self {
        list.0
    }
}
