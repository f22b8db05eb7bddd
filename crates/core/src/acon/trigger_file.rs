//! The trigger files of an ACON: where they lie, which count, who may drop them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::keys::{KeyDoc, did_you_mean, used, without_effect};
use super::storage::{StorageOptions, scheme_and_authority};
use super::{Report, kind_of};
use crate::files::NamePattern;
use crate::location::Location;
use crate::schedule::SHORTEST_PERIOD;
use crate::secret::SecretRef;
use crate::time_span;

/// `base_trigger_file_location` with everything about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerFiles {
    /// Holds a folder per `sensor_id`.
    pub base: Location,
    /// How its store is reached.
    pub storage: StorageOptions,
    /// Names that count; `None`: all.
    pub pattern: Option<NamePattern>,
    /// Files that were older than this when they were first seen are no news.
    pub max_file_age: Option<Duration>,
    /// Whether what is there at the first look is news.
    pub include_existing: bool,
    /// Period of the full listings of large folders; `None`: chosen by what they cost.
    pub full_listing_interval: Option<Duration>,
    /// SQS queue that the bucket tells of new objects.
    pub queue_url: Option<String>,
    /// Whose files start something.
    pub trust: Trust,
}

/// Whose trigger files start something. Others are told of, and start nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Everybody's who may write there.
    #[default]
    Anyone,
    /// Those whose body holds a signature made with one of these keys; new ones are made with the first. Never empty.
    Signed(Vec<SecretRef>),
    /// Those of these owners, as the store names them.
    Owners(BTreeSet<String>),
}

impl TriggerFiles {
    /// Trigger files below a base, with nothing special about them.
    pub fn at(base: Location) -> Self {
        Self {
            base,
            storage: StorageOptions::default(),
            pattern: None,
            max_file_age: None,
            include_existing: true,
            full_listing_interval: None,
            queue_url: None,
            trust: Trust::Anyone,
        }
    }
}

/// Keys of `trigger_file_options`.
pub const TRIGGER_FILE_KEYS: [KeyDoc; 7] = [
    used(
        "pattern",
        "",
        "Names that count; others are never news. `<sensor_id>_YYYYmmdd_HHMMSS.txt` is the documented name; `*` and `?` stand for any text and any character. Default: every name. For names in folders below too: the last part is compared.",
    ),
    used(
        "max_file_age",
        "",
        "A file that is older than this when it is first seen is no news: `7d`, `12h`. Default: none. Also `cloudFiles.maxFileAge` of `options`.",
    ),
    used(
        "include_existing",
        "",
        "`false`: what is there at a row's first look is no news. Default `true`, as in Auto Loader. Also `cloudFiles.includeExistingFiles` of `options`.",
    ),
    used(
        "full_listing_interval",
        "",
        "How often a folder of many files is listed whole, which finds names that do not sort behind the newest: `10m`. Default: by its cost, from 10 s to 1 h; again at once while such names are found. With `queue_url`: of every folder, default `1h`.",
    ),
    used(
        "queue_url",
        "",
        "URL of the SQS queue to which the bucket sends its `s3:ObjectCreated:*` events. Listings become the safety net: one per `full_listing_interval`, and none where they are not allowed.",
    ),
    used(
        "signing_key",
        "",
        "Key (by reference) that trigger files must be signed with: `trigger-file create --signing-key`. Others start nothing, and are told of. A list while keys are changed: each of them holds, the first signs.",
    ),
    used(
        "allowed_owners",
        "",
        "List of owners, as the store names them: canonical user ids of S3, numeric uids of local files (no names). Files of others start nothing, and are told of.",
    ),
];

/// What `options` of an ACON for Auto Loader say here.
pub const AUTO_LOADER_KEYS: [KeyDoc; 4] = [
    used("cloudFiles.includeExistingFiles", "", "As `include_existing`."),
    used("cloudFiles.maxFileAge", "", "As `max_file_age`; Spark's `14 days` is read too."),
    used("pathGlobFilter", "", "As `pattern`: a glob of names."),
    without_effect(
        "cloudFiles.allowOverwrites",
        "`true` is an error: a file that is overwritten is no news.",
    ),
];

