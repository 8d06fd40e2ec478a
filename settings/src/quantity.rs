//! Durations and sizes as people write them.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A duration, written like `"10m"` or `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes, written like `"64MiB"` or `"1GB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SPAN_EXAMPLE: &str = "a duration such as \"10m\" or \"1h 30m\"";
const SIZE_EXAMPLE: &str = "a size such as \"64MiB\" or \"1GiB\"";

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |error| format!("{} is refused ({error}), expected {SPAN_EXAMPLE}", shown(text));
        humantime::parse_duration(text).map(Self).map_err(wrong)
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{} is refused, expected {SIZE_EXAMPLE}", shown(text));
        text.parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64())).map_err(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text(SPAN_EXAMPLE, Self::from_str))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text(SIZE_EXAMPLE, Self::from_str))
    }
}

/// Wants text and says by an example which. A bare number is refused: its unit would be a guess.
struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> de::Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.1(text).map_err(E::custom)
    }
}

fn shown(text: &str) -> String {
    proto::token::shown(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!("1h 30m".parse(), Ok(Span(Duration::from_secs(5400))));
        assert_eq!("64MiB".parse(), Ok(Size(64 << 20)));
        assert_eq!("1GB".parse(), Ok(Size(1_000_000_000)));
        assert_eq!(Span(Duration::from_secs(600)).to_string(), "10m");
        assert_eq!(Size(64 << 20).to_string(), "64.0 MiB");
        for bad in ["", "10", "-1m", "ten", "10 parsecs"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        for bad in ["", "-1", "MiB", "64 quux"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
