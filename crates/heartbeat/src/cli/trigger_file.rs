//! `heartbeat trigger-file create`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use heartbeat_core::acon::SourceKind;
use heartbeat_core::sensor::asset_of;
use jiff::Timestamp;
use serde_json::json;
use url::Url;

use super::{Outcome, Session};
use crate::paths::absolute;

pub(super) fn create(session: &Session, base: &str, sensor_id: &str) -> Result<Outcome> {
    let url = write(base, sensor_id, Timestamp::now())?;
    session.printer.data(&json!({"url": url.as_str()}), || format!("{url}\n"))?;
    Ok(Outcome::Good)
}

/// Writes `<base>/<id>/<id>_YYYYmmdd_HHMMSS.txt` (UTC) with the body `Success`, whole or not at all.
pub(super) fn write(base: &str, sensor_id: &str, now: Timestamp) -> Result<Url> {
    if sensor_id.trim().is_empty() {
        bail!("--sensor-id must not be empty");
    }
    if let Err(problem) = asset_of(SourceKind::TriggerFile, sensor_id) {
        bail!("--sensor-id: {problem}");
    }
    let folder = absolute(base)?.join(sensor_id);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("folder `{}` cannot be made", folder.display()))?;
    // A second file in one second gets the next free second: the name is the documented one and never reused.
    for second in 0..60 {
        let stamp = (now + jiff::SignedDuration::from_secs(second)).strftime("%Y%m%d_%H%M%S");
        let path = folder.join(format!("{sensor_id}_{stamp}.txt"));
        if put_if_absent(&folder, &path)? {
            return Url::from_file_path(&path)
                .map_err(|()| anyhow::anyhow!("`{}` is no path", path.display()));
        }
    }
    bail!("60 trigger files of the coming minute are there already in `{}`", folder.display())
}

/// Links a complete file under its name, which fails when the name is taken; nobody ever sees half a file.
fn put_if_absent(folder: &Path, path: &Path) -> Result<bool> {
    let mut draft = tempfile::Builder::new().prefix(".heartbeat-").suffix(".tmp").tempfile_in(folder)?;
    std::io::Write::write_all(&mut draft, b"Success")?;
    match draft.persist_noclobber(path) {
        Ok(file) => {
            readable_by_others(&file)?;
            Ok(true)
        }
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error).with_context(|| format!("`{}` cannot be written", path.display())),
    }
}

/// Temporary files are private; a trigger file is there to be read.
fn readable_by_others(file: &std::fs::File) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_body_are_the_documented_ones_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-01-02T03:04:59Z".parse().unwrap();
        let base = dir.path().to_str().unwrap();
        let first = write(base, "my_trigger", now).unwrap();
        let second = write(base, "my_trigger", now).unwrap();
        assert!(first.path().ends_with("/my_trigger/my_trigger_20260102_030459.txt"), "{first}");
        assert!(second.path().ends_with("/my_trigger_20260102_030500.txt"), "{second}");
        let body = std::fs::read_to_string(first.to_file_path().unwrap()).unwrap();
        assert_eq!(body, "Success");
        assert_eq!(std::fs::read_dir(dir.path().join("my_trigger")).unwrap().count(), 2);
    }

    #[test]
    fn ids_that_leave_the_base_are_refused() {
        assert!(write("/tmp", "../up", Timestamp::UNIX_EPOCH).is_err());
    }
}
