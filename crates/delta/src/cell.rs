//! Values of rows to and from Arrow, in whatever type the table's column has.

use std::sync::Arc;

use deltalake_core::arrow::array::{
    Array, ArrayRef, AsArray, ListBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use deltalake_core::arrow::compute::{CastOptions, cast, cast_with_options};
use deltalake_core::arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use deltalake_core::arrow::error::ArrowError;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::record::{Cell, CellMut, DeltaRecord, Kind};

/// The types that a column of this kind may have, for messages.
pub(crate) fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "string (or a whole number or boolean)",
        Kind::Number => "long (or another whole number, or string)",
        Kind::Time => "timestamp (or timestamp_ntz or string)",
        Kind::Texts => "array<string>",
    }
}

/// Whether a column of this type can hold the values of a kind.
pub(crate) fn fits(kind: Kind, data_type: &DataType) -> bool {
    match kind {
        Kind::Text | Kind::Number => match data_type {
            DataType::Utf8
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Boolean => true,
            DataType::Decimal128(_, scale) => *scale == 0,
            _ => false,
        },
        Kind::Time => matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Utf8),
        Kind::Texts => matches!(data_type, DataType::List(item) if *item.data_type() == DataType::Utf8),
    }
}

/// Sets column `index` of `rows` from `stored`, which has as many values.
pub(crate) fn decode<R: DeltaRecord>(
    rows: &mut [R],
    index: usize,
    stored: &ArrayRef,
) -> Result<(), ArrowError> {
    match R::COLUMNS[index].kind {
        Kind::Text | Kind::Number => {
            let stored = cast(stored, &DataType::Utf8)?;
            for (row, text) in rows.iter_mut().zip(stored.as_string::<i32>()) {
                if let CellMut::Text(cell) = row.cell_mut(index) {
                    *cell = text.map(str::to_owned);
                }
            }
        }
        Kind::Time => {
            let mut set = |row: usize, time: Option<Timestamp>| {
                if let CellMut::Time(cell) = rows[row].cell_mut(index) {
                    *cell = time;
                }
            };
            if let Some(texts) = stored.as_string_opt::<i32>() {
                for (row, text) in texts.iter().enumerate() {
                    set(row, text.and_then(parse_time));
                }
            } else {
                for (row, micros) in stored.as_primitive::<TimestampMicrosecondType>().iter().enumerate() {
                    set(row, micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()));
                }
            }
        }
        Kind::Texts => {
            for (row, list) in rows.iter_mut().zip(stored.as_list::<i32>().iter()) {
                if let CellMut::Texts(cell) = row.cell_mut(index) {
                    *cell = list
                        .map(|items| items.as_string::<i32>().iter().flatten().map(str::to_owned).collect());
                }
            }
        }
    }
    Ok(())
}

/// Column `index` of `rows` as an array of exactly the field's type. `Err` holds the first value that the
/// type cannot hold.
pub(crate) fn encode<R: DeltaRecord>(
    rows: &[&R],
    index: usize,
    field: &FieldRef,
) -> Result<ArrayRef, String> {
    let encoded: ArrayRef = match R::COLUMNS[index].kind {
        Kind::Text | Kind::Number => {
            let texts: StringArray = rows.iter().map(|row| text(*row, index)).collect();
            in_type_of(texts, field.data_type())?
        }
        Kind::Time => {
            let times = rows.iter().map(|row| match row.cell(index) {
                Cell::Time(time) => *time,
                _ => None,
            });
            if *field.data_type() == DataType::Utf8 {
                Arc::new(times.map(|time| time.map(time_text)).collect::<StringArray>())
            } else {
                let micros: TimestampMicrosecondArray =
                    times.map(|time| time.map(Timestamp::as_microsecond)).collect();
                Arc::new(micros.with_data_type(field.data_type().clone()))
            }
        }
        Kind::Texts => {
            let DataType::List(item) = field.data_type() else {
                return Err(format!("a list of texts of column `{}`", field.name()));
            };
            let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
            for row in rows {
                let Cell::Texts(Some(texts)) = row.cell(index) else {
                    lists.append_null();
                    continue;
                };
                for text in texts {
                    lists.values().append_value(text);
                }
                lists.append(true);
            }
            Arc::new(lists.finish())
        }
    };
    if !field.is_nullable() && encoded.null_count() > 0 {
        return Err("null".to_owned());
    }
    Ok(encoded)
}

fn text<R: DeltaRecord>(row: &R, index: usize) -> Option<&str> {
    match row.cell(index) {
        Cell::Text(text) => text.as_deref(),
        _ => None,
    }
}

fn in_type_of(texts: StringArray, data_type: &DataType) -> Result<ArrayRef, String> {
    if *data_type == DataType::Utf8 {
        return Ok(Arc::new(texts));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&texts, data_type, &strict).map_err(|_| {
        let misfit = texts
            .iter()
            .flatten()
            .find(|text| cast_with_options(&StringArray::from(vec![*text]), data_type, &strict).is_err());
        format!("the text `{}`", misfit.unwrap_or_default())
    })
}

/// As Spark prints a timestamp in a UTC session, always with microseconds.
fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// Text without an offset is taken as UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse::<Timestamp>().ok().or_else(|| {
        text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use deltalake_core::arrow::datatypes::Field;
    use heartbeat_core::row::ControlRow;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2025-01-02 03:04:05", Some("2025-01-02T03:04:05Z"))]
    #[case("2025-01-02 03:04:05.123456", Some("2025-01-02T03:04:05.123456Z"))]
    #[case("2025-01-02T03:04:05.1", Some("2025-01-02T03:04:05.1Z"))]
    #[case("2025-01-02T03:04:05Z", Some("2025-01-02T03:04:05Z"))]
    #[case("2025-01-02 03:04:05+02:00", Some("2025-01-02T01:04:05Z"))]
    #[case(" 2025-01-02 03:04:05 ", Some("2025-01-02T03:04:05Z"))]
    #[case("2025-01-02", Some("2025-01-02T00:00:00Z"))]
    #[case("yesterday", None)]
    #[case("", None)]
    fn times_are_read_in_every_usual_spelling(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(parse_time(text), expected.map(|text| text.parse().unwrap()));
    }

    #[test]
    fn a_time_is_written_as_spark_prints_it() {
        let time: Timestamp = "2025-01-02T03:04:05.5Z".parse().unwrap();
        assert_eq!(time_text(time), "2025-01-02 03:04:05.500000");
        assert_eq!(parse_time(&time_text(time)), Some(time));
    }

    #[test]
    fn a_text_that_the_column_s_type_cannot_hold_is_named() {
        let row = |job: &str| ControlRow { trigger_job_id: Some(job.into()), ..ControlRow::default() };
        let field: FieldRef = Arc::new(Field::new("trigger_job_id", DataType::Int64, true));
        let (good, bad) = (row("12"), row("12a"));
        assert_eq!(encode(&[&good, &bad], 7, &field).unwrap_err(), "the text `12a`");
        assert_eq!(encode(&[&good], 7, &field).unwrap().data_type(), &DataType::Int64);
    }
}
