//! The whole way through the binary: the seeds' ACON, passwords from a secret scope, AWS from the environment.

use heartbeat::jobs_api::StandInHandle;

use super::*;
use crate::jobs::stand_in;
use crate::support::project::{CONTROL, Done, Project, SENSOR};

const VAULT: &str = "{token: dapi-fixed, secrets: {DB_SECRET_SCOPE: {TRUSTSTORE_PWD: heartbeat-test, KEYSTORE_PWD: heartbeat-test, KEY_PWD: heartbeat-key, BAD: wrong-secret}}}";

fn write_acon(project: &Project, stand_in: &StandInHandle, product: &Value) {
    let acon = json!({
        "sensor_source": "kafka", "data_format": "kafka", "heartbeat_sensor_db_table": CONTROL,
        "lakehouse_engine_sensor_db_table": SENSOR, "options": {"readChangeFeed": "true"},
        "kafka_configs": {"my_product": product}, "kafka_secret_scope": "DB_SECRET_SCOPE",
        "base_checkpoint_location": "s3://my_data_product_bucket/checkpoints",
        "domain": stand_in.url(), "token": "dapi-fixed",
    });
    project.write("kafka.json", &acon.to_string());
}

fn fed(bed: &Bed) -> Project {
    let project = Project::new();
    let row = format!("kafka,my_product: {},streaming,my topic,,,1,job,UNPAUSED,TRUE", bed.topic);
    project.feed(&[&row]);
    project
}

/// Runs the binary with these variables; it shows no secret.
fn run(project: &Project, args: &[&str], environment: &[(&str, &str)]) -> Done {
    let done = project.run_with(args, |command| {
        command.env("HOME", project.path()).envs(environment.iter().copied());
    });
    hides_secrets(&done.out);
    hides_secrets(&done.err);
    done
}

const CHECK: [&str; 4] = ["-vv", "check", "--acon", "kafka.json"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_acon_looks_at_a_broker_that_wants_a_certificate() {
    let Some(bed) = Bed::new().await else { return };
    let stand_in = stand_in(VAULT).await;
    let project = fed(&bed);
    let mut product = json!({
        "kafka_bootstrap_servers_list": bed.addresses["MTLS"],
        "kafka_ssl_truststore_location": bed.store("truststore.jks"),
        "truststore_pwd_secret_key": "TRUSTSTORE_PWD",
        "kafka_ssl_keystore_location": bed.store("client.p12"),
        "keystore_pwd_secret_key": "KEYSTORE_PWD",
    });
    write_acon(&project, &stand_in, &product);
    let done = run(&project, &CHECK, &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.contains("1 rows looked at: 1 with news, 0 with errors"), "{done:?}");

    // A JKS whose key has a password of its own, as only an option can say.
    let project = fed(&bed);
    product["kafka_ssl_keystore_location"] = json!(bed.store("soon-client.jks"));
    product["kafka_options"] = json!({"ssl.key.password": "scope:DB_SECRET_SCOPE/KEY_PWD"});
    write_acon(&project, &stand_in, &product);
    let done = run(&project, &["validate", "--acon", "kafka.json", "--connect"], &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.contains("client certificate of keystore"), "{done:?}");

    for (key, value, told) in [
        (
            "truststore_pwd_secret_key",
            "BAD",
            "(password from scope `DB_SECRET_SCOPE` key `BAD`): wrong password",
        ),
        ("truststore_pwd_secret_key", "NONE", "scope `DB_SECRET_SCOPE` key `NONE`"),
        ("truststore_pwd_secret_key", "scope:other/K", "scope `other` key `K`"),
    ] {
        let mut wrong = product.clone();
        wrong[key] = json!(value);
        write_acon(&project, &stand_in, &wrong);
        let done = run(&project, &["check", "--baseline", "--acon", "kafka.json"], &[]);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.out.contains(told), "`{told}` is not in {done:?}");
    }
}

/// Stores, TLS and login of a product are tried although no row is about it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn products_without_rows_are_connected_to_as_well() {
    let Some(bed) = Bed::new().await else { return };
    let stand_in = stand_in(VAULT).await;
    let project = fed(&bed);
    let product = |password: &str| {
        json!({
            "kafka_bootstrap_servers_list": bed.addresses["SASL_SSL"],
            "kafka_ssl_truststore_location": bed.store("truststore.jks"),
            "kafka_options": {
                "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "alice",
                "sasl.password": password,
            },
        })
    };
    for (password, code) in [("alice-secret", 0), ("wrong-secret", 1)] {
        let acon = json!({
            "sensor_source": "kafka", "data_format": "kafka", "heartbeat_sensor_db_table": CONTROL,
            "lakehouse_engine_sensor_db_table": SENSOR, "domain": stand_in.url(), "token": "dapi-fixed",
            "kafka_configs": {"my_product": product("alice-secret"), "of_no_row": product(password)},
        });
        project.write("kafka.json", &acon.to_string());
        let done = run(&project, &["validate", "--acon", "kafka.json", "--connect"], &[]);
        assert_eq!(done.code, Some(code), "{done:?}");
        let told = done.out.contains("kafka_configs.of_no_row: kafka cluster")
            && done.out.contains("the broker refused user `alice`");
        assert_eq!(told, code == 1, "{done:?}");
    }
}

