//! The official Databricks SDK for Python: as a client of the stand-in, and as the judge of how credentials are
//! chosen.
//!
//! Needs a Python with the PyPI package databricks-sdk; `HEARTBEAT_TEST_SDK_PYTHON` names it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use heartbeat::jobs::credentials::{ConfigFile, Explicit, Method, resolve};
use heartbeat::jobs::{AuthError, Credentials, Domain, Token};
use heartbeat::jobs_api::{FilesConfig, StandIn, StandInConfig};
use serde_json::{Value, json};
use tokio::process::Command;

use super::stand_in;

fn python() -> Option<OsString> {
    let python = std::env::var_os("HEARTBEAT_TEST_SDK_PYTHON");
    if python.is_none() {
        eprintln!("SKIPPED: HEARTBEAT_TEST_SDK_PYTHON names no Python with databricks-sdk");
    }
    python
}

async fn run(python: OsString, script: &str, argument: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python").join(script);
    let run = Command::new(python).arg(script).arg(argument).output().await.unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

#[tokio::test]
async fn the_official_sdk_and_the_stand_in_agree() {
    let Some(python) = python() else { return };
    let stand_in = stand_in("{}").await;
    run(python, "jobs_api_sdk.py", &stand_in.url()).await;
    stand_in.stop().await;
}

#[tokio::test]
async fn the_official_sdk_gets_tokens_secrets_and_every_outcome_from_the_stand_in() {
    let Some(python) = python() else { return };
    let jobs = "
jobs:
  1: {duration: 1h}
  2: {duration: 1h, queue: true, queue_size: 1}
  3: {duration: 1h, skipped_without_result: true, max_concurrent_runs: 0}
  4: {results: [FAILED, SUCCESS], parameters: {day: today}}
  5: {max_concurrent_runs: 1000}
oauth: {clients: {my-client: my-secret}, expires_in: 1h}
secrets: {my-scope: {my-key: välue, other: x}, empty: {}}
";
    let stand_in = stand_in(jobs).await;
    run(python, "workspace_sdk.py", &stand_in.url()).await;
    stand_in.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_sdk_works_with_the_stand_ins_volumes_and_dbfs() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("Volumes/main/default/landing")).unwrap();
    let config = StandInConfig {
        token: Some(Token::parse("local-token").unwrap()),
        files: Some(FilesConfig { page: 3, ..FilesConfig::of(folder.path()) }),
        ..StandInConfig::default()
    };
    let stand_in = StandIn::start(config).await.unwrap();
    run(python, "volumes_sdk.py", &stand_in.url()).await;
    stand_in.stop().await;
}

/// Of Azure, as the SDK takes principals of Azure nowhere else.
const HOST: &str = "https://adb-1.2.azuredatabricks.net";

