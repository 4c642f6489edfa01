//! How the place of a part is read: a number with a point, a whole number, or a table.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Amount, Held};
use crate::config::DataConfig;

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Share(share) => serializer.serialize_f64(share),
            Self::Count(count) => serializer.serialize_u64(count),
        }
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeldVisitor)
    }
}

/// Reads each kind as what it is, so that a wrong key in a table is named, and not "no variant fits".
struct HeldVisitor;

impl<'de> Visitor<'de> for HeldVisitor {
    type Value = Held;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share such as 0.1, a number of images such as 5000, or a table of files like [data]")
    }

    fn visit_f64<E: Error>(self, share: f64) -> Result<Held, E> {
        Ok(Held::Out(Amount::Share(share)))
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Held, E> {
        Ok(Held::Out(Amount::Count(count)))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Held, E> {
        match u64::try_from(count) {
            Ok(count) => self.visit_u64(count),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(count), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Held, A::Error> {
        let files = DataConfig::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Held::Files(Box::new(files)))
    }
}
