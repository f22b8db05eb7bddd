//! ACONs over the same tables, put together.
//!
//! A source looks at all rows of its kind in a table, so ACONs of one kind over the same two tables are one source:
//!
//! - their products are united; a product that two of them name must be the same;
//! - it has the shortest of their periods and the longest of their deadlines;
//! - everything else must be the same: the base of the trigger files, the workspace and its token, whether runs get the
//!   news, times and windows. Where one would win silently, the other's jobs would start wrongly or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_core::acon::{Finding, KafkaProduct, SourceConfig, SourceKind, TriggerFiles};
use heartbeat_core::domain::Domain;
use heartbeat_core::location::Location;
use heartbeat_core::schedule::{Schedule, Timing};
use heartbeat_core::secret::SecretRef;

use super::entry::{Entry, Plan, finding, same_place};
use super::tables::TableAt;

/// A pair of tables and the sources of its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The control table, as the first ACON names it.
    pub control: TableAt,
    /// The sensor table, as the first ACON names it.
    pub sensor: TableAt,
    /// At least one, each kind once, in the order of the configuration.
    pub sources: Vec<WatchedSource>,
}

/// One kind of upstream of a pair of tables.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchedSource {
    /// The names of its ACONs, joined by `+`, for logs and metrics. Unique in a configuration.
    pub name: String,
    /// What is needed to look at it.
    pub config: SourceConfig,
    /// Workspace of its jobs.
    pub domain: Domain,
    /// Token for that workspace; `None`: its credentials come from the environment or a profile.
    pub token: Option<SecretRef>,
    /// When it is looked at.
    pub schedule: Schedule,
    /// How long one look may take.
    pub deadline: Duration,
    /// Whether runs get what is new as job parameters.
    pub pass_news: bool,
}

impl WatchedSource {
    /// Kind of the source.
    pub fn kind(&self) -> SourceKind {
        self.config.kind()
    }
}

/// The ACONs by tables. What contradicts each other is an error that names both.
pub(super) fn group(
    entries: Vec<Entry>,
    warnings: &mut Vec<Finding>,
    errors: &mut Vec<Finding>,
) -> Vec<Watch> {
    check_tables(&entries, errors);
    check_names(&entries, errors);
    let mut groups: Vec<(PathBuf, PathBuf, Vec<Entry>)> = Vec::new();
    for entry in entries {
        let (control, sensor) = (same_place(&entry.control.location), same_place(&entry.sensor.location));
        match groups.iter_mut().find(|(c, s, _)| (c, s) == (&control, &sensor)) {
            Some((_, _, sources)) => join(sources, entry, warnings, errors),
            None => groups.push((control, sensor, vec![entry])),
        }
    }
    groups.into_iter().filter_map(|(_, _, sources)| watch(sources, errors)).collect()
}

/// A table has one role, and a control table one sensor table.
fn check_tables(entries: &[Entry], errors: &mut Vec<Finding>) {
    let mut controls: BTreeMap<PathBuf, (&Entry, PathBuf)> = BTreeMap::new();
    let mut sensors: BTreeMap<PathBuf, &Entry> = BTreeMap::new();
    for entry in entries {
        let (control, sensor) = (same_place(&entry.control.location), same_place(&entry.sensor.location));
        let name = &entry.name;
        if control == sensor {
            errors.push(finding(
                &entry.place,
                format!("`{name}`: its control and its sensor table are one table"),
            ));
            continue;
        }
        if let Some(other) = sensors.get(&control) {
            let other = &other.name;
            let problem = format!("the control table of `{name}` is the sensor table of `{other}`");
            errors.push(finding(&entry.place, problem));
        }
        if let Some((other, _)) = controls.get(&sensor) {
            let other = &other.name;
            let problem = format!("the sensor table of `{name}` is the control table of `{other}`");
            errors.push(finding(&entry.place, problem));
        }
        match controls.get(&control) {
            Some((other, others_sensor)) if *others_sensor != sensor => {
                let other = &other.name;
                let problem =
                    format!("`{name}` and `{other}` have one control table and different sensor tables");
                errors.push(finding(&entry.place, problem));
            }
            Some(_) => {}
            None => {
                controls.insert(control, (entry, sensor.clone()));
            }
        }
        sensors.entry(sensor).or_insert(entry);
    }
}

fn check_names(entries: &[Entry], errors: &mut Vec<Finding>) {
    let mut seen: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in entries {
        if let Some(other) = seen.insert(&entry.name, entry) {
            let (name, other) = (&entry.name, &other.place);
            errors.push(finding(
                &entry.place,
                format!("`{name}` is the name of {other} too; give one of them a `name`"),
            ));
        }
    }
}

