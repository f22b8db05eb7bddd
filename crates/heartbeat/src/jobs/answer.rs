//! What an HTTP answer that is no success says, whatever shape it says it in.
//!
//! Shapes in the wild: the API's `{"error_code": text or number, "message"}`, the old `{"error": ..}`, SCIM's
//! `{"detail", "scimType"}`, OAuth's `{"error", "error_description"}`, plain text `CODE: message`, HTML with `<pre>` or `<title>`, and nothing at all.

use std::fmt;

use reqwest::StatusCode;

use super::wire::ErrorBody;

/// Longest message kept of a foreign answer, in characters.
const MESSAGE_LIMIT: usize = 500;

/// An HTTP answer, reduced to what a person or a decision needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `error_code` of the body as text, also where the API sends a number; `None` if the body has none.
    pub error_code: Option<String>,
    /// The message of the body, else the HTTP reason. Never holds the access token, at most 500 characters.
    pub message: String,
    /// What kind of body it was.
    pub shape: Shape,
}

/// What kind of body an answer had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A JSON object.
    Json,
    /// HTML: a proxy, a gateway or a login page spoke instead of the API.
    Html,
    /// Any other text.
    Text,
    /// No body.
    Empty,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if let Some(code) = &self.error_code {
            write!(f, " {code}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Answer {}

impl Answer {
    /// Takes the answer apart. `secret` is blotted out should the other side echo it.
    pub(crate) fn read(status: StatusCode, location: Option<&str>, body: &[u8], secret: &str) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim();
        let (shape, error_code, message) = take_apart(text);
        let message = match (message, location) {
            (_, Some(location)) if status.is_redirection() => {
                // The query of a redirect may carry session data.
                format!("redirected to {}", location.split(['?', '#']).next().unwrap_or_default())
            }
            (Some(message), _) => message,
            (None, _) => status.canonical_reason().unwrap_or("no message").to_owned(),
        };
        Self { status: status.as_u16(), error_code, message: presentable(&message, secret), shape }
    }

    /// The same without what it said, where that may be secret.
    pub(super) fn without_message(self) -> Self {
        Self { message: "not shown".to_owned(), ..self }
    }

    /// Whether the body speaks of throttling, whatever the status. Such answers were seen with 400 and 500
    /// (databricks-sdk-py#274).
    pub(crate) fn says_throttled(&self) -> bool {
        self.error_code.as_deref() == Some("REQUEST_LIMIT_EXCEEDED")
            || self.message.contains("RPC token bucket limit has been exceeded")
            || self.message.contains("REQUEST_LIMIT_EXCEEDED")
    }
}

fn take_apart(text: &str) -> (Shape, Option<String>, Option<String>) {
    if text.is_empty() {
        return (Shape::Empty, None, None);
    }
    if text.starts_with('{')
        && let Ok(body) = serde_json::from_str::<ErrorBody>(text)
    {
        let (code, message) = match (body.error, body.error_description) {
            // OAuth servers: the error is the code.
            (Some(code), Some(message)) => (Some(code), Some(message)),
            (error, _) => (body.error_code.or(body.scim_type), body.message.or(body.detail).or(error)),
        };
        return (Shape::Json, code, message);
    }
    if text.starts_with('<') {
        let message = between(text, "<pre>", "</pre>").or_else(|| between(text, "<title>", "</title>"));
        return (Shape::Html, None, Some(message.unwrap_or_else(|| "an HTML page".to_owned())));
    }
    match text.split_once(": ") {
        Some((code, message))
            if !code.is_empty() && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') =>
        {
            (Shape::Text, Some(code.to_owned()), Some(message.to_owned()))
        }
        _ => (Shape::Text, None, Some(text.to_owned())),
    }
}

fn between(text: &str, open: &str, close: &str) -> Option<String> {
    // Only ASCII changes case, so offsets in `lower` hold in `text`.
    let lower = text.to_ascii_lowercase();
    let start = lower.find(open)? + open.len();
    let end = start + lower[start..].find(close)?;
    let inner = text[start..end].trim();
    (!inner.is_empty()).then(|| inner.to_owned())
}

/// One line, bounded, without control characters and without the secret.
fn presentable(message: &str, secret: &str) -> String {
    let message = if secret.is_empty() { message.to_owned() } else { message.replace(secret, "***") };
    let line = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE_LIMIT) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        400,
        r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"Job 1 does not exist."}"#,
        Some("INVALID_PARAMETER_VALUE"),
        "Job 1 does not exist.",
        Shape::Json
    )]
    #[case(
        401,
        r#"{"error_code":401,"message":"Credential was not sent"}"#,
        Some("401"),
        "Credential was not sent",
        Shape::Json
    )]
    #[case(403, r#"{"error":"old shape"}"#, None, "old shape", Shape::Json)]
    #[case(
        404,
        r#"{"detail":"scim","status":"404","scimType":"invalidPath"}"#,
        Some("invalidPath"),
        "scim",
        Shape::Json
    )]
    #[case(
        401,
        r#"{"error":"invalid_client","error_description":"no such client"}"#,
        Some("invalid_client"),
        "no such client",
        Shape::Json
    )]
    #[case(404, r#"{"detail":"scim","scimType":null}"#, None, "scim", Shape::Json)]
    #[case(400, r#"{"error_code":"X"}"#, Some("X"), "Bad Request", Shape::Json)]
    #[case(500, "INTERNAL_ERROR: it broke", Some("INTERNAL_ERROR"), "it broke", Shape::Text)]
    #[case(404, "Bad Target: /api/2.2/jobs/run-now", None, "Bad Target: /api/2.2/jobs/run-now", Shape::Text)]
    #[case(502, "<html><HEAD><Title> Bad\n gateway </Title>", None, "Bad gateway", Shape::Html)]
    #[case(502, "<html><pre>MESSAGE: x</pre><title>t</title>", None, "MESSAGE: x", Shape::Html)]
    #[case(200, "<!doctype html><p>hi", None, "an HTML page", Shape::Html)]
    #[case(503, "", None, "Service Unavailable", Shape::Empty)]
    #[case(200, "{\"run_id\":", None, "{\"run_id\":", Shape::Text)]
    #[case(599, " \r\n ", None, "no message", Shape::Empty)]
    fn reads_every_shape(
        #[case] status: u16,
        #[case] body: &str,
        #[case] code: Option<&str>,
        #[case] message: &str,
        #[case] shape: Shape,
    ) {
        let answer = Answer::read(StatusCode::from_u16(status).unwrap(), None, body.as_bytes(), "tok");
        let expected =
            Answer { status, error_code: code.map(str::to_owned), message: message.to_owned(), shape };
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_redirect_names_its_target_without_the_query() {
        let answer = Answer::read(StatusCode::FOUND, Some("/login.html?error=x"), b"", "");
        assert_eq!(answer.message, "redirected to /login.html");
    }

    #[test]
    fn an_echoed_token_is_blotted_out_and_long_messages_are_cut() {
        let body = format!("token dapi1 is bad\u{7}{}", "ä".repeat(600));
        let answer = Answer::read(StatusCode::FORBIDDEN, None, body.as_bytes(), "dapi1");
        assert!(answer.message.starts_with("token *** is bad ä"));
        assert!(answer.message.ends_with("ä...") && answer.message.chars().count() == 503);
    }

    #[test]
    fn throttling_is_seen_in_code_and_text() {
        let read = |body: &str| Answer::read(StatusCode::BAD_REQUEST, None, body.as_bytes(), "");
        assert!(read(r#"{"error_code":"REQUEST_LIMIT_EXCEEDED"}"#).says_throttled());
        assert!(
            read(r#"{"error_code":"X","message":"RPC token bucket limit has been exceeded"}"#)
                .says_throttled()
        );
        assert!(!read(r#"{"error_code":"QUOTA_EXCEEDED"}"#).says_throttled());
    }
}
