//! Rows of the tables to and from scenarios: times of the scenario stay, others become `<now>` or `<before>`.

use std::collections::HashSet;

use heartbeat_delta::{Cell, CellMut, DeltaRecord};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::story::Row;

const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// The times of one scenario.
#[derive(Debug, Default)]
pub(crate) struct Times {
    given: HashSet<Timestamp>,
    seen: HashSet<Timestamp>,
}

impl Times {
    /// A row of a scenario as it is stored.
    pub(crate) fn stored<R: DeltaRecord>(&mut self, row: &Row) -> R {
        let mut stored = R::default();
        self.set(&mut stored, row);
        stored
    }

    /// Sets the columns that `values` has.
    pub(crate) fn set<R: DeltaRecord>(&mut self, row: &mut R, values: &Row) {
        for (index, column) in R::COLUMNS.iter().enumerate() {
            let Some(value) = values.get(column.name) else { continue };
            match row.cell_mut(index) {
                CellMut::Text(cell) => *cell = value.as_str().map(str::to_owned),
                CellMut::Time(cell) => *cell = value.as_str().map(|text| self.given(text)),
                CellMut::Texts(cell) => *cell = serde_json::from_value(value.clone()).unwrap(),
            }
        }
    }

    fn given(&mut self, text: &str) -> Timestamp {
        let time =
            DateTime::strptime(TIME_FORMAT, text).unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
        self.given.insert(time);
        time
    }

    /// A stored row as scenarios write it. Its new times are added to `fresh`.
    pub(crate) fn shown<R: DeltaRecord>(&self, row: &R, fresh: &mut HashSet<Timestamp>) -> Row {
        let columns = R::COLUMNS.iter().enumerate();
        columns
            .filter_map(|(index, column)| {
                let value = match row.cell(index) {
                    Cell::Text(text) => json!(text.as_ref()?),
                    Cell::Time(time) => self.masked((*time)?, fresh),
                    Cell::Texts(texts) => json!(texts.as_ref()?),
                };
                Some((column.name.to_owned(), value))
            })
            .collect()
    }

    fn masked(&self, time: Timestamp, fresh: &mut HashSet<Timestamp>) -> Value {
        if self.given.contains(&time) {
            return json!(time.strftime(TIME_FORMAT).to_string());
        }
        fresh.insert(time);
        json!(if self.seen.contains(&time) { "<before>" } else { "<now>" })
    }

    /// A step is over: its times are of an earlier one from now on.
    pub(crate) fn turn(&mut self, fresh: HashSet<Timestamp>) {
        self.seen.extend(fresh);
    }
}
