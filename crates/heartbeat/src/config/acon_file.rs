//! Reading ACON files: the one way for the commands and the daemon.

use std::path::Path;

use serde_json::Value;

use crate::documents::{self, BadDocument};

/// Why a file holds no document.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[source] std::io::Error),
    /// It is neither JSON nor YAML.
    #[error(transparent)]
    Document(#[from] BadDocument),
}

/// The document in a file: JSON if it is named so, else YAML. Nothing of it is judged.
pub fn document(path: &Path) -> Result<Value, FileError> {
    let text = std::fs::read_to_string(path).map_err(FileError::Read)?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    Ok(if is_json { documents::json(&text)? } else { documents::yaml(&text)? })
}
