//! One entry of `acons`: the ACON behind it and when its source is looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_core::acon::{Acon, Finding, Reading, SourceKind};
use heartbeat_core::schedule::{Jitter, Schedule, Timing, Window};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::acon_file;
use super::file::{AconEntry, AconSettings, ActiveWindow};
use super::sound::Origin;
use super::tables::{TableAt, TableNames};
use crate::error_chain::chain;

/// An ACON with all that is said about it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place in the configuration, for messages.
    pub(super) place: String,
    /// Its name in logs and metrics.
    pub(super) name: String,
    pub(super) acon: Acon,
    pub(super) control: TableAt,
    pub(super) sensor: TableAt,
    pub(super) plan: Plan,
}

/// When a source is looked at, before ACONs are put together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) timing: Timing,
    pub(super) windows: Vec<Window>,
    pub(super) time_zone: TimeZone,
    pub(super) jitter: f64,
    /// `None`: from the period.
    pub(super) deadline: Option<Duration>,
}

/// Reads the ACON of an entry, with its file. Warnings are for the caller, also when there are errors.
pub(super) fn read(
    entry: AconEntry,
    origin: Origin,
    directory: &Path,
    tables: &TableNames,
    warnings: &mut Vec<Finding>,
) -> Result<Entry, Vec<Finding>> {
    let place = format!("acons[{}]", origin.index);
    let settings = match entry {
        AconEntry::Path(path) => AconSettings { path: Some(path), ..AconSettings::default() },
        AconEntry::Settings(settings) => *settings,
    };
    let mut errors = Vec::new();
    let name = name_of(&settings, origin.index);
    if name.is_empty() {
        errors.push(finding(format!("{place}.name"), "must not be empty"));
    }
    let acon = read_acon(&settings, &place, origin, directory, tables, warnings, &mut errors);
    let kind = acon.as_ref().map(|(acon, _)| acon.source.kind());
    let poll_interval = acon.as_ref().and_then(|(acon, _)| acon.poll_interval);
    let plan = plan(&settings, &place, kind, poll_interval, &mut errors);
    let (Some((acon, [control, sensor])), true) = (acon, errors.is_empty()) else { return Err(errors) };
    let mut located = |name: String| {
        let location = tables.locate(&name);
        let location = location.map_err(|problem| errors.push(finding(&place, problem.to_string())));
        TableAt { name, location: location.unwrap_or_default() }
    };
    let (control, sensor) = (located(control), located(sensor));
    if errors.is_empty() { Ok(Entry { place, name, acon, control, sensor, plan }) } else { Err(errors) }
}

pub(super) fn finding(path: impl Into<String>, problem: impl Into<String>) -> Finding {
    Finding { path: path.into(), problem: problem.into() }
}

fn name_of(settings: &AconSettings, index: usize) -> String {
    if let Some(name) = &settings.name {
        return name.trim().to_owned();
    }
    let stem = settings.path.as_deref().and_then(Path::file_stem);
    stem.map_or_else(|| format!("acon-{}", index + 1), |stem| stem.to_string_lossy().into_owned())
}

/// The ACON, and the names that it gives its control and its sensor table.
fn read_acon(
    settings: &AconSettings,
    place: &str,
    origin: Origin,
    directory: &Path,
    tables: &TableNames,
    warnings: &mut Vec<Finding>,
    errors: &mut Vec<Finding>,
) -> Option<(Acon, [String; 2])> {
    let (prefix, document) = match (&settings.path, &settings.acon) {
        (Some(_), Some(_)) => {
            errors.push(finding(format!("{place}.acon"), "excludes `path`: an entry is one ACON"));
            return None;
        }
        (None, Some(inline)) => (format!("{place}.acon."), Value::Object(inline.clone())),
        (Some(path), None) => match acon_file::document(&directory.join(path)) {
            Ok(document) => (format!("{}: ", path.display()), document),
            Err(error) => {
                errors.push(finding(place, format!("{}: {}", path.display(), chain(&error))));
                return None;
            }
        },
        (None, None) => {
            if !origin.damaged {
                errors.push(finding(place, "needs `path` or `acon`"));
            }
            return None;
        }
    };
    let within = |found: Finding| finding(format!("{prefix}{}", found.path), found.problem);
    let names =
        TABLE_KEYS.map(|key| document.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned());
    let Reading { warnings: remarks, result } = Acon::from_value(&with_locations(document, tables));
    warnings.extend(remarks.into_iter().map(within));
    let acon = result.map_err(|found| errors.extend(found.into_iter().map(within))).ok()?;
    Some((acon, names))
}

