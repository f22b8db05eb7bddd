//! What the libraries for credentials of clouds need from us: files, HTTP, and an environment in which the options of an
//! ACON stand before the process's own.

pub(crate) mod sigv4;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http;
use bytes::Bytes;
use reqsign_core::{Context, FileRead, HttpSend, StaticEnv};

use crate::secrets;

/// A context in whose environment `set` stands before what the process has. Where one of the `alone` variables is set,
/// the process's others of the same list are not seen: halves of two logins make none.
pub(crate) fn context(set: &BTreeMap<String, String>, alone: &[&[&str]]) -> Context {
    let mut environment = secrets::environment();
    for group in alone {
        if group.iter().any(|name| set.contains_key(*name)) {
            environment.retain(|name, _| !group.contains(&name.as_str()));
        }
    }
    environment.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
    let environment = StaticEnv { home_dir: std::env::home_dir(), envs: environment.into_iter().collect() };
    Context::new().with_file_read(Files).with_http_send(Http(client())).with_env(environment)
}

/// A client for logins. It follows no redirect, which could lead a secret elsewhere, and waits for nobody: where no
/// machine of a cloud is, nobody answers.
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(10))
        .build()
        // As `Client::new` does: without TLS there is nothing to do here.
        .expect("a client for logins is built")
}

/// How the credentials' library reads files.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let read = tokio::fs::read(path).await;
        read.map_err(|error| {
            reqsign_core::Error::unexpected(format!("file `{path}` cannot be read")).with_source(error)
        })
    }
}

/// How the credentials' library asks.
#[derive(Debug)]
struct Http(reqwest::Client);

impl HttpSend for Http {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let failed = |error: reqwest::Error| {
            reqsign_core::Error::unexpected("no answer").with_source(error.without_url())
        };
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let answer = self.0.execute(request).await.map_err(failed)?;
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = answer.bytes().await.map_err(failed)?;
        Ok(response)
    }
}
