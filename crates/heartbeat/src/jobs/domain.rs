//! The address of one Databricks workspace, checked once.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// Scheme, host and port of a workspace: where its API is.
///
/// Only made by [`Domain::parse`], so it is always a bare origin: `https` (plain `http` for loopback
/// addresses only), lower-case host, no default port, no path. `Display` gives `https://host[:port]`, and two
/// spellings of one workspace are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain {
    origin: String,
    loopback: bool,
}

impl Domain {
    /// Reads a host (`adb-1.azuredatabricks.net`, `host:8443`) or a URL (`https://host/`).
    ///
    /// Blanks around the text, a missing scheme (`https`), one trailing slash and the default port are
    /// forgiven, as the Databricks SDKs do. Everything else that is not an origin is refused.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&with_scheme).map_err(|source| DomainError::Malformed {
            // A text that can't be taken apart may hold a password.
            text: if text.contains('@') { "(hidden)".to_owned() } else { text.to_owned() },
            source,
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(DomainError::UserInfo);
        }
        let text = text.to_owned();
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(DomainError::Scheme { text }),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(DomainError::PlainHttp { text }),
            _ => return Err(DomainError::Scheme { text }),
        }
        let surplus = [
            (url.path() != "/", "path"),
            (url.query().is_some(), "query"),
            (url.fragment().is_some(), "fragment"),
        ];
        if let Some((_, part)) = surplus.into_iter().find(|(present, _)| *present) {
            return Err(DomainError::NotBare { text, part });
        }
        Ok(Self { origin: url.origin().ascii_serialization(), loopback })
    }

    /// Whether the workspace is on this machine (127.0.0.0/8, `localhost`, `[::1]`): a stand-in, reached
    /// without a proxy.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.origin)
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::parse(text)
    }
}

/// Why a text is no workspace address. No variant repeats credentials.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainError {
    /// The text is empty or blank.
    #[error("the domain is empty: give the host of the workspace, e.g. adb-1.azuredatabricks.net")]
    Empty,
    /// The text is no URL, not even with a scheme in front.
    #[error("domain `{text}` is neither a host nor a URL")]
    Malformed {
        /// The text as given; hidden when it may hold a password.
        text: String,
        /// What the URL parser said.
        source: url::ParseError,
    },
    /// Another scheme than `https`.
    #[error("domain `{text}` must be a host or start with https://")]
    Scheme {
        /// The text as given.
        text: String,
    },
    /// Plain `http` would send the token in the clear.
    #[error("domain `{text}` would send the token unencrypted: http:// is for loopback only, use https://")]
    PlainHttp {
        /// The text as given.
        text: String,
    },
    /// A user name or a password in the URL.
    #[error("the domain holds a user name or password: give the bare host, and the token by itself")]
    UserInfo,
    /// Something follows the host.
    #[error("domain `{text}` has a {part}: give the bare host, without what follows it")]
    NotBare {
        /// The text as given.
        text: String,
        /// `path`, `query` or `fragment`.
        part: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("adb-1.azuredatabricks.net", "https://adb-1.azuredatabricks.net")]
    #[case(" ADB-1.AzureDatabricks.net ", "https://adb-1.azuredatabricks.net")]
    #[case("https://host/", "https://host")]
    #[case("HTTPS://host:443", "https://host")]
    #[case("host:443/", "https://host")]
    #[case("host:8443", "https://host:8443")]
    #[case("http://127.0.0.1:8080", "http://127.0.0.1:8080")]
    #[case("http://127.9.9.9", "http://127.9.9.9")]
    #[case("http://localhost:1/", "http://localhost:1")]
    #[case("http://[::1]:9", "http://[::1]:9")]
    #[case("https://10.0.0.1", "https://10.0.0.1")]
    fn accepts_hosts_and_origins(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Domain::parse(text).unwrap().to_string(), shown);
    }

    #[rstest]
    #[case("", DomainError::Empty)]
    #[case("  ", DomainError::Empty)]
    #[case("http://host", DomainError::PlainHttp { text: "http://host".into() })]
    #[case("http://localhost.evil.com", DomainError::PlainHttp { text: "http://localhost.evil.com".into() })]
    #[case("http://[::2]", DomainError::PlainHttp { text: "http://[::2]".into() })]
    #[case("ftp://host", DomainError::Scheme { text: "ftp://host".into() })]
    #[case("data://", DomainError::Scheme { text: "data://".into() })]
    #[case("https://user@host", DomainError::UserInfo)]
    #[case("user:pw@host", DomainError::UserInfo)]
    #[case("host/api", DomainError::NotBare { text: "host/api".into(), part: "path" })]
    #[case("https://host/?o=1", DomainError::NotBare { text: "https://host/?o=1".into(), part: "query" })]
    #[case("host/#job/1", DomainError::NotBare { text: "host/#job/1".into(), part: "fragment" })]
    fn refuses_what_is_no_origin(#[case] text: &str, #[case] why: DomainError) {
        assert_eq!(Domain::parse(text).unwrap_err(), why);
    }

    #[test]
    fn an_unreadable_text_does_not_leak_its_password() {
        let error = Domain::parse("https://me:hunter2@ho st").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
