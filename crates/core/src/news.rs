//! News for runs: what exactly a run is to account for, as the job parameter `heartbeat_news`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::position::Manifest;
use crate::sensor::View;
use crate::state::{Claim, StoredManifest};

/// Name of the job parameter.
pub const PARAMETER: &str = "heartbeat_news";

/// Names the layout of the parameter.
pub const FORMAT: &str = "heartbeat.news/1";

/// Most bytes of the parameter: what the Jobs API takes for all parameters of a run together (its documentation says
/// 10,000), less the names and the message beside it.
pub const MOST_BYTES: usize = 9_000;

/// One row's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowNews {
    /// Kind of the source.
    pub sensor_source: String,
    /// `sensor_id` of the row.
    pub sensor_id: String,
    /// What is new; `None` where it is not known.
    pub manifest: Option<Manifest>,
    /// True where it is known and could not be read; otherwise others have marked the row.
    pub unread: bool,
}

/// The manifests of a claim's rows that are stored beside the table, by digest.
pub fn digests<'v>(view: &'v View, claim: &'v Claim) -> impl Iterator<Item = &'v str> {
    view.sensors.iter().filter(|sensor| claim.rows.contains_key(sensor.row_id.as_str())).filter_map(
        |sensor| match sensor.state.manifest.as_ref()? {
            StoredManifest::Sha256(digest) => Some(digest.as_str()),
            _ => None,
        },
    )
}

/// What the run of a claim accounts for, row by row; `fetched` are manifests by digest.
pub fn of_claim(view: &View, claim: &Claim, fetched: &BTreeMap<String, Manifest>) -> Vec<RowNews> {
    let covered = view.sensors.iter().filter(|sensor| {
        let claims = sensor.state.claim.as_ref().is_some_and(|own| own.token == claim.token);
        claims && claim.rows.contains_key(sensor.row_id.as_str())
    });
    let news = covered.map(|sensor| RowNews {
        sensor_source: sensor.source.as_str().to_owned(),
        sensor_id: sensor.id.clone(),
        unread: matches!(&sensor.state.manifest, Some(StoredManifest::Sha256(digest)) if !fetched.contains_key(digest)),
        manifest: sensor.state.manifest.as_ref().and_then(|stored| match stored.inline() {
            Ok(manifest) => Some(manifest),
            Err(digest) => fetched.get(digest).cloned(),
        }),
    });
    news.collect()
}

/// The parameter's text. Where it would be too long, the longest parts are counted instead of listed (`"omitted":
/// true`); the journal has all of them.
pub fn parameter(rows: &[RowNews]) -> String {
    let mut parts: Vec<Value> = rows.iter().map(|row| part(row, true)).collect();
    let mut lengths: Vec<usize> = parts.iter().map(|part| part.to_string().len()).collect();
    let frame = document(&[]).len() + parts.len();
    while frame + lengths.iter().sum::<usize>() > MOST_BYTES {
        let Some(longest) = (0..parts.len())
            .filter(|index| parts[*index]["omitted"].is_null())
            .max_by_key(|index| lengths[*index])
        else {
            break;
        };
        parts[longest] = part(&rows[longest], false);
        lengths[longest] = parts[longest].to_string().len();
    }
    let text = document(&parts);
    if text.len() <= MOST_BYTES {
        text
    } else {
        json!({"format": FORMAT, "rows": rows.len(), "omitted": true}).to_string()
    }
}

/// The whole of it, for the journal.
pub fn full(rows: &[RowNews]) -> String {
    document(&rows.iter().map(|row| part(row, true)).collect::<Vec<_>>())
}

fn document(parts: &[Value]) -> String {
    json!({"format": FORMAT, "rows": parts}).to_string()
}

fn part(row: &RowNews, listed: bool) -> Value {
    let mut part = json!({"sensor_source": row.sensor_source, "sensor_id": row.sensor_id});
    let (name, list, count) = match &row.manifest {
        None => {
            if row.unread {
                part["omitted"] = true.into();
            }
            return part;
        }
        Some(Manifest::Offsets(ranges)) => ("offsets", json!(ranges), ranges.len()),
        Some(Manifest::Topics(topics)) => ("topics", json!(topics), topics.len()),
        Some(Manifest::Files(files)) => ("files", json!(files), files.len()),
        Some(Manifest::ManyFiles(many)) => {
            part["omitted"] = true.into();
            part["files"] = many.count.into();
            return part;
        }
    };
    if listed {
        part[name] = list;
    } else {
        part["omitted"] = true.into();
        part[name] = count.into();
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{NewFile, OffsetRange};

    fn files(id: &str, count: usize) -> RowNews {
        let file =
            |index| NewFile { path: format!("{id}_{index:06}.txt"), size: 7, etag: None, modified: None };
        RowNews {
            sensor_source: "trigger_file".into(),
            sensor_id: id.into(),
            manifest: Some(Manifest::Files((0..count).map(file).collect())),
            unread: false,
        }
    }

    #[test]
    fn rows_with_offsets_and_files_are_listed() {
        let range = OffsetRange { partition: 1, from: 5, to: 9 };
        let topic = RowNews {
            sensor_source: "kafka".into(),
            sensor_id: "p: t".into(),
            manifest: Some(Manifest::Offsets(vec![range])),
            unread: false,
        };
        let foreign = RowNews { manifest: None, ..topic.clone() };
        assert_eq!(
            parameter(&[topic, files("a", 1), foreign]),
            concat!(
                r#"{"format":"heartbeat.news/1","rows":["#,
                r#"{"sensor_source":"kafka","sensor_id":"p: t","offsets":[{"partition":1,"from":5,"to":9}]},"#,
                r#"{"sensor_source":"trigger_file","sensor_id":"a","files":[{"path":"a_000000.txt","size":7}]},"#,
                r#"{"sensor_source":"kafka","sensor_id":"p: t"}]}"#
            )
        );
    }

    #[test]
    fn what_is_too_long_is_counted_longest_first_and_never_exceeds_the_limit() {
        let text = parameter(&[files("long", 5_000), files("short", 2)]);
        assert!(text.len() <= MOST_BYTES && text.contains(r#""omitted":true,"files":5000"#), "{text}");
        assert!(text.contains("short_000001.txt"));
        let many: Vec<_> = (0..2_000).map(|index| files(&format!("s{index}"), 1)).collect();
        assert_eq!(parameter(&many), r#"{"format":"heartbeat.news/1","rows":2000,"omitted":true}"#);
        assert!(full(&many).len() > MOST_BYTES);
    }
}
