//! Azure Blob Storage against Azurite, which checks signatures.

use axum::http::Request;
use bytes::Bytes;
use heartbeat::stores::{Created, Fault, Listing, Start, Store};
use reqsign_azure_storage::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest as _};

use super::contract::{NO_PATHS, all, contract, create, many, paths};
use crate::support::stores::{Lossy, Servers, fresh, open, soon};

/// Azurite, with its account.
struct Azurite {
    url: String,
    account: String,
    key: String,
}

impl Azurite {
    fn real() -> Option<Self> {
        let servers = Servers::real()?;
        let (account, key) =
            (servers.get("AZURITE_ACCOUNT").to_owned(), servers.get("AZURITE_KEY").to_owned());
        Some(Self { url: format!("{}/{account}", servers.get("AZURITE")), account, key })
    }

    async fn store(&self, container: &str, folder: &str, login: &[(&str, &str)]) -> Store {
        let mut options =
            vec![("azure_endpoint", self.url.as_str()), ("azure_storage_account_name", &self.account)];
        options.extend(login);
        open(&format!("az://{container}/{folder}"), &options).await.unwrap()
    }

    async fn with_key(&self, folder: &str) -> Store {
        self.store("heartbeat", folder, &[("azure_storage_account_key", &self.key)]).await
    }

    /// A request of ours beside the client.
    async fn put(&self, path: &str, headers: &[(&str, &str)]) {
        let mut request = Request::put(format!("{}/{path}", self.url)).header("x-ms-version", "2023-11-03");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.header("content-length", "0").body(()).unwrap().into_parts();
        let credential = Credential::with_shared_key(&self.account, &self.key);
        RequestSigner::new()
            .sign_request(&Context::new(), &mut parts, Some(&credential), None)
            .await
            .unwrap();
        let request = Request::from_parts(parts, Bytes::new());
        let answer = reqwest::Client::new().execute(request.try_into().unwrap()).await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    /// A signature for the container that allows what the letters say.
    async fn signature(&self, permissions: &str, valid: std::time::Duration) -> String {
        let url = format!("http://{}.blob.core.windows.net/heartbeat", self.account);
        let (mut parts, ()) = Request::get(url).body(()).unwrap().into_parts();
        let credential = Credential::with_shared_key(&self.account, &self.key);
        RequestSigner::new()
            .with_service_sas_permissions(permissions)
            .sign_request(&Context::new(), &mut parts, Some(&credential), Some(valid))
            .await
            .unwrap();
        parts.uri.query().unwrap().to_owned()
    }
}

fn whole() -> Listing<'static> {
    Listing { prefix: "", start: Start::Beginning, limit: 10 }
}

#[tokio::test]
async fn azure_keeps_the_contract() {
    let Some(azurite) = Azurite::real() else { return };
    let store = azurite.with_key(&fresh()).await;
    contract(&store, &NO_PATHS).await;
    many(&store).await;
}

#[tokio::test]
async fn creation_whose_answer_was_lost_is_known_for_ours_on_azure() {
    let Some(mut azurite) = Azurite::real() else { return };
    let (server, account) = azurite.url.rsplit_once('/').unwrap();
    let lossy = Lossy::before(server, "PUT").await;
    azurite.url = format!("{}/{account}", lossy.url);
    let store = azurite.with_key(&fresh()).await;
    assert_eq!(create(&store, "x", b"ours").await, Created::Done);
    assert!(lossy.has_lost());
    assert_eq!(create(&store, "x", b"again").await, Created::Taken);
}

#[tokio::test]
async fn folders_of_hadoop_are_no_files() {
    let Some(azurite) = Azurite::real() else { return };
    let folder = fresh();
    let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-meta-hdi_isfolder", "true")];
    azurite.put(&format!("heartbeat/{folder}/s"), &headers).await;
    azurite.put(&format!("heartbeat/{folder}/s/empty"), &headers[..1]).await;
    let store = azurite.with_key(&folder).await;
    assert_eq!(paths(&all(&store, "", 1000).await), ["s/empty"]);
}

#[tokio::test]
async fn missing_container_is_told() {
    let Some(azurite) = Azurite::real() else { return };
    let store = azurite.store("none", "x", &[("azure_storage_account_key", &azurite.key)]).await;
    let error = store.list(&whole(), soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Missing), "{error}");
    let error = store.read("x", soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Missing), "{error}");
    let error = store.create("x", Bytes::new(), soon()).await.unwrap_err();
    assert_eq!(error.to_string(), "file `az://none/x/x`: does not exist");
}

#[tokio::test]
async fn wrong_key_is_told_and_not_shown() {
    let Some(azurite) = Azurite::real() else { return };
    let key = "d3Jvbmctc2VjcmV0";
    let store = azurite.store("heartbeat", "x", &[("azure_storage_account_key", key)]).await;
    let error = store.list(&whole(), soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Credentials(_)), "{error}");
    assert!(
        error.to_string().contains("AuthenticationFailed")
            || error.to_string().contains("AuthorizationFailure")
    );
    assert!(!format!("{error:?} {store:?}").contains(key));
}

#[tokio::test]
async fn shared_access_signature_allows_what_it_says() {
    let Some(azurite) = Azurite::real() else { return };
    let folder = fresh();
    let hour = std::time::Duration::from_hours(1);
    let reader = azurite.signature("rl", hour).await;
    let store =
        azurite.store("heartbeat", &folder, &[("azure_storage_sas_token", &format!("?{reader}"))]).await;
    assert_eq!(all(&store, "", 10).await, []);
    let error = store.create("x", Bytes::new(), soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Forbidden { .. }), "{error}");
    assert!(error.to_string().contains("Storage Blob Data Contributor"), "{error}");
    let creator = azurite.signature("cw", hour).await;
    let store = azurite.store("heartbeat", &folder, &[("azure_storage_sas_token", &creator)]).await;
    assert_eq!(create(&store, "x", b"1").await, Created::Done);
    assert_eq!(create(&store, "x", b"2").await, Created::Taken);
    let error = store.list(&whole(), soon()).await.unwrap_err();
    let shown = format!("{error} {error:?} {store:?}");
    assert!(matches!(error.fault, Fault::Forbidden { .. }), "{error}");
    assert!(!shown.contains("sig="), "{shown}");
}
