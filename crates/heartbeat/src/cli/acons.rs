//! Reading ACON files and grouping them by the tables they name.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use heartbeat_core::acon::{Acon, Reading};

use super::Session;
use crate::config;
use crate::error_chain::chain;
use crate::paths::one_spelling;
use crate::workspaces::Workspaces;

/// What was found in one file.
pub(crate) struct AconFile {
    pub(crate) path: PathBuf,
    pub(crate) reading: Result<Reading>,
}

/// Reads every file; nothing is judged yet.
pub(crate) fn read_all(paths: &[PathBuf]) -> Vec<AconFile> {
    paths.iter().map(|path| AconFile { path: path.clone(), reading: read(path) }).collect()
}

fn read(path: &Path) -> Result<Reading> {
    Ok(Acon::from_value(&config::document(path)?))
}

/// The ACONs of all files, or every mistake of all of them, printed.
pub(crate) fn load(session: &Session, paths: &[PathBuf]) -> Result<Vec<Acon>> {
    let mut acons = Vec::new();
    let mut mistakes = 0;
    for AconFile { path, reading } in read_all(paths) {
        let name = path.display();
        match reading {
            Err(error) => {
                mistakes += 1;
                session.printer.error(&format!("error: {name}: {error:#}"));
            }
            Ok(Reading { warnings, result }) => {
                for warning in warnings {
                    session.printer.note(&format!("warning: {name}: {warning}"));
                }
                match result {
                    Ok(acon) => acons.push(acon),
                    Err(findings) => {
                        mistakes += findings.len();
                        for finding in findings {
                            session.printer.error(&format!("error: {name}: {finding}"));
                        }
                    }
                }
            }
        }
    }
    if mistakes > 0 {
        bail!("{mistakes} mistake(s) in the ACONs; nothing was done");
    }
    Ok(acons)
}

/// ACONs that work on the same pair of tables.
pub(crate) struct Group {
    pub(crate) control: String,
    pub(crate) sensor: String,
    pub(crate) acons: Vec<Acon>,
}

/// Groups ACONs by the tables they name.
pub(crate) fn by_tables(session: &Session, acons: Vec<Acon>) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for acon in acons {
        let control = session.locate(&acon.control_table)?;
        let sensor = session.locate(&acon.sensor_table)?;
        let same = |one: &str, other: &str| one_spelling(one) == one_spelling(other);
        let known =
            groups.iter_mut().find(|group| same(&group.control, &control) && same(&group.sensor, &sensor));
        match known {
            Some(group) => group.acons.push(acon),
            None => groups.push(Group { control, sensor, acons: vec![acon] }),
        }
    }
    Ok(groups)
}

/// Clients for the workspaces of the ACONs. One that cannot be had fails the starts in it, not the others'.
pub(crate) fn workspaces(acons: &[Acon]) -> Workspaces {
    let mut workspaces = Workspaces::default();
    for acon in acons {
        let added = crate::secrets::credentials(&acon.domain, acon.token.as_ref())
            .map_err(|error| format!("token: {}", chain(&error)))
            .and_then(|found| workspaces.add(&acon.domain, found).map_err(|error| chain(&error)));
        if let Err(why) = added {
            workspaces.add_unusable(&acon.domain, why);
        }
    }
    workspaces
}
