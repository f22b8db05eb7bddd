use rstest::rstest;
use serde_json::json;

use super::super::super::{Acon, Finding, Reading, SourceConfig};
use super::*;
use crate::secret::Secret;

const HIDDEN: &str = "s3cr3t-v4lue";

/// Reads an ACON whose product `p` has these keys, with these `kafka_options`.
fn reading(product: &Value, options: &Value) -> Reading {
    let mut own = product.clone();
    own["kafka_bootstrap_servers_list"] = json!("k:1");
    let document = json!({
        "sensor_source": "kafka", "data_format": "kafka",
        "heartbeat_sensor_db_table": "d.c", "lakehouse_engine_sensor_db_table": "d.s",
        "domain": "dbc", "kafka_configs": {"p": own}, "kafka_secret_scope": "sc", "kafka_options": options,
    });
    Acon::from_value(&document)
}

fn security(product: &Value, options: &Value) -> Security {
    let acon = reading(product, options).result.unwrap();
    let SourceConfig::Kafka(products) = acon.source else { panic!("kafka expected") };
    products["p"].security.clone()
}

fn texts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

fn mistakes(product: &Value, options: &Value) -> Vec<String> {
    texts(&reading(product, options).result.unwrap_err())
}

fn scope(key: &str) -> SecretRef {
    SecretRef::Scope { scope: "sc".into(), key: key.into() }
}

fn literal(text: &str) -> SecretRef {
    SecretRef::Literal(Secret::new(text))
}

#[test]
fn the_originals_five_keys_are_mutual_tls_with_passwords_of_the_scope() {
    let product = json!({
        "kafka_ssl_truststore_location": "/dbfs/t.jks", "truststore_pwd_secret_key": "T",
        "kafka_ssl_keystore_location": "/dbfs/k.jks", "keystore_pwd_secret_key": "K",
    });
    let read = security(&product, &json!({}));
    assert_eq!(read.protocol(), "SSL");
    let tls = read.tls.unwrap();
    assert_eq!(tls.trust, Trust::Store { location: "/dbfs/t.jks".into(), password: Some(scope("T")) });
    let identity =
        Identity::Store { location: "/dbfs/k.jks".into(), password: Some(scope("K")), key_password: None };
    assert_eq!((tls.identity, tls.verify_host), (Some(identity), true));
}

#[rstest]
#[case::empty_key("", None)]
#[case::environment("env:T", Some(SecretRef::Env("T".into())))]
#[case::file("file:/t", Some(SecretRef::File("/t".into())))]
#[case::other_scope("scope:o/k", Some(SecretRef::Scope { scope: "o".into(), key: "k".into() }))]
#[case::as_databricks("{{secrets/o/k}}", Some(SecretRef::Scope { scope: "o".into(), key: "k".into() }))]
#[case::literal("literal:x", Some(SecretRef::Literal(Secret::new("x"))))]
#[case::key("a:b", Some(SecretRef::Scope { scope: "sc".into(), key: "a:b".into() }))]
fn a_password_key_is_of_the_scope_or_a_reference(#[case] key: &str, #[case] expected: Option<SecretRef>) {
    let product = json!({"kafka_ssl_truststore_location": "/t.jks", "truststore_pwd_secret_key": key});
    let Trust::Store { password, .. } = security(&product, &json!({})).tls.unwrap().trust else { panic!() };
    assert_eq!(password, expected);
}

#[rstest]
#[case(json!({}), "PLAINTEXT")]
#[case(json!({"security.protocol": "ssl"}), "SSL")]
#[case(json!({"ssl.truststore.location": "/t"}), "SSL")]
#[case(json!({"kafka.ssl.keystore.LOCATION": "/k"}), "SSL")]
#[case(json!({"ssl.truststore.certificates": "file:/ca.pem"}), "SSL")]
#[case(json!({"kafka.security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"}), "SASL_SSL")]
#[case(json!({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "scram-sha-256", "sasl.username": "u", "sasl.password": "p"}), "SASL_PLAINTEXT")]
fn stores_and_the_protocol_decide(#[case] options: Value, #[case] expected: &str) {
    let stores = json!({"kafka_ssl_truststore_location": "", "kafka_ssl_keystore_location": null});
    assert_eq!(security(&stores, &options).protocol(), expected);
}

