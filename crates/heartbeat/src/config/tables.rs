//! Where tables lie: the `tables` of the configuration, else the layout of the warehouse.

use std::collections::BTreeMap;

use heartbeat_core::table_name::{BadTableName, locate};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableAt {
    /// Its name in the ACON.
    pub name: String,
    /// Path or URL.
    pub location: String,
}

/// Locations of tables by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableNames {
    warehouse: String,
    mapped: BTreeMap<String, String>,
}

impl TableNames {
    /// Only the warehouse's layout.
    pub fn of_warehouse(warehouse: impl Into<String>) -> Self {
        Self { warehouse: warehouse.into(), mapped: BTreeMap::new() }
    }

    /// Path or URL of the warehouse.
    pub fn warehouse(&self) -> &str {
        &self.warehouse
    }

    /// Location of a table, or why the text names none.
    pub fn locate(&self, name: &str) -> Result<String, BadTableName> {
        self.mapped(name).map_or_else(|| locate(name, &self.warehouse), |location| Ok(location.to_owned()))
    }

    /// Location of a table that `tables` names.
    pub fn mapped(&self, name: &str) -> Option<&str> {
        self.mapped.get(&plain(name)).map(String::as_str)
    }

    /// Maps a name; `false` when a spelling of it is mapped already.
    pub(super) fn map(&mut self, name: &str, location: String) -> bool {
        self.mapped.insert(plain(name), location).is_none()
    }
}

/// One spelling of a name: Spark's catalogue knows neither case nor backticks.
fn plain(name: &str) -> String {
    let name = name.trim().replace('`', "").to_ascii_lowercase();
    name.strip_prefix("default.").map_or(name.clone(), str::to_owned)
}
