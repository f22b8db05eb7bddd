//! What somebody may have meant who named a job that the control table does not have.

use std::collections::BTreeMap;

use heartbeat_core::ids::JobId;
use heartbeat_core::row::ControlRow;

/// Jobs that are named at most.
const MOST: usize = 3;

/// The job that an argument names; otherwise what may have been meant.
pub(super) fn job(text: &str, control: &[ControlRow]) -> Result<JobId, String> {
    let has = |job: &JobId| control.iter().any(|row| job_of(row).as_ref() == Some(job));
    match JobId::parse(text) {
        Ok(job) if has(&job) => Ok(job),
        Ok(job) => Err(format!("the control table has no row for job {job}; {}", meant(text, control))),
        Err(error) => Err(format!("{error}; {}", meant(text, control))),
    }
}

/// Words about what is there instead.
pub(super) fn meant(text: &str, control: &[ControlRow]) -> String {
    let mut jobs: BTreeMap<String, (usize, Option<&str>)> = BTreeMap::new();
    for row in control {
        let Some(job) = job_of(row) else { continue };
        let distance = distance(text.trim(), job.as_str(), row);
        let best = jobs.entry(job.into()).or_insert((distance, row.trigger_job_name.as_deref()));
        best.0 = best.0.min(distance);
    }
    let count = jobs.len();
    let mut near: Vec<_> = jobs.into_iter().filter(|(_, (distance, _))| *distance < FAR).collect();
    near.sort_by_key(|(_, (distance, _))| *distance);
    let near: Vec<String> = near
        .into_iter()
        .take(MOST)
        .map(|(job, (_, name))| name.map_or_else(|| job.clone(), |name| format!("{job} ({name})")))
        .collect();
    match (near.as_slice(), count) {
        ([], 0) => "it has no rows: `heartbeat feed` brings them".to_owned(),
        ([], count) => format!("`heartbeat status` lists its {count} job(s)"),
        (near, _) => format!("did you mean {}?", near.join(", ")),
    }
}

/// A distance that is no likeness.
const FAR: usize = 10;

fn distance(text: &str, job: &str, row: &ControlRow) -> usize {
    let names = [row.trigger_job_name.as_deref(), row.sensor_id.as_deref()];
    let mut names = names.into_iter().flatten();
    if names.clone().any(|name| name.eq_ignore_ascii_case(text)) {
        return 0;
    }
    let edits = edits(text, job);
    if edits <= 2 && edits < job.len() {
        return edits;
    }
    let text = text.to_lowercase();
    let part =
        text.len() >= 3 && (job.contains(&text) || names.any(|name| name.to_lowercase().contains(&text)));
    if part { 3 } else { FAR }
}

/// Changes, additions and removals of one character that make one text of the other.
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn job_of(row: &ControlRow) -> Option<JobId> {
    JobId::parse(row.trigger_job_id.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(job: &str, name: &str) -> ControlRow {
        ControlRow {
            trigger_job_id: Some(job.into()),
            trigger_job_name: Some(name.into()),
            sensor_id: Some(format!("{name}_trigger")),
            ..ControlRow::default()
        }
    }

    #[test]
    fn near_jobs_are_named_by_id_name_and_sensor() {
        let rows = [row("101", "my_report"), row("102", "my_loader"), row("90000", "other")];
        let said = |text| job(text, &rows).unwrap_err();
        assert_eq!(job(" 101 ", &rows).unwrap().as_str(), "101");
        assert!(said("110").ends_with("did you mean 101 (my_report), 102 (my_loader)?"), "{}", said("110"));
        assert!(said("my_loader").ends_with("did you mean 102 (my_loader)?"), "{}", said("my_loader"));
        assert!(said("other_trigger").contains("90000"), "{}", said("other_trigger"));
        assert!(said("777777").ends_with("`heartbeat status` lists its 3 job(s)"), "{}", said("777777"));
        assert!(job("1", &[]).unwrap_err().contains("heartbeat feed"));
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(
            (edits("101", "101"), edits("110", "101"), edits("", "12"), edits("1", "12")),
            (0, 2, 2, 1)
        );
    }
}
