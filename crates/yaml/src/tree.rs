//! The YAML as it stands, and how a typed value is read from it without stopping
//! at the first mistake.
//!
//! serde gives up at the first thing it does not like. So that all of them are
//! found, what it did not like is noted, taken out of the tree, and the tree is
//! read again: every field of the types read this way is optional, which makes
//! anything removable.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_path_to_error::{Path, Segment};
use serde_yaml::{Mapping, Value};

use crate::Complaints;

/// Nobody mends more at once, and each is a pass over the whole tree.
const MAX_COMPLAINTS: usize = 50;

/// A document, with what is wrong about its keys alone: [`Document::parse`] makes it.
///
/// [`Document::parse`]: crate::Document::parse
#[derive(Debug)]
pub struct Tree {
    value: Value,
    /// Where, from here, and what: `.rules[0].name`.
    faults: Vec<(String, &'static str)>,
}

impl Tree {
    /// The tree as a `T`, without whatever does not fit, which is complained of;
    /// `None` if nothing usable is left. Every field of `T` has to be optional.
    pub fn read_as<T: DeserializeOwned>(mut self, complaints: &mut Complaints) -> Option<T> {
        for (key, message) in self.faults.into_iter().take(MAX_COMPLAINTS) {
            complaints.add(key.trim_start_matches('.'), message);
        }
        while complaints.len() <= MAX_COMPLAINTS {
            let error = match serde_path_to_error::deserialize(&self.value) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let key = error.path().to_string();
            complaints.add(if key == "." { "" } else { &key }, error.inner().to_string());
            if !take_out(&mut self.value, error.path()) {
                break;
            }
        }
        None
    }
}

/// Removes what is at `path`. An element of a list becomes null, so that the
/// others keep their places. Tells whether there was anything to remove.
fn take_out(mut value: &mut Value, path: &Path) -> bool {
    let segments: Vec<&Segment> = path.iter().collect();
    let Some((last, parents)) = segments.split_last() else { return false };
    for segment in parents {
        let inner = match segment {
            Segment::Map { key } => value.get_mut(key.as_str()),
            Segment::Seq { index } => value.get_mut(*index),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        let Some(inner) = inner else { return false };
        value = inner;
    }
    match (last, value) {
        (Segment::Map { key }, Value::Mapping(map)) => map.shift_remove(key.as_str()).is_some(),
        (Segment::Seq { index }, Value::Sequence(list)) => {
            let element = list.get_mut(*index).filter(|element| !element.is_null());
            element.map(|element| *element = Value::Null).is_some()
        }
        _ => false,
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Grow)
    }
}

struct Grow;

impl Grow {
    fn leaf(value: impl Into<Value>) -> Tree {
        Tree { value: value.into(), faults: Vec::new() }
    }
}

impl<'de> Visitor<'de> for Grow {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a plain value, a list or a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let (mut map, mut faults) = (Mapping::new(), Vec::new());
        while let Some((key, inner)) = access.next_entry::<String, Tree>()? {
            let inside = inner.faults.into_iter();
            faults.extend(inside.map(|(path, fault)| (format!(".{key}{path}"), fault)));
            if map.contains_key(key.as_str()) {
                faults.push((format!(".{key}"), "the key is given twice; keep one"));
            } else if inner.value.is_null() {
                faults.push((format!(".{key}"), "has no value; give one or leave the key out"));
            } else {
                map.insert(key.into(), inner.value);
            }
        }
        Ok(Tree { value: map.into(), faults })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let (mut list, mut faults) = (Vec::new(), Vec::new());
        while let Some(inner) = access.next_element::<Tree>()? {
            let index = list.len();
            let inside = inner.faults.into_iter();
            faults.extend(inside.map(|(path, fault)| (format!("[{index}]{path}"), fault)));
            if inner.value.is_null() {
                faults.push((format!("[{index}]"), "is empty; give a value or remove the line"));
            }
            list.push(inner.value);
        }
        Ok(Tree { value: list.into(), faults })
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Self::leaf(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Self::leaf(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Self::leaf(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Self::leaf(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Self::leaf(value))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Self::leaf(Value::Null))
    }
}
