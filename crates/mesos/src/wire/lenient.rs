//! Fields that may be absent, null or of an unexpected type without costing the document.
//!
//! A field marked `#[serde(default, deserialize_with = "lenient")]` takes what its type can be made
//! of and lets anything else pass as absent. It does so within the one pass over the body: the
//! unexpected value is skipped by the parser, not kept and looked at again.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a value can be made of. Each kind of JSON value that is not implemented counts as absent.
pub(super) trait Field<'de>: Sized {
    fn from_null() -> Option<Self> {
        None
    }
    fn from_number(_: f64) -> Option<Self> {
        None
    }
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
    fn from_text(_: Cow<'de, str>) -> Option<Self> {
        None
    }
    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Field<'_> for f64 {
    fn from_number(number: f64) -> Option<Self> {
        Some(number)
    }
}

impl Field<'_> for bool {
    fn from_bool(flag: bool) -> Option<Self> {
        Some(flag)
    }
}

impl<'de: 'a, 'a> Field<'de> for Cow<'a, str> {
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

/// How long a list may be. Far more than any of Mesos is, and few enough that a body of nothing but
/// tiny elements does not become a hundred times itself in memory.
const MAX_ELEMENTS: usize = 200_000;

/// A list loses the elements that are not what it is a list of, and keeps the others.
impl<'de, T: Field<'de>> Field<'de> for Vec<T> {
    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut kept = Vec::new();
        while let Some(Lenient(element)) = list.next_element()? {
            kept.extend(element);
            if kept.len() > MAX_ELEMENTS {
                let message = format!("a list has more than {MAX_ELEMENTS} elements");
                return Err(serde::de::Error::custom(message));
            }
        }
        Ok(Some(kept))
    }
}

/// A list of options keeps the place of an element that it cannot read, as `None`.
impl<'de, T: Field<'de>> Field<'de> for Option<T> {
    fn from_null() -> Option<Self> {
        Some(T::from_null())
    }
    fn from_number(number: f64) -> Option<Self> {
        Some(T::from_number(number))
    }
    fn from_bool(flag: bool) -> Option<Self> {
        Some(T::from_bool(flag))
    }
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(T::from_text(text))
    }
    fn from_list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        T::from_list(list).map(Some)
    }
    fn from_object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        T::from_object(object).map(Some)
    }
}

/// Implements [`Field`] for structs that derive `Deserialize`.
macro_rules! object {
    ($($object:ident $(<$borrow:lifetime>)?),+) => {$(
        impl<'de $(: $borrow, $borrow)?> crate::wire::lenient::Field<'de> for $object $(<$borrow>)? {
            fn from_object<A: serde::de::MapAccess<'de>>(
                object: A,
            ) -> Result<Option<Self>, A::Error> {
                let fields = serde::de::value::MapAccessDeserializer::new(object);
                serde::Deserialize::deserialize(fields).map(Some)
            }
        }
    )+};
}
pub(super) use object;

/// For `Option<T>` fields: the value, or `None` for whatever is not a `T`.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Field<'de>,
{
    deserializer.deserialize_any(FieldVisitor(PhantomData))
}

/// For lists and maps, where absent, null and unexpected all mean empty.
pub(super) fn lenient_or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Field<'de> + Default,
{
    lenient(deserializer).map(Option::unwrap_or_default)
}

/// A value read leniently where serde asks for a type: in lists and maps.
pub(super) struct Lenient<T>(pub(super) Option<T>);

impl<'de, T: Field<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient(deserializer).map(Lenient)
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Field<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(T::from_number(number))
    }
    // Counters of Mesos stay far below 2^53, where f64 begins to round.
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::from_number(number as f64))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(T::from_number(number as f64))
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(T::from_bool(flag))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(T::from_text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::from_text(Cow::Owned(text.to_owned())))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(T::from_null())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::from_list(list)
    }
    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::from_object(object)
    }
}

/// An object's key, borrowed where the body holds it unescaped. (`Cow` itself always copies.)
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The key of a JSON object is always text.
        lenient(deserializer).map(|text| Key(text.unwrap_or_default()))
    }
}
