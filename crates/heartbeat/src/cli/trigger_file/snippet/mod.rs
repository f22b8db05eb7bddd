//! Snippets that drop trigger files elsewhere, ready to be pasted: `trigger-file create --print-snippet`.
//!
//! Ids and locations stand in them as literals of the language, once, in no comment and in no string of another kind. A key
//! is read where the snippet runs, and is never an argument of a program.

mod bash;
mod python;
#[cfg(test)]
mod tests;

use anyhow::Result;
use heartbeat_core::location::Location;
use heartbeat_core::secret::SecretRef;

use super::create::Place;
use crate::cli::args::Snippet;

/// The snippet for a place and a sensor.
pub(super) fn of(kind: Snippet, place: &Place, sensor_id: &str) -> Result<String> {
    match kind {
        Snippet::Dbutils => python::dbutils(place, sensor_id),
        Snippet::Airflow => python::airflow(place, sensor_id),
        Snippet::Bash => bash::bash(place, sensor_id),
    }
}

/// Where a key is put that only this machine or a workspace knows.
const KEY: &str = "heartbeat_signing_key";

impl Place {
    /// An option that is no secret and stands there as it is.
    fn option(&self, name: &str) -> Option<&str> {
        match self.storage.get(name)? {
            SecretRef::Literal(text) => Some(text.expose()).filter(|text| !text.is_empty()),
            SecretRef::Env(_) | SecretRef::File(_) | SecretRef::Scope { .. } => None,
        }
    }

    /// The storage account of Azure, as far as it is known.
    fn account(&self) -> Option<&str> {
        match &self.base {
            Location::Azure { host: Some(host), .. } => host.split('.').next(),
            _ => self.option("azure_storage_account_name"),
        }
    }

    /// The base as one text; a local one from the root, for the snippet runs elsewhere.
    fn base_text(&self) -> Result<String> {
        match &self.base {
            Location::Local(path) => {
                let path = crate::paths::absolute(path)?.display().to_string();
                Ok(path.trim_end_matches('/').to_owned())
            }
            base => Ok(base.to_string().trim_end_matches('/').to_owned()),
        }
    }
}

/// Puts values in the places `<<name>>` of a template, once: places within a value are none.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("<<")
        && let Some((name, behind)) = behind.split_once(">>")
    {
        let value = values.iter().find(|(place, _)| *place == name);
        debug_assert!(value.is_some(), "nothing for {name}");
        text.push_str(before);
        text.push_str(value.map_or("", |(_, value)| value));
        rest = behind;
    }
    text.push_str(rest);
    text
}
