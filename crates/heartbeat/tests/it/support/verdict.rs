//! Whether what is there after a step is what a scenario says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use serde::Serialize;
use serde_json::Value;

use super::stage::Outcome;
use super::story::{Entry, Row, Scenario};

/// Columns of the sensor table that other readers rely on; the rest is the original's own, or ours.
const SHARED_SENSOR_COLUMNS: [&str; 3] = ["sensor_id", "assets", "status"];

/// Every difference after a step.
pub(crate) fn differences(scenario: &Scenario, entry: &Entry, outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(wanted) = &entry.control {
        found.extend(unmatched("control", wanted.clone(), outcome.control.clone()));
    }
    if let Some(wanted) = &entry.sensor {
        found.extend(sensor_differs(wanted, &outcome.sensor));
    }
    found.extend(moved_checkpoints(scenario, &outcome.sensor));
    found.extend(starts_differ(&entry.run_now, &outcome.bodies));
    if let Some(output) = &outcome.command {
        let is_corner = scenario.corner.is_some();
        found.extend(command_differs(entry.error.as_deref(), is_corner, outcome, output));
    }
    found
}

/// What one side has and the other has not, whatever the order; equal ones are counted.
fn unmatched<T: PartialEq + Serialize>(what: &str, wanted: Vec<T>, mut got: Vec<T>) -> Vec<String> {
    let mut missing = Vec::new();
    for one in wanted {
        match got.iter().position(|other| *other == one) {
            Some(place) => drop(got.remove(place)),
            None => missing.push(one),
        }
    }
    let line = |sign: char, one: &T| format!("{what} {sign} {}", serde_json::to_string(one).unwrap());
    missing.iter().map(|one| line('-', one)).chain(got.iter().map(|one| line('+', one))).collect()
}

fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    row.get(column).and_then(Value::as_str)
}

/// The columns that both define. A row without assets that the original wrote at a completion may be missing here,
/// or be a proper one.
fn sensor_differs(wanted: &[Row], got: &[Row]) -> Vec<String> {
    let (proper, of_completion): (Vec<&Row>, Vec<&Row>) =
        wanted.iter().partition(|row| row.contains_key("assets"));
    let may_be_missing: BTreeSet<_> = of_completion.into_iter().map(|row| text(row, "sensor_id")).collect();
    let is_due =
        |row: &&Row| !(row.contains_key("assets") && may_be_missing.contains(&text(row, "sensor_id")));
    let got = got.iter().filter(is_due).map(shared_columns).collect();
    unmatched("sensor", proper.into_iter().map(shared_columns).collect(), got)
}

fn shared_columns(row: &Row) -> Row {
    let columns = row.iter().filter(|(name, _)| SHARED_SENSOR_COLUMNS.contains(&name.as_str()));
    columns.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Checkpoints are Spark's: they stay as they were before the first step.
fn moved_checkpoints(scenario: &Scenario, got: &[Row]) -> Vec<String> {
    let checkpoint = |row| text(row, "checkpoint_location");
    let preset: BTreeMap<_, _> =
        scenario.sensor.iter().map(|row| (text(row, "sensor_id"), checkpoint(row))).collect();
    got.iter()
        .filter(|row| checkpoint(row) != preset.get(&text(row, "sensor_id")).copied().flatten())
        .map(|row| format!("sensor: checkpoint_location was changed: {row:?}"))
        .collect()
}

/// Bodies of run-now; a POST that was repeated with its token counts once.
fn starts_differ(wanted: &[Value], got: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut tokens = BTreeSet::new();
    let mut starts = Vec::new();
    for body in got {
        let mut body = body.clone();
        let token = body.as_object_mut().and_then(|body| body.shift_remove("idempotency_token"));
        let token = token.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        if token.len() != 64 || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            found.push(format!("run_now: `{token}` is no token"));
        }
        if tokens.insert(token) {
            starts.push(body);
        }
    }
    found.extend(unmatched("run_now", wanted.to_vec(), starts));
    found
}

/// `wanted` is the original's error, or in a corner a word that ours must have.
fn command_differs(
    wanted: Option<&str>,
    is_corner: bool,
    outcome: &Outcome,
    output: &Output,
) -> Option<String> {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lacks = |word: &str| is_corner && !stdout.contains(word) && !stderr.contains(word);
    let problem = match (output.status.code(), wanted) {
        (Some(0 | 1), Some("*")) | (Some(0), None) => None,
        (Some(0), Some(wanted)) => Some(format!("it should fail: {wanted}")),
        (Some(1), None) => Some("it failed".to_owned()),
        (Some(1), Some(word)) => lacks(word).then(|| format!("its error does not name `{word}`")),
        (code, _) => Some(format!("exit status {code:?}")),
    };
    let refused = stdout.is_empty() && output.status.code() == Some(1);
    let problem = problem.or_else(|| match serde_json::from_str(&stdout) {
        Ok(document) => document_differs(&document, &outcome.bodies),
        Err(_) if refused => None,
        Err(why) => Some(format!("stdout is no JSON document: {why}")),
    });
    problem.map(|problem| format!("command: {problem}\n{stdout}{}", stderr.trim_end()))
}

/// `trigger` tells of every job that it posted, as started or failed, and of no other.
fn document_differs(document: &Value, bodies: &[Value]) -> Option<String> {
    let jobs = |list: &[Value]| -> BTreeSet<String> {
        list.iter().filter_map(|entry| Some(entry["job_id"].as_str()?.to_owned())).collect()
    };
    let told = |key: &str| document[key].as_array().map(|list| jobs(list));
    let mut told_of = told("started")?;
    told_of.extend(told("failed")?);
    let posted = jobs(bodies);
    (told_of != posted).then(|| format!("it tells of the jobs {told_of:?} and posted {posted:?}"))
}
