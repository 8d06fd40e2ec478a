//! Where a trace goes on: the W3C trace context as it stands in headers and records.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zeros.
///
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: [u8; 16],
    /// The span that goes on elsewhere.
    pub span: [u8; 8],
    /// Bit 0: the trace is being recorded.
    pub flags: u8,
}

/// The message header, and the variable by which a CI passes its trace to a program.
pub const HEADER: &str = "traceparent";

/// It is no `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTraceParent;

impl fmt::Display for NoTraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no W3C traceparent of version 00")
    }
}

impl std::error::Error for NoTraceParent {}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { return Err(NoTraceParent) };
        let lowercase_hex = |part: &str, digits| {
            let hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            part.len() == digits && part.bytes().all(hex)
        };
        let formed = version == "00"
            && lowercase_hex(trace, 32)
            && lowercase_hex(span, 16)
            && lowercase_hex(flags, 2);
        if !formed {
            return Err(NoTraceParent);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NoTraceParent)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NoTraceParent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTraceParent)?;
        if trace == 0 || span == 0 {
            return Err(NoTraceParent);
        }
        Ok(Self { trace: trace.to_be_bytes(), span: span.to_be_bytes(), flags })
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_survives_the_way_there_and_back() {
        let parsed: TraceParent = GOOD.parse().expect("the example of the recommendation");
        assert_eq!(parsed.span, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(parsed.flags, 1);
        assert_eq!(parsed.to_string(), GOOD);
    }

    #[test]
    fn what_is_none_is_refused() {
        let check = |text: &str| assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent));
        check("");
        check(&GOOD.to_uppercase());
        check(&GOOD.replacen("00", "ff", 1));
        check(&format!("{GOOD}-00"));
        check(&GOOD[1..]);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01");
        check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01");
        check("00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        check(&"é".repeat(28));
    }

    #[test]
    fn a_field_that_holds_anything_else_is_as_good_as_none() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default, deserialize_with = "crate::lenient")]
            trace: Option<TraceParent>,
        }
        let read = |json: &str| serde_json::from_str::<Holder>(json).expect("readable").trace;
        assert!(read(&format!(r#"{{"trace":"{GOOD}"}}"#)).is_some());
        for json in [r#"{"trace":"x"}"#, r#"{"trace":[{"a":1}]}"#, r#"{"trace":null}"#, "{}"] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
