//! Amazon SQS by its JSON protocol.
//!
//! Facts: docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference (`ReceiveMessage`, `DeleteMessageBatch`,
//! `ChangeMessageVisibilityBatch`: ten at a time, twelve hours at most), .../SQSDeveloperGuide/sqs-making-api-requests-json.html.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Request, header};
use bytes::Bytes;
use heartbeat_core::acon::StorageOptions;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::error::{Fault, StoreError};
use super::super::http::{Answer, Wire, check_url};
use super::super::options::Set;
use super::super::s3::{AwsCredentials, region};
use super::{BATCH, Message, Received};
use crate::secrets::Secrets;

/// A receipt that no message has: deleting it shows whether deleting is allowed.
const NO_RECEIPT: &str = "heartbeat-asks-whether-it-may";

/// A message that was received so often goes to the dead letters although nothing is wrong with it: it is received anew
/// whenever a process starts.
const FEW_RECEIVES: u64 = 100;

/// What is kept for less may be gone before a daemon that was down over a weekend looks again.
const SHORT_RETENTION: u64 = 4 * 24 * 3600;

/// Clocks that differ by more make signatures that are not believed.
const MOST_SKEW: i64 = 4 * 60;

/// A queue.
pub(crate) struct Sqs {
    /// As it is configured: the queue's name for its service.
    url: String,
    endpoint: url::Url,
    region: String,
    credentials: AwsCredentials,
    wire: Wire,
    /// Seconds that the service's clock is ahead of ours, as far as it has mattered.
    skew: AtomicI64,
}

