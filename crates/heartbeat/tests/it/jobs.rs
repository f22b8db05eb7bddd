//! The Jobs API client against the stand-in, over real sockets.

mod commands;
mod credentials;
mod sdk;

use std::time::Duration;

use heartbeat::jobs::{
    ApiError, Backoff, Credentials, Domain, JobsClient, Refusal, RunFilter, RunId, RunNow, RunOutcome,
    RunPhase, Settings, StartError, Token,
};
use heartbeat::jobs_api::{
    Fault, FaultKind, FaultTarget, Phase, RunResult, StandIn, StandInConfig, StandInHandle, StatusFault,
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Quick to try again, slow to give up.
fn patient() -> Settings {
    let backoff = Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(5) };
    Settings { backoff, start_limit: Duration::from_secs(30), ..Settings::default() }
}

/// Gives up soon.
fn hasty() -> Settings {
    Settings { start_limit: Duration::from_millis(300), read_limit: Duration::from_millis(300), ..patient() }
}

fn client(stand_in: &StandInHandle, settings: Settings) -> JobsClient {
    let domain = Domain::parse(&stand_in.url()).unwrap();
    JobsClient::new(&domain, &token("secret-token"), settings).unwrap()
}

fn token(text: &str) -> Credentials {
    Token::parse(text).unwrap().into()
}

pub(crate) async fn stand_in(jobs: &str) -> StandInHandle {
    StandIn::start(StandInConfig::parse(jobs, "test").unwrap()).await.unwrap()
}

fn start(job_id: &str, token: &str) -> RunNow {
    RunNow { job_id: job_id.to_owned(), idempotency_token: token.to_owned(), job_parameters: None }
}

fn status(code: u16, body: Option<Value>, retry_after: Option<&str>) -> FaultKind {
    let headers = retry_after.map(|text| ("Retry-After".to_owned(), text.to_owned())).into_iter().collect();
    FaultKind::Status(StatusFault { code, body, headers })
}

fn on_start(kind: FaultKind, times: u32) -> Fault {
    Fault { times, ..Fault::once(FaultTarget::RunNow, kind) }
}

#[tokio::test]
async fn the_body_is_the_originals_with_a_token_and_the_run_is_followed_to_its_end() {
    let stand_in = stand_in("jobs: {42: {duration: 1h}}").await;
    let client = client(&stand_in, patient());
    let token = "a".repeat(64);
    let run_id = client.run_now(&start("0042", &token)).await.unwrap();
    let calls = stand_in.run_now_calls();
    assert_eq!(calls[0].path, "/api/2.1/jobs/run-now");
    assert_eq!(
        calls[0].body,
        format!(
            r#"{{"job_id":"0042","notebook_params":{{"msg":"triggered via heartbeat sensor"}},"idempotency_token":"{token}"}}"#
        )
    );
    let run = client.get_run(run_id).await.unwrap();
    assert_eq!(
        (run.run_id, run.job_id, run.outcome, run.end_time),
        (run_id, Some(42), RunOutcome::Active, None)
    );
    assert!(run.run_page_url.unwrap().contains("#job/42/run/"));
    assert!(stand_in.finish(run_id.0, RunResult::Success));
    let run = client.get_run(run_id).await.unwrap();
    assert_eq!((run.outcome, run.result.as_deref()), (RunOutcome::Succeeded, Some("SUCCESS")));
    assert!(run.end_time >= run.start_time);
    stand_in.stop().await;
}

#[rstest]
#[case::answer_lost(FaultKind::DropAfter, 1)]
#[case::answer_lost_twice(FaultKind::DropAfter, 2)]
#[case::never_arrived(FaultKind::DropBefore, 1)]
#[case::throttled(status(429, None, Some("0")), 3)]
#[case::throttled_as_400(status(400, Some(json!({"error_code": "REQUEST_LIMIT_EXCEEDED"})), None), 1)]
#[case::throttled_as_500(status(500, Some(json!({"message": "RPC token bucket limit has been exceeded"})), None), 1)]
#[case::unavailable(status(503, None, None), 5)]
#[case::bad_gateway_html(status(502, Some(json!("<html><title>Bad gateway</title>")), None), 1)]
#[case::gateway_timeout(status(504, Some(json!("")), None), 1)]
#[case::request_timeout(status(408, Some(json!("")), None), 1)]
#[tokio::test]
async fn a_fault_on_the_way_is_retried_with_the_same_token_and_makes_one_run(
    #[case] kind: FaultKind,
    #[case] times: u32,
) {
    let stand_in = stand_in("{}").await;
    stand_in.inject(on_start(kind, times));
    let run_id = client(&stand_in, patient()).run_now(&start("7", "t")).await.unwrap();
    let runs = stand_in.runs();
    assert_eq!((runs.len(), RunId(runs[0].run_id)), (1, run_id));
    let calls = stand_in.run_now_calls();
    assert_eq!(calls.len(), times as usize + 1);
    assert!(calls.iter().all(|call| call.body == calls[0].body));
    stand_in.stop().await;
}

