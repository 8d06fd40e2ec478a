//! What the environment says of the terminal: its characters, and whether it has colours. Like a
//! terminal's width it is a fact of the surroundings, not something that anybody configures here.

use std::{env, ffi::OsString};

/// What says that a CI runs us. Most set the first one; of the others some do not.
const CI: [&str; 7] = [
    "CI",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "BUILDKITE",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "TF_BUILD",
];

/// The variables that tell it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terminal {
    no_color: Option<OsString>,
    term: Option<OsString>,
    /// "true" on the runners of GitHub, Gitea and Forgejo alike.
    actions: Option<OsString>,
    ci: [Option<OsString>; CI.len()],
    /// From the one that counts most on.
    locale: [Option<OsString>; 3],
}

impl Terminal {
    pub(crate) fn of_environment() -> Self {
        Self {
            no_color: env::var_os("NO_COLOR"),
            term: env::var_os("TERM"),
            actions: env::var_os("GITHUB_ACTIONS"),
            ci: CI.map(env::var_os),
            locale: ["LC_ALL", "LC_CTYPE", "LANG"].map(env::var_os),
        }
    }

    /// It shows characters beyond ASCII. Where nobody says anything it is taken to: that is how
    /// services and containers run.
    pub(crate) fn utf8(&self) -> bool {
        let mut locale = self.locale.iter().flatten();
        locale.find(|locale| !locale.is_empty()).is_none_or(|locale| {
            let locale = locale.to_string_lossy().to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
    }

    /// It has colours, and its owner wants them (<https://no-color.org>).
    pub(crate) fn colours(&self) -> bool {
        let unwanted = self.no_color.as_ref().is_some_and(|value| !value.is_empty());
        !unwanted && self.moves_its_cursor()
    }

    /// It can draw over what it has shown.
    pub(crate) fn moves_its_cursor(&self) -> bool {
        self.term.as_ref().is_none_or(|term| term != "dumb")
    }

    /// A CI gave it to us, and nobody sits before it: what is drawn over would fill a log.
    pub(crate) fn is_ci(&self) -> bool {
        let no = |value: &OsString| value.is_empty() || value == "false" || value == "0";
        self.ci.iter().flatten().any(|value| !no(value))
    }

    /// It is the log of a CI, which folds groups of lines.
    pub(crate) fn folds(&self) -> bool {
        self.actions.as_ref().is_some_and(|value| value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_tells_the_characters() {
        let check = |locale: [&str; 3], utf8| {
            let locale = locale.map(|value| Some(OsString::from(value)));
            let terminal = Terminal { locale, ..Terminal::default() };
            assert_eq!(terminal.utf8(), utf8, "{terminal:?}");
        };
        check(["C", "en_US.UTF-8", "en_US.UTF-8"], false);
        check(["", "C.utf8", "C"], true);
        check(["", "", "de_DE.ISO-8859-1"], false);
        check(["", "", ""], true);
        assert!(Terminal::default().utf8());
    }

    #[test]
    fn a_terminal_of_a_ci_is_one_that_nobody_sits_before() {
        let check = |name: &str, value: &str, is_ci| {
            let ci = CI.map(|it| (it == name).then(|| value.into()));
            assert_eq!(Terminal { ci, ..Terminal::default() }.is_ci(), is_ci, "{name}={value}");
        };
        check("CI", "true", true);
        check("CI", "1", true);
        check("GITHUB_ACTIONS", "true", true);
        check("GITLAB_CI", "true", true);
        check("TF_BUILD", "True", true);
        check("JENKINS_URL", "https://ci.example/", true);
        for no in ["", "false", "0"] {
            check("CI", no, false);
        }
        assert!(!Terminal::default().is_ci());
    }

    #[test]
    fn colours_are_for_who_has_and_wants_them() {
        let check = |no_color: &str, term: &str, colours| {
            let (no_color, term) = (Some(no_color.into()), Some(term.into()));
            let terminal = Terminal { no_color, term, ..Terminal::default() };
            assert_eq!(terminal.colours(), colours, "{terminal:?}");
        };
        check("", "xterm", true);
        check("1", "xterm", false);
        check("", "dumb", false);
    }
}
