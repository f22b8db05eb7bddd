//! A secret as the Secrets API gives it: bytes that can't be shown by accident.

use std::fmt;

use serde::Deserialize;

use crate::base64;

/// The value of a secret: any bytes, at most 128 KB.
///
/// Has no `Display` and no `Serialize`; `Debug` prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

#[derive(Deserialize)]
struct Body {
    key: String,
    value: String,
}

impl SecretBytes {
    /// The bytes, for the one place that they belong in.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The key and value of an answer.
    pub(super) fn read(body: &[u8]) -> Option<(String, Self)> {
        let body: Body = serde_json::from_slice(body).ok()?;
        Some((body.key, Self(base64::decode(&body.value)?)))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_bytes_and_never_shown() {
        let (key, secret) = SecretBytes::read(br#"{"key":"k","value":"/w=="}"#).unwrap();
        assert_eq!(
            (key.as_str(), secret.expose(), format!("{secret:?}").as_str()),
            ("k", &[0xff][..], "***")
        );
        assert!(SecretBytes::read(br#"{"key":"k","value":"plain text"}"#).is_none());
    }
}
