//! The version that every record carries as `"v": 1`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Version 1. Another number is refused at decoding, so that no reader guesses at a newer shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V1;

impl Serialize for V1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(1)
    }
}

impl<'de> Deserialize<'de> for V1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(D::Error::custom(format!("unknown version {other}, expected 1"))),
        }
    }
}