/// Brokers of a private authority, and an identity provider that only the system trusts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_come_from_whom_only_the_system_trusts() {
    let Some(bed) = Bed::new().await else { return };
    let stand_in = stand_in(VAULT).await;
    let project = fed(&bed);
    // The broker's own certificate, which vouches for nobody else, without those above it.
    let chain = std::fs::read_to_string(bed.store("broker.pem")).unwrap();
    let own = tempfile::NamedTempFile::new().unwrap();
    let end = "-----END CERTIFICATE-----";
    std::fs::write(own.path(), format!("{}{end}", chain.split(end).next().unwrap())).unwrap();
    let product = json!({
        "kafka_bootstrap_servers_list": bed.addresses["OAUTH"],
        "kafka_ssl_truststore_location": own.path(),
        "kafka_options": {
            "security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.token.endpoint.url": super::modes::oidc_behind_tls(&bed, "broker").await,
            "sasl.oauthbearer.client.credentials.client.id": "heartbeat",
            "sasl.oauthbearer.client.credentials.client.secret": "oidc-secret",
            "sasl.oauthbearer.scope": "kafka",
        },
    });
    write_acon(&project, &stand_in, &product);
    let done = run(&project, &CHECK, &[("SSL_CERT_FILE", &bed.store("ca.pem"))]);
    assert!(done.out.contains("1 with news, 0 with errors"), "{done:?}");
    let project = fed(&bed);
    write_acon(&project, &stand_in, &product);
    let done = run(&project, &CHECK, &[("SSL_CERT_FILE", &bed.store("other-ca.pem"))]);
    assert!(done.out.contains("its certificate is not believed"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_aws_log_in_at_msk() {
    let Some(bed) = Bed::new().await else { return };
    let stand_in = stand_in(VAULT).await;
    let product = |jaas: &str| {
        json!({
            "kafka_bootstrap_servers_list": bed.addresses["MSK"],
            "kafka_ssl_truststore_location": bed.store("truststore.jks"),
            "truststore_pwd_secret_key": "TRUSTSTORE_PWD",
            "kafka_options": {"security.protocol": "SASL_SSL", "sasl.mechanism": "AWS_MSK_IAM", "sasl.jaas.config": jaas},
        })
    };
    let plain = "software.amazon.msk.auth.iam.IAMLoginModule required;";
    let profile = "software.amazon.msk.auth.iam.IAMLoginModule required awsProfileName=\"dev\";";
    let region = ("AWS_REGION", "eu-west-1");
    let key = [region, ("AWS_ACCESS_KEY_ID", "AKIDHEARTBEAT"), ("AWS_SECRET_ACCESS_KEY", "msk-secret")];
    let role = [
        region,
        ("AWS_ACCESS_KEY_ID", "ASIAHEARTBEAT"),
        ("AWS_SECRET_ACCESS_KEY", "msk-role-secret"),
        ("AWS_SESSION_TOKEN", "msk-role-token"),
    ];
    let wrong = [region, ("AWS_ACCESS_KEY_ID", "AKIDHEARTBEAT"), ("AWS_SECRET_ACCESS_KEY", "wrong-secret")];
    for (jaas, environment, told) in [
        (plain, &key[..], None),
        (plain, &role[..], None),
        (profile, &[region][..], None),
        (plain, &wrong[..], Some("the signature is wrong")),
        (plain, &key[1..], Some("does not say its AWS region: set AWS_REGION")),
    ] {
        let project = fed(&bed);
        project.write(
            ".aws/credentials",
            "[dev]\naws_access_key_id = AKIDHEARTBEAT\naws_secret_access_key = msk-secret\n",
        );
        write_acon(&project, &stand_in, &product(jaas));
        let done = run(&project, &CHECK, environment);
        match told {
            None => assert!(done.out.contains("1 with news, 0 with errors"), "{environment:?}: {done:?}"),
            Some(told) => assert!(done.out.contains(told), "`{told}` is not in {done:?}"),
        }
    }
}
