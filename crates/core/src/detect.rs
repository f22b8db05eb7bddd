//! Detection: which rows to ask for news, and what the answers change in the sensor table (step S).

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::acon::SourceKind;
use crate::position::Position;
use crate::row::{ACQUIRED_NEW_DATA, PROCESSED_NEW_DATA, SensorRow};
use crate::sensor::{Sensor, View};
use crate::source::{Asset, Since};
use crate::state::{Accounted, SensorState, StoredManifest, StoredPosition};
use crate::table::Changes;

/// How far before `latest_event_fetched_timestamp` a row that the original has fired starts. It covers the
/// original's way of stamping the event after the detection (up to minutes in a long pass) and clock skew; what
/// lies in it may fire once more, nothing is lost.
pub const TAKE_OVER_MARGIN: SignedDuration = SignedDuration::from_mins(15);

/// One row to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Index in [`View::sensors`].
    pub sensor: usize,
    /// What to look at.
    pub asset: Asset,
    /// Since when.
    pub since: Cursor,
}

/// Where a row stands; its position may have to be fetched first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// Known.
    Ready(Since),
    /// In the file of this digest.
    Digest(String),
}

/// An answer, as far as the sensor table is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Index in [`View::sensors`].
    pub sensor: usize,
    /// Where the source stands.
    pub position: StoredPosition,
    /// What is new; `None` when nothing is.
    pub news: Option<StoredManifest>,
    /// True when the position must be kept although there is no news.
    pub keep: bool,
}

/// Whether what is there now counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is new since the cursor is news.
    Detect,
    /// What is there now is no news; later passes start from here (`check --baseline`).
    Baseline,
}

/// The rows of `kind` to look at: watched ones, each sensor once.
pub fn questions(view: &View, kind: SourceKind, mode: Mode) -> Vec<Question> {
    let mut asked = HashSet::new();
    let mut questions = Vec::new();
    for (index, sensor) in view.sensors.iter().enumerate() {
        if sensor.source != kind || !sensor.is_watched() || !asked.insert(&sensor.row_id) {
            continue;
        }
        if let Some(asset) = sensor.asset() {
            questions.push(Question { sensor: index, asset, since: cursor(view, index, mode) });
        }
    }
    questions
}

/// The rows of `kind` that are not among those `asked` although nothing is wrong with them, each sensor once. A row that
/// was paused before it was ever looked at waits for nothing yet.
pub fn unasked(view: &View, kind: SourceKind, asked: &[Question]) -> Vec<Question> {
    let mut known: HashSet<_> = asked.iter().map(|question| &view.sensors[question.sensor].row_id).collect();
    let mut unasked = Vec::new();
    for (index, sensor) in view.sensors.iter().enumerate() {
        if sensor.source != kind || sensor.problem.is_some() || !known.insert(&sensor.row_id) {
            continue;
        }
        let has_begun = sensor.unpaused || sensor.state.acquired.is_some();
        if let Some(asset) = sensor.asset().filter(|_| has_begun) {
            unasked.push(Question { sensor: index, asset, since: cursor(view, index, Mode::Detect) });
        }
    }
    unasked
}

/// Where the row at an index of [`View::sensors`] is to be looked at from.
pub fn cursor(view: &View, sensor: usize, mode: Mode) -> Cursor {
    if mode == Mode::Baseline {
        return Cursor::Ready(Since::Now);
    }
    let sensor = &view.sensors[sensor];
    match sensor.state.acquired.as_ref().map(StoredPosition::inline) {
        Some(Ok(position)) => Cursor::Ready(since_position(sensor.source, position)),
        Some(Err(digest)) => Cursor::Digest(digest.to_owned()),
        None => Cursor::Ready(match view.control_row(sensor).latest_event_fetched_timestamp {
            Some(fired) => Since::Time(fired.checked_sub(TAKE_OVER_MARGIN).unwrap_or(Timestamp::MIN)),
            None => Since::Beginning,
        }),
    }
}

