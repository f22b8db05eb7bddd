//! What needs no server, and logins against a stand-in of Microsoft Entra.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use rstest::rstest;

use super::credentials::Login;
use super::*;
use crate::signing;

const LIST: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\
<EnumerationResults ServiceEndpoint=\"https://a/\" ContainerName=\"c\"><Prefix>f/</Prefix><Blobs>\
<Blob><Name>f/ a&amp;b&#x20;</Name><Properties><Last-Modified>Fri, 01 Mar 2024 10:00:00 GMT</Last-Modified>\
<Etag>\"0x8D\"</Etag><Content-Length>7</Content-Length><ResourceType>file</ResourceType></Properties><Metadata /></Blob>\
<Blob><Name Encoded=\"true\">f/x%EF%BF%BF%2B</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
<Blob><Name>f/lake</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>\
<Blob><Name>f/hadoop</Name><Properties><Content-Length>0</Content-Length></Properties>\
<Metadata><Hdi_isfolder>true</Hdi_isfolder></Metadata></Blob>\
</Blobs><NextMarker>2!8!</NextMarker></EnumerationResults>";

#[test]
fn names_are_told_as_they_are_and_folders_not_at_all() {
    let now = [("date", "Fri, 01 Mar 2024 10:00:01 GMT")];
    let page = listing::page(&Answer::of(200, &now, LIST), "f/").unwrap();
    let paths: Vec<_> = page.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, [" a&b ", "x\u{ffff}+"]);
    let first = &page.files[0];
    assert_eq!((first.size, first.etag.as_deref()), (7, Some("0x8D")));
    assert_eq!(first.modified, Some("2024-03-01T10:00:00Z".parse().unwrap()));
    assert_eq!(page.next.as_deref(), Some("2!8!"));
    assert_eq!(page.now, Some("2024-03-01T10:00:01Z".parse().unwrap()));
}

#[rstest]
#[case(&LIST[..LIST.len() - 21], "without an end")]
#[case("<html></html>", "without an end")]
#[case(&LIST.replace(">7<", ">many<"), "no size")]
#[case(&LIST.replace("f/lake", "elsewhere"), "is not below")]
fn half_a_listing_is_none(#[case] body: &str, #[case] expected: &str) {
    let problem = listing::page(&Answer::of(200, &[], body), "f/").unwrap_err().to_string();
    assert!(problem.contains(expected), "{problem}");
}

#[rstest]
#[case(Some("acc.dfs.core.windows.net"), &[], "acc", "https://acc.blob.core.windows.net/")]
#[case(Some("acc.z12.dfs.storage.azure.net"), &[], "acc", "https://acc.z12.blob.storage.azure.net/")]
#[case(Some("onelake.dfs.fabric.microsoft.com"), &[], "onelake", "https://onelake.blob.fabric.microsoft.com/")]
#[case(Some("acc.dfs.core.windows.net"), &[("azure_endpoint", "https://proxy/x")], "acc", "https://proxy/x")]
#[case(None, &[("azure_storage_account_name", "mine")], "mine", "https://mine.blob.core.windows.net/")]
#[case(None, &[], "env", "https://env.blob.core.windows.net/")]
fn account_is_that_of_the_url_or_of_the_options(
    #[case] host: Option<&str>,
    #[case] options: &[(&'static str, &str)],
    #[case] name: &str,
    #[case] endpoint: &str,
) {
    let set = Set::of(options, &[("AZURE_STORAGE_ACCOUNT", "env")]);
    let account = Account::of(host, &set).unwrap();
    assert_eq!((account.name.as_str(), account.endpoint.as_str()), (name, endpoint));
}

#[rstest]
#[case(Some("acc.example.com"), &[], "is no host of Azure")]
#[case(Some("acc.dfs.core.windows.net.example.com"), &[], "is no host of Azure")]
#[case(None, &[], "no storage account")]
#[case(None, &[("azure_storage_account_name", "evil.com/")], "is no name of a storage account")]
#[case(None, &[("azure_storage_account_name", "a"), ("azure_endpoint", "http://10.0.0.1")], "in the clear")]
fn account_that_tokens_must_not_go_to_is_refused(
    #[case] host: Option<&str>,
    #[case] options: &[(&'static str, &str)],
    #[case] expected: &str,
) {
    let problem = Account::of(host, &Set::of(options, &[])).unwrap_err().to_string();
    assert!(problem.contains(expected), "{problem}");
}