#[rstest]
#[case::store_in_the_clear(
    json!({"security.protocol": "PLAINTEXT", "ssl.truststore.location": "/t"}),
    "kafka_options.ssl.truststore.location: a store that cannot be used is an error, never plaintext: `security.protocol` is PLAINTEXT; make it SSL, or leave the store out"
)]
#[case::store_with_sasl_in_the_clear(
    json!({"security.protocol": "SASL_PLAINTEXT", "ssl.keystore.location": "/t", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": HIDDEN}),
    "`security.protocol` is SASL_PLAINTEXT; make it SASL_SSL"
)]
#[case::login_without_sasl(
    json!({"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": HIDDEN}),
    "kafka_options.sasl.username: a login needs SASL: set `security.protocol` to SASL_SSL"
)]
#[case::no_mechanism(
    json!({"security.protocol": "SASL_SSL", "sasl.username": "u", "sasl.password": HIDDEN}),
    "kafka_options.security.protocol: a SASL protocol needs `sasl.mechanism`: one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM"
)]
#[case::no_credentials(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u"}),
    "kafka_options.sasl.mechanism: SCRAM-SHA-512 needs `sasl.jaas.config`, or"
)]
#[case::unknown_mechanism(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-1"}),
    "kafka_options.sasl.mechanism: is no mechanism that is carried; those are PLAIN"
)]
#[case::kerberos(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}),
    "Kerberos (GSSAPI) is not carried: it needs the system's Kerberos libraries"
)]
#[case::unknown_protocol(json!({"security.protocol": "TLS"}), "is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")]
#[case::two_truststores(
    json!({"ssl.truststore.location": "/t", "ssl.truststore.certificates": HIDDEN}),
    "kafka_options.ssl.truststore.certificates: excludes a truststore"
)]
#[case::key_without_chain(json!({"ssl.keystore.key": HIDDEN}), "needs `ssl.keystore.certificate.chain` beside it")]
#[case::chain_without_key(json!({"ssl.keystore.certificate.chain": "x"}), "needs `ssl.keystore.key` beside it")]
#[case::password_without_store(json!({"ssl.keystore.password": HIDDEN}), "there is no keystore that this password could open")]
#[case::key_password_without_key(json!({"ssl.key.password": HIDDEN}), "there is no key that this password could open")]
#[case::other_store(json!({"ssl.truststore.location": "/t", "ssl.truststore.type": "BCFKS"}), "must be `JKS`, `PKCS12` or `PEM`")]
#[case::other_scheme(json!({"ssl.truststore.location": "ftp://t"}), "`ftp:` locations cannot be opened")]
#[case::old_tls(json!({"security.protocol": "SSL", "ssl.enabled.protocols": "TLSv1.1"}), "needs `TLSv1.2` or `TLSv1.3`")]
#[case::odd_identification(json!({"ssl.endpoint.identification.algorithm": "ldaps"}), "must be `https`, or empty")]
#[case::two_spellings(
    json!({"sasl.mechanism": "PLAIN", "sasl.mechanisms": "SCRAM-SHA-256"}),
    "kafka_options.sasl.mechanisms: contradicts `kafka_options.sasl.mechanism`"
)]
#[case::jaas_and_name(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u",
           "sasl.jaas.config": "a.PlainLoginModule required username=\"u\" password=\"s3cr3t-v4lue\";"}),
    "kafka_options.sasl.username: excludes `sasl.jaas.config`"
)]
#[case::module_of_another_mechanism(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-256",
           "sasl.jaas.config": "a.PlainLoginModule required username=\"u\" password=\"s3cr3t-v4lue\";"}),
    "kafka_options.sasl.jaas.config: SCRAM-SHA-256 goes with the login module `ScramLoginModule`"
)]
#[case::jaas_without_end(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
           "sasl.jaas.config": "a.PlainLoginModule required username=\"u\" password=\"s3cr3t-v4lue\""}),
    "kafka_options.sasl.jaas.config: must end with a semicolon"
)]
#[case::jaas_open_quote(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
           "sasl.jaas.config": "a.PlainLoginModule required username=\"u\" password=\"s3cr3t-v4lue;"}),
    "has a quote that does not end"
)]
#[case::jaas_without_password(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.jaas.config": "a.PlainLoginModule required username=\"u\";"}),
    "`PlainLoginModule` needs username=\"..\" and password=\"..\""
)]
#[case::no_endpoint(json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}), "needs `sasl.oauthbearer.token.endpoint.url`")]
#[case::no_client(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": "https://x/t"}),
    "OAUTHBEARER needs a client id and a client secret"
)]
#[case::bad_endpoint(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": "x/t"}),
    "must be an https:// URL, or `file:PATH`"
)]
#[case::endpoint_with_a_password(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
           "sasl.oauthbearer.token.endpoint.url": "https://id:s3cr3t-v4lue@x/t"}),
    "sasl.oauthbearer.token.endpoint.url: must not hold a user or password before `@`"
)]
#[case::bad_reference(
    json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "scope:x"}),
    "kafka_options.sasl.password: `scope:` needs SCOPE/KEY behind it"
)]
fn contradictions_are_errors_that_name_the_key_and_never_a_secret(
    #[case] options: Value,
    #[case] expected: &str,
) {
    let reading = reading(&json!({}), &options);
    let found = texts(reading.result.as_ref().unwrap_err());
    assert!(found.iter().any(|text| text.contains(expected)), "{expected}\nnot in\n{found:#?}");
    assert!(!format!("{reading:?}").contains(HIDDEN), "{reading:?}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let product = json!({"kafka_ssl_truststore_location": "ftp://t", "truststore_pwd_secret_key": "K"});
    let options =
        json!({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "X", "ssl.keystore.key": "k"});
    let found = mistakes(&product, &options).join("\n");
    for part in ["never plaintext", "no mechanism that is carried", "`ftp:` locations", "certificate.chain"] {
        assert!(found.contains(part), "{part} not in\n{found}");
    }
}

#[test]
fn all_mistakes_of_a_login_and_of_stores_are_told_at_once() {
    let options = json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "X", "sasl.username": "u",
        "sasl.jaas.config": "a.PlainLoginModule required username=\"s3cr3t-v4lue",
        "sasl.oauthbearer.token.endpoint.url": "x", "sasl.oauthbearer.extensions": "a",
        "ssl.truststore.location": "ftp://t", "ssl.truststore.certificates": HIDDEN,
        "ssl.keystore.location": "ftp://k", "ssl.keystore.key": HIDDEN,
    });
    let found = mistakes(&json!({}), &options).join("\n");
    for part in [
        "no mechanism that is carried",
        "excludes `sasl.jaas.config`",
        "a quote that does not end",
        "must be an https:// URL",
        "must be `key=value` pairs",
        "excludes a truststore",
        "excludes a keystore",
        "ssl.truststore.location: `ftp:` locations",
        "ssl.keystore.location: `ftp:` locations",
    ] {
        assert!(found.contains(part), "{part} not in\n{found}");
    }
    assert!(!found.contains(HIDDEN));
}

