//! AWS Signature Version 4, in headers. Ours because it signs for the time that it is for the service: libraries sign
//! for this machine's clock, and a clock that is a quarter of an hour wrong gets no answer.
//!
//! Fact: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use heartbeat_core::claim::hex;
use jiff::Timestamp;
use reqsign_aws_v4::Credential;

/// Who is asked, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// Name of the service, as AWS signs it: `s3`, `sqs`.
    pub(crate) service: &'a str,
    /// Region of it.
    pub(crate) region: &'a str,
    /// What time it is there.
    pub(crate) now: Timestamp,
}

/// Adds the headers of a signature over the method, the URL, the body and all headers that are there. The URL is
/// percent-encoded once, its query sorted.
pub(crate) fn sign(parts: &mut Parts, body: &[u8], credential: &Credential, scope: Scope<'_>) {
    let Scope { service, region, now } = scope;
    let (day, moment) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
    let body = hex(digest(&SHA256, body).as_ref());
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            parts.headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-amz-date", &moment);
    if service == "s3" {
        put("x-amz-content-sha256", &body);
    }
    if let Some(token) = &credential.session_token {
        put("x-amz-security-token", token);
    }
    let authority = parts.uri.authority().map_or("", |authority| authority.as_str()).to_owned();
    let mut headers: Vec<(&str, &str)> = vec![("host", &authority)];
    headers
        .extend(parts.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))));
    headers.sort_unstable();
    let mut canonical = String::new();
    for (name, value) in &headers {
        canonical.extend([name, ":", value.trim(), "\n"]);
    }
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let request = format!("{}\n{path}\n{query}\n{canonical}\n{names}\n{body}", parts.method);
    let within = format!("{day}/{region}/{service}/aws4_request");
    let hash = hex(digest(&SHA256, request.as_bytes()).as_ref());
    let signature = hex(&seal(
        &key(&credential.secret_access_key, &[&day, region, service]),
        &format!("AWS4-HMAC-SHA256\n{moment}\n{within}\n{hash}"),
    ));
    let id = &credential.access_key_id;
    let text =
        format!("AWS4-HMAC-SHA256 Credential={id}/{within}, SignedHeaders={names}, Signature={signature}");
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        parts.headers.insert(header::AUTHORIZATION, value);
    }
}

/// The key that signs for a day, a region and a service.
pub(crate) fn key(secret: &str, parts: &[&str]) -> Vec<u8> {
    let secret = format!("AWS4{secret}").into_bytes();
    parts.iter().chain(&["aws4_request"]).fold(secret, |key, part| seal(&key, part))
}

/// HMAC-SHA256.
pub(crate) fn seal(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    /// `get-vanilla-query-order-key-case` of AWS's test suite for Signature Version 4.
    #[test]
    fn the_signature_is_that_of_awss_test_suite() {
        let uri = "https://example.amazonaws.com/?Param1=value1&Param2=value2";
        let (mut parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
        let credential = Credential {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
            expires_in: None,
        };
        let now = "2015-08-30T12:36:00Z".parse().unwrap();
        sign(&mut parts, b"", &credential, Scope { service: "service", region: "us-east-1", now });
        let signed = parts.headers[header::AUTHORIZATION].to_str().unwrap();
        assert!(signed.ends_with("SignedHeaders=host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"), "{signed}");
    }
}
