//! Sensors: the rows of both tables, given meaning.
//!
//! [`View::new`] joins one snapshot of the control table with one of the sensor table. A row that makes no
//! sense is a [`RowProblem`] of that row; it never touches the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::acon::SourceKind;
use crate::ids::{JobId, SensorRowId, unique_in};
use crate::row::{COMPLETED, ControlRow, IN_PROGRESS, NEW_EVENT_AVAILABLE, PROCESSED_NEW_DATA, SensorRow};
use crate::source::Asset;
use crate::state::{BadState, Claim, SensorState};

/// Status of a control row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Null: never fired.
    Never,
    /// `COMPLETED`.
    Completed,
    /// `NEW_EVENT_AVAILABLE`.
    NewEvent,
    /// `IN_PROGRESS`.
    InProgress,
    /// Text that the lifecycle doesn't know; such a row is left alone.
    Other(String),
}

/// Whether a row must have news before its job starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    /// It must.
    Hard,
    /// It need not.
    Soft,
}

/// A control row with its sensor row.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Index of the control row in its snapshot.
    pub control: usize,
    /// Index of the sensor row in its snapshot, if there is one.
    pub sensor: Option<usize>,
    /// `sensor_id` as it stands in the table.
    pub id: String,
    /// Job to start.
    pub job: JobId,
    /// Key in the sensor table.
    pub row_id: SensorRowId,
    /// Kind of the source.
    pub source: SourceKind,
    /// Hard or soft.
    pub dependency: Dependency,
    /// True for `UNPAUSED` and nothing else.
    pub unpaused: bool,
    /// Control status.
    pub status: Status,
    /// When the status last changed, for the anchor rule.
    pub status_changed: Option<Timestamp>,
    /// What the sensor row remembers; default when there is none of ours.
    pub state: Arc<SensorState>,
    /// True when the sensor row is through with all news and the control row still says there is some: D2 was
    /// not reached. A row that others have fired since says ACQUIRED_NEW_DATA and does not lag.
    pub lags: bool,
    /// Why this row is not looked at and starts nothing.
    pub problem: Option<RowProblem>,
}

/// Why a row is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowProblem {
    /// `sensor_id` is null or blank.
    NoSensorId,
    /// `trigger_job_id` is not made of digits.
    BadJobId(String),
    /// `sensor_source` is none of the original's.
    UnknownSource(String),
    /// The source is not served by this version.
    SourceNotServed(SourceKind),
    /// The row filters its upstream by SQL, which is not served by this version.
    QueryNotServed,
    /// A Kafka id without `product:`.
    NoProduct(String),
    /// A sensor_id that cannot be the name of a trigger folder.
    BadFolder(String),
    /// Another row, with another sensor_id or source, has the same sensor row id.
    Collision {
        /// The other row's source and sensor_id.
        with: String,
        /// The id they share.
        row_id: SensorRowId,
    },
    /// The sensor row's state cannot be used.
    State(BadState),
    /// The sensor table has more than one row for this sensor.
    SensorRowTwice(SensorRowId),
}

impl RowProblem {
    /// True for rows that are right but have to wait for a later version.
    pub fn is_not_served(&self) -> bool {
        matches!(self, Self::SourceNotServed(_) | Self::QueryNotServed)
    }
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSensorId => f.write_str("sensor_id is empty"),
            Self::BadJobId(text) => write!(f, "trigger_job_id `{text}` is not made of digits"),
            Self::UnknownSource(text) => write!(f, "sensor_source `{text}` is unknown"),
            Self::SourceNotServed(kind) => {
                write!(f, "source {kind} is not served yet: the row is kept and never looked at")
            }
            Self::QueryNotServed => f.write_str(
                "preprocess_query is not served yet: the row is kept, never looked at and never starts a job; \
                 empty the query to have every event count",
            ),
            Self::NoProduct(id) => {
                write!(f, "sensor_id `{id}` has no product: write `<product>: <topic>`")
            }
            Self::BadFolder(id) => write!(
                f,
                "sensor_id `{id}` cannot be the name of a trigger folder: it must hold no slash and not begin with \
                 `.` or `_`, which hide its files"
            ),
            Self::Collision { with, row_id } => {
                write!(f, "shares the sensor row `{row_id}` with {with}; rename one of them")
            }
            Self::State(bad) => bad.fmt(f),
            Self::SensorRowTwice(row_id) => {
                write!(f, "the sensor table has more than one row `{row_id}`; delete all but one")
            }
        }
    }
}

