//! What needs no server, and logins against a stand-in of Google's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::response::IntoResponse;
use reqsign_core::HttpSend;
use rstest::rstest;

use super::credentials::Login;
use super::*;
use crate::signing;
use crate::stores::Start;

fn asked(start: Start<'_>, limit: usize) -> listing::Asked {
    listing::Asked::of(&Listing { prefix: "s/", start, limit }, "f/")
}

fn objects(names: &[&str], token: Option<&str>) -> Answer {
    let items: Vec<_> = names
        .iter()
        .map(|name| serde_json::json!({"name": name, "size": "7", "generation": "17", "timeCreated": "2024-03-01T10:00:00.123Z"}))
        .collect();
    Answer::of(200, &[], &serde_json::json!({"items": items, "nextPageToken": token}).to_string())
}

#[test]
fn listing_begins_behind_a_key_and_goes_on_there() {
    let first = asked(Start::After("s/b"), 2);
    let query = first.query();
    assert!(query.ends_with("&maxResults=3&prefix=f%2Fs%2F&startOffset=f%2Fs%2Fb"), "{query}");
    let page = listing::page(&objects(&["f/s/b", "f/s/c", "f/s/d"], Some("T")), "f/", &first).unwrap();
    let paths: Vec<_> = page.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["s/c", "s/d"]);
    assert_eq!((page.files[0].size, page.files[0].etag.as_deref()), (7, Some("17")));
    let query = asked(Start::Token(&page.next.unwrap()), 2).query();
    assert!(query.ends_with("&maxResults=2&prefix=f%2Fs%2F&startOffset=f%2Fs%2Fb&pageToken=T"), "{query}");
}

#[test]
fn key_that_is_not_there_leaves_no_gap_behind_it() {
    let first = asked(Start::After("s/b"), 2);
    let page = listing::page(&objects(&["f/s/c", "f/s/d", "f/s/e"], Some("T")), "f/", &first).unwrap();
    assert_eq!(page.files.len(), 2);
    let query = asked(Start::Token(&page.next.unwrap()), 2).query();
    assert!(query.ends_with("&startOffset=f%2Fs%2Fd"), "{query}");
}

#[test]
fn empty_listing_has_no_items() {
    let page = listing::page(&Answer::of(200, &[], "{}"), "f/", &asked(Start::Beginning, 5000)).unwrap();
    assert!(page.files.is_empty() && page.next.is_none());
    assert!(asked(Start::Beginning, 5000).query().contains("maxResults=1000"));
}

#[rstest]
#[case(
    403,
    r#"{"error":{"code":403,"message":"x does not have storage.objects.list access"}}"#,
    "not allowed: NEED (x does not have"
)]
#[case(401, r#"{"error":{"message":"Anonymous caller does not have access"}}"#, "not allowed: NEED")]
#[case(
    401,
    r#"{"error":{"message":"Invalid Credentials"}}"#,
    "the credentials are not accepted (Invalid Credentials)"
)]
#[case(404, "", "does not exist")]
#[case(400, "nonsense\nmore", "gave an answer that cannot be used: nonsense")]
fn refusals_say_what_is_needed(#[case] status: u16, #[case] body: &str, #[case] expected: &str) {
    let told = refusal(&Answer::of(status, &[], body), "NEED").to_string();
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn login_is_what_is_set_and_a_key_is_never_shown() {
    let environment = [("GOOGLE_APPLICATION_CREDENTIALS", "/x.json")];
    let login = |options: &[(&'static str, &str)]| Login::of(&Set::of(options, &environment));
    assert!(matches!(login(&[]), Ok(Login::Environment)));
    assert!(matches!(login(&[("google_service_account", "/y.json")]), Ok(Login::File(_))));
    assert!(matches!(login(&[("google_skip_signature", "true")]), Ok(Login::Anonymous)));
    assert!(matches!(login(&[("google_service_account_key", "{}")]), Ok(Login::Key(_))));
    let Err(fault) = login(&[("google_service_account_key", "\"very-secret\"")]) else { panic!("no key") };
    assert!(fault.to_string().contains("is no JSON object") && !format!("{fault:?}").contains("very-secret"));
}

/// Google's token service, which believes everybody.
#[derive(Debug)]
struct Tokens(Arc<AtomicU32>);

impl HttpSend for Tokens {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        assert_eq!(request.uri(), "https://oauth2.googleapis.com/token");
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Response::new(format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#).into()))
    }
}

/// Believes only the second token.
async fn objects_of(State(()): State<()>, headers: HeaderMap) -> axum::response::Response {
    if headers["authorization"] == "Bearer token-2" {
        return "body".into_response();
    }
    let body = r#"{"error":{"code":401,"message":"Invalid Credentials"}}"#;
    (StatusCode::UNAUTHORIZED, body).into_response()
}

#[tokio::test]
async fn token_of_a_key_is_kept_and_replaced_once_when_it_is_not_believed() {
    let der = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&der).unwrap();
    let text = reqsign_core::hash::base64_encode(der.as_ref());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let key = serde_json::json!({"type": "service_account", "client_email": "a@b", "private_key": pem});
    let routes = axum::Router::new().fallback(objects_of).with_state(());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await });
    let given = Arc::new(AtomicU32::new(0));
    let context = signing::context(&BTreeMap::new(), &[]).with_http_send(Tokens(Arc::clone(&given)));
    let store = Gcs {
        bucket: "b".to_owned(),
        folder: String::new(),
        endpoint: url.parse().unwrap(),
        credentials: GoogleCredentials::with(Login::Key(key.to_string()), context),
        wire: Wire::new(&url).unwrap(),
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    for _ in 0..2 {
        assert_eq!(store.read("x", deadline).await.unwrap().unwrap(), "body");
    }
    assert_eq!(given.load(Ordering::SeqCst), 2);
    store.credentials.forget().await;
    let error = store.read("x", deadline).await.unwrap_err();
    assert_eq!(error.to_string(), "file `gs://b/x`: the credentials are not accepted (Invalid Credentials)");
}
