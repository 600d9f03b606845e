//! The macros that messages are written with.

/// Makes structs that travel: public fields, `Clone`, `Debug`, `PartialEq`, `Eq` and [`Wire`](crate::xdr::Wire).
///
/// ```
/// use vmwire_protocol::{wire_struct, xdr::{self, List, Text}};
///
/// wire_struct! {
///     /// What the client says first.
///     #[derive(Default)]
///     pub struct Hello {
///         /// The major it speaks.
///         pub major: u32,
///         /// Who it is.
///         pub name: Text<128>,
///         /// What it can do.
///         pub capabilities: List<u32, 64>,
///     }
/// }
///
/// let mut bytes = Vec::new();
/// xdr::encode(&mut bytes, &Hello { major: 1, ..Hello::default() })?;
/// assert_eq!(bytes, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
/// assert_eq!(xdr::decode::<Hello>(&bytes)?.major, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! wire_struct {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty ),+ $(,)?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $type, )+
        }

        const _: () = {
            use $crate::xdr::{Sampler, Wire, support};

            const FIELDS: &[&str] = &[$( stringify!($field) ),+];

            impl Wire for $name {
                const BYTES_MAX: usize = support::sum(&[$( <$type as Wire>::BYTES_MAX ),+]);
                const HAS_SECRETS: bool = support::any(&[$( <$type as Wire>::HAS_SECRETS ),+]);

                fn secret_fields(found: &mut ::std::vec::Vec<(&'static str, &'static str)>) {
                    $( support::secret_field::<$type>(stringify!($name), stringify!($field), found); )+
                }

                fn blank(&mut self) {
                    $( <$type as Wire>::blank(&mut self.$field); )+
                }

                fn sample(sampler: &mut Sampler) -> Self {
                    Self { $( $field: <$type as Wire>::sample(sampler), )+ }
                }
            }

            impl support::Serialize for $name {
                fn serialize<S: support::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    let mut fields = support::Serializer::serialize_struct(serializer, stringify!($name), FIELDS.len())?;
                    $( support::SerializeStruct::serialize_field(&mut fields, stringify!($field), &self.$field)?; )+
                    support::SerializeStruct::end(fields)
                }
            }

            impl<'de> support::Deserialize<'de> for $name {
                fn deserialize<D: support::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    struct Fields;

                    impl<'de> support::Visitor<'de> for Fields {
                        type Value = $name;

                        fn expecting(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                            formatter.write_str(stringify!($name))
                        }

                        fn visit_seq<A: support::SeqAccess<'de>>(
                            self,
                            mut access: A,
                        ) -> ::core::result::Result<$name, A::Error> {
                            ::core::result::Result::Ok($name {
                                $( $field: support::next::<A, $type>(&mut access)?, )+
                            })
                        }
                    }

                    support::Deserializer::deserialize_struct(deserializer, stringify!($name), FIELDS, Fields)
                }
            }
        };
    )+};
}

