//! Service principals, secrets and versions of the API, over real sockets.

use std::num::NonZeroUsize;
use std::time::Duration;

use heartbeat::jobs::credentials::{AzureCloud, AzurePrincipal, Method, OAuthClient, Origin};
use heartbeat::jobs::{
    ApiError, Credentials, Domain, GrantError, JobsClient, Refusal, RunFilter, RunId, RunOutcome, Settings,
    StartError,
};
use heartbeat::jobs_api::{Fault, FaultKind, FaultTarget, RunResult, StandInHandle};
use heartbeat_core::secret::Secret;
use rstest::rstest;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;

use super::{client, hasty, on_start, patient, stand_in, start, status, token};

fn of(method: Method) -> Credentials {
    Credentials { method, workspace_id: None, origin: Origin::Given }
}

fn principal(secret: &str) -> Credentials {
    of(Method::OAuth(OAuthClient {
        client_id: "my-client".to_owned(),
        client_secret: Secret::new(secret),
        scope: OAuthClient::ALL_APIS.to_owned(),
        account_id: None,
        discovery_url: None,
    }))
}

fn of_azure(stand_in: &StandInHandle, tenant: Option<&str>, resource: Option<&str>) -> Credentials {
    of(Method::Azure(AzurePrincipal {
        client_id: "my-client".to_owned(),
        client_secret: Secret::new("my-secret"),
        tenant_id: tenant.map(str::to_owned),
        cloud: AzureCloud::Public,
        login_url: Some(format!("{}/", stand_in.url())),
        workspace_resource_id: resource.map(str::to_owned),
    }))
}

fn client_of(stand_in: &StandInHandle, credentials: &Credentials) -> JobsClient {
    JobsClient::new(&Domain::parse(&stand_in.url()).unwrap(), credentials, patient()).unwrap()
}

const OAUTH: &str = "oauth: {clients: {my-client: my-secret}}";

fn failing(on: FaultTarget, kind: FaultKind, times: u32) -> Fault {
    Fault { times, ..Fault::once(on, kind) }
}

