//! Tests of what the options say a row reads.

use serde_json::json;

use super::*;
use crate::acon::{Acon, Finding, SourceConfig};

fn acon(extra: &[(&str, Value)]) -> Value {
    let mut document = json!({
        "sensor_source": "kafka", "data_format": "kafka", "domain": "dbc",
        "heartbeat_sensor_db_table": "a.b", "lakehouse_engine_sensor_db_table": "a.c",
        "kafka_configs": {"p": {"kafka_bootstrap_servers_list": "x:1"}},
    });
    for (key, value) in extra {
        document[*key] = value.clone();
    }
    document
}

fn read_options(options: Value) -> Result<ReadOptions, Vec<String>> {
    of(&acon(&[("kafka_options", options)]))
}

fn of(document: &Value) -> Result<ReadOptions, Vec<String>> {
    match Acon::from_value(document).result {
        Ok(acon) => match acon.source {
            SourceConfig::Kafka(mut products) => Ok(products.remove("p").unwrap().read),
            SourceConfig::TriggerFile(_) => panic!("kafka expected"),
        },
        Err(findings) => Err(findings.iter().map(Finding::to_string).collect()),
    }
}

fn warnings(document: &Value) -> Vec<String> {
    Acon::from_value(document).warnings.iter().map(Finding::to_string).collect()
}

fn mistake(options: Value) -> String {
    let mut mistakes = read_options(options).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes.remove(0)
}

#[test]
fn without_options_all_is_as_in_the_original() {
    assert_eq!(read_options(json!({})).unwrap(), ReadOptions::default());
    assert_eq!(ReadOptions::default().starting, Starting::Earliest);
}

#[test]
fn names_are_taken_in_any_case_with_and_without_prefix() {
    for name in ["isolation.level", "kafka.isolation.level", "KAFKA.Isolation.Level"] {
        assert_eq!(
            read_options(json!({name: "READ_COMMITTED"})).unwrap().isolation,
            Isolation::ReadCommitted
        );
    }
    let twice =
        mistake(json!({"isolation.level": "read_committed", "kafka.isolation.level": "read_committed"}));
    assert!(twice.ends_with("is `kafka_options.isolation.level` once more"), "{twice}");
}

#[test]
fn the_nearer_level_wins_option_by_option() {
    let document = acon(&[
        ("options", json!({"startingOffsets": "latest", "failOnDataLoss": "true", "readChangeFeed": "true"})),
        ("kafka_options", json!({"startingOffsets": "earliest", "isolation.level": "read_committed"})),
        (
            "kafka_configs",
            json!({"p": {"kafka_bootstrap_servers_list": "x:1", "kafka_options": {"isolation.level": "read_uncommitted"}}}),
        ),
    ]);
    let read = of(&document).unwrap();
    assert_eq!((read.starting, read.fail_on_data_loss), (Starting::Earliest, true));
    assert_eq!(read.isolation, Isolation::ReadUncommitted);
    assert_eq!(warnings(&document), Vec::<String>::new());
}

#[test]
fn topics_are_listed_matched_or_assigned_and_only_one_of_them() {
    let topics = |options| read_options(options).unwrap().topics;
    let listed = Topics::Listed(["a".to_owned(), "b".to_owned()].into());
    assert_eq!(topics(json!({"subscribe": " b,, a "})), listed);
    assert_eq!(topics(json!({"subscribePattern": "a.*"})), Topics::Matching("a.*".into()));
    let assigned = Topics::Assigned([("a".to_owned(), [0, 2].into())].into());
    assert_eq!(topics(json!({"assign": r#"{"a": [0, 2]}"#})), assigned);
    assert_eq!(topics(json!({"assign": {"a": [2, 0]}})), assigned);
    assert!(mistake(json!({"subscribe": "a", "assign": {"a": [0]}})).contains("only one of `subscribe`"));
    assert!(mistake(json!({"subscribe": ","})).ends_with("names no topic"));
    assert!(mistake(json!({"subscribePattern": "("})).contains("is no regular expression"));
    assert!(mistake(json!({"assign": "a"})).contains("must be a mapping, or JSON text of one"));
}

#[test]
fn starting_offsets_are_read_in_every_form_of_sparks() {
    let starting = |options| read_options(options).unwrap().starting;
    assert_eq!(starting(json!({"startingOffsets": "Latest"})), Starting::Latest);
    let offsets = [(0, StartingOffset::At(23)), (1, StartingOffset::Earliest), (2, StartingOffset::Latest)];
    let named = Starting::Offsets([("a".to_owned(), offsets.into())].into());
    assert_eq!(starting(json!({"startingOffsets": r#"{"a":{"0":23,"1":-2,"2":-1}}"#})), named);
    let by_partition = [("a".to_owned(), [(0, 7)].into())].into();
    let times = Starting::Times { all: None, by_partition, otherwise: NoRecord::Latest };
    let options = json!({
        "startingOffsets": "latest", "startingOffsetsByTimestamp": {"a": {"0": 7}},
        "startingOffsetsByTimestampStrategy": "latest",
    });
    assert_eq!(starting(options), times, "times win over offsets");
    let all = Starting::Times { all: Some(5), by_partition: BTreeMap::new(), otherwise: NoRecord::Error };
    let options = json!({"startingTimestamp": 5, "startingOffsetsByTimestamp": {"a": {"0": 7}}});
    assert_eq!(starting(options), all, "one time wins over those by partition");
}

#[test]
fn wrong_values_are_named_with_their_path() {
    let found = read_options(json!({
        "isolation.level": "dirty", "startingOffsets": {"a": {"x": 1, "1": -3}}, "failOnDataLoss": "maybe",
        "endingOffsets": "latest", "auto.offset.reset": "latest", "assign": {"a": [-1]},
    }))
    .unwrap_err();
    for path in [
        "isolation.level",
        "startingOffsets.a.x",
        "startingOffsets.a.1",
        "failOnDataLoss",
        "endingOffsets",
        "assign.a",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(&format!("kafka_options.{path}: "))),
            "{path}: {found:?}"
        );
    }
    assert!(found.iter().any(|problem| problem.contains("use `startingOffsets`")), "{found:?}");
}

#[test]
fn what_has_no_meaning_here_is_accepted_and_named() {
    let document = acon(&[(
        "kafka_options",
        json!({"maxOffsetsPerTrigger": 10, "kafka.group.id": "g", "kafka.fetch.max.bytes": "1", "startingOfset": "x"}),
    )]);
    let told = warnings(&document);
    assert!(
        told.iter().any(|w| w.starts_with("kafka_options.maxOffsetsPerTrigger: has no effect here.")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|w| w.contains("No consumer group is used") || w.contains("groupIdPrefix")),
        "{told:?}"
    );
    assert!(told.iter().any(|w| w.ends_with("it tunes Java's client")), "{told:?}");
    assert!(
        told.iter().any(|w| w.ends_with("unknown option, ignored; did you mean `startingOffsets`?")),
        "{told:?}"
    );
    assert_eq!(told.len(), 4);
}