/// Makes closed unions that travel: enums whose every arm carries its number, with `Clone`, `Debug`, `PartialEq`, `Eq`,
/// [`Wire`](crate::xdr::Wire), `number()` and `NUMBERS`. An arm without a value is void; an unknown number is refused.
///
/// ```
/// use vmwire_protocol::{wire_union, xdr::{self, DecodeError, Text}};
///
/// wire_union! {
///     /// One value of a row.
///     pub enum Cell {
///         /// There is none.
///         0 => Absent,
///         /// A number.
///         1 => Number(u64),
///         /// Text.
///         7 => Text(Text<1024>),
///     }
/// }
///
/// assert_eq!(Cell::NUMBERS, [0, 1, 7]);
/// assert_eq!(xdr::decode(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]), Ok(Cell::Number(5)));
/// assert_eq!(xdr::decode::<Cell>(&[0, 0, 0, 2]), Err(DecodeError::Discriminant(2)));
/// ```
///
/// A number stands at one arm only:
///
/// ```compile_fail,E0080
/// vmwire_protocol::wire_union! { pub enum Twice { 0 => One(u32), 0 => Other } }
/// ```
#[macro_export]
macro_rules! wire_union {
    ($(
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$arm_meta:meta])* $number:literal => $arm:ident $( ( $type:ty ) )? ),+ $(,)?
        }
    )+) => {$(
        $crate::__wire_enum! {
            $(#[$meta])*
            $vis enum $name { $( $(#[$arm_meta])* $number => $arm $( ( $type ) )?, )+ }
        }

        const _: () = {
            use $crate::xdr::{Sampler, Wire, support};

            impl Wire for $name {
                const BYTES_MAX: usize =
                    support::sum(&[4, support::largest(&[$( <$crate::__wire_body!($( $type )?) as Wire>::BYTES_MAX ),+])]);
                const HAS_SECRETS: bool = support::any(&[$( <$crate::__wire_body!($( $type )?) as Wire>::HAS_SECRETS ),+]);

                fn secret_fields(found: &mut ::std::vec::Vec<(&'static str, &'static str)>) {
                    $( support::secret_field::<$crate::__wire_body!($( $type )?)>(
                        stringify!($name),
                        stringify!($arm),
                        found,
                    ); )+
                }

                fn blank(&mut self) {
                    match self {
                        $( Self::$arm $( ($crate::__wire_payload!(payload, $type)) )? => {
                            $( <$type as Wire>::blank($crate::__wire_payload!(payload, $type)); )?
                        } )+
                    }
                }

                fn sample(sampler: &mut Sampler) -> Self {
                    let arms: &[fn(&mut Sampler) -> Self] = &[$( |sampler| {
                        let $crate::__wire_payload!(payload as pattern $(, $type)?) =
                            <$crate::__wire_body!($( $type )?) as Wire>::sample(sampler);
                        Self::$arm $( ($crate::__wire_payload!(payload, $type)) )?
                    } ),+];
                    sampler.choose(arms)(sampler)
                }
            }

            impl support::Serialize for $name {
                fn serialize<S: support::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    match self {
                        $( Self::$arm $( ($crate::__wire_payload!(payload, $type)) )? =>
                            support::Serializer::serialize_newtype_variant(
                                serializer,
                                stringify!($name),
                                $number,
                                stringify!($arm),
                                $crate::__wire_payload!(payload $(, $type)?),
                            ), )+
                    }
                }
            }

            impl<'de> support::Deserialize<'de> for $name {
                fn deserialize<D: support::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    struct Arms;

                    impl<'de> support::Visitor<'de> for Arms {
                        type Value = $name;

                        fn expecting(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                            formatter.write_str(stringify!($name))
                        }

                        fn visit_seq<A: support::SeqAccess<'de>>(
                            self,
                            mut access: A,
                        ) -> ::core::result::Result<$name, A::Error> {
                            match support::next::<A, u32>(&mut access)? {
                                $( $number => ::core::result::Result::Ok(
                                    $name::$arm $( (support::next::<A, $type>(&mut access)?) )?
                                ), )+
                                number => ::core::result::Result::Err(support::no_arm(number)),
                            }
                        }
                    }

                    // The number and the arm: a derived enum would put the position of the variant on the wire.
                    support::Deserializer::deserialize_tuple(deserializer, 2, Arms)
                }
            }
        };
    )+};
}

