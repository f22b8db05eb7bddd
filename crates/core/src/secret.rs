//! Secrets: values that cannot be shown, and references that say where a value is kept.

use std::fmt;

/// A secret in the clear. It has no `Display` and no `Serialize`, and its `Debug` hides it. Its order and hash are
/// for maps of settings that hold it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    /// Environment variable (`env:NAME`).
    Env(String),
    /// Content of a file without its last line break (`file:PATH`).
    File(String),
    /// Databricks secret scope (`scope:SCOPE/KEY`, or as Databricks writes it: `{{secrets/SCOPE/KEY}}`).
    Scope {
        /// Name of the scope.
        scope: String,
        /// Key within it.
        key: String,
    },
    /// The value itself (`literal:TEXT`, or text without a prefix).
    Literal(Secret),
}

impl SecretRef {
    /// Reads a reference. Text without a known prefix is the secret itself. Errors say what is missing and
    /// never repeat the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(place) = of_databricks(text) {
            return scope_and_key(place).ok_or("`{{secrets/..}}` needs SCOPE/KEY behind `secrets/`");
        }
        let Some((prefix, rest)) = text.split_once(':') else {
            return Ok(Self::Literal(Secret::new(text)));
        };
        match prefix {
            "env" if rest.is_empty() => Err("`env:` needs the name of a variable behind it"),
            "env" => Ok(Self::Env(rest.to_owned())),
            "file" if rest.is_empty() => Err("`file:` needs a path behind it"),
            "file" => Ok(Self::File(rest.to_owned())),
            "scope" => scope_and_key(rest).ok_or("`scope:` needs SCOPE/KEY behind it"),
            "literal" => Ok(Self::Literal(Secret::new(rest))),
            _ => Ok(Self::Literal(Secret::new(text))),
        }
    }
}

/// What stands between `{{secrets/` and `}}`.
pub(crate) fn of_databricks(text: &str) -> Option<&str> {
    text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim().strip_prefix("secrets/")
}

fn scope_and_key(text: &str) -> Option<SecretRef> {
    let (scope, key) = text.split_once('/')?;
    let is_given = !scope.is_empty() && !key.is_empty();
    is_given.then(|| SecretRef::Scope { scope: scope.to_owned(), key: key.to_owned() })
}

/// Where the secret is kept, for messages; never the secret.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable `{name}`"),
            Self::File(path) => write!(f, "file `{path}`"),
            Self::Scope { scope, key } => write!(f, "scope `{scope}` key `{key}`"),
            Self::Literal(_) => f.write_str("the configuration"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let literal = SecretRef::parse("dapi123").unwrap();
        assert_eq!(format!("{literal:?} {literal}"), "Literal(***) the configuration");
    }

    #[test]
    fn prefixes_are_references_and_other_text_is_the_secret() {
        assert_eq!(SecretRef::parse("env:T").unwrap(), SecretRef::Env("T".into()));
        assert_eq!(
            SecretRef::parse("scope:s/k").unwrap(),
            SecretRef::Scope { scope: "s".into(), key: "k".into() }
        );
        let scope = SecretRef::Scope { scope: "s".into(), key: "k".into() };
        assert_eq!(SecretRef::parse("{{secrets/s/k}}").unwrap(), scope);
        assert_eq!(SecretRef::parse(" {{ secrets/s/k }} ").unwrap(), scope);
        assert!(SecretRef::parse("{{secrets/s}}").is_err());
        assert_eq!(SecretRef::parse("{{x}}").unwrap(), SecretRef::Literal(Secret::new("{{x}}")));
        assert_eq!(SecretRef::parse("literal:env:T").unwrap(), SecretRef::Literal(Secret::new("env:T")));
        assert_eq!(SecretRef::parse("a:b").unwrap(), SecretRef::Literal(Secret::new("a:b")));
        assert!(SecretRef::parse("scope:s").is_err());
        assert!(SecretRef::parse("env:").is_err());
    }
}
