use std::time::Duration;

use heartbeat_core::location::Location;
use rstest::rstest;

use super::*;
use crate::jobs::credentials::{ConfigFile, Explicit, resolve};
use crate::jobs_api::{FilesConfig, StandIn, StandInConfig, StandInHandle};
use crate::stores::{Created, Listing, Start, Store};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A stand-in with a volume, in a folder that lives as long as it.
async fn stand_in(jobs: &str) -> (StandInHandle, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("Volumes/c/s/v")).unwrap();
    let mut config = StandInConfig::parse(jobs, "test").unwrap();
    config.files = Some(FilesConfig::of(folder.path()));
    (StandIn::start(config).await.unwrap(), folder)
}

fn principal(domain: &Domain) -> Credentials {
    let environment = [("DATABRICKS_CLIENT_ID", "my-client"), ("DATABRICKS_CLIENT_SECRET", "my-secret")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let file = ConfigFile { name: "none", text: None };
    resolve(&Explicit { domain, token: None }, &environment, file).unwrap()
}

const TARGET: &str = "/api/2.0/fs/directories/Volumes/c/s/v";

async fn look(workspace: &Workspace) -> Reply {
    let call = Call { method: &Method::GET, target: TARGET, headers: &[], body: &Bytes::new() };
    workspace.ask("folder", call, soon()).await.unwrap()
}

#[tokio::test]
async fn an_access_token_that_ran_out_is_renewed_once() {
    let (stand_in, _folder) = stand_in("oauth: {clients: {my-client: my-secret}}").await;
    let domain = Domain::parse(&stand_in.url()).unwrap();
    let login = Login::new(&domain, principal(&domain)).unwrap();
    let wire = Wire::new(domain.as_str()).unwrap();
    let workspace = Workspace { domain, token: None, login: Mutex::new(Arc::new(login)), wire };
    assert!(look(&workspace).await.refused.is_none());
    stand_in.expire_tokens();
    assert!(look(&workspace).await.refused.is_none());
    assert_eq!((stand_in.granted_tokens(), stand_in.count("files")), (2, 3));
    stand_in.stop().await;
}

#[tokio::test]
async fn a_token_that_was_put_in_place_of_a_refused_one_is_taken() {
    let (stand_in, folder) = stand_in("oauth: {clients: {my-client: my-secret}}").await;
    let domain = Domain::parse(&stand_in.url()).unwrap();
    let granted = async || {
        let signer = Signer::of(&principal(&domain), &domain).unwrap();
        signer.sign().await.unwrap().secret().to_owned()
    };
    let path = folder.path().join("token");
    std::fs::write(&path, granted().await).unwrap();
    let secrets = Arc::new(Secrets::of(&domain, Some(&SecretRef::File(path.display().to_string()))));
    let location = Location::parse("/Volumes/c/s/v").unwrap();
    let store = Store::open(&location, &heartbeat_core::acon::StorageOptions::default(), &secrets).await;
    let store = store.unwrap();
    let list = async || {
        let listing = Listing { prefix: "", start: Start::Beginning, limit: 10 };
        store.list(&listing, soon()).await
    };
    list().await.unwrap();
    stand_in.expire_tokens();
    let refused = list().await.unwrap_err();
    assert!(matches!(refused.fault, Fault::Credentials(_)) && refused.doubts_credentials(), "{refused}");
    assert_eq!(stand_in.count("files"), 2, "the same token is not tried twice");
    let second = granted().await;
    std::fs::write(&path, &second).unwrap();
    list().await.unwrap();
    assert_eq!(store.create("f", Bytes::new(), soon()).await.unwrap(), Created::Done);
    assert_eq!(stand_in.count("files"), 5);
    assert!(!format!("{store:?}").contains(&second));
    stand_in.stop().await;
}

#[rstest]
#[case(404, r#"{"error_code":"NOT_FOUND","message":"x"}"#, "does not exist")]
#[case(404, r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"x"}"#, "does not exist")]
#[case(404, "Bad Target: /api/2.0/fs", "check the domain")]
#[case(404, r#"{"error_code":"ENDPOINT_NOT_FOUND","message":"x"}"#, "check the domain")]
#[case(302, "", "check the domain")]
#[case(401, "", "not accepted")]
#[case(403, r#"{"error_code":403,"message":"Invalid access token."}"#, "not accepted")]
#[case(403, r#"{"error_code":"PERMISSION_DENIED","message":"Invalid access token."}"#, "not accepted")]
#[case(403, r#"{"error_code":"PERMISSION_DENIED","message":"no"}"#, "not allowed: the right (HTTP 403")]
#[case(400, r#"{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"no"}"#, "cannot be reached")]
#[case(400, r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"no"}"#, "cannot be used")]
fn refusals_mean_what_they_say(#[case] status: u16, #[case] body: &str, #[case] expected: &str) {
    let status = StatusCode::from_u16(status).unwrap();
    let told = refusal(&jobs::Answer::read(status, None, body.as_bytes(), ""), "the right").to_string();
    assert!(told.contains(expected), "{told}");
}

#[rstest]
#[case("", true)]
#[case("a/b..c/.d/...", true)]
#[case("a//b", false)]
#[case("a/../b", false)]
#[case("./a", false)]
#[case("a/", false)]
fn paths_that_a_server_would_resolve_are_refused(#[case] path: &str, #[case] good: bool) {
    assert_eq!(check_path(path).is_ok(), good);
}
