//! What the broker hands over and answers, as the machine understands it.

use bus::{Entry, Error};
use proto::{Before, JobKey, JobMessage, subject::JobSubject};
use tracing::warn;

use crate::machine::io::{Answer, Written};

/// What a payload says was known of its job, or why it is not that of its subject. Of one that was
/// handed over before nothing is known: who had it may have written a record.
pub(super) fn hint(
    subject: &JobSubject,
    payload: &[u8],
    deliveries: i64,
) -> Result<Before, String> {
    let message: JobMessage = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let same = message.job == subject.job && message.incarnation == subject.incarnation;
    let before = if deliveries > 1 { Before::Unknown } else { message.before };
    same.then_some(before)
        .ok_or_else(|| "the payload names another job than the subject".to_owned())
}

pub(super) fn answer<T>(job: &JobKey, read: Result<Entry<T>, Error>) -> Answer<T> {
    match read {
        Ok(entry) => Answer::Is(entry),
        Err(error @ Error::Undecodable { .. }) => {
            warn!(%job, "{error}");
            Answer::Unreadable(error.to_string())
        }
        Err(error) => {
            warn!(%job, "{error}");
            Answer::None
        }
    }
}

pub(super) fn written(job: &JobKey, put: Result<u64, Error>) -> Written {
    match put {
        Ok(revision) => Written::Done(revision),
        Err(Error::Conflict { .. }) => Written::Conflict,
        Err(error @ (Error::TooLarge { .. } | Error::Denied { .. })) => {
            warn!(%job, "{error}");
            Written::Refused
        }
        // Nothing else is known to be for good, and it may have been written all the same.
        Err(error) => {
            warn!(%job, "{error}");
            Written::NoAnswer
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Timestamp, V1};

    use super::*;

    #[test]
    fn a_payload_must_be_that_of_its_subject() {
        let text = "nbp.build.x86_64-linux.high.r.0123456789abcdef0123456789abcdef01234567.h.\
            0190f0d4-0000-7000-8000-000000000001";
        let subject = JobSubject::parse(text).expect("a job subject");
        let (job, incarnation) = (subject.job.clone(), subject.incarnation);
        let (at, before) = (Timestamp(1), Before::Nothing);
        let mut message = JobMessage { v: V1, job, incarnation, at, before };
        let payload = |message: &JobMessage| serde_json::to_vec(message).expect("JSON");
        let refused = |payload: &[u8]| hint(&subject, payload, 1).expect_err("refused");
        assert_eq!(hint(&subject, &payload(&message), 1), Ok(Before::Nothing));
        assert_eq!(hint(&subject, &payload(&message), 2), Ok(Before::Unknown));
        message.job.host = "other".parse().expect("a name");
        assert!(refused(&payload(&message)).contains("another job"));
        refused(b"\xff\xfe{");
        assert!(refused(br#"{"v":2}"#).contains("unknown version 2"));
    }
}