#[rstest]
#[case::hang(FaultKind::Hang)]
#[case::late_answer(FaultKind::Delay(Duration::from_mins(1)))]
#[tokio::test]
async fn a_try_that_hangs_is_cut_short_and_made_again(#[case] kind: FaultKind) {
    let stand_in = stand_in("{}").await;
    stand_in.inject(on_start(kind, 1));
    let settings = Settings { try_limit: Duration::from_millis(200), ..patient() };
    client(&stand_in, settings).run_now(&start("7", "t")).await.unwrap();
    assert_eq!(stand_in.runs().len(), 1);
    stand_in.stop().await;
}

#[rstest]
#[case::storm(status(503, None, None), 0)]
#[case::answers_lost(FaultKind::DropAfter, 1)]
#[case::nothing_arrives(FaultKind::DropBefore, 0)]
#[tokio::test]
async fn in_doubt_to_the_deadline_is_said_and_the_next_call_settles_it(
    #[case] kind: FaultKind,
    #[case] runs: usize,
) {
    let stand_in = stand_in("{}").await;
    stand_in.inject(on_start(kind, u32::MAX));
    let error = client(&stand_in, hasty()).run_now(&start("7", "t")).await.unwrap_err();
    assert!(matches!(error, StartError::Unknown { tries: 2.., .. }) && error.run_may_exist(), "{error:?}");
    assert_eq!(stand_in.runs().len(), runs);
    stand_in.clear_faults();
    client(&stand_in, patient()).run_now(&start("7", "t")).await.unwrap();
    assert_eq!(stand_in.runs().len(), 1);
    stand_in.stop().await;
}

#[rstest]
#[case::html(FaultKind::Html, 200, Refusal::NotTheApi)]
#[case::redirect(FaultKind::Redirect, 302, Refusal::NotTheApi)]
#[case::integer_code(status(401, Some(json!({"error_code": 401, "message": "no"})), None), 401, Refusal::Unauthenticated)]
#[case::forbidden(status(403, Some(json!({"error_code": 403, "message": "Invalid access token."})), None), 403, Refusal::Forbidden)]
#[case::old_shape(status(400, Some(json!({"error": "no"})), None), 400, Refusal::Invalid)]
#[case::scim(status(404, Some(json!({"detail": "no", "status": "404"})), None), 404, Refusal::Invalid)]
#[case::text(status(404, Some(json!("Bad Target: /api/2.1/jobs/run-now")), None), 404, Refusal::NotTheApi)]
#[tokio::test]
async fn a_refusal_is_definite_and_not_retried(
    #[case] kind: FaultKind,
    #[case] status: u16,
    #[case] expected: Refusal,
) {
    let stand_in = stand_in("{}").await;
    stand_in.inject(on_start(kind, 1));
    let error = client(&stand_in, patient()).run_now(&start("7", "t")).await.unwrap_err();
    let StartError::Refused { why, answer, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*why, answer.status, error.run_may_exist()), (expected, status, false));
    assert_eq!((stand_in.run_now_calls().len(), stand_in.runs().len()), (1, 0));
    stand_in.stop().await;
}

#[tokio::test]
async fn what_the_stand_in_itself_refuses_is_understood() {
    let stand_in = stand_in("{token: other, jobs: {1: {}}}").await;
    let refusal = async |client: &JobsClient, call: RunNow| match client.run_now(&call).await {
        Err(StartError::Refused { why, answer, .. }) => (why, answer.error_code.unwrap()),
        other => panic!("{other:?}"),
    };
    let wrong = client(&stand_in, patient());
    assert_eq!(refusal(&wrong, start("1", "t")).await, (Refusal::Forbidden, "403".to_owned()));
    let right = wrong.with_credentials(&token("other")).unwrap();
    let code = "INVALID_PARAMETER_VALUE".to_owned();
    assert_eq!(refusal(&right, start("9", "t")).await, (Refusal::JobMissing, code.clone()));
    assert_eq!(refusal(&right, start("1", &"a".repeat(65))).await, (Refusal::Invalid, code));
    assert_eq!(refusal(&right, start("x", "t")).await, (Refusal::Invalid, "MALFORMED_REQUEST".to_owned()));
    assert_eq!(stand_in.runs().len(), 0);
    stand_in.stop().await;
}

