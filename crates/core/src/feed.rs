//! The feed: the CSV that users keep, held against the control table.
//!
//! All rows are validated before anything is changed. A row is known by (sensor_id, trigger_job_id): in the
//! CSV only = inserted, in both = its user columns updated and its run-time columns kept, in the table only =
//! deleted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::acon::SourceKind;
use crate::csv_text::{self, CsvError, Record};
use crate::ids::{JobId, SensorRowId};
use crate::row::ControlRow;
use crate::sensor::asset_of;
use crate::table::Changes;

/// Columns of the CSV, in the documented order; any order is read.
pub const FEED_COLUMNS: [&str; 10] = [
    "sensor_source",
    "sensor_id",
    "sensor_read_type",
    "asset_description",
    "upstream_key",
    "preprocess_query",
    "trigger_job_id",
    "trigger_job_name",
    "job_state",
    "dependency_flag",
];

/// One mistake or remark, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedFinding {
    /// Line of the CSV, from 1.
    pub line: usize,
    /// Column, or empty when it is about the whole line.
    pub column: &'static str,
    /// What is wrong and how to mend it.
    pub problem: String,
}

impl fmt::Display for FeedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            "" => write!(f, "line {}: {}", self.line, self.problem),
            column => write!(f, "line {}, {column}: {}", self.line, self.problem),
        }
    }
}

/// A valid feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Feed {
    /// The rows, run-time columns null.
    pub rows: Vec<ControlRow>,
    /// What is right but may surprise.
    pub warnings: Vec<FeedFinding>,
}

/// A feed that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The text is no CSV.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// The file is empty.
    #[error("the file is empty; its first line must name the columns")]
    Empty,
    /// Columns are missing or named twice.
    #[error("{0}")]
    Header(String),
    /// Every mistake in the rows.
    #[error("{} mistake(s); nothing was changed", .0.len())]
    Rows(Vec<FeedFinding>),
}

/// Reads and validates a whole feed.
pub fn read(text: &str) -> Result<Feed, FeedError> {
    let records = csv_text::parse(text)?;
    let (header, records) = records.split_first().ok_or(FeedError::Empty)?;
    let mut reader =
        RowReader { columns: columns(header)?, width: header.values.len(), ..RowReader::default() };
    reader.unknown_columns(header);
    let mut feed = Feed::default();
    for record in records {
        if let Some(row) = reader.row(record) {
            feed.rows.push(row);
        }
    }
    if !reader.mistakes.is_empty() {
        return Err(FeedError::Rows(reader.mistakes));
    }
    feed.warnings = reader.warnings;
    Ok(feed)
}

/// What a feed changes, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Keys of inserted rows.
    pub inserted: Vec<Key>,
    /// Keys of updated rows with the columns that change: name, from, to.
    pub updated: Vec<(Key, Vec<ColumnChange>)>,
    /// Keys of deleted rows.
    pub deleted: Vec<Key>,
    /// Number of rows that stay as they are.
    pub unchanged: usize,
}

/// (sensor_id, trigger_job_id).
pub type Key = (String, String);

/// A value that a feed changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnChange {
    /// Name of the column.
    pub column: &'static str,
    /// Value in the table.
    pub from: Option<String>,
    /// Value in the feed.
    pub to: Option<String>,
}

/// The changes that bring the control table to the feed.
pub fn plan(feed: &Feed, table: &[ControlRow]) -> (Changes<ControlRow>, Diff) {
    let mut changes = Changes::default();
    let mut diff = Diff::default();
    let wanted: BTreeMap<Key, &ControlRow> = feed.rows.iter().map(|row| (key(row), row)).collect();
    let mut present: HashMap<Key, usize> = HashMap::new();
    for (index, stored) in table.iter().enumerate() {
        let key = key(stored);
        *present.entry(key.clone()).or_default() += 1;
        let Some(row) = wanted.get(&key) else {
            changes.delete.push(index);
            diff.deleted.push(key);
            continue;
        };
        let changed = user_column_changes(stored, row);
        if changed.is_empty() {
            diff.unchanged += 1;
        } else {
            changes.update.push((index, with_user_columns(stored, row)));
            diff.updated.push((key, changed));
        }
    }
    for (key, row) in &wanted {
        if !present.contains_key(key) {
            changes.insert.push((*row).clone());
            diff.inserted.push(key.clone());
        }
    }
    (changes, diff)
}

