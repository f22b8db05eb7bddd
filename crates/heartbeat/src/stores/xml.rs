//! XML as stores answer it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::Fault;

/// The error document of S3 and Azure.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ErrorDocument {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) region: Option<String>,
}

impl ErrorDocument {
    /// What an answer says, as far as it says anything.
    pub(super) fn of(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        quick_xml::de::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_default()
    }

    /// Code and message in one line.
    pub(super) fn told(&self, status: axum::http::StatusCode) -> String {
        let message = self.message.lines().next().unwrap_or_default();
        match (self.code.as_str(), message) {
            ("", _) => status.to_string(),
            (code, "") => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }
}

/// Reads a document.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| Fault::Nonsense(error.to_string()))?;
    // Azure begins its documents with a byte order mark.
    quick_xml::de::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Fault::Nonsense(error.to_string()))
}

/// All but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// As `ENCODED`, but slashes stand.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// A value in a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A key in a path.
pub(super) fn encoded_path(text: &str) -> String {
    utf8_percent_encode(text, ENCODED_PATH).to_string()
}

/// What was encoded as forms are: `+` is a blank.
pub(crate) fn decoded_form(text: &str) -> Result<String, Fault> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|error| Fault::Nonsense(format!("a key: {error}")))
}
