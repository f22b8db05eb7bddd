//! One call with all its tries: waits for a slot, sends, asks `retry` what a failure means.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::time::Instant;

use super::Domain;
use super::answer::Answer;
use super::credentials::Signer;
use super::error::Trouble;
use super::limit::Limiter;
use super::retry::{Class, Seen, Verdict, classify, next_wait, retry_after};
use super::{Answered, ClientError, Settings};

/// Most bytes read of an answer. A page of 25 runs with all their tasks is far below.
const BODY_LIMIT: usize = 16 << 20;

/// Makes the HTTP client: no redirects, so that a POST doesn't become a GET elsewhere and no secret follows one.
pub(super) fn http_client(domain: &Domain, settings: &Settings) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(settings.connect_limit);
    if domain.is_loopback() {
        builder = builder.no_proxy();
        if domain.as_str().starts_with("http://") {
            // Spares a machine without any CA certificates, and the time to load them.
            builder = builder.tls_certs_only([]);
        }
    }
    builder.build().map_err(ClientError::Http)
}

/// How a call ended that brought no usable answer.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) tries: u32,
    /// Whether any try, not only the last, may have been acted upon.
    pub(super) in_doubt: bool,
    pub(super) class: Class,
    pub(super) retry_after: Option<Duration>,
    pub(super) trouble: Trouble,
}

/// A call: what to send, how to read a 2xx, and its bounds.
pub(super) struct Call<'a, T> {
    pub(super) name: &'static str,
    /// For logs: the job or run.
    pub(super) about: &'a str,
    pub(super) limiter: &'a Limiter,
    /// For all tries together, from the first one's slot on.
    pub(super) limit: Duration,
    pub(super) request: &'a (dyn Fn() -> RequestBuilder + Sync),
    /// `None`: not the answer hoped for.
    pub(super) read: &'a (dyn Fn(&[u8]) -> Option<T> + Sync),
}

/// Makes the call until it is answered, refused, or out of time.
///
/// A 401 with a token that can be renewed is answered with a new one, once.
pub(super) async fn exchange<T>(call: Call<'_, T>, settings: &Settings, signer: &Signer) -> Result<T, Ended> {
    let unsigned = |tries, in_doubt, error| Ended {
        tries,
        in_doubt,
        class: Class::NeverSent,
        retry_after: None,
        trouble: Trouble::NoCredential(error),
    };
    let mut signature = signer.sign().await.map_err(|error| unsigned(0, false, error))?;
    call.limiter.slot().await;
    let deadline = Instant::now() + call.limit;
    let (mut in_doubt, mut renewed) = (false, false);
    for tries in 1.. {
        let left = deadline.saturating_duration_since(Instant::now());
        let request = (call.request)().headers(signature.headers.clone());
        let request = request.timeout(settings.try_limit.min(left));
        let Attempt { trouble, retry_after: asked_wait, .. } =
            match attempt(request, signature.secret(), call.read).await {
                Ok(answer) => {
                    observe(settings, call.name, Answered::Ok);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
        let Verdict { class, retry } = classify(match &trouble {
            Trouble::NoConnection(_) | Trouble::NoCredential(_) => Seen::NoConnection,
            Trouble::NoAnswer(_) => Seen::NoAnswer,
            Trouble::Answer(answer) => Seen::Answer(answer),
        });
        observe(settings, call.name, answered(class));
        in_doubt |= class == Class::Ambiguous;
        let ended = Ended { tries, in_doubt, class, retry_after: asked_wait, trouble };
        if !renewed && ended.trouble.answer().is_some_and(|answer| answer.status == 401) {
            renewed = true;
            if let Some(other) = signer.renew(&signature).await
                && call.limiter.slot_before(deadline).await
            {
                signature = other;
                continue;
            }
        }
        if !retry {
            return Err(ended);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(wait) = next_wait(&settings.backoff, tries, asked_wait, left, random_unit()) else {
            return Err(ended);
        };
        tracing::warn!(
            call = call.name,
            about = call.about,
            tries,
            ?class,
            wait_ms = wait.as_millis() as u64,
            error = %ended.trouble.answer().map_or_else(|| ended.trouble.to_string(), ToString::to_string),
            "jobs api call failed, will be tried again"
        );
        tokio::time::sleep(wait).await;
        signature = signer.sign().await.map_err(|error| unsigned(tries, in_doubt, error))?;
        if !call.limiter.slot_before(deadline).await {
            return Err(ended);
        }
    }
    unreachable!("the loop ends by the deadline")
}

fn observe(settings: &Settings, call: &'static str, answered: Answered) {
    if let Some(observer) = &settings.observer {
        observer.called(call, answered);
    }
}

fn answered(class: Class) -> Answered {
    match class {
        Class::Refused => Answered::Refused,
        Class::Throttled => Answered::Throttled,
        _ => Answered::No,
    }
}

/// What became of one try that brought no usable answer.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) trouble: Trouble,
    /// How long the server asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Where it redirects to.
    pub(super) location: Option<String>,
}

/// One try. `secret` is blotted out should the other side echo it.
pub(super) async fn attempt<T>(
    request: RequestBuilder,
    secret: &str,
    read: &(dyn Fn(&[u8]) -> Option<T> + Sync),
) -> Result<T, Attempt> {
    let failed = |trouble, retry_after| Err(Attempt { trouble, retry_after, location: None });
    let mut response = match request.send().await {
        Ok(response) => response,
        // A timeout while connecting can't be told from one while waiting unless the connector says so.
        Err(error) if error.is_connect() || error.is_builder() => {
            return failed(Trouble::NoConnection(error.without_url()), None);
        }
        Err(error) => return failed(Trouble::NoAnswer(error.without_url()), None),
    };
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let location = header(LOCATION).map(str::to_owned);
    let wait = header(RETRY_AFTER).and_then(|text| retry_after(text, Timestamp::now()));
    let body = match body(&mut response, status).await {
        Ok(body) => body,
        Err(error) => return failed(Trouble::NoAnswer(error.without_url()), wait),
    };
    if status.is_success()
        && let Some(answer) = read(&body)
    {
        return Ok(answer);
    }
    let answer = Answer::read(status, location.as_deref(), &body, secret);
    let location = location.filter(|_| status.is_redirection());
    Err(Attempt { trouble: Trouble::Answer(answer), retry_after: wait, location })
}

/// The body up to a bound. One that breaks off is an error only where it would have been the answer: an error's
/// status says enough.
async fn body(response: &mut Response, status: StatusCode) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_LIMIT => body.extend_from_slice(&chunk),
            Err(error) if status.is_success() => return Err(error),
            Ok(_) | Err(_) => return Ok(body),
        }
    }
}

/// A random number in 0..1, from the random source that we link anyway.
pub(super) fn random_unit() -> f64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    (low & 0xffff_ffff) as f64 / f64::from(u32::MAX)
}
