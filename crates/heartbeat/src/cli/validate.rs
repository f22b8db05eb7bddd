//! `heartbeat validate`.

use anyhow::Result;
use heartbeat_core::acon::Finding;
use serde_json::{Value, json};

use super::acons::{AconFile, read_all};
use super::args::Acons;
use super::{Outcome, Session};

pub(super) fn run(session: &Session, args: &Acons) -> Result<Outcome> {
    let mut files = Vec::new();
    let mut lines = String::new();
    let mut valid = true;
    for AconFile { path, reading } in read_all(&args.acon) {
        let (errors, warnings) = match reading {
            Err(error) => {
                (vec![Finding { path: "(document)".to_owned(), problem: format!("{error:#}") }], Vec::new())
            }
            Ok(reading) => (reading.result.err().unwrap_or_default(), reading.warnings),
        };
        let name = path.display();
        for error in &errors {
            lines.push_str(&format!("error: {name}: {error}\n"));
        }
        for warning in &warnings {
            lines.push_str(&format!("warning: {name}: {warning}\n"));
        }
        if errors.is_empty() {
            lines.push_str(&format!("{name}: valid\n"));
        }
        valid &= errors.is_empty();
        files.push(json!({
            "file": path, "valid": errors.is_empty(), "errors": findings(&errors), "warnings": findings(&warnings),
        }));
    }
    session.printer.data(&json!({"valid": valid, "files": files}), || lines)?;
    Ok(if valid { Outcome::Good } else { Outcome::Partly })
}

fn findings(findings: &[Finding]) -> Value {
    findings.iter().map(|finding| json!({"path": finding.path, "problem": finding.problem})).collect()
}
