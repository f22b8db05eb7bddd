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

    // That connections are really opened anew is seen by a certificate that the broker refuses.
    put(&bed.store("stranger.jks"), &own);
    until("a refusal", async || match look(&source, &bed.topic).await {
        Ok(_) => Err("still in"),
        Err(told) => Ok(told),
    })
    .await;
    put(&bed.store("client.jks"), &own);
    until("the first certificate again", async || look(&source, &bed.topic).await).await;
}