/// The cursor that a stored position is. One of another kind of source, left by a row that was fed under one, says
/// nothing about this one.
pub fn since_position(source: SourceKind, position: Position) -> Since {
    match (source, &position) {
        (SourceKind::Kafka, Position::Kafka(_) | Position::Topics(_))
        | (SourceKind::TriggerFile, Position::Files(_)) => Since::Position(position),
        _ => Since::Beginning,
    }
}

/// Step S: the sensor rows after the answers. `began` is when the detection began.
///
/// A row that was never looked at and has nothing to tell gets no sensor row, so that an idle pass writes nothing.
pub fn acquire(view: &View, seen: &[Seen], mode: Mode, began: Timestamp) -> Changes<SensorRow> {
    let mut changes = Changes::default();
    for answer in seen {
        let sensor = &view.sensors[answer.sensor];
        let moved = sensor.state.acquired.as_ref() != Some(&answer.position);
        let has_news = answer.news.is_some();
        let worth_a_row = has_news || sensor.sensor.is_some() || answer.keep || mode == Mode::Baseline;
        if !(has_news || moved) || !worth_a_row {
            continue;
        }
        let mut state = SensorState::clone(&sensor.state);
        if state == SensorState::default() {
            state.born = Some(began);
        }
        state.acquire(answer.position.clone(), answer.news.clone());
        if has_news {
            state.claim = None;
        }
        let mut row = sensor_row(view, sensor);
        state.store(&mut row);
        if has_news {
            row.status = Some(ACQUIRED_NEW_DATA.to_owned());
            row.status_change_timestamp = Some(began);
        } else if row.status.is_none() {
            row.status = Some(PROCESSED_NEW_DATA.to_owned());
            row.status_change_timestamp = Some(began);
        }
        put(&mut changes, sensor, row);
    }
    changes
}

/// The stored sensor row of a sensor, or a new one; the asset follows the control row's description.
pub(crate) fn sensor_row(view: &View, sensor: &Sensor) -> SensorRow {
    let fresh = sensor.new_row(view.control_row(sensor));
    match sensor.sensor {
        Some(index) => SensorRow { assets: fresh.assets, ..view.sensor[index].clone() },
        None => fresh,
    }
}

/// Adds a sensor row to the changes as an update or an insert.
pub(crate) fn put(changes: &mut Changes<SensorRow>, sensor: &Sensor, row: SensorRow) {
    match sensor.sensor {
        Some(index) => changes.update.push((index, row)),
        None => changes.insert.push(row),
    }
}