pub(super) fn read(map: &Map<String, Value>, report: &mut Report) -> Option<TriggerFiles> {
    let base = read_base(map, report);
    let storage = StorageOptions::read(map, "storage_options", report);
    let none = Map::new();
    let options = match map.get("trigger_file_options") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(options)) => options,
        Some(other) => {
            report.error("trigger_file_options", format!("must be a mapping, not {}", kind_of(other)));
            &none
        }
    };
    check_known(options, report);
    let loader = map.get("options").and_then(Value::as_object).unwrap_or(&none);
    let pattern = read_pattern(options, loader, report);
    let max_file_age = read_age(options, loader, report);
    let full_listing_interval = read_span(options, "full_listing_interval", SHORTEST_PERIOD, report);
    let include_existing = report
        .optional_bool(options, PREFIX, "include_existing")
        .or_else(|| read_flag(loader, "cloudFiles.includeExistingFiles", report))
        .unwrap_or(true);
    if read_flag(loader, "cloudFiles.allowOverwrites", report) == Some(true) {
        report.error(
            "options.cloudFiles.allowOverwrites",
            "a file that is overwritten is no news here; give each trigger file its own name",
        );
    }
    let queue_url = read_queue(options, base.as_ref(), report);
    let trust = read_trust(options, base.as_ref(), report);
    Some(TriggerFiles {
        base: base?,
        storage,
        pattern,
        max_file_age,
        include_existing,
        full_listing_interval,
        queue_url,
        trust,
    })
}

const PREFIX: &str = "trigger_file_options.";

/// A misspelt `signing_key` that is ignored would trust everybody, so an unknown option is an error.
fn check_known(options: &Map<String, Value>, report: &mut Report) {
    for name in options.keys() {
        if TRIGGER_FILE_KEYS.iter().any(|doc| doc.name == name) {
            continue;
        }
        let hint = did_you_mean(name, TRIGGER_FILE_KEYS.iter().map(|doc| doc.name));
        report.error(format!("{PREFIX}{name}"), format!("unknown option{hint}"));
    }
}

fn read_base(map: &Map<String, Value>, report: &mut Report) -> Option<Location> {
    let text = report.required_text(map, "", "base_trigger_file_location")?;
    Location::parse(&text)
        .map_err(|problem| report.error("base_trigger_file_location", problem.to_string()))
        .ok()
}

fn read_pattern(
    options: &Map<String, Value>,
    loader: &Map<String, Value>,
    report: &mut Report,
) -> Option<NamePattern> {
    let own = report.optional_text(options, PREFIX, "pattern").map(|text| (format!("{PREFIX}pattern"), text));
    let glob = "pathGlobFilter";
    let of_loader = || {
        let (name, _) = loader.iter().find(|(name, _)| name.eq_ignore_ascii_case(glob))?;
        let text = report.optional_text(loader, "options.", name)?;
        Some((format!("options.{name}"), text))
    };
    let (path, text) = own.or_else(of_loader)?;
    NamePattern::parse(&text).map_err(|problem| report.error(path, problem)).ok()
}

fn read_span(
    options: &Map<String, Value>,
    key: &str,
    least: Duration,
    report: &mut Report,
) -> Option<Duration> {
    let text = report.optional_text(options, PREFIX, key)?;
    let span = time_span::parse(&text).filter(|span| *span >= least);
    if span.is_none() {
        let least = time_span::show(least);
        report.error(
            format!("{PREFIX}{key}"),
            format!("`{text}` is no length of time of at least {least}; write `10m` or `7d`"),
        );
    }
    span
}

fn read_age(
    options: &Map<String, Value>,
    loader: &Map<String, Value>,
    report: &mut Report,
) -> Option<Duration> {
    if options.contains_key("max_file_age") {
        return read_span(options, "max_file_age", Duration::from_secs(1), report);
    }
    let text = report.optional_text(loader, "options.", "cloudFiles.maxFileAge")?;
    let span = time_span::parse(text.trim_start_matches("interval "));
    if span.is_none() {
        report.error(
            "options.cloudFiles.maxFileAge",
            format!("`{text}` is no length of time; write `14 days`"),
        );
    }
    span
}

/// Reader options are texts in Spark.
fn read_flag(loader: &Map<String, Value>, key: &str, report: &mut Report) -> Option<bool> {
    match loader.get(key)? {
        Value::Null => None,
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        other => {
            report.error(format!("options.{key}"), format!("must be true or false, not {}", kind_of(other)));
            None
        }
    }
}

