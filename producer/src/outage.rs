//! Living through a broker that is away: said once when it goes and once when it is back. It does
//! not reconnect; the connection does that by itself.

pub(crate) use bus::retried;

/// Whether the broker answered last time.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    away: bool,
}

/// A change that a person should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Away,
    Back,
}

impl Change {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Away => "the broker does not answer; the builds go on, still trying",
            Self::Back => "the broker answers again",
        }
    }
}

impl Outage {
    /// Takes an answer: `None` when it is one that waiting can mend.
    pub(crate) fn pass<T>(
        &mut self,
        answer: Result<T, bus::Error>,
    ) -> Result<(Option<T>, Option<Change>), bus::Error> {
        match answer {
            Ok(value) => {
                let back = std::mem::take(&mut self.away).then_some(Change::Back);
                Ok((Some(value), back))
            }
            Err(error) if error.transient() => {
                let first = !std::mem::replace(&mut self.away, true);
                Ok((None, first.then_some(Change::Away)))
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let away = || Err::<(), _>(bus::Error::NoAnswer { operation: "read", subject: "s".into() });
        let mut outage = Outage::default();
        let mut heard = |answer| outage.pass(answer).expect("it can be waited for").1;
        assert_eq!(heard(Ok(())), None);
        assert_eq!(heard(away()), Some(Change::Away));
        assert_eq!(heard(away()), None);
        assert_eq!(heard(Ok(())), Some(Change::Back));
        assert_eq!(heard(Ok(())), None);
        let denied = Err::<(), _>(bus::Error::Denied { operation: "read", subject: "s".into() });
        assert!(outage.pass(denied).is_err());
    }
}
