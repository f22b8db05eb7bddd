//! The Secrets API: scopes, keys, values.

use std::collections::BTreeMap;

use heartbeat_core::secret::Secret;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::Request;
use super::reply::Reply;
use crate::base64;

/// Where this API is.
pub(super) const PREFIX: &str = "/api/2.0/secrets/";
/// Most bytes of a value.
const MOST_BYTES: usize = 128 << 10;
/// Most characters of a key.
const LONGEST_KEY: usize = 128;
/// Most secrets in a scope.
const MOST_SECRETS: usize = 1000;

/// All scopes. Its `Debug` shows no value.
#[derive(Default)]
pub(super) struct Vault {
    scopes: BTreeMap<String, BTreeMap<String, (Vec<u8>, Timestamp)>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.scopes.keys()).finish()
    }
}

impl Vault {
    pub(super) fn new(secrets: &BTreeMap<String, BTreeMap<String, Secret>>, now: Timestamp) -> Self {
        let keys = |keys: &BTreeMap<String, Secret>| {
            keys.iter().map(|(key, value)| (key.clone(), (value.expose().as_bytes().to_vec(), now))).collect()
        };
        Self { scopes: secrets.iter().map(|(scope, map)| (scope.clone(), keys(map))).collect() }
    }

    /// Answers a call below [`PREFIX`]. `None`: there is no such call.
    pub(super) fn answer(&mut self, request: &Request<'_>, now: Timestamp) -> Option<Reply> {
        let call = request.path.strip_prefix(PREFIX)?;
        let answered = match (request.method, call) {
            ("GET", "get") => self.get(request),
            ("GET", "list") => self.list(request),
            ("GET", "scopes/list") => Ok(self.list_scopes()),
            ("POST", "put") => self.put(request, now),
            _ => return None,
        };
        Some(answered.unwrap_or_else(|refused| refused))
    }

    fn get(&self, request: &Request<'_>) -> Result<Reply, Reply> {
        let (scope, key) = (parameter(request, "scope")?, parameter(request, "key")?);
        let (value, _) = self
            .scope(&scope)?
            .get(&key)
            .ok_or_else(|| missing(format!("Secret does not exist with scope: {scope} and key: {key}")))?;
        Ok(Reply::json(200, &json!({"key": key, "value": base64::encode(value)})))
    }

    fn list(&self, request: &Request<'_>) -> Result<Reply, Reply> {
        let keys = self.scope(&parameter(request, "scope")?)?;
        let shown = |(key, (_, at)): (&String, &(Vec<u8>, Timestamp))| json!({"key": key, "last_updated_timestamp": at.as_millisecond()});
        let secrets: Vec<Value> = keys.iter().map(shown).collect();
        Ok(Reply::json(200, &if secrets.is_empty() { json!({}) } else { json!({"secrets": secrets}) }))
    }

    fn list_scopes(&self) -> Reply {
        let shown = |scope: &String| json!({"name": scope, "backend_type": "DATABRICKS"});
        let scopes: Vec<Value> = self.scopes.keys().map(shown).collect();
        Reply::json(200, &if scopes.is_empty() { json!({}) } else { json!({"scopes": scopes}) })
    }

    fn put(&mut self, request: &Request<'_>, now: Timestamp) -> Result<Reply, Reply> {
        let malformed = || Reply::refused(400, "MALFORMED_REQUEST", "scope, key and one value are required");
        let body: Value = serde_json::from_slice(request.body).map_err(|_| malformed())?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let (scope, key) = text("scope").zip(text("key")).ok_or_else(malformed)?;
        let value = match (text("string_value"), text("bytes_value")) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(coded)) => base64::decode(coded).ok_or_else(malformed)?,
            _ => return Err(malformed()),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(plain) || value.len() > MOST_BYTES {
            return Err(Reply::refused(400, "INVALID_PARAMETER_VALUE", "key or value is not allowed"));
        }
        self.scope(scope)?;
        let keys = self.scopes.entry(scope.to_owned()).or_default();
        if keys.len() >= MOST_SECRETS && !keys.contains_key(key) {
            return Err(Reply::refused(400, "RESOURCE_LIMIT_EXCEEDED", "a scope holds at most 1000 secrets"));
        }
        keys.insert(key.to_owned(), (value, now));
        Ok(Reply::json(200, &json!({})))
    }

    fn scope(&self, scope: &str) -> Result<&BTreeMap<String, (Vec<u8>, Timestamp)>, Reply> {
        self.scopes.get(scope).ok_or_else(|| missing(format!("Scope {scope} does not exist!")))
    }
}

fn parameter(request: &Request<'_>, name: &str) -> Result<String, Reply> {
    let found = url::form_urlencoded::parse(request.query.as_bytes()).find(|(key, _)| key == name);
    let missing = || Reply::refused(400, "INVALID_PARAMETER_VALUE", format!("{name} is required"));
    found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty()).ok_or_else(missing)
}

fn missing(message: String) -> Reply {
    Reply::refused(404, "RESOURCE_DOES_NOT_EXIST", message)
}
