//! An S3 whose listings are made up: as many files as one likes under one prefix, each request and byte counted.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use heartbeat::stores::TrafficCount;

/// Name of a file of the folder `t`; names ascend.
pub(crate) fn name(number: u64) -> String {
    let (day, second) = (number / 86_400, number % 86_400);
    let (year, month, day) = (2024 + day / 336, 1 + day / 28 % 12, 1 + day % 28);
    format!("t_{year}{month:02}{day:02}_{:02}{:02}{:02}.txt", second / 3600, second / 60 % 60, second % 60)
}

/// The server.
pub(crate) struct SeriesServer {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    files: AtomicU64,
    requests: AtomicU64,
    sent: AtomicU64,
}

impl SeriesServer {
    /// With so many files.
    pub(crate) async fn start(count: u64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            files: AtomicU64::new(count),
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let router = Router::new().fallback(list).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// One file more.
    pub(crate) fn add(&self) {
        self.shared.files.fetch_add(1, Ordering::SeqCst);
    }

    /// Requests answered and bytes sent so far.
    pub(crate) fn count(&self) -> TrafficCount {
        TrafficCount {
            requests: self.shared.requests.load(Ordering::SeqCst),
            received: self.shared.sent.load(Ordering::SeqCst),
        }
    }
}

async fn list(State(shared): State<Arc<Shared>>, Query(query): Query<HashMap<String, String>>) -> String {
    let count = shared.files.load(Ordering::SeqCst);
    let prefix = query["prefix"].as_str();
    let limit: u64 = query["max-keys"].parse().unwrap();
    let after = query.get("continuation-token").or(query.get("start-after")).map_or("", String::as_str);
    let key = |number: u64| format!("base/t/{}", name(number));
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = u64::midpoint(low, high);
        if key(middle).as_str() <= after { low = middle + 1 } else { high = middle }
    }
    let end = (low + limit).min(count);
    let mut page = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
    for number in low..end {
        let key = key(number);
        if !key.starts_with(prefix) {
            continue;
        }
        write!(
            page,
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
        .unwrap();
    }
    if end < count {
        write!(page, "<NextContinuationToken>{}</NextContinuationToken>", key(end - 1)).unwrap();
    }
    write!(page, "<IsTruncated>{}</IsTruncated></ListBucketResult>", end < count).unwrap();
    shared.requests.fetch_add(1, Ordering::SeqCst);
    shared.sent.fetch_add(page.len() as u64, Ordering::SeqCst);
    page
}
