//! Sessions, tokens and stores are renewed while a source lives, and no row notices.

use std::path::Path;

use super::*;
use crate::support::wait::until;

async fn looks_good(source: &KafkaSource, bed: &Bed, seconds: u64) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut looks = 0;
    while Instant::now() < end {
        look(source, &bed.topic).await.unwrap_or_else(|error| panic!("after {looks} looks: {error}"));
        looks += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(looks > seconds, "{looks} looks");
}

#[tokio::test]
async fn a_session_that_ends_is_begun_anew_in_time() {
    let Some(bed) = Bed::new().await else { return };
    let options = json!({
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "alice",
        "sasl.password": "alice-secret",
    });
    // The broker ends a session after 10 s.
    looks_good(&bed.source("REAUTH", &options), &bed, 22).await;
}

/// Long enough for a token of a minute, which is what the OpenID server gives unless told otherwise.
#[tokio::test]
async fn a_token_that_ends_is_renewed_in_time() {
    let Some(bed) = Bed::new().await else { return };
    looks_good(&bed.source("OAUTH", &super::modes::oauth(&bed, "oidc-secret")), &bed, 63).await;
}

fn put(from: &str, to: &Path) {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).unwrap();
    std::fs::rename(new, to).unwrap();
}

#[tokio::test]
async fn stores_that_change_are_used_without_a_restart() {
    let Some(bed) = Bed::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own.jks");
    put(&bed.store("client.jks"), &own);
    let mut options = bed.showing("client.jks");
    options["ssl.keystore.location"] = json!(own);
    let source = bed.source("MTLS", &options);
    look(&source, &bed.topic).await.unwrap();
    assert_eq!(source.ending_certificates(), Vec::<String>::new());

    put(&bed.store("soon-client.jks"), &own);
    let ending = until("the new certificate", async || {
        look(&source, &bed.topic).await.unwrap();
        let ending = source.ending_certificates();
        if ending.is_empty() { Err("none ends soon") } else { Ok(ending) }
    })
    .await;
    let store = own.display();
    assert!(
        ending[0]
            .starts_with(&format!("client certificate of keystore `{store}` `CN=heartbeat-client` ends at")),
        "{ending:?}"
    );
    assert!(source.certificate_ends().iter().any(|end| end.what == "certificate of broker 127.0.0.1"));

    // What cannot be read changes nothing for whoever is in.
    std::fs::write(&own, "rubbish").unwrap();
    for _ in 0..5 {
        look(&source, &bed.topic).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bed.is_told("MTLS", &options, &["is neither JKS, PKCS#12 nor PEM"]).await;

    // Nor does a certificate that the broker refuses.
    put(&bed.store("stranger.jks"), &own);
    for _ in 0..8 {
        look(&source, &bed.topic).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(source.ending_certificates(), ending);
    bed.is_told("MTLS", &options, &["`CN=heartbeat-client` signed by `CN=heartbeat-other-ca`"]).await;
    put(&bed.store("client.jks"), &own);
    until("the first certificate again", async || {
        look(&source, &bed.topic).await.unwrap();
        if source.ending_certificates().is_empty() { Ok(()) } else { Err("the one before") }
    })
    .await;
}

#[tokio::test]
async fn a_password_that_is_wrong_replaces_none_that_works() {
    let Some(bed) = Bed::new().await else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = |mechanism: &str| {
        json!({
            "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism, "sasl.username": "alice",
            "sasl.password": format!("file:{}", file.path().display()),
        })
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        std::fs::write(file.path(), "alice-secret").unwrap();
        // The broker ends a session after 10 s, so that logging in anew is not only a trial.
        let source = bed.source("REAUTH", &options(mechanism));
        look(&source, &bed.topic).await.unwrap();
        std::fs::write(file.path(), "wrong-secret").unwrap();
        let end = Instant::now() + Duration::from_secs(11);
        while Instant::now() < end {
            look(&source, &bed.topic).await.unwrap();
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        bed.is_told("REAUTH", &options(mechanism), &["the broker refused user `alice`"]).await;
    }
}

/// Whom somebody took out of the truststore is not believed because nobody else answers.
#[tokio::test]
async fn a_truststore_that_is_changed_counts_at_once() {
    let Some(bed) = Bed::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("trusted.jks");
    put(&bed.store("truststore.jks"), &trusted);
    let options = json!({"ssl.truststore.location": trusted, "ssl.truststore.password": "heartbeat-test"});
    let source = bed.source("SSL", &options);
    look(&source, &bed.topic).await.unwrap();
    put(&bed.store("other-truststore.jks"), &trusted);
    let told = until("a refusal", async || match look(&source, &bed.topic).await {
        Ok(_) => Err("still in"),
        Err(told) => Ok(told),
    })
    .await;
    assert!(told.contains("not from anybody whom we trust"), "{told}");
    put(&bed.store("truststore.jks"), &trusted);
    until("the first truststore again", async || look(&source, &bed.topic).await).await;
}