impl fmt::Debug for Sqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqs").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Sqs {
    pub(super) async fn open(
        url: &str,
        options: &StorageOptions,
        secrets: &Arc<Secrets>,
    ) -> Result<Self, StoreError> {
        let opened = async {
            let set = Set::read(options, secrets).await?;
            let allows_http = set.flag("aws_allow_http")?.unwrap_or(false);
            let queue = check_url("queue_url", url, allows_http)?;
            let endpoint = set.value("aws_sqs_endpoint", &["AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL"]);
            let endpoint = match endpoint {
                Some(text) => check_url("aws_sqs_endpoint", &text, allows_http)?,
                None => root(&queue),
            };
            let wire = Wire::new(endpoint.as_str())?;
            Ok(Self {
                url: url.to_owned(),
                region: region_of(&queue).unwrap_or_else(|| region(&set)),
                endpoint,
                credentials: AwsCredentials::new(&set)?,
                wire,
                skew: AtomicI64::new(0),
            })
        };
        opened.await.map_err(|fault: Fault| fault.of(format!("queue `{url}`")))
    }

    pub(super) async fn receive(
        &self,
        wait: Duration,
        hidden: Duration,
        deadline: Instant,
    ) -> Result<Received, StoreError> {
        let answer = self
            .ask(
                "ReceiveMessage",
                json!({
                    "QueueUrl": self.url,
                    "MaxNumberOfMessages": BATCH,
                    "WaitTimeSeconds": wait.as_secs(),
                    "VisibilityTimeout": hidden.as_secs(),
                }),
                deadline,
            )
            .await?;
        let document: Messages = self.read(&answer)?;
        let messages = document.messages.unwrap_or_default();
        let messages = messages.into_iter().map(|it| Message {
            id: it.message_id,
            receipt: it.receipt_handle,
            body: it.body,
        });
        Ok(Received { messages: messages.collect(), now: answer.now() })
    }

    pub(super) async fn delete(&self, receipts: &[&str], deadline: Instant) -> Result<(), StoreError> {
        self.batch("DeleteMessageBatch", receipts, None, deadline).await.map(drop)
    }

    pub(super) async fn hide(
        &self,
        receipts: &[&str],
        hidden: Duration,
        deadline: Instant,
    ) -> Result<Vec<bool>, StoreError> {
        self.batch("ChangeMessageVisibilityBatch", receipts, Some(hidden), deadline).await
    }

    /// Tries the calls that looks make, without an effect: what is received is not hidden, and what is deleted or hidden
    /// is not there.
    pub(super) async fn probe(&self, deadline: Instant) -> Result<Vec<String>, StoreError> {
        let receive = json!({
            "QueueUrl": self.url, "MaxNumberOfMessages": 1, "WaitTimeSeconds": 0, "VisibilityTimeout": 0,
        });
        self.ask("ReceiveMessage", receive, deadline).await?;
        self.delete(&[NO_RECEIPT], deadline).await?;
        self.hide(&[NO_RECEIPT], Duration::from_secs(1), deadline).await?;
        let asked = json!({
            "QueueUrl": self.url, "AttributeNames": ["RedrivePolicy", "MessageRetentionPeriod"],
        });
        match self.ask("GetQueueAttributes", asked, deadline).await {
            Ok(answer) => Ok(remarks(&self.read::<Attributes>(&answer)?.attributes.unwrap_or_default())),
            // Looks do without.
            Err(StoreError { fault: Fault::Forbidden { .. }, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// A call about several messages; tells for each whether it was done.
    async fn batch(
        &self,
        call: &'static str,
        receipts: &[&str],
        hidden: Option<Duration>,
        deadline: Instant,
    ) -> Result<Vec<bool>, StoreError> {
        let entry = |(index, receipt): (usize, &&str)| match hidden {
            None => json!({"Id": index.to_string(), "ReceiptHandle": receipt}),
            Some(hidden) => json!({
                "Id": index.to_string(), "ReceiptHandle": receipt, "VisibilityTimeout": hidden.as_secs(),
            }),
        };
        let entries: Vec<Value> = receipts.iter().enumerate().map(entry).collect();
        let answer = self.ask(call, json!({"QueueUrl": self.url, "Entries": entries}), deadline).await?;
        let document: Batch = self.read(&answer)?;
        let mut done = vec![false; receipts.len()];
        for Entry { id } in document.successful.unwrap_or_default() {
            if let Some(done) = id.parse().ok().and_then(|index: usize| done.get_mut(index)) {
                *done = true;
            }
        }
        Ok(done)
    }

    /// One call, signed. Credentials that have expired are looked for again, and a clock that goes wrong is set right,
    /// each once.
    async fn ask(&self, call: &'static str, body: Value, deadline: Instant) -> Result<Answer, StoreError> {
        let what = self.what();
        let body = Bytes::from(body.to_string());
        let mut amended = (false, false);
        loop {
            let skew = self.skew.load(Ordering::Relaxed);
            let answer = self
                .wire
                .send(&what, deadline, || {
                    let request = Request::post(self.endpoint.as_str())
                        .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
                        .header("x-amz-target", format!("AmazonSQS.{call}"))
                        .body(body.clone());
                    Box::pin(async move {
                        let request = request.map_err(|error| Fault::Misconfigured(error.to_string()))?;
                        self.credentials.sign(request, "sqs", &self.region, skew).await
                    })
                })
                .await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            let refusal = Refusal::of(&answer);
            let ahead = answer.now().map_or(0, |now| now.as_second() - Timestamp::now().as_second());
            match refusal.code.as_str() {
                "ExpiredToken" | "ExpiredTokenException" if !amended.0 => {
                    amended.0 = true;
                    self.credentials.forget().await;
                }
                "SignatureDoesNotMatch" | "InvalidSignatureException" | "RequestExpired"
                    if !amended.1 && (ahead - skew).abs() > MOST_SKEW =>
                {
                    amended.1 = true;
                    tracing::warn!(
                        what,
                        ahead,
                        "this machine's clock differs from the queue's; its time is used"
                    );
                    self.skew.store(ahead, Ordering::Relaxed);
                }
                _ => return Err(refusal.fault(call, answer.status.as_u16()).of(what)),
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, StoreError> {
        serde_json::from_slice(&answer.body)
            .map_err(|error| Fault::Nonsense(error.to_string()).of(self.what()))
    }

    fn what(&self) -> String {
        format!("queue `{}`", self.url)
    }
}

#[derive(Deserialize)]
struct Messages {
    #[serde(rename = "Messages")]
    messages: Option<Vec<WireMessage>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireMessage {
    message_id: String,
    receipt_handle: String,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Successful")]
    successful: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(rename = "Attributes")]
    attributes: Option<QueueAttributes>,
}

/// Numbers are texts here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueAttributes {
    redrive_policy: Option<String>,
    message_retention_period: Option<String>,
}

/// What people should know of how a queue is set up.
pub(super) fn remarks(attributes: &QueueAttributes) -> Vec<String> {
    let mut remarks = Vec::new();
    let policy =
        attributes.redrive_policy.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let most = policy.as_ref().and_then(|policy| {
        let most = &policy["maxReceiveCount"];
        most.as_u64().or_else(|| most.as_str()?.parse().ok())
    });
    if let Some(most) = most.filter(|most| *most < FEW_RECEIVES) {
        remarks.push(format!(
            "the queue gives up messages after {most} receives; messages wait in it while their jobs run, so set \
             maxReceiveCount to {FEW_RECEIVES} or more"
        ));
    }
    let kept: Option<u64> = attributes.message_retention_period.as_deref().and_then(|text| text.parse().ok());
    if let Some(kept) = kept.filter(|kept| *kept < SHORT_RETENTION) {
        remarks.push(format!(
            "the queue keeps messages for {kept} s only; what nobody reads for so long is found by listings alone. Set \
             MessageRetentionPeriod to 1209600"
        ));
    }
    remarks
}

/// Why a call was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    message: String,
}

#[derive(Default, Deserialize)]
struct RefusalDocument {
    #[serde(default, rename = "__type")]
    code: String,
    // Both spellings may come at once.
    message: Option<String>,
    #[serde(rename = "Message")]
    capital_message: Option<String>,
}

impl Refusal {
    fn of(answer: &Answer) -> Self {
        Self::read(&answer.body, answer.status.to_string())
    }

    pub(super) fn read(body: &[u8], otherwise: String) -> Self {
        let document: RefusalDocument = serde_json::from_slice(body).unwrap_or_default();
        let code = document.code.rsplit('#').next().unwrap_or_default().to_owned();
        let message = document.message.or(document.capital_message);
        Self { code, message: message.unwrap_or(otherwise) }
    }

    pub(super) fn fault(self, call: &str, status: u16) -> Fault {
        let line = self.message.lines().next().unwrap_or_default();
        let told = if self.code.is_empty() { line.to_owned() } else { format!("{}: {line}", self.code) };
        match (status, self.code.as_str()) {
            (_, "QueueDoesNotExist" | "NonExistentQueue" | "AWS.SimpleQueueService.NonExistentQueue") => {
                Fault::Missing
            }
            (_, "InvalidAddress") => {
                Fault::Misconfigured(format!("`queue_url` is of another region or service ({told})"))
            }
            (
                _,
                "InvalidClientTokenId"
                | "UnrecognizedClientException"
                | "InvalidSignatureException"
                | "SignatureDoesNotMatch"
                | "IncompleteSignature"
                | "IncompleteSignatureException"
                | "MissingAuthenticationToken"
                | "MissingAuthenticationTokenException"
                | "ExpiredToken"
                | "ExpiredTokenException"
                | "RequestExpired"
                | "InvalidSecurity",
            ) => Fault::Credentials(told),
            (_, "KmsAccessDenied") => {
                Fault::Forbidden { need: "kms:Decrypt on the queue's key".to_owned(), told }
            }
            // The right to do a batch is the right to do one.
            (401 | 403, _) | (_, "AccessDenied" | "AccessDeniedException" | "AuthorizationError") => {
                Fault::Forbidden {
                    need: format!("sqs:{} on the queue", call.trim_end_matches("Batch")),
                    told,
                }
            }
            (404, _) => Fault::Missing,
            (_, "RequestThrottled" | "ThrottlingException" | "Throttling" | "OverLimit" | "KmsThrottled") => {
                Fault::Unreachable { told, cause: None }
            }
            _ => Fault::Nonsense(told),
        }
    }
}

/// The service that a queue's URL names.
fn root(queue: &url::Url) -> url::Url {
    let mut root = queue.clone();
    root.set_path("/");
    root.set_query(None);
    root.set_fragment(None);
    root
}

/// Region of a queue, where its host names one: `sqs.REGION.amazonaws.com`, `REGION.queue.amazonaws.com`, an endpoint in a
/// network of one's own.
pub(super) fn region_of(queue: &url::Url) -> Option<String> {
    let host = queue.host_str()?;
    let labels: Vec<&str> = host.split('.').collect();
    if let Some(at) = labels.iter().position(|label| matches!(*label, "sqs" | "sqs-fips")) {
        return labels.get(at + 1).filter(|_| labels.len() > at + 2).map(|region| (*region).to_owned());
    }
    match labels.as_slice() {
        [region, "queue", "amazonaws", ..] => Some((*region).to_owned()),
        ["queue", "amazonaws", ..] => Some("us-east-1".to_owned()),
        _ => None,
    }
}
