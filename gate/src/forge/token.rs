//! The token of the gate's user on the forge: read once from its file, shown to nobody.

use std::{fmt, fs, path::Path};

use reqwest::header::HeaderValue;

use super::Error;

/// An access token. It has no `Display`, and its `Debug` tells nothing.
#[derive(Clone)]
pub struct Token(String);

/// Shorter ones cannot be taken out of a text without harm to other words. Gitea's and Forgejo's
/// have 40 digits.
const TOKEN_BYTES_MIN: usize = 16;

/// What stands in a text where the token stood.
const HIDDEN: &str = "<token>";

impl Token {
    /// Reads the token from a file that holds nothing else.
    ///
    /// # Errors
    /// No such file, or what it holds cannot be a token. The text is not repeated.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Token { path: path.to_owned(), reason };
        let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        Self::parse(text.trim()).map_err(|reason| refuse(reason.to_owned()))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty; put an access token of the gate's user into it");
        }
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err("it must hold one access token and nothing else");
        }
        if text.len() < TOKEN_BYTES_MIN {
            return Err("what it holds is too short for an access token");
        }
        Ok(Self(text.to_owned()))
    }

    /// The value of an `Authorization` header.
    fn authorization(&self) -> String {
        format!("token {}", self.0)
    }

    /// The token itself, for taking it out of texts.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// The same for our own requests, marked so that nothing shows it.
    pub(super) fn header(&self) -> HeaderValue {
        let value = HeaderValue::from_str(&self.authorization());
        let mut value = value.expect("a token is graphic ASCII, which a header may hold");
        value.set_sensitive(true);
        value
    }

    /// `text` without the token: a server may echo what it was sent.
    pub fn scrub(&self, text: &str) -> String {
        text.replace(&self.0, HIDDEN)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_token_is_one_word_and_never_told() {
        for bad in [
            "",
            "hunter2",
            "two words that are long enough",
            "line\nline-line-line",
            "tökenökenöken",
        ] {
            let refused = Token::parse(bad).expect_err(bad);
            assert!(bad.is_empty() || !refused.contains(bad), "{refused}");
        }
        let token = Token::parse(TOKEN).expect("a token");
        assert_eq!(token.authorization(), format!("token {TOKEN}"));
        assert!(!format!("{token:?} {:?}", token.header()).contains(TOKEN));
        let echoed = format!("bad header 'token {TOKEN}', {TOKEN}");
        assert_eq!(token.scrub(&echoed), "bad header 'token <token>', <token>");
    }
}
