use super::*;
use crate::jobs_api::StandInConfig;
use rstest::rstest;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn state(jobs: &str) -> State {
    State::new(StandInConfig::parse(jobs, "test").unwrap(), "http://h:1".to_owned(), at(0))
}

fn call(state: &mut State, method: &str, target: &str, body: &str, second: i64) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let authorization = Some("Bearer x");
    let request = Request { method, path, query, authorization, body: body.as_bytes() };
    match answer(state, request, at(second)) {
        Delivery::Send(reply) => {
            (reply.status, serde_json::from_str(&reply.body).unwrap_or(Value::String(reply.body)))
        }
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
    let request = Request {
        method: "POST",
        path: "/api/2.1/jobs/run-now",
        query: "",
        authorization,
        body: br#"{"job_id":1}"#,
    };
    let Delivery::Send(reply) = answer(&mut state, request, at(0)) else { panic!() };
    let body: Value = serde_json::from_str(&reply.body).unwrap();
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
    let request = Request {
        method: "POST",
        path: "/api/2.1/jobs/run-now",
        query: "",
        authorization: Some("Bearer x"),
        body,
    };
    let mut hit = |kind: FaultKind| {
        state.faults.push(Fault::once(FaultTarget::RunNow, kind));
        let delivery = answer(&mut state, request, at(0));
        (delivery, state.runs().count(), state.calls.last().unwrap().run_id.is_some())
    };
    assert_eq!(hit(FaultKind::DropBefore), (Delivery::Drop, 0, false));
    assert_eq!(hit(FaultKind::Hang), (Delivery::Hang, 0, false));
    assert!(matches!(hit(FaultKind::Html), (Delivery::Send(reply), 0, false) if reply.status == 200));
    assert!(matches!(hit(FaultKind::Redirect), (Delivery::Send(reply), 0, false) if reply.status == 302));
    assert_eq!(hit(FaultKind::DropAfter), (Delivery::Drop, 1, true));
    assert!(matches!(hit(FaultKind::NoRunId), (Delivery::Send(reply), 1, true) if reply.body == "{}"));
    let second = std::time::Duration::from_secs(1);
    assert!(matches!(hit(FaultKind::Delay(second)), (Delivery::SendAfter(..), 1, true)));
}
