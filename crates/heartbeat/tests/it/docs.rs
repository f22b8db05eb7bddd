//! The reference pages: generated ones are what the code says, written ones name what there is.
//!
//! With `HEARTBEAT_BLESS=1` the generated pages are written anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use clap::{Arg, CommandFactory, Parser};
use heartbeat::broker::Broker;
use heartbeat::cli::Cli;
use heartbeat::fail_point;
use heartbeat::jobs_api::{Fault, FaultKind, FaultTarget, StandIn, StandInConfig};
use heartbeat::metrics::{METRICS, MetricDoc};
use heartbeat_core::acon::{
    AUTO_LOADER_KEYS, Acon, Effect, KEYS, KeyDoc, PRODUCT_KEYS, STORAGE_KEYS, TRIGGER_FILE_KEYS, option_docs,
};
use serde_json::Value;

use crate::support::project::{CONTROL, HEADER, Project, SENSOR};

mod config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_default()
}

/// Holds a page against what it should be, or writes it.
#[expect(clippy::disallowed_methods, reason = "a switch of this test, not a setting")]
fn generated(name: &str, text: &str) {
    if std::env::var("HEARTBEAT_BLESS").is_ok_and(|bless| bless == "1") {
        std::fs::write(root().join(name), text).unwrap();
    }
    assert!(page(name) == text, "{name} is stale; write it anew with HEARTBEAT_BLESS=1");
}

const NOTE: &str = "<!-- Generated from the code; `crates/heartbeat/tests/it/docs.rs` says how. -->\n";

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn acon_page_lists_every_key() {
    let table = |keys: &[KeyDoc]| {
        let mut text = "| key | needed for | effect | what it is |\n|---|---|---|---|\n".to_owned();
        for KeyDoc { name, required_for, effect, doc } in keys {
            let needed = match *required_for {
                "" => "-",
                "all" => "every source",
                source => source,
            };
            let effect = match effect {
                Effect::Used => "used",
                Effect::WithoutEffect => "none",
            };
            writeln!(text, "| `{name}` | {needed} | {effect} | {} |", cell(doc)).unwrap();
        }
        text
    };
    let text = format!(
        "{NOTE}# Keys of an ACON\n\nAn ACON configures one source. It is a JSON file (`.json`) or a YAML file (any other name), with the \
         keys of the original.\nAn unknown key is a warning, a wrong value an error; `heartbeat validate` tells all of them at \
         once.\n\n{}\n## One product in `kafka_configs`\n\n{}\n## Secrets\n\nA secret is a reference: `env:NAME` (environment \
         variable), `file:PATH` (content of a file, without the line end),\n`literal:TEXT` (the text itself), for Kafka's also \
         `scope:SCOPE/KEY` (a Databricks secret scope).\nWithout a prefix `token`, a password or a JAAS text is the secret itself, and a \
         `*_secret_key` a key of `kafka_secret_scope`. Secrets are\nnever printed, logged or stored.\n\n## Options of Kafka\n\nIn \
         `kafka_options` of a product or the ACON, or in `options`; the first wins. Names as Spark and Kafka's client have them, \
         with or\nwithout `kafka.`, in any case. Examples: [../kafka.md](../kafka.md).\n\n{}\n## `trigger_file_options`\n\nWhich trigger files \
         count, and how they are found: [../trigger-files.md](../trigger-files.md). An unknown key is an error.\n\n{}\n## Options of \
         Auto Loader\n\nOf those in `options` of an ACON for trigger files these count; the keys above win. Others have no \
         effect.\n\n{}\n## `storage_options`\n\nHow the store of the trigger files is reached, and who we are there. Each value \
         may be a reference. An unknown name is an error.\nTables have their own: [../stores.md](../stores.md).\n\n{}",
        table(&KEYS),
        table(&PRODUCT_KEYS),
        table(&option_docs()),
        table(&TRIGGER_FILE_KEYS),
        table(&AUTO_LOADER_KEYS),
        table(&STORAGE_KEYS)
    );
    generated("docs/reference/acon.md", &text);
}

#[test]
fn examples_of_the_kafka_page_are_valid() {
    let page = page("docs/kafka.md");
    let examples: Vec<&str> =
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 6);
    for text in examples {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acon.yaml");
        std::fs::write(&path, text).unwrap();
        let reading = Acon::from_value(&heartbeat::config::document(&path).unwrap());
        assert!(reading.result.is_ok() && reading.warnings.is_empty(), "{text}\n{reading:?}");
    }
}