fn read_queue(options: &Map<String, Value>, base: Option<&Location>, report: &mut Report) -> Option<String> {
    let text = report.optional_text(options, PREFIX, "queue_url")?;
    let path = format!("{PREFIX}queue_url");
    let (scheme, authority) = scheme_and_authority(&text).unwrap_or_default();
    if authority.contains('@') {
        report.error(path, "holds credentials; give them as `storage_options`, by reference");
        return None;
    }
    match scheme {
        "https" if !authority.is_empty() => {}
        "http" if is_loopback(authority) => {}
        "http" => {
            report.error(path, "is http to another machine: events could be forged on the way; use https");
            return None;
        }
        _ => {
            report.error(path, "is no https URL of a queue");
            return None;
        }
    }
    if base.is_some_and(|base| !matches!(base, Location::S3 { .. })) {
        report.error(path, "only S3 tells a queue of new objects; `base_trigger_file_location` is elsewhere");
        return None;
    }
    Some(text)
}

/// Whether an authority (`host` or `host:port`) is this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an option of trust is there and says nothing. Read as absent it would trust everybody.
fn is_hollow(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => false,
    }
}

fn read_trust(options: &Map<String, Value>, base: Option<&Location>, report: &mut Report) -> Trust {
    let owners = options.get("allowed_owners");
    let mut is_hollow_one = false;
    for name in ["signing_key", "allowed_owners"] {
        if is_hollow(options.get(name)) {
            report
                .error(format!("{PREFIX}{name}"), "must not be empty; leave the key out to trust everybody");
            is_hollow_one = true;
        }
    }
    if is_hollow_one {
        return Trust::Anyone;
    }
    let keys = read_keys(options, report);
    if keys.is_some() && owners.is_some() {
        report.error(
            format!("{PREFIX}allowed_owners"),
            "stands beside `signing_key`; choose one way to trust a file",
        );
        return Trust::Anyone;
    }
    match (keys, owners) {
        (Some(keys), _) => Trust::Signed(keys),
        (None, Some(owners)) => read_owners(owners, base, report),
        (None, None) => Trust::Anyone,
    }
}

/// The keys of signatures: one, or a list. `None` where there are none, or where one is wrong, which the report has then.
fn read_keys(options: &Map<String, Value>, report: &mut Report) -> Option<Vec<SecretRef>> {
    const NAME: &str = "signing_key";
    let texts = match options.get(NAME)? {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    };
    let keys: Vec<_> =
        texts.into_iter().map(|text| read_key(text, &format!("{PREFIX}{NAME}"), report)).collect();
    keys.into_iter().collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())
}

fn read_key(value: &Value, path: &str, report: &mut Report) -> Option<SecretRef> {
    let Value::String(text) = value else {
        report.error(path, format!("must be a text or a list of texts, not {}", kind_of(value)));
        return None;
    };
    match SecretRef::parse(text.trim()) {
        Ok(SecretRef::Literal(secret)) if secret.expose().trim().is_empty() => {
            report.error(path, "must not be empty; leave the key out to trust everybody");
            None
        }
        Ok(reference) => {
            if matches!(reference, SecretRef::Literal(_)) && !text.trim().starts_with("literal:") {
                report.warn(
                    path,
                    "the key itself stands here; write a reference (`env:NAME`, `file:PATH`, `scope:SCOPE/KEY`), or `literal:TEXT` if it is meant",
                );
            }
            Some(reference)
        }
        Err(problem) => {
            report.error(path, problem);
            None
        }
    }
}

fn read_owners(owners: &Value, base: Option<&Location>, report: &mut Report) -> Trust {
    let path = format!("{PREFIX}allowed_owners");
    let names: Option<BTreeSet<String>> = owners.as_array().and_then(|list| {
        list.iter()
            .map(|owner| match owner {
                Value::String(name) if !name.trim().is_empty() => Some(name.trim().to_owned()),
                Value::Number(uid) => uid.as_u64().map(|uid| uid.to_string()),
                _ => None,
            })
            .collect()
    });
    match names.filter(|names| !names.is_empty()) {
        None => report.error(path, "must be a list of owners: texts that are not empty, or uids"),
        Some(names) => match base {
            Some(Location::Azure { .. } | Location::Gcs { .. } | Location::Volume(_) | Location::Dbfs(_)) => {
                report.error(path, "this store tells no owners in its listings; use `signing_key`");
            }
            Some(Location::Local(_))
                if names.iter().any(|name| !name.bytes().all(|it| it.is_ascii_digit())) =>
            {
                report.error(path, "owners of files on this machine are numeric user ids");
            }
            Some(Location::S3 { .. } | Location::Local(_)) | None => return Trust::Owners(names),
        },
    }
    Trust::Anyone
}
