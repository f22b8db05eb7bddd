//! Which rows have a say in what becomes of a folder's trigger files.
//!
//! A file may be deleted when every row of the control table that is about its folder is through with it: all jobs, also
//! those that are paused, for they go on from where they stand. A row that cannot be read could mean any file.

use std::collections::BTreeMap;

use crate::acon::SourceKind;
use crate::sensor::View;
use crate::state::StoredPosition;

/// A row of the control table that is about a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher<'v> {
    /// `trigger_job_id`, as it stands in the table.
    pub job: &'v str,
    /// Up to where runs of the job have accounted for, `None` for nothing; or why that cannot be told.
    pub accounted: Result<Option<&'v StoredPosition>, String>,
}

/// The rows about each trigger folder, by `sensor_id`. No folder is there without a row.
pub fn watchers(view: &View) -> BTreeMap<&str, Vec<Watcher<'_>>> {
    let mut folders: BTreeMap<&str, Vec<Watcher<'_>>> = BTreeMap::new();
    for sensor in view.sensors.iter().filter(|sensor| sensor.source == SourceKind::TriggerFile) {
        let accounted = match &sensor.problem {
            Some(problem) => Err(problem.to_string()),
            None => Ok(sensor.state.accounted_up_to()),
        };
        folders.entry(&sensor.id).or_default().push(Watcher { job: sensor.job.as_str(), accounted });
    }
    for (index, problem) in &view.unusable {
        let row = &view.control[*index];
        let Some(id) = row.sensor_id.as_deref() else { continue };
        let job = row.trigger_job_id.as_deref().unwrap_or_default();
        let watcher = Watcher { job, accounted: Err(problem.to_string()) };
        match SourceKind::parse(row.sensor_source.as_deref().unwrap_or_default()) {
            Some(SourceKind::TriggerFile) => folders.entry(id).or_default().push(watcher),
            // Whatever it is meant to be about.
            None => folders.get_mut(id).into_iter().for_each(|rows| rows.push(watcher.clone())),
            Some(_) => {}
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Scene, files};
    use crate::position::Position;

    fn told(view: &View) -> Vec<String> {
        let upto =
            |row: &Watcher<'_>| match row.accounted.as_ref().map(|upto| upto.map(StoredPosition::inline)) {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(Ok(Position::Files(position)))) => {
                    position.seen.into_iter().collect::<Vec<_>>().join(",")
                }
                Ok(Some(other)) => format!("{other:?}"),
                Err(problem) => problem.clone(),
            };
        let folders = watchers(view);
        let rows = folders.iter().flat_map(|(folder, rows)| rows.iter().map(move |row| (folder, row)));
        rows.map(|(folder, row)| format!("{folder} {}: {}", row.job, upto(row))).collect()
    }

    #[test]
    fn every_row_of_a_folder_tells_how_far_its_runs_are() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "a", "1");
        scene.hard("Trigger_File", "a", "2").job_state = Some("PAUSED".into());
        scene.hard("trigger_file", "b", "1");
        scene.hard("kafka", "p: a", "3");
        scene.see(0, &files(&["one"]), true);
        scene.complete("1");
        assert_eq!(told(&scene.view()), ["a 1: one", "a 2: nothing", "b 1: nothing"]);
        scene.see(0, &files(&["one", "two"]), true);
        assert_eq!(told(&scene.view())[0], "a 1: one", "a run has yet to account for it");
        scene.complete("1");
        assert_eq!(told(&scene.view())[0], "a 1: one,two");
    }

    #[test]
    fn row_that_makes_no_sense_could_mean_any_file() {
        let mut scene = Scene::default();
        scene.hard("trigger_file", "a", "1");
        scene.hard("trigger_fil", "a", "2");
        scene.hard("trigger_file", "b", "x");
        scene.hard("trigger_file", "c", "1").preprocess_query = Some("SELECT 1".into());
        scene.hard("ftp", "d", "1");
        scene.hard("sap_b4", "a", "4");
        let told = told(&scene.view());
        let problems = [
            "a 1: nothing",
            "a 2: sensor_source `trigger_fil`",
            "b x: trigger_job_id `x`",
            "c 1: preprocess",
        ];
        assert_eq!(told.len(), problems.len(), "{told:?}");
        for (row, problem) in told.iter().zip(problems) {
            assert!(row.starts_with(problem), "{row}");
        }
    }
}
