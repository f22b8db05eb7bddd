use super::*;

const HEADER: &str = "sensor_source,sensor_id,sensor_read_type,asset_description,upstream_key,preprocess_query,\
                      trigger_job_id,trigger_job_name,job_state,dependency_flag\n";

fn text(lines: &[&str]) -> String {
    format!("{HEADER}{}\n", lines.join("\n"))
}

fn mistakes(lines: &[&str]) -> Vec<String> {
    match read(&text(lines)) {
        Err(FeedError::Rows(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
        other => panic!("mistakes expected, got {other:?}"),
    }
}

#[test]
fn every_mistake_of_every_row_is_reported_at_once() {
    let found = mistakes(&[
        "kafka,my.topic,streaming,a,,,7,n,UNPAUSED,TRUE",
        "ftp,x,batch,a,,,7,n,UNPAUSED,TRUE",
        "trigger_file,x,streaming,a,,,,n,maybe,TRUE",
        "trigger_file,a b,streaming,a,,,7,n,UNPAUSED,TRUE",
        "trigger_file,a.b,streaming,a,,,7,n,UNPAUSED,TRUE",
        "trigger_file,a b,streaming,a,,,7,n,UNPAUSED,TRUE",
        "trigger_file,../up,streaming,a,,,12x,n,UNPAUSED,TRUE",
        "too,few",
    ]);
    let expected = [
        "line 2, sensor_id: sensor_id `my.topic` has no product",
        "line 3, sensor_source: `ftp` is unknown",
        "line 4, job_state: `MAYBE` must be PAUSED or UNPAUSED",
        "line 4, trigger_job_id: is empty",
        "line 6, sensor_id: `a.b` and `a b` (line 5) of job 7 both become",
        "line 7: sensor_id `a b` and job 7 stand on line 5 already",
        "line 8, trigger_job_id: `12x` is not a job id",
        "line 8, sensor_id: sensor_id `../up` cannot be",
        "line 9: has 2 values, the header 10 columns",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn header_in_any_order_and_case_and_unknown_columns_are_read() {
    let feed = read(
        "owner,DEPENDENCY_FLAG, Job_State ,trigger_job_name,trigger_job_id,preprocess_query,upstream_key,\
         asset_description,sensor_read_type,sensor_id,sensor_source\n\
         me, true ,unpaused,n, 007 ,,,\"a, b\",streaming, f ,Trigger_File\n",
    )
    .unwrap();
    let row = &feed.rows[0];
    assert_eq!(row.trigger_job_id.as_deref(), Some("007"));
    assert_eq!(row.asset_description.as_deref(), Some("a, b"));
    assert_eq!((row.job_state.as_deref(), row.dependency_flag.as_deref()), (Some("UNPAUSED"), Some("true")));
    assert_eq!(row.sensor_id.as_deref(), Some("f"));
    assert_eq!(feed.warnings[0].to_string(), "line 1: unknown column `owner`, ignored");
}

#[test]
fn header_mistakes_are_one_error() {
    let error = read("sensor_source,sensor_id,sensor_id\n").unwrap_err().to_string();
    assert!(error.contains("names `sensor_id` twice") && error.contains("dependency_flag"), "{error}");
    assert_eq!(read(""), Err(FeedError::Empty));
}

#[test]
fn rows_that_are_not_served_yet_are_fed_with_a_warning() {
    let feed = read(&text(&[
        "sap_b4,CHAIN,batch,a,LOAD_DATE,,7,n,UNPAUSED,TRUE",
        "kafka,p: t,streaming,a,,SELECT 1,8,n,UNPAUSED,",
    ]))
    .unwrap();
    assert_eq!(feed.rows.len(), 2);
    assert_eq!(feed.warnings.len(), 3, "{:?}", feed.warnings);
}

#[test]
fn a_flag_is_kept_as_it_was_given_and_warned_about_when_it_is_neither() {
    let line = |id: &str, flag: &str| format!("trigger_file,{id},streaming,a,,,7,n,UNPAUSED,{flag}");
    let feed = read(&text(&[&line("a", " tRUE "), &line("b", "maybe"), &line("c", "")])).unwrap();
    let flags: Vec<_> = feed.rows.iter().map(|row| row.dependency_flag.as_deref()).collect();
    assert_eq!(flags, [Some("tRUE"), Some("maybe"), None]);
    let warned: Vec<_> = feed.warnings.iter().map(|warning| (warning.line, warning.column)).collect();
    assert_eq!(warned, [(3, "dependency_flag"), (4, "dependency_flag")]);
}

fn stored(id: &str, job: &str, flag: &str) -> ControlRow {
    let line = format!("trigger_file,{id},streaming,a,,,{job},n,UNPAUSED,{flag}");
    let mut row = read(&text(&[&line])).unwrap().rows.remove(0);
    row.status = Some("IN_PROGRESS".into());
    row.job_start_timestamp = Some(jiff::Timestamp::UNIX_EPOCH);
    row
}

#[test]
fn plan_inserts_updates_and_deletes_and_keeps_run_time_columns() {
    let table = [stored("same", "1", "TRUE"), stored("changed", "2", "TRUE"), stored("gone", "3", "TRUE")];
    let feed = read(&text(&[
        "trigger_file,same,streaming,a,,,1,n,UNPAUSED,TRUE",
        "trigger_file,changed,streaming,a,,,2,n,UNPAUSED,FALSE",
        "trigger_file,changed,streaming,a,,,22,n,UNPAUSED,FALSE",
    ]))
    .unwrap();
    let (changes, diff) = plan(&feed, &table);
    assert_eq!(diff.unchanged, 1);
    assert_eq!(diff.inserted, [("changed".to_owned(), "22".to_owned())]);
    assert_eq!(diff.deleted, [("gone".to_owned(), "3".to_owned())]);
    assert_eq!(diff.updated[0].1[0].column, "dependency_flag");
    assert_eq!(changes.delete, [2]);
    let (index, row) = &changes.update[0];
    assert_eq!((*index, row.status.as_deref()), (1, Some("IN_PROGRESS")));
    assert_eq!(row.job_start_timestamp, Some(jiff::Timestamp::UNIX_EPOCH));
    let after = changes.apply(&table);
    assert!(plan(&feed, &after).0.is_empty(), "a second feed changes nothing");
}