/// Both tables, joined.
#[derive(Debug, Clone)]
pub struct View {
    /// The control rows as stored.
    pub control: Arc<Vec<ControlRow>>,
    /// The sensor rows as stored.
    pub sensor: Arc<Vec<SensorRow>>,
    /// Rows with a sensor id and a job, in the order of the control table.
    pub sensors: Vec<Sensor>,
    /// Indices into `sensors` by job.
    pub jobs: BTreeMap<JobId, Vec<usize>>,
    /// Control rows that have no key, by index.
    pub unusable: Vec<(usize, RowProblem)>,
    /// Indices into `sensors` of rows whose key another row has already.
    pub duplicates: Vec<usize>,
    /// Sensor rows of jobs that ran or have news, whose control rows were deleted.
    pub orphans: Vec<Orphan>,
    /// Hard rows that have a job and make no sense otherwise, with their status: they still count by it.
    pub unusable_hard: HashMap<JobId, Vec<(String, Status)>>,
    orphans_of: BTreeMap<JobId, Vec<usize>>,
    /// The state of each sensor row, as it stands there.
    states: Vec<Read>,
}

/// What a sensor row holds.
type Read = Result<Option<Arc<SensorState>>, BadState>;

/// A sensor row without a control row. A run that it claimed goes on all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Orphan {
    /// Index of the sensor row in its snapshot.
    pub sensor: usize,
    /// The job, which is the last part of the row's id.
    pub job: JobId,
    /// What the sensor row remembers.
    pub state: Arc<SensorState>,
}

impl View {
    /// Joins the tables.
    pub fn new(control: impl Into<Arc<Vec<ControlRow>>>, sensor: impl Into<Arc<Vec<SensorRow>>>) -> Self {
        let sensor = sensor.into();
        let states = sensor.iter().map(read_state).collect();
        Self::joined(&control.into(), &sensor, states)
    }

    /// Joins newer versions of the tables: states that have not changed are not read again.
    #[must_use]
    pub fn renewed(
        &self,
        control: impl Into<Arc<Vec<ControlRow>>>,
        sensor: impl Into<Arc<Vec<SensorRow>>>,
    ) -> Self {
        let sensor = sensor.into();
        if Arc::ptr_eq(&sensor, &self.sensor) {
            return Self::joined(&control.into(), &sensor, self.states.clone());
        }
        let remembered = |new: &SensorRow, index: usize| {
            let old = self.sensor.get(index)?;
            let same = old.upstream_value == new.upstream_value && old.upstream_key == new.upstream_key;
            same.then(|| self.states[index].clone())
        };
        // A commit moves rows about within the table; most stay in their order.
        let mut places: Option<HashMap<&str, usize>> = None;
        let mut shift = 0;
        let states = sensor.iter().enumerate().map(|(index, row)| {
            let near = index.saturating_add(shift);
            if self.sensor.get(near).is_some_and(|old| old.sensor_id == row.sensor_id) {
                return remembered(row, near).unwrap_or_else(|| read_state(row));
            }
            let places = places.get_or_insert_with(|| {
                let ids = self.sensor.iter().enumerate();
                ids.filter_map(|(index, row)| Some((row.sensor_id.as_deref()?, index))).collect()
            });
            let place = row.sensor_id.as_deref().and_then(|id| places.get(id)).copied();
            shift = place.and_then(|place| place.checked_sub(index)).unwrap_or(0);
            place.and_then(|place| remembered(row, place)).unwrap_or_else(|| read_state(row))
        });
        let states = states.collect();
        Self::joined(&control.into(), &sensor, states)
    }

