//! Lines in a row of one derivation, with its name once: a path is longer than most lines.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::LogLine;

/// Lines as read: who said them, and what.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    drv: Option<String>,
    lines: Vec<String>,
}

/// Lines to be written.
#[derive(Serialize)]
struct Saying<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    drv: Option<&'a str>,
    lines: Vec<&'a str>,
}

pub(super) fn serialize<S: Serializer>(lines: &[LogLine], to: S) -> Result<S::Ok, S::Error> {
    let same = |one: &LogLine, next: &LogLine| one.drv == next.drv;
    let said = lines.chunk_by(same).map(|lines| Saying {
        drv: lines.first().and_then(|line| line.drv.as_deref()),
        lines: lines.iter().map(|line| line.text.as_str()).collect(),
    });
    to.collect_seq(said)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<LogLine>, D::Error> {
    let said = Vec::<Said>::deserialize(from)?;
    let lines = |Said { drv, lines }: Said| {
        let drv: Option<Arc<str>> = drv.map(Arc::from);
        lines.into_iter().map(move |text| LogLine { drv: drv.clone(), text })
    };
    Ok(said.into_iter().flat_map(lines).collect())
}
