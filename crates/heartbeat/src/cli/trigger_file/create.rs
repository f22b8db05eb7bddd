//! `heartbeat trigger-file create`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use heartbeat_core::acon::{SourceConfig, SourceKind, StorageOptions, TriggerFiles, TriggerTrust};
use heartbeat_core::files::NamePattern;
use heartbeat_core::location::Location;
use heartbeat_core::secret::{Secret, SecretRef};
use heartbeat_core::sensor::asset_of;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::{Outcome, Session, acons, args};
use super::{CALL, snippet, within};
use crate::secrets::Secrets;
use crate::sources::trigger_file::trust;
use crate::stores::{Created, Store};

/// A second file in one second gets the next second that is free, at most so many seconds ahead.
const SECONDS: i64 = 60;

pub(crate) async fn run(session: &Session, args: &args::CreateTriggerFile) -> Result<Outcome> {
    if args.sensor_id.trim().is_empty() {
        bail!("--sensor-id must not be empty");
    }
    if let Err(problem) = asset_of(SourceKind::TriggerFile, &args.sensor_id) {
        bail!("--sensor-id: {problem}");
    }
    let place = Place::read(session, args)?;
    if let Some(of) = args.print_snippet {
        let text = snippet::of(of, &place, &args.sensor_id)?;
        session.printer.data(&json!({"snippet": text}), || text.clone())?;
        return Ok(Outcome::Good);
    }
    let key = match &place.key {
        Some(reference) => {
            let key = place.secrets.resolve(reference).await.context("the signing key cannot be had")?;
            if key.expose().is_empty() {
                bail!("the signing key ({reference}) is empty");
            }
            Some(key)
        }
        None => None,
    };
    let store = Store::open(&place.base, &place.storage, &place.secrets).await?;
    let path = write(&store, &args.sensor_id, key.as_ref(), Timestamp::now()).await?;
    if let Some(pattern) = place.pattern.filter(|pattern| !pattern.matches(&path, &args.sensor_id)) {
        let name = path.rsplit('/').next().unwrap_or_default();
        session.printer.note(&format!(
            "warning: `{name}` is not of the ACON's `pattern` ({pattern}): the file starts nothing"
        ));
    }
    let url = store.url(&path);
    session.printer.data(&json!({"url": url}), || format!("{url}\n"))?;
    Ok(Outcome::Good)
}

/// Where trigger files are dropped, and how.
pub(super) struct Place {
    pub(super) base: Location,
    pub(super) storage: StorageOptions,
    /// Where the key is kept that files are signed with.
    pub(super) key: Option<SecretRef>,
    secrets: Arc<Secrets>,
    pattern: Option<NamePattern>,
}

impl Place {
    /// What the ACON says, where there is one, and what the options say in its place. No secret is read.
    fn read(session: &Session, args: &args::CreateTriggerFile) -> Result<Self> {
        let (files, secrets) = match &args.acon {
            Some(path) => {
                let (files, secrets) = of_acon(session, path)?;
                (Some(files), secrets)
            }
            None => (None, Secrets::default()),
        };
        let base = args.base.as_deref().map(Location::parse).transpose().context("--base")?;
        let mut place = match (files, base) {
            (Some(files), base) => Self {
                base: base.unwrap_or(files.base),
                storage: files.storage,
                key: match files.trust {
                    TriggerTrust::Signed(keys) => keys.into_iter().next(),
                    TriggerTrust::Anyone | TriggerTrust::Owners(_) => None,
                },
                secrets: Arc::new(secrets),
                pattern: files.pattern,
            },
            (None, Some(base)) => Self {
                base,
                storage: StorageOptions::default(),
                key: None,
                secrets: Arc::new(secrets),
                pattern: None,
            },
            (None, None) => bail!("--base is required where no --acon says it"),
        };
        for option in &args.storage_option {
            let Some((name, value)) = option.split_once('=') else {
                bail!("--storage-option must be NAME=VALUE, such as aws_region=eu-central-1");
            };
            let set = place.storage.set(name, value);
            set.map_err(|problem| anyhow::anyhow!("--storage-option {name}: {problem}"))?;
            if is_secret(name) && matches!(SecretRef::parse(value.trim()), Ok(SecretRef::Literal(_))) {
                session.printer.note(&format!(
                    "warning: --storage-option {name}: others on this machine can read it there; give env:NAME or file:PATH"
                ));
            }
        }
        if let Some(text) = &args.signing_key {
            place.key = Some(signing_key(text)?);
        }
        Ok(place)
    }
}