    fn joined(control: &Arc<Vec<ControlRow>>, sensor: &Arc<Vec<SensorRow>>, states: Vec<Read>) -> Self {
        let mut view = Self {
            control: Arc::clone(control),
            sensor: Arc::clone(sensor),
            sensors: Vec::with_capacity(control.len()),
            jobs: BTreeMap::new(),
            unusable: Vec::new(),
            duplicates: Vec::new(),
            orphans: Vec::new(),
            unusable_hard: HashMap::new(),
            orphans_of: BTreeMap::new(),
            states,
        };
        let stored = index_sensor_rows(sensor);
        for (index, row) in control.iter().enumerate() {
            match read_row(index, row) {
                Ok(mut read) => {
                    attach_state(&mut read, &view.states, &stored);
                    view.sensors.push(read);
                }
                Err(problem) => view.put_aside(index, row, problem),
            }
        }
        view.find_collisions();
        view.orphans = orphans(&view.sensors, &view.states, &stored);
        for (index, orphan) in view.orphans.iter().enumerate() {
            view.orphans_of.entry(orphan.job.clone()).or_default().push(index);
        }
        for (index, read) in view.sensors.iter().enumerate() {
            view.jobs.entry(read.job.clone()).or_default().push(index);
        }
        view.read_marks();
        view
    }

    /// The sensors of a job; none for an unknown one.
    pub fn of_job<'v>(&'v self, job: &JobId) -> impl Iterator<Item = &'v Sensor> + use<'v> {
        self.jobs.get(job).into_iter().flatten().map(|index| &self.sensors[*index])
    }

    /// The claim of a job that is open, from any of its rows, deleted ones too.
    pub fn open_claim(&self, job: &JobId) -> Option<&Claim> {
        self.states_of_job(job).find_map(SensorState::open_claim)
    }

    /// What the sensor rows of a job remember, deleted ones too.
    pub fn states_of_job<'v>(&'v self, job: &JobId) -> impl Iterator<Item = &'v SensorState> + use<'v> {
        self.of_job(job).map(|sensor| &*sensor.state).chain(self.orphans_of(job).map(|orphan| &*orphan.state))
    }

    /// The deleted rows of a job.
    pub fn orphans_of<'v>(&'v self, job: &JobId) -> impl Iterator<Item = &'v Orphan> + use<'v> {
        self.orphans_of.get(job).into_iter().flatten().map(|index| &self.orphans[*index])
    }

    /// Jobs that have deleted rows only.
    pub fn orphan_jobs(&self) -> impl Iterator<Item = &JobId> {
        self.orphans_of.keys().filter(|job| !self.jobs.contains_key(job))
    }

    /// Names of the files beside the sensor table that its rows refer to.
    pub fn digests(&self) -> BTreeSet<String> {
        let states = self.states.iter().filter_map(|read| read.as_ref().ok()?.as_deref());
        states.flat_map(SensorState::digests).map(str::to_owned).collect()
    }

    /// Whether every row says what it refers to: nothing is to be cleared away beside one that cannot be read.
    pub fn tells_all_digests(&self) -> bool {
        self.states.iter().all(Result::is_ok)
    }

    /// The control row of a sensor.
    pub fn control_row(&self, sensor: &Sensor) -> &ControlRow {
        &self.control[sensor.control]
    }

    fn put_aside(&mut self, index: usize, row: &ControlRow, problem: RowProblem) {
        let job = JobId::parse(row.trigger_job_id.as_deref().unwrap_or_default());
        if let (Ok(job), Dependency::Hard) = (job, Dependency::of(row.dependency_flag.as_deref())) {
            let name = row.sensor_id.clone().unwrap_or_else(|| "(no sensor_id)".to_owned());
            let status = Status::of(row.status.as_deref());
            self.unusable_hard.entry(job).or_default().push((name, status));
        }
        self.unusable.push((index, problem));
    }

    /// Gives its meaning to PROCESSED_NEW_DATA. Rows of ours say ACQUIRED_NEW_DATA until their news is accounted for, so
    /// where there is news the original's last task has told of a run: by hand, unless the job has an open claim, whose
    /// run decides.
    fn read_marks(&mut self) {
        for index in 0..self.sensors.len() {
            let read = &self.sensors[index];
            let is_readable =
                !matches!(read.problem, Some(RowProblem::State(_) | RowProblem::SensorRowTwice(_)));
            if !is_readable || !self.is_marked(read) {
                continue;
            }
            let by_hand = read.state.has_news() && self.open_claim(&read.job).is_none();
            let read = &mut self.sensors[index];
            if by_hand {
                let state = Arc::make_mut(&mut read.state);
                state.account(state.news);
                state.by_hand = true;
            }
            let through = !read.state.has_news() && read.state.was_completed();
            let unmarked = matches!(read.status, Status::NewEvent | Status::InProgress);
            read.lags = through && unmarked;
        }
    }

    /// Whether the sensor row says PROCESSED_NEW_DATA.
    pub(crate) fn is_marked(&self, sensor: &Sensor) -> bool {
        let stored = sensor.sensor.map(|index| &self.sensor[index]);
        stored.is_some_and(|row| row.status.as_deref() == Some(PROCESSED_NEW_DATA))
    }

    /// Whether the state is not yet as it stands in the table: a run by hand was told of by a mark alone.
    pub(crate) fn is_told_by_mark(&self, sensor: &Sensor) -> bool {
        let stored = sensor.sensor.and_then(|index| self.states[index].as_ref().ok()?.as_deref());
        stored.is_some_and(|stored| *stored != *sensor.state)
    }

    fn find_collisions(&mut self) {
        let mut first_of: HashMap<SensorRowId, usize> = HashMap::new();
        for index in 0..self.sensors.len() {
            let Some(&first) = first_of.get(&self.sensors[index].row_id) else {
                first_of.insert(self.sensors[index].row_id.clone(), index);
                continue;
            };
            let (one, other) = (&self.sensors[first], &self.sensors[index]);
            if one.id == other.id && one.source == other.source {
                self.duplicates.push(index);
                continue;
            }
            let names = [name_of(one), name_of(other)];
            let row_id = one.row_id.clone();
            for (place, with) in [(first, &names[1]), (index, &names[0])] {
                self.sensors[place].problem =
                    Some(RowProblem::Collision { with: with.clone(), row_id: row_id.clone() });
            }
        }
    }
}