const TABLE_KEYS: [&str; 2] = ["heartbeat_sensor_db_table", "lakehouse_engine_sensor_db_table"];

/// The ACON with the locations of tables that the configuration maps: their names need not be of the warehouse's form.
fn with_locations(mut acon: Value, tables: &TableNames) -> Value {
    for key in TABLE_KEYS {
        if let Some(Value::String(name)) = acon.get_mut(key)
            && let Some(location) = tables.mapped(name)
        {
            location.clone_into(name);
        }
    }
    acon
}

fn plan(
    settings: &AconSettings,
    place: &str,
    kind: Option<SourceKind>,
    acon_interval: Option<Duration>,
    errors: &mut Vec<Finding>,
) -> Plan {
    let own_zone = settings.time_zone.as_ref().map(|zone| &zone.0);
    let mut zone = own_zone;
    let mut timing = settings
        .poll_interval
        .as_ref()
        .map(|period| Timing::Every(period.0.0))
        .or(acon_interval.map(Timing::Every));
    if let Some(schedule) = &settings.schedule {
        if settings.poll_interval.is_some() {
            errors
                .push(finding(format!("{place}.schedule"), "excludes `poll_interval`: give one of the two"));
        }
        let given = schedule.time_zone.as_ref().map(|zone| &zone.0);
        if let (Some(given), Some(own)) = (given, own_zone)
            && given != own
        {
            errors.push(finding(
                format!("{place}.schedule.time_zone"),
                "differs from `time_zone`: `schedule` and `active` of an ACON are in one time zone",
            ));
        }
        zone = given.or(own_zone);
        timing = Some(Timing::Cron(schedule.cron.0.clone()));
    }
    let plan = Plan {
        timing: timing.unwrap_or(Timing::Every(usual_period(kind))),
        windows: settings.active.iter().filter_map(window).collect(),
        time_zone: zone.cloned().unwrap_or(TimeZone::UTC),
        jitter: settings.jitter.unwrap_or(Jitter::USUAL_FRACTION),
        deadline: settings.deadline.as_ref().map(|deadline| deadline.0.0),
    };
    if let Err(problem) = plan.schedule("") {
        errors.push(finding(format!("{place}.schedule"), problem.to_string()));
    }
    plan
}

fn usual_period(kind: Option<SourceKind>) -> Duration {
    // Kafka's answer is a few requests for all topics; folders are listed one by one.
    let seconds = if kind == Some(SourceKind::Kafka) { 1 } else { 5 };
    Duration::from_secs(seconds)
}

fn window(window: &ActiveWindow) -> Option<Window> {
    // Days are read as at least one.
    Window::new(window.days.0.0.iter().copied(), window.from.0.time, window.to.0.time).ok()
}

impl Plan {
    /// The schedule, moved by what `name` gives.
    pub(super) fn schedule(&self, name: &str) -> Result<Schedule, heartbeat_core::schedule::BadSchedule> {
        let jitter = Jitter::new(self.jitter, name);
        Schedule::new(self.timing.clone(), self.windows.clone(), self.time_zone.clone(), &jitter)
    }
}

/// Where a table or folder is, in one spelling.
pub(super) fn same_place(location: &str) -> PathBuf {
    crate::paths::one_spelling(location)
}
