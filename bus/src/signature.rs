//! Signing results with the worker's NKey, and verifying them. What is signed and how it travels
//! stands in `proto::signature`.
//!
//! Rights on the broker say who may write a result, and a bucket is one right: whoever may write
//! one may write all. A signature says which worker wrote this one. It binds the finish to job,
//! epoch and incarnation, so none can be copied to where it was not written.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use proto::{Finished, Identity, JobKey, Record, Signature, State, signature::signed_bytes};

use crate::{connection::Bus, key::PublicKey};

/// What a record's signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// A trusted worker wrote exactly this.
    Valid {
        /// Which.
        by: PublicKey,
    },
    /// Nobody vouches for it; or it is no result yet.
    Unsigned,
    /// It names a signer who is not trusted. Whether he did sign it is not looked at.
    Untrusted {
        /// Who it says.
        by: Identity,
    },
    /// It names a trusted signer, and he signed something else: another job, epoch, incarnation
    /// or finish.
    Invalid {
        /// Who it says.
        by: PublicKey,
    },
}

impl Verified {
    /// Why the result does not count, if it does not.
    pub fn objection(&self) -> Option<&'static str> {
        match self {
            Self::Valid { .. } => None,
            Self::Unsigned => Some("its result is not signed"),
            Self::Untrusted { .. } => Some("its result is signed by a worker that is not trusted"),
            Self::Invalid { .. } => Some("its result has a signature of something else"),
        }
    }
}

/// Whether one of `trusted` wrote this very result of this job.
///
/// Only `epoch`, `incarnation` and the finish are vouched for; the list of attempts is not.
pub fn verify(job: &JobKey, record: &Record, trusted: &BTreeSet<PublicKey>) -> Verified {
    let State::Finished(finished) = &record.state else { return Verified::Unsigned };
    let Some(signature) = &finished.signature else { return Verified::Unsigned };
    let Some(by) = trusted.iter().find(|key| *key.identity() == signature.by) else {
        return Verified::Untrusted { by: signature.by.clone() };
    };
    let bytes = signed_bytes(job, record.epoch, record.incarnation, &signature.body);
    let by = by.clone();
    match signed_by(&by, &bytes, &signature.sig) && says(&signature.body, finished) {
        true => Verified::Valid { by },
        false => Verified::Invalid { by },
    }
}

fn signed_by(by: &PublicKey, bytes: &[u8], sig: &str) -> bool {
    let Ok(sig) = BASE64URL_NOPAD.decode(sig.as_bytes()) else { return false };
    let key = KeyPair::from_public_key(by.identity().as_str());
    key.is_ok_and(|key| key.verify(bytes, &sig).is_ok())
}

/// The finish that was signed is the one that the reader acts on.
fn says(body: &str, finished: &Finished) -> bool {
    let signed = serde_json::from_str::<Finished>(body);
    signed.is_ok_and(|signed| signed == Finished { signature: None, ..finished.clone() })
}

pub(crate) fn sign(keys: &KeyPair, job: &JobKey, mut record: Record) -> Record {
    let (epoch, incarnation) = (record.epoch, record.incarnation);
    let State::Finished(finished) = &mut record.state else { return record };
    // One that was read back and is written again is vouched for anew, by its writer.
    finished.signature = None;
    let Ok(body) = serde_json::to_string(finished) else { return record };
    let Ok(sig) = keys.sign(&signed_bytes(job, epoch, incarnation, &body)) else { return record };
    let (by, sig) = (PublicKey::of(keys).identity().clone(), BASE64URL_NOPAD.encode(&sig));
    finished.signature = Some(Signature { by, body, sig });
    record
}

impl Bus {
    /// What this identity signs with, if it has a key.
    pub fn signer(&self) -> Option<PublicKey> {
        self.net.keys.as_deref().map(PublicKey::of)
    }

