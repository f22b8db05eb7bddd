//! A user's folder: tables, feed, ACONs, and the binary run in it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const CONTROL: &str = "db.control";
pub(crate) const SENSOR: &str = "db.sensor";
pub(crate) const HEADER: &str = "sensor_source,sensor_id,sensor_read_type,asset_description,upstream_key,\
                                 preprocess_query,trigger_job_id,trigger_job_name,job_state,dependency_flag";

/// A folder with both tables in its warehouse.
pub(crate) struct Project {
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Project {
    /// A folder with empty tables.
    pub(crate) fn new() -> Self {
        let project = Self::bare();
        project.good(&["init", "--control-table", CONTROL, "--sensor-table", SENSOR]);
        project
    }

    /// An empty folder.
    pub(crate) fn bare() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Feeds rows, without the header.
    pub(crate) fn feed(&self, rows: &[&str]) {
        self.write("feed.csv", &format!("{HEADER}\n{}\n", rows.join("\n")));
        self.good(&["feed", "--csv", "feed.csv", "--control-table", CONTROL]);
    }

    /// Writes `files.yaml`, an ACON for trigger files below `triggers`.
    pub(crate) fn files_acon(&self, domain: &str) {
        self.write(
            "files.yaml",
            &format!(
                "sensor_source: trigger_file\ndata_format: cloudfiles\nheartbeat_sensor_db_table: {CONTROL}\n\
                 lakehouse_engine_sensor_db_table: {SENSOR}\nbase_trigger_file_location: triggers\n\
                 domain: {domain}\ntoken: secret-token\n"
            ),
        );
    }

    /// Runs the binary.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, |_| {})
    }

    /// Runs the binary, its environment prepared.
    pub(crate) fn run_with(&self, args: &[&str], prepare: impl FnOnce(&mut Command)) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        prepare(&mut command);
        let Output { status, stdout, stderr } = command
            .args(args)
            .current_dir(self.path())
            .env("HEARTBEAT_WAREHOUSE", "warehouse")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Done {
            code: status.code(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Runs the binary, which must succeed.
    pub(crate) fn good(&self, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
        done
    }

    /// The JSON document that a command prints, whatever its exit code.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let done = self.run(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {done:?}"))
    }

    /// Runs the binary, which must fail with exit code 1, one line of which says each of `words`, and must change
    /// nothing below the folder.
    pub(crate) fn refused(&self, args: &[&str], words: &[&str]) -> Done {
        let before = self.files();
        let done = self.run(args);
        assert_eq!(done.code, Some(1), "{args:?}: {done:?}");
        for word in words {
            assert!(done.err.contains(word) || done.out.contains(word), "`{word}` is not in {done:?}");
        }
        assert!(!done.err.contains("panicked"), "{done:?}");
        assert_eq!(self.files(), before, "{args:?} changed files");
        done
    }

    /// Every file below the folder with its content.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let mut below = vec![self.path().to_owned()];
        while let Some(folder) = below.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    below.push(path);
                } else {
                    files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    /// Status of each control row, by sensor_id.
    pub(crate) fn statuses(&self) -> Vec<(String, String)> {
        let document = self.json(&["status", "--control-table", CONTROL]);
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("NULL").to_owned();
        let rows = document["rows"].as_array().unwrap().iter();
        let mut statuses: Vec<_> = rows.map(|row| (text(row, "sensor_id"), text(row, "status"))).collect();
        statuses.sort();
        statuses
    }
}
