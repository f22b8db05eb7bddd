//! The recorded scenarios of the original (`tests/scenarios`), replayed through the commands.
//!
//! After every step both tables, the bodies of run-now and the exit status are held against what the original did,
//! or, in a corner, against what `docs/differences.md` says instead.

use std::collections::BTreeSet;

use futures::StreamExt;
use rstest::rstest;

use crate::support::stage::Stage;
use crate::support::story::{self, Scenario};
use crate::support::verdict::differences;

/// Scenarios of one file that are played side by side.
const AT_ONCE: usize = 2;

#[rstest]
#[case::anchor("anchor.json")]
#[case::api("api.json")]
#[case::completion("completion.json")]
#[case::decision("decision.json")]
#[case::duplicates("duplicates.json")]
#[case::feed("feed.json")]
#[case::kafka("kafka.json")]
#[case::lifecycle("lifecycle.json")]
#[case::mixed_case("mixed_case.json")]
#[case::odd_ids("odd_ids.json")]
#[case::paused("paused.json")]
#[case::trigger_file("trigger_file.json")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_do_what_the_original_did(#[case] file: &str) {
    let scenarios = story::read(file);
    let corners = scenarios.iter().filter(|scenario| scenario.corner.is_some()).count();
    let played = futures::stream::iter(&scenarios).map(play).buffered(AT_ONCE);
    let failures: Vec<String> = played.filter_map(|failure| async { failure }).collect().await;
    let (all, bad) = (scenarios.len(), failures.len());
    eprintln!("{file}: {all} scenarios, {corners} of them corners, {bad} failed");
    assert!(failures.is_empty(), "{bad} of {all} scenarios of {file} failed\n\n{}", failures.join("\n\n"));
}

#[test]
fn every_file_of_scenarios_is_replayed_and_every_name_is_unique() {
    let files = story::files();
    let this = include_str!("scenarios.rs");
    let mut names = BTreeSet::new();
    for file in &files {
        let file = file.file_name().unwrap().to_str().unwrap();
        assert!(this.contains(&format!("(\"{file}\")]")), "{file} is not replayed");
        for scenario in story::read(file) {
            assert!(names.insert(scenario.name.clone()), "`{}` stands there twice", scenario.name);
        }
    }
}

/// Plays a scenario up to its first step that goes wrong, and tells what went wrong.
async fn play(scenario: &Scenario) -> Option<String> {
    let mut stage = Stage::new(scenario).await;
    for (number, (step, entry)) in scenario.steps.iter().zip(scenario.entries()).enumerate() {
        let found = differences(scenario, entry, &stage.play(step).await);
        if !found.is_empty() {
            let corner = if scenario.corner.is_some() { " (corner)" } else { "" };
            let Scenario { name, .. } = scenario;
            return Some(format!("{name}{corner}, step {}: {step:?}\n  {}", number + 1, found.join("\n  ")));
        }
    }
    None
}