    /// The record as this identity vouches for it: a finish is signed, if there is a key.
    pub fn signed(&self, job: &JobKey, record: Record) -> Record {
        match &self.net.keys {
            Some(keys) => sign(keys, job, record),
            None => record,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{
        Attempt, Built, Epoch, Failure, FailureKind, Incarnation, Instance, Outcome, Phase,
        Running, Timestamp, V1, Work,
    };
    use uuid::Uuid;

    use super::*;

    fn job(host: &str) -> JobKey {
        let key = format!("r.0123456789abcdef0123456789abcdef01234567.{host}");
        key.parse().expect("a job")
    }

    fn record(outcome: Outcome) -> Record {
        let state = State::Finished(Finished {
            outcome,
            at: Timestamp(7),
            worker: Some("w1".parse().expect("a worker")),
            queue_ms: 1,
            build_ms: 2,
            phases: Vec::new(),
            overrides: proto::Overrides::default(),
            signature: None,
        });
        let incarnation = Incarnation(Uuid::from_u128(1));
        Record { v: V1, epoch: Epoch(3), incarnation, attempts: Vec::new(), state }
    }

    fn failed() -> Outcome {
        let failure =
            Failure { log_tail: vec!["\"quoted\" \u{1b}[1m ü\n".into()], ..Failure::message("x") };
        Outcome::Failed { kind: FailureKind::BuildFailed, failure }
    }

    fn finish(record: &mut Record) -> &mut Finished {
        match &mut record.state {
            State::Finished(finished) => finished,
            other => panic!("not finished: {other:?}"),
        }
    }

    fn signature(record: &mut Record) -> &mut Signature {
        finish(record).signature.as_mut().expect("signed")
    }

    fn trusted(keys: &KeyPair) -> BTreeSet<PublicKey> {
        BTreeSet::from([PublicKey::of(keys)])
    }

    #[test]
    fn what_a_trusted_worker_signed_is_valid_also_after_a_trip() {
        let keys = KeyPair::new_user();
        let signed = sign(&keys, &job("web"), record(failed()));
        let valid = Verified::Valid { by: PublicKey::of(&keys) };
        assert_eq!(verify(&job("web"), &signed, &trusted(&keys)), valid);
        let json = serde_json::to_vec(&signed).expect("encodes");
        let read: Record = serde_json::from_slice(&json).expect("decodes");
        assert_eq!(verify(&job("web"), &read, &trusted(&keys)), valid);
        assert_eq!(valid.objection(), None);
        // Written again, it is the new writer's word.
        let other = KeyPair::new_user();
        let again = sign(&other, &job("web"), read);
        assert_eq!(verify(&job("web"), &again, &trusted(&other)).objection(), None);
    }

    #[test]
    fn a_field_of_tomorrow_is_signed_and_does_not_keep_today_from_verifying() {
        let keys = KeyPair::new_user();
        let mut signed = sign(&keys, &job("web"), record(failed()));
        let Signature { body, .. } = signature(&mut signed).clone();
        let later = body.replacen('{', "{\"of_tomorrow\":[1,2],", 1);
        let bytes = signed_bytes(&job("web"), signed.epoch, signed.incarnation, &later);
        let sig = BASE64URL_NOPAD.encode(&keys.sign(&bytes).expect("a seed"));
        *signature(&mut signed) =
            Signature { by: signature(&mut signed).by.clone(), body: later, sig };
        assert_eq!(verify(&job("web"), &signed, &trusted(&keys)).objection(), None);
    }

    /// A finish as a worker that did not count its work wrote and signed it.
    const OF_BEFORE: &str = r#"{"outcome":{"result":"built","out_path":"/o","drv_path":"/d","closure_bytes":5,"reused":false},"at":7,"worker":"w1","queue_ms":1,"build_ms":2,"phases":[]}"#;

    #[test]
    fn what_was_signed_without_a_field_of_today_stays_valid_and_takes_none_in() {
        let keys = KeyPair::new_user();
        let finished: Finished = serde_json::from_str(OF_BEFORE).expect("a finish");
        let mut old = record(failed());
        let bytes = signed_bytes(&job("web"), old.epoch, old.incarnation, OF_BEFORE);
        let sig = BASE64URL_NOPAD.encode(&keys.sign(&bytes).expect("a seed"));
        let by = PublicKey::of(&keys).identity().clone();
        let signature = Signature { by, body: OF_BEFORE.into(), sig };
        *finish(&mut old) = Finished { signature: Some(signature), ..finished };
        assert_eq!(verify(&job("web"), &old, &trusted(&keys)).objection(), None);
        set_work(&mut old, Some(Work::default()));
        assert!(verify(&job("web"), &old, &trusted(&keys)).objection().is_some());
    }

    #[test]
    fn what_was_done_for_a_build_is_signed() {
        let keys = KeyPair::new_user();
        let mut counted: Record = record(failed());
        *finish(&mut counted) = serde_json::from_str(OF_BEFORE).expect("a finish");
        let work = Work { derivations: 3, downloads: 20 };
        set_work(&mut counted, Some(work));
        let signed = sign(&keys, &job("web"), counted);
        let objection = |work| {
            let mut record = signed.clone();
            set_work(&mut record, work);
            verify(&job("web"), &record, &trusted(&keys)).objection()
        };
        assert_eq!(objection(Some(work)), None);
        assert!(objection(None).is_some(), "taken away");
        assert!(objection(Some(Work { derivations: 0, ..work })).is_some());
        assert!(objection(Some(Work { downloads: 21, ..work })).is_some());
    }

    fn set_work(record: &mut Record, work: Option<Work>) {
        let Outcome::Built(built) = &finish(record).outcome else { panic!("{record:?}") };
        let built = Built { work, ..built.clone() };
        finish(record).outcome = Outcome::Built(built);
    }

    #[test]
    fn a_signature_of_something_else_is_worth_nothing() {
        let keys = KeyPair::new_user();
        let signed = || sign(&keys, &job("web"), record(failed()));
        #[track_caller]
        fn invalid(keys: &KeyPair, host: &str, record: &Record) {
            let by = PublicKey::of(keys);
            assert_eq!(verify(&job(host), record, &trusted(keys)), Verified::Invalid { by });
        }
        let changed = |change: fn(&mut Record)| {
            let mut record = signed();
            change(&mut record);
            record
        };
        invalid(&keys, "ns1", &signed());
        invalid(&keys, "web", &changed(|it| it.epoch = Epoch(4)));
        invalid(&keys, "web", &changed(|it| it.incarnation = Incarnation(Uuid::from_u128(2))));
        // The word around the signed one was changed, or the signed one, or both.
        invalid(&keys, "web", &changed(|it| finish(it).outcome = Outcome::Superseded));
        invalid(&keys, "web", &changed(|it| finish(it).build_ms = 9));
        invalid(
            &keys,
            "web",
            &changed(|it| signature(it).body = signature(it).body.replace("x", "y")),
        );
        invalid(
            &keys,
            "web",
            &changed(|it| {
                finish(it).build_ms = 9;
                signature(it).body = signature(it).body.replace("\"build_ms\":2", "\"build_ms\":9");
            }),
        );
        invalid(&keys, "web", &changed(|it| signature(it).sig.clear()));
        invalid(&keys, "web", &changed(|it| signature(it).sig.push('A')));
        invalid(&keys, "web", &changed(|it| signature(it).sig = "not base64 !".into()));
        invalid(&keys, "web", &changed(|it| signature(it).sig = "A".repeat(86)));
    }

    #[test]
    fn what_nobody_trusted_signed_does_not_count() {
        let (keys, other) = (KeyPair::new_user(), KeyPair::new_user());
        let unsigned = record(failed());
        assert_eq!(verify(&job("web"), &unsigned, &trusted(&keys)), Verified::Unsigned);
        let foreign = sign(&other, &job("web"), record(failed()));
        let by = PublicKey::of(&other).identity().clone();
        assert_eq!(verify(&job("web"), &foreign, &trusted(&keys)), Verified::Untrusted { by });
        assert_eq!(
            verify(&job("web"), &foreign, &BTreeSet::new()).objection().map(str::is_empty),
            Some(false)
        );
        // A foreign signature under a trusted name.
        let mut lent = foreign;
        signature(&mut lent).by = PublicKey::of(&keys).identity().clone();
        let by = PublicKey::of(&keys);
        assert_eq!(verify(&job("web"), &lent, &trusted(&keys)), Verified::Invalid { by });
    }

    #[test]
    fn only_a_finish_is_signed() {
        let keys = KeyPair::new_user();
        let mut running = record(failed());
        let instance = Instance(Uuid::nil());
        let worker = "w1".parse().expect("a worker");
        running.state = State::Running(Running {
            instance,
            claim: 1,
            worker,
            lease_ms: 1,
            phase: Phase::Build,
            progress: None,
        });
        running.attempts = Vec::<Attempt>::new();
        assert_eq!(sign(&keys, &job("web"), running.clone()), running);
        assert_eq!(verify(&job("web"), &running, &trusted(&keys)), Verified::Unsigned);
    }
}
