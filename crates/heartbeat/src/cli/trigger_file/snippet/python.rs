//! Snippets in Python: notebooks of Databricks and DAGs of Airflow.

use anyhow::{Result, bail};
use heartbeat_core::location::{Location, beginning_of};
use heartbeat_core::secret::SecretRef;

use super::{KEY, fill};
use crate::cli::trigger_file::create::Place;

const DBUTILS: &str = include_str!("dbutils.py");
const AIRFLOW: &str = include_str!("airflow.py");
const AIRFLOW_HOOK: &str = include_str!("airflow_hook.py");
const AIRFLOW_COMMAND: &str = include_str!("airflow_command.py");

const PLAIN: &str = "def body(name):\n    return \"Success\"";

const SIGNED: &str = "def body(name):
    <<key>>
    text = f\"v1\\n{SENSOR_ID}\\n{name}\\nSuccess\\n\"
    signature = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f\"Success\\nheartbeat-signature: v1={signature}\\n\"";

/// A literal of Python. JSON's escapes are Python's, and everything else may stand there as it is.
pub(super) fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn dbutils(place: &Place, sensor_id: &str) -> Result<String> {
    let base = match (&place.base, place.account()) {
        (Location::Local(_), _) => format!("file:{}", place.base_text()?),
        (Location::Azure { host: None, container, folder }, Some(account)) => {
            format!("abfss://{container}@{account}.dfs.core.windows.net/{folder}")
        }
        (Location::Azure { host: None, .. }, None) => bail!(
            "--base names no storage account; write it as abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER"
        ),
        (Location::Volume(path), _) => path.clone(),
        _ => place.base_text()?,
    };
    let key = place.key.as_ref().map(|key| {
        let get = |scope: &str, key: &str| {
            format!("key = dbutils.secrets.get(scope={}, key={})", literal(scope), literal(key))
        };
        match key {
            SecretRef::Scope { scope, key } => get(scope, key),
            SecretRef::Env(_) | SecretRef::File(_) | SecretRef::Literal(_) => {
                format!(
                    "# Put the signing key into a secret scope, and name it here.\n    {}",
                    get("my_scope", KEY)
                )
            }
        }
    });
    let imports = if key.is_some() { "import hashlib\nimport hmac\n" } else { "" };
    Ok(fill(
        DBUTILS,
        &[
            ("imports", imports),
            ("base", &literal(base.trim_end_matches('/'))),
            ("sensor_id", &literal(sensor_id)),
            ("body", &body(key.as_deref())),
        ],
    ))
}

/// The function that makes a file's body.
fn body(key: Option<&str>) -> String {
    key.map_or_else(|| PLAIN.to_owned(), |key| fill(SIGNED, &[("key", key)]))
}

pub(super) fn airflow(place: &Place, sensor_id: &str) -> Result<String> {
    let (put, constants) = match &place.base {
        Location::S3 { bucket, folder } => (S3, constants("BUCKET", bucket, folder)),
        Location::Azure { container, folder, .. } => (AZURE, constants("CONTAINER", container, folder)),
        Location::Gcs { bucket, folder } => (GCS, constants("BUCKET", bucket, folder)),
        Location::Local(_) | Location::Volume(_) | Location::Dbfs(_) => return command(place, sensor_id),
    };
    let key = place.key.as_ref().map(|key| match key {
        SecretRef::Env(name) => format!("key = os.environ[{}]", literal(name)),
        SecretRef::File(path) => format!("key = {}", read_file(&literal(path))),
        SecretRef::Scope { .. } | SecretRef::Literal(_) => {
            format!("{VARIABLE}\n    key = Variable.get(\"{KEY}\")")
        }
    });
    let mut imports = "import hashlib\nimport hmac\nimport os\nimport re\n".to_owned();
    if key.is_none() {
        imports.clear();
    }
    imports.push_str("from datetime import datetime, timedelta, timezone\n");
    let put = match (&place.base, place.account()) {
        // The connection says which account it is, so somebody has to see to it.
        (Location::Azure { .. }, Some(account)) => {
            format!("    # The connection must be of this storage account: {}\n{put}", literal(account))
        }
        _ => put.to_owned(),
    };
    let functions = fill(AIRFLOW_HOOK, &[("body", &body(key.as_deref())), ("put", &put)]);
    Ok(task(&imports, &constants, sensor_id, functions.trim_end()))
}

const S3: &str = r#"    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    try:
        S3Hook(aws_conn_id="aws_default").load_string(text, key=key, bucket_name=BUCKET, replace=False)
    except ValueError as error:
        if "already exists" not in str(error):
            raise
        return False
    return True"#;

const AZURE: &str = r#"    from airflow.providers.microsoft.azure.hooks.wasb import WasbHook
    from azure.core.exceptions import ResourceExistsError

    try:
        hook = WasbHook(wasb_conn_id="wasb_default")
        hook.load_string(text, container_name=CONTAINER, blob_name=key, overwrite=False)
    except ResourceExistsError:
        return False
    return True"#;

const GCS: &str = r#"    from airflow.providers.google.cloud.hooks.gcs import GCSHook
    from google.api_core.exceptions import PreconditionFailed

    try:
        # Generation 0: only where there is none.
        blob = GCSHook(gcp_conn_id="google_cloud_default").get_conn().bucket(BUCKET).blob(key)
        blob.upload_from_string(text, if_generation_match=0)
    except PreconditionFailed:
        return False
    return True"#;

const VARIABLE: &str = "from airflow.models import Variable\n";

fn constants(name: &str, bucket: &str, folder: &str) -> String {
    format!("{name} = {}\nFOLDER = {}", literal(bucket), literal(&beginning_of(folder)))
}

fn task(imports: &str, constants: &str, sensor_id: &str, functions: &str) -> String {
    let values = [
        ("imports", imports),
        ("constants", constants),
        ("sensor_id", &literal(sensor_id)),
        ("functions", functions),
    ];
    fill(AIRFLOW, &values)
}

/// A secret's file as heartbeat reads it: without its last line break. Needs `re`.
pub(super) fn read_file(path: &str) -> String {
    format!(r#"re.sub(r"\r?\n\Z", "", open({path}, encoding="utf-8", newline="").read())"#)
}

/// Stores that Airflow has no hook for are left to heartbeat.
fn command(place: &Place, sensor_id: &str) -> Result<String> {
    let key = match &place.key {
        None => "    environment = dict(os.environ)".to_owned(),
        Some(SecretRef::Env(name)) => {
            format!(
                "    command.append({})\n    environment = dict(os.environ)",
                signing(&format!("env:{name}"))
            )
        }
        Some(SecretRef::File(path)) => {
            format!(
                "    command.append({})\n    environment = dict(os.environ)",
                signing(&format!("file:{path}"))
            )
        }
        Some(SecretRef::Scope { .. } | SecretRef::Literal(_)) => format!(
            "    from airflow.models import Variable\n\n    command.append({})\n    \
             environment = dict(os.environ, HEARTBEAT_SIGNING_KEY=Variable.get(\"{KEY}\"))",
            signing("env:HEARTBEAT_SIGNING_KEY")
        ),
    };
    let functions = fill(AIRFLOW_COMMAND, &[("environment", &key)]);
    let constants = format!("BASE = {}", literal(&place.base_text()?));
    Ok(task("import os\nimport subprocess\n", &constants, sensor_id, functions.trim_end()))
}

fn signing(reference: &str) -> String {
    literal(&format!("--signing-key={reference}"))
}