#[tokio::test]
async fn a_200_without_run_id_leaves_doubt() {
    let stand_in = stand_in("{}").await;
    stand_in.inject(on_start(FaultKind::NoRunId, 1));
    let error = client(&stand_in, patient()).run_now(&start("7", "t")).await.unwrap_err();
    assert!(matches!(error, StartError::Unknown { tries: 1, .. }), "{error:?}");
    assert_eq!((stand_in.runs().len(), error.answer().unwrap().status), (1, 200));
    stand_in.stop().await;
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_leaves_doubt() {
    let stand_in = stand_in("{}").await;
    stand_in.inject(on_start(FaultKind::DropAfter, 1));
    stand_in.inject(on_start(status(403, None, None), 1));
    let error = client(&stand_in, patient()).run_now(&start("7", "t")).await.unwrap_err();
    assert!(matches!(error, StartError::Unknown { tries: 2, .. }), "{error:?}");
    assert_eq!((stand_in.runs().len(), error.answer().unwrap().status), (1, 403));
    stand_in.stop().await;
}

#[tokio::test]
async fn a_retry_after_beyond_the_deadline_ends_the_call_at_once() {
    let stand_in = stand_in("{}").await;
    stand_in.inject(on_start(status(429, None, Some("3600")), 1));
    let error = client(&stand_in, patient()).run_now(&start("7", "t")).await.unwrap_err();
    let StartError::NotStarted { tries: 1, retry_after: Some(wait), .. } = error else { panic!("{error:?}") };
    assert_eq!(wait, Duration::from_hours(1));
    stand_in.stop().await;
}

#[tokio::test]
async fn no_connection_is_a_definite_no() {
    let stand_in = stand_in("{}").await;
    let client = client(&stand_in, hasty());
    stand_in.stop().await;
    let error = client.run_now(&start("7", "t")).await.unwrap_err();
    assert!(matches!(error, StartError::NotStarted { tries: 2.., .. }), "{error:?}");
    assert!(!format!("{error:?} {client:?}").contains("secret-token"));
    let error = client.get_run(RunId(1)).await.unwrap_err();
    assert!(matches!(error, ApiError::Unavailable { tries: 2.., .. }), "{error:?}");
}

#[tokio::test]
async fn a_job_at_its_limit_skips_or_queues_and_the_client_sees_which() {
    let jobs = "jobs: {1: {duration: 1h}, 2: {duration: 1h, queue: true}, 3: {duration: 1h, max_concurrent_runs: 2}}";
    let stand_in = stand_in(jobs).await;
    let client = client(&stand_in, patient());
    let outcome = async |job: &str, token: &str| {
        let run_id = client.run_now(&start(job, token)).await.unwrap();
        (run_id, client.get_run(run_id).await.unwrap())
    };
    for (job, first) in [("1", "a"), ("2", "b"), ("3", "c")] {
        assert_eq!(outcome(job, first).await.1.outcome, RunOutcome::Active);
    }
    let (_, skipped) = outcome("1", "d").await;
    assert!(matches!(skipped.outcome, RunOutcome::Skipped { .. }), "{skipped:?}");
    assert!(skipped.end_time.is_some());
    let (queued_id, queued) = outcome("2", "e").await;
    assert_eq!((queued.outcome, queued.state.as_deref()), (RunOutcome::Active, Some("QUEUED")));
    assert_eq!(outcome("3", "f").await.1.state.as_deref(), Some("RUNNING"));
    let first = client.run_now(&start("2", "b")).await.unwrap();
    assert!(stand_in.finish(first.0, RunResult::Failed));
    assert!(matches!(client.get_run(first).await.unwrap().outcome, RunOutcome::Failed { .. }));
    assert_eq!(client.get_run(queued_id).await.unwrap().state.as_deref(), Some("RUNNING"));
    stand_in.stop().await;
}

#[tokio::test]
async fn fifty_parallel_starts_all_get_their_own_run() {
    let stand_in = stand_in("rate_limit: 20").await;
    let client = client(&stand_in, patient());
    let starts = (0..50).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { client.run_now(&start("7", &format!("token-{n}"))).await.unwrap() })
    });
    let mut runs = Vec::new();
    for task in starts.collect::<Vec<_>>() {
        runs.push(task.await.unwrap());
    }
    runs.sort_unstable();
    runs.dedup();
    assert_eq!((runs.len(), stand_in.runs().len()), (50, 50));
    stand_in.stop().await;
}

