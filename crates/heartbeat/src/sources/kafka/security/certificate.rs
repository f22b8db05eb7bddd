//! What certificates say about themselves, and how long they still hold.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How long before its end a certificate is spoken of.
pub(super) const NOTICE: Duration = Duration::from_hours(30 * 24);

/// What people want to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// `CN=broker, O=..`.
    pub(super) subject: String,
    /// Who signed it.
    pub(super) issuer: String,
    /// The hosts that it is for, as its alternative names say.
    pub(super) names: Vec<String>,
    /// Its common name, which stands for a host where there are no alternative names.
    pub(super) common_name: Option<String>,
    /// First moment at which it holds.
    pub(super) not_before: Timestamp,
    /// Last moment at which it holds.
    pub(super) not_after: Timestamp,
    /// Version 3 of X.509, which is the only one whose end certificates can be verified.
    pub(super) is_v3: bool,
}

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateRole {
    /// What we show.
    Client,
    /// What we trust.
    Trusted,
    /// What a broker has shown.
    Broker,
}

impl CertificateRole {
    /// All, in no order of weight.
    pub const ALL: [Self; 3] = [Self::Client, Self::Trusted, Self::Broker];

    /// For metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Trusted => "trusted",
            Self::Broker => "broker",
        }
    }
}

/// A certificate in use, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InUse {
    pub(super) role: CertificateRole,
    /// `client certificate of keystore `/x``.
    pub(super) what: String,
    pub(super) shown: Shown,
}

impl Shown {
    /// `None`: it is no certificate.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(host_of).collect(),
            _ => Vec::new(),
        };
        let common_name =
            certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).last();
        let moment = |seconds| Timestamp::from_second(seconds).ok();
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            common_name: common_name.map(str::to_owned),
            not_before: moment(certificate.validity().not_before.timestamp())?,
            not_after: moment(certificate.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX),
            is_v3: certificate.version().0 == 2,
        })
    }

    /// Why it does not hold now.
    pub(super) fn out_of_time(&self, now: Timestamp) -> Option<String> {
        if now > self.not_after {
            Some(format!("ended at {}", self.not_after))
        } else if now < self.not_before {
            Some(format!("holds only from {} on", self.not_before))
        } else {
            None
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` signed by `{}`", self.subject, self.issuer)
    }
}

/// What should be renewed soon, or should have been.
pub(super) fn ending(certificates: &[InUse], now: Timestamp) -> Vec<String> {
    let notice = SignedDuration::try_from(NOTICE).unwrap_or_default();
    certificates
        .iter()
        .filter(|used| used.shown.not_after.duration_since(now) < notice)
        .map(|InUse { what, shown, .. }| {
            let verb = if shown.not_after < now { "ended" } else { "ends" };
            format!("{what} `{}` {verb} at {}", shown.subject, shown.not_after)
        })
        .collect()
}

fn host_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress([a, b, c, d]) => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
        GeneralName::IPAddress(bytes) => {
            <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_spoken_of_a_month_before_they_end() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let used = |what: &str, days: i64| InUse {
            role: CertificateRole::Client,
            what: what.to_owned(),
            shown: Shown {
                subject: "CN=x".into(),
                issuer: "CN=ca".into(),
                names: Vec::new(),
                common_name: None,
                not_before: Timestamp::UNIX_EPOCH,
                not_after: now + SignedDuration::from_hours(24 * days),
                is_v3: true,
            },
        };
        let all = [used("far", 31), used("near", 29), used("past", -1)];
        assert_eq!(
            ending(&all, now),
            ["near `CN=x` ends at 2027-02-13T08:00:00Z", "past `CN=x` ended at 2027-01-14T08:00:00Z"]
        );
        assert_eq!(all[2].shown.out_of_time(now).unwrap(), "ended at 2027-01-14T08:00:00Z");
        assert_eq!(all[0].shown.out_of_time(now), None);
    }
}
