//! Which features of a table are honoured, and what to do about the others.
//!
//! A feature that a table merely supports binds nobody; one that is in use is either honoured or refused in
//! words that say how to go on. Reading honours deletion vectors, v2 checkpoints and `timestamp_ntz`; writing
//! honours the change data feed and in-commit timestamps besides, and never writes deletion vectors.

use std::collections::HashMap;

use delta_kernel::schema::Schema;

/// A feature that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) feature: String,
    pub(crate) fix: String,
}

/// What a table says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protocol {
    pub(crate) reader_version: i32,
    pub(crate) writer_version: i32,
    pub(crate) reader_features: Vec<String>,
    pub(crate) writer_features: Vec<String>,
}

const READ: [&str; 5] =
    ["deletionVectors", "v2Checkpoint", "timestampNtz", "vacuumProtocolCheck", "columnMapping"];

const WRITE: [&str; 16] = [
    "appendOnly",
    "invariants",
    "checkConstraints",
    "generatedColumns",
    "identityColumns",
    "allowColumnDefaults",
    "columnMapping",
    "changeDataFeed",
    "inCommitTimestamp",
    "deletionVectors",
    "v2Checkpoint",
    "timestampNtz",
    "vacuumProtocolCheck",
    "checkpointProtection",
    // Domains that bind writers belong to features with names of their own (clustering, row tracking).
    "domainMetadata",
    "materializePartitionColumns",
];

/// Why the table cannot be read, if so.
pub(crate) fn read_refusal(
    protocol: &Protocol,
    configuration: &HashMap<String, String>,
    partition_columns: &[String],
) -> Option<Refusal> {
    if protocol.reader_version > 3 {
        return Some(newer("reader version", protocol.reader_version));
    }
    if let Some(feature) = protocol.reader_features.iter().find(|feature| !READ.contains(&feature.as_str())) {
        return Some(foreign(feature));
    }
    if let Some(mode) = configuration.get("delta.columnMapping.mode").filter(|mode| *mode != "none") {
        return Some(Refusal {
            feature: format!("column mapping (`delta.columnMapping.mode` = {mode})"),
            fix: "in Spark, set that property to none, or copy the rows into a table without it".into(),
        });
    }
    let column = partition_columns.first()?;
    Some(Refusal {
        feature: format!("partitioning by `{column}`"),
        fix: "copy the rows into a table made without PARTITIONED BY; its few rows gain nothing by it".into(),
    })
}

/// Why a table that can be read cannot be written, if so.
pub(crate) fn write_refusal(
    protocol: &Protocol,
    configuration: &HashMap<String, String>,
    schema: &Schema,
) -> Option<Refusal> {
    if protocol.writer_version > 7 {
        return Some(newer("writer version", protocol.writer_version));
    }
    if let Some(feature) = protocol.writer_features.iter().find(|feature| !WRITE.contains(&feature.as_str()))
    {
        return Some(foreign(feature));
    }
    if configuration.get("delta.appendOnly").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Some(Refusal {
            feature: "`delta.appendOnly` = true, which forbids updates".into(),
            fix: "in Spark, ALTER TABLE .. SET TBLPROPERTIES ('delta.appendOnly' = 'false')".into(),
        });
    }
    if let Some(constraint) =
        configuration.keys().filter_map(|key| key.strip_prefix("delta.constraints.")).min()
    {
        return Some(Refusal {
            feature: format!("the check constraint `{constraint}`"),
            fix: format!("in Spark, ALTER TABLE .. DROP CONSTRAINT {constraint}"),
        });
    }
    schema.fields().find_map(|field| {
        let key = field.metadata.keys().find_map(|key| column_rule(key))?;
        Some(Refusal {
            feature: format!("{} `{}`", key.0, field.name()),
            fix: key.1.replace("{name}", field.name()),
        })
    })
}

/// What a key in a column's metadata asks of writers, and how to be rid of it.
fn column_rule(key: &str) -> Option<(&'static str, &'static str)> {
    const COPY: &str = "copy the rows into a table whose column {name} is a plain one";
    Some(match key {
        "delta.invariants" => ("an invariant on column", COPY),
        "delta.generationExpression" => ("the generated column", COPY),
        "CURRENT_DEFAULT" => {
            ("a default for column", "in Spark, ALTER TABLE .. ALTER COLUMN {name} DROP DEFAULT")
        }
        _ if key.starts_with("delta.identity.") => ("the identity column", COPY),
        _ => return None,
    })
}

fn newer(what: &str, version: i32) -> Refusal {
    Refusal {
        feature: format!("{what} {version} of the Delta protocol"),
        fix: "use a newer heartbeat".into(),
    }
}

