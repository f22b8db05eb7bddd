//! The body of run-now, read as the platform reads it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::reply::Reply;
use super::state::Start;

/// Longest idempotency token, in characters.
const LONGEST_TOKEN: usize = 64;
/// Most bytes of the JSON form of parameters.
const MOST_PARAMETER_BYTES: usize = 10_000;
/// Fields that change what the run does; shown again in `overriding_parameters`.
const PARAMETERS: [&str; 8] = [
    "notebook_params",
    "job_parameters",
    "jar_params",
    "python_params",
    "python_named_params",
    "spark_submit_params",
    "sql_params",
    "dbt_commands",
];

/// Checks the body; the error is the answer to give. Unknown fields are ignored, as the platform does.
pub(super) fn read(body: &[u8]) -> Result<Start, Reply> {
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
        return Err(malformed("Could not parse request object: expected a JSON object"));
    };
    let job_id = match body.get("job_id") {
        None | Some(Value::Null) => return Err(invalid("Job id is missing: job_id is required")),
        Some(value) => integer(value).ok_or_else(|| malformed("job_id must be an integer"))?,
    };
    let token = match body.get("idempotency_token") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.chars().count() > LONGEST_TOKEN => {
            return Err(invalid("The idempotency token is too long: at most 64 characters are allowed"));
        }
        Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
        Some(_) => return Err(malformed("idempotency_token must be a string")),
    };
    let queue = match body.get("queue") {
        None | Some(Value::Null) => None,
        Some(queue) => match queue.get("enabled") {
            Some(Value::Bool(enabled)) => Some(*enabled),
            _ => return Err(malformed("queue.enabled must be true or false")),
        },
    };
    let notebook_params = texts(&body, "notebook_params")?;
    let job_parameters = texts(&body, "job_parameters")?;
    if notebook_params.is_some() && job_parameters.is_some() {
        return Err(invalid("notebook_params and job_parameters must not be given both"));
    }
    let parameters = notebook_params.or(job_parameters).unwrap_or_default();
    let overriding: Map<_, _> = PARAMETERS
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), body.get(*key).filter(|value| !value.is_null())?.clone())))
        .collect();
    Ok(Start { job_id, token, queue, parameters, overriding })
}

/// A 64-bit integer, written as a number or as a text.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn texts(body: &Map<String, Value>, key: &str) -> Result<Option<BTreeMap<String, String>>, Reply> {
    let map = match body.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(malformed(&format!("Expected map field {key}"))),
    };
    if Value::Object(map.clone()).to_string().len() > MOST_PARAMETER_BYTES {
        return Err(invalid(&format!("{key} must not exceed 10000 bytes")));
    }
    let texts: Result<_, _> = map
        .iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            _ => Err(malformed("parameters must map texts to texts")),
        })
        .collect();
    texts.map(Some)
}

fn malformed(message: &str) -> Reply {
    Reply::refused(400, "MALFORMED_REQUEST", message)
}

fn invalid(message: &str) -> Reply {
    Reply::refused(400, "INVALID_PARAMETER_VALUE", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn what_the_original_sends_is_read() {
        let body = br#"{"job_id": "0042", "notebook_params": {"msg": "hi"}, "idempotency_token": ""}"#;
        let start = read(body).unwrap();
        assert_eq!((start.job_id, start.token, start.queue), (42, None, None));
        assert_eq!(start.parameters["msg"], "hi");
        assert_eq!(start.overriding["notebook_params"]["msg"], "hi");
    }

    #[rstest]
    #[case("", "MALFORMED_REQUEST")]
    #[case("[]", "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": "#, "MALFORMED_REQUEST")]
    #[case("{}", "INVALID_PARAMETER_VALUE")]
    #[case(r#"{"job_id": 1.5}"#, "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": "one"}"#, "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": 9223372036854775808}"#, "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": 1, "notebook_params": "{}"}"#, "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": 1, "notebook_params": {"a": 1}}"#, "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": 1, "job_parameters": {"a": 1}}"#, "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": 1, "job_parameters": {}, "notebook_params": {}}"#, "INVALID_PARAMETER_VALUE")]
    #[case(r#"{"job_id": 1, "queue": true}"#, "MALFORMED_REQUEST")]
    #[case(r#"{"job_id": 1, "idempotency_token": 1}"#, "MALFORMED_REQUEST")]
    fn mistakes_are_refused(#[case] body: &str, #[case] code: &str) {
        let reply = read(body.as_bytes()).unwrap_err();
        assert!(reply.status == 400 && reply.told().contains(code), "{reply:?}");
    }

    #[test]
    fn a_token_of_64_characters_fits_and_one_more_does_not() {
        let read = |length| {
            read(format!(r#"{{"job_id":1,"idempotency_token":"{}"}}"#, "ä".repeat(length)).as_bytes())
        };
        assert!(read(64).is_ok());
        assert!(read(65).unwrap_err().told().contains("INVALID_PARAMETER_VALUE"));
    }
}
