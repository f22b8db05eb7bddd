//! Temporary tables, and small words for what the tests say often.

use std::path::{Path, PathBuf};

use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Commit, Snapshot, Table};
use heartbeat_delta::{Backing, DeltaRecord, DeltaTable, Init};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;
use url::Url;

/// A table in a directory of its own; its name has a blank and a letter beyond ASCII, as users' have.
pub(crate) struct TestTable<R> {
    pub(crate) url: Url,
    pub(crate) path: PathBuf,
    pub(crate) table: DeltaTable<R>,
    _directory: TempDir,
}

impl<R: DeltaRecord> TestTable<R> {
    pub(crate) async fn create() -> Self {
        let table = Self::absent();
        assert_eq!(DeltaTable::<R>::create(&table.url).await.unwrap(), Init::Created);
        table
    }

    pub(crate) fn absent() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("my warehouse/tablé");
        let url = Url::from_directory_path(&path).unwrap();
        let table = DeltaTable::new(&url).unwrap();
        Self { url, path, table, _directory: directory }
    }

    /// Another process, so to speak: nothing is remembered.
    pub(crate) fn anew(&self) -> DeltaTable<R> {
        DeltaTable::new(&self.url).unwrap()
    }

    pub(crate) async fn with_rows(rows: Vec<R>) -> (Self, Snapshot<R, Backing>) {
        let table = Self::create().await;
        let base = table.table.load().await.unwrap();
        let snapshot = commit(&table.table, base, insert(rows)).await;
        (table, snapshot)
    }

    /// Names and sizes of all files below the table.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        let mut directories = vec![self.path.clone()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                match entry.metadata().unwrap() {
                    metadata if metadata.is_dir() => directories.push(entry.path()),
                    metadata => files.push((entry.path(), metadata.len())),
                }
            }
        }
        files.sort();
        files
    }

    pub(crate) fn data_files(&self) -> Vec<(PathBuf, u64)> {
        let files = self.files().into_iter();
        files
            .filter(|(path, _)| {
                has_extension(path, "parquet") && !path.to_string_lossy().contains("_delta_log")
            })
            .collect()
    }
}

pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Commits what must not meet a conflict.
pub(crate) async fn commit<R: DeltaRecord>(
    table: &DeltaTable<R>,
    base: Snapshot<R, Backing>,
    changes: Changes<R>,
) -> Snapshot<R, Backing> {
    match table.commit(base, changes, "test").await.unwrap() {
        Commit::Done(snapshot) => snapshot,
        Commit::Conflict => panic!("unexpected conflict"),
    }
}

pub(crate) fn insert<R>(rows: Vec<R>) -> Changes<R> {
    Changes { insert: rows, ..Changes::default() }
}

pub(crate) fn update<R>(rows: Vec<(usize, R)>) -> Changes<R> {
    Changes { update: rows, ..Changes::default() }
}

pub(crate) fn control(sensor: impl ToString, job: impl ToString) -> ControlRow {
    ControlRow {
        sensor_source: Some("kafka".into()),
        sensor_id: Some(sensor.to_string()),
        asset_description: Some(format!("asset of {}", sensor.to_string())),
        trigger_job_id: Some(job.to_string()),
        job_state: Some("UNPAUSED".into()),
        dependency_flag: Some("TRUE".into()),
        ..ControlRow::default()
    }
}

pub(crate) fn sensor(id: impl ToString, value: impl ToString) -> SensorRow {
    SensorRow {
        sensor_id: Some(id.to_string()),
        assets: Some(vec![format!("asset_{}", id.to_string())]),
        upstream_value: Some(value.to_string()),
        ..SensorRow::default()
    }
}

/// Index of the row of a sensor.
pub(crate) fn position(rows: &[SensorRow], id: &str) -> usize {
    rows.iter().position(|row| row.sensor_id.as_deref() == Some(id)).unwrap()
}

/// The rows in an order that does not depend on files.
pub(crate) fn sorted<R: std::fmt::Debug + Clone>(rows: &[R]) -> Vec<String> {
    let mut texts: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    texts.sort();
    texts
}

/// Whether a file of the log is an entry.
pub(crate) fn is_entry(name: impl AsRef<str>) -> bool {
    Path::new(name.as_ref()).extension().is_some_and(|extension| extension == "json")
}

/// Runs a property test whose seed is printed, and taken from `HEARTBEAT_TEST_SEED` where that is set.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let seed: u64 = match std::env::var_os("HEARTBEAT_TEST_SEED") {
        Some(seed) => seed.to_str().unwrap().parse().unwrap(),
        None => u64::from(std::process::id()) << 32 | u64::from(uuid::Uuid::new_v4().as_fields().0),
    };
    #[expect(clippy::print_stdout, reason = "a failure is repeated by its seed")]
    {
        println!("HEARTBEAT_TEST_SEED={seed}");
    }
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
