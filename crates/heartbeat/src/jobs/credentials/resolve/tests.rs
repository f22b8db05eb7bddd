use super::*;
use rstest::rstest;

const HERE: &str = "dbc-1.cloud.databricks.com";

/// `K=V` pairs, blanks between; a name in lower case is of the SDK's short form.
fn environment(pairs: &str) -> BTreeMap<String, String> {
    let pairs = pairs.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn chosen(pairs: &str, file: &str) -> Result<Credentials, AuthError> {
    let domain = Domain::parse(HERE).unwrap();
    let explicit = Explicit { domain: &domain, token: None };
    resolve(&explicit, &environment(pairs), ConfigFile { name: "the-file", text: Some(file) })
}

/// The credentials in short, or the error.
fn told(pairs: &str, file: &str) -> String {
    match chosen(pairs, file) {
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
        Ok(Credentials { method, .. }) => match method {
            Method::Token(token) => format!("pat {}", token.expose()),
            Method::OAuth(client) => {
                format!("oauth {}:{} {}", client.client_id, client.client_secret.expose(), client.scope)
            }
            Method::Azure(principal) => format!(
                "azure {}:{} {:?} {:?} {:?}",
                principal.client_id,
                principal.client_secret.expose(),
                principal.tenant_id,
                principal.cloud,
                principal.workspace_resource_id
            ),
        },
    }
}

const PROFILES: &str = "
[DEFAULT]
host = https://dbc-9.cloud.databricks.com
token = of-default
[here]
host = dbc-1.cloud.databricks.com/
token = of-here
[hostless]
token = of-hostless
[m2m]
host = https://dbc-2.cloud.databricks.com
client_id = id
client_secret = secret
";

#[rstest]
#[case::pat("DATABRICKS_TOKEN=t", "", "pat t")]
#[case::pat_with_host(
    "DATABRICKS_HOST=https://dbc-1.cloud.databricks.com:443/?o=1 DATABRICKS_TOKEN=t",
    "",
    "pat t"
)]
#[case::empty_is_unset(
    "DATABRICKS_TOKEN= DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s",
    "",
    "oauth i:s all-apis"
)]
#[case::m2m("DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s", PROFILES, "oauth i:s all-apis")]
#[case::azure("ARM_CLIENT_ID=i ARM_CLIENT_SECRET=s", "", "azure i:s None Public None")]
#[case::azure_all(
    "ARM_CLIENT_ID=i ARM_CLIENT_SECRET=s ARM_TENANT_ID=t ARM_ENVIRONMENT=usgovernment DATABRICKS_AZURE_RESOURCE_ID=/r",
    "",
    r#"azure i:s Some("t") UsGovernment Some("/r")"#
)]
#[case::environment_hides_the_file("DATABRICKS_TOKEN=t", "[broken", "pat t")]
#[case::by_host("", PROFILES, "pat of-here")]
#[case::named("DATABRICKS_CONFIG_PROFILE=here", PROFILES, "pat of-here")]
#[case::named_without_host("DATABRICKS_CONFIG_PROFILE=hostless", PROFILES, "pat of-hostless")]
#[case::environment_first("DATABRICKS_CONFIG_PROFILE=here DATABRICKS_TOKEN=t", PROFILES, "pat t")]
#[case::half_and_half(
    "DATABRICKS_CONFIG_PROFILE=x DATABRICKS_CLIENT_SECRET=env",
    "[x]\nclient_id = file\nclient_secret = file",
    "oauth file:env all-apis"
)]
#[case::default("", "[DEFAULT]\ntoken = d", "pat d")]
#[case::default_named(
    "",
    "[__settings__]\ndefault_profile = x\n[x]\ntoken = x\n[DEFAULT]\ntoken = d",
    "pat x"
)]
#[case::the_default_breaks_a_tie(
    "",
    "[__settings__]\ndefault_profile = b\n[a]\nhost = dbc-1.cloud.databricks.com\ntoken = a\n[b]\nhost = dbc-1.cloud.databricks.com\ntoken = b",
    "pat b"
)]
#[case::default_breaks_a_tie(
    "",
    "[a]\nhost = dbc-1.cloud.databricks.com\ntoken = a\n[DEFAULT]\nhost = dbc-1.cloud.databricks.com\ntoken = d",
    "pat d"
)]
#[case::no_inheritance(
    "DATABRICKS_CONFIG_PROFILE=x",
    "[DEFAULT]\nclient_secret = s\n[x]\nclient_id = i",
    "lacks `client_secret`"
)]
#[case::host_alone_still_finds_the_profile(
    "DATABRICKS_HOST=dbc-1.cloud.databricks.com",
    PROFILES,
    "pat of-here"
)]
#[case::auth_type_picks(
    "DATABRICKS_AUTH_TYPE=oauth-m2m DATABRICKS_TOKEN=t DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s",
    "",
    "oauth i:s all-apis"
)]
#[case::auth_type_picks_pat("DATABRICKS_AUTH_TYPE=pat DATABRICKS_TOKEN=t ARM_CLIENT_ID=i", "", "pat t")]
#[case::auth_type_over_a_profile(
    "DATABRICKS_AUTH_TYPE=oauth-m2m",
    "[x]\nhost=dbc-1.cloud.databricks.com\ntoken=t\nclient_id=i\nclient_secret=s\nscopes = jobs, sql,jobs",
    "oauth i:s jobs sql"
)]
fn credentials_are_chosen_as_the_sdks_do(#[case] pairs: &str, #[case] file: &str, #[case] expected: &str) {
    let told = told(pairs, file);
    assert!(told.contains(expected), "{told}");
}