#[test]
fn examples_of_the_pages_on_trigger_files_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part.yaml");
    for name in ["docs/trigger-files.md", "docs/notifications.md"] {
        let page = page(name);
        let examples: Vec<&str> =
            page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!examples.is_empty(), "{name}");
        for text in examples {
            std::fs::write(&path, text).unwrap();
            let mut document = heartbeat::config::document(&path).unwrap();
            let keys = document.as_object_mut().unwrap();
            for (key, value) in [
                ("sensor_source", "trigger_file"),
                ("data_format", "cloudfiles"),
                ("heartbeat_sensor_db_table", "db.control"),
                ("lakehouse_engine_sensor_db_table", "db.sensors"),
                ("domain", "dbc-1.cloud.databricks.com"),
                ("base_trigger_file_location", "s3://my-bucket/triggers"),
            ] {
                keys.entry(key).or_insert_with(|| value.into());
            }
            let reading = Acon::from_value(&document);
            assert!(reading.result.is_ok() && reading.warnings.is_empty(), "{name}: {text}\n{reading:?}");
        }
    }
}

#[test]
fn metrics_page_lists_every_metric() {
    let mut text = format!(
        "{NOTE}# Metrics\n\n`heartbeat run` serves them at `/metrics` in the OpenMetrics text format. `source` is a kind of \
         upstream, `acon` the name of\nthe source in the configuration, `table` the name of a table there. A series goes \
         when its source or table is no longer\nwatched.\n\n| metric | kind | labels | what it is |\n|---|---|---|---|\n"
    );
    for MetricDoc { name, kind, labels, help } in &METRICS {
        let kind = format!("{kind:?}").to_lowercase();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        writeln!(text, "| `{name}` | {kind} | {labels} | {}. |", cell(help)).unwrap();
    }
    generated("docs/reference/metrics.md", &text);
}

#[test]
fn cli_page_lists_every_command_and_option() {
    let mut cli = Cli::command();
    cli.build();
    let mut text = format!("{NOTE}# The command line\n\n{}\n\n", about(&cli));
    if let Some(after) = cli.get_after_help() {
        writeln!(text, "```text\n{after}\n```\n").unwrap();
    }
    text.push_str("## Options of all commands\n\n");
    options(&mut text, cli.get_arguments().filter(|arg| arg.is_global_set()));
    for command in cli.get_subcommands_mut() {
        describe(&mut text, command);
    }
    generated("docs/reference/cli.md", &text);
}

fn about(command: &clap::Command) -> String {
    command.get_about().map(sentence).unwrap_or_default()
}

/// clap drops the full stop that ends a help text.
fn sentence(help: &clap::builder::StyledStr) -> String {
    let text = help.to_string();
    if text.ends_with(['.', '?']) { text } else { text + "." }
}

fn describe(text: &mut String, command: &mut clap::Command) {
    if command.get_name() == "help" {
        return;
    }
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    if command.has_subcommands() {
        for inner in command.get_subcommands_mut() {
            describe(text, inner);
        }
        return;
    }
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    write!(text, "\n## `{name}`\n\n{}\n\n```text\n{usage}\n```\n\n", about(command)).unwrap();
    options(text, command.get_arguments().filter(|arg| !arg.is_global_set()));
    if let Some(after) = command.get_after_help() {
        write!(text, "\n```text\n{after}\n```\n").unwrap();
    }
}

fn options<'a>(text: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let own: Vec<&Arg> = args.filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")).collect();
    if own.is_empty() {
        return;
    }
    text.push_str("| option | what it does |\n|---|---|\n");
    for arg in own {
        let short = arg.get_short().filter(|_| arg.get_long().is_some());
        let short = short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let mut what = arg.get_help().map(sentence).unwrap_or_default();
        if arg.is_required_set() {
            what.push_str(" Required.");
        }
        let quoted = |values: Vec<String>| values.join(", ");
        if arg.get_action().takes_values() {
            let values: Vec<_> =
                arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
            if !values.is_empty() {
                write!(what, " One of {}.", quoted(values)).unwrap();
            }
            let defaults: Vec<_> =
                arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
            if !defaults.is_empty() {
                write!(what, " Default: {}.", quoted(defaults)).unwrap();
            }
            if let Some(variable) = arg.get_env() {
                write!(what, " Environment: `{}`.", variable.display()).unwrap();
            }
        }
        writeln!(text, "| {short}`{}` | {} |", cell(&arg.to_string()), cell(&what)).unwrap();
    }
}

