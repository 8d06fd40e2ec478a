//! What the broker hands over and answers, as the machine understands it.

use bus::{Entry, Error};
use proto::{JobKey, JobMessage, subject::JobSubject};
use tracing::warn;

use crate::machine::io::{Answer, Written};

/// Why a payload is not that of its subject, if it is not.
pub(super) fn poison(subject: &JobSubject, payload: &[u8]) -> Option<String> {
    let message: JobMessage = match serde_json::from_slice(payload) {
        Ok(message) => message,
        Err(error) => return Some(error.to_string()),
    };
    let same = message.job == subject.job && message.incarnation == subject.incarnation;
    (!same).then(|| "the payload names another job than the subject".to_owned())
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
        let mut message = JobMessage { v: V1, job, incarnation, at: Timestamp(1) };
        let payload = |message: &JobMessage| serde_json::to_vec(message).expect("JSON");
        assert_eq!(poison(&subject, &payload(&message)), None);
        message.job.host = "other".parse().expect("a name");
        assert!(poison(&subject, &payload(&message)).expect("refused").contains("another job"));
        assert!(poison(&subject, b"\xff\xfe{").is_some());
        assert!(poison(&subject, br#"{"v":2}"#).expect("refused").contains("unknown version 2"));
    }
}