#[test]
fn a_mistake_above_the_products_names_the_product_it_is_one_for() {
    let document = |own: &Value| {
        json!({
            "sensor_source": "kafka", "data_format": "kafka", "heartbeat_sensor_db_table": "d.c",
            "lakehouse_engine_sensor_db_table": "d.s", "domain": "dbc",
            "kafka_options": {"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"},
            "kafka_configs": {
                "p": {"kafka_bootstrap_servers_list": "k:1", "kafka_options": {"security.protocol": "SASL_SSL"}},
                "q": {"kafka_bootstrap_servers_list": "k:1", "kafka_options": own},
            },
        })
    };
    let of_one = texts(&Acon::from_value(&document(&json!({}))).result.unwrap_err());
    let told = "kafka_options.sasl.username: a login needs SASL: set `security.protocol` to SASL_SSL, or leave the login out";
    assert_eq!(of_one, [format!("{told} (for product `q`)")]);
    let mut of_all = document(&json!({}));
    of_all["kafka_configs"]["p"] = of_all["kafka_configs"]["q"].clone();
    assert_eq!(texts(&Acon::from_value(&of_all).result.unwrap_err()), [told]);
    assert!(Acon::from_value(&document(&json!({"security.protocol": "SASL_SSL"}))).result.is_ok());
}

