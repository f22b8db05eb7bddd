//! Identifiers. The original's rule for sensor row ids lives here, once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Databricks job id: digits, kept as the text that was given (`007` stays `007`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// A job id that is not made of digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a job id: a Databricks job id is made of digits")]
pub struct BadJobId(String);

impl JobId {
    /// Takes digits with blanks around them; anything else is refused.
    pub fn parse(text: &str) -> Result<Self, BadJobId> {
        let digits = text.trim();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadJobId(text.to_owned()));
        }
        Ok(Self(digits.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = BadJobId;
    fn try_from(text: String) -> Result<Self, BadJobId> {
        Self::parse(&text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Key of a row in the sensor table: `sensor_id` with each of blank, colon and dot replaced by `_`, then `_`
/// and the job id (lakehouse-engine, `generate_unique_column_values`). Two sensors may fall on one id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SensorRowId(String);

impl SensorRowId {
    /// The id of the sensor row for a control row.
    pub fn new(sensor_id: &str, job: &JobId) -> Self {
        Self(unique_in(sensor_id, job))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SensorRowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text as the original makes it unique, for sensor row ids and assets: each blank, colon and dot becomes `_`,
/// then `_` and the job id follow (lakehouse-engine, `generate_unique_column_values`).
pub fn unique_in(text: &str, job: &JobId) -> String {
    format!("{}_{job}", text.replace([' ', ':', '.'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensor_row_id_replaces_each_blank_colon_and_dot() {
        let job = JobId::parse(" 007 ").unwrap();
        assert_eq!(SensorRowId::new("my_product: my.topic", &job).as_str(), "my_product__my_topic_007");
    }

    #[test]
    fn job_id_is_digits_only() {
        assert!(JobId::parse("12a").is_err());
        assert!(JobId::parse("").is_err());
        assert!(JobId::parse("1' or '1").is_err());
        assert_eq!(JobId::parse("12345678901234567890").unwrap().as_str(), "12345678901234567890");
    }
}
