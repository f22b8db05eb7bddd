//! A bucket that tells a queue of new objects: moto is both, and sends what S3 sends.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::stores::Servers;
use crate::support::wait::until;
use crate::support::yard::{CONTROL, SENSOR, Settings, Yard, told};

/// What the proxy before the servers refuses, and has let pass.
#[derive(Debug, Default)]
struct Rules {
    moto: String,
    /// `ListObjectsV2`, or calls of SQS.
    refused: Vec<&'static str>,
    calls: BTreeMap<String, usize>,
}

/// A bucket that tells a queue, behind a proxy that can take rights away.
struct Bucket {
    moto: String,
    name: String,
    rules: Arc<Mutex<Rules>>,
    proxy: String,
    http: reqwest::Client,
}

const ALL: &str =
    "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0";

impl Bucket {
    async fn new() -> Option<Self> {
        let moto = Servers::real()?.get("MOTO").to_owned();
        let name = format!("hb-{}", uuid::Uuid::new_v4().simple());
        let rules = Arc::new(Mutex::new(Rules { moto: moto.clone(), ..Rules::default() }));
        let app = Router::new().fallback(pass).with_state(Arc::clone(&rules));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let bucket = Self { moto, name, rules, proxy, http: reqwest::Client::new() };
        bucket.put("", "").await;
        bucket.sqs("CreateQueue", json!({"QueueName": bucket.name})).await;
        let configuration = format!(
            "<NotificationConfiguration><QueueConfiguration><Id>heartbeat</Id>\
             <Queue>arn:aws:sqs:us-east-1:123456789012:{}</Queue><Event>s3:ObjectCreated:*</Event>\
             </QueueConfiguration></NotificationConfiguration>",
            bucket.name
        );
        bucket.put("?notification", &configuration).await;
        Some(bucket)
    }