#[rstest]
#[case::described("oauth: {clients: {my-client: my-secret}}", 2)]
#[case::as_it_was_before("oauth: {clients: {my-client: my-secret}, describe: false}", 2)]
#[tokio::test]
async fn one_access_token_serves_many_calls(#[case] jobs: &str, #[case] questions: u64) {
    let stand_in = stand_in(jobs).await;
    let client = client_of(&stand_in, &principal("my-secret"));
    let calls = (0..20).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { client.run_now(&start("7", &n.to_string())).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    client.active_runs().await.unwrap();
    assert_eq!((stand_in.granted_tokens(), stand_in.count("discovery")), (1, questions));
    stand_in.stop().await;
}

#[tokio::test]
async fn a_401_is_answered_with_a_new_token_once() {
    let stand_in = stand_in(OAUTH).await;
    let client = client_of(&stand_in, &principal("my-secret"));
    let run_id = client.run_now(&start("7", "t")).await.unwrap();
    stand_in.expire_tokens();
    assert_eq!(client.get_run(run_id).await.unwrap().run_id, run_id);
    assert_eq!((stand_in.granted_tokens(), stand_in.count("runs/get")), (2, 2));
    // A workspace that goes on refusing is asked twice, not for ever.
    stand_in.inject(failing(FaultTarget::RunsGet, status(401, None, None), u32::MAX));
    let error = client.get_run(run_id).await.unwrap_err();
    assert!(matches!(error, ApiError::Refused { why: Refusal::Unauthenticated, .. }), "{error:?}");
    assert_eq!((stand_in.granted_tokens(), stand_in.count("runs/get")), (3, 4));
    // Where tokens are to be had is asked for once.
    assert_eq!(stand_in.count("discovery"), 2);
    stand_in.stop().await;
}

#[tokio::test]
async fn a_401_on_a_start_whose_answer_was_lost_leaves_doubt_only_if_it_stays() {
    let stand_in = stand_in(OAUTH).await;
    let client = client_of(&stand_in, &principal("my-secret"));
    stand_in.inject(on_start(FaultKind::DropAfter, 1));
    stand_in.inject(on_start(status(401, None, None), 1));
    client.run_now(&start("7", "t")).await.unwrap();
    assert_eq!(stand_in.runs().len(), 1);
    stand_in.inject(on_start(FaultKind::DropAfter, 1));
    stand_in.inject(on_start(status(401, None, None), 2));
    let error = client.run_now(&start("7", "u")).await.unwrap_err();
    assert!(matches!(error, StartError::Unknown { .. }), "{error:?}");
    stand_in.stop().await;
}

#[tokio::test]
async fn token_calls_are_repeated_where_that_helps() {
    let stand_in = stand_in(OAUTH).await;
    let client = client_of(&stand_in, &principal("my-secret"));
    for code in [429, 502, 503, 504] {
        stand_in.inject(Fault::once(FaultTarget::Token, status(code, None, Some("0"))));
        stand_in.inject(Fault::once(FaultTarget::Discovery, status(code, None, Some("0"))));
    }
    stand_in.inject(Fault::once(FaultTarget::Token, FaultKind::DropBefore));
    client.active_runs().await.unwrap();
    assert_eq!((stand_in.count("token"), stand_in.granted_tokens()), (6, 1));
    stand_in.stop().await;
}

#[tokio::test]
async fn a_refused_principal_starts_nothing_and_says_why_without_its_secret() {
    let stand_in = stand_in(OAUTH).await;
    let client = client_of(&stand_in, &principal("wrong-secret"));
    let error = client.run_now(&start("7", "t")).await.unwrap_err();
    let StartError::NoCredential { cause, .. } = &error else { panic!("{error:?}") };
    let GrantError::Refused { answer, client_id, .. } = &**cause else { panic!("{cause:?}") };
    assert_eq!((answer.status, answer.error_code.as_deref()), (401, Some("invalid_client")));
    assert_eq!((client_id.as_str(), stand_in.count("run-now")), ("my-client", 0));
    assert!(!format!("{error:?} {client:?}").contains("wrong-secret"));
    // The failure is kept for a moment: many starts of one pass don't ask again.
    let error = client.list_runs(&RunFilter::default()).await.unwrap_err();
    assert!(matches!(error, ApiError::NoCredential { .. }), "{error:?}");
    assert_eq!(stand_in.count("token"), 1);
    stand_in.stop().await;
}

#[tokio::test]
async fn a_token_endpoint_that_asks_to_wait_too_long_is_not_waited_for() {
    let stand_in = stand_in(OAUTH).await;
    stand_in.inject(Fault::once(FaultTarget::Token, status(503, None, Some("3600"))));
    let error = client_of(&stand_in, &principal("my-secret")).active_runs().await.unwrap_err();
    let ApiError::NoCredential { cause, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**cause, GrantError::Unavailable { tries: 1, .. }), "{cause:?}");
    stand_in.stop().await;
}

#[rstest]
#[case::endpoint(serde_json::json!({"token_endpoint": "http://other.example/token"}))]
#[case::not_even_a_url(serde_json::json!({"token_endpoint": "other.example"}))]
#[tokio::test]
async fn a_secret_is_sent_to_no_place_in_the_clear(#[case] server: serde_json::Value) {
    let stand_in = stand_in("{oauth: {clients: {my-client: my-secret}, describe: false}}").await;
    let answers = [serde_json::json!({}), server];
    for answer in answers {
        stand_in.inject(Fault::once(FaultTarget::Discovery, status(200, Some(answer), None)));
    }
    let error = client_of(&stand_in, &principal("my-secret")).active_runs().await.unwrap_err();
    let ApiError::NoCredential { cause, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**cause, GrantError::Insecure { .. }), "{cause:?}");
    assert_eq!(stand_in.count("token"), 0);
    // The description itself must not come in the clear either.
    let root = serde_json::json!({"oidc_endpoint": "http://other.example/oidc"});
    stand_in.inject(Fault::once(FaultTarget::Discovery, status(200, Some(root), None)));
    let error = client_of(&stand_in, &principal("my-secret")).active_runs().await.unwrap_err();
    let ApiError::NoCredential { cause, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**cause, GrantError::Insecure { .. }), "{cause:?}");
    stand_in.stop().await;
}

