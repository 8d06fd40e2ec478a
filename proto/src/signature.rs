//! The signature of a result: its shape, and the bytes that are signed.
//!
//! It knows no cryptography: `bus::signature` signs and verifies. What is signed is a text that
//! travels inside the signature, byte for byte, and not the record around it: a reader decodes
//! tolerantly and would never find the bytes again of a record with a field that it does not know.

use serde::{Deserialize, Serialize};

use crate::{
    job::{Incarnation, JobKey},
    record::Epoch,
    token::Identity,
};

/// Who vouches for a result. It stands in the finish that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Public NKey of the worker that wrote the record.
    pub by: Identity,
    /// The finish without this signature, as JSON: exactly what was signed. It must say what the
    /// finish around it says.
    pub body: String,
    /// Ed25519 over [`signed_bytes`], in base64url without padding.
    pub sig: String,
}

/// What is signed. Whose record it is, which claim and which asking stand before the body, so that
/// a signature is worth nothing under another key, epoch or incarnation.
///
/// No field before the body can hold a newline, so no two askings give the same bytes. The first
/// line keeps a key that signs other things (the broker's login challenge) from signing a result.
pub fn signed_bytes(job: &JobKey, epoch: Epoch, incarnation: Incarnation, body: &str) -> Vec<u8> {
    format!("nix-build-pool result 1\n{job}\n{epoch}\n{incarnation}\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "r.0123456789abcdef0123456789abcdef01234567.web";

    #[test]
    fn each_part_changes_what_is_signed() {
        let incarnation = |last: char| format!("01a205c2-16b4-7095-a68f-a42b2369990{last}");
        let bytes = |job: &str, epoch, last, body: &str| {
            let (job, incarnation) = (job.parse(), incarnation(last).parse());
            let (job, incarnation) = (job.expect("a job"), incarnation.expect("a uuid"));
            signed_bytes(&job, Epoch(epoch), incarnation, body)
        };
        let first = bytes(JOB, 1, '1', "{}");
        assert_eq!(
            String::from_utf8(first.clone()).expect("text"),
            format!("nix-build-pool result 1\n{JOB}\n1\n{}\n{{}}", incarnation('1'))
        );
        assert_ne!(first, bytes(&JOB.replace("web", "ns1"), 1, '1', "{}"));
        assert_ne!(first, bytes(JOB, 11, '1', "{}"));
        assert_ne!(first, bytes(JOB, 1, '2', "{}"));
        assert_ne!(first, bytes(JOB, 1, '1', "{ }"));
    }
}
