//! Every way to be refused, each with the sentence that says what to mend.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;

fn login(mechanism: &str, user: &str, password: &str) -> Value {
    json!({
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password,
    })
}

#[tokio::test]
async fn brokers_that_are_not_believed_are_described() {
    let Some(bed) = Bed::new().await else { return };
    let other = bed.store("other-truststore.jks");
    let stranger = json!({"ssl.truststore.location": other, "ssl.truststore.password": "heartbeat-test"});
    let parts = [
        "the broker's certificate is not from anybody whom we trust",
        "`CN=heartbeat-broker` signed by `CN=heartbeat-ca`",
        &format!("truststore `{other}` trusts `CN=heartbeat-other-ca`"),
    ];
    bed.is_told("SSL", &stranger, &parts).await;
    bed.is_told(
        "SSL",
        &json!({"security.protocol": "SSL"}),
        &["not from anybody whom we trust", "the system trusts"],
    )
    .await;
    let parts = ["the broker's certificate is for `elsewhere.example`, not for `127.0.0.1`"];
    bed.is_told("WRONGHOST", &bed.trusting(&json!({})), &parts).await;
    let unverified = json!({"ssl.truststore.location": other, "ssl.endpoint.identification.algorithm": ""});
    bed.is_told("WRONGHOST", &unverified, &["not from anybody whom we trust"]).await;
}

#[tokio::test]
async fn client_certificates_that_are_refused_are_described() {
    let Some(bed) = Bed::new().await else { return };
    for version in ["TLSv1.2", "TLSv1.3"] {
        let with = |mut options: Value| {
            options["ssl.enabled.protocols"] = json!(version);
            options
        };
        let none = with(bed.trusting(&json!({})));
        bed.is_told("MTLS", &none, &["require", "a client certificate"]).await;
        let parts = ["certificate", "`CN=heartbeat-client` signed by `CN=heartbeat-other-ca`"];
        bed.is_told("MTLS", &with(bed.showing("stranger.jks")), &parts).await;
    }
    let parts = ["expired-client.jks`: the client certificate ended at 20", "`CN=heartbeat-client`"];
    bed.is_told("MTLS", &bed.showing("expired-client.jks"), &parts).await;
}

