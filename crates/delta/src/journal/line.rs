//! An entry of the journal as a row of its table.

use heartbeat_core::journal::Entry;
use heartbeat_core::table::Record;
use jiff::Timestamp;

use crate::record::{Cell, CellMut, Column, DeltaRecord, Kind};

/// Places of the columns that entries are chosen by.
pub(crate) const AT: usize = 0;
pub(crate) const SENSOR_ID: usize = 3;
pub(crate) const JOB: usize = 4;

/// One row, value for value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Line {
    at: Option<Timestamp>,
    event: Option<String>,
    sensor_source: Option<String>,
    sensor_id: Option<String>,
    trigger_job_id: Option<String>,
    run_id: Option<String>,
    writer: Option<String>,
    message: Option<String>,
    detail: Option<String>,
}

impl Record for Line {}

impl DeltaRecord for Line {
    const COLUMNS: &'static [Column] = &[
        Column { name: "at", kind: Kind::Time },
        Column { name: "event", kind: Kind::Text },
        Column { name: "sensor_source", kind: Kind::Text },
        Column { name: "sensor_id", kind: Kind::Text },
        Column { name: "trigger_job_id", kind: Kind::Text },
        Column { name: "run_id", kind: Kind::Number },
        Column { name: "writer", kind: Kind::Text },
        Column { name: "message", kind: Kind::Text },
        Column { name: "detail", kind: Kind::Text },
    ];

    fn cell(&self, index: usize) -> Cell<'_> {
        match index {
            0 => Cell::Time(&self.at),
            1 => Cell::Text(&self.event),
            2 => Cell::Text(&self.sensor_source),
            3 => Cell::Text(&self.sensor_id),
            4 => Cell::Text(&self.trigger_job_id),
            5 => Cell::Text(&self.run_id),
            6 => Cell::Text(&self.writer),
            7 => Cell::Text(&self.message),
            _ => Cell::Text(&self.detail),
        }
    }

    fn cell_mut(&mut self, index: usize) -> CellMut<'_> {
        match index {
            0 => CellMut::Time(&mut self.at),
            1 => CellMut::Text(&mut self.event),
            2 => CellMut::Text(&mut self.sensor_source),
            3 => CellMut::Text(&mut self.sensor_id),
            4 => CellMut::Text(&mut self.trigger_job_id),
            5 => CellMut::Text(&mut self.run_id),
            6 => CellMut::Text(&mut self.writer),
            7 => CellMut::Text(&mut self.message),
            _ => CellMut::Text(&mut self.detail),
        }
    }
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        Self {
            at: Some(entry.at),
            event: Some(entry.event.clone()),
            sensor_source: entry.sensor_source.clone(),
            sensor_id: entry.sensor_id.clone(),
            trigger_job_id: entry.trigger_job_id.clone(),
            run_id: entry.run_id.map(|run| run.to_string()),
            writer: Some(entry.writer.clone()),
            message: Some(entry.message.clone()),
            detail: entry.detail.clone(),
        }
    }
}

impl Line {
    /// The entry; `None` when somebody else wrote a row without a time.
    pub(crate) fn into_entry(self) -> Option<Entry> {
        Some(Entry {
            at: self.at?,
            event: self.event.unwrap_or_default(),
            sensor_source: self.sensor_source,
            sensor_id: self.sensor_id,
            trigger_job_id: self.trigger_job_id,
            run_id: self.run_id.and_then(|run| run.parse().ok()),
            writer: self.writer.unwrap_or_default(),
            message: self.message.unwrap_or_default(),
            detail: self.detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_same_after_its_row() {
        let entry = Entry {
            at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
            event: "started".into(),
            sensor_source: Some("kafka".into()),
            sensor_id: Some("product: topic".into()),
            trigger_job_id: Some("12".into()),
            run_id: Some(i64::MAX),
            writer: "daemon@host".into(),
            message: "started run 7".into(),
            detail: Some("{}".into()),
        };
        assert_eq!(Line::from(&entry).into_entry(), Some(entry));
        assert_eq!(Line::default().into_entry(), None);
        assert_eq!(Line::COLUMNS[AT].name, "at");
        assert_eq!(Line::COLUMNS[JOB].name, "trigger_job_id");
        assert_eq!(Line::COLUMNS[SENSOR_ID].name, "sensor_id");
    }
}