    async fn put(&self, path: &str, body: &str) {
        let slash = if path.is_empty() || path.starts_with('?') { "" } else { "/" };
        let url = format!("{}/{}{slash}{path}", self.moto, self.name);
        let answer = self.http.put(url).body(body.to_owned()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn file(&self, path: &str) {
        self.put(&format!("triggers/{path}"), "Success").await;
    }

    async fn sqs(&self, call: &str, body: Value) -> Value {
        let request = self.http.post(&self.moto).header("authorization", ALL);
        let request = request.header("content-type", "application/x-amz-json-1.0");
        let answer = request.header("x-amz-target", format!("AmazonSQS.{call}")).body(body.to_string());
        let answer = answer.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{call}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn queue_url(&self) -> String {
        format!("{}/123456789012/{}", self.moto, self.name)
    }

    /// Somebody sends what S3 sends.
    async fn tell(&self, bucket: &str, key: &str) {
        let event = json!({"Records": [{
            "eventName": "ObjectCreated:Put", "eventTime": "2026-01-01T00:00:00.000Z",
            "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 7, "sequencer": "0A"}},
        }]});
        let body = json!({"QueueUrl": self.queue_url(), "MessageBody": event.to_string()});
        self.sqs("SendMessage", body).await;
    }

    /// Waits until the queue holds so many messages, hidden ones too.
    async fn holds(&self, count: usize, daemon: &Daemon) {
        until(&format!("{count} messages in the queue"), async || {
            let asked = json!({"QueueUrl": self.queue_url(), "AttributeNames": ["All"]});
            let attributes = &self.sqs("GetQueueAttributes", asked).await["Attributes"];
            let number = |name: &str| attributes[name].as_str().unwrap().parse::<usize>().unwrap();
            let held =
                number("ApproximateNumberOfMessages") + number("ApproximateNumberOfMessagesNotVisible");
            if held == count { Ok(()) } else { Err((held, daemon.log().text())) }
        })
        .await;
    }

    fn refuse(&self, calls: &[&'static str]) {
        self.rules.lock().unwrap().refused = calls.to_vec();
    }

    fn calls(&self, call: &str) -> usize {
        self.rules.lock().unwrap().calls.get(call).copied().unwrap_or_default()
    }

    fn configure(&self, yard: &Yard) {
        let settings = Settings { acons: vec!["files"], ..Settings::default() };
        yard.configure(&settings);
        yard.write(
            "files.yaml",
            &format!(
                "sensor_source: trigger_file\ndata_format: cloudfiles\nheartbeat_sensor_db_table: {CONTROL}\n\
                 lakehouse_engine_sensor_db_table: {SENSOR}\ndomain: {}\ntoken: secret\npass_news: true\n\
                 base_trigger_file_location: s3://{}/triggers\n\
                 trigger_file_options: {{queue_url: \"{}\"}}\nstorage_options:\n  aws_access_key_id: key\n  \
                 aws_secret_access_key: never-shown\n  aws_region: us-east-1\n  aws_endpoint: {proxy}\n  \
                 aws_sqs_endpoint: {proxy}\n",
                yard.workspace.url(),
                self.name,
                self.queue_url(),
                proxy = self.proxy,
            ),
        );
    }
}

/// Hands a request on, unless it is refused.
async fn pass(State(rules): State<Arc<Mutex<Rules>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let call = match parts.headers.get("x-amz-target") {
        Some(target) => target.to_str().unwrap().trim_start_matches("AmazonSQS.").to_owned(),
        None if query.contains("list-type=2") => "ListObjectsV2".to_owned(),
        None => parts.method.to_string(),
    };
    let (url, is_refused) = {
        let mut rules = rules.lock().unwrap();
        *rules.calls.entry(call.clone()).or_default() += 1;
        (format!("{}{}", rules.moto, parts.uri), rules.refused.contains(&call.as_str()))
    };
    if is_refused && call == "ListObjectsV2" {
        let refusal = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        return Response::builder().status(403).body(Body::from(refusal)).unwrap();
    }
    if is_refused {
        let refusal =
            r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized"}"#;
        return Response::builder().status(400).body(Body::from(refusal)).unwrap();
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let sent = reqwest::Client::new().request(parts.method, url).headers(headers).body(body).send().await;
    let answer = sent.unwrap();
    let mut response = Response::builder().status(answer.status());
    for name in ["content-type", "date", "etag"] {
        if let Some(value) = answer.headers().get(name) {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// Exit code and output of `validate --connect`.
async fn validated(yard: &Yard) -> (i32, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_heartbeat"));
    command.args(["validate", "--connect", "--acon", "files.yaml"]).current_dir(yard.path());
    let output = command.env("HEARTBEAT_WAREHOUSE", "warehouse").stdin(Stdio::null()).output().await.unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(!text.contains("never-shown"), "{text}");
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_found_through_the_queue_and_duplicates_start_nothing() {
    let Some(bucket) = Bucket::new().await else { return };
    let yard = Yard::new("jobs: {31: {}, 32: {duration: 3s}}").await;
    bucket.configure(&yard);
    yard.feed("folder s 31 TRUE\nfolder s 32 TRUE").await;
    bucket.file("s/old.txt").await;
    let daemon = yard.daemon().await;
    // What was there before the first look is found by its listing; the queue has it too, and S3's trial.
    yard.runs_end(31, 1, &daemon).await;
    yard.runs_end(32, 1, &daemon).await;
    yard.status(32, "COMPLETED", &daemon).await;
    bucket.holds(0, &daemon).await;

    let listings = bucket.calls("ListObjectsV2");
    bucket.file("s/2026/new%20one%2B.txt").await;
    yard.runs_end(31, 2, &daemon).await;
    yard.status(31, "COMPLETED", &daemon).await;
    assert_eq!(told(&yard.runs(31)[1]), [("s".to_owned(), vec!["2026/new one+.txt".to_owned()])].into());
    // The job of the other row may still run; this file waits for it in the queue.
    bucket.file("s/third.txt").await;
    yard.runs_end(31, 3, &daemon).await;
    until("both files at job 32", async || {
        let runs = yard.runs(32);
        let files: Vec<String> =
            runs.iter().skip(1).flat_map(|run| told(run).into_values().flatten()).collect();
        if files.len() == 2 { Ok(()) } else { Err((runs, daemon.log().text())) }
    })
    .await;
    bucket.holds(0, &daemon).await;
    yard.status(32, "COMPLETED", &daemon).await;

    let runs = (yard.runs(31).len(), yard.runs(32).len());
    for key in ["triggers/s/third.txt", "triggers/s/third.txt", "triggers%2Fs%2F2026%2Fnew+one%2B.txt"] {
        bucket.tell(&bucket.name, key).await;
    }
    bucket.tell(&bucket.name, "triggers/s/_SUCCESS").await;
    // Another's is left alone.
    bucket.tell("other", "triggers/s/x.txt").await;
    bucket.holds(1, &daemon).await;
    daemon.logs("messages of other buckets", 1).await;
    assert_eq!((yard.runs(31).len(), yard.runs(32).len()), runs);
    assert_eq!(bucket.calls("ListObjectsV2"), listings, "nothing was listed since the first look");
    let log = daemon.log().text();
    assert_eq!(log.matches("messages of other buckets").count(), 1, "{log}");
    assert!(!log.contains("never-shown"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_list_lives_by_messages_also_after_a_kill() {
    let Some(bucket) = Bucket::new().await else { return };
    let yard = Yard::new("jobs: {33: {}}").await;
    bucket.configure(&yard);
    yard.feed("folder s 33 TRUE").await;
    bucket.refuse(&["ListObjectsV2"]);
    let (code, text) = validated(&yard).await;
    assert!(code == 0 && text.contains("may not be listed (s3:ListBucket"), "{text}");
    let daemon = yard.daemon().await;
    daemon.ready().await;
    daemon.logs("live by messages alone", 1).await;
    for round in 1..=3 {
        bucket.file(&format!("s/{round}.txt")).await;
        yard.runs_end(33, round, &daemon).await;
    }
    bucket.holds(0, &daemon).await;
    daemon.kill().await;
    bucket.file("s/4.txt").await;
    let daemon = yard.daemon().await;
    yard.runs_end(33, 4, &daemon).await;
    bucket.holds(0, &daemon).await;
    let paths: Vec<_> = yard.runs(33).iter().flat_map(|run| told(run).into_values().flatten()).collect();
    assert_eq!(paths, ["1.txt", "2.txt", "3.txt", "4.txt"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named_and_listings_take_over_meanwhile() {
    let Some(bucket) = Bucket::new().await else { return };
    let yard = Yard::new("jobs: {34: {}}").await;
    bucket.configure(&yard);
    yard.feed("folder s 34 TRUE").await;
    let (code, text) = validated(&yard).await;
    assert_eq!(code, 0, "{text}");
    for (call, need) in [
        ("ReceiveMessage", "sqs:ReceiveMessage on the queue"),
        ("DeleteMessageBatch", "sqs:DeleteMessage on the queue"),
        ("ChangeMessageVisibilityBatch", "sqs:ChangeMessageVisibility on the queue"),
    ] {
        bucket.refuse(&[call]);
        let (code, text) = validated(&yard).await;
        assert!(
            code != 0 && text.contains(need) && text.contains("trigger_file_options.queue_url"),
            "{text}"
        );
    }
    bucket.refuse(&["GetQueueAttributes"]);
    assert_eq!(validated(&yard).await.0, 0, "it is not needed");

    bucket.refuse(&["ReceiveMessage"]);
    let daemon = yard.daemon().await;
    daemon.ready().await;
    bucket.file("s/1.txt").await;
    yard.runs_end(34, 1, &daemon).await;
    daemon.logs("the queue cannot be read", 1).await;
    bucket.refuse(&[]);
    bucket.holds(0, &daemon).await;
    assert_eq!(yard.runs(34).len(), 1);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_look_once_find_a_file_once() {
    let Some(bucket) = Bucket::new().await else { return };
    let yard = Yard::new("jobs: {35: {}}").await;
    bucket.configure(&yard);
    yard.feed("folder s 35 TRUE").await;
    bucket.refuse(&["ListObjectsV2"]);
    let check = ["check", "--acon", "files.yaml"];
    assert!(yard.run(&check).await.contains("0 with news"));
    bucket.file("s/1.txt").await;
    assert!(yard.run(&check).await.contains("1 with news"));
    yard.run(&["trigger", "--acon", "files.yaml"]).await;
    bucket.tell(&bucket.name, "triggers/s/1.txt").await;
    yard.run(&["complete", "--job-id", "35", "--control-table", CONTROL, "--sensor-table", SENSOR]).await;
    assert!(yard.run(&check).await.contains("0 with news"));
    assert_eq!(yard.runs(35).len(), 1);
}
