//! Which columns a row has, and where each lives in it.

use heartbeat_core::row::{CONTROL_COLUMNS, ControlRow, SENSOR_COLUMNS, SensorRow};
use heartbeat_core::table::Record;
use jiff::Timestamp;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text; stored as string, or as a whole number or boolean in tables made by others.
    Text,
    /// A point in time; stored as timestamp, or as text in tables made from the original's documentation.
    Time,
    /// A list of texts.
    Texts,
    /// A whole number; text in the row. Stored as BIGINT in tables that we make.
    Number,
}

/// One column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name; compared without case, as Spark does.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Of a [`Kind::Text`] or [`Kind::Number`] column.
    Text(&'a Option<String>),
    /// Of a [`Kind::Time`] column.
    Time(&'a Option<Timestamp>),
    /// Of a [`Kind::Texts`] column.
    Texts(&'a Option<Vec<String>>),
}

/// One value of a row, to be set.
#[derive(Debug)]
pub enum CellMut<'a> {
    /// Of a [`Kind::Text`] or [`Kind::Number`] column.
    Text(&'a mut Option<String>),
    /// Of a [`Kind::Time`] column.
    Time(&'a mut Option<Timestamp>),
    /// Of a [`Kind::Texts`] column.
    Texts(&'a mut Option<Vec<String>>),
}

/// A row type that a Delta table can hold.
pub trait DeltaRecord: Record {
    /// The columns, in the order in which a new table gets them.
    const COLUMNS: &'static [Column];

    /// The value of column `index` of [`Self::COLUMNS`]; its variant is that of the column's kind.
    fn cell(&self, index: usize) -> Cell<'_>;

    /// The same value, to be set.
    fn cell_mut(&mut self, index: usize) -> CellMut<'_>;
}

const fn columns<const N: usize>(names: [&'static str; N], kinds: [Kind; N]) -> [Column; N] {
    let mut columns = [Column { name: "", kind: Kind::Text }; N];
    let mut index = 0;
    while index < N {
        columns[index] = Column { name: names[index], kind: kinds[index] };
        index += 1;
    }
    columns
}

const CONTROL: [Column; 15] = {
    use Kind::{Text, Time};
    columns(
        CONTROL_COLUMNS,
        [Text, Text, Text, Text, Text, Text, Time, Text, Text, Text, Time, Time, Time, Text, Text],
    )
};

const SENSOR: [Column; 7] = {
    use Kind::{Text, Texts, Time};
    columns(SENSOR_COLUMNS, [Text, Texts, Text, Time, Text, Text, Text])
};

impl DeltaRecord for ControlRow {
    const COLUMNS: &'static [Column] = &CONTROL;

    fn cell(&self, index: usize) -> Cell<'_> {
        match index {
            0 => Cell::Text(&self.sensor_source),
            1 => Cell::Text(&self.sensor_id),
            2 => Cell::Text(&self.sensor_read_type),
            3 => Cell::Text(&self.asset_description),
            4 => Cell::Text(&self.upstream_key),
            5 => Cell::Text(&self.preprocess_query),
            6 => Cell::Time(&self.latest_event_fetched_timestamp),
            7 => Cell::Text(&self.trigger_job_id),
            8 => Cell::Text(&self.trigger_job_name),
            9 => Cell::Text(&self.status),
            10 => Cell::Time(&self.status_change_timestamp),
            11 => Cell::Time(&self.job_start_timestamp),
            12 => Cell::Time(&self.job_end_timestamp),
            13 => Cell::Text(&self.job_state),
            _ => Cell::Text(&self.dependency_flag),
        }
    }

    fn cell_mut(&mut self, index: usize) -> CellMut<'_> {
        match index {
            0 => CellMut::Text(&mut self.sensor_source),
            1 => CellMut::Text(&mut self.sensor_id),
            2 => CellMut::Text(&mut self.sensor_read_type),
            3 => CellMut::Text(&mut self.asset_description),
            4 => CellMut::Text(&mut self.upstream_key),
            5 => CellMut::Text(&mut self.preprocess_query),
            6 => CellMut::Time(&mut self.latest_event_fetched_timestamp),
            7 => CellMut::Text(&mut self.trigger_job_id),
            8 => CellMut::Text(&mut self.trigger_job_name),
            9 => CellMut::Text(&mut self.status),
            10 => CellMut::Time(&mut self.status_change_timestamp),
            11 => CellMut::Time(&mut self.job_start_timestamp),
            12 => CellMut::Time(&mut self.job_end_timestamp),
            13 => CellMut::Text(&mut self.job_state),
            _ => CellMut::Text(&mut self.dependency_flag),
        }
    }
}

impl DeltaRecord for SensorRow {
    const COLUMNS: &'static [Column] = &SENSOR;

    fn cell(&self, index: usize) -> Cell<'_> {
        match index {
            0 => Cell::Text(&self.sensor_id),
            1 => Cell::Texts(&self.assets),
            2 => Cell::Text(&self.status),
            3 => Cell::Time(&self.status_change_timestamp),
            4 => Cell::Text(&self.checkpoint_location),
            5 => Cell::Text(&self.upstream_key),
            _ => Cell::Text(&self.upstream_value),
        }
    }

    fn cell_mut(&mut self, index: usize) -> CellMut<'_> {
        match index {
            0 => CellMut::Text(&mut self.sensor_id),
            1 => CellMut::Texts(&mut self.assets),
            2 => CellMut::Text(&mut self.status),
            3 => CellMut::Time(&mut self.status_change_timestamp),
            4 => CellMut::Text(&mut self.checkpoint_location),
            5 => CellMut::Text(&mut self.upstream_key),
            _ => CellMut::Text(&mut self.upstream_value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serde names each field after its column, so it shows whether an index reaches the right one.
    fn every_cell_lives_in_the_field_of_its_name<R: DeltaRecord + serde::Serialize>() {
        for (index, column) in R::COLUMNS.iter().enumerate() {
            let mut row = R::default();
            match row.cell_mut(index) {
                CellMut::Text(text) => *text = Some("x".into()),
                CellMut::Time(time) => *time = Some(Timestamp::UNIX_EPOCH),
                CellMut::Texts(texts) => *texts = Some(vec![]),
            }
            let kind = match row.cell(index) {
                Cell::Text(Some(_)) => Kind::Text,
                Cell::Time(Some(_)) => Kind::Time,
                Cell::Texts(Some(_)) => Kind::Texts,
                unset => panic!("{} is {unset:?} after it was set", column.name),
            };
            assert_eq!(kind, column.kind, "{}", column.name);
            let json = serde_json::to_value(&row).unwrap();
            assert!(!json[column.name].is_null(), "{} is another field", column.name);
        }
    }

    #[test]
    fn control_cells() {
        every_cell_lives_in_the_field_of_its_name::<ControlRow>();
    }

    #[test]
    fn sensor_cells() {
        every_cell_lives_in_the_field_of_its_name::<SensorRow>();
    }
}
