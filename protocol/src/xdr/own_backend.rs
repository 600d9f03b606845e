//! XDR by a serde backend of our own: what the other backend is compared with, and the way out should we need one.
//!
//! It does what [`Wire`] types ask for and refuses the rest of serde's data model. Text and opaque data are handed to their
//! visitor where they lie in the input, recognised by the name of a newtype.

use serde::{
    Serialize, Serializer,
    de::{DeserializeSeed, Deserializer, SeqAccess, Visitor},
    forward_to_deserialize_any,
    ser::{Impossible, SerializeSeq, SerializeStruct, SerializeTuple},
};

use super::{
    DecodeError, EncodeError, Wire,
    bytes::{ITEM, padded},
};

/// See [`encode`](super::encode()).
pub fn encode<T: Wire>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
    let before = out.len();
    value.serialize(Writer { out }).inspect_err(|_| out.truncate(before))
}

/// See [`decode`](super::decode()).
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    match decode_prefix(bytes)? {
        (value, []) => Ok(value),
        _ => Err(DecodeError::Trailing),
    }
}

/// See [`decode_prefix`](super::decode_prefix()).
pub fn decode_prefix<T: Wire>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let mut reader = Reader { rest: bytes };
    let value = T::deserialize(&mut reader)?;
    Ok((value, reader.rest))
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn length(&mut self, length: usize) -> Result<(), EncodeError> {
        let length = u32::try_from(length).map_err(|_| EncodeError::TooLong)?;
        self.out.extend_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// Makes methods that write a number, big-endian.
macro_rules! write_numbers {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, value: $type) -> Result<(), EncodeError> {
            self.out.extend_from_slice(&value.to_be_bytes());
            Ok(())
        })+
    };
}

/// Makes methods that refuse: there is no such type on our wire.
macro_rules! refuse_values {
    ($($method:ident: $type:ty),+) => {
        $(fn $method(self, _value: $type) -> Result<(), EncodeError> {
            Err(EncodeError::Unsupported)
        })+
    };
}

impl Serializer for Writer<'_> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeStruct = Self;
    type SerializeTupleStruct = Impossible<(), EncodeError>;
    type SerializeTupleVariant = Impossible<(), EncodeError>;
    type SerializeMap = Impossible<(), EncodeError>;
    type SerializeStructVariant = Impossible<(), EncodeError>;

    write_numbers!(serialize_u32: u32, serialize_i32: i32, serialize_u64: u64, serialize_i64: i64);
    refuse_values!(
        serialize_u8: u8, serialize_i8: i8, serialize_u16: u16, serialize_i16: i16,
        serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str,
        serialize_unit_struct: &'static str
    );

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.serialize_u32(value.into())
    }

    fn serialize_bytes(mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.length(bytes.len())?;
        if !bytes.is_empty() {
            self.out.extend_from_slice(bytes);
            let end = self.out.len() - bytes.len() + padded(bytes.len());
            // A whole word is one store; as many zeros as it takes would be a call each time.
            self.out.extend_from_slice(&[0; 4]);
            self.out.truncate(end);
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_u32(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        self.out.extend_from_slice(&1_u32.to_be_bytes());
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _number: u32,
        _variant: &'static str,
    ) -> Result<(), EncodeError> {
        Err(EncodeError::Unsupported)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _value: &T,
    ) -> Result<(), EncodeError> {
        Err(EncodeError::Unsupported)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        number: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.out.extend_from_slice(&number.to_be_bytes());
        value.serialize(self)
    }

    fn serialize_seq(mut self, length: Option<usize>) -> Result<Self, EncodeError> {
        self.length(length.ok_or(EncodeError::Unsupported)?)?;
        Ok(self)
    }

    fn serialize_tuple(self, _length: usize) -> Result<Self, EncodeError> {
        Ok(self)
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Self, EncodeError> {
        Ok(self)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleStruct, EncodeError> {
        Err(EncodeError::Unsupported)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _number: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant, EncodeError> {
        Err(EncodeError::Unsupported)
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap, EncodeError> {
        Err(EncodeError::Unsupported)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _number: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant, EncodeError> {
        Err(EncodeError::Unsupported)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl SerializeSeq for Writer<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl SerializeTuple for Writer<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl SerializeStruct for Writer<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, _key: &'static str, value: &T) -> Result<(), EncodeError> {
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), EncodeError> {
        Ok(())
    }
}

struct Reader<'de> {
    rest: &'de [u8],
}

impl<'de> Reader<'de> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes a length word and as many bytes, padding included; all that is left if that is less, for the visitor to refuse.
    fn item(&mut self) -> &'de [u8] {
        let announced = self.rest.first_chunk().map(|length| u32::from_be_bytes(*length));
        let bytes = announced.and_then(|length| usize::try_from(length).ok()).map_or(0, padded);
        let (item, rest) = self.rest.split_at(bytes.saturating_add(4).min(self.rest.len()));
        self.rest = rest;
        item
    }
}

/// Makes methods that read a number, big-endian.
macro_rules! read_numbers {
    ($($method:ident, $visit:ident: $type:ty),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(<$type>::from_be_bytes(self.take()?))
        })+
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = DecodeError;

    read_numbers!(
        deserialize_u32, visit_u32: u32,
        deserialize_i32, visit_i32: i32,
        deserialize_u64, visit_u64: u64,
        deserialize_i64, visit_i64: i64
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match u32::from_be_bytes(self.take()?) {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(DecodeError::Bool),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match u32::from_be_bytes(self.take()?) {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(DecodeError::Optional),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == ITEM { visitor.visit_borrowed_bytes(self.item()) } else { Err(DecodeError::Unsupported) }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Elements { reader: self, left: length })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    /// Where everything else ends: XDR does not say what comes next.
    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::Unsupported)
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit_struct seq tuple_struct map enum identifier
        ignored_any
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The fields of a struct, the number and the arm of a union, or the count and the values of a list.
struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}
