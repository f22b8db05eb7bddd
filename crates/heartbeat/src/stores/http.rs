//! One HTTP exchange with a store: repeated while it is busy, counted, and never beyond the deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::error::{Fault, StoreError};
use super::{Created, LONGEST_BODY};
use crate::error_chain::chain;

/// Most tries of one request.
const TRIES: u32 = 6;

/// Wait before the second try; it doubles from then on. A busy store is asked less often, not more.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait between tries.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One try may take this long: an answer that does not come is asked for again.
const ONE_TRY: Duration = Duration::from_secs(20);

/// Largest answer that is read. A page of a thousand keys of a thousand bytes has two megabytes.
const LARGEST: usize = 32 << 20;

/// Counts what goes over the wire.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    received: AtomicU64,
}

/// What went over the wire so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCount {
    /// Requests sent, repeated ones too.
    pub requests: u64,
    /// Bytes of bodies received.
    pub received: u64,
}

impl TrafficCount {
    /// What came since an earlier count; all of it where the count began anew in between.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        if self.requests < earlier.requests || self.received < earlier.received {
            return self;
        }
        Self { requests: self.requests - earlier.requests, received: self.received - earlier.received }
    }
}

impl Traffic {
    /// So far.
    pub fn count(&self) -> TrafficCount {
        TrafficCount {
            requests: self.requests.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

/// A client of one store.
#[derive(Debug)]
pub(super) struct Wire {
    client: reqwest::Client,
    traffic: Traffic,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// True when an earlier try may have had an effect although no answer came.
    pub(super) repeated_blindly: bool,
}

#[cfg(test)]
impl Answer {
    /// One that nobody gave.
    pub(super) fn of(status: u16, headers: &[(&'static str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            repeated_blindly: false,
        }
    }
}

impl Answer {
    /// What time it is for the store.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let date = self.headers.get(header::DATE)?.to_str().ok()?;
        Some(rfc2822::parse(date).ok()?.timestamp())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// As much of a file as is read: a store may send all of it whatever range it was asked for.
    pub(super) fn beginning(&self) -> Bytes {
        self.body.slice(..self.body.len().min(LONGEST_BODY))
    }
}

impl Wire {
    /// A client of the store at this URL. What is on this machine is not asked through a proxy.
    pub(super) fn new(endpoint: &str) -> Result<Self, Fault> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("heartbeat/", env!("CARGO_PKG_VERSION")));
        if url::Url::parse(endpoint).is_ok_and(|url| is_here(&url)) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| Fault::Misconfigured(chain(&error)))?;
        Ok(Self { client, traffic: Traffic::default() })
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        self.traffic.count()
    }

    /// Sends what `make` makes, anew for each try (a signature has a time), until there is an answer that says
    /// something: not 408, 429, 500, 502, 503 or 504.
    // `Fn` and not `AsyncFn`: a future that holds one of the latter's cannot be shown to be `Send`, and whoever looks at
    // stores is spawned.
    pub(super) async fn send<Made: Future<Output = Result<Request<Bytes>, Fault>>>(
        &self,
        what: &str,
        deadline: Instant,
        make: impl Fn() -> Made,
    ) -> Result<Answer, StoreError> {
        let mut repeated_blindly = false;
        let mut wait = FIRST_WAIT;
        for tried in 1.. {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::Timeout.of(what));
            }
            let once = async { self.once(make().await?).await };
            let outcome = match tokio::time::timeout(left.min(ONE_TRY), once).await {
                Ok(outcome) => outcome,
                Err(_) if left <= ONE_TRY => return Err(Fault::Timeout.of(what)),
                Err(_) => Err(Failed::Passing {
                    told: "no answer".to_owned(),
                    cause: None,
                    blind: true,
                    after: None,
                }),
            };
            let (told, cause, after) = match outcome {
                Ok(mut answer) => {
                    answer.repeated_blindly = repeated_blindly;
                    return Ok(answer);
                }
                Err(Failed::For(fault)) => return Err(fault.of(what)),
                Err(Failed::Passing { told, cause, blind, after }) => {
                    repeated_blindly |= blind;
                    (told, cause, after)
                }
            };
            let pause = after.unwrap_or_else(|| wait.mul_f64(0.5 + fastrand::f64())).min(LONGEST_WAIT);
            wait = (wait * 2).min(LONGEST_WAIT);
            if tried >= TRIES || Instant::now() + pause >= deadline {
                return Err(Fault::Unreachable { told, cause }.of(what));
            }
            tracing::debug!(what, told, tried, "asked again");
            tokio::time::sleep(pause).await;
        }
        unreachable!("the loop above returns")
    }

    async fn once(&self, request: Request<Bytes>) -> Result<Answer, Failed> {
        let path = request.uri().path().to_owned();
        let request = reqwest::Request::try_from(request)
            .map_err(|error| Failed::For(Fault::Misconfigured(chain(&error.without_url()))))?;
        if request.url().path() != path {
            // Another file than the one that is meant would be read, or deleted.
            let problem = "a path with a part that is `.` or `..` cannot be asked for";
            return Err(Failed::For(Fault::Misconfigured(problem.to_owned())));
        }
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        let passing = |error: reqwest::Error| {
            let blind = !error.is_connect();
            let error = error.without_url();
            Failed::Passing { told: chain(&error), cause: None, blind, after: None }
        };
        let mut response = self.client.execute(request).await.map_err(passing)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(passing)? {
            self.traffic.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if body.len() + chunk.len() > LARGEST {
                return Err(Failed::For(Fault::Nonsense(format!("more than {LARGEST} bytes"))));
            }
            body.extend_from_slice(&chunk);
        }
        if is_passing(status) {
            let text = String::from_utf8_lossy(&body);
            let told = format!("{status} {}", text.chars().take(200).collect::<String>().trim());
            let after = headers.get(header::RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
            // A gateway that gives up does not know what the store did.
            let blind = status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE;
            return Err(Failed::Passing { told, cause: None, blind, after: after.map(Duration::from_secs) });
        }
        Ok(Answer { status, headers, body: body.freeze(), repeated_blindly: false })
    }
}

