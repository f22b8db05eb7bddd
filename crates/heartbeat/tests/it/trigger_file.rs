//! `heartbeat trigger-file` as a user meets it, on folders of this machine and on a real server.
//!
//! The server is one that `scripts/stores/start DIR versity` started, given by `HEARTBEAT_TEST_STORES=DIR`. Without it these
//! cases are skipped aloud; with `CI=true` that is a failure.

mod create;
mod prune;
mod server;
mod snippets;

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::project::{CONTROL, Project, SENSOR};

const CHECK: [&str; 3] = ["check", "--acon", "files.yaml"];

/// Rows of one folder, one per job, with their `job_state`.
fn with_rows(rows: &[(&str, &str, &str)]) -> Project {
    let project = Project::new();
    let rows =
        rows.iter().map(|(id, job, state)| format!("trigger_file,{id},streaming,a,,,{job},n,{state},TRUE"));
    let rows: Vec<String> = rows.collect();
    project.feed(&rows.iter().map(String::as_str).collect::<Vec<_>>());
    project.files_acon("127.0.0.1");
    project
}

/// Adds lines to the ACON.
fn configure(project: &Project, lines: &str) {
    let path = project.path().join("files.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    project.write("files.yaml", &format!("{text}{lines}\n"));
}

fn complete(project: &Project, job: &str) {
    project.good(&["complete", "--job-id", job, "--control-table", CONTROL, "--sensor-table", SENSOR]);
}

/// Files that a check finds in each row, by job.
fn news(document: &serde_json::Value) -> BTreeMap<String, Vec<String>> {
    let rows = document["looked_at"].as_array().unwrap().iter();
    let files = |row: &serde_json::Value| {
        let files = row["manifest"]["files"].as_array().into_iter().flatten();
        files.map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    };
    rows.map(|row| (row["trigger_job_id"].as_str().unwrap().to_owned(), files(row))).collect()
}

/// Names of the files in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What the server is reached by; `None` where there is none.
#[expect(clippy::disallowed_methods, reason = "the gate of the real servers")]
fn server() -> Option<BTreeMap<String, String>> {
    match std::env::var("HEARTBEAT_TEST_STORES") {
        Ok(dir) if !dir.is_empty() => {
            let text = std::fs::read_to_string(format!("{dir}/env")).unwrap();
            let pair =
                |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            Some(text.lines().filter_map(pair).collect())
        }
        _ if std::env::var("CI").as_deref() == Ok("true") => panic!("HEARTBEAT_TEST_STORES is unset in CI"),
        _ => {
            eprintln!("SKIPPED: no real storage servers, HEARTBEAT_TEST_STORES is unset");
            None
        }
    }
}