#[test]
fn a_key_of_no_scope_is_an_error() {
    let document = json!({
        "sensor_source": "kafka", "data_format": "kafka", "heartbeat_sensor_db_table": "d.c",
        "lakehouse_engine_sensor_db_table": "d.s", "domain": "dbc",
        "kafka_configs": {"p": {"kafka_bootstrap_servers_list": "k:1",
            "kafka_ssl_truststore_location": "/t.jks", "truststore_pwd_secret_key": "K"}},
    });
    let found = texts(&Acon::from_value(&document).result.unwrap_err());
    assert!(
        found[0].starts_with("kafka_configs.p.truststore_pwd_secret_key: is a key of a secret scope"),
        "{found:?}"
    );
}

#[rstest]
#[case::as_kafka(
    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p;=\\\"q\";"
)]
#[case::shaded(
    "kafkashaded.org.apache.kafka.common.security.plain.PlainLoginModule required username=u password='p;=\"q' ;"
)]
#[case::lines("a.PlainLoginModule\n  Required\n  username = \"u\"\n  password = \"p;=\\\"q\" ;\n")]
fn a_jaas_text_is_read_as_java_does(#[case] text: &str) {
    let options =
        json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.jaas.config": text});
    let sasl = security(&json!({}), &options).sasl.unwrap();
    let expected = Login::Password { username: literal("u"), password: literal("p;=\"q"), is_token: false };
    assert_eq!((sasl.mechanism, sasl.login), (Mechanism::Plain, expected));
}

#[test]
fn a_jaas_text_that_is_kept_elsewhere_is_read_when_it_is_there() {
    let options = json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-256", "sasl.jaas.config": "scope:s/jaas"});
    let sasl = security(&json!({}), &options).sasl.unwrap();
    assert!(matches!(&sasl.login, Login::Jaas(SecretRef::Scope { .. })));
    let text = "a.ScramLoginModule required username=\"env:U\" password=\"p\" tokenauth=\"true\";";
    let opened = sasl.opened(&Secret::new(text)).unwrap();
    let expected =
        Login::Password { username: SecretRef::Env("U".into()), password: literal("p"), is_token: true };
    assert_eq!(opened.login, expected);
    let wrong = sasl.opened(&Secret::new(HIDDEN)).unwrap_err();
    assert_eq!(wrong, "the JAAS text needs `required` behind the class of the login module");
}

#[test]
fn a_value_of_a_jaas_text_may_be_a_reference_as_databricks_writes_it() {
    let options = json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": "a.PlainLoginModule required username=\"{{secrets/o/u}}\" password={{secrets/o/k}};",
    });
    let Login::Password { username, password, .. } = security(&json!({}), &options).sasl.unwrap().login
    else {
        panic!()
    };
    let of = |key: &str| SecretRef::Scope { scope: "o".into(), key: key.into() };
    assert_eq!((username, password), (of("u"), of("k")));
}

#[test]
fn oauth_is_read_from_jaas_and_options_together() {
    let options = json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": "https://id/token", "sasl.oauthbearer.scope": "kafka",
        "sasl.jaas.config": "x.OAuthBearerLoginModule required clientId=\"i\" clientSecret=\"env:S\" extension_logicalCluster=\"lkc\";",
    });
    let oauth = security(&json!({}), &options).sasl.unwrap().oauth;
    assert_eq!(oauth.client_secret, Some(SecretRef::Env("S".into())));
    assert_eq!((oauth.client_id, oauth.scope.as_deref()), (Some(literal("i")), Some("kafka")));
    assert_eq!(oauth.extensions["logicalCluster"], "lkc");
    let simple = json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": "https://id/token",
        "sasl.oauthbearer.client.credentials.client.id": "i", "sasl.oauthbearer.client.secret": "s",
        "sasl.oauthbearer.extensions": "a=b, c=d",
    });
    let oauth = security(&json!({}), &simple).sasl.unwrap().oauth;
    assert_eq!(oauth.extensions.len(), 2);
    let file = json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.token.endpoint.url": "file:/run/token",
    });
    assert_eq!(security(&json!({}), &file).sasl.unwrap().login, Login::OAuth);
}