#[tokio::test]
async fn lists_follow_all_pages_and_filters() {
    let stand_in = stand_in("jobs: {1: {max_concurrent_runs: 100}, 2: {duration: 1h}}").await;
    let client = client(&stand_in, Settings { starts_per_second: 100.try_into().unwrap(), ..patient() });
    for n in 0..60 {
        client.run_now(&start("1", &n.to_string())).await.unwrap();
    }
    let active = client.run_now(&start("2", "z")).await.unwrap();
    let ids = async |filter: RunFilter| -> Vec<RunId> {
        client.list_runs(&filter).await.unwrap().into_iter().map(|run| run.run_id).collect()
    };
    let job = |id: &str| RunFilter { job_id: Some(id.to_owned()), ..RunFilter::default() };
    let mut all = ids(RunFilter::default()).await;
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 61);
    assert_eq!(ids(job("1")).await.len(), 60);
    assert_eq!(ids(RunFilter { phase: RunPhase::Active, ..RunFilter::default() }).await, [active]);
    assert_eq!(ids(RunFilter { phase: RunPhase::Completed, ..job("2") }).await, []);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(ids(RunFilter { start_time_from: Some(later), ..RunFilter::default() }).await, []);
    stand_in.stop().await;
}

#[tokio::test]
async fn one_sweep_finds_every_active_run_and_says_what_it_cost() {
    let stand_in = stand_in("jobs: {1: {duration: 1h, max_concurrent_runs: 100}, 2: {}}").await;
    let client = client(&stand_in, Settings { starts_per_second: 100.try_into().unwrap(), ..patient() });
    assert_eq!(client.active_runs().await.unwrap().pages, 1);
    let mut started = Vec::new();
    for n in 0..60 {
        started.push(client.run_now(&start("1", &n.to_string())).await.unwrap());
    }
    client.run_now(&start("2", "over")).await.unwrap();
    assert!(stand_in.finish(started.pop().unwrap().0, RunResult::Failed));
    let active = client.active_runs().await.unwrap();
    let mut seen: Vec<_> = active.runs.iter().map(|run| run.run_id).collect();
    seen.sort_unstable();
    assert_eq!((seen, active.pages), (started, 3));
    stand_in.stop().await;
}

#[tokio::test]
async fn job_parameters_take_the_place_of_notebook_params() {
    let stand_in = stand_in("{}").await;
    let own = [("day".to_owned(), "2026-11-21".to_owned())].into();
    let call = RunNow { job_parameters: Some(own), ..start("7", "t") };
    client(&stand_in, patient()).run_now(&call).await.unwrap();
    let sent = stand_in.run_now_calls()[0].json().unwrap();
    let parameters = json!({"day": "2026-11-21", "msg": "triggered via heartbeat sensor"});
    assert_eq!((&sent["job_parameters"], &sent["notebook_params"]), (&parameters, &Value::Null));
    stand_in.stop().await;
}

#[tokio::test]
async fn a_missing_run_is_told_from_a_refusal_and_from_an_odd_answer() {
    let stand_in = stand_in("{}").await;
    let client = client(&stand_in, patient());
    let error = client.get_run(RunId(i64::MAX)).await.unwrap_err();
    assert!(matches!(error, ApiError::RunMissing { run_id: RunId(i64::MAX), .. }), "{error:?}");
    stand_in.inject(Fault::once(FaultTarget::RunsGet, FaultKind::Html));
    let error = client.get_run(RunId(1)).await.unwrap_err();
    assert!(matches!(error, ApiError::Refused { why: Refusal::NotTheApi, .. }), "{error:?}");
    stand_in.inject(Fault::once(FaultTarget::RunsGet, status(200, Some(json!({"run_id": 2})), None)));
    let error = client.get_run(RunId(1)).await.unwrap_err();
    assert!(matches!(error, ApiError::Mismatch { .. }), "{error:?}");
    stand_in.inject(Fault::once(FaultTarget::RunsList, status(200, Some(json!("{\"runs\":[")), None)));
    let error = client.list_runs(&RunFilter::default()).await.unwrap_err();
    assert!(matches!(error, ApiError::Unusable { .. }), "{error:?}");
    stand_in.stop().await;
}

