//! The workspace that jobs are started in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Address of a Databricks workspace: scheme and host, without a path.
///
/// Given as a host or as a URL; `https` unless the host is this machine, where `http` is allowed for a
/// stand-in (a token must not cross a network in the clear). Two spellings of one workspace are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

/// Why a text is no workspace address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDomain {
    /// Nothing was given.
    #[error("is empty: give the workspace's host, such as `dbc-a1b2345c-d6e7.cloud.databricks.com`")]
    Empty,
    /// Neither http nor https.
    #[error("must be a host or an https:// URL")]
    Scheme,
    /// `http` to another machine.
    #[error("must be https: plain http:// is for 127.0.0.1 and localhost only")]
    Insecure,
    /// A path, query, fragment or user info.
    #[error("must be a host only, without user, path or query")]
    Extra,
    /// Not a host.
    #[error("is not a host name")]
    Host,
}

impl Domain {
    /// Reads a host or URL.
    pub fn parse(text: &str) -> Result<Self, BadDomain> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            None => ("https", text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "https" => ("https", rest),
                "http" => ("http", rest),
                _ => return Err(BadDomain::Scheme),
            },
        };
        let authority = rest.trim_end_matches('/').to_ascii_lowercase();
        if authority.is_empty() {
            return Err(BadDomain::Empty);
        }
        if authority.contains(['/', '?', '#', '@']) {
            return Err(BadDomain::Extra);
        }
        let (host, port) = split_port(&authority)?;
        if scheme == "http" && !is_loopback(host) {
            return Err(BadDomain::Insecure);
        }
        let default_port = if scheme == "https" { 443 } else { 80 };
        Ok(Self(match port {
            Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        }))
    }

    /// True for this machine.
    pub fn is_loopback(&self) -> bool {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        split_port(authority).is_ok_and(|(host, _)| is_loopback(host))
    }

    /// The address, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Domain {
    type Error = BadDomain;
    fn try_from(text: String) -> Result<Self, BadDomain> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0
    }
}

/// Splits `host[:port]`; an IPv6 host stands in brackets, which stay.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), BadDomain> {
    let after_host = if authority.starts_with('[') {
        authority.find(']').ok_or(BadDomain::Host)? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(after_host);
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let bracketed = host.starts_with('[') && host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
    if host.is_empty() || !(plain || bracketed) {
        return Err(BadDomain::Host);
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, None)),
        Some(digits) => digits.parse().map(|p| (host, Some(p))).map_err(|_| BadDomain::Host),
        None => Err(BadDomain::Host),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host == "[::1]"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("dbc-1.cloud.databricks.com", Ok("https://dbc-1.cloud.databricks.com"))]
    #[case(" https://Dbc-1.cloud.databricks.com:443/ ", Ok("https://dbc-1.cloud.databricks.com"))]
    #[case("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080"))]
    #[case("http://[::1]:8080/", Ok("http://[::1]:8080"))]
    #[case("http://dbc-1.cloud.databricks.com", Err(BadDomain::Insecure))]
    #[case("http://127.0.0.1.evil.example", Err(BadDomain::Insecure))]
    #[case("ftp://x", Err(BadDomain::Scheme))]
    #[case("https://x/api", Err(BadDomain::Extra))]
    #[case("https://user@x", Err(BadDomain::Extra))]
    #[case("https://", Err(BadDomain::Empty))]
    #[case("a b", Err(BadDomain::Host))]
    #[case("x:99999", Err(BadDomain::Host))]
    #[case("DATABRICKS_WORKFLOWS_DOMAIN", Ok("https://databricks_workflows_domain"))]
    fn parse(#[case] text: &str, #[case] expected: Result<&str, BadDomain>) {
        assert_eq!(Domain::parse(text).map(|d| d.to_string()), expected.map(str::to_owned));
    }
}