impl Sensor {
    /// True for a row whose source may be looked at: UNPAUSED, nothing pending, no problem.
    pub fn is_watched(&self) -> bool {
        self.problem.is_none()
            && self.unpaused
            && self.is_idle()
            && !self.state.has_news()
            && self.state.open_claim().is_none()
    }

    /// True for a row whose news waits for a start.
    pub fn is_new(&self) -> bool {
        self.status == Status::NewEvent && !self.lags
    }

    /// True while the lifecycle waits for news.
    pub fn is_idle(&self) -> bool {
        matches!(self.status, Status::Never | Status::Completed)
    }

    /// The upstream behind the row. Only rows without a problem have one.
    pub fn asset(&self) -> Option<Asset> {
        asset_of(self.source, &self.id).ok()
    }

    /// A sensor row as the original would have inserted it, without status and state.
    pub fn new_row(&self, control: &ControlRow) -> SensorRow {
        SensorRow {
            sensor_id: Some(self.row_id.as_str().to_owned()),
            assets: Some(vec![unique_in(
                control.asset_description.as_deref().unwrap_or_default(),
                &self.job,
            )]),
            ..SensorRow::default()
        }
    }
}

impl Status {
    /// Reads the column.
    pub fn of(text: Option<&str>) -> Self {
        match text.map_or("", str::trim) {
            "" => Self::Never,
            COMPLETED => Self::Completed,
            NEW_EVENT_AVAILABLE => Self::NewEvent,
            IN_PROGRESS => Self::InProgress,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Dependency {
    /// Reads the column: `TRUE` in any case, with blanks around it, is hard; everything else is soft.
    pub fn of(text: Option<&str>) -> Self {
        if text.is_some_and(|text| text.trim().eq_ignore_ascii_case("true")) {
            Self::Hard
        } else {
            Self::Soft
        }
    }
}

/// The upstream that a `sensor_id` names.
pub fn asset_of(source: SourceKind, sensor_id: &str) -> Result<Asset, RowProblem> {
    match source {
        SourceKind::Kafka => {
            // The original takes the text between the first and the second colon; a topic has no colon.
            let mut parts = sensor_id.split(':');
            match (parts.next().map(str::trim), parts.next().map(str::trim)) {
                (Some(product), Some(topic)) if !product.is_empty() && !topic.is_empty() => {
                    Ok(Asset::Topic { product: product.to_owned(), topic: topic.to_owned() })
                }
                _ => Err(RowProblem::NoProduct(sensor_id.to_owned())),
            }
        }
        SourceKind::TriggerFile => {
            let goes_astray = sensor_id.contains(['/', '\\', '\0']) || sensor_id.starts_with(['.', '_']);
            if goes_astray {
                return Err(RowProblem::BadFolder(sensor_id.to_owned()));
            }
            Ok(Asset::Folder { name: sensor_id.to_owned() })
        }
        other => Err(RowProblem::SourceNotServed(other)),
    }
}

/// Indices of the sensor rows by id; `None` for an id that stands there twice.
fn index_sensor_rows(rows: &[SensorRow]) -> HashMap<&str, Option<usize>> {
    let mut stored = HashMap::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        if let Some(id) = row.sensor_id.as_deref() {
            stored.entry(id).and_modify(|place| *place = None).or_insert(Some(index));
        }
    }
    stored
}

fn read_row(index: usize, row: &ControlRow) -> Result<Sensor, RowProblem> {
    let id = row.sensor_id.as_deref().filter(|id| !id.trim().is_empty()).ok_or(RowProblem::NoSensorId)?;
    let job_text = row.trigger_job_id.as_deref().unwrap_or_default();
    let job = JobId::parse(job_text).map_err(|_| RowProblem::BadJobId(job_text.to_owned()))?;
    let source_text = row.sensor_source.as_deref().unwrap_or_default();
    let source =
        SourceKind::parse(source_text).ok_or_else(|| RowProblem::UnknownSource(source_text.to_owned()))?;
    let has_query = row.preprocess_query.as_deref().is_some_and(|query| !query.trim().is_empty());
    let problem = match asset_of(source, id) {
        Err(problem) => Some(problem),
        Ok(_) if has_query => Some(RowProblem::QueryNotServed),
        Ok(_) => None,
    };
    Ok(Sensor {
        control: index,
        sensor: None,
        id: id.to_owned(),
        row_id: SensorRowId::new(id, &job),
        job,
        source,
        dependency: Dependency::of(row.dependency_flag.as_deref()),
        unpaused: row.job_state.as_deref() == Some("UNPAUSED"),
        status: Status::of(row.status.as_deref()),
        status_changed: row.status_change_timestamp,
        state: Arc::default(),
        lags: false,
        problem,
    })
}

fn read_state(row: &SensorRow) -> Read {
    SensorState::of_row(row).map(|state| state.map(Arc::new))
}

fn attach_state(read: &mut Sensor, states: &[Read], stored: &HashMap<&str, Option<usize>>) {
    match stored.get(read.row_id.as_str()) {
        None => {}
        Some(None) => read.problem = Some(RowProblem::SensorRowTwice(read.row_id.clone())),
        Some(Some(index)) => {
            read.sensor = Some(*index);
            match &states[*index] {
                Ok(state) => read.state = state.clone().unwrap_or_default(),
                Err(bad) => read.problem = Some(RowProblem::State(bad.clone())),
            }
        }
    }
}

fn orphans(sensors: &[Sensor], states: &[Read], stored: &HashMap<&str, Option<usize>>) -> Vec<Orphan> {
    let known: HashSet<&str> = sensors.iter().map(|sensor| sensor.row_id.as_str()).collect();
    let mut orphans: Vec<Orphan> = stored
        .iter()
        .filter(|(id, _)| !known.contains(*id))
        .filter_map(|(id, index)| {
            let (_, job) = id.rsplit_once('_')?;
            let state = states[(*index)?].as_ref().ok()?.clone()?;
            let counts = state.claim.is_some() || state.last_run.is_some() || state.has_news();
            counts.then_some(Orphan { sensor: (*index)?, job: JobId::parse(job).ok()?, state })
        })
        .collect();
    orphans.sort_by_key(|orphan| orphan.sensor);
    orphans
}

fn name_of(sensor: &Sensor) -> String {
    format!("{} `{}` of job {}", sensor.source, sensor.id, sensor.job)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn row(source: &str, id: &str, job: &str) -> ControlRow {
        ControlRow {
            sensor_source: Some(source.into()),
            sensor_id: Some(id.into()),
            trigger_job_id: Some(job.into()),
            job_state: Some("UNPAUSED".into()),
            dependency_flag: Some("TRUE".into()),
            ..Default::default()
        }
    }

    #[rstest]
    #[case(Some("TRUE"), Dependency::Hard)]
    #[case(Some(" true "), Dependency::Hard)]
    #[case(Some("FALSE"), Dependency::Soft)]
    #[case(Some("yes"), Dependency::Soft)]
    #[case(None, Dependency::Soft)]
    fn dependency(#[case] text: Option<&str>, #[case] expected: Dependency) {
        assert_eq!(Dependency::of(text), expected);
    }

    #[test]
    fn two_ids_on_one_sensor_row_are_errors_of_both() {
        let rows =
            [row("trigger_file", "a b", "7"), row("trigger_file", "a.b", "7"), row("kafka", "p: t", "7")];
        let view = View::new(rows.to_vec(), vec![]);
        assert!(matches!(view.sensors[0].problem, Some(RowProblem::Collision { .. })));
        assert!(matches!(view.sensors[1].problem, Some(RowProblem::Collision { .. })));
        assert_eq!(view.sensors[2].problem, None);
        assert!(
            view.sensors[1].problem.as_ref().unwrap().to_string().contains("trigger_file `a b` of job 7")
        );
    }

    #[test]
    fn one_key_twice_is_a_duplicate_and_under_two_sources_a_collision() {
        let rows = [row("trigger_file", "x", "7"), row("Trigger_File ", "x", "7")];
        let view = View::new(rows.to_vec(), vec![]);
        assert_eq!((view.duplicates.as_slice(), view.sensors[0].problem.clone()), ([1].as_slice(), None));
        let rows = [row("trigger_file", "p: x", "7"), row("kafka", "p: x", "7")];
        assert!(matches!(
            View::new(rows.to_vec(), vec![]).sensors[0].problem,
            Some(RowProblem::Collision { .. })
        ));
    }

    #[test]
    fn rows_that_cannot_be_served_are_kept_with_their_reason() {
        let mut query = row("kafka", "p: t", "7");
        query.preprocess_query = Some("SELECT 1".into());
        let rows =
            [query, row("sap_b4", "CHAIN", "8"), row("kafka", "t", "9"), row("trigger_file", "../x", "9")];
        let view = View::new(rows.to_vec(), vec![]);
        let problems: Vec<_> = view.sensors.iter().map(|s| s.problem.clone().unwrap()).collect();
        assert_eq!(problems[0], RowProblem::QueryNotServed);
        assert_eq!(problems[1], RowProblem::SourceNotServed(SourceKind::SapB4));
        assert_eq!(problems[2], RowProblem::NoProduct("t".into()));
        assert_eq!(problems[3], RowProblem::BadFolder("../x".into()));
    }

    #[test]
    fn view_that_is_renewed_is_the_one_that_is_made_anew() {
        let state = |id: &str, news: u64| {
            let mut row = SensorRow { sensor_id: Some(format!("{id}_7")), ..SensorRow::default() };
            SensorState { news, ..SensorState::default() }.store(&mut row);
            row
        };
        let control: Vec<ControlRow> = ["a", "b", "c", "d"].map(|id| row("trigger_file", id, "7")).to_vec();
        let damaged = SensorRow { upstream_value: Some("{".into()), ..state("c", 1) };
        let versions = [
            vec![],
            vec![state("a", 1), state("b", 2)],
            vec![state("b", 2), state("a", 1), state("c", 3), state("gone", 1)],
            vec![state("gone", 1), state("c", 3), state("a", 2)],
            vec![state("a", 2), damaged, state("a", 5), state("b", 9)],
        ];
        for old in &versions {
            let old = View::new(control.clone(), old.clone());
            for new in &versions {
                let (renewed, anew) =
                    (old.renewed(control.clone(), new.clone()), View::new(control.clone(), new.clone()));
                assert_eq!((renewed.sensors, renewed.orphans), (anew.sensors, anew.orphans));
                assert_eq!(renewed.states, anew.states);
            }
        }
    }

    #[test]
    fn rows_without_a_key_are_unusable_and_named() {
        let view_rows = [row("kafka", " ", "7"), row("kafka", "p: t", "x"), row("ftp", "a", "7")];
        let view = View::new(view_rows.to_vec(), vec![]);
        assert_eq!(view.sensors, []);
        assert_eq!(view.unusable.len(), 3);
    }
}
