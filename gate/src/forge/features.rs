//! What a forge is, by the version it tells. Gitea and Forgejo speak nearly the same; where they do
//! not, this is what decides.

/// Who wrote the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gitea,
    Forgejo,
}

/// What this server can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    pub kind: Kind,
    /// As it tells it.
    pub version: String,
    /// Whether a branch can be moved on the condition that it is where it was
    /// (`PUT /branches/{branch}`, go-gitea/gitea#35951).
    pub compare_and_set: bool,
}

/// The first Gitea that moves a branch by compare-and-set.
const COMPARE_AND_SET_SINCE: (u32, u32) = (1, 26);

impl Features {
    /// Reads a version such as `1.26.3`, `1.26.0+dev-12-gabc` or `9.0.2+gitea-1.22.0`. One that
    /// cannot be read is taken for a Gitea that can do less.
    pub(super) fn of(version: &str) -> Self {
        // Forgejo names the Gitea whose interface it keeps compatible with.
        let forgejo = version.contains("+gitea-");
        let kind = if forgejo { Kind::Forgejo } else { Kind::Gitea };
        let compare_and_set =
            !forgejo && release(version).is_some_and(|it| it >= COMPARE_AND_SET_SINCE);
        Self { kind, version: version.to_owned(), compare_and_set }
    }

    /// The name of the filter by base branch in lists of pull requests.
    pub(super) fn base_filter(&self) -> &'static str {
        match self.kind {
            Kind::Gitea => "base_branch",
            Kind::Forgejo => "base",
        }
    }
}

fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gitea_that_says_so_moves_branches_by_compare_and_set() {
        for (version, kind, compare_and_set) in [
            ("1.26.3", Kind::Gitea, true),
            ("1.26.0-rc0", Kind::Gitea, true),
            ("v1.27.0+dev-123-g0a1b2c3", Kind::Gitea, true),
            ("2.0", Kind::Gitea, true),
            ("1.25.5", Kind::Gitea, false),
            ("1.3.0", Kind::Gitea, false),
            ("9.0.2+gitea-1.22.0", Kind::Forgejo, false),
            ("17.0.0-dev-609-a14eb80977+gitea-1.22.0", Kind::Forgejo, false),
            ("development", Kind::Gitea, false),
            ("1", Kind::Gitea, false),
            ("", Kind::Gitea, false),
        ] {
            let features = Features::of(version);
            assert_eq!(
                (features.kind, features.compare_and_set),
                (kind, compare_and_set),
                "{version}"
            );
        }
    }
}
