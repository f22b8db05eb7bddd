//! Against a real S3.

use std::fs::File;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::snippets::bash;
use super::*;
use crate::support::project::Done;

/// A project whose trigger files lie in a folder of their own on the server.
struct Scene {
    project: Project,
    base: String,
    endpoint: String,
    keys: [(&'static str, String); 2],
    /// Where the server keeps its buckets.
    buckets: String,
}

impl Scene {
    fn new(rows: &[(&str, &str, &str)]) -> Option<Self> {
        let mut server = server()?;
        let mut take =
            |name: &str| server.remove(name).unwrap_or_else(|| panic!("the server tells no {name}"));
        let (endpoint, access, secret) = (take("S3B"), take("S3B_ACCESS_KEY"), take("S3B_SECRET_KEY"));
        let buckets = take("S3B_BUCKETS");
        let project = with_rows(rows);
        let base = format!("s3://heartbeat/{}", uuid::Uuid::new_v4().simple());
        let acon = std::fs::read_to_string(project.path().join("files.yaml")).unwrap();
        project.write("files.yaml", &acon.replace(": triggers\n", &format!(": {base}\n")));
        configure(
            &project,
            &format!(
                "storage_options: {{aws_endpoint: '{endpoint}', aws_access_key_id: 'env:HB_ACCESS', \
                 aws_secret_access_key: 'env:HB_SECRET'}}"
            ),
        );
        Some(Self { project, base, endpoint, keys: [("HB_ACCESS", access), ("HB_SECRET", secret)], buckets })
    }

    fn run(&self, args: &[&str]) -> Done {
        let keys = self.keys.iter().map(|(name, value)| (name, value));
        self.project.run_with(args, |command| {
            command.envs(keys);
        })
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let done = self.run(&[args, &["--output", "json"]].concat());
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
        serde_json::from_str(&done.out).unwrap()
    }

    /// Sets a file back to forty days ago: the server tells the time of the file that it keeps an object in.
    fn make_old(&self, id: &str, name: &str) {
        let path = format!("{}/{}/{id}/{name}", self.buckets, self.base.trim_start_matches("s3://"));
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(40 * 24)).unwrap();
    }

    /// Options that say what the ACON does.
    fn options(&self) -> Vec<String> {
        let option = |text: String| ["--storage-option".to_owned(), text];
        [
            option(format!("aws_endpoint={}", self.endpoint)),
            option("aws_access_key_id=env:HB_ACCESS".to_owned()),
            option("aws_secret_access_key=env:HB_SECRET".to_owned()),
        ]
        .concat()
    }
}

#[test]
fn files_are_created_found_and_pruned_on_s3() {
    let id = "it's $HOME é+%41";
    let Some(scene) = Scene::new(&[(id, "7", "UNPAUSED")]) else { return };
    let by_acon = scene.json(&["trigger-file", "create", "--acon", "files.yaml", "--sensor-id", id]);
    let options = scene.options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let create = ["trigger-file", "create", "--base", &scene.base, "--sensor-id", id];
    let by_options = scene.json(&[&create[..], &options[..]].concat());
    let name = |document: &serde_json::Value| {
        let url = document["url"].as_str().unwrap();
        url.strip_prefix(&format!("{}/{id}/", scene.base)).unwrap_or_else(|| panic!("{url}")).to_owned()
    };
    let created = [name(&by_acon), name(&by_options)];
    assert_ne!(created[0], created[1]);
    let mut found = news(&scene.json(&CHECK))["7"].clone();
    found.sort();
    assert_eq!(found, created);
    let prune = ["trigger-file", "prune", "--acon", "files.yaml", "--older-than", "30d"];
    assert_eq!(scene.json(&prune)["folders"][0]["kept"], json!({"young": 2, "not_processed": 0}));
    for name in &created {
        scene.make_old(id, name);
    }
    assert_eq!(scene.json(&prune)["folders"][0]["kept"], json!({"young": 0, "not_processed": 2}));
    complete(&scene.project, "7");
    let next = scene.json(&["trigger-file", "create", "--acon", "files.yaml", "--sensor-id", id]);
    let would = scene.json(&[&prune[..], &["--dry-run"]].concat());
    let told = scene.json(&prune);
    assert_eq!((&told["files"], &told["folders"]), (&json!(2), &would["folders"]), "{told}");
    assert_eq!(told["folders"][0]["paths"], json!(created));
    assert_eq!(news(&scene.json(&CHECK))["7"], [name(&next)]);
    complete(&scene.project, "7");
    assert!(news(&scene.json(&CHECK))["7"].is_empty());
}

#[test]
fn refusal_of_s3_is_one_line_that_names_the_file() {
    let Some(scene) = Scene::new(&[("my_trigger", "7", "UNPAUSED")]) else { return };
    let create = ["trigger-file", "create", "--acon", "files.yaml", "--sensor-id", "my_trigger"];
    scene.project.write("wrong", "hush");
    let missing = scene.run(&[&create[..], &["--base", "s3://heartbeat-has-no-such-bucket/x"]].concat());
    let wrong = scene.run(&[&create[..], &["--storage-option", "aws_secret_access_key=file:wrong"]].concat());
    for (done, words) in [(missing, "does not exist"), (wrong, "credentials")] {
        assert_eq!((done.code, done.err.lines().count()), (Some(1), 1), "{done:?}");
        assert!(done.err.starts_with("error: file `s3://") && done.err.contains(words), "{done:?}");
    }
}

/// With the command line of AWS, where it is installed.
#[test]
fn bash_snippet_drops_a_file_on_s3() {
    let id = "it's $HOME";
    let Some(scene) = Scene::new(&[(id, "7", "UNPAUSED")]) else { return };
    if std::process::Command::new("aws").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no aws");
        return;
    }
    let create = ["trigger-file", "create", "--acon", "files.yaml", "--sensor-id", id];
    let snippet = scene.run(&[&create[..], &["--print-snippet", "bash"]].concat()).out;
    let mut dropped = Vec::new();
    for _ in 0..2 {
        let [(_, access), (_, secret)] = &scene.keys;
        let keys = [("AWS_ACCESS_KEY_ID", access.as_str()), ("AWS_SECRET_ACCESS_KEY", secret)];
        let done = bash(&snippet, |command| {
            command.envs(keys).env("AWS_DEFAULT_REGION", "us-east-1");
        });
        assert_eq!(done.code, Some(0), "{done:?}");
        dropped = news(&scene.json(&CHECK))["7"].clone();
        if dropped.is_empty() {
            break;
        }
        complete(&scene.project, "7");
    }
    assert_eq!(dropped.len(), 1, "each run drops a file of its own");
}
