//! Metrics and health over HTTP. It decides nothing: it shows what [`Metrics`] and [`Board`] hold.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | the metrics, in the OpenMetrics text format |
//! | `/healthz` | 200, or 503 while a tick is overdue; says which, and by how much |
//! | `/readyz` | 200, or 503 until every source was looked at once, and while a table cannot be read |

mod health;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::health::{Board, HealthReport, Overdue, Plan, TickKind, TickState, judge};
use crate::metrics::{CONTENT_TYPE, Metrics};

/// How long a stop waits for answers that are under way.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address} for metrics and health; `server.listen` sets another address, or `off`"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Cause.
        #[source]
        cause: io::Error,
    },
}

/// What is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Served at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Served at `/healthz` and `/readyz`.
    pub board: Arc<Board>,
}

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The paths, to be served alone or beside others.
pub fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shown)
}

impl Server {
    /// Listens and serves `routes`, on the current tokio runtime. It answers from the moment this returns.
    pub async fn start(address: SocketAddr, routes: Router) -> Result<Self, ServerError> {
        let named = |cause| ServerError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        let (stop, mut stopping) = watch::channel(false);
        let task = tokio::spawn(async move {
            let stopped = async move {
                // A sender that is gone stops it as well.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "server of metrics and health ended");
            }
        });
        tracing::info!(%address, "serving metrics and health");
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: no new connections, answers under way are sent, slow readers are cut off after two seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_LIMIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shown.metrics.encode(Instant::now())).into_response()
}

async fn healthz(State(shown): State<Shown>) -> Response {
    let report = shown.board.report(Instant::now());
    let (code, status) = status(report.is_healthy(), "ok", "overdue");
    (code, Json(json!({"status": status, "overdue": report.overdue}))).into_response()
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let report = shown.board.report(Instant::now());
    let (code, status) = status(report.is_ready(), "ready", "not ready");
    let body = json!({"status": status, "waiting": report.waiting, "unreadable": report.unreadable});
    (code, Json(body)).into_response()
}

fn status(good: bool, yes: &'static str, no: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::Value;

    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn shown() -> Shown {
        let metrics = Arc::new(Metrics::new(jiff::Timestamp::UNIX_EPOCH));
        Shown { metrics, board: Arc::new(Board::default()) }
    }

    async fn get_json(server: &Server, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("http://{}{path}", server.address())).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    #[tokio::test]
    async fn metrics_and_health_are_served() {
        let shown = shown();
        let server = Server::start(ANY, routes(shown.clone())).await.unwrap();
        let page = reqwest::get(format!("http://{}/metrics", server.address())).await.unwrap();
        assert_eq!(page.headers()["content-type"], CONTENT_TYPE);
        assert!(page.text().await.unwrap().ends_with("# EOF\n"));

        assert_eq!(get_json(&server, "/healthz").await, (200, json!({"status": "ok", "overdue": []})));
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_mins(1)).unwrap();
        let plan = Plan {
            kind: TickKind::Source,
            planned: long_ago,
            period: Duration::from_secs(1),
            deadline: Duration::from_secs(10),
        };
        shown.board.planned("kafka", plan, long_ago);
        shown.board.table("db.control", false);
        let (code, body) = get_json(&server, "/healthz").await;
        assert_eq!((code, &body["overdue"][0]["name"]), (503, &json!("kafka")));
        assert_eq!(body["overdue"][0]["kind"], "source");
        assert!(body["overdue"][0]["overdue_seconds"].as_f64().unwrap() >= 39.0, "{body}");
        let not_ready = json!({"status": "not ready", "waiting": ["kafka"], "unreadable": ["db.control"]});
        assert_eq!(get_json(&server, "/readyz").await, (503, not_ready));

        shown.board.ended("kafka");
        shown.board.planned("kafka", Plan { planned: now, ..plan }, now);
        shown.board.table("db.control", true);
        assert_eq!(get_json(&server, "/healthz").await.0, 200);
        let ready = json!({"status": "ready", "waiting": [], "unreadable": []});
        assert_eq!(get_json(&server, "/readyz").await, (200, ready));
        server.stop().await;
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = Server::start(ANY, routes(shown())).await.unwrap();
        let address = first.address();
        let error = Server::start(address, routes(shown())).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(std::error::Error::source(&error).is_some());
        first.stop().await;
    }
}