#[rstest]
#[case(&[("azure_storage_account_key", "k"), ("azure_storage_sas_token", "s")], &[], "SharedKey")]
#[case(&[("azure_storage_sas_token", "?s")], &[("AZURE_STORAGE_ACCOUNT_KEY", "k")], "SasToken")]
#[case(&[], &[("AZURE_STORAGE_ACCOUNT_KEY", "k")], "SharedKey")]
#[case(&[], &[("AZURE_STORAGE_ACCOUNT_KEY", "k"), ("AZURE_STORAGE_ACCOUNT", "other")], "Ambient")]
#[case(&[], &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")], "Secret")]
#[case(&[("azure_client_id", "mine")], &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_SECRET", "s")], "Ambient")]
#[case(
    &[("azure_client_id", "mine")],
    &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_FEDERATED_TOKEN_FILE", "f")],
    "Workload"
)]
#[case(&[("azure_client_id", "mine")], &[("AZURE_STORAGE_ACCOUNT_KEY", "k")], "Ambient")]
#[case(&[], &[], "Ambient")]
fn login_is_what_is_set(
    #[case] options: &[(&'static str, &str)],
    #[case] environment: &[(&str, &str)],
    #[case] expected: &str,
) {
    let login = Login::of("account", &Set::of(options, environment)).unwrap();
    assert!(format!("{login:?}").contains(expected), "{login:?}");
}

#[test]
fn half_a_principal_is_told() {
    let set = Set::of(&[("azure_client_secret", "very-secret"), ("azure_tenant_id", "t")], &[]);
    let problem = Login::of("account", &set).unwrap_err().to_string();
    assert_eq!(problem, "`azure_client_secret` needs `azure_client_id` and `azure_tenant_id`");
}

#[rstest]
#[case(403, "AuthorizationPermissionMismatch", "not allowed: NEED (AuthorizationPermissionMismatch)")]
#[case(403, "AuthorizationFailure", "not allowed: NEED, and an address that the account's firewall lets in,")]
#[case(403, "AuthenticationFailed", "the credentials are not accepted (AuthenticationFailed)")]
#[case(401, "", "the credentials are not accepted (401 Unauthorized)")]
#[case(403, "KeyBasedAuthenticationNotPermitted", "the account takes no keys")]
#[case(404, "ContainerNotFound", "does not exist")]
#[case(409, "PathConflict", "gave an answer that cannot be used: PathConflict")]
fn refusals_say_what_is_needed(#[case] status: u16, #[case] code: &str, #[case] expected: &str) {
    let headers = [("x-ms-error-code", code)];
    let headers = if code.is_empty() { &headers[..0] } else { &headers[..] };
    let told = refusal(&Answer::of(status, headers, ""), "NEED").to_string();
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn clock_that_is_wrong_is_named() {
    let told = refusal(
        &Answer::of(
            403,
            &[("x-ms-error-code", "AuthenticationFailed"), ("date", "Fri, 01 Mar 2024 10:00:00 GMT")],
            "",
        ),
        "NEED",
    );
    assert!(told.to_string().contains("this machine's clock differs from Azure's by"), "{told}");
}

/// Gives tokens by number; the blob service in it believes only the second.
async fn entra_and_blobs(State(tokens): State<Arc<AtomicU32>>, request: Request) -> Response {
    if request.uri().path().ends_with("/oauth2/v2.0/token") {
        let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
        return format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#).into_response();
    }
    let authorization = request.headers()["authorization"].to_str().unwrap();
    if authorization == "Bearer token-2" {
        return "body".into_response();
    }
    (StatusCode::UNAUTHORIZED, [("x-ms-error-code", "InvalidAuthenticationInfo")]).into_response()
}

#[tokio::test]
async fn token_that_is_not_believed_is_replaced_once_and_kept() {
    let tokens = Arc::new(AtomicU32::new(0));
    let routes = axum::Router::new().fallback(entra_and_blobs).with_state(Arc::clone(&tokens));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await });
    let variables = [
        ("AZURE_AUTHORITY_HOST", url.as_str()),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "s"),
    ];
    let variables: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let store = Azure {
        account: Account { name: "a".to_owned(), endpoint: url.parse().unwrap(), lake: None },
        container: "c".to_owned(),
        folder: String::new(),
        credentials: AzureCredentials::with(Login::Secret, signing::context(&variables, &[])),
        wire: Wire::new(&url).unwrap(),
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    for _ in 0..2 {
        assert_eq!(store.read("x", deadline).await.unwrap().unwrap(), "body");
    }
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
    store.credentials.forget().await;
    let error = store.read("x", deadline).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "file `az://c/x`: the credentials are not accepted (InvalidAuthenticationInfo)"
    );
}