fn key(row: &ControlRow) -> Key {
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().trim().to_owned();
    (text(&row.sensor_id), text(&row.trigger_job_id))
}

fn user_columns(row: &ControlRow) -> [(&'static str, &Option<String>); 10] {
    [
        ("sensor_source", &row.sensor_source),
        ("sensor_id", &row.sensor_id),
        ("sensor_read_type", &row.sensor_read_type),
        ("asset_description", &row.asset_description),
        ("upstream_key", &row.upstream_key),
        ("preprocess_query", &row.preprocess_query),
        ("trigger_job_id", &row.trigger_job_id),
        ("trigger_job_name", &row.trigger_job_name),
        ("job_state", &row.job_state),
        ("dependency_flag", &row.dependency_flag),
    ]
}

fn user_column_changes(stored: &ControlRow, fed: &ControlRow) -> Vec<ColumnChange> {
    let pairs = user_columns(stored).into_iter().zip(user_columns(fed));
    pairs
        .filter(|((_, from), (_, to))| from != to)
        .map(|((column, from), (_, to))| ColumnChange { column, from: from.clone(), to: to.clone() })
        .collect()
}

fn with_user_columns(stored: &ControlRow, fed: &ControlRow) -> ControlRow {
    ControlRow {
        latest_event_fetched_timestamp: stored.latest_event_fetched_timestamp,
        status: stored.status.clone(),
        status_change_timestamp: stored.status_change_timestamp,
        job_start_timestamp: stored.job_start_timestamp,
        job_end_timestamp: stored.job_end_timestamp,
        ..fed.clone()
    }
}

/// Place of each known column in the header.
fn columns(header: &Record) -> Result<HashMap<&'static str, usize>, FeedError> {
    let mut places = HashMap::new();
    let mut problems = Vec::new();
    for (place, name) in header.values.iter().enumerate() {
        let name = name.trim().to_ascii_lowercase();
        if let Some(known) = FEED_COLUMNS.into_iter().find(|known| *known == name)
            && places.insert(known, place).is_some()
        {
            problems.push(format!("the header names `{known}` twice"));
        }
    }
    let missing: Vec<&str> = FEED_COLUMNS.into_iter().filter(|name| !places.contains_key(name)).collect();
    if !missing.is_empty() {
        problems.push(format!("the header lacks the column(s) {}", missing.join(", ")));
    }
    if problems.is_empty() { Ok(places) } else { Err(FeedError::Header(problems.join("; "))) }
}

#[derive(Debug, Default)]
struct RowReader {
    columns: HashMap<&'static str, usize>,
    width: usize,
    mistakes: Vec<FeedFinding>,
    warnings: Vec<FeedFinding>,
    keys: HashMap<Key, usize>,
    row_ids: HashMap<SensorRowId, (usize, String)>,
}

impl RowReader {
    fn unknown_columns(&mut self, header: &Record) {
        for name in &header.values {
            if !FEED_COLUMNS.contains(&name.trim().to_ascii_lowercase().as_str()) {
                let problem = format!("unknown column `{}`, ignored", name.trim());
                self.warnings.push(FeedFinding { line: header.line, column: "", problem });
            }
        }
    }

    fn mistake(&mut self, line: usize, column: &'static str, problem: impl Into<String>) {
        self.mistakes.push(FeedFinding { line, column, problem: problem.into() });
    }

    fn warn(&mut self, line: usize, column: &'static str, problem: impl Into<String>) {
        self.warnings.push(FeedFinding { line, column, problem: problem.into() });
    }