#[rstest]
#[case::nothing("", "", "DATABRICKS_TOKEN")]
#[case::two("DATABRICKS_TOKEN=t DATABRICKS_CLIENT_ID=i", "", "oauth and pat")]
#[case::half("DATABRICKS_CLIENT_ID=i", "", "oauth-m2m lacks `client_secret` (DATABRICKS_CLIENT_SECRET)")]
#[case::half_azure("ARM_CLIENT_ID=i", "", "lacks `azure_client_secret` (ARM_CLIENT_SECRET)")]
#[case::wanted_but_absent("DATABRICKS_AUTH_TYPE=pat DATABRICKS_CLIENT_ID=i", "", "pat lacks `token`")]
#[case::basic(
    "DATABRICKS_USERNAME=u DATABRICKS_PASSWORD=p",
    "",
    "method basic is not served; use a personal"
)]
#[case::azure_cli("DATABRICKS_AUTH_TYPE=azure-cli", "", "azure-cli is not served; use a service principal")]
#[case::msi("ARM_USE_MSI=true", "", "azure-msi")]
#[case::google("GOOGLE_CREDENTIALS={}", "", "google is not served")]
#[case::env_oidc("DATABRICKS_OIDC_TOKEN=x DATABRICKS_AUTH_TYPE=env-oidc", "", "env-oidc is not served")]
#[case::file_oidc("DATABRICKS_OIDC_TOKEN_FILE=x", "", "file-oidc is not served")]
#[case::metadata("DATABRICKS_METADATA_SERVICE_URL=x", "", "metadata-service is not served")]
#[case::browser("DATABRICKS_AUTH_TYPE=external-browser", "", "external-browser")]
#[case::made_up("DATABRICKS_AUTH_TYPE=telepathy", "", "telepathy")]
#[case::group("DATABRICKS_GROUP_ID=g DATABRICKS_TOKEN=t", "", "group_id")]
#[case::elsewhere(
    "DATABRICKS_HOST=dbc-2.cloud.databricks.com DATABRICKS_TOKEN=t",
    "",
    "DATABRICKS_HOST is dbc-2"
)]
#[case::insecure_host(
    "DATABRICKS_HOST=http://dbc-1.cloud.databricks.com DATABRICKS_TOKEN=t",
    "",
    "DATABRICKS_HOST is http://"
)]
#[case::azure_elsewhere(
    "DATABRICKS_HOST=dbc-2.cloud.databricks.com ARM_CLIENT_ID=i ARM_CLIENT_SECRET=s",
    "",
    "no credentials for https://dbc-1"
)]
#[case::profile_elsewhere("DATABRICKS_CONFIG_PROFILE=m2m", PROFILES, "profile `m2m` is for https://dbc-2")]
#[case::profile_of_the_other_host(
    "DATABRICKS_CONFIG_PROFILE=hostless DATABRICKS_HOST=dbc-2.cloud.databricks.com",
    PROFILES,
    "profile `hostless` is for dbc-2"
)]
#[case::default_elsewhere(
    "",
    "[DEFAULT]\nhost = dbc-9.cloud.databricks.com\ntoken = t",
    "default profile `DEFAULT` is for dbc-9"
)]
#[case::no_profile("DATABRICKS_CONFIG_PROFILE=x", PROFILES, "the-file has no profile `x`")]
#[case::no_default("", "[__settings__]\ndefault_profile = x", "the-file has no profile `x`")]
#[case::reserved("DATABRICKS_CONFIG_PROFILE=__settings__", PROFILES, "reserved")]
#[case::reserved_default("", "[__settings__]\ndefault_profile = __settings__", "reserved")]
#[case::several(
    "",
    "[b]\nhost = dbc-1.cloud.databricks.com\n[a]\nhost = https://dbc-1.cloud.databricks.com",
    "several profiles for https://dbc-1.cloud.databricks.com: a, b"
)]
#[case::cloud("ARM_CLIENT_ID=i ARM_CLIENT_SECRET=s ARM_ENVIRONMENT=mars", "", "azure_environment")]
#[case::bad_token("DATABRICKS_TOKEN=ä", "", "non-ASCII")]
fn what_cannot_be_used_is_named_with_the_way_out(
    #[case] pairs: &str,
    #[case] file: &str,
    #[case] expected: &str,
) {
    assert!(chosen(pairs, file).is_err());
    let told = told(pairs, file);
    assert!(told.contains(expected), "{told}");
}

