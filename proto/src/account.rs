//! The accounts of the broker, and how subjects cross from one to another. Like everything about
//! rights it is data; the server's config is rendered from it.

/// Where an identity lives on the server.
///
/// Rights bind where one publishes, and not where the server's *answer* goes: whoever may ask can
/// name any subject as the reply, and within one account a stream stores what comes on its subject.
/// A reader could so overwrite a result (with an answer that nobody can decode: never a forgery,
/// but the result would be gone). So those who ask and those who read live in accounts of their
/// own, to which the pool's account exports exactly what they may do: their answers end there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The streams and buckets, and those who write what is so.
    Pool,
    /// Those who write what is wanted.
    Ask,
    /// Those who write nothing.
    Read,
}

impl Account {
    /// The name in the server's config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pool => "NBP",
            Self::Ask => "NBP_ASK",
            Self::Read => "NBP_READ",
        }
    }

    /// What a server calls the subjects that are sent in this account: prefixes, and what stands
    /// for them in its rules and in its denials. `leaf` is whether they are sent at a leaf.
    ///
    /// Every account calls its own JetStream by `$JS.API` and its own buckets by `$KV`: one without
    /// any answers "not enabled" beside the right answer, and no leaf passes either on. So they are
    /// mapped to other names, which are the pool's and nobody else's. Whoever sends need not know.
    pub fn mappings(self, leaf: bool) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Ask | Self::Read => &[(API, "NBP.API."), (KV, "NBP.KV.")],
            // What the server itself makes of its JetStream's domain.
            Self::Pool if leaf => &[(KV, "$JS.nbp.API.$KV."), (API, "$JS.nbp.API.")],
            Self::Pool => &[],
        }
    }

    /// One subject by [`Self::mappings`].
    pub fn mapped(self, leaf: bool, subject: &str) -> String {
        let mut mappings = self.mappings(leaf).iter();
        let mapped = mappings
            .find_map(|(from, to)| subject.strip_prefix(from).map(|rest| format!("{to}{rest}")));
        mapped.unwrap_or_else(|| subject.to_owned())
    }
}

/// A subject as it was sent, from what the server calls it.
pub fn as_sent(subject: &str) -> String {
    let all = [Account::Ask.mappings(false), Account::Pool.mappings(true)];
    let mut mappings = all.into_iter().flatten();
    let sent = mappings
        .find_map(|(from, to)| subject.strip_prefix(to).map(|rest| format!("{from}{rest}")));
    sent.unwrap_or_else(|| subject.to_owned())
}

/// The JetStream API as every client calls it.
pub(crate) const API: &str = "$JS.API.";
/// Buckets as every client calls them.
const KV: &str = "$KV.";

/// JetStream's name on a server that has leaves: what they call it by.
pub const DOMAIN: &str = "nbp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_subject_is_told_as_it_was_sent() {
        for (account, leaf, sent, mapped) in [
            (Account::Pool, false, "$JS.API.INFO", "$JS.API.INFO"),
            (Account::Pool, false, "$KV.a.b", "$KV.a.b"),
            (Account::Pool, true, "$JS.API.INFO", "$JS.nbp.API.INFO"),
            (Account::Pool, true, "$KV.a.b", "$JS.nbp.API.$KV.a.b"),
            (Account::Ask, false, "$JS.API.INFO", "NBP.API.INFO"),
            (Account::Read, true, "$KV.a.b", "NBP.KV.a.b"),
            (Account::Ask, true, "nbp.build.x", "nbp.build.x"),
            (Account::Pool, true, "$JS.ACK.x", "$JS.ACK.x"),
        ] {
            assert_eq!(account.mapped(leaf, sent), mapped);
            assert_eq!(as_sent(mapped), sent);
        }
        assert!(Account::Pool.mapped(true, "$JS.API.x").contains(&format!(".{DOMAIN}.")));
    }
}