type Cause = Option<Box<dyn std::error::Error + Send + Sync>>;

enum Failed {
    /// Another try may get an answer.
    Passing { told: String, cause: Cause, blind: bool, after: Option<Duration> },
    /// No other try will.
    For(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::For(fault)
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whose file is there after a creation whose answer was lost: `found` is the answer to a question for its headers, and
/// ours has `id` in the one named `header`.
pub(super) fn whose(found: &Answer, header: &str, id: &str) -> Result<Created, Fault> {
    if !found.status.is_success() {
        // Gone again, or not ours to see: nobody can tell.
        return Err(Fault::InDoubt);
    }
    Ok(if found.header(header) == Some(id) { Created::Done } else { Created::Taken })
}

/// Whether a URL may be spoken to without TLS: this machine, or by an option.
pub(super) fn check_url(name: &str, text: &str, allows_http: bool) -> Result<url::Url, Fault> {
    let url = url::Url::parse(text)
        .map_err(|error| Fault::Misconfigured(format!("`{name}` is no URL: {error}")))?;
    // Errors and logs show URLs, so a login in one would be told everywhere.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::Misconfigured(format!("`{name}` holds credentials; give them as options")));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here(&url) || allows_http => Ok(url),
        "http" => Err(Fault::Misconfigured(format!(
            "`{name}` is http to another machine: credentials would go in the clear; {}",
            mending(name)
        ))),
        other => Err(Fault::Misconfigured(format!("`{name}` is no http or https URL but `{other}:`"))),
    }
}

/// What to do about http to another machine, for the option of this name.
fn mending(name: &str) -> &'static str {
    if name.starts_with("aws_") {
        "use https, or set `aws_allow_http`"
    } else if name.starts_with("azure_") {
        "use https, or set `azure_allow_http`"
    } else {
        "only https leads elsewhere"
    }
}

fn is_here(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
