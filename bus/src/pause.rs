//! Pausing a class: its consumers hand nothing out; what runs goes on.

use std::time::Duration;

use proto::{Class, Priority, Timestamp, topology};
use serde::Deserialize;
use serde_json::json;

use crate::{clock, connection::Bus, error::Error};

/// Long enough to mean "until resumed", and a date that every client can read.
pub const UNTIL_RESUMED: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[derive(Deserialize)]
struct PauseAnswer {
    #[serde(default)]
    paused: bool,
}

impl Bus {
    /// Pauses the consumers of a class for a time, or resumes them with `None`; gives the names of
    /// those that were changed.
    ///
    /// # Errors
    /// Not served when the class has no consumers; no answer; denied.
    pub async fn pause(
        &self,
        class: &Class,
        length: Option<Duration>,
    ) -> Result<Vec<String>, Error> {
        let operation = "pause consumer";
        let until = length.map(|length| rfc3339(clock::now().plus(length)));
        let mut changed = Vec::new();
        for priority in Priority::ALL {
            let name = topology::consumer_name(class, priority);
            let subject = format!("CONSUMER.PAUSE.{}.{name}", topology::JOBS);
            let request =
                until.as_ref().map_or_else(|| json!({}), |until| json!({ "pause_until": until }));
            let answer: Option<PauseAnswer> = self.api(operation, &subject, &request).await?;
            let Some(answer) = answer else {
                return Err(Error::NotServed { operation, subject: name });
            };
            if answer.paused == length.is_some() {
                changed.push(name);
            }
        }
        Ok(changed)
    }

    /// The classes that have consumers, and whether they are paused.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn classes(&self) -> Result<Vec<(Class, bool)>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            consumers: Option<Vec<Listed>>,
        }
        #[derive(Deserialize)]
        struct Listed {
            name: String,
            #[serde(default)]
            paused: bool,
        }
        let subject = format!("CONSUMER.LIST.{}", topology::JOBS);
        let page: Option<Page> = self.api("list consumers", &subject, &json!({})).await?;
        let suffix = format!("-{}", Priority::Normal);
        let listed = page.and_then(|page| page.consumers).unwrap_or_default();
        let class = |it: Listed| {
            let class = it.name.strip_suffix(&suffix)?.parse().ok()?;
            Some((class, it.paused))
        };
        Ok(listed.into_iter().filter_map(class).collect())
    }
}

/// The server wants RFC 3339.
fn rfc3339(at: Timestamp) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(at.0);
    humantime::format_rfc3339_seconds(time).to_string()
}
