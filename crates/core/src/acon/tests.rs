use serde_json::json;

use super::*;

fn seed_kafka() -> Value {
    json!({
        "sensor_source": "kafka", "data_format": "kafka",
        "heartbeat_sensor_db_table": "my_database.heartbeat_sensor",
        "lakehouse_engine_sensor_db_table": "my_database.lakehouse_engine_sensors",
        "options": {"readChangeFeed": "true"},
        "kafka_configs": {"my_product": {
            "kafka_bootstrap_servers_list": "127.0.0.1:9092",
            "kafka_ssl_truststore_location": "", "truststore_pwd_secret_key": "TRUSTSTORE_PWD",
            "kafka_ssl_keystore_location": null, "keystore_pwd_secret_key": "KEYSTORE_PWD"}},
        "kafka_secret_scope": "DB_SECRET_SCOPE",
        "base_checkpoint_location": "s3://my_data_product_bucket/checkpoints",
        "domain": "dbc-1.cloud.databricks.com", "token": "DATABRICKS_WORKFLOWS_TOKEN"
    })
}

fn problems(document: &Value) -> Vec<String> {
    Acon::from_value(document).result.unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn kafka_seed_is_read_and_the_only_warning_is_of_passwords_without_a_store() {
    let reading = Acon::from_value(&seed_kafka());
    let warnings: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "kafka_configs.my_product.truststore_pwd_secret_key: opens no store, because no store is given: the connection is PLAINTEXT, which anybody on the way can read"
        ]
    );
    let acon = reading.result.unwrap();
    let SourceConfig::Kafka(products) = acon.source else { panic!("kafka expected") };
    assert_eq!(products["my_product"].bootstrap, ["127.0.0.1:9092"]);
}