#[test]
fn fail_point_page_lists_every_name_in_order() {
    let page = page("docs/reference/fail-points.md");
    let listed: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(listed, fail_point::NAMES, "docs/reference/fail-points.md");
}

/// Code blocks of a language with the last heading before each.
fn blocks(text: &str, language: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut heading = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            title.trim_matches('`').clone_into(&mut heading);
        } else if let Some(fence) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if fence == language {
                blocks.push((heading.clone(), block.join("\n")));
            }
        }
    }
    blocks
}

#[test]
fn commands_in_the_pages_are_valid() {
    for name in ["README.md", "CONTRIBUTING.md", "docs/runbook.md", "docs/stores.md"] {
        let mut seen = 0;
        for (heading, block) in blocks(&page(name), "sh") {
            for line in block.replace("\\\n", " ").lines() {
                let line =
                    line.split(['#', '>', '|', ';']).next().unwrap_or_default().trim_end_matches(['&', ' ']);
                let Some(line) = line.strip_prefix("heartbeat ") else { continue };
                // Databricks puts numbers in their place.
                let line = line.replace("{{job.id}}", "1").replace("{{job.run_id}}", "2");
                let words = line.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
                let parsed = Cli::try_parse_from(["heartbeat"].into_iter().chain(words));
                // Help is an `Err` to clap, printed on stdout.
                let refused = parsed.err().filter(clap::Error::use_stderr);
                assert!(refused.is_none(), "{name}, {heading}: heartbeat {line}: {}", refused.unwrap());
                seen += 1;
            }
        }
        assert!(seen > 0 || name == "CONTRIBUTING.md", "{name} has no commands");
    }
}

#[test]
fn examples_are_valid_and_yaml_says_what_json_says() {
    let project = Project::new();
    let examples = root().join("examples");
    for entry in std::fs::read_dir(&examples).unwrap() {
        let path = entry.unwrap().path();
        // What a reader left there who tried them.
        if path.is_file() {
            project
                .write(path.file_name().unwrap().to_str().unwrap(), &std::fs::read_to_string(&path).unwrap());
        }
    }
    let acons = ["trigger_file.yaml", "trigger_file.json", "kafka.yaml", "kafka.json"];
    let told = project.json(&[&["validate", "--acon"], &acons[..]].concat());
    assert_eq!(told["valid"], true, "{told}");
    for file in told["files"].as_array().unwrap() {
        assert_eq!(file["warnings"], serde_json::json!([]), "{file}");
    }
    for name in ["trigger_file", "kafka"] {
        let yaml: Value = serde_saphyr::from_str(&page(&format!("examples/{name}.yaml"))).unwrap();
        let json: Value = serde_json::from_str(&page(&format!("examples/{name}.json"))).unwrap();
        assert_eq!(yaml, json, "{name}");
    }
    let diff = project.json(&["feed", "--csv", "sensors.csv", "--control-table", CONTROL]);
    assert_eq!(diff["inserted"].as_array().unwrap().len(), 2, "{diff}");
    StandInConfig::from_file(&examples.join("jobs.yaml")).unwrap();
}

