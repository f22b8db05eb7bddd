//! Where a table lives: the layout of a Spark warehouse, paths and URLs.

use crate::location::Location;

/// Why a text names no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTableName {
    /// More than a database and a table.
    #[error("`{0}` has more than two parts: give `database.table`, a path or a URL")]
    TooManyParts(String),
    /// A part is empty or no plain name.
    #[error("`{0}` is no table name: give `database.table`, a path or a URL")]
    NotAName(String),
    /// On a store that cannot be reached.
    #[error("{0}")]
    Store(String),
}

/// Location of a table: `db.table` is `<warehouse>/db.db/table`; `default.t` and `t` are `<warehouse>/t`; a path or
/// URL is taken as it is. Names are lower-cased, as in Spark's catalogue.
pub fn locate(name: &str, warehouse: &str) -> Result<String, BadTableName> {
    let name = name.trim();
    if let Some(problem) = problem_of_table_at(name) {
        return Err(BadTableName::Store(problem));
    }
    if name.contains('/') || name.starts_with('.') {
        return Ok(name.to_owned());
    }
    let warehouse = warehouse.trim_end_matches('/');
    let unquoted = name.replace('`', "").to_ascii_lowercase();
    let parts: Vec<&str> = unquoted.split('.').map(str::trim).collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '))
    };
    if !parts.iter().all(plain) {
        return Err(BadTableName::NotAName(name.to_owned()));
    }
    match parts.as_slice() {
        [table] | ["default", table] => Ok(format!("{warehouse}/{table}")),
        [database, table] => Ok(format!("{warehouse}/{database}.db/{table}")),
        _ => Err(BadTableName::TooManyParts(name.to_owned())),
    }
}

/// Why no table can be kept at a location; `None` where one can. A table needs a store that creates a file only if it is
/// absent.
pub fn problem_of_table_at(location: &str) -> Option<String> {
    match Location::parse(location) {
        Err(problem) => Some(problem.to_string()),
        Ok(Location::Dbfs(_)) => Some(format!(
            "no table can be kept at `{location}`: DBFS has no writes that fail where a file is; give the URL of its cloud store"
        )),
        Ok(Location::Volume(_)) => Some(format!(
            "no table can be kept at `{location}`: Delta does not allow tables in volumes; give the URL of its cloud store"
        )),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("my_database.heartbeat_sensor", "w/my_database.db/heartbeat_sensor")]
    #[case("`My_Database`.`T`", "w/my_database.db/t")]
    #[case("default.t", "w/t")]
    #[case("t", "w/t")]
    #[case("./x/t", "./x/t")]
    #[case("/abs/a.b", "/abs/a.b")]
    #[case("file:///abs/t", "file:///abs/t")]
    #[case("s3://bucket/db.db/t", "s3://bucket/db.db/t")]
    #[case("abfss://c@a.dfs.core.windows.net/t", "abfss://c@a.dfs.core.windows.net/t")]
    fn locations(#[case] name: &str, #[case] location: &str) {
        assert_eq!(locate(name, "w/").unwrap(), location);
    }

    #[test]
    fn other_stores_and_odd_names_are_refused() {
        assert!(matches!(locate("ftp://b/t", "w"), Err(BadTableName::Store(_))));
        assert!(matches!(locate("dbfs:/mnt/t", "w"), Err(BadTableName::Store(_))));
        assert!(matches!(locate("/Volumes/c/s/v/t", "w"), Err(BadTableName::Store(_))));
        assert!(matches!(locate("a.b.c", "w"), Err(BadTableName::TooManyParts(_))));
        assert!(matches!(locate("a..b", "w"), Err(BadTableName::NotAName(_))));
        assert!(matches!(locate("", "w"), Err(BadTableName::NotAName(_))));
    }
}