fn foreign(feature: &str) -> Refusal {
    let fix = match feature {
        "catalogManaged" | "catalogOwned-preview" => {
            "only its catalog may commit to it: use an external table without catalog commits".into()
        }
        "clustering" => {
            "in Spark, ALTER TABLE .. CLUSTER BY NONE, then ALTER TABLE .. DROP FEATURE clustering".into()
        }
        "rowTracking" => {
            "in Spark, set `delta.enableRowTracking` to false, then ALTER TABLE .. DROP FEATURE rowTracking"
                .into()
        }
        _ => format!("in Spark, ALTER TABLE .. DROP FEATURE {feature}, or copy the rows into a plain table"),
    };
    Refusal { feature: format!("the table feature `{feature}`"), fix }
}

#[cfg(test)]
mod tests {
    use delta_kernel::schema::{DataType, MetadataValue, StructField};
    use rstest::rstest;

    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn schema(metadata: &[&str]) -> Schema {
        let rules = metadata.iter().map(|key| ((*key).to_owned(), MetadataValue::String("x".into())));
        let field = StructField::nullable("total", DataType::LONG).with_metadata(rules);
        Schema::try_new([field]).unwrap()
    }

    #[test]
    fn a_plain_spark_table_is_read_and_written() {
        let spark = Protocol { reader_version: 1, writer_version: 2, ..Protocol::default() };
        assert_eq!(read_refusal(&spark, &properties(&[]), &[]), None);
        assert_eq!(write_refusal(&spark, &properties(&[]), &schema(&[])), None);
    }

    #[test]
    fn a_feature_that_is_supported_but_not_in_use_binds_nobody() {
        let every = Protocol {
            reader_version: 3,
            writer_version: 7,
            reader_features: READ.map(str::to_owned).to_vec(),
            writer_features: WRITE.map(str::to_owned).to_vec(),
        };
        let idle = properties(&[("delta.columnMapping.mode", "none"), ("delta.appendOnly", "false")]);
        assert_eq!(read_refusal(&every, &idle, &[]), None);
        assert_eq!(write_refusal(&every, &idle, &schema(&[])), None);
    }

    #[rstest]
    #[case(&["typeWidening"], &[], "typeWidening")]
    #[case(&["variantType"], &[], "variantType")]
    #[case(&["catalogManaged"], &[], "only its catalog may commit")]
    #[case(&[], &[("delta.columnMapping.mode", "name")], "column mapping")]
    fn reading_is_refused_in_words(
        #[case] features: &[&str],
        #[case] configuration: &[(&str, &str)],
        #[case] expected: &str,
    ) {
        let protocol = Protocol {
            reader_version: 3,
            writer_version: 7,
            reader_features: features.iter().map(|name| (*name).to_owned()).collect(),
            writer_features: Vec::new(),
        };
        let refusal = read_refusal(&protocol, &properties(configuration), &[]).unwrap();
        assert!(format!("{}; {}", refusal.feature, refusal.fix).contains(expected), "{refusal:?}");
    }

    #[rstest]
    #[case(&["rowTracking"], &[], &[], "delta.enableRowTracking")]
    #[case(&["clustering"], &[], &[], "CLUSTER BY NONE")]
    #[case(&["icebergCompatV2"], &[], &[], "icebergCompatV2")]
    #[case(&[], &[("delta.appendOnly", "TRUE")], &[], "forbids updates")]
    #[case(&[], &[("delta.constraints.positive", "total > 0")], &[], "DROP CONSTRAINT positive")]
    #[case(&[], &[], &["delta.invariants"], "an invariant on column `total`")]
    #[case(&[], &[], &["delta.generationExpression"], "the generated column `total`")]
    #[case(&[], &[], &["delta.identity.start"], "the identity column `total`")]
    #[case(&[], &[], &["CURRENT_DEFAULT"], "ALTER COLUMN total DROP DEFAULT")]
    fn writing_is_refused_in_words(
        #[case] features: &[&str],
        #[case] configuration: &[(&str, &str)],
        #[case] metadata: &[&str],
        #[case] expected: &str,
    ) {
        let protocol = Protocol {
            reader_version: 1,
            writer_version: 7,
            reader_features: Vec::new(),
            writer_features: features.iter().map(|name| (*name).to_owned()).collect(),
        };
        let refusal = write_refusal(&protocol, &properties(configuration), &schema(metadata)).unwrap();
        assert!(format!("{}; {}", refusal.feature, refusal.fix).contains(expected), "{refusal:?}");
    }
}
