use std::path::Path;
use std::time::Duration;

use heartbeat_core::acon::{SourceConfig, SourceKind};
use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn files_acon() -> Value {
    json!({
        "sensor_source": "trigger_file", "data_format": "cloudfiles", "base_trigger_file_location": "/triggers",
        "heartbeat_sensor_db_table": "db.control", "lakehouse_engine_sensor_db_table": "db.sensor",
        "domain": "dbc-1.cloud.databricks.com", "token": "dapi-secret"
    })
}

fn kafka_acon(product: &str, bootstrap: &str) -> Value {
    let mut acon = files_acon();
    acon["sensor_source"] = json!("kafka");
    acon["data_format"] = json!("kafka");
    acon["kafka_configs"] = json!({product: {"kafka_bootstrap_servers_list": bootstrap}});
    acon
}

fn read(document: &Value) -> Reading {
    Config::from_value(document, Path::new("/etc/heartbeat"), "/warehouse")
}

fn config(document: &Value) -> Config {
    let reading = read(document);
    assert_eq!(reading.warnings, []);
    reading.result.unwrap()
}

fn mistakes(document: &Value) -> Vec<String> {
    read(document).result.unwrap_err().iter().map(ToString::to_string).collect()
}

fn only_mistake(document: &Value) -> String {
    let found = mistakes(document);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Settings beside an ACON that is written in the file.
fn with(acon: &Value, settings: Value) -> Value {
    let mut entry = settings;
    entry["acon"] = acon.clone();
    entry
}

#[test]
fn defaults() {
    let config = config(&json!({"acons": [{"acon": files_acon()}, {"acon": kafka_acon("p", "a:1")}]}));
    assert_eq!(
        config.runs,
        Runs { poll_interval: Duration::from_secs(5), rest_poll_interval: Duration::from_mins(1) }
    );
    assert_eq!(config.listen, Some("127.0.0.1:8787".parse().unwrap()));
    assert!(config.journal.enabled);
    assert_eq!(config.journal.keep, Duration::from_hours(90 * 24));
    assert_eq!(config.maintenance.keep_bytes, 256 << 20);
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
    let [watch] = config.watches.as_slice() else { panic!("{:?}", config.watches) };
    assert_eq!(
        (watch.control.location.as_str(), watch.sensor.location.as_str()),
        ("/warehouse/db.db/control", "/warehouse/db.db/sensor")
    );
    let sources: Vec<_> = watch
        .sources
        .iter()
        .map(|source| {
            (
                source.name.as_str(),
                source.kind(),
                source.schedule.period().as_secs(),
                source.deadline.as_secs(),
            )
        })
        .collect();
    assert_eq!(sources, [("acon-1", SourceKind::TriggerFile, 5, 10), ("acon-2", SourceKind::Kafka, 1, 10)]);
}

#[test]
fn everything_can_be_set() {
    let mut acon = kafka_acon("p", "a:1");
    acon["poll_interval"] = json!("3s");
    acon["pass_news"] = json!(true);
    acon["heartbeat_sensor_db_table"] = json!("`Main`.sales.control");
    let config = config(&json!({
        "warehouse": "tables", "tables": {"main.sales.Control": "file:///srv/control"},
        "acons": [with(&acon, json!({
            "name": "sales", "schedule": {"cron": "0 * * * *", "time_zone": "Europe/Berlin"},
            "active": [{"days": "mon-fri", "from": "08:00", "to": "18:00"}, {"days": "sat", "from": null}],
            "jitter": 0, "deadline": "30s"
        }))],
        "runs": {"poll_interval": "2s", "rest_poll_interval": "5m"}, "server": {"listen": false},
        "journal": {"enabled": false, "flush_interval": "1s", "keep": "2 weeks"},
        "maintenance": {"interval": "1h", "keep": "1d", "keep_bytes": "1GiB"}, "shutdown_grace": "1m"
    }));
    assert_eq!(config.tables.warehouse(), "/etc/heartbeat/tables");
    assert_eq!(config.listen, None);
    assert_eq!(config.journal.keep, Duration::from_hours(14 * 24));
    let watch = &config.watches[0];
    assert_eq!(
        (watch.control.location.as_str(), watch.sensor.location.as_str()),
        ("file:///srv/control", "/etc/heartbeat/tables/db.db/sensor")
    );
    assert_eq!(
        (watch.control.name.as_str(), watch.sensor.name.as_str()),
        ("`Main`.sales.control", "db.sensor")
    );
    let source = &watch.sources[0];
    assert!(source.pass_news);
    assert_eq!((source.name.as_str(), source.deadline), ("sales", Duration::from_secs(30)));
    let now: Timestamp = "2026-06-05T16:30:00Z".parse().unwrap();
    // 18:00 in Berlin is outside of Friday's window; Saturday is active as a whole.
    assert_eq!(source.schedule.next(None, now).at, "2026-06-05T22:00:00Z".parse::<Timestamp>().unwrap());
}

#[test]
fn every_mistake_of_every_step_is_told_at_once_without_values() {
    let mut acon = files_acon();
    acon["domain"] = json!("http://dapi-secret");
    let found = mistakes(&json!({
        "warehouse": "ftp://dapi-secret", "tables": {"a.b.c": 3},
        "acons": [
            with(&acon, json!({"poll_interval": "dapi-secret", "aktive": [], "schedule": {"time_zone": "dapi-secret"}})),
            17,
            {"path": "/no/such/acon.yaml", "active": [{"days": "dapi-secret"}, {"from": "25:00"}], "jitter": 2},
            {"jitter": 0.5},
        ],
        "journal": ["dapi-secret"], "maintenance": {"keep": "dapi-secret", "keep_bytes": 3},
        "server": {"listen": "dapi-secret", "port": 1}, "shutdown_grace": 10,
    }));
    let all = found.join("\n");
    let expected = [
        "warehouse: `ftp:` locations",
        "tables.a.b.c: must be a text, not a number",
        "acons[0].poll_interval: must be a period",
        "acons[0].aktive: unknown key; did you mean `active`?",
        "acons[0].schedule.time_zone: is no time zone",
        "acons[0].schedule.cron: is required",
        "acons[1]: must be a text or a mapping, not a number",
        "acons[2].active[0].days: must be days",
        "acons[2].active[1].from: must be a time of day",
        "acons[2].jitter: must be from 0 to 1",
        "journal: must be a mapping, not a list",
        "maintenance.keep: must be a length",
        "maintenance.keep_bytes: must be a text",
        "server.listen: must be an address",
        "server.port: unknown key",
        "shutdown_grace: must be a text, not a number",
        "acons[0].acon.domain: must be https",
        "acons[2]: /no/such/acon.yaml: cannot be read",
        "acons[3]: needs `path` or `acon`",
    ];
    for start in expected {
        assert!(found.iter().any(|mistake| mistake.starts_with(start)), "{start} not in\n{all}");
    }
    assert_eq!(found.len(), expected.len(), "{all}");
    assert!(!all.contains("dapi-secret"), "{all}");
}

#[rstest]
#[case(json!([]), "(document): must be a mapping, not a list")]
#[case(json!({}), "acons: is required")]
#[case(json!({"acons": null}), "acons: is required")]
#[case(json!({"acons": []}), "acons: must not be empty")]
#[case(json!({"acons": [{"name": " ", "acon": files_acon()}]}), "acons[0].name: must not be empty")]
#[case(json!({"acons": [{"path": "x", "acon": files_acon()}]}), "acons[0].acon: excludes `path`: an entry is one ACON")]
#[case(json!({"tables": {"t": "/a", "default.T": "/b"}, "acons": [{"acon": files_acon()}]}), "tables.t: names a table twice (case, backticks and `default.` don't count)")]
#[case(
    json!({"acons": [with(&files_acon(), json!({"poll_interval": "1s", "schedule": {"cron": "* * * * *"}}))]}),
    "acons[0].schedule: excludes `poll_interval`: give one of the two"
)]
#[case(
    json!({"acons": [with(&files_acon(), json!({"active": [{"from": "08:00", "to": "09:00"}], "schedule": {"cron": "0 3 * * *"}}))]}),
    "acons[0].schedule: no planned time lies in an active window within four years"
)]
fn single_mistakes(#[case] document: Value, #[case] expected: &str) {
    assert_eq!(only_mistake(&document), expected);
}

