use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::acon::{OAuthLogin, Security};
use heartbeat_core::domain::Domain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::error_chain::chain;

fn access(tls: Tls) -> Arc<Access> {
    Arc::new(Access::new(Security { tls: Some(tls), sasl: None }, Arc::default()))
}

fn trusting(location: &str, password: Option<&str>) -> Tls {
    let password = password.map(|text| SecretRef::parse(text).unwrap());
    let trust = Trust::Store { location: location.to_owned(), password };
    Tls { trust, identity: None, verify_host: true, versions: heartbeat_core::acon::TlsVersions::Both }
}

#[tokio::test]
async fn a_store_that_cannot_be_had_or_used_is_named() {
    let missing = access(trusting("/no/such.jks", None)).load().await.unwrap_err();
    assert_eq!(chain(&missing), "truststore `/no/such.jks`: does not exist");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t").display().to_string();
    std::fs::write(&path, "hello").unwrap();
    let none = access(trusting(&path, Some("x"))).load().await.unwrap_err();
    assert_eq!(chain(&none), format!("truststore `{path}`: is neither JKS, PKCS#12 nor PEM"));
    let unset = access(trusting(&path, Some("env:HEARTBEAT_TEST_UNSET_VARIABLE"))).load().await.unwrap_err();
    assert_eq!(
        chain(&unset),
        format!(
            "password of truststore `{path}`: environment variable `HEARTBEAT_TEST_UNSET_VARIABLE` is not set"
        )
    );
    assert!(!missing.is_passing() && !unset.is_passing());
}

#[tokio::test]
async fn plain_text_needs_nothing_and_is_never_outdated() {
    let access = Arc::new(Access::new(Security::default(), Arc::default()));
    let loaded = access.load().await.unwrap();
    assert!(loaded.tls.is_none() && loaded.sasl.is_none());
    assert!(!access.is_outdated(loaded.generation));
    assert!(access.certificate_ends().is_empty());
}

/// A workspace that answers every secrets/get with the value, or not at all while there is none.
async fn workspace(value: Arc<std::sync::Mutex<Option<&'static str>>>) -> Domain {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let domain = Domain::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _length = stream.read(&mut request).await.unwrap();
            let answer = value.lock().unwrap().map(|value| {
                let body = format!("{{\"key\":\"pw\",\"value\":\"{}\"}}", crate::base64::encode(value.as_bytes()));
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            });
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => held.push(stream),
            }
        }
    });
    domain
}

fn logging_in(secrets: &Arc<Secrets>) -> Arc<Access> {
    let password = SecretRef::parse("scope:sc/pw").unwrap();
    let login = Login::Password { username: SecretRef::parse("u").unwrap(), password, is_token: false };
    let sasl = Sasl { mechanism: Mechanism::ScramSha256, login, oauth: OAuthLogin::default() };
    let access = Access::new(Security { tls: None, sasl: Some(sasl) }, Arc::clone(secrets));
    Arc::new(access.with_recheck(Duration::ZERO))
}

#[tokio::test]
async fn a_workspace_that_hangs_holds_up_nobody_who_has_a_password_already() {
    let value = Arc::new(std::sync::Mutex::new(Some("one")));
    let domain = workspace(Arc::clone(&value)).await;
    let secrets = Arc::new(Secrets::of(&domain, Some(&SecretRef::parse("dapi1").unwrap())));
    let access = logging_in(&secrets);
    let first = access.load().await.unwrap();

    *value.lock().unwrap() = None;
    secrets.forget();
    let began = Instant::now();
    for _ in 0..5 {
        assert!(Arc::ptr_eq(&first, &access.load().await.unwrap()));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(access.reading(), format!("password of the login: scope `sc` key `pw` of {domain}"));
    assert!(!access.is_outdated(first.generation));

    // Whoever has none yet waits, and can say for what.
    let other = logging_in(&secrets);
    assert!(tokio::time::timeout(Duration::from_millis(100), other.load()).await.is_err());
    assert_eq!(other.reading(), access.reading());
}