#[test]
fn msk_takes_a_profile_or_a_role() {
    let options = json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "AWS_MSK_IAM",
        "sasl.jaas.config": "shadeddatabricks.software.amazon.msk.auth.iam.IAMLoginModule required awsProfileName=\"dev\" awsRoleArn=\"arn:aws:iam::1:role/r\";",
        "sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
    });
    let reading = reading(&json!({}), &options);
    assert_eq!(texts(&reading.warnings).len(), 1, "{:?}", reading.warnings);
    let Login::Aws(aws) = security(&json!({}), &options).sasl.unwrap().login else { panic!() };
    assert_eq!(aws.profile.as_deref(), Some("dev"));
    assert_eq!(aws.role_arn.as_deref(), Some("arn:aws:iam::1:role/r"));
    let least = json!({"security.protocol": "SASL_SSL", "sasl.mechanism": "AWS_MSK_IAM"});
    assert_eq!(security(&json!({}), &least).sasl.unwrap().login, Login::Aws(AwsLogin::default()));
}

#[rstest]
#[case(json!({}), true, TlsVersions::Both)]
#[case(json!({"ssl.endpoint.identification.algorithm": ""}), false, TlsVersions::Both)]
#[case(json!({"ssl.endpoint.identification.algorithm": null}), true, TlsVersions::Both)]
#[case(json!({"ssl.endpoint.identification.algorithm": "HTTPS", "ssl.enabled.protocols": "TLSv1.2,TLSv1.3"}), true, TlsVersions::Both)]
#[case(json!({"ssl.enabled.protocols": "TLSv1.2, TLSv1.1"}), true, TlsVersions::Only12)]
#[case(json!({"ssl.enabled.protocols": "TLSv1.3"}), true, TlsVersions::Only13)]
#[case(json!({"ssl.protocol": "TLSv1.2"}), true, TlsVersions::Only12)]
#[case(json!({"ssl.protocol": "TLSv1.3"}), true, TlsVersions::Both)]
fn names_are_verified_unless_told_otherwise(
    #[case] mut options: Value,
    #[case] verify_host: bool,
    #[case] versions: TlsVersions,
) {
    options["security.protocol"] = json!("SSL");
    let tls = security(&json!({}), &options).tls.unwrap();
    assert_eq!((tls.verify_host, tls.versions), (verify_host, versions));
    let warned = texts(&reading(&json!({}), &options).warnings).join("\n");
    assert_eq!(warned.contains("host names are not verified"), !verify_host);
}

#[test]
fn what_tunes_java_is_accepted_and_named() {
    let options = json!({
        "security.protocol": "SSL", "ssl.provider": "SunJSSE", "ssl.cipher.suites": "x",
        "sasl.login.refresh.window.factor": 0.8, "sasl.kerberos.service.name": "kafka",
    });
    let reading = reading(&json!({}), &options);
    let warned = texts(&reading.warnings).join("\n");
    assert!(reading.result.is_ok());
    assert_eq!(warned.matches("has no effect here").count(), 4, "{warned}");
}

#[rstest]
#[case("PLAIN", "sends the password in the clear")]
#[case("SCRAM-SHA-256", "can guess the password")]
#[case("SCRAM-SHA-512", "can guess the password")]
#[case("OAUTHBEARER", "sends the token in the clear")]
fn a_login_without_tls_is_a_warning_with_its_reason(#[case] mechanism: &str, #[case] reason: &str) {
    let mut options = json!({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism});
    let login = if mechanism == "OAUTHBEARER" {
        json!({"sasl.oauthbearer.token.endpoint.url": "file:/t"})
    } else {
        json!({"sasl.username": "u", "sasl.password": "p"})
    };
    options.as_object_mut().unwrap().extend(login.as_object().unwrap().clone());
    let warned = texts(&reading(&json!({}), &options).warnings);
    assert!(
        warned[0].starts_with("kafka_options.security.protocol: ") && warned[0].contains(reason),
        "{warned:?}"
    );
    options["security.protocol"] = json!("SASL_SSL");
    assert!(reading(&json!({}), &options).warnings.is_empty());
}

#[test]
fn amazons_login_needs_tls() {
    let found = mistakes(
        &json!({}),
        &json!({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "AWS_MSK_IAM"}),
    );
    assert!(found[0].contains("AWS_MSK_IAM needs TLS"), "{found:?}");
}