#[test]
fn acon_files_are_read_beside_the_configuration_and_their_warnings_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut acon = kafka_acon("p", "a:1");
    acon["unknown"] = json!(1);
    std::fs::write(dir.path().join("kafka.json"), acon.to_string()).unwrap();
    std::fs::write(dir.path().join("heartbeat.yaml"), "acons:\n  - kafka.json\nserver:\n  listen: off\n")
        .unwrap();
    let reading = Config::read(&dir.path().join("heartbeat.yaml"), "/warehouse").unwrap();
    assert_eq!(reading.warnings[0].path, "kafka.json: unknown");
    let config = reading.result.unwrap();
    assert_eq!(config.listen, None);
    assert_eq!(config.watches[0].sources[0].name, "kafka");
    let same = Config::of_acons(&[dir.path().join("kafka.json")], "/warehouse").result.unwrap();
    assert_eq!(same.watches, config.watches);
    assert!(Config::read(&dir.path().join("missing.yaml"), "w").is_err());
}

#[test]
fn acons_of_one_kind_over_the_same_tables_are_one_source() {
    let config = config(&json!({"acons": [
        {"name": "a", "acon": kafka_acon("p", "a:1"), "poll_interval": "5s", "deadline": "20s"},
        {"name": "files", "acon": files_acon()},
        {"name": "b", "acon": kafka_acon("q", "b:1"), "poll_interval": "2s"},
        {"name": "c", "acon": kafka_acon("p", "a:1")},
    ]}));
    let [watch] = config.watches.as_slice() else { panic!("{:?}", config.watches) };
    let kafka = &watch.sources[0];
    assert_eq!(kafka.name, "a+b+c");
    assert_eq!((kafka.schedule.period(), kafka.deadline), (Duration::from_secs(1), Duration::from_secs(20)));
    let SourceConfig::Kafka(products) = &kafka.config else { panic!("kafka expected") };
    assert_eq!(products.keys().collect::<Vec<_>>(), ["p", "q"]);
    assert_eq!(watch.sources.len(), 2);
}