#[tokio::test]
async fn an_account_in_the_endpoint_is_filled_in_or_asked_for() {
    let stand_in = stand_in(OAUTH).await;
    let root = serde_json::json!({"oidc_endpoint": format!("{}/{{account_id}}", stand_in.url())});
    stand_in.inject(failing(FaultTarget::Discovery, status(200, Some(root), None), 1));
    let error = client_of(&stand_in, &principal("my-secret")).active_runs().await.unwrap_err();
    let ApiError::NoCredential { cause, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**cause, GrantError::NoAccount), "{cause:?}");
    let root = serde_json::json!({"oidc_endpoint": format!("{}/{{account_id}}/", stand_in.url())});
    stand_in.inject(failing(FaultTarget::Discovery, status(200, Some(root), None), 1));
    let mut credentials = principal("my-secret");
    if let Method::OAuth(client) = &mut credentials.method {
        client.account_id = Some("oidc".to_owned());
    }
    client_of(&stand_in, &credentials).active_runs().await.unwrap();
    stand_in.stop().await;
}

#[tokio::test]
async fn every_call_says_who_asks_how_and_which_workspace() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let domain = Domain::parse(&format!("http://{}", server.local_addr().unwrap())).unwrap();
    let credentials = Credentials { workspace_id: Some("77".to_owned()), ..token("my-token") };
    let client = JobsClient::new(&domain, &credentials, hasty()).unwrap();
    let call = tokio::spawn(async move { client.active_runs().await });
    let (stream, _) = server.accept().await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut head = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
        head.push(line);
    }
    let version = env!("CARGO_PKG_VERSION");
    let agent = head.iter().find(|line| line.starts_with("user-agent: ")).unwrap();
    assert!(agent.starts_with(&format!("user-agent: heartbeat/{version} rust/")), "{agent}");
    assert!(agent.ends_with(" auth/pat"), "{agent}");
    for line in ["authorization: Bearer my-token", "x-databricks-workspace-id: 77"] {
        assert!(head.iter().any(|found| found == line), "{head:?}");
    }
    call.abort();
}

#[tokio::test]
async fn what_is_no_token_is_not_shown() {
    let stand_in = stand_in(OAUTH).await;
    let odd = serde_json::json!({"access_token": "s3cret", "token_type": "odd"});
    stand_in.inject(Fault::once(FaultTarget::Token, status(200, Some(odd), None)));
    let error = client_of(&stand_in, &principal("my-secret")).active_runs().await.unwrap_err();
    let ApiError::NoCredential { cause, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**cause, GrantError::Unusable { .. }), "{cause:?}");
    assert!(!format!("{error:?}").contains("s3cret"));
    stand_in.stop().await;
}

#[rstest]
#[case::tenant_given(Some("my-tenant"), None, "", 1)]
#[case::tenant_asked_for(None, None, "", 1)]
#[case::role_only(None, Some("/subscriptions/1"), ", workspace_resource_id: /subscriptions/1", 2)]
#[tokio::test]
async fn azure_principals_log_in(
    #[case] tenant: Option<&str>,
    #[case] resource: Option<&str>,
    #[case] more: &str,
    #[case] tokens: u64,
) {
    let jobs = format!("azure: {{tenant: my-tenant, clients: {{my-client: my-secret}}{more}}}");
    let stand_in = stand_in(&jobs).await;
    let client = client_of(&stand_in, &of_azure(&stand_in, tenant, resource));
    let mut questions = 0;
    if tenant.is_none() {
        stand_in.inject(failing(FaultTarget::Discovery, FaultKind::DropBefore, 1));
        questions = 2;
    }
    client.run_now(&start("7", "t")).await.unwrap();
    client.active_runs().await.unwrap();
    assert_eq!((stand_in.granted_tokens(), stand_in.count("discovery")), (tokens, questions));
    stand_in.expire_tokens();
    client.active_runs().await.unwrap();
    assert_eq!(stand_in.granted_tokens(), 2 * tokens);
    stand_in.stop().await;
}

#[tokio::test]
async fn a_workspace_without_2_2_is_asked_in_2_1_from_then_on() {
    let stand_in = stand_in("version_2_2: false").await;
    let client = client(&stand_in, patient());
    let run_id = client.run_now(&start("7", "t")).await.unwrap();
    assert_eq!(client.get_run(run_id).await.unwrap().outcome, RunOutcome::Succeeded);
    assert_eq!(client.list_runs(&RunFilter::default()).await.unwrap().len(), 1);
    assert_eq!((stand_in.count("other"), stand_in.count("runs/get"), stand_in.count("runs/list")), (1, 1, 1));
    stand_in.stop().await;
}

