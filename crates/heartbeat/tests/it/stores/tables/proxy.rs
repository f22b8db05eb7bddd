//! A proxy before a server: it counts, refuses, and speaks for Google's stand-in what that does not.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;

/// What is done with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Handed on as they are.
    Plain,
    /// Writes lose their condition.
    Overwriting,
    /// Those of a kind are refused.
    Refusing(Kind),
    /// The first write with a condition is answered as S3 does while another is under way, and not handed on.
    Conflicting,
    /// The first write with a condition is handed on, and its answer is lost.
    Forgetting,
    /// XML writes become the JSON ones that `fake-gcs-server` understands.
    Google,
}

/// Kinds of requests, by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Write,
    Read,
    Delete,
}

/// A running proxy; it ends with the test.
pub(super) struct Proxy {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Shared {
    upstream: String,
    manner: Manner,
    seen: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

impl Proxy {
    pub(super) async fn start(upstream: &str, manner: Manner) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = Shared {
            upstream: upstream.to_owned(),
            manner,
            seen: Arc::clone(&seen),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let app = Router::new().fallback(pass).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen }
    }

    /// Method and target of each request since this was asked last.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn kind(method: &Method, uri: &Uri) -> Kind {
    let query = uri.query().unwrap_or_default();
    match *method {
        Method::GET if query.contains("list-type=") || query.contains("comp=list") => Kind::List,
        Method::GET | Method::HEAD => Kind::Read,
        Method::PUT => Kind::Write,
        _ => Kind::Delete,
    }
}

async fn pass(State(shared): State<Shared>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let target = parts.uri.path_and_query().unwrap().to_string();
    let earlier = {
        let mut seen = shared.seen.lock().unwrap();
        let conditional = |line: &&String| line.starts_with("PUT if absent");
        let earlier = seen.iter().filter(conditional).count();
        let absent = if parts.headers.contains_key(header::IF_NONE_MATCH) { " if absent" } else { "" };
        seen.push(format!("{}{absent} {target}", parts.method));
        earlier
    };
    let is_conditional = parts.headers.contains_key(header::IF_NONE_MATCH);
    match shared.manner {
        Manner::Refusing(refused) if kind(&parts.method, &parts.uri) == refused => {
            let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied by policy</Message></Error>";
            return (StatusCode::FORBIDDEN, denied).into_response();
        }
        Manner::Conflicting if is_conditional && earlier == 0 => {
            let conflict = "<Error><Code>ConditionalRequestConflict</Code></Error>";
            return (StatusCode::CONFLICT, conflict).into_response();
        }
        Manner::Overwriting => drop(parts.headers.remove(header::IF_NONE_MATCH)),
        Manner::Google if parts.method == Method::PUT => return written_as_json(&shared, &parts, body).await,
        // It answers only to its own name.
        Manner::Google => drop(parts.headers.remove(header::HOST)),
        _ => {}
    }
    let url = format!("{}{target}", shared.upstream);
    let forgets = shared.manner == Manner::Forgetting && is_conditional && earlier == 0;
    let answer =
        shared.client.request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    if forgets {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != header::TRANSFER_ENCODING) {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// `PUT /bucket/key` with `x-goog-if-generation-match` as an upload of the JSON API, which has the same condition.
async fn written_as_json(shared: &Shared, parts: &axum::http::request::Parts, body: Bytes) -> Response {
    let decoded = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8().unwrap();
    let (bucket, key) = decoded.trim_start_matches('/').split_once('/').unwrap();
    let mut query = vec![("uploadType", "media"), ("name", key)];
    let condition = parts.headers.get("x-goog-if-generation-match").map(|it| it.to_str().unwrap());
    query.extend(condition.map(|generation| ("ifGenerationMatch", generation)));
    let url = format!("{}/upload/storage/v1/b/{bucket}/o", shared.upstream);
    let answer = shared.client.post(url).query(&query).body(body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    if !status.is_success() {
        return (status, text).into_response();
    }
    let object: Value = serde_json::from_str(&text).unwrap();
    let headers = [
        (header::ETAG, object["etag"].as_str().unwrap().to_owned()),
        (HeaderName::from_static("x-goog-generation"), object["generation"].as_str().unwrap().to_owned()),
    ];
    (headers, "").into_response()
}