fn join(sources: &mut Vec<Entry>, added: Entry, warnings: &mut Vec<Finding>, errors: &mut Vec<Finding>) {
    let kind = added.acon.source.kind();
    if let Some(other) = sources.iter().find(|other| {
        let (one, two) = (&other.acon, &added.acon);
        one.domain == two.domain && one.token != two.token && one.source.kind() != kind
    }) {
        let (name, other) = (&added.name, &other.name);
        let problem = format!(
            "`{name}` and `{other}` have different tokens for one workspace; the token of `{other}` is used for \
             both over these tables"
        );
        warnings.push(finding(&added.place, problem));
    }
    let Some(same_kind) = sources.iter_mut().find(|other| other.acon.source.kind() == kind) else {
        sources.push(added);
        return;
    };
    let differences = unite(same_kind, &added);
    let (name, other) = (&added.name, same_kind.name.clone());
    errors.extend(differences.iter().map(|difference| {
        let problem = format!(
            "`{name}` and `{other}` are looked at together, as {kind} ACONs over the same tables: {difference}"
        );
        finding(&added.place, problem)
    }));
    same_kind.name = format!("{other}+{name}");
}

/// Whether two spellings of a folder mean one place.
fn same_folder(one: &Location, two: &Location) -> bool {
    match (one, two) {
        (Location::Local(one), Location::Local(two)) => same_place(one) == same_place(two),
        _ => one == two,
    }
}

/// Takes an ACON into another one; returns how they contradict each other.
fn unite(into: &mut Entry, added: &Entry) -> Vec<String> {
    let mut differences = Vec::new();
    let mut must_agree = |agree: bool, what: &str| {
        if !agree {
            differences.push(format!("give both the same {what}"));
        }
    };
    let (one, two) = (&into.acon, &added.acon);
    must_agree(one.domain == two.domain, "`domain`");
    must_agree(one.domain != two.domain || one.token == two.token, "`token`");
    must_agree(one.pass_news == two.pass_news, "`pass_news`");
    if let (SourceConfig::TriggerFile(one), SourceConfig::TriggerFile(two)) = (&one.source, &two.source) {
        must_agree(same_folder(&one.base, &two.base), "`base_trigger_file_location`");
        let two = TriggerFiles { base: one.base.clone(), ..TriggerFiles::clone(two) };
        must_agree(**one == two, "`trigger_file_options` and `storage_options`");
    }
    let (one, two) = (&into.plan, &added.plan);
    let periods = matches!((&one.timing, &two.timing), (Timing::Every(_), Timing::Every(_)));
    must_agree(periods || one.timing == two.timing, "`schedule`, or none");
    must_agree(one.windows == two.windows, "`active`");
    let zoned = !one.windows.is_empty() || matches!(one.timing, Timing::Cron(_));
    must_agree(!zoned || one.time_zone == two.time_zone, "`time_zone`");
    into.plan = united_plan(one, two);
    if let (SourceConfig::Kafka(products), SourceConfig::Kafka(more)) =
        (&mut into.acon.source, &added.acon.source)
    {
        differences.extend(unite_products(products, more));
    }
    differences
}

fn united_plan(one: &Plan, two: &Plan) -> Plan {
    let mut plan = one.clone();
    if let (Timing::Every(one), Timing::Every(two)) = (&one.timing, &two.timing) {
        plan.timing = Timing::Every(*one.min(two));
    }
    plan.jitter = one.jitter.min(two.jitter);
    plan.deadline = one.deadline.max(two.deadline);
    plan
}

fn unite_products(
    products: &mut BTreeMap<String, KafkaProduct>,
    more: &BTreeMap<String, KafkaProduct>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, product) in more {
        match products.get(name) {
            Some(known) if known != product => {
                differences.push(format!("product `{name}` must have the same settings in both"));
            }
            Some(_) => {}
            None => {
                products.insert(name.clone(), product.clone());
            }
        }
    }
    differences
}

fn watch(sources: Vec<Entry>, errors: &mut Vec<Finding>) -> Option<Watch> {
    let first = sources.first()?;
    let (control, sensor) = (first.control.clone(), first.sensor.clone());
    let mut watched = Vec::new();
    for Entry { place, name, acon, plan, .. } in sources {
        match plan.schedule(&format!("{} of {}", acon.source.kind(), control.name)) {
            Ok(schedule) => watched.push(WatchedSource {
                name,
                deadline: plan.deadline.unwrap_or_else(|| usual_deadline(schedule.period())),
                config: acon.source,
                domain: acon.domain,
                token: acon.token,
                schedule,
                pass_news: acon.pass_news,
            }),
            Err(problem) => errors.push(finding(place, problem.to_string())),
        }
    }
    Some(Watch { control, sensor, sources: watched })
}

/// A look may take as long as the period, so that slow stores are not given up too early; a frequent one has time for a
/// broker that is being restarted, and a rare one doesn't hang for an hour.
fn usual_deadline(period: Duration) -> Duration {
    period.clamp(Duration::from_secs(10), Duration::from_mins(1))
}
