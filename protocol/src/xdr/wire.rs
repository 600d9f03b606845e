//! The marker of what may travel.

use serde::{Serialize, de::DeserializeOwned};

use super::Sampler;

/// What may be a message or a field of one.
///
/// Implemented for the fixed-size numbers, `bool`, `()` (void), `Option` (XDR's optional), the bounded types of this
/// module and what its macros make, and for nothing else: `String`, `Vec` and `Box` have serde implementations, but under
/// an XDR codec those believe whatever length a peer wrote. Not to be implemented by hand.
///
/// ```compile_fail,E0277
/// vmwire_protocol::wire_struct! { pub struct Login { pub password: String } }
/// ```
/// ```compile_fail,E0277
/// vmwire_protocol::wire_struct! { pub struct Names { pub names: Vec<u32> } }
/// ```
/// ```compile_fail,E0277
/// vmwire_protocol::wire_union! { pub enum Boxed { 0 => Number(Box<u32>) } }
/// ```
/// ```compile_fail,E0391
/// use vmwire_protocol::xdr::List;
/// vmwire_protocol::wire_struct! { pub struct Tree { pub children: List<Tree, 4> } }
/// ```
/// ```
/// use vmwire_protocol::xdr::{List, Text};
/// vmwire_protocol::wire_struct! { pub struct Login { pub password: Text<64>, pub groups: List<u32, 4> } }
/// vmwire_protocol::wire_union! { pub enum Number { 0 => Absent, 1 => Present(u32) } }
/// ```
pub trait Wire: Serialize + DeserializeOwned {
    /// The most bytes that an encoded value can take. A recursive type has no such number, and so does not compile.
    const BYTES_MAX: usize;

    /// Whether the value as a whole must not be printed; see [`Secret`](super::Secret).
    const SECRET: bool = false;

    /// Whether a value of this type has something secret anywhere in it.
    const HAS_SECRETS: bool = Self::SECRET;

    /// Adds the secret fields of this type and of those it is made of: the name of the struct, and of the field.
    fn secret_fields(_found: &mut Vec<(&'static str, &'static str)>) {}

    /// Writes over what is secret in the value, so that its encoding stays as long as it was; see [`Secret`](super::Secret).
    fn blank(&mut self) {}

    /// Some value, for tests; see [`Sampler`].
    fn sample(sampler: &mut Sampler) -> Self;
}

/// What can be written over without becoming longer or shorter on the wire.
pub trait Erase {
    /// Writes over the whole value.
    fn erase(&mut self);
}

macro_rules! wire_numbers {
    ($($type:ty),+) => {
        $(impl Wire for $type {
            const BYTES_MAX: usize = size_of::<$type>();

            fn sample(sampler: &mut Sampler) -> Self {
                let mut bytes = [0; size_of::<$type>()];
                sampler.fill(&mut bytes);
                let any = <$type>::from_be_bytes(bytes);
                *sampler.choose(&[0, 1, <$type>::MIN, <$type>::MAX, any, any, any])
            }
        })+
    };
}

wire_numbers!(u32, i32, u64, i64);

impl Wire for bool {
    const BYTES_MAX: usize = 4;

    fn sample(sampler: &mut Sampler) -> Self {
        *sampler.choose(&[false, true])
    }
}

impl Wire for () {
    const BYTES_MAX: usize = 0;

    fn sample(_sampler: &mut Sampler) -> Self {}
}

impl<T: Wire> Wire for Option<T> {
    const BYTES_MAX: usize = T::BYTES_MAX.saturating_add(4);
    const SECRET: bool = T::SECRET;
    const HAS_SECRETS: bool = T::HAS_SECRETS;

    fn secret_fields(found: &mut Vec<(&'static str, &'static str)>) {
        T::secret_fields(found);
    }

    fn blank(&mut self) {
        if let Some(value) = self {
            value.blank();
        }
    }

    fn sample(sampler: &mut Sampler) -> Self {
        bool::sample(sampler).then(|| T::sample(sampler))
    }
}