/// Whoever asks for TLS or a login gets it, or an error; never plain text because of a slip of the pen.
#[rstest]
#[case(json!({"sasl.mechanism": "AWS_MSK_IAM"}), "kafka_options.sasl.mechanism: a login needs SASL")]
#[case(json!({"sasl.mechanism": "PLAIN", "security.protocol": "SSL"}), "set `security.protocol` to SASL_SSL")]
#[case(json!({"sasl.oauthbearer.token.endpoint.url": "https://x"}), "a login needs SASL")]
#[case(json!({"sasl.oauthbearer.scope": "x"}), "a login needs SASL")]
#[case(
    json!({"ssl.endpoint.identification.algorithm": ""}),
    "kafka_options.ssl.endpoint.identification.algorithm: needs TLS: set `security.protocol` to SSL, or leave it out"
)]
#[case(json!({"ssl.enabled.protocols": "TLSv1.3", "security.protocol": "PLAINTEXT"}), "needs TLS")]
#[case(json!({"ssl.cipher.suites": "x"}), "needs TLS")]
#[case(
    json!({"securty.protocol": "SSL"}),
    "kafka_options.securty.protocol: unknown option, which is not ignored because it seems to be about the connection's security; did you mean `security.protocol`?"
)]
#[case(json!({"kafka.ssl.truststore.locatoin": "/t"}), "did you mean `ssl.truststore.location`?")]
#[case(json!({"ssl.ca.location": "/t"}), "unknown option, which is not ignored")]
#[case(json!({"sasl.something.new": "x"}), "unknown option, which is not ignored")]
fn nothing_that_asks_for_security_ends_in_plain_text(#[case] options: Value, #[case] expected: &str) {
    let found = mistakes(&json!({}), &options);
    assert!(found.iter().any(|text| text.contains(expected)), "{expected}\nnot in\n{found:#?}");
}

#[rstest]
#[case(json!({"kafka_ssl_truststore_locaton": "/t"}), "locaton: unknown key; did you mean `kafka_ssl_truststore_location`?")]
#[case(json!({"security.protocol": "SSL"}), "kafka_configs.p.security.protocol: belongs in `kafka_options`")]
#[case(json!({"kafka.sasl.mechanism": "PLAIN"}), "kafka_configs.p.kafka.sasl.mechanism: belongs in `kafka_options`")]
#[case(json!({"options": {"kafka.security.protocol": "SSL"}}), "kafka_configs.p.options: belongs in `kafka_options`")]
fn security_in_the_wrong_place_of_a_product_is_an_error(#[case] product: Value, #[case] expected: &str) {
    let found = mistakes(&product, &json!({}));
    assert!(found.iter().any(|text| text.contains(expected)), "{expected}\nnot in\n{found:#?}");
}

#[test]
fn security_at_the_top_of_the_acon_is_an_error() {
    let mut document = json!({
        "sensor_source": "kafka", "data_format": "kafka", "heartbeat_sensor_db_table": "d.c",
        "lakehouse_engine_sensor_db_table": "d.s", "domain": "dbc",
        "kafka_configs": {"p": {"kafka_bootstrap_servers_list": "k:1"}},
    });
    for (key, expected) in [
        ("kafka.security.protocol", "belongs in `kafka_options`, of the ACON or of a product"),
        ("kafka_ssl_truststore_location", "belongs in a product of `kafka_configs`"),
    ] {
        let mut wrong = document.clone();
        wrong[key] = json!("SSL");
        let found = texts(&Acon::from_value(&wrong).result.unwrap_err());
        assert_eq!(found, [format!("{key}: {expected}")]);
    }
    document["sensr_source"] = json!("x");
    assert!(Acon::from_value(&document).result.is_ok(), "other unknown keys are warnings");
}

#[rstest]
#[case(json!({"kafka_ssl_truststore_location": "", "keystore_pwd_secret_key": "K"}), true)]
#[case(json!({"kafka_ssl_truststore_location": "/t", "keystore_pwd_secret_key": "K"}), false)]
#[case(json!({"truststore_pwd_secret_key": ""}), false)]
fn passwords_of_no_store_are_a_warning_where_nothing_is_encrypted(
    #[case] product: Value,
    #[case] expected: bool,
) {
    let warned = texts(&reading(&product, &json!({})).warnings).join("\n");
    assert_eq!(warned.contains("the connection is PLAINTEXT, which anybody"), expected, "{warned}");
}

#[test]
fn a_products_options_win_over_the_acons() {
    let product = json!({"kafka_options": {"kafka.security.protocol": "PLAINTEXT"}});
    assert_eq!(security(&product, &json!({"security.protocol": "SSL"})).protocol(), "PLAINTEXT");
}