#[tokio::test]
async fn commands_run_with_their_ids_and_parameters_and_give_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let jobs = json!({"jobs": {
        "1": {"command": format!("echo $HEARTBEAT_JOB_ID $HEARTBEAT_RUN_ID $HEARTBEAT_PARAM_MSG > {}", out.display())},
        "2": {"command": "exit 3"},
        "3": {"command": "sleep 600 & wait", "timeout_seconds": 1},
    }});
    let stand_in = stand_in(&jobs.to_string()).await;
    let client = client(&stand_in, patient());
    let outcome = async |job: &str| loop {
        let run = client.get_run(client.run_now(&start(job, job)).await.unwrap()).await.unwrap();
        if run.outcome.is_terminal() {
            return (run.run_id, run.outcome);
        }
    };
    let (run_id, good) = outcome("1").await;
    assert_eq!(good, RunOutcome::Succeeded);
    let written = std::fs::read_to_string(out).unwrap();
    assert_eq!(written, format!("1 {run_id} triggered via heartbeat sensor\n"));
    assert!(matches!(outcome("2").await.1, RunOutcome::Failed { .. }));
    outcome("3").await;
    let phases: Vec<_> = stand_in.runs().into_iter().map(|run| run.phase).collect();
    let done = [RunResult::Success, RunResult::Failed, RunResult::TimedOut].map(Phase::Done);
    assert_eq!(phases, done);
    stand_in.stop().await;
}

#[tokio::test]
async fn a_stop_kills_commands_with_all_they_started_and_cuts_off_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A grandchild holds the pipe open: its end is the end of the whole group.
    let command = format!("(echo up; sleep 600) > {} & wait", pipe.display());
    let stand_in = stand_in(&json!({"jobs": {"1": {"command": command}}}).to_string()).await;
    stand_in.inject(Fault { job_id: Some(2), ..on_start(FaultKind::Hang, 1) });
    let client = client(&stand_in, hasty());
    client.run_now(&start("1", "a")).await.unwrap();
    // Opening waits for the writer, reading to the end for the last one to go.
    let mut reader = BufReader::new(tokio::fs::File::open(&pipe).await.unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    assert_eq!(line, "up\n");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/2.1/jobs/run-now", stand_in.url());
    let waiting = tokio::spawn(http.post(url).bearer_auth("t").body(r#"{"job_id":2}"#).send());
    while stand_in.run_now_calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    stand_in.stop().await;
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(reader.read_line(&mut line).await.unwrap(), 0);
}

#[tokio::test]
async fn the_admin_pages_make_faults_end_runs_and_name_mistakes() {
    let stand_in = stand_in("jobs: {1: {duration: 1h}}").await;
    let client = client(&stand_in, patient());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}/stand-in/{path}", stand_in.url());
    let post = async |path: &str, body: Value| {
        let answer = http.post(url(path)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let fault = json!({"on": "run-now", "job_id": 1, "times": 2, "kind": {"status": {"code": 400}}});
    assert_eq!(post("faults", json!([fault, fault])).await.0, 200);
    assert!(client.run_now(&start("1", "t")).await.is_err());
    assert!(http.delete(url("faults")).send().await.unwrap().status().is_success());
    let run_id = client.run_now(&start("1", "t")).await.unwrap();
    let (status, told) = post("faults", json!({"on": "run-now", "kidn": "html"})).await;
    assert!(status == 400 && told.contains("kidn"), "{told}");
    assert_eq!(post(&format!("runs/{run_id}/finish"), json!({"result": "FAILED"})).await.0, 200);
    assert_eq!(post(&format!("runs/{run_id}/finish"), json!({"result": "FAILED"})).await.0, 409);
    assert_eq!(post("runs/1/finish", json!({"result": "FAILED"})).await.0, 404);
    let look = async |path: &str| -> Value {
        serde_json::from_str(&http.get(url(path)).send().await.unwrap().text().await.unwrap()).unwrap()
    };
    let (runs, calls) = (look("runs").await, look("calls").await);
    assert_eq!(
        (&runs["runs"][0]["run_id"], &runs["runs"][0]["phase"]),
        (&json!(run_id.0), &json!({"DONE": "FAILED"}))
    );
    assert_eq!((&calls["calls"][0]["status"], &calls["calls"][1]["status"]), (&json!(400), &json!(200)));
    stand_in.stop().await;
}
