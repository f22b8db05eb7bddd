//! `heartbeat.yaml`: what `heartbeat run` watches, and how.
//!
//! A file is read in three steps. `check` holds the document against the schema of the types in `file` and finds
//! every unknown key and wrong value. What is sound is read into these types, ACON files included. Then `watch` puts
//! ACONs over the same tables together and finds those that contradict each other. All mistakes of all steps are told
//! at once, each with the path of its key, none with its value.

mod acon_file;
mod check;
mod entry;
mod file;
mod sound;
mod tables;
mod text;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_core::acon::{Finding, StorageOptions};
use heartbeat_core::secret::SecretRef;
use serde_json::{Map, Value};

pub use self::acon_file::{FileError, document};
pub use self::file::schema;
use self::file::{AconEntry, ConfigFile};
use self::sound::Origin;
pub use self::tables::{TableAt, TableNames};
pub use self::watch::{Watch, WatchedSource};

/// What `heartbeat run` does.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where tables lie.
    pub tables: TableNames,
    /// How the stores of tables are reached.
    pub storage: StorageOptions,
    /// What is watched, by pair of tables; at least one.
    pub watches: Vec<Watch>,
    /// How runs are followed.
    pub runs: Runs,
    /// Where metrics and health are served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The journal.
    pub journal: Journal,
    /// Keeping the tables small.
    pub maintenance: Maintenance,
    /// How long steps that have begun may take to end after a signal.
    pub shutdown_grace: Duration,
}

/// How runs are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Time between two questions about runs that go on.
    pub poll_interval: Duration,
    /// Time between two questions about jobs whose run failed.
    pub rest_poll_interval: Duration,
}

/// The journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journal {
    /// Whether it is written.
    pub enabled: bool,
    /// Time between two commits.
    pub flush_interval: Duration,
    /// How long entries are kept.
    pub keep: Duration,
}

/// Keeping the tables small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maintenance {
    /// Time between two rounds.
    pub interval: Duration,
    /// How long old versions can be read.
    pub keep: Duration,
    /// Bytes of a table's files beyond which old versions go earlier.
    pub keep_bytes: u64,
}

/// Outcome of reading a configuration: the warnings always, and the configuration or all its mistakes.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What may surprise: unknown keys of ACONs, a workspace with two tokens.
    pub warnings: Vec<Finding>,
    /// The configuration, or every mistake in it and in the ACONs that it names.
    pub result: Result<Config, Vec<Finding>>,
}

impl Config {
    /// Reads a file and the ACON files that it names. `warehouse` is used if it names none.
    pub fn read(path: &Path, warehouse: &str) -> Result<Reading, FileError> {
        let document = document(path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Ok(Self::from_value(&document, directory, warehouse))
    }

    /// Reads a parsed document. Relative paths start at `directory`; `warehouse` is used if it names none.
    pub fn from_value(document: &Value, directory: &Path, warehouse: &str) -> Reading {
        let document = sound::normalised(document);
        let mistakes = check::mistakes(&schema(), &document);
        let (sound, origins) = sound::part(document, &mistakes);
        match serde_json::from_value(sound) {
            Ok(file) => build(file, &origins, directory, warehouse, mistakes),
            // The schema is made from the types: what it passes can be read.
            Err(_) if mistakes.is_empty() => {
                let problem = "cannot be read; docs/reference/config.md says what it may hold".to_owned();
                let mistake = Finding { path: "(document)".to_owned(), problem };
                Reading { warnings: Vec::new(), result: Err(vec![mistake]) }
            }
            Err(_) => Reading { warnings: Vec::new(), result: Err(mistakes) },
        }
    }

    /// The configuration of `heartbeat run --acon FILE...`: the ACONs, and defaults. Relative paths start at the
    /// working directory.
    pub fn of_acons(paths: &[PathBuf], warehouse: &str) -> Reading {
        let acons: Vec<_> = paths.iter().cloned().map(AconEntry::Path).collect();
        let origins: Vec<_> = (0..acons.len()).map(Origin::whole).collect();
        build(ConfigFile::of_acons(acons), &origins, Path::new(""), warehouse, Vec::new())
    }
}

fn build(
    file: ConfigFile,
    origins: &[Origin],
    directory: &Path,
    warehouse: &str,
    mut errors: Vec<Finding>,
) -> Reading {
    let mut warnings = Vec::new();
    let below = |location: &str| placed(location, directory);
    let warehouse = file.warehouse.map_or_else(|| warehouse.to_owned(), |given| below(&given.0.0));
    let mut tables = TableNames::of_warehouse(warehouse);
    for (name, location) in &file.tables {
        if !tables.map(name, below(&location.0.0)) {
            let problem = "names a table twice (case, backticks and `default.` don't count)";
            errors.push(Finding { path: format!("tables.{name}"), problem: problem.to_owned() });
        }
    }
    let storage = storage(file.storage_options, &mut errors);
    let mut entries = Vec::new();
    for (acon, origin) in file.acons.into_iter().zip(origins) {
        match entry::read(acon, *origin, directory, &tables, &mut warnings) {
            Ok(entry) => entries.push(entry),
            Err(findings) => errors.extend(findings),
        }
    }
    let watches = watch::group(entries, &mut warnings, &mut errors);
    let config = Config {
        tables,
        storage,
        watches,
        runs: Runs {
            poll_interval: file.runs.poll_interval.0.0,
            rest_poll_interval: file.runs.rest_poll_interval.0.0,
        },
        listen: file.server.listen.0.0,
        journal: Journal {
            enabled: file.journal.enabled,
            flush_interval: file.journal.flush_interval.0.0,
            keep: file.journal.keep.0.0,
        },
        maintenance: Maintenance {
            interval: file.maintenance.interval.0.0,
            keep: file.maintenance.keep.0.0,
            keep_bytes: file.maintenance.keep_bytes.0.0,
        },
        shutdown_grace: file.shutdown_grace.0.0,
    };
    Reading { warnings, result: if errors.is_empty() { Ok(config) } else { Err(errors) } }
}

/// The options of the tables' stores. Tables belong to no workspace, so no scope can be meant.
fn storage(options: Map<String, Value>, errors: &mut Vec<Finding>) -> StorageOptions {
    let key = "storage_options";
    let document = Map::from_iter([(key.to_owned(), Value::Object(options))]);
    let options = StorageOptions::parse(&document, key).unwrap_or_else(|mistakes| {
        errors.extend(mistakes);
        StorageOptions::default()
    });
    let scopes = options.iter().filter(|(_, reference)| matches!(reference, SecretRef::Scope { .. }));
    errors.extend(scopes.map(|(name, _)| {
        Finding {
            path: format!("{key}.{name}"),
            problem:
                "cannot be of a secret scope, for tables belong to no workspace; use env:NAME or file:PATH"
                    .to_owned(),
        }
    }));
    options
}

/// A path or URL as seen from `directory`.
fn placed(location: &str, directory: &Path) -> String {
    if location.contains(":/") { location.to_owned() } else { directory.join(location).display().to_string() }
}

#[cfg(test)]
mod tests;
