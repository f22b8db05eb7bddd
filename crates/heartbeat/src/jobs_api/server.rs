//! The shell around the state: HTTP in, one locked step, effects and answer out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, State as Extract};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use tokio::sync::watch;

use super::api::{Delivery, Request};
use super::commands::{Commands, Job, parameter_variable};
use super::line::Line;
use super::reply::Reply;
use super::state::{Effect, State};
use super::{admin, api};

/// Most bytes of a request (Databricks Jobs 2.0 page: 10 MB).
const BODY_LIMIT: usize = 10 << 20;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) commands: Commands,
    stopping: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(state: State) -> Arc<Self> {
        let (stopping, _) = watch::channel(false);
        Arc::new(Self { state: Mutex::new(state), commands: Commands::default(), stopping })
    }

    /// One step of the state at the present time, and what follows from it outside.
    pub(super) fn step<T>(self: &Arc<Self>, act: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state, Timestamp::now());
        let effects = state.take_effects();
        let jobs: Vec<_> = effects.into_iter().map(|effect| (job_of(&state, &effect), effect)).collect();
        drop(state);
        for (job, effect) in jobs {
            match (effect, job) {
                (Effect::Kill(run_id), _) => self.commands.kill(run_id),
                (Effect::Start(run_id), Some(job)) => self.start(run_id, job),
                (Effect::Start(_), None) => {}
            }
        }
        result
    }

    fn start(self: &Arc<Self>, run_id: i64, job: Job) {
        let shared = Arc::downgrade(self);
        self.commands.start(job, move |result| {
            if let Some(shared) = shared.upgrade() {
                shared.commands.forget(run_id);
                // Ended by hand meanwhile: that result stands.
                let _ = shared.step(|state, now| state.finish(run_id, result, now));
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends waiting handlers and, with them, the server.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Until [`Shared::stop`].
    pub(super) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// What an effect needs to know of its run.
fn job_of(state: &State, effect: &Effect) -> Option<Job> {
    let Effect::Start(run_id) = *effect else { return None };
    let run = state.run(run_id)?;
    let spec = state.spec(run.job_id);
    let mut parameters = spec.parameters.clone();
    parameters.extend(run.parameters.clone());
    let mut environment = vec![
        ("HEARTBEAT_JOB_ID".to_owned(), run.job_id.to_string()),
        ("HEARTBEAT_RUN_ID".to_owned(), run_id.to_string()),
    ];
    environment.extend(parameters.iter().map(|(name, value)| (parameter_variable(name), value.clone())));
    let timeout = (spec.timeout_seconds > 0).then(|| Duration::from_secs(spec.timeout_seconds.into()));
    Some(Job { run_id, command: spec.command?, environment, timeout })
}

/// Every request there is.
pub(super) async fn handle(
    Extract(shared): Extract<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return response(Reply::refused(413, "INVALID_PARAMETER_VALUE", "the request is larger than 10 MB"));
    };
    let request = Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body: &body,
    };
    let delivery = if request.path.starts_with(admin::PREFIX) {
        Delivery::Send(shared.step(|state, now| admin::answer(state, request, now)))
    } else {
        shared.step(|state, now| api::answer(state, request, now))
    };
    let (wait, reply) = match delivery {
        Delivery::Send(reply) => return response(reply),
        Delivery::SendAfter(wait, reply) => (Some(wait), Some(reply)),
        Delivery::Drop => (Some(Duration::ZERO), None),
        Delivery::Hang => (None, None),
    };
    let waited = async {
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = waited => {}
        () = shared.stopped() => {}
    }
    reply.map_or_else(
        || {
            line.cut();
            Response::default()
        },
        response,
    )
}

fn response(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