#[tokio::test]
async fn secrets_of_a_scope_are_read() {
    let stand_in = stand_in("{token: secret-token, secrets: {s: {k: välue}}}").await;
    let client = client(&stand_in, patient());
    assert_eq!(client.get_secret("s", "k").await.unwrap().expose(), "välue".as_bytes());
    for (scope, key) in [("s", "x"), ("x", "k")] {
        let error = client.get_secret(scope, key).await.unwrap_err();
        assert!(matches!(error, ApiError::SecretMissing { .. }), "{error:?}");
    }
    let denied = serde_json::json!({"error_code": "PERMISSION_DENIED", "message": "no READ on s"});
    stand_in.inject(Fault::once(FaultTarget::Secrets, status(403, Some(denied), None)));
    let error = client.get_secret("s", "k").await.unwrap_err();
    assert!(matches!(error, ApiError::SecretForbidden { .. }), "{error:?}");
    let told = "the token is not valid here, or whoever it belongs to has no READ on scope `s`";
    assert_eq!(error.to_string(), told);
    let odd = serde_json::json!({"key": "k", "value": "not base64: s3cret"});
    stand_in.inject(Fault::once(FaultTarget::Secrets, status(200, Some(odd), None)));
    let error = client.get_secret("s", "k").await.unwrap_err();
    assert!(
        matches!(error, ApiError::Unusable { .. }) && !format!("{error:?}").contains("s3cret"),
        "{error:?}"
    );
    stand_in.stop().await;
}

#[tokio::test]
async fn a_storm_of_429_is_sat_out_as_long_as_the_workspace_asks() {
    let stand_in = stand_in("{}").await;
    stand_in.inject(failing(FaultTarget::Any, status(429, None, Some("0")), 12));
    let client = client(&stand_in, patient());
    client.run_now(&start("7", "t")).await.unwrap();
    client.active_runs().await.unwrap();
    stand_in.inject(failing(FaultTarget::Any, status(429, None, Some("60")), u32::MAX));
    let began = std::time::Instant::now();
    let error = super::client(&stand_in, hasty()).active_runs().await.unwrap_err();
    assert!(matches!(error, ApiError::Unavailable { tries: 1, .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_mins(1));
    stand_in.stop().await;
}

#[tokio::test]
async fn a_repaired_run_comes_back_to_life_and_ends_well() {
    let stand_in = stand_in("jobs: {7: {duration: 1h}}").await;
    let client = client(&stand_in, patient());
    let run_id = client.run_now(&start("7", "t")).await.unwrap();
    let outcome = async |id: RunId| client.get_run(id).await.unwrap().outcome;
    assert!(stand_in.finish(run_id.0, RunResult::Unknown));
    assert!(matches!(outcome(run_id).await, RunOutcome::Unknown { text } if text.contains("HIBERNATED")));
    assert!(stand_in.repair(run_id.0) && !stand_in.repair(run_id.0));
    assert_eq!(outcome(run_id).await, RunOutcome::Active);
    assert!(stand_in.finish(run_id.0, RunResult::TerminatedFailed));
    assert!(matches!(outcome(run_id).await, RunOutcome::Failed { .. }));
    assert!(stand_in.repair(run_id.0) && stand_in.finish(run_id.0, RunResult::Success));
    assert_eq!(outcome(run_id).await, RunOutcome::Succeeded);
    assert!(stand_in.delete(run_id.0));
    assert!(matches!(client.get_run(run_id).await, Err(ApiError::RunMissing { .. })));
    stand_in.stop().await;
}

#[tokio::test]
async fn other_credentials_share_the_workspaces_limits() {
    let stand_in = stand_in(OAUTH).await;
    let slow = Settings { lists_per_second: NonZeroUsize::MIN, ..patient() };
    let first = client(&stand_in, slow);
    let second = first.with_credentials(&principal("my-secret")).unwrap();
    let began = std::time::Instant::now();
    let refused = first.active_runs().await;
    assert!(matches!(refused, Err(ApiError::Refused { why: Refusal::Forbidden, .. })), "{refused:?}");
    second.active_runs().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    stand_in.stop().await;
}
