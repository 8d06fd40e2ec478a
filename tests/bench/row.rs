//! A row of the table: what was measured in each round, and what it is held against.

use serde_json::{Value, json};

/// What a row promises.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// At least this share of the baseline.
    RatioAtLeast(f64),
    /// At most so many times the baseline.
    RatioAtMost(f64),
    /// At most so much, whatever the baseline.
    AtMost(f64),
    /// Nothing: it is there to be known.
    None,
}

/// One round: the pool's value, and the baseline's if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) value: f64,
    pub(crate) baseline: Option<f64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    /// What the baseline is.
    pub(crate) against: &'static str,
    pub(crate) rounds: Vec<Round>,
    pub(crate) target: Target,
    pub(crate) load: String,
}

/// Median, least and greatest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Row {
    /// A row against a baseline: pairs of the pool's value and the baseline's.
    pub(crate) fn against(
        what: impl Into<String>,
        unit: &'static str,
        against: &'static str,
        pairs: impl IntoIterator<Item = (f64, f64)>,
        target: Target,
    ) -> Self {
        let round = |(value, baseline)| Round { value, baseline: Some(baseline) };
        let rounds = pairs.into_iter().map(round).collect();
        Self { group: "", what: what.into(), unit, against, rounds, target, load: String::new() }
    }

    /// A row that stands for itself.
    pub(crate) fn alone(
        what: impl Into<String>,
        unit: &'static str,
        values: impl IntoIterator<Item = f64>,
        target: Target,
    ) -> Self {
        let rounds = values.into_iter().map(|value| Round { value, baseline: None }).collect();
        let (group, against) = ("", "");
        Self { group, what: what.into(), unit, against, rounds, target, load: String::new() }
    }

    pub(crate) fn values(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|round| round.value))
    }

    pub(crate) fn baselines(&self) -> Option<Spread> {
        let all: Option<Vec<f64>> = self.rounds.iter().map(|round| round.baseline).collect();
        all.map(Spread::of)
    }

    /// Of value and baseline of the same round: both had the same machine.
    pub(crate) fn ratios(&self) -> Option<Spread> {
        let ratio = |round: &Round| round.baseline.map(|baseline| round.value / baseline);
        let all: Option<Vec<f64>> = self.rounds.iter().map(ratio).collect();
        all.map(Spread::of)
    }

    /// Whether the target is met, by the medians; none without a target.
    pub(crate) fn met(&self) -> Option<bool> {
        let ratio = self.ratios().map(|ratio| ratio.median);
        match self.target {
            Target::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Target::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Target::AtMost(most) => Some(self.values().median <= most),
            Target::None => None,
        }
    }

    pub(crate) fn json(&self) -> Value {
        let spread = |of: Spread| json!({ "median": of.median, "min": of.min, "max": of.max });
        json!({
            "group": self.group,
            "what": self.what,
            "unit": self.unit,
            "values": self.rounds.iter().map(|round| round.value).collect::<Vec<_>>(),
            "value": spread(self.values()),
            "against": self.against,
            "baselines": self.rounds.iter().map(|round| round.baseline).collect::<Vec<_>>(),
            "baseline": self.baselines().map(spread),
            "ratio": self.ratios().map(spread),
            "target": self.target.to_string(),
            "met": self.met(),
            "loadavg": self.load,
        })
    }
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (last, middle) = (values.len().saturating_sub(1), values.len() / 2);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let median = match values.len() % 2 {
            0 => f64::midpoint(at(middle.saturating_sub(1)), at(middle)),
            _ => at(middle),
        };
        Self { median, min: at(0), max: at(last) }
    }
}

/// The value that this share of all values does not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RatioAtLeast(least) => write!(f, "≥ {least} ×"),
            Self::RatioAtMost(most) => write!(f, "≤ {most} ×"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::None => Ok(()),
        }
    }
}