/// One configuration: `K=V` pairs, blanks between, and the text of the file.
const CASES: [(&str, &str); 26] = [
    ("DATABRICKS_TOKEN=t", ""),
    ("DATABRICKS_TOKEN=t", "[DEFAULT]\ntoken = file"),
    ("", "[DEFAULT]\ntoken = file"),
    ("", "[DEFAULT]\ntoken: file#not;comment"),
    ("", "; comment\n[DEFAULT]\nTOKEN = a\\b\"c\"'d'%(x)s"),
    ("DATABRICKS_CONFIG_PROFILE=p", "[DEFAULT]\ntoken = default\n[p]\ntoken = p"),
    ("DATABRICKS_CONFIG_PROFILE=p DATABRICKS_TOKEN=env", "[p]\ntoken = p"),
    ("DATABRICKS_CONFIG_PROFILE=missing", "[p]\ntoken = p"),
    ("DATABRICKS_CONFIG_PROFILE=__settings__", "[__settings__]\ndefault_profile = p\n[p]\ntoken = p"),
    ("", "[__settings__]\ndefault_profile = p\n[DEFAULT]\ntoken = default\n[p]\ntoken = p"),
    ("", "[__settings__]\ndefault_profile = missing\n[q]\ntoken = q"),
    ("", "[q]\ntoken = q"),
    ("", ""),
    ("DATABRICKS_TOKEN=t DATABRICKS_CLIENT_ID=i", ""),
    ("DATABRICKS_TOKEN=t ARM_TENANT_ID=x", ""),
    ("DATABRICKS_TOKEN=t DATABRICKS_USERNAME=u", ""),
    ("DATABRICKS_TOKEN=t DATABRICKS_CLIENT_ID=i DATABRICKS_AUTH_TYPE=pat", ""),
    ("DATABRICKS_CONFIG_PROFILE=p DATABRICKS_CLIENT_ID=i", "[p]\ntoken = p"),
    ("DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s", ""),
    ("DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s", "[DEFAULT]\ntoken = file"),
    (
        "DATABRICKS_CONFIG_PROFILE=p DATABRICKS_CLIENT_SECRET=env",
        "[p]\nclient_id = file\nclient_secret = file",
    ),
    (
        "DATABRICKS_TOKEN=t DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s DATABRICKS_AUTH_TYPE=oauth-m2m",
        "",
    ),
    ("DATABRICKS_AUTH_TYPE=oauth-m2m", "[DEFAULT]\ntoken = t\nclient_id = i\nclient_secret = s"),
    ("ARM_CLIENT_ID=i ARM_CLIENT_SECRET=s ARM_TENANT_ID=x", ""),
    (
        "DATABRICKS_AZURE_RESOURCE_ID=/r ARM_CLIENT_ID=i ARM_CLIENT_SECRET=s ARM_TENANT_ID=x",
        "[DEFAULT]\ntoken = t",
    ),
    ("DATABRICKS_AUTH_TYPE=pat DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s", ""),
];

/// Where we differ on purpose: one daemon serves many workspaces, so a profile that nobody named is found by its host.
/// In each the SDK finds nothing, and we the token `t`.
const OURS_ALONE: [(&str, &str); 3] = [
    ("", "[p]\nhost = adb-1.2.azuredatabricks.net\ntoken = t"),
    ("", "[__settings__]\ndefault_profile = missing\n[p]\nhost = adb-1.2.azuredatabricks.net\ntoken = t"),
    ("DATABRICKS_HOST=https://adb-1.2.azuredatabricks.net", "[DEFAULT]\ntoken = t"),
];

