//! Snippets for bash, with the command line of each store.

use anyhow::Result;
use heartbeat_core::location::{Location, beginning_of};
use heartbeat_core::secret::SecretRef;

use super::{fill, python};
use crate::cli::trigger_file::create::Place;

const BASH: &str = include_str!("bash.sh");

const PLAIN: &str = "    body() {\n        printf Success\n    }";

const SIGNED: &str = "    # Needs python3, which reads the key itself: others could read an argument.
    body() {
        printf 'v1\\n%s\\n%s\\nSuccess\\n' \"$sensor_id\" \"$1\" | python3 -c <<program>>
    }";

const PROGRAM: &str = "
import hashlib, hmac, os, re, sys
key = <<key>>
signature = hmac.new(key.encode(), sys.stdin.buffer.read(), hashlib.sha256).hexdigest()
sys.stdout.write(f\"Success\\nheartbeat-signature: v1={signature}\\n\")
";

/// A word of a shell, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

pub(super) fn bash(place: &Place, sensor_id: &str) -> Result<String> {
    let mut variables: Vec<(&str, String)> = Vec::new();
    let put = match &place.base {
        Location::Local(_) => {
            variables.push(("folder", format!("{}/{sensor_id}", place.base_text()?)));
            LOCAL.to_owned()
        }
        Location::S3 { bucket, folder } => {
            variables.push(("bucket", bucket.clone()));
            variables.push(("folder", format!("{}{sensor_id}", beginning_of(folder))));
            let mut options = String::new();
            for (name, variable, option) in
                [("aws_region", "region", "--region"), ("aws_endpoint", "endpoint", "--endpoint-url")]
            {
                if let Some(value) = place.option(name) {
                    variables.push((variable, value.to_owned()));
                    options.push_str(&format!(" {option} \"${variable}\""));
                }
            }
            fill(S3, &[("options", &options)])
        }
        Location::Azure { container, folder, .. } => {
            variables.push(("container", container.clone()));
            variables.push(("folder", format!("{}{sensor_id}", beginning_of(folder))));
            let mut options = String::new();
            // Without it `az` takes AZURE_STORAGE_ACCOUNT.
            if let Some(account) = place.account() {
                variables.push(("account", account.to_owned()));
                options.push_str(" --account-name \"$account\"");
            }
            fill(AZURE, &[("options", &options)])
        }
        Location::Gcs { bucket, folder } => {
            variables.push(("folder", format!("gs://{bucket}/{}{sensor_id}", beginning_of(folder))));
            GCS.to_owned()
        }
        Location::Volume(_) | Location::Dbfs(_) => {
            variables.push(("folder", format!("{}/{sensor_id}", place.base_text()?)));
            DATABRICKS.to_owned()
        }
    };
    let lines: Vec<String> =
        variables.iter().map(|(name, value)| format!("    {name}={}", quoted(value))).collect();
    let values = [
        ("sensor_id", quoted(sensor_id)),
        ("variables", lines.join("\n")),
        ("body", body(place.key.as_ref())),
        ("put", put),
    ];
    Ok(fill(BASH, &values.each_ref().map(|(name, value)| (*name, value.as_str()))))
}

fn body(key: Option<&SecretRef>) -> String {
    let key = match key {
        None => return PLAIN.to_owned(),
        Some(SecretRef::Env(name)) => format!("os.environ[{}]", python::literal(name)),
        Some(SecretRef::File(path)) => python::read_file(&python::literal(path)),
        // What a workspace or an ACON holds is given to the script by who runs it.
        Some(SecretRef::Scope { .. } | SecretRef::Literal(_)) => {
            "os.environ[\"HEARTBEAT_SIGNING_KEY\"]  # export it".to_owned()
        }
    };
    fill(SIGNED, &[("program", &quoted(&fill(PROGRAM, &[("key", &key)])))])
}

/// A draft in the same folder under a name that is hidden, and then a link, which fails where the name is taken: nobody
/// ever sees half a file.
const LOCAL: &str = r#"        mkdir -p -- "$folder" 2>"$work/told" || fail
        draft=$(mktemp "$folder/.heartbeat-XXXXXX" 2>"$work/told") || fail
        if { cat "$2" >"$draft" && chmod 644 "$draft" && ln "$draft" "$folder/$1"; } 2>"$work/told"; then
            rm -f "$draft"
            return 0
        fi
        rm -f "$draft"
        [ -e "$folder/$1" ] || fail
        return 1"#;

const S3: &str = r#"        aws s3api put-object --bucket "$bucket" --key "$folder/$1" --body "$2" --if-none-match '*'<<options>> \
            >/dev/null 2>"$work/told" && return 0
        grep -q -e PreconditionFailed -e ConditionalRequestConflict "$work/told" || fail
        return 1"#;

const AZURE: &str = r#"        az storage blob upload --auth-mode login<<options>> --container-name "$container" --name "$folder/$1" \
            --file "$2" --overwrite false --no-progress --only-show-errors >/dev/null 2>"$work/told" && return 0
        grep -q BlobAlreadyExists "$work/told" || fail
        return 1"#;

const GCS: &str = r#"        gcloud storage cp --if-generation-match=0 "$2" "$folder/$1" >"$work/told" 2>&1 && return 0
        grep -qiE 'HTTPError 412|pre-?condition' "$work/told" || fail
        return 1"#;

/// Its `cp` says so and succeeds where there is such a file.
const DATABRICKS: &str = r#"        databricks fs mkdirs "$folder" >"$work/told" 2>&1 || fail
        databricks fs cp "$2" "$folder/$1" >"$work/told" 2>&1 || fail
        if grep -q 'skipped; already exists' "$work/told"; then
            return 1
        fi
        return 0"#;