/// Raises the news count of a row that others have fired, so that a claim can account for it.
pub(crate) fn adopt_foreign_news(state: &mut SensorState, now: Timestamp) {
    if *state == SensorState::default() {
        state.born = Some(now);
    }
    if state.accounted.is_none() {
        state.accounted = Some(state.acquired.clone().map_or(Accounted::Nothing, Accounted::UpTo));
    }
    state.news += 1;
    state.by_hand = false;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Scene, files};
    use crate::row::{COMPLETED, IN_PROGRESS, NEW_EVENT_AVAILABLE};

    fn ids(scene: &Scene, mode: Mode) -> Vec<String> {
        let view = scene.view();
        questions(&view, SourceKind::TriggerFile, mode)
            .iter()
            .map(|q| view.sensors[q.sensor].id.clone())
            .collect()
    }

    #[test]
    fn only_idle_unpaused_rows_of_the_source_are_asked() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "never", "1");
        scene.hard("TRIGGER_FILE", "completed", "2").status = Some(COMPLETED.into());
        scene.hard("trigger_file", "new", "3").status = Some(NEW_EVENT_AVAILABLE.into());
        scene.hard("trigger_file", "running", "4").status = Some(IN_PROGRESS.into());
        scene.hard("trigger_file", "paused", "5").job_state = Some("PAUSED".into());
        scene.hard("trigger_file", "lower", "5").job_state = Some("unpaused".into());
        scene.hard("trigger_file", "query", "6").preprocess_query = Some("SELECT 1".into());
        scene.hard("kafka", "p: t", "7");
        assert_eq!(ids(&scene, Mode::Detect), ["never", "completed"]);
    }

    #[test]
    fn rows_that_wait_run_or_are_paused_are_unasked_and_broken_ones_are_not() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "idle", "1");
        scene.hard("trigger_file", "new", "2").status = Some(NEW_EVENT_AVAILABLE.into());
        scene.hard("trigger_file", "running", "3").status = Some(IN_PROGRESS.into());
        scene.hard("trigger_file", "paused", "4").job_state = Some("PAUSED".into());
        scene.see(3, &files(&["one"]), true);
        scene.hard("trigger_file", "paused at once", "5").job_state = Some("PAUSED".into());
        scene.hard("trigger_file", "query", "6").preprocess_query = Some("SELECT 1".into());
        scene.hard("kafka", "p: t", "7").status = Some(IN_PROGRESS.into());
        let view = scene.view();
        let asked = questions(&view, SourceKind::TriggerFile, Mode::Detect);
        let others = unasked(&view, SourceKind::TriggerFile, &asked);
        let others: Vec<&str> = others.iter().map(|q| view.sensors[q.sensor].id.as_str()).collect();
        assert_eq!(others, ["new", "running", "paused"]);
        assert_eq!(unasked(&view, SourceKind::TriggerFile, &[]).len(), 4);
    }

    #[test]
    fn duplicates_are_asked_once() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "a", "1");
        scene.hard("trigger_file", "a", "1");
        assert_eq!(ids(&scene, Mode::Detect), ["a"]);
    }

    #[test]
    fn row_fired_by_the_original_starts_a_margin_before_its_last_event() {
        let mut scene = Scene::default();
        let fired: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        scene.hard("trigger_file", "a", "1").latest_event_fetched_timestamp = Some(fired);
        let view = scene.view();
        let asked = questions(&view, SourceKind::TriggerFile, Mode::Detect);
        assert_eq!(asked[0].since, Cursor::Ready(Since::Time("2026-01-01T11:45:00Z".parse().unwrap())));
    }

    #[test]
    fn nothing_seen_at_first_look_writes_nothing_and_baseline_writes_a_proper_row() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "a", "1").asset_description = Some("my asset".into());
        let view = scene.view();
        let seen = [Seen { sensor: 0, position: files(&[]).into(), news: None, keep: false }];
        let now = Timestamp::UNIX_EPOCH;
        assert!(acquire(&view, &seen, Mode::Detect, now).is_empty());
        let baseline = acquire(&view, &seen, Mode::Baseline, now);
        assert_eq!(baseline.insert[0].assets, Some(vec!["my_asset_1".to_owned()]));
        assert_eq!(baseline.insert[0].status.as_deref(), Some(PROCESSED_NEW_DATA));
    }

    #[test]
    fn position_of_another_kind_of_source_is_no_cursor() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "p: t", "1");
        scene.see(0, &files(&["one"]), true);
        scene.complete("1");
        scene.control[0].sensor_source = Some("kafka".into());
        let asked = questions(&scene.view(), SourceKind::Kafka, Mode::Detect);
        assert_eq!(asked[0].since, Cursor::Ready(Since::Beginning));
    }

    #[test]
    fn news_is_counted_once_and_accounting_stays_behind() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "a", "1");
        scene.see(0, &files(&["one"]), true);
        let state = scene.view().sensors[0].state.clone();
        assert_eq!((state.news, state.news_done), (1, 0));
        assert_eq!(state.accounted, Some(Accounted::Nothing));
        assert!(ids(&scene, Mode::Detect).is_empty(), "the position stands still while news is pending");
    }
}