#[tokio::test]
async fn stores_that_cannot_be_opened_are_named() {
    let Some(bed) = Bed::new().await else { return };
    let change = |name: &str, value: &str| {
        let mut options = bed.showing("client.jks");
        options[name] = json!(value);
        options
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong-secret").unwrap();
    let place = format!("file:{}", file.path().display());
    let truststore = bed.store("truststore.jks");
    let wrong =
        format!("truststore `{truststore}` (password from file `{}`): wrong password", file.path().display());
    bed.is_told("MTLS", &change("ssl.truststore.password", &place), &[&wrong]).await;
    bed.is_told("MTLS", &change("ssl.keystore.password", &place), &["keystore `", "wrong password"]).await;
    let parts = ["that of the key from the configuration): wrong password of the key"];
    bed.is_told("MTLS", &change("ssl.key.password", "wrong-secret"), &parts).await;
    let parts = [&*format!("keystore `{truststore}`: holds no private key")];
    bed.is_told("MTLS", &change("ssl.keystore.location", &truststore), &parts).await;
    bed.is_told(
        "MTLS",
        &change("ssl.keystore.location", "/no/such.jks"),
        &["`/no/such.jks`: does not exist"],
    )
    .await;
    let parts = ["is neither JKS, PKCS#12 nor PEM"];
    bed.is_told("MTLS", &change("ssl.keystore.location", &file.path().display().to_string()), &parts).await;
    for name in ["client.p12", "client-legacy.p12"] {
        let mut options = change("ssl.keystore.location", &bed.store(name));
        options["ssl.keystore.password"] = json!("wrong-secret");
        bed.is_told("MTLS", &options, &["(password from the configuration", "wrong password"]).await;
    }
    let mut encrypted = bed.trusting(&json!({
        "ssl.keystore.key": format!("file:{}", bed.store("client.enc.key")),
        "ssl.keystore.certificate.chain": format!("file:{}", bed.store("client.pem")),
    }));
    bed.is_told("MTLS", &encrypted, &["`ssl.keystore.key`: its key is encrypted and needs a password"]).await;
    encrypted["ssl.key.password"] = json!("wrong-secret");
    let parts = [
        "`ssl.keystore.key` (password from `ssl.key.password`, the configuration): wrong password of the key",
    ];
    bed.is_told("MTLS", &encrypted, &parts).await;
    encrypted["ssl.keystore.key"] = json!(format!("file:{}", bed.store("client.enc-3des.key")));
    bed.is_told("MTLS", &encrypted, &["wrong password of the key"]).await;
    encrypted["ssl.key.password"] = json!("heartbeat-key");
    encrypted["ssl.keystore.certificate.chain"] = json!(format!("file:{}", bed.store("stranger.pem")));
    bed.is_told("MTLS", &encrypted, &["its key and its certificate do not belong together"]).await;
}

#[tokio::test]
async fn ports_of_another_kind_are_guessed() {
    let Some(bed) = Bed::new().await else { return };
    bed.is_told("SSL", &json!({}), &["TLS", "`security.protocol`"]).await;
    bed.is_told("PLAINTEXT", &bed.trusting(&json!({})), &["PLAINTEXT"]).await;
    bed.is_told("SASL_PLAINTEXT", &json!({}), &["it may want a login"]).await;
    bed.is_told("SASL_SSL", &bed.trusting(&json!({})), &["it may want a login"]).await;
    bed.is_told("PLAINTEXT", &login("PLAIN", "alice", "alice-secret"), &["this listener knows no login"])
        .await;
}

#[tokio::test]
async fn logins_that_are_refused_say_what_the_broker_said() {
    let Some(bed) = Bed::new().await else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let parts = [
            &*format!("login failed: the broker refused user `alice` ({mechanism}): Authentication failed"),
            "nvalid",
        ];
        bed.is_told("SASL_PLAINTEXT", &login(mechanism, "alice", "wrong-secret"), &parts).await;
    }
    let parts = ["SCRAM-SHA-256 is not enabled on this listener; it offers OAUTHBEARER"];
    let mut other = login("SCRAM-SHA-256", "alice", "alice-secret");
    other["security.protocol"] = json!("SASL_SSL");
    bed.is_told("OAUTH", &bed.trusting(&other), &parts).await;
    let parts =
        ["token endpoint http://127.0.0.1", "refused: invalid_client", "check the client's id and secret"];
    bed.is_told("OAUTH", &super::modes::oauth(&bed, "wrong-secret"), &parts).await;
    let mut nobody = super::modes::oauth(&bed, "oidc-secret");
    nobody["sasl.oauthbearer.token.endpoint.url"] = json!("http://127.0.0.1:9/token");
    bed.is_told("OAUTH", &nobody, &["token endpoint http://127.0.0.1:9/token does not answer"]).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "wrong-secret.wrong-secret.wrong-secret").unwrap();
    let file = bed.trusting(&json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": format!("file:{}", token.path().display()),
    }));
    bed.is_told("OAUTH", &file, &["login failed: the broker refused"]).await;
}

#[tokio::test]
async fn rights_that_are_missing_are_named_with_who_lacks_them() {
    let Some(bed) = Bed::new().await else { return };
    for (prefix, right) in [("hb-denied-", "DESCRIBE"), ("hb-noread-", "READ")] {
        let topic = format!("{prefix}{}", random_topic());
        bed.client.create_topic(&topic, 1).await;
        bed.client.produce(&topic, 0, ONE, Compression::None).await;
        for (listener, options, who) in [
            ("SASL_PLAINTEXT", login("PLAIN", "alice", "alice-secret"), "user `alice` (PLAIN)"),
            ("MTLS", bed.showing("client.jks"), "`CN=heartbeat-client`"),
        ] {
            let told = bed.look_at(&topic, listener, &options).await.unwrap_err();
            let address = &bed.addresses[listener];
            let expected = format!(
                "no right to look at topic `{topic}` on {address}: no {right} right on topic `{topic}` for {who}"
            );
            assert_eq!(told, expected);
        }
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_stops_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            held.push(tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
            }));
        }
    });
    let plain = login("SCRAM-SHA-256", "alice", "alice-secret");
    let tls = json!({"security.protocol": "SSL", "ssl.truststore.certificates": CA});
    for (options, step) in [(tls, "in the TLS handshake"), (plain, "")] {
        let source =
            KafkaSource::new([product(&address, &options)].into(), &Clusters::default(), &Arc::default());
        let began = Instant::now();
        let told = look_until(&source, "t", began + Duration::from_secs(1)).await.unwrap_err();
        assert!(told.contains(step) && told.contains("did not answer in time"), "{told}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

/// Any certificate: nobody gets so far as to show another.
const CA: &str = include_str!("ca.pem");