/// Every key in a document, as a path.
fn keys(document: &Value, prefix: &str, paths: &mut BTreeSet<String>) {
    match document {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{prefix}.{key}");
                keys(value, &path, paths);
                paths.insert(path);
            }
        }
        Value::Array(items) => {
            for item in items {
                keys(item, &format!("{prefix}[]"), paths);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_page_has_the_keys_that_the_commands_print() {
    let mut printed = Vec::new();
    let mut note = |command: &str, document: Value| printed.push((command.to_owned(), document));
    let workspace = StandIn::start(StandInConfig::default()).await.unwrap();
    let broker = Broker::start("127.0.0.1:0").await.unwrap();
    broker.create_topic("my.topic", 1).unwrap();
    broker.append("my.topic", 0, &[Bytes::from_static(b"x")]).unwrap();
    let tables = ["--control-table", CONTROL, "--sensor-table", SENSOR];
    let project = Project::bare();
    note("init", project.json(&[&["init"], &tables[..]].concat()));
    for rows in [
        "trigger_file,old,streaming,a,,,9,n,UNPAUSED,TRUE\ntrigger_file,my_trigger,streaming,a,,,101,n,UNPAUSED,TRUE",
        "trigger_file,my_trigger,streaming,b,,,101,n,UNPAUSED,TRUE\nkafka,my_product: my.topic,streaming,c,,,102,n,PAUSED,",
    ] {
        project.write("feed.csv", &format!("{HEADER}\n{rows}\n"));
        note("feed", project.json(&["feed", "--csv", "feed.csv", "--control-table", CONTROL]));
    }
    project.feed(&[
        "trigger_file,my_trigger,streaming,b,,,101,n,UNPAUSED,TRUE",
        "kafka,my_product: my.topic,streaming,c,,,102,n,UNPAUSED,TRUE",
        "kafka,my_product: missing,streaming,c,,,103,n,UNPAUSED,TRUE",
    ]);
    project.files_acon(&workspace.url());
    project.write(
        "kafka.yaml",
        &format!(
            "sensor_source: kafka\ndata_format: kafka\nheartbeat_sensor_db_table: {CONTROL}\n\
             lakehouse_engine_sensor_db_table: {SENSOR}\ndomain: {}\ntoken: t\nkafka_configs:\n  my_product:\n    \
             kafka_bootstrap_servers_list: {}\n",
            workspace.url(),
            broker.bootstrap()
        ),
    );
    project.write("bad.yaml", "sensor_source: kafka\nunknown_key: 1\n");
    let acons = ["--acon", "files.yaml", "kafka.yaml"];
    note("validate", project.json(&[&["validate", "--acon", "bad.yaml"], &acons[1..]].concat()));
    note(
        "trigger-file create",
        project.json(&["trigger-file", "create", "--base", "triggers", "--sensor-id", "my_trigger"]),
    );
    let snippet =
        ["trigger-file", "create", "--base", "triggers", "--sensor-id", "x", "--print-snippet", "bash"];
    note("trigger-file create --print-snippet", project.json(&snippet));
    let prune = ["trigger-file", "prune", "--acon", "files.yaml", "--older-than", "30d"];
    note("trigger-file prune", project.json(&prune));
    note("check", project.json(&[&["check"], &acons[..]].concat()));
    note("trigger --dry-run", project.json(&[&["trigger", "--dry-run"], &acons[..]].concat()));
    workspace.inject(Fault::once(FaultTarget::RunNow, FaultKind::NoRunId));
    note("trigger", project.json(&[&["trigger"], &acons[..]].concat()));
    note("trigger --dry-run", project.json(&[&["trigger", "--dry-run"], &acons[..]].concat()));
    note("status", project.json(&[&["status"], &tables[..]].concat()));
    note("why", project.json(&[&["why", "101"], &tables[..]].concat()));
    note("why", project.json(&[&["why", "103"], &tables[..]].concat()));
    note("retrigger", project.json(&[&["retrigger", "101", "--force"], &tables[..]].concat()));
    for command in ["pause", "resume"] {
        note(command, project.json(&[&[command, "--job-id", "103"], &tables[..2]].concat()));
    }
    note("history", project.json(&[&["history"], &tables[..2]].concat()));
    note("complete", project.json(&[&["complete", "--job-id", "101"], &tables[..]].concat()));
    note("jobs-api", first_line_of_the_stand_in());
    broker.stop();
    workspace.stop().await;

    for (command, block) in blocks(&page("docs/reference/json.md"), "json") {
        let mut documented = BTreeSet::new();
        keys(&serde_json::from_str(&block).unwrap(), "", &mut documented);
        let mut found = BTreeSet::new();
        let (of_command, others): (Vec<_>, Vec<_>) =
            printed.into_iter().partition(|(name, _)| *name == command);
        for (_, document) in &of_command {
            keys(document, "", &mut found);
        }
        assert_eq!(documented, found, "docs/reference/json.md, {command}: {of_command:?}");
        printed = others;
    }
    assert!(printed.is_empty(), "docs/reference/json.md lacks {printed:?}");
}

fn first_line_of_the_stand_in() -> Value {
    let mut child = Command::new(env!("CARGO_BIN_EXE_heartbeat"))
        .args(["jobs-api", "--listen", "127.0.0.1:0", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    serde_json::from_str(&line).unwrap()
}
