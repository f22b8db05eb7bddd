//! The commands with credentials from the environment and from profiles.

use clap::CommandFactory;
use heartbeat::cli::Cli;
use heartbeat::jobs_api::{StandInConfig, StandInHandle};
use rstest::rstest;

use super::stand_in;
use crate::support::project::{CONTROL, Project, SENSOR};

const OAUTH: &str = "{token: fixed, oauth: {clients: {my-client: my-secret}}}";

/// A project whose ACON has no token.
fn project(stand_in: &StandInHandle) -> Project {
    let project = Project::new();
    write_acon(&project, "files.yaml", &stand_in.url(), "null");
    project
}

fn write_acon(project: &Project, name: &str, domain: &str, token: &str) {
    let text = format!(
        "sensor_source: trigger_file\ndata_format: cloudfiles\nheartbeat_sensor_db_table: {CONTROL}\n\
         lakehouse_engine_sensor_db_table: {SENSOR}\nbase_trigger_file_location: triggers\n\
         domain: {domain}\ntoken: {token}\n"
    );
    project.write(name, &text);
}

/// Runs the binary with nothing of the machine's own configuration. What it says on both streams, and its exit code.
fn run(project: &Project, environment: &[(&str, &str)], args: &[&str]) -> (Option<i32>, String) {
    let done = project.run_with(args, |command| {
        for (name, _) in std::env::vars_os() {
            if ["DATABRICKS_", "ARM_", "GOOGLE_"]
                .iter()
                .any(|start| name.to_string_lossy().starts_with(start))
            {
                command.env_remove(name);
            }
        }
        command.env("HOME", project.path()).envs(environment.iter().copied());
    });
    (done.code, format!("{}{}", done.out, done.err))
}

const VALIDATE: [&str; 4] = ["validate", "--acon", "files.yaml", "--connect"];

#[rstest]
#[case::principal(&[("DATABRICKS_CLIENT_ID", "my-client"), ("DATABRICKS_CLIENT_SECRET", "my-secret")], "", 0, "valid")]
#[case::token(&[("DATABRICKS_TOKEN", "fixed")], "", 0, "valid")]
#[case::profile_at_home(&[], "[x]\nhost = HOST\nclient_id = my-client\nclient_secret = my-secret", 0, "valid")]
#[case::named_profile(&[("DATABRICKS_CONFIG_PROFILE", "y")], "[x]\nhost = HOST\ntoken = no\n[y]\ntoken = fixed", 0, "valid")]
#[case::nothing(&[], "", 1, "set DATABRICKS_TOKEN")]
#[case::wrong(&[("DATABRICKS_TOKEN", "no-such-token")], "", 1, "Invalid access token")]
#[case::wrong_principal(
    &[("DATABRICKS_CLIENT_ID", "my-client"), ("DATABRICKS_CLIENT_SECRET", "no-such-secret")],
    "", 1, "gave no access token to client my-client; check client id and secret: HTTP 401 invalid_client"
)]
#[case::of_another_workspace(
    &[("DATABRICKS_HOST", "https://other.example"), ("DATABRICKS_TOKEN", "fixed")],
    "", 1, "DATABRICKS_HOST is https://other.example"
)]
#[case::broken_file(&[], "token = no-such-token", 1, ".databrickscfg: has keys before the first section")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acon_without_a_token_takes_what_the_environment_or_a_profile_has(
    #[case] environment: &[(&str, &str)],
    #[case] profiles: &str,
    #[case] code: i32,
    #[case] says: &str,
) {
    let stand_in = stand_in(OAUTH).await;
    let project = project(&stand_in);
    if !profiles.is_empty() {
        project.write(".databrickscfg", &profiles.replace("HOST", &stand_in.url()));
    }
    let (ended, said) = run(&project, environment, &VALIDATE);
    assert!(ended == Some(code) && said.contains(says), "{ended:?} {said}");
    for secret in ["my-secret", "no-such-token", "no-such-secret"] {
        assert!(!said.contains(secret), "{said}");
    }
    stand_in.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_credentials_for_one_workspace_are_a_warning() {
    let stand_in = stand_in("token: fixed").await;
    let project = project(&stand_in);
    write_acon(&project, "other.yaml", &stand_in.url(), "fixed");
    let trigger = ["trigger", "--acon", "other.yaml", "files.yaml"];
    let warning = "several acons give the workspace different credentials";
    let (_, same) = run(&project, &[("DATABRICKS_TOKEN", "fixed")], &trigger);
    let (code, other) = run(&project, &[("DATABRICKS_TOKEN", "another")], &trigger);
    assert_eq!(
        (code, same.contains(warning), other.contains(warning)),
        (Some(0), false, true),
        "{same} {other}"
    );
    assert!(!other.contains("another"), "{other}");
    stand_in.stop().await;
}

#[test]
fn the_jobs_file_in_the_help_is_valid() {
    let cli = Cli::command();
    let help = cli.find_subcommand("jobs-api").unwrap().get_after_help().unwrap().to_string();
    let (_, file) = help.split_once("jobs.yaml (everything is optional):\n").unwrap();
    let (file, _) = file.split_once("\n\n").unwrap();
    let config = StandInConfig::parse(file, "help").unwrap();
    assert_eq!((config.jobs.len(), config.faults.len(), config.secrets.len()), (2, 2, 1));
    assert!(config.azure.is_some() && config.oauth.is_some());
}
