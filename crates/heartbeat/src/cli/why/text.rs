//! The answer as people read it.

use std::fmt::Write as _;

use super::{Answer, Row, ShownClaim};
use crate::cli::{history, output};

/// Paragraphs: why, what next, rows, claim, journal.
pub(super) fn text(answer: &Answer<'_>) -> String {
    let name = answer.job_name.map_or_else(String::new, |name| format!(" ({name})"));
    let since = answer.waits.since.map_or_else(String::new, |at| format!(", since {at:.0}"));
    let mut text = format!("job {}{name}{since}: {}\n", answer.job_id, answer.waits.reason);
    let at = answer.next.at.map_or_else(String::new, |at| format!("at {at:.0}: "));
    // Writing to a text does not fail.
    let _ = writeln!(text, "next: {at}{}", answer.next.what);
    if let Some(command) = &answer.next.command {
        let _ = writeln!(text, "      {command}");
    }
    text.push('\n');
    if answer.rows.is_empty() {
        text.push_str("its rows were deleted from the control table\n");
    } else {
        text.push_str(&rows(&answer.rows));
    }
    if let Some(claim) = &answer.claim {
        text.push('\n');
        text.push_str(&described(claim));
    }
    if answer.journal.is_empty() {
        text.push_str("\nthe journal has no entry of the job\n");
    } else {
        text.push('\n');
        text.push_str(&history::table(answer.journal));
    }
    text
}

fn rows(rows: &[Row<'_>]) -> String {
    let shown = |value: Option<&str>| value.unwrap_or("-").to_owned();
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                shown(row.sensor_source),
                shown(row.sensor_id),
                row.dependency.to_owned(),
                shown(row.status),
                row.since.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}")),
                remarks(row),
            ]
        })
        .collect();
    output::table(&["source", "sensor_id", "needed", "status", "since", "what"], &lines)
}

fn remarks(row: &Row<'_>) -> String {
    let mut remarks = Vec::new();
    if row.is_paused() {
        remarks.push("paused".to_owned());
    }
    if let Some(problem) = &row.problem {
        remarks.push(format!("never looked at: {problem}"));
    }
    if let Some(failing) = &row.failing {
        remarks.push(format!("cannot be looked at since {:.0}: {}", failing.since, failing.error));
    }
    match (&row.manifest, row.news) {
        (Some(manifest), 0 | 1) => remarks.push(format!("news: {manifest}")),
        (Some(manifest), news) => remarks.push(format!("news, detected {news} times: {manifest}")),
        (None, _) => {}
    }
    if remarks.is_empty() { "-".to_owned() } else { remarks.join("; ") }
}

fn described(claim: &ShownClaim<'_>) -> String {
    let run = claim.run_id.map_or_else(|| "no run known".to_owned(), |run_id| format!("run {run_id}"));
    let reason = claim.reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let rows: Vec<String> = claim.rows.keys().map(|row| format!("`{row}`")).collect();
    format!(
        "last start: {}{reason}; {run}, attempt {}, claimed at {:.0} for {}\n            in {}, token {}\n",
        claim.state,
        claim.attempt,
        claim.claimed_at,
        rows.join(", "),
        claim.domain,
        claim.token
    )
}
