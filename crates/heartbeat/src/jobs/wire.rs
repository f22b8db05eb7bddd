//! The JSON of the Jobs API, and nothing else.
//!
//! Ids are 64-bit integers that the API writes as numbers and accepts as numbers or strings; they are never
//! read as floats. Unknown fields are ignored, missing ones are `None`: the caller judges.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::run::RunNow;

/// What the original says with every start, as the parameter `msg`.
const MESSAGE: &str = "triggered via heartbeat sensor";

/// Body of `POST /api/2.1/jobs/run-now`. Field order and types are those of the original sensor.
#[derive(Debug, Serialize)]
pub(super) struct RunNowBody<'a> {
    job_id: &'a str,
    #[serde(flatten)]
    parameters: Parameters<'a>,
    idempotency_token: &'a str,
}

/// Either, never both: the API refuses that.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Parameters<'a> {
    NotebookParams(BTreeMap<&'a str, &'a str>),
    JobParameters(BTreeMap<&'a str, &'a str>),
}

impl<'a> RunNowBody<'a> {
    pub(super) fn new(call: &'a RunNow) -> Self {
        let mut parameters = BTreeMap::from([("msg", MESSAGE)]);
        let parameters = match &call.job_parameters {
            None => Parameters::NotebookParams(parameters),
            Some(own) => {
                parameters.extend(own.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                Parameters::JobParameters(parameters)
            }
        };
        Self { job_id: &call.job_id, parameters, idempotency_token: &call.idempotency_token }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct RunNowAnswer {
    pub(super) run_id: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RunsPage {
    #[serde(default)]
    pub(super) runs: Vec<RunBody>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RunBody {
    pub(super) run_id: Option<i64>,
    pub(super) job_id: Option<i64>,
    pub(super) state: Option<StateBody>,
    pub(super) status: Option<StatusBody>,
    pub(super) start_time: Option<i64>,
    pub(super) end_time: Option<i64>,
    pub(super) run_page_url: Option<String>,
}

/// `state`, the older form: deprecated, still sent.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct StateBody {
    pub(super) life_cycle_state: Option<String>,
    pub(super) result_state: Option<String>,
    pub(super) state_message: Option<String>,
}

/// `status`, the newer form.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct StatusBody {
    pub(super) state: Option<String>,
    pub(super) termination_details: Option<TerminationBody>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct TerminationBody {
    pub(super) code: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) message: Option<String>,
}

/// Every error shape in one: the API's own, the old `{"error": ..}`, SCIM's and OAuth's.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) error_code: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) message: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) error: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) error_description: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) detail: Option<String>,
    #[serde(default, rename = "scimType", deserialize_with = "text_or_number")]
    pub(super) scim_type: Option<String>,
}

/// `error_code` is a name in most answers and a number in others (401, 403).
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(job_parameters: Option<BTreeMap<String, String>>) -> String {
        let call = RunNow { job_id: "0042".to_owned(), idempotency_token: "ab".to_owned(), job_parameters };
        serde_json::to_string(&RunNowBody::new(&call)).unwrap()
    }

    #[test]
    fn the_start_is_byte_for_byte_the_originals_plus_the_token() {
        assert_eq!(
            body(None),
            r#"{"job_id":"0042","notebook_params":{"msg":"triggered via heartbeat sensor"},"idempotency_token":"ab"}"#
        );
    }

    #[test]
    fn job_parameters_replace_notebook_params_and_take_the_message_with_them() {
        assert_eq!(
            body(Some(BTreeMap::from([("day".to_owned(), "2026-11-21".to_owned())]))),
            r#"{"job_id":"0042","job_parameters":{"day":"2026-11-21","msg":"triggered via heartbeat sensor"},"idempotency_token":"ab"}"#
        );
        assert!(
            body(Some(BTreeMap::from([("msg".to_owned(), "own".to_owned())]))).contains(r#"{"msg":"own"}"#)
        );
    }

    #[test]
    fn ids_beyond_the_precision_of_a_float_survive() {
        let answer: RunNowAnswer = serde_json::from_str(r#"{"run_id":9223372036854775807}"#).unwrap();
        assert_eq!(answer.run_id, Some(i64::MAX));
        let run: RunBody = serde_json::from_str(r#"{"run_id":9007199254740993,"job_id":-1}"#).unwrap();
        assert_eq!((run.run_id, run.job_id), (Some(9_007_199_254_740_993), Some(-1)));
        assert!(serde_json::from_str::<RunNowAnswer>(r#"{"run_id":1.0}"#).is_err());
    }

    #[test]
    fn an_empty_list_has_no_runs() {
        let page: RunsPage = serde_json::from_str("{}").unwrap();
        assert!(page.runs.is_empty() && page.next_page_token.is_none());
    }
}
