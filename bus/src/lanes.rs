//! Whether the jobs of a class are handed out: the consumers behind it, one for each priority.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{Class, Priority, topology};
use serde::Deserialize;
use serde_json::json;

use crate::{connection::Bus, error::Error};

/// Questions in flight at once.
const QUESTIONS_AT_ONCE: usize = 16;

/// The jobs of one class and priority, as they are handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Their class.
    pub class: Class,
    /// Their priority.
    pub priority: Priority,
    /// Whether they are handed out.
    pub state: LaneState,
}

/// Whether jobs are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// To whoever asks.
    Open,
    /// To nobody, for so long yet; longer than any build takes when it is until somebody resumes.
    Paused(Duration),
    /// There is no consumer: nobody set the class up.
    Missing,
}

/// The part of a consumer's info that tells it.
#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    paused: bool,
    /// In nanoseconds.
    #[serde(default)]
    pause_remaining: u64,
}

impl Bus {
    /// The lanes of classes, in the order of the classes and from the most urgent on.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn lanes(
        &self,
        classes: impl IntoIterator<Item = Class>,
    ) -> Result<Vec<Lane>, Error> {
        let lanes = classes.into_iter().flat_map(|class| {
            [Priority::High, Priority::Normal, Priority::Low].map(|it| (class.clone(), it))
        });
        let read = lanes.map(|(class, priority)| async move {
            let name = topology::consumer_name(&class, priority);
            let subject = format!("CONSUMER.INFO.{}.{name}", topology::JOBS);
            let info: Option<Info> = self.api("look up consumer", &subject, &json!({})).await?;
            let state = match info {
                None => LaneState::Missing,
                Some(Info { paused: false, .. }) => LaneState::Open,
                Some(it) => LaneState::Paused(Duration::from_nanos(it.pause_remaining)),
            };
            Ok(Lane { class, priority, state })
        });
        let read: Vec<_> = read.collect();
        stream::iter(read).buffered(QUESTIONS_AT_ONCE).try_collect().await
    }
}