#[test]
fn acons_over_other_tables_are_watched_apart() {
    let mut other = files_acon();
    other["heartbeat_sensor_db_table"] = json!("db.control2");
    let config = config(&json!({"acons": [{"acon": files_acon()}, {"acon": other}]}));
    assert_eq!(config.watches.len(), 2);
}

/// One key of an ACON or of the settings beside it, changed in the second of two entries.
#[rstest]
#[case("base_trigger_file_location", json!("/elsewhere"), "give both the same `base_trigger_file_location`")]
#[case("domain", json!("dbc-2.cloud.databricks.com"), "give both the same `domain`")]
#[case("token", json!("another"), "give both the same `token`")]
#[case("pass_news", json!(true), "give both the same `pass_news`")]
fn acons_of_one_kind_that_contradict_each_other(
    #[case] key: &str,
    #[case] value: Value,
    #[case] expected: &str,
) {
    let mut other = files_acon();
    other[key] = value;
    let found =
        only_mistake(&json!({"acons": [{"name": "a", "acon": files_acon()}, {"name": "b", "acon": other}]}));
    let both = "acons[1]: `b` and `a` are looked at together, as trigger_file ACONs over the same tables: ";
    assert_eq!(found, format!("{both}{expected}"));
}

#[rstest]
#[case(json!({"schedule": {"cron": "* * * * *"}}), "`schedule`, or none")]
#[case(json!({"active": [{"days": "mon"}]}), "`active`")]
fn schedules_of_one_source_must_agree(#[case] settings: Value, #[case] expected: &str) {
    let found = only_mistake(&json!({"acons": [{"acon": files_acon()}, with(&files_acon(), settings)]}));
    assert!(found.ends_with(&format!("give both the same {expected}")), "{found}");
}

#[test]
fn a_product_has_one_cluster_over_the_same_tables() {
    let found = only_mistake(&json!({"acons": [
        {"name": "a", "acon": kafka_acon("p", "a:1")}, {"name": "b", "acon": kafka_acon("p", "b:1")},
    ]}));
    assert!(found.starts_with("acons[1]: `b` and `a` are"), "{found}");
    assert!(found.ends_with("product `p` must have the same settings in both"), "{found}");
}

#[test]
fn a_table_has_one_role_and_a_control_table_one_sensor_table() {
    let mut swapped = files_acon();
    swapped["heartbeat_sensor_db_table"] = json!("db.sensor");
    swapped["lakehouse_engine_sensor_db_table"] = json!("db.other");
    let found = only_mistake(
        &json!({"acons": [{"name": "a", "acon": files_acon()}, {"name": "b", "acon": swapped}]}),
    );
    assert_eq!(found, "acons[1]: the control table of `b` is the sensor table of `a`");

    let mut other = files_acon();
    other["lakehouse_engine_sensor_db_table"] = json!("db.other");
    let found =
        only_mistake(&json!({"acons": [{"name": "a", "acon": files_acon()}, {"name": "b", "acon": other}]}));
    assert_eq!(found, "acons[1]: `b` and `a` have one control table and different sensor tables");
}