/// Makes the outer unions: what one side may send, by number. Unlike a [`wire_union!`](crate::wire_union) they grow, so
/// that an unknown number is no error of the bytes but `None`.
///
/// With `, kinds NAME` behind the union's name, its arms without their bodies become an enum of that name, for what has to be
/// said of every packet before its body is read; so neither can have an arm that the other lacks.
///
/// Besides `number()` and `NUMBERS` they have `encode`, which appends number and body; `decode_body`, which is given the number
/// and the body and wants every byte of it consumed; `BODY_BYTES_MAX`; and `sample` for tests.
///
/// ```
/// use vmwire_protocol::{wire_packets, wire_struct};
///
/// wire_struct! { pub struct Cancel { pub serial: u32 } }
/// wire_packets! {
///     /// What a client may send.
///     pub enum ClientPacket {
///         /// Are you there?
///         2 => Ping,
///         /// Never mind.
///         3 => Cancel(Cancel),
///     }
/// }
///
/// let mut bytes = Vec::new();
/// ClientPacket::Cancel(Cancel { serial: 9 }).encode(&mut bytes)?;
/// assert_eq!(bytes, [0, 0, 0, 3, 0, 0, 0, 9]);
/// assert_eq!(ClientPacket::decode_body(2, &[]), Some(Ok(ClientPacket::Ping)));
/// assert_eq!(ClientPacket::decode_body(4, &[]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! wire_packets {
    ($(
        $(#[$meta:meta])*
        $vis:vis enum $name:ident $(, kinds $kind:ident)? {
            $( $(#[$arm_meta:meta])* $number:literal => $arm:ident $( ( $type:ty ) )? ),+ $(,)?
        }
    )+) => {$(
        $crate::__wire_enum! {
            $(#[$meta])*
            $vis enum $name { $( $(#[$arm_meta])* $number => $arm $( ( $type ) )?, )+ }
        }
        $crate::__wire_kinds! {
            [$($kind)?] $vis $name { $( $(#[$arm_meta])* $number => $arm, )+ }
        }

        impl $name {
            /// The most bytes that the body of any packet can take.
            $vis const BODY_BYTES_MAX: usize =
                $crate::xdr::support::largest(&[$( <$crate::__wire_body!($( $type )?) as $crate::xdr::Wire>::BYTES_MAX ),+]);

            /// Appends the number and the body; when that fails, `out` is as it was before.
            $vis fn encode(
                &self,
                out: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), $crate::xdr::EncodeError> {
                match self {
                    $( Self::$arm $( ($crate::__wire_payload!(payload, $type)) )? =>
                        $crate::xdr::support::encode_packet(
                            out,
                            $number,
                            $crate::__wire_payload!(payload $(, $type)?),
                        ), )+
                }
            }

            /// Makes the packet of this number of the whole of `body`, or says why that is none; `None` if the number is
            /// unknown.
            $vis fn decode_body(
                number: u32,
                body: &[u8],
            ) -> ::core::option::Option<::core::result::Result<Self, $crate::xdr::DecodeError>> {
                match number {
                    $( $number => ::core::option::Option::Some(
                        $crate::xdr::decode::<$crate::__wire_body!($( $type )?)>(body)
                            .map(|$crate::__wire_payload!(payload as pattern $(, $type)?)| {
                                Self::$arm $( ($crate::__wire_payload!(payload, $type)) )?
                            })
                    ), )+
                    _ => ::core::option::Option::None,
                }
            }

            /// Decodes a body with both backends, for fuzzers; whether it is one. `None` if the number is unknown.
            ///
            /// # Panics
            /// When the backends disagree, or when what was decoded encodes to other bytes.
            $vis fn compare_backends(number: u32, body: &[u8]) -> ::core::option::Option<bool> {
                match number {
                    $( $number => ::core::option::Option::Some(
                        $crate::xdr::support::compare_backends::<$crate::__wire_body!($( $type )?)>(body)
                    ), )+
                    _ => ::core::option::Option::None,
                }
            }

            /// The secret fields of all bodies: the name of the struct, and of the field.
            $vis fn secret_fields() -> ::std::vec::Vec<(&'static str, &'static str)> {
                let mut found = ::std::vec::Vec::new();
                $( $crate::xdr::support::secret_field::<$crate::__wire_body!($( $type )?)>(
                    stringify!($name),
                    stringify!($arm),
                    &mut found,
                ); )+
                found
            }

            /// Whether something in the bodies of this number is secret; `None` if the number is unknown.
            $vis const fn has_secrets(number: u32) -> ::core::option::Option<bool> {
                match number {
                    $( $number => ::core::option::Option::Some(
                        <$crate::__wire_body!($( $type )?) as $crate::xdr::Wire>::HAS_SECRETS
                    ), )+
                    _ => ::core::option::Option::None,
                }
            }

            /// Writes over what is secret in the body, so that its encoding stays as long as it was.
            $vis fn blank(&mut self) {
                match self {
                    $( Self::$arm $( ($crate::__wire_payload!(payload, $type)) )? => {
                        $( <$type as $crate::xdr::Wire>::blank($crate::__wire_payload!(payload, $type)); )?
                    } )+
                }
            }

            /// Some packet of this number, for tests; `None` if the number is unknown.
            $vis fn sample(
                number: u32,
                sampler: &mut $crate::xdr::Sampler,
            ) -> ::core::option::Option<Self> {
                match number {
                    $( $number => {
                        let $crate::__wire_payload!(payload as pattern $(, $type)?) =
                            sampler.value::<$crate::__wire_body!($( $type )?)>();
                        ::core::option::Option::Some(Self::$arm $( ($crate::__wire_payload!(payload, $type)) )?)
                    } )+
                    _ => ::core::option::Option::None,
                }
            }
        }
    )+};
}

/// The enum itself, and its numbers.
#[doc(hidden)]
#[macro_export]
macro_rules! __wire_enum {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$arm_meta:meta])* $number:literal => $arm:ident $( ( $type:ty ) )?, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $name {
            $( $(#[$arm_meta])* $arm $( ($type) )?, )+
        }

        impl $name {
            /// The number of every arm, in the order in which they are declared.
            $vis const NUMBERS: &'static [u32] = &[$( $number ),+];

            /// The number of this arm.
            $vis const fn number(&self) -> u32 {
                match self {
                    $( Self::$arm { .. } => $number, )+
                }
            }
        }

        const _: () = assert!($crate::xdr::support::distinct($name::NUMBERS), "two arms have one number");
    };
}

/// The arms of a union without their bodies, where they were given a name.
#[doc(hidden)]
#[macro_export]
macro_rules! __wire_kinds {
    ([] $($union:tt)*) => {};
    (
        [$kind:ident] $vis:vis $name:ident { $( $(#[$arm_meta:meta])* $number:literal => $arm:ident, )+ }
    ) => {
        #[doc = concat!("The arms of [`", stringify!($name), "`] without their bodies.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $kind {
            $( $(#[$arm_meta])* $arm, )+
        }

        impl $kind {
            /// The arm of a number; `None` if the number is unknown.
            $vis const fn of(number: u32) -> ::core::option::Option<Self> {
                match number {
                    $( $number => ::core::option::Option::Some(Self::$arm), )+
                    _ => ::core::option::Option::None,
                }
            }
        }
    };
}

/// The name that an arm's value is bound to, or void where it has none.
#[doc(hidden)]
#[macro_export]
macro_rules! __wire_payload {
    ($payload:ident, $type:ty) => {
        $payload
    };
    ($payload:ident) => {
        &()
    };
    ($payload:ident as pattern, $type:ty) => {
        $payload
    };
    ($payload:ident as pattern) => {
        ()
    };
}

/// The type of an arm's value, or void where it has none.
#[doc(hidden)]
#[macro_export]
macro_rules! __wire_body {
    ($type:ty) => {
        $type
    };
    () => {
        ()
    };
}
