//! Every way to come in, each by looking at a topic with one record.

use super::*;

fn merged(a: &Value, b: &Value) -> Value {
    let mut options = a.clone();
    options.as_object_mut().unwrap().extend(b.as_object().unwrap().clone());
    options
}

#[tokio::test]
async fn tls_trusts_stores_of_every_kind() {
    let Some(bed) = Bed::new().await else { return };
    let trusting = |location: &str| json!({"ssl.truststore.location": bed.store(location), "ssl.truststore.password": "heartbeat-test"});
    bed.comes_in("SSL", &trusting("truststore.jks")).await;
    bed.comes_in("SSL", &trusting("truststore.p12")).await;
    bed.comes_in(
        "SSL",
        &json!({"ssl.truststore.location": bed.store("ca.pem"), "ssl.truststore.type": "PEM"}),
    )
    .await;
    // Java reads a JKS without its password too; the type says nothing.
    let without =
        json!({"ssl.truststore.location": bed.store("truststore.jks"), "ssl.truststore.type": "PKCS12"});
    bed.comes_in("SSL", &without).await;
    bed.comes_in("SSL", &json!({"ssl.truststore.certificates": format!("file:{}", bed.store("ca.pem"))}))
        .await;
    let authority = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_file(
        bed.store("ca.pem"),
    );
    let der = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(der.path(), authority.unwrap()).unwrap();
    bed.comes_in("SSL", &json!({"ssl.truststore.location": der.path()})).await;
    // The broker's own certificate is trusted as it is.
    bed.comes_in("SSL", &json!({"ssl.truststore.location": bed.store("broker.pem")})).await;
    let pem = std::fs::read_to_string(bed.store("ca.pem")).unwrap().replace('\n', " ");
    bed.comes_in("SSL", &json!({"ssl.truststore.certificates": pem})).await;
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        bed.comes_in("SSL", &bed.trusting(&json!({"ssl.enabled.protocols": protocol}))).await;
    }
    let location = format!("file://{}", bed.store("truststore.jks"));
    bed.comes_in("SSL", &json!({"ssl.truststore.location": location})).await;
    // The name of the host is not verified, the chain is.
    bed.comes_in("WRONGHOST", &bed.trusting(&json!({"ssl.endpoint.identification.algorithm": ""}))).await;
}

#[tokio::test]
async fn client_certificates_come_from_stores_of_every_kind() {
    let Some(bed) = Bed::new().await else { return };
    bed.comes_in("MTLS", &bed.showing("client.jks")).await;
    bed.comes_in("MTLS", &bed.showing("chain-client.jks")).await;
    bed.comes_in("MTLS", &bed.showing("soon-client.jks")).await;
    let key_store = |name: &str, more: &Value| {
        let own = json!({"ssl.keystore.location": bed.store(name)});
        bed.trusting(&merged(&own, more))
    };
    let password = json!({"ssl.keystore.password": "heartbeat-test"});
    bed.comes_in("MTLS", &key_store("client.p12", &password)).await;
    bed.comes_in("MTLS", &key_store("client-legacy.p12", &password)).await;
    bed.comes_in("MTLS", &key_store("client-all.pem", &json!({}))).await;
    let texts = |key: &str, chain: &str| {
        json!({
            "ssl.keystore.key": format!("file:{}", bed.store(key)),
            "ssl.keystore.certificate.chain": format!("file:{}", bed.store(chain)),
        })
    };
    bed.comes_in("MTLS", &bed.trusting(&texts("client.key", "client.pem"))).await;
    bed.comes_in("MTLS", &bed.trusting(&texts("chain-client.key", "chain-client.pem"))).await;
    for key in ["client.enc.key", "client.enc-3des.key"] {
        let encrypted = merged(&texts(key, "client.pem"), &json!({"ssl.key.password": "heartbeat-key"}));
        bed.comes_in("MTLS", &bed.trusting(&encrypted)).await;
    }
    let old = merged(&bed.showing("client.jks"), &json!({"ssl.protocol": "TLSv1.2"}));
    bed.comes_in("MTLS", &old).await;
}

#[tokio::test]
async fn passwords_log_in_over_tls_and_plain() {
    let Some(bed) = Bed::new().await else { return };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let module = if mechanism == "PLAIN" { "plain.PlainLoginModule" } else { "scram.ScramLoginModule" };
        let jaas = format!(
            "kafkashaded.org.apache.kafka.common.security.{module} required username=\"alice\" password=\"alice-secret\";"
        );
        let java = json!({"kafka.sasl.mechanism": mechanism, "kafka.sasl.jaas.config": jaas});
        let simple =
            json!({"sasl.mechanisms": mechanism, "sasl.username": "alice", "sasl.password": "alice-secret"});
        for login in [java, simple] {
            let tls = bed.trusting(&merged(&login, &json!({"security.protocol": "SASL_SSL"})));
            bed.comes_in("SASL_SSL", &tls).await;
            let plain = merged(&login, &json!({"security.protocol": "SASL_PLAINTEXT"}));
            bed.comes_in("SASL_PLAINTEXT", &plain).await;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jaas");
    std::fs::write(&path, "a.PlainLoginModule required username=\"alice\" password=\"alice-secret\";\n")
        .unwrap();
    let kept = json!({
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": format!("file:{}", path.display()),
    });
    bed.comes_in("SASL_PLAINTEXT", &kept).await;
}

pub(super) fn oauth(bed: &Bed, secret: &str) -> Value {
    bed.trusting(&json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": bed.addresses["OIDC_TOKEN_URL"],
        "sasl.jaas.config": format!(
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
             clientId=\"heartbeat\" clientSecret=\"{secret}\" scope=\"kafka\";"
        ),
    }))
}

/// The OpenID server behind TLS with a certificate of the stores: the address that stands for it.
pub(super) async fn oidc_behind_tls(bed: &Bed, certificate: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(bed.store(&format!("{certificate}.pem"))).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(bed.store(&format!("{certificate}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let behind = bed.addresses["OIDC_TOKEN_URL"].strip_prefix("http://").unwrap();
    let behind = behind.split('/').next().unwrap().to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut server = tokio::net::TcpStream::connect(behind).await.unwrap();
                let _over = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    format!("https://{address}/token")
}

#[tokio::test]
async fn a_token_endpoint_is_trusted_by_the_truststore_or_described() {
    let Some(bed) = Bed::new().await else { return };
    let mut options = oauth(&bed, "oidc-secret");
    options["sasl.oauthbearer.token.endpoint.url"] = json!(oidc_behind_tls(&bed, "broker").await);
    bed.comes_in("OAUTH", &options).await;
    let stranger = oidc_behind_tls(&bed, "stranger").await;
    options["sasl.oauthbearer.token.endpoint.url"] = json!(stranger);
    let parts = [&*format!("token endpoint {stranger}: its certificate is not believed (")];
    bed.is_told("OAUTH", &options, &parts).await;
}

#[tokio::test]
async fn tokens_of_an_openid_server_log_in() {
    let Some(bed) = Bed::new().await else { return };
    bed.comes_in("OAUTH", &oauth(&bed, "oidc-secret")).await;
    let simple = bed.trusting(&json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": bed.addresses["OIDC_TOKEN_URL"],
        "sasl.oauthbearer.client.credentials.client.id": "heartbeat",
        "sasl.oauthbearer.client.credentials.client.secret": "literal:oidc-secret",
        "sasl.oauthbearer.scope": "kafka", "sasl.oauthbearer.extensions": "traceId=1",
    }));
    bed.comes_in("OAUTH", &simple).await;
}