fn variables_of(environment: &str) -> BTreeMap<String, String> {
    let pairs = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The host that both are for. The SDK has it in the environment or the profile, we have it from the ACON, so it
/// is put where the SDK looks without changing what else it looks at.
fn with_host(environment: &str, file: &str) -> (BTreeMap<String, String>, String) {
    let mut variables = variables_of(environment);
    let reads_file = variables.contains_key("DATABRICKS_CONFIG_PROFILE")
        || variables.keys().all(|name| name == "DATABRICKS_AUTH_TYPE");
    if !reads_file || variables.contains_key("DATABRICKS_CONFIG_PROFILE") {
        variables.insert("DATABRICKS_HOST".to_owned(), HOST.to_owned());
        return (variables, file.to_owned());
    }
    let names = ["[DEFAULT]\n", "[p]\n"].into_iter();
    let file =
        names.fold(file.to_owned(), |file, name| file.replace(name, &format!("{name}host = {HOST}\n")));
    (variables, file)
}

/// Every combination of some variables with some files: what one line of the table above misses.
fn combinations() -> Vec<(BTreeMap<String, String>, String)> {
    const SET_OR_NOT: [&str; 5] = [
        "DATABRICKS_TOKEN=t",
        "DATABRICKS_CLIENT_ID=i",
        "DATABRICKS_CLIENT_SECRET=s",
        "ARM_CLIENT_ID=ai",
        "ARM_CLIENT_SECRET=as",
    ];
    let types = ["", "pat", "oauth-m2m", "azure-client-secret"];
    let files = [
        "",
        "[DEFAULT]\ntoken = d\n[p]\ntoken = p",
        "[DEFAULT]\nclient_id = di\nclient_secret = ds\n[p]\nclient_id = pi",
        "[__settings__]\ndefault_profile = p\n[p]\ntoken = p\nazure_client_id = pai\nazure_client_secret = pas",
    ];
    let mut cases = Vec::new();
    for set in 0..1 << SET_OR_NOT.len() {
        let chosen = SET_OR_NOT.iter().enumerate().filter(|(place, _)| set & (1 << place) != 0);
        let chosen: Vec<_> = chosen.map(|(_, pair)| *pair).collect();
        for (auth_type, profile, file) in types.iter().flat_map(|auth_type| {
            ["", "p"].into_iter().flat_map(move |profile| files.map(|file| (*auth_type, profile, file)))
        }) {
            let mut pairs = chosen.join(" ");
            if !auth_type.is_empty() {
                pairs += &format!(" DATABRICKS_AUTH_TYPE={auth_type}");
            }
            if !profile.is_empty() {
                pairs += &format!(" DATABRICKS_CONFIG_PROFILE={profile}");
            }
            cases.push(with_host(&pairs, file));
        }
    }
    cases
}

fn chosen(variables: &BTreeMap<String, String>, file: &str) -> Result<Credentials, AuthError> {
    let domain = Domain::parse(HOST).unwrap();
    let explicit = Explicit { domain: &domain, token: None };
    resolve(&explicit, variables, ConfigFile { name: "file", text: Some(file) })
}

/// What was chosen, in the words of the script, but for the token; an error by its kind.
fn told(chosen: &Result<Credentials, AuthError>) -> Value {
    let error = |text: &str| json!({"error": text});
    match chosen {
        Ok(Credentials { method, .. }) => match method {
            Method::Token(_) => json!({"auth_type": method.name(), "host": HOST}),
            Method::OAuth(client) => json!({
                "auth_type": method.name(), "host": HOST, "client_id": client.client_id,
                "client_secret": client.client_secret.expose(),
            }),
            Method::Azure(principal) => json!({
                "auth_type": method.name(), "host": HOST, "client_id": principal.client_id,
                "client_secret": principal.client_secret.expose(), "tenant_id": principal.tenant_id,
                "resource_id": principal.workspace_resource_id,
            }),
        },
        Err(AuthError::SeveralMethods(methods)) => error(&format!("several: {}", methods.join(" and "))),
        Err(AuthError::NoSuchProfile { profile, .. }) => error(&format!("no profile: {profile}")),
        Err(AuthError::ReservedProfile) => error("reserved"),
        Err(AuthError::NoCredentials { .. } | AuthError::Incomplete { .. }) => error("nothing"),
        Err(other) => panic!("{other}"),
    }
}

fn is_token(chosen: &Result<Credentials, AuthError>, theirs: &str) -> bool {
    matches!(chosen, Ok(Credentials { method: Method::Token(ours), .. }) if Token::parse(theirs).as_ref() == Ok(ours))
}

#[tokio::test]
async fn credentials_are_chosen_as_the_official_sdk_chooses_them() {
    let Some(python) = python() else { return };
    let mut cases: Vec<_> = CASES.iter().map(|(environment, file)| with_host(environment, file)).collect();
    cases.extend(combinations());
    let common = cases.len();
    cases.extend(OURS_ALONE.map(|(environment, file)| (variables_of(environment), file.to_owned())));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cases.json");
    std::fs::write(&path, serde_json::to_vec(&cases).unwrap()).unwrap();
    let answer = run(python, "config_sdk.py", path.to_str().unwrap()).await;
    let mut answers: Vec<Value> = serde_json::from_str(&answer).unwrap();
    assert_eq!(answers.len(), cases.len());
    let theirs_alone = answers.split_off(common);
    for ((variables, file), theirs) in cases.split_off(common).iter().zip(theirs_alone) {
        assert!(theirs["error"].is_string() && is_token(&chosen(variables, file), "t"), "{file}: {theirs}");
    }
    let mut differences = Vec::new();
    for ((variables, file), mut theirs) in cases.iter().zip(answers) {
        let token = theirs.as_object_mut().and_then(|found| found.remove("token"));
        let chosen = chosen(variables, file);
        let same_token = token.is_none_or(|token| is_token(&chosen, token.as_str().unwrap_or_default()));
        if told(&chosen) != theirs || !same_token {
            differences.push(format!("{variables:?} {file:?}: ours {}, theirs {theirs}", told(&chosen)));
        }
    }
    let count = differences.len();
    differences.truncate(20);
    assert!(differences.is_empty(), "{count} of {common}:\n{}", differences.join("\n"));
}