fn of_acon(session: &Session, path: &Path) -> Result<(TriggerFiles, Secrets)> {
    let acon = acons::load(session, &[path.to_owned()])?.into_iter().next();
    let acon = acon.with_context(|| format!("--acon: `{}` holds nothing", path.display()))?;
    match acon.source {
        SourceConfig::TriggerFile(files) => Ok((*files, Secrets::of(&acon.domain, acon.token.as_ref()))),
        SourceConfig::Kafka(_) => {
            bail!("--acon: `{}` is of kafka; give one of trigger_file", path.display())
        }
    }
}

fn signing_key(text: &str) -> Result<SecretRef> {
    match SecretRef::parse(text) {
        // A reference with a slip of the pen would be taken for the key, and nothing signed with it would be believed.
        Ok(SecretRef::Literal(_)) => {
            bail!("--signing-key must say where the key is: env:NAME, file:PATH or scope:SCOPE/KEY")
        }
        Ok(reference) => Ok(reference),
        Err(problem) => bail!("--signing-key: {problem}"),
    }
}

/// Options that let in whoever knows them.
fn is_secret(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    ["secret", "token", "account_key"].iter().any(|part| name.contains(part)) && !name.ends_with("_file")
}

/// Writes a trigger file, whole or not at all; its path.
async fn write(store: &Store, sensor_id: &str, key: Option<&Secret>, now: Timestamp) -> Result<String> {
    for second in 0..SECONDS {
        let stamp = (now + SignedDuration::from_secs(second)).strftime("%Y%m%d_%H%M%S");
        let name = format!("{sensor_id}_{stamp}.txt");
        let body = match key {
            Some(key) => trust::signed(key, sensor_id, &name),
            None => trust::BODY.to_owned(),
        };
        let path = format!("{sensor_id}/{name}");
        let what = || format!("file `{}`", store.url(&path));
        let created =
            within(CALL, what, async |deadline| store.create(&path, body.clone().into(), deadline).await);
        match created.await? {
            Created::Done => return Ok(path),
            Created::Taken => {}
        }
    }
    bail!("{SECONDS} trigger files of the coming minute are there already in `{}`", store.url(sensor_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::Order;
    use crate::stores::memory::Memory;

    #[tokio::test]
    async fn name_and_body_are_the_documented_ones_and_nothing_is_overwritten() {
        let store = Store::Memory(Memory::new(Order::ByPath, 10));
        let now: Timestamp = "2026-01-02T03:04:59Z".parse().unwrap();
        let first = write(&store, "my_trigger", None, now).await.unwrap();
        assert_eq!(first, "my_trigger/my_trigger_20260102_030459.txt");
        let second = write(&store, "my_trigger", None, now).await.unwrap();
        assert_eq!(second, "my_trigger/my_trigger_20260102_030500.txt");
        let Store::Memory(memory) = &store else { panic!("the store in memory expected") };
        assert_eq!(memory.paths(), [first.clone(), second]);
        let body = store.read(&first, std::time::Instant::now()).await.unwrap();
        assert_eq!(body.as_deref(), Some(b"Success".as_slice()));
        for _ in 2..SECONDS {
            write(&store, "my_trigger", None, now).await.unwrap();
        }
        let full = write(&store, "my_trigger", None, now).await.unwrap_err().to_string();
        assert_eq!(full, "60 trigger files of the coming minute are there already in `memory:/my_trigger`");
    }

    #[tokio::test]
    async fn signature_is_of_the_name_that_was_free() {
        let store = Store::Memory(Memory::new(Order::ByPath, 10));
        let (now, key) = (Timestamp::UNIX_EPOCH, Secret::new("key"));
        for name in ["s_19700101_000000.txt", "s_19700101_000001.txt"] {
            let path = write(&store, "s", Some(&key), now).await.unwrap();
            let body = store.read(&path, std::time::Instant::now()).await.unwrap().unwrap();
            assert_eq!(body, trust::signed(&key, "s", name));
        }
    }

    #[test]
    fn a_key_is_a_reference_and_secrets_on_the_command_line_are_known_as_such() {
        assert!(signing_key("env:KEY").is_ok());
        assert!(signing_key("KEY").unwrap_err().to_string().contains("env:NAME"));
        assert!(signing_key("env:").unwrap_err().to_string().starts_with("--signing-key: `env:`"));
        for (name, expected) in [
            ("aws_secret_access_key", true),
            ("azure_storage_account_key", true),
            ("azure_storage_sas_token", true),
            ("google_service_account_key", true),
            ("aws_web_identity_token_file", false),
            ("aws_access_key_id", false),
            ("aws_sse_kms_key_id", false),
        ] {
            assert_eq!(is_secret(name), expected, "{name}");
        }
    }
}
