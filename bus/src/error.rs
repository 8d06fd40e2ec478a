//! What can go wrong between a caller and the broker, told apart by what the caller may do next.

use async_nats::jetstream::{
    context::{RequestError, RequestErrorKind},
    stream::{LastRawMessageErrorKind, RawMessageError},
};

/// A failed operation on the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered in time. A write may or may not have happened: read again to know.
    #[error("{operation} got no answer from the broker (subject {subject})")]
    NoAnswer {
        /// What was tried.
        operation: &'static str,
        /// Where.
        subject: String,
    },
    /// No stream or consumer listens there: none is set up, or it is electing a leader.
    #[error(
        "{operation}: nobody serves {subject}; \
         if this lasts, run `producer setup` (for a class: `producer setup --classes …`)"
    )]
    NotServed {
        /// What was tried.
        operation: &'static str,
        /// Where.
        subject: String,
    },
    /// The server's permissions refuse it to this identity.
    #[error("{operation} is denied on {subject}: the broker gives this identity no right to it")]
    Denied {
        /// What was tried.
        operation: &'static str,
        /// Where.
        subject: String,
    },
    /// A compare-and-set found another revision.
    #[error("{subject} was changed by somebody else")]
    Conflict {
        /// The key's subject.
        subject: String,
    },
    /// The job is being built with other input overrides than those asked for.
    #[error(
        "{job} is being built with other input overrides, whose digest happens to be the same; \
         wait for its end, or cancel it"
    )]
    Clash {
        /// The job.
        job: proto::JobKey,
    },
    /// The subject already holds a message: the job is queued.
    #[error("{subject} is queued already")]
    Duplicate {
        /// The job's subject.
        subject: String,
    },
    /// The stream or the server's storage is full.
    #[error("{operation} on {subject} is refused because the broker is full: {reason}")]
    Full {
        /// What was tried.
        operation: &'static str,
        /// Where.
        subject: String,
        /// The server's words.
        reason: String,
    },
    /// The cluster cannot place a stream: too few of its servers are up, or are known to be.
    #[error("{operation} on {subject} is refused because servers are missing: {reason}")]
    Unplaced {
        /// What was tried.
        operation: &'static str,
        /// Where.
        subject: String,
        /// The server's words.
        reason: String,
    },
    /// The message is larger than the server or the stream takes.
    #[error("{operation} on {subject} is refused: {bytes} bytes are too many")]
    TooLarge {
        /// What was tried.
        operation: &'static str,
        /// Where.
        subject: String,
        /// Size of the payload.
        bytes: usize,
    },
    /// What stands there is not a record of ours, or one of a newer version.
    #[error("{subject} (revision {revision}) holds no readable record: {reason}")]
    Undecodable {
        /// Where.
        subject: String,
        /// The revision that holds it.
        revision: u64,
        /// Why.
        reason: String,
    },
    /// The connection is closed for good: the broker has taken this identity's rights away.
    #[error("the connection to the broker is closed for good")]
    Closed,
    /// The server said no for another reason.
    #[error("{operation} on {subject} failed: {reason}")]
    Server {
        /// What was tried.
        operation: &'static str,
        /// Where.
        subject: String,
        /// The server's words.
        reason: String,
    },
}

/// JetStream's code for "no suitable peers for placement", whose text says what they lack.
const NO_PLACE: u64 = 10005;
/// JetStream's code for "storage resources exceeded".
const STORAGE_EXCEEDED: u64 = 10047;
/// JetStream's code for "message size exceeds maximum allowed".
const MESSAGE_TOO_LARGE: u64 = 10054;
/// JetStream's code for a failed store, which its text tells apart (a full stream, a full subject).
const STORE_FAILED: u64 = 10077;
/// JetStream's codes for "wrong last sequence": found by the leader when it stores, and by a
/// replicated stream already when it proposes while another write to the subject is under way.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
/// JetStream's codes for "no such stream" and "no such consumer".
const NOT_FOUND: [u64; 2] = [10059, 10014];

impl Error {
    /// Trying the same again later can help.
    pub fn transient(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::NotServed { .. } | Self::Unplaced { .. })
    }

    pub(crate) fn api(
        operation: &'static str,
        subject: &str,
        bytes: usize,
        error: &async_nats::jetstream::Error,
    ) -> Self {
        let (subject, reason) = (subject.to_owned(), error.to_string());
        match error.error_code().0 {
            STORE_FAILED if reason.contains("maximum messages per subject") => {
                Self::Duplicate { subject }
            }
            STORE_FAILED | STORAGE_EXCEEDED => Self::Full { operation, subject, reason },
            // A cluster that is just up does not count on all of its servers yet.
            NO_PLACE if reason.contains("offline") => Self::Unplaced { operation, subject, reason },
            MESSAGE_TOO_LARGE => Self::TooLarge { operation, subject, bytes },
            code if WRONG_LAST_SEQUENCE.contains(&code) => Self::Conflict { subject },
            code if NOT_FOUND.contains(&code) => Self::NotServed { operation, subject },
            // 503: the stream or the meta group has no leader at the moment.
            _ if error.code() == 503 => Self::NoAnswer { operation, subject },
            _ => Self::Server { operation, subject, reason },
        }
    }

    pub(crate) fn request(operation: &'static str, subject: &str, error: &RequestError) -> Self {
        let subject = subject.to_owned();
        match error.kind() {
            RequestErrorKind::NoResponders => Self::NotServed { operation, subject },
            RequestErrorKind::TimedOut => Self::NoAnswer { operation, subject },
            _ => Self::Server { operation, subject, reason: error.to_string() },
        }
    }

    /// `Ok(None)` is "no such message".
    pub(crate) fn raw<T>(
        operation: &'static str,
        subject: &str,
        result: Result<T, RawMessageError>,
    ) -> Result<Option<T>, Self> {
        let error = match result {
            Ok(message) => return Ok(Some(message)),
            Err(error) => error,
        };
        Err(match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            LastRawMessageErrorKind::JetStream(api) => Self::api(operation, subject, 0, &api),
            LastRawMessageErrorKind::InvalidSubject => {
                Self::Server { operation, subject: subject.to_owned(), reason: error.to_string() }
            }
            LastRawMessageErrorKind::Other => match request_error(&error) {
                Some(request) => Self::request(operation, subject, request),
                None => Self::NoAnswer { operation, subject: subject.to_owned() },
            },
        })
    }
}

fn request_error(error: &RawMessageError) -> Option<&RequestError> {
    std::error::Error::source(error)?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u64, words: &str) -> Error {
        let error = format!(r#"{{"code":400,"err_code":{code},"description":"{words}"}}"#);
        let error = serde_json::from_str(&error).expect("an error of JetStream");
        Error::api("create stream", "STREAM.CREATE.NBP_JOBS", 0, &error)
    }

    #[test]
    fn a_cluster_that_misses_a_server_is_asked_again_and_one_that_is_too_small_is_not() {
        let missing = refused(NO_PLACE, "no suitable peers for placement, peer offline");
        assert!(missing.transient(), "{missing:?}");
        let small = refused(NO_PLACE, "no suitable peers for placement, insufficient storage");
        assert!(!small.transient(), "{small:?}");
    }
}