#[test]
fn names_are_unique() {
    let mut other = files_acon();
    other["heartbeat_sensor_db_table"] = json!("db.control2");
    let found =
        only_mistake(&json!({"acons": [{"name": "a", "acon": files_acon()}, {"name": "a", "acon": other}]}));
    assert_eq!(found, "acons[1]: `a` is the name of acons[0] too; give one of them a `name`");
}

#[test]
fn two_tokens_for_one_workspace_are_a_warning() {
    let mut kafka = kafka_acon("p", "a:1");
    kafka["token"] = json!("env:OTHER");
    let reading =
        read(&json!({"acons": [{"name": "a", "acon": files_acon()}, {"name": "b", "acon": kafka}]}));
    assert!(reading.warnings[0].to_string().starts_with("acons[1]: `b` and `a` have different tokens"));
    assert!(reading.result.is_ok());
}

#[test]
fn nothing_shows_a_token() {
    let reading = read(&json!({"acons": [{"acon": files_acon()}]}));
    assert!(reading.result.is_ok());
    assert!(!format!("{reading:?}").contains("dapi-secret"));
}

/// Documents of known and unknown keys with values of every type, most of them in the wrong place.
fn any_document() -> impl Strategy<Value = Value> {
    const KEYS: [&str; 22] = [
        "warehouse",
        "tables",
        "acons",
        "runs",
        "server",
        "journal",
        "maintenance",
        "shutdown_grace",
        "listen",
        "keep",
        "keep_bytes",
        "enabled",
        "poll_interval",
        "schedule",
        "cron",
        "time_zone",
        "active",
        "days",
        "from",
        "jitter",
        "deadline",
        "unknown",
    ];
    let leaf = prop_oneof![
        Just(json!("dapi-secret")),
        Just(json!("5s")),
        Just(json!("mon-fri")),
        Just(json!("* * * * *")),
        Just(json!(null)),
        Just(json!(true)),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((proptest::sample::select(&KEYS[..]), inner), 0..8).prop_map(
                |entries| entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            ),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_read_without_a_panic_and_without_repeating_a_value(document in any_document(), acon in any_document()) {
        let mut whole = json!({"acons": [{"acon": files_acon()}, acon]});
        for document in [document.clone(), { whole["journal"] = document; whole }] {
            let reading = read(&document);
            let told = format!("{reading:?}");
            // A text in place of an ACON is the path of its file.
            let is_path = document.get("acons").and_then(Value::as_array).is_some_and(|acons| acons.iter().any(Value::is_string));
            prop_assert!(is_path || !told.contains("dapi-secret"), "{}", told);
            prop_assert!(reading.result.is_err() || document["acons"].as_array().is_some_and(|acons| !acons.is_empty()));
        }
    }
}

#[test]
fn stores_of_tables_have_options_of_their_own() {
    let document = |options: Value| json!({"storage_options": options, "acons": [{"acon": files_acon()}]});
    let config = config(&document(json!({"aws_region": "eu-west-1", "aws_secret_access_key": "env:S"})));
    assert_eq!(config.storage.iter().count(), 2);
    let mistake = only_mistake(&document(json!({"aws_regoin": "x"})));
    assert_eq!(mistake, "storage_options.aws_regoin: unknown key; did you mean `aws_region`?");
    let mistake = only_mistake(&document(json!({"aws_access_key_id": "scope:s/k"})));
    assert!(mistake.contains("belong to no workspace"), "{mistake}");
    let mistake = only_mistake(&document(json!({"aws_secret_access_key": "env:"})));
    assert!(mistake.starts_with("storage_options.aws_secret_access_key:"), "{mistake}");
}

#[test]
fn tables_lie_on_stores_and_each_place_has_one_spelling() {
    let mut one = files_acon();
    one["heartbeat_sensor_db_table"] = json!("s3a://b/control");
    one["lakehouse_engine_sensor_db_table"] = json!("s3://b/sensor/");
    let mut two = kafka_acon("p", "a:1");
    two["heartbeat_sensor_db_table"] = json!("mapped");
    two["lakehouse_engine_sensor_db_table"] = json!("s3://b/sensor");
    let document = json!({
        "warehouse": "gs://wh/x", "tables": {"mapped": "s3://b/control"}, "acons": [{"acon": one}, {"acon": two}],
    });
    let config = config(&document);
    assert_eq!(config.watches.len(), 1, "{:?}", config.watches);
    assert_eq!(config.tables.locate("db.t").unwrap(), "gs://wh/x/db.db/t");
}
