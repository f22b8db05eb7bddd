//! `trigger-file create`.

use rstest::rstest;

use super::*;

const CREATE: [&str; 4] = ["trigger-file", "create", "--sensor-id", "my_trigger"];

#[test]
fn files_are_printed_and_none_is_written_over() {
    let project = Project::bare();
    let create = [&CREATE[..], &["--base", "triggers"]].concat();
    let told = project.good(&create).out;
    let document = project.json(&create);
    let folder = project.path().canonicalize().unwrap().join("triggers/my_trigger");
    let names = names(&folder);
    let urls = [told.trim_end(), document["url"].as_str().unwrap()];
    assert_eq!(
        urls.map(str::to_owned),
        [0, 1].map(|at| format!("file://{}/{}", folder.display(), names[at]))
    );
    for name in &names {
        assert!(heartbeat_core::files::stamp_of(name, "my_trigger").is_some(), "{name}");
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), "Success");
    }
}

#[rstest]
#[case::nothing(&["--sensor-id", " "], &["--sensor-id must not be empty"])]
#[case::up(&["--sensor-id", "../up"], &["cannot be the name of a trigger folder"])]
#[case::below(&["--sensor-id", "a/b"], &["cannot be the name of a trigger folder"])]
#[case::hidden(&["--sensor-id", ".x"], &["cannot be the name of a trigger folder"])]
#[case::scheme(&["--sensor-id", "x", "--base", "ftp://x/y"], &["--base", "`ftp:` locations"])]
#[case::credentials(&["--sensor-id", "x", "--base", "s3://k:hush@b/y"], &["--base", "holds no credentials"])]
#[case::unknown_option(&["--sensor-id", "x", "--storage-option", "aws_regio=x"], &["--storage-option aws_regio", "did you mean `aws_region`?"])]
#[case::no_option(&["--sensor-id", "x", "--storage-option", "hush"], &["NAME=VALUE"])]
#[case::key_in_the_clear(&["--sensor-id", "x", "--signing-key", "hush"], &["--signing-key must say where the key is"])]
#[case::no_key(&["--sensor-id", "x", "--signing-key", "env:HEARTBEAT_TEST_UNSET"], &["signing key", "`HEARTBEAT_TEST_UNSET` is not set"])]
#[case::scope_of_nowhere(&["--sensor-id", "x", "--signing-key", "scope:s/k"], &["scope `s` is of a workspace"])]
fn what_cannot_be_is_refused(#[case] args: &[&str], #[case] words: &[&str]) {
    let project = Project::bare();
    let base: &[&str] = if args.contains(&"--base") { &[] } else { &["--base", "triggers"] };
    let done = project.refused(&[&CREATE[..2], args, base].concat(), words);
    assert!(!done.err.contains("hush"), "{done:?}");
}

#[test]
fn base_or_acon_is_needed_and_an_acon_of_kafka_is_none() {
    let project = Project::bare();
    project.refused(&CREATE, &["--base"]);
    project.write(
        "kafka.yaml",
        "sensor_source: kafka\ndata_format: kafka\nheartbeat_sensor_db_table: db.c\n\
         lakehouse_engine_sensor_db_table: db.s\ndomain: 127.0.0.1\ntoken: t\nkafka_configs:\n  p:\n    \
         kafka_bootstrap_servers_list: 127.0.0.1:1\n",
    );
    project.refused(&[&CREATE[..], &["--acon", "kafka.yaml"]].concat(), &["`kafka.yaml` is of kafka"]);
    project.refused(&[&CREATE[..], &["--acon", "missing.yaml"]].concat(), &["missing.yaml"]);
}

#[test]
fn acon_says_where_and_with_which_key_and_options_come_first() {
    let project = with_rows(&[("my_trigger", "7", "UNPAUSED")]);
    configure(&project, "trigger_file_options: {signing_key: 'file:key', pattern: '*.csv'}");
    project.write("key", "a key\n");
    let create = [&CREATE[..], &["--acon", "files.yaml"]].concat();
    let warned = project.good(&create);
    assert!(warned.err.contains("is not of the ACON's `pattern`"), "{warned:?}");
    let acon = std::fs::read_to_string(project.path().join("files.yaml")).unwrap();
    project.write("files.yaml", &acon.replace(", pattern: '*.csv'", ""));
    let signed = project.json(&create);
    let name = signed["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    project.write("triggers/my_trigger/by_nobody.txt", "Success");
    let found = news(&project.json(&CHECK));
    assert!(found["7"].contains(&name) && !found["7"].contains(&"by_nobody.txt".to_owned()), "{found:?}");
    project.write("other", "another key");
    project.good(&[&create[..], &["--base", "elsewhere", "--signing-key", "file:other"]].concat());
    let folder = project.path().join("elsewhere/my_trigger");
    let body = std::fs::read_to_string(folder.join(&names(&folder)[0])).unwrap();
    assert!(body.starts_with("Success\nheartbeat-signature: v1="), "{body}");
}

#[test]
fn secret_on_the_command_line_is_warned_of_and_not_repeated() {
    let project = Project::bare();
    let told = project.good(
        &[&CREATE[..], &["--base", "triggers", "--storage-option", "aws_secret_access_key=hush"]].concat(),
    );
    assert!(told.err.contains("give env:NAME or file:PATH") && !told.err.contains("hush"), "{told:?}");
}

#[test]
fn folder_without_the_right_to_write_says_so() {
    let project = Project::bare();
    project.write("triggers", "no folder");
    let create = [&CREATE[..], &["--base", "triggers"]].concat();
    let told = project.refused(&create, &["error: folder `", "triggers/my_trigger`"]);
    assert_eq!(told.err.lines().count(), 1, "{told:?}");
}
