//! The rows of the two tables as they are stored: every column nullable, every value as others wrote it.
//!
//! Column names, their order and the status texts are the original's and live here only
//! (adidas lakehouse-engine, `heartbeat_sensor` and `lakehouse_engine_sensors`). Meaning is given to the
//! values by [`crate::sensor`] and [`crate::state`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names of the control table's columns, in the order of the original's DDL.
pub const CONTROL_COLUMNS: [&str; 15] = [
    "sensor_source",
    "sensor_id",
    "sensor_read_type",
    "asset_description",
    "upstream_key",
    "preprocess_query",
    "latest_event_fetched_timestamp",
    "trigger_job_id",
    "trigger_job_name",
    "status",
    "status_change_timestamp",
    "job_start_timestamp",
    "job_end_timestamp",
    "job_state",
    "dependency_flag",
];

/// Names of the sensor table's columns, in the order of the original's DDL.
pub const SENSOR_COLUMNS: [&str; 7] = [
    "sensor_id",
    "assets",
    "status",
    "status_change_timestamp",
    "checkpoint_location",
    "upstream_key",
    "upstream_value",
];

/// Control status of a row whose source has news that no run has been started for.
pub const NEW_EVENT_AVAILABLE: &str = "NEW_EVENT_AVAILABLE";
/// Control status of every row of a job that was started and has not completed.
pub const IN_PROGRESS: &str = "IN_PROGRESS";
/// Control status of every row of a job whose run completed.
pub const COMPLETED: &str = "COMPLETED";
/// Sensor status once news has been seen.
pub const ACQUIRED_NEW_DATA: &str = "ACQUIRED_NEW_DATA";
/// Sensor status once a run has accounted for the news.
pub const PROCESSED_NEW_DATA: &str = "PROCESSED_NEW_DATA";

/// One row of the control table, value for value. Columns that are not listed here belong to others and
/// are carried along by the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlRow {
    /// Kind of the source: `kafka`, `trigger_file`, ... in any case.
    pub sensor_source: Option<String>,
    /// Identity of the upstream; with `trigger_job_id` the key of the row.
    pub sensor_id: Option<String>,
    /// `batch` or `streaming`; without effect here.
    pub sensor_read_type: Option<String>,
    /// Free text; becomes the sensor row's asset.
    pub asset_description: Option<String>,
    /// Upstream attribute that identifies new data (SAP, user tables).
    pub upstream_key: Option<String>,
    /// SQL that filters the upstream's rows.
    pub preprocess_query: Option<String>,
    /// When the detection that found the newest news began.
    pub latest_event_fetched_timestamp: Option<Timestamp>,
    /// Databricks job to start, digits as text.
    pub trigger_job_id: Option<String>,
    /// Name of that job, informative.
    pub trigger_job_name: Option<String>,
    /// [`NEW_EVENT_AVAILABLE`], [`IN_PROGRESS`], [`COMPLETED`] or null.
    pub status: Option<String>,
    /// When `status` last changed. The column is a string in tables made from the original's documentation.
    pub status_change_timestamp: Option<Timestamp>,
    /// When the job was last started.
    pub job_start_timestamp: Option<Timestamp>,
    /// When the job last completed.
    pub job_end_timestamp: Option<Timestamp>,
    /// `UNPAUSED` or `PAUSED`.
    pub job_state: Option<String>,
    /// `TRUE` = hard, `FALSE` = soft.
    pub dependency_flag: Option<String>,
}

/// One row of the sensor table, value for value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SensorRow {
    /// [`crate::ids::SensorRowId`] as text.
    pub sensor_id: Option<String>,
    /// Assets that the sensor watches; the original writes exactly one.
    pub assets: Option<Vec<String>>,
    /// [`ACQUIRED_NEW_DATA`] or [`PROCESSED_NEW_DATA`].
    pub status: Option<String>,
    /// When `status` last changed. The column is a string in tables made from the original's documentation.
    pub status_change_timestamp: Option<Timestamp>,
    /// Spark's checkpoint directory in the original; kept, never written by us.
    pub checkpoint_location: Option<String>,
    /// Format of `upstream_value`; ours is [`crate::state::FORMAT`].
    pub upstream_key: Option<String>,
    /// State of the sensor, see [`crate::state`].
    pub upstream_value: Option<String>,
}