#[test]
fn bootstrap_may_be_a_list_and_source_any_case() {
    let mut document = seed_kafka();
    document["sensor_source"] = json!(" Kafka ");
    document["kafka_configs"]["my_product"]["kafka_bootstrap_servers_list"] = json!(["a:1", " b:2 "]);
    let acon = Acon::from_value(&document).result.unwrap();
    let SourceConfig::Kafka(products) = acon.source else { panic!("kafka expected") };
    assert_eq!(products["my_product"].bootstrap, ["a:1", "b:2"]);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_path() {
    let mut document = seed_kafka();
    document["domain"] = json!("http://example.com");
    document["token"] = json!(17);
    document["options"] = json!("x");
    document["kafka_configs"]["my_product"]["kafka_ssl_truststore_location"] = json!("ftp://b/t.jks");
    document["kafka_configs"]["other"] = json!({"kafka_bootstrap_servers_list": "nohost"});
    document.as_object_mut().unwrap().remove("heartbeat_sensor_db_table");
    let found = problems(&document).join("\n");
    for path in [
        "domain:",
        "token: must be a text, not a number",
        "options:",
        "heartbeat_sensor_db_table: is required",
        "kafka_configs.my_product.kafka_ssl_truststore_location:",
        "kafka_configs.other.kafka_bootstrap_servers_list: `nohost` is not",
    ] {
        assert!(found.contains(path), "{path} not in\n{found}");
    }
}

#[test]
fn keys_of_the_daemon_are_read() {
    let mut document = seed_kafka();
    let acon = Acon::from_value(&document).result.unwrap();
    assert_eq!((acon.poll_interval, acon.pass_news), (None, false));
    document["poll_interval"] = json!("2s");
    document["pass_news"] = json!(true);
    let acon = Acon::from_value(&document).result.unwrap();
    assert_eq!((acon.poll_interval, acon.pass_news), (Some(Duration::from_secs(2)), true));
    document["poll_interval"] = json!("1ms");
    document["pass_news"] = json!("yes");
    let found = problems(&document);
    assert!(found[0].starts_with("poll_interval: `1ms` is not a period"), "{found:?}");
    assert_eq!(found[1], "pass_news: must be true or false, not a text");
}

#[test]
fn unknown_key_is_a_warning_with_the_nearest_name() {
    let mut document = seed_kafka();
    document["tokn"] = json!("x");
    let reading = Acon::from_value(&document);
    assert_eq!(reading.warnings[0].to_string(), "tokn: unknown key, ignored; did you mean `token`?");
    assert!(reading.result.is_ok());
}

#[test]
fn stores_and_sources_of_later_versions_are_refused() {
    let mut document = seed_kafka();
    document["heartbeat_sensor_db_table"] = json!("ftp://bucket/table");
    assert!(problems(&document)[0].starts_with("heartbeat_sensor_db_table: `ftp:` locations"));
    document["sensor_source"] = json!("sap_b4");
    assert!(problems(&document).iter().any(|p| p.starts_with("sensor_source: `sap_b4` cannot")));
}

#[test]
fn a_document_that_is_no_mapping_is_one_error() {
    assert_eq!(problems(&json!([1])), ["(document): must be a mapping of ACON keys"]);
}

#[test]
fn secrets_are_not_in_messages_or_debug() {
    let mut document = seed_kafka();
    document["token"] = json!("dapi-secret");
    assert!(!format!("{:?}", Acon::from_value(&document)).contains("dapi-secret"));
}

#[test]
fn a_token_may_be_left_to_the_environment() {
    let mut document = seed_kafka();
    for token in [Value::Null, json!(""), json!("  ")] {
        document["token"] = token;
        assert_eq!(Acon::from_value(&document).result.unwrap().token, None);
    }
    document.as_object_mut().unwrap().remove("token");
    assert_eq!(Acon::from_value(&document).result.unwrap().token, None);
    document["token"] = json!("literal:");
    assert_eq!(problems(&document), ["token: must not be empty"]);
}

fn trigger_files(options: &Value) -> Value {
    json!({
        "sensor_source": "trigger_file", "data_format": "cloudfiles",
        "heartbeat_sensor_db_table": "d.control", "lakehouse_engine_sensor_db_table": "d.sensors",
        "base_trigger_file_location": "s3://b/x", "domain": "dbc-1.cloud.databricks.com",
        "trigger_file_options": options
    })
}

#[test]
fn options_of_trust_that_say_nothing_or_are_misspelt_are_errors() {
    for (options, expected) in [
        (
            json!({"signing_kye": "env:K"}),
            "trigger_file_options.signing_kye: unknown option; did you mean `signing_key`?",
        ),
        (json!({"signing_key": null}), "trigger_file_options.signing_key: must not be empty"),
        (json!({"signing_key": " "}), "trigger_file_options.signing_key: must not be empty"),
        (json!({"signing_key": "literal:"}), "trigger_file_options.signing_key: must not be empty"),
        (json!({"signing_key": []}), "trigger_file_options.signing_key: must not be empty"),
        (json!({"signing_key": ["env:K", ""]}), "trigger_file_options.signing_key: must not be empty"),
        (
            json!({"signing_key": ["env:K", null]}),
            "trigger_file_options.signing_key: must be a text or a list",
        ),
        (json!({"signing_key": 7}), "trigger_file_options.signing_key: must be a text or a list"),
        (json!({"allowed_owners": null}), "trigger_file_options.allowed_owners: must not be empty"),
        (json!({"allowed_owners": []}), "trigger_file_options.allowed_owners: must not be empty"),
        (json!({"allowed_owners": [-1]}), "trigger_file_options.allowed_owners: must be a list"),
        (json!({"allowed_owners": [1.5]}), "trigger_file_options.allowed_owners: must be a list"),
        (
            json!({"queue_url": "http://sqs.example.com/q"}),
            "trigger_file_options.queue_url: is http to another",
        ),
        (
            json!({"queue_url": "http://127.0.0.1.example.com/q"}),
            "trigger_file_options.queue_url: is http to another",
        ),
        (
            json!({"queue_url": "https://u:hush@example.com/q"}),
            "trigger_file_options.queue_url: holds credentials",
        ),
        (json!({"queue_url": "sqs:q"}), "trigger_file_options.queue_url: is no https URL"),
    ] {
        let found = problems(&trigger_files(&options));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
    for options in [
        json!({"queue_url": "http://127.0.0.1:5000/q"}),
        json!({"queue_url": "http://[::1]:5000/q"}),
        json!({"queue_url": "https://sqs.eu-west-1.amazonaws.com/1/q"}),
        json!({"signing_key": "literal:hush"}),
        json!({"signing_key": ["env:NEW", "env:OLD"]}),
        json!({"allowed_owners": ["a", 0]}),
    ] {
        let reading = Acon::from_value(&trigger_files(&options));
        assert!(reading.result.is_ok() && reading.warnings.is_empty(), "{reading:?}");
    }
    let reading = Acon::from_value(&trigger_files(&json!({"signing_key": "hush"})));
    assert!(reading.warnings[0].problem.contains("write a reference"), "{reading:?}");
}

#[test]
fn options_at_the_wrong_place_are_errors() {
    for (key, expected) in [
        ("signing_key", "signing_key: belongs in `trigger_file_options`"),
        ("trigger_file_option", "trigger_file_option: unknown key; did you mean `trigger_file_options`?"),
        ("storage_optoins", "storage_optoins: unknown key; did you mean `storage_options`?"),
    ] {
        let mut document = trigger_files(&json!({}));
        document[key] = json!("x");
        assert_eq!(problems(&document), [expected]);
    }
}
