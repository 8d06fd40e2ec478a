//! Which jobs this worker has said that it leaves to others: each comes again and again, and is told
//! of once.

use std::collections::HashSet;

use proto::Incarnation;

/// After so many others a job is told of anew: a flood of forged ones must not fill the memory.
const TOLD_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Refused(HashSet<Incarnation>);

impl Refused {
    /// Whether this is the first time.
    pub(super) fn first(&mut self, incarnation: Incarnation) -> bool {
        if self.0.len() == TOLD_MAX && !self.0.contains(&incarnation) {
            self.0.clear();
        }
        self.0.insert(incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_and_they_are_bounded() {
        let job = |number: usize| Incarnation(uuid::Uuid::from_u128(number as u128));
        let mut refused = Refused::default();
        for number in 0..TOLD_MAX {
            assert!(refused.first(job(number)) && !refused.first(job(number)));
        }
        assert!(!refused.first(job(0)));
        assert!(refused.first(job(TOLD_MAX)) && refused.first(job(0)));
        assert_eq!(refused.0.len(), 2);
    }
}
