//! The access token, as a type that can't be shown by accident.

use std::fmt;

/// A Databricks access token (PAT or OAuth access token).
///
/// Has no `Display` and no `Serialize`; `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token; line ends and blanks around it (a secret file's last line) are dropped.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::NotAHeaderValue);
        }
        Ok(Self(text.to_owned()))
    }

    /// The token itself, for the one header it belongs in.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a text is no token. Never repeats the text.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// Empty or blank.
    #[error("the access token is empty")]
    Empty,
    /// Blanks, line breaks or non-ASCII characters inside.
    #[error(
        "the access token holds characters that can't be part of a token (blanks, line breaks, non-ASCII)"
    )]
    NotAHeaderValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_trimmed_checked_and_never_shown() {
        let token = Token::parse("dapi123\n").unwrap();
        assert_eq!(token.expose(), "dapi123");
        assert_eq!(format!("{token:?}"), "***");
        assert_eq!(Token::parse(" \n"), Err(TokenError::Empty));
        assert_eq!(Token::parse("a\nb"), Err(TokenError::NotAHeaderValue));
    }
}