    /// The row, also when it has mistakes that were noted; `None` when its width is wrong.
    fn row(&mut self, record: &Record) -> Option<ControlRow> {
        let line = record.line;
        if record.values.len() != self.width {
            let (has, wants) = (record.values.len(), self.width);
            self.mistake(
                line,
                "",
                format!("has {has} values, the header {wants} columns; quote values with commas"),
            );
            return None;
        }
        let value = |column: &'static str| -> Option<String> {
            let text = record.values[self.columns[column]].trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let row = ControlRow {
            sensor_source: value("sensor_source"),
            sensor_id: value("sensor_id"),
            sensor_read_type: value("sensor_read_type"),
            asset_description: value("asset_description"),
            upstream_key: value("upstream_key"),
            preprocess_query: value("preprocess_query"),
            trigger_job_id: value("trigger_job_id"),
            trigger_job_name: value("trigger_job_name"),
            job_state: value("job_state").map(|state| state.to_uppercase()),
            dependency_flag: value("dependency_flag"),
            ..ControlRow::default()
        };
        self.check_columns(line, &row);
        self.check_identity(line, &row);
        Some(row)
    }

    fn check_columns(&mut self, line: usize, row: &ControlRow) {
        match row.job_state.as_deref() {
            Some("PAUSED" | "UNPAUSED") => {}
            Some(other) => self.mistake(line, "job_state", format!("`{other}` must be PAUSED or UNPAUSED")),
            None => self.mistake(line, "job_state", "is empty; give PAUSED or UNPAUSED"),
        }
        // The text stays as it was given: it is read in any case, and what is neither is soft.
        match row.dependency_flag.as_deref() {
            Some(flag) if flag.eq_ignore_ascii_case("true") || flag.eq_ignore_ascii_case("false") => {}
            Some(other) => {
                let problem = format!("`{other}` is neither TRUE nor FALSE, which means FALSE (soft)");
                self.warn(line, "dependency_flag", problem);
            }
            None => self.warn(line, "dependency_flag", "is empty, which means FALSE (soft)"),
        }
        match row.sensor_read_type.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("batch" | "streaming") => {}
            Some(_) => {
                self.warn(line, "sensor_read_type", "is neither batch nor streaming; it has no effect");
            }
        }
        if row.preprocess_query.is_some() {
            let problem = "is not served yet: the row is kept, never looked at and never starts a job";
            self.warn(line, "preprocess_query", problem);
        }
    }

    fn check_identity(&mut self, line: usize, row: &ControlRow) {
        let job = match row.trigger_job_id.as_deref() {
            None => {
                self.mistake(line, "trigger_job_id", "is empty; give the id of the Databricks job");
                None
            }
            Some(text) => {
                JobId::parse(text).map_err(|bad| self.mistake(line, "trigger_job_id", bad.to_string())).ok()
            }
        };
        let source = match row.sensor_source.as_deref() {
            None => {
                self.mistake(line, "sensor_source", "is empty");
                None
            }
            Some(text) => {
                let kind = SourceKind::parse(text);
                if kind.is_none() {
                    let known = SourceKind::ALL.map(SourceKind::as_str).join(", ");
                    self.mistake(line, "sensor_source", format!("`{text}` is unknown; known are {known}"));
                }
                kind
            }
        };
        let Some(id) = row.sensor_id.as_deref() else {
            self.mistake(line, "sensor_id", "is empty");
            return;
        };
        match source.map(|kind| (kind, asset_of(kind, id))) {
            Some((kind, Err(problem))) if problem.is_not_served() => {
                self.warn(
                    line,
                    "sensor_source",
                    format!("{kind} is not served yet: the row is kept and never looked at"),
                );
            }
            Some((_, Err(problem))) => self.mistake(line, "sensor_id", problem.to_string()),
            _ => {}
        }
        if let Some(job) = job {
            self.check_unique(line, id, &job);
        }
    }

    fn check_unique(&mut self, line: usize, id: &str, job: &JobId) {
        let key = (id.to_owned(), job.as_str().to_owned());
        if let Some(first) = self.keys.insert(key, line) {
            self.mistake(line, "", format!("sensor_id `{id}` and job {job} stand on line {first} already"));
            return;
        }
        let row_id = SensorRowId::new(id, job);
        if let Some((first, other)) = self.row_ids.insert(row_id.clone(), (line, id.to_owned())) {
            let problem = format!(
                "`{id}` and `{other}` (line {first}) of job {job} both become the sensor row `{row_id}`; rename one"
            );
            self.mistake(line, "sensor_id", problem);
        }
    }
}

#[cfg(test)]
mod tests;
