use super::*;
use crate::jobs_api::StandInConfig;
use axum::http::header::AUTHORIZATION;
use rstest::rstest;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn state(jobs: &str) -> State {
    State::new(StandInConfig::parse(jobs, "test").unwrap(), "http://h:1".to_owned(), at(0))
}

fn bearer(authorization: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
}

fn call(state: &mut State, method: &str, target: &str, body: &str, second: i64) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = bearer("Bearer x");
    let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
    match answer(state, request, at(second)) {
        Delivery::Send(reply) => (
            reply.status,
            serde_json::from_slice(&reply.body).unwrap_or_else(|_| Value::String(reply.told())),
        ),
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case("/api/2.1/jobs")]
#[case("/api/2.2/jobs")]
fn a_run_is_started_and_shown_in_both_forms(#[case] base: &str) {
    let mut state = state("jobs: {42: {name: sales, duration: 2s, result: FAILED}}");
    let (status, started) = call(&mut state, "POST", &format!("{base}/run-now"), r#"{"job_id":"42"}"#, 0);
    assert_eq!((status, &started["run_id"]), (200, &started["number_in_job"]));
    let get = format!("{base}/runs/get?run_id={}", started["run_id"]);
    let (_, run) = call(&mut state, "GET", &get, "", 1);
    assert_eq!(run["state"]["life_cycle_state"], "RUNNING");
    assert_eq!((&run["status"]["state"], &run["end_time"]), (&json!("RUNNING"), &json!(0)));
    let (_, run) = call(&mut state, "GET", &get, "", 3);
    assert_eq!(
        (&run["start_time"], &run["end_time"]),
        (&json!(1_700_000_000_000_i64), &json!(1_700_000_002_000_i64))
    );
    assert_eq!(
        (&run["state"]["life_cycle_state"], &run["state"]["result_state"]),
        (&json!("INTERNAL_ERROR"), &json!("FAILED"))
    );
    assert_eq!(run["status"]["termination_details"]["code"], "RUN_EXECUTION_ERROR");
    assert_eq!(
        (&run["trigger"], &run["run_type"], &run["run_name"]),
        (&json!("ONE_TIME"), &json!("JOB_RUN"), &json!("sales"))
    );
    assert_eq!(run["run_page_url"], format!("http://h:1/?o=0#job/42/run/{}", started["run_id"]));
}

#[test]
fn an_empty_list_has_no_runs_key_and_only_2_1_says_has_more() {
    let mut state = state("{}");
    assert_eq!(call(&mut state, "GET", "/api/2.2/jobs/runs/list", "", 0), (200, json!({})));
    assert_eq!(call(&mut state, "GET", "/api/2.1/jobs/runs/list", "", 0), (200, json!({"has_more": false})));
}

#[rstest]
#[case("POST", "/api/2.1/jobs/run-now", r#"{"job_id": 7}"#, 400, "Job 7 does not exist.")]
#[case("GET", "/api/2.1/jobs/runs/get?run_id=7", "", 400, "Run 7 does not exist.")]
#[case("GET", "/api/2.1/jobs/runs/get", "", 400, "run_id is required")]
#[case("GET", "/api/2.1/jobs/runs/list?limit=99", "", 400, "limit")]
#[case("POST", "/api/2.1/jobs/runs/cancel", r#"{"run_id": 7}"#, 400, "Run 7 does not exist.")]
#[case("POST", "/api/2.1/jobs/runs/delete", "{}", 400, "run_id")]
#[case("GET", "/api/2.1/jobs/run-now", "", 404, "Bad Target: /api/2.1/jobs/run-now")]
#[case("POST", "/api/2.0/jobs/run-now", "{}", 404, "Bad Target: /api/2.0/jobs/run-now")]
#[case("GET", "/.well-known/databricks-config", "", 404, "ENDPOINT_NOT_FOUND")]
fn what_is_not_there_is_refused(
    #[case] method: &str,
    #[case] target: &str,
    #[case] body: &str,
    #[case] status: u16,
    #[case] message: &str,
) {
    let (got, answer) = call(&mut state("jobs: {1: {}}"), method, target, body, 0);
    assert!(got == status && answer.to_string().contains(message), "{got} {answer}");
}

#[rstest]
#[case(None, 401, json!(401))]
#[case(Some("Basic abc"), 401, json!(401))]
#[case(Some("Bearer "), 401, json!(401))]
#[case(Some("Bearer wrong"), 403, json!(403))]
fn credentials_are_asked_for(#[case] authorization: Option<&str>, #[case] status: u16, #[case] code: Value) {
    let mut state = state("token: right");
    let headers = authorization.map(bearer).unwrap_or_default();
    let request = Request {
        method: "POST",
        path: "/api/2.1/jobs/run-now",
        query: "",
        headers: &headers,
        body: br#"{"job_id":1}"#,
    };
    let Delivery::Send(reply) = answer(&mut state, request, at(0)) else { panic!() };
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.status, &body["error_code"]), (status, &code));
    assert_eq!(state.runs().count(), 0);
    assert_eq!((state.calls[0].status, state.calls[0].body.as_str()), (Some(status), r#"{"job_id":1}"#));
}

#[test]
fn a_cancelled_run_is_over_and_a_second_cancel_is_no_error() {
    let mut state = state("jobs: {1: {duration: 1h}}");
    let (_, started) = call(&mut state, "POST", "/api/2.2/jobs/run-now", r#"{"job_id":1}"#, 0);
    let body = json!({"run_id": started["run_id"]}).to_string();
    let delete = "/api/2.2/jobs/runs/delete";
    assert_eq!(call(&mut state, "POST", delete, &body, 1).1["error_code"], "INVALID_STATE");
    for _ in 0..2 {
        assert_eq!(call(&mut state, "POST", "/api/2.2/jobs/runs/cancel", &body, 1), (200, json!({})));
    }
    let (_, run) =
        call(&mut state, "GET", &format!("/api/2.2/jobs/runs/get?run_id={}", started["run_id"]), "", 2);
    assert_eq!(run["status"]["termination_details"]["code"], "USER_CANCELED");
    assert_eq!(call(&mut state, "POST", delete, &body, 3), (200, json!({})));
}

#[test]
fn faults_before_leave_no_run_and_faults_after_do() {
    let mut state = state("{}");
    let body = br#"{"job_id":1,"idempotency_token":"t"}"#;
    let headers = bearer("Bearer x");
    let request =
        Request { method: "POST", path: "/api/2.1/jobs/run-now", query: "", headers: &headers, body };
    let mut hit = |kind: FaultKind| {
        state.faults.push(Fault::once(FaultTarget::RunNow, kind));
        let delivery = answer(&mut state, request, at(0));
        (delivery, state.runs().count(), state.calls.back().unwrap().run_id.is_some())
    };
    assert_eq!(hit(FaultKind::DropBefore), (Delivery::Drop, 0, false));
    assert_eq!(hit(FaultKind::Hang), (Delivery::Hang, 0, false));
    assert!(matches!(hit(FaultKind::Html), (Delivery::Send(reply), 0, false) if reply.status == 200));
    assert!(matches!(hit(FaultKind::Redirect), (Delivery::Send(reply), 0, false) if reply.status == 302));
    assert_eq!(hit(FaultKind::DropAfter), (Delivery::Drop, 1, true));
    assert!(matches!(hit(FaultKind::NoRunId), (Delivery::Send(reply), 1, true) if reply.body == b"{}"));
    let second = std::time::Duration::from_secs(1);
    assert!(matches!(hit(FaultKind::Delay(second)), (Delivery::SendAfter(..), 1, true)));
}

#[rstest]
#[case("SUCCESS", "TERMINATED", json!("SUCCESS"), "SUCCESS")]
#[case("FAILED", "INTERNAL_ERROR", json!("FAILED"), "RUN_EXECUTION_ERROR")]
#[case("TERMINATED_FAILED", "TERMINATED", json!("FAILED"), "RUN_EXECUTION_ERROR")]
#[case("TIMEDOUT", "TERMINATED", json!("TIMEDOUT"), "CANCELED")]
#[case("CANCELED", "TERMINATED", json!("CANCELED"), "USER_CANCELED")]
#[case("INTERNAL_ERROR", "INTERNAL_ERROR", Value::Null, "INTERNAL_ERROR")]
#[case("SKIPPED", "SKIPPED", json!("MAXIMUM_CONCURRENT_RUNS_REACHED"), "MAX_CONCURRENT_RUNS_EXCEEDED")]
#[case("QUEUE_FULL", "SKIPPED", Value::Null, "MAX_JOB_QUEUE_SIZE_EXCEEDED")]
#[case("UNKNOWN", "HIBERNATED", json!("DREAMT"), "DREAMT")]
fn a_run_can_be_ended_in_every_state(
    #[case] result: &str,
    #[case] life: &str,
    #[case] older: Value,
    #[case] code: &str,
) {
    let mut state = state(&format!("jobs: {{1: {{result: {result}}}}}"));
    let (_, started) = call(&mut state, "POST", "/api/2.2/jobs/run-now", r#"{"job_id":1}"#, 0);
    let get = format!("/api/2.2/jobs/runs/get?run_id={}", started["run_id"]);
    let (_, run) = call(&mut state, "GET", &get, "", 1);
    assert_eq!((&run["state"]["life_cycle_state"], &run["state"]["result_state"]), (&json!(life), &older));
    assert_eq!(run["status"]["termination_details"]["code"], code);
    assert_eq!(run["tasks"][0]["task_key"], "main");
}

#[test]
fn a_skipped_run_may_lack_its_result() {
    let mut state = state("jobs: {1: {max_concurrent_runs: 0, skipped_without_result: true}}");
    let (_, started) = call(&mut state, "POST", "/api/2.2/jobs/run-now", r#"{"job_id":1}"#, 0);
    let get = format!("/api/2.2/jobs/runs/get?run_id={}", started["run_id"]);
    let (_, run) = call(&mut state, "GET", &get, "", 1);
    assert_eq!(run["state"]["life_cycle_state"], "SKIPPED");
    assert_eq!(run["state"]["result_state"], Value::Null);
}

#[test]
fn parameters_have_defaults_and_both_kinds_at_once_are_refused() {
    let mut state = state("jobs: {1: {parameters: {day: today, n: one}}}");
    let body = r#"{"job_id":1,"job_parameters":{"day":"2026-11-21"}}"#;
    let (_, started) = call(&mut state, "POST", "/api/2.1/jobs/run-now", body, 0);
    let get = format!("/api/2.2/jobs/runs/get?run_id={}", started["run_id"]);
    let (_, run) = call(&mut state, "GET", &get, "", 1);
    let day = json!({"name": "day", "default": "today", "value": "2026-11-21"});
    assert_eq!(run["job_parameters"], json!([day, {"name": "n", "default": "one", "value": "one"}]));
}

#[test]
fn an_older_workspace_has_no_2_2() {
    let mut state = state("version_2_2: false");
    let (status, told) = call(&mut state, "GET", "/api/2.2/jobs/runs/list", "", 0);
    assert_eq!((status, told), (404, json!("Bad Target: /api/2.2/jobs/runs/list")));
    assert_eq!(call(&mut state, "GET", "/api/2.1/jobs/runs/list", "", 0).0, 200);
}

#[rstest]
#[case("get?scope=s&key=k", 200, json!({"key": "k", "value": "dg=="}))]
#[case("get?scope=s&key=x", 404, json!("RESOURCE_DOES_NOT_EXIST"))]
#[case("get?scope=x&key=k", 404, json!("RESOURCE_DOES_NOT_EXIST"))]
#[case("get?scope=s", 400, json!("INVALID_PARAMETER_VALUE"))]
#[case("list?scope=empty", 200, json!({}))]
#[case("scopes/list", 200, json!({"scopes": [
    {"name": "empty", "backend_type": "DATABRICKS"}, {"name": "s", "backend_type": "DATABRICKS"}]}))]