#[test]
fn the_environment_of_another_workspace_leaves_the_profile_of_this_one() {
    let pairs =
        "DATABRICKS_HOST=dbc-2.cloud.databricks.com DATABRICKS_TOKEN=t DATABRICKS_AUTH_TYPE=azure-cli";
    assert_eq!(told(pairs, PROFILES), "pat of-here");
    assert_eq!(
        chosen(pairs, PROFILES).unwrap().origin,
        Origin::Profile { file: "the-file".to_owned(), name: "here".to_owned() }
    );
}

#[test]
fn the_token_of_the_acon_comes_before_everything() {
    let domain = Domain::parse(HERE).unwrap();
    let explicit = Explicit { domain: &domain, token: Some(Token::parse("own").unwrap()) };
    let pairs =
        environment("DATABRICKS_CLIENT_ID=i DATABRICKS_CONFIG_PROFILE=none DATABRICKS_WORKSPACE_ID=7");
    assert!(!needs_file(&explicit, &pairs));
    let file = ConfigFile { name: "f", text: None };
    let found = resolve(&explicit, &pairs, file).unwrap();
    assert!(found.is_same(&Token::parse("own").unwrap().into()) && found.origin == Origin::Given);
}

#[rstest]
#[case("", true)]
#[case("DATABRICKS_TOKEN=t", false)]
#[case("DATABRICKS_AZURE_RESOURCE_ID=/r", false)]
#[case("DATABRICKS_TOKEN=t DATABRICKS_CONFIG_PROFILE=p", true)]
#[case("DATABRICKS_HOST=dbc-1.cloud.databricks.com", true)]
#[case("DATABRICKS_HOST=elsewhere.example DATABRICKS_TOKEN=t", true)]
fn the_file_is_needed_only_where_it_can_count(#[case] pairs: &str, #[case] needed: bool) {
    let domain = Domain::parse(HERE).unwrap();
    assert_eq!(needs_file(&Explicit { domain: &domain, token: None }, &environment(pairs)), needed);
}

#[test]
fn the_workspace_id_goes_along_and_nothing_secret_is_shown() {
    let found =
        chosen("DATABRICKS_CLIENT_ID=i DATABRICKS_CLIENT_SECRET=s3cret DATABRICKS_WORKSPACE_ID=7", "")
            .unwrap();
    assert_eq!(found.workspace_id.as_deref(), Some("7"));
    let file = ConfigFile { name: "f", text: Some("token = s3cret") };
    let shown = format!("{found:?} {file:?} {:?}", chosen("", "[a]\ntoken = s3cret\n[b\n"));
    assert!(!shown.contains("s3cret"), "{shown}");
}
