use super::*;

fn access(tls: Tls) -> Access {
    Access::new(Security { tls: Some(tls), sasl: None }, Arc::default())
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