fn secrets_are_served(#[case] target: &str, #[case] status: u16, #[case] expected: Value) {
    let mut state = state("secrets: {s: {k: v}, empty: {}}");
    let (got, body) = call(&mut state, "GET", &format!("/api/2.0/secrets/{target}"), "", 0);
    assert_eq!((got, if status == 200 { &body } else { &body["error_code"] }), (status, &expected));
}

#[test]
fn secrets_can_be_put() {
    let mut state = state("secrets: {s: {}}");
    let put = |state: &mut State, body: &str| call(state, "POST", "/api/2.0/secrets/put", body, 0).0;
    assert_eq!(put(&mut state, r#"{"scope":"s","key":"k","bytes_value":"/w=="}"#), 200);
    assert_eq!(put(&mut state, r#"{"scope":"s","key":"a b","string_value":"v"}"#), 400);
    assert_eq!(put(&mut state, r#"{"scope":"x","key":"k","string_value":"v"}"#), 404);
    let (_, got) = call(&mut state, "GET", "/api/2.0/secrets/get?scope=s&key=k", "", 0);
    assert_eq!(got["value"], "/w==");
    let (_, listed) = call(&mut state, "GET", "/api/2.0/secrets/list?scope=s", "", 0);
    assert_eq!(listed["secrets"][0]["key"], "k");
}

#[test]
fn faults_on_any_hit_every_call() {
    let mut state =
        state("faults: [{on: any, times: 3, kind: {status: {code: 429, headers: {Retry-After: '1'}}}}]");
    for target in
        ["/api/2.2/jobs/runs/list", "/api/2.0/secrets/scopes/list", "/.well-known/databricks-config"]
    {
        assert_eq!(call(&mut state, "GET", target, "", 0).0, 429, "{target}");
    }
    assert_eq!(call(&mut state, "GET", "/api/2.2/jobs/runs/list", "", 0).0, 200);
    assert_eq!((state.counts["runs/list"], state.counts["secrets"]), (2, 1));
}

fn grant(state: &mut State, target: &str, authorization: &str, body: &str, second: i64) -> (u16, Value) {
    let headers = bearer(authorization);
    let request =
        Request { method: "POST", path: target, query: "", headers: &headers, body: body.as_bytes() };
    let Delivery::Send(reply) = answer(state, request, at(second)) else { panic!() };
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

#[test]
fn access_tokens_are_handed_out_and_run_out() {
    let mut state = state("{token: fixed, oauth: {clients: {c: s}, expires_in: 60s}}");
    let (_, host) = call(&mut state, "GET", "/.well-known/databricks-config", "", 0);
    assert_eq!(host, json!({"oidc_endpoint": "http://h:1/oidc"}));
    let (_, server) = call(&mut state, "GET", "/oidc/.well-known/oauth-authorization-server", "", 0);
    assert_eq!(server["token_endpoint"], "http://h:1/oidc/v1/token");
    let url = "/oidc/v1/token";
    let form = "grant_type=client_credentials&scope=all-apis";
    let (status, refused) = grant(&mut state, url, "Basic Yzp4", form, 0);
    assert_eq!((status, &refused["error"]), (401, &json!("invalid_client")));
    let (status, granted) = grant(&mut state, url, "Basic Yzpz", form, 0);
    assert_eq!((status, &granted["expires_in"], &granted["token_type"]), (200, &json!(60), &json!("Bearer")));
    assert_eq!(grant(&mut state, url, "Basic Yzpz", "grant_type=password&scope=x", 0).0, 400);
    assert_eq!(
        grant(&mut state, url, "", "client_id=c&client_secret=s&grant_type=client_credentials&scope=x", 0).0,
        200
    );
    let token = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    let ask = |state: &mut State, authorization: &str, second| {
        grant(state, "/api/2.2/jobs/run-now", authorization, r#"{"job_id":1}"#, second).0
    };
    assert_eq!([ask(&mut state, &token, 59), ask(&mut state, "Bearer fixed", 59)], [200, 200]);
    assert_eq!([ask(&mut state, &token, 60), ask(&mut state, "Bearer x", 60)], [401, 403]);
}

#[test]
fn azure_logs_in_and_a_role_alone_needs_two_more_headers() {
    let mut state = state("azure: {tenant: t, clients: {c: s}, workspace_resource_id: /r}");
    let get = Request { method: "GET", path: "/aad/auth", query: "", headers: &HeaderMap::new(), body: b"" };
    let Delivery::Send(reply) = answer(&mut state, get, at(0)) else { panic!() };
    let location = &reply.headers.iter().find(|(name, _)| name == "location").unwrap().1;
    assert!(reply.status == 302 && location.starts_with("http://h:1/t/oauth2/authorize"), "{location}");
    let mut ask = |resource: &str| {
        let form = format!("grant_type=client_credentials&client_id=c&client_secret=s&resource={resource}");
        let (status, granted) = grant(&mut state, "/t/oauth2/token", "", &form, 0);
        (
            status,
            granted["expires_in"].clone(),
            granted["access_token"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let (status, expires_in, bearer_token) = ask("2ff814a6-3304-4ab8-85cb-cd0e6f879c1d");
    assert_eq!((status, expires_in), (200, json!("3600")));
    let (_, _, management) = ask("https://management.core.windows.net/");
    assert_eq!(ask("https://graph.windows.net/").0, 400);
    let mut headers = bearer(&format!("Bearer {bearer_token}"));
    let mut list = |headers: &HeaderMap| {
        let request =
            Request { method: "GET", path: "/api/2.2/jobs/runs/list", query: "", headers, body: b"" };
        match answer(&mut state, request, at(1)) {
            Delivery::Send(reply) => reply.status,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(&headers), 403);
    headers.insert("x-databricks-azure-sp-management-token", management.parse().unwrap());
    headers.insert("x-databricks-azure-workspace-resource-id", "/r".parse().unwrap());
    assert_eq!(list(&headers), 200);
    assert_eq!(list(&bearer(&format!("Bearer {management}"))), 403);
}
