//! Stands before an S3 and answers some of its listings as stores do on bad days.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};

/// What happens to one listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// 503 SlowDown.
    SlowDown,
    /// The connection breaks in the middle of the answer.
    Cut,
    /// No answer ever.
    Hang,
    /// The second half of the files is left out, and the listing ends there.
    LeaveOut,
    /// It says that there is more, and not where.
    Truncated,
    /// 400 ExpiredToken.
    Expired,
    /// 403 AccessDenied.
    Denied,
}

/// The proxy.
#[derive(Clone)]
pub(crate) struct Faults {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    client: reqwest::Client,
    faults: Mutex<VecDeque<Fault>>,
    always: Mutex<Fault>,
    /// Seconds that the store's clock is ahead.
    ahead: Mutex<i64>,
    listings: AtomicU64,
}

impl Faults {
    /// Before the server at `url`.
    pub(crate) async fn before(url: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            server: url.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            faults: Mutex::default(),
            always: Mutex::new(Fault::None),
            ahead: Mutex::new(0),
            listings: AtomicU64::new(0),
        });
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(relay).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// What happens to the next listings.
    pub(crate) fn next(&self, faults: &[Fault]) {
        self.shared.faults.lock().unwrap().extend(faults);
    }

    /// What happens to each listing that nothing else is said about.
    pub(crate) fn always(&self, fault: Fault) {
        *self.shared.always.lock().unwrap() = fault;
    }

    /// Sets the store's clock.
    pub(crate) fn set_ahead(&self, seconds: i64) {
        *self.shared.ahead.lock().unwrap() = seconds;
    }

    /// Listings so far.
    pub(crate) fn listings(&self) -> u64 {
        self.shared.listings.load(Ordering::SeqCst)
    }
}

async fn relay(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let is_listing = query.contains("list-type=2");
    let ahead = *shared.ahead.lock().unwrap();
    if let Some(refusal) = is_skewed(request.headers(), ahead) {
        return refusal;
    }
    let fault = if is_listing {
        shared.listings.fetch_add(1, Ordering::SeqCst);
        shared.faults.lock().unwrap().pop_front().unwrap_or(*shared.always.lock().unwrap())
    } else {
        Fault::None
    };
    match fault {
        Fault::SlowDown => return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Fault::Expired => return error(StatusCode::BAD_REQUEST, "ExpiredToken"),
        Fault::Denied => return error(StatusCode::FORBIDDEN, "AccessDenied"),
        Fault::Hang => std::future::pending().await,
        Fault::None | Fault::Cut | Fault::LeaveOut | Fault::Truncated => {}
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let sent = shared
        .client
        .request(parts.method, format!("{}{path}", shared.server))
        .headers(headers)
        .body(to_bytes(body, usize::MAX).await.unwrap())
        .send()
        .await
        .unwrap();
    let (status, mut headers) = (sent.status(), sent.headers().clone());
    let mut body = sent.bytes().await.unwrap();
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::DATE);
    match fault {
        Fault::LeaveOut => body = left_out(&body).into(),
        Fault::Truncated => {
            let text = String::from_utf8(body.to_vec()).unwrap();
            body = text.replace("<IsTruncated>false", "<IsTruncated>true").into();
        }
        Fault::Cut => {
            let half = body.slice(..body.len() / 2);
            let stream = futures::stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
            return (status, headers, Body::from_stream(stream)).into_response();
        }
        _ => {}
    }
    headers.remove(header::CONTENT_LENGTH);
    (status, headers, body).into_response()
}

/// A listing without the second half of its files, which says that it is whole.
fn left_out(body: &[u8]) -> String {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut parts: Vec<&str> = text.split("<Contents>").collect();
    let files = parts.len() - 1;
    let tail = parts[files].split_once("</Contents>").map_or("", |(_, tail)| tail).to_owned();
    parts.truncate(1 + files / 2);
    let mut text = parts.join("<Contents>");
    if files / 2 < files && !text.ends_with(&tail) {
        text.push_str(&tail);
    }
    let start = text.find("<NextContinuationToken>");
    let end = text.find("</NextContinuationToken>");
    if let (Some(start), Some(end)) = (start, end) {
        text.replace_range(start..end + "</NextContinuationToken>".len(), "");
    }
    text.replace("<IsTruncated>true", "<IsTruncated>false")
}

/// S3 takes a signature whose time is within a quarter of an hour of its own.
fn is_skewed(headers: &HeaderMap, ahead: i64) -> Option<Response> {
    let now = Timestamp::now() + SignedDuration::from_secs(ahead);
    let signed = headers.get("x-amz-date")?.to_str().ok()?;
    let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", signed).ok()?;
    let signed = jiff::tz::TimeZone::UTC.to_timestamp(signed).ok()?;
    if now.duration_since(signed).abs() < SignedDuration::from_mins(15) {
        return None;
    }
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()?;
    let mut refusal = error(StatusCode::FORBIDDEN, "RequestTimeTooSkewed");
    refusal.headers_mut().insert(header::DATE, date.parse().ok()?);
    Some(refusal)
}

fn error(status: StatusCode, code: &str) -> Response {
    let document =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>");
    (status, [(header::CONTENT_TYPE, "application/xml")], document).into_response()
}
