//! The recorded scenarios as they stand in `tests/scenarios`; its README explains every key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use heartbeat_core::row::{CONTROL_COLUMNS, SENSOR_COLUMNS};
use serde::Deserialize;
use serde_json::Value;

/// A table row: column to value, null columns absent.
pub(crate) type Row = BTreeMap<String, Value>;

/// One story.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    #[serde(rename = "about")]
    _about: String,
    pub(crate) control: Vec<Row>,
    pub(crate) sensor: Vec<Row>,
    pub(crate) steps: Vec<Step>,
    pub(crate) recorded: Vec<Entry>,
    pub(crate) corner: Option<String>,
    #[serde(default)]
    pub(crate) expected: Option<Vec<Entry>>,
}

/// What is done.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    Feed {
        csv: String,
    },
    Check {
        source: String,
    },
    Trigger {
        source: String,
        #[serde(default)]
        answers: BTreeMap<String, Answer>,
    },
    Complete {
        job_id: String,
    },
    Set {
        sensor_id: String,
        trigger_job_id: String,
        values: Row,
    },
    PutFile {
        path: String,
        body: String,
    },
    MakeDir {
        path: String,
    },
    CreateTopic {
        topic: String,
        partitions: i32,
    },
    Produce {
        topic: String,
        partition: i32,
        count: usize,
    },
}

/// What run-now answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// What is there after a step; `None` tables are not determined.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) control: Option<Vec<Row>>,
    pub(crate) sensor: Option<Vec<Row>>,
    pub(crate) run_now: Vec<Value>,
    pub(crate) error: Option<String>,
}

/// All files with scenarios.
pub(crate) fn files() -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

/// The scenarios of one file.
pub(crate) fn read(file: &str) -> Vec<Scenario> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    let scenarios: Vec<Scenario> = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{file}: {why}"));
    for scenario in &scenarios {
        let wrong = scenario.mistakes();
        assert!(wrong.is_empty(), "{file}: {}: {}", scenario.name, wrong.join("; "));
    }
    scenarios
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

impl Scenario {
    /// What must hold after each step.
    pub(crate) fn entries(&self) -> &[Entry] {
        self.expected.as_deref().unwrap_or(&self.recorded)
    }

    fn mistakes(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (table, rows, columns) in
            [("control", &self.control, &CONTROL_COLUMNS[..]), ("sensor", &self.sensor, &SENSOR_COLUMNS[..])]
        {
            let strange = rows.iter().flat_map(Row::keys).filter(|name| !columns.contains(&name.as_str()));
            wrong.extend(strange.map(|name| format!("{table} has no column `{name}`")));
        }
        if self.corner.is_some() != self.expected.is_some() {
            wrong.push("`corner` and `expected` go together".to_owned());
        }
        if self.entries().len() != self.steps.len() || self.recorded.len() != self.steps.len() {
            wrong.push("an entry per step".to_owned());
        }
        wrong
    }
}
