//! `trigger-file create --print-snippet`: what is printed is run, with stand-ins for what is not here.

use std::process::{Command, Stdio};

use rstest::rstest;

use super::*;
use crate::support::project::Done;

/// Ids that mean something to shells, templates and format strings.
const ODD: [&str; 4] = ["my_trigger", "it's $HOME `id`; {x} {{ x }}", "a \"b\" <<put>> %s", "-é \n#"];

fn snippet(project: &Project, kind: &str, base: &str, id: &str, args: &[&str]) -> String {
    let id = format!("--sensor-id={id}");
    let create = ["trigger-file", "create", "--base", base, &id, "--print-snippet", kind];
    let before = project.files();
    let printed = project.good(&[&create[..], args].concat()).out;
    assert_eq!(project.files(), before, "nothing is written");
    let document = project.json(&[&create[..], args].concat());
    assert_eq!(document, serde_json::json!({"snippet": printed}));
    printed
}

/// Runs a program on a script that is its last argument.
fn run(command: &mut Command, script: &str) -> Done {
    let output = command.arg(script).stdin(Stdio::null()).output().unwrap();
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(super) fn bash(script: &str, prepare: impl FnOnce(&mut Command)) -> Done {
    let mut command = Command::new("bash");
    prepare(command.arg("-c"));
    run(&mut command, script)
}

/// `None` where there is no Python.
fn python(script: &str, prepare: impl FnOnce(&mut Command)) -> Option<Done> {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3");
        return None;
    }
    let mut command = Command::new("python3");
    prepare(command.args(["-X", "utf8", "-c"]));
    Some(run(&mut command, script))
}

/// Two files with documented names and the documented body, and nothing else.
fn holds_two(folder: &Path, id: &str) {
    let names = names(folder);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in &names {
        assert!(heartbeat_core::files::stamp_of(name, id).is_some(), "{name}");
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), "Success");
    }
}

#[test]
fn bash_drops_files_that_are_found() {
    let id = ODD[1];
    let project = with_rows(&[(id, "7", "UNPAUSED")]);
    let base = "odd 'base' $HOME";
    let acon = std::fs::read_to_string(project.path().join("files.yaml")).unwrap();
    project.write("files.yaml", &acon.replace(": triggers\n", &format!(": \"{base}\"\n")));
    let script = snippet(&project, "bash", base, id, &[]);
    let bin = stand_ins(&project);
    for _ in 0..2 {
        // As it is pasted: between other lines.
        let done = bash(&format!("set -e\n{script}\necho went on"), |command| {
            command.env_clear().env("PATH", path(&[&bin])).env("CLOCK", project.path().join("clock"));
        });
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), "went on\n", ""), "{done:?}");
    }
    let folder = project.path().join(base).join(id);
    holds_two(&folder, id);
    assert_eq!(news(&project.json(&CHECK))["7"], names(&folder));
}

#[test]
fn bash_ends_with_what_went_wrong() {
    let project = Project::bare();
    let script = snippet(&project, "bash", "file/base", "x", &[]);
    project.write("file", "no folder");
    let done = bash(&format!("{script}\nexit $?"), |_| {});
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.err.contains("/file"), "{done:?}");
}

/// The search path, with folders in front.
#[expect(clippy::disallowed_methods, reason = "the search path of this machine")]
fn path(first: &[&Path]) -> String {
    let first = first.iter().map(|path| path.display().to_string());
    first.chain(std::env::var("PATH")).collect::<Vec<_>>().join(":")
}

/// Stand-ins for the stores' command lines: they keep files below `$STORE`, and refuse a name that is taken as the real
/// ones do. A clock that moves on when somebody sleeps: all files are dropped in one second.
const COMMANDS: [(&str, &str); 6] = [
    (
        "date",
        "[ \"$*\" = '-u +%Y%m%d_%H%M%S' ] || exit 9
        printf '20260102_0304%02d' \"$(cat \"$CLOCK\" 2>/dev/null || echo 0)\"",
    ),
    ("sleep", "echo $(($(cat \"$CLOCK\" 2>/dev/null || echo 0) + $1)) >\"$CLOCK\""),
    (
        "aws",
        "[ \"$1 $2\" = 's3api put-object' ] || exit 9
        while [ $# -gt 0 ]; do case $1 in --bucket) b=$2;; --key) k=$2;; --body) f=$2;; --if-none-match) c=$2;; esac; shift; done
        [ \"$c\" = '*' ] || exit 9
        if [ -e \"$STORE/$b/$k\" ]; then echo 'An error occurred (PreconditionFailed) when calling' >&2; exit 254; fi
        mkdir -p \"$(dirname \"$STORE/$b/$k\")\"; cp \"$f\" \"$STORE/$b/$k\"",
    ),
    (
        "az",
        "[ \"$1 $2 $3\" = 'storage blob upload' ] || exit 9
        while [ $# -gt 0 ]; do case $1 in --container-name) b=$2;; --name) k=$2;; --file) f=$2;; --overwrite) c=$2;; --account-name) a=$2;; esac; shift; done
        [ \"$c $a\" = 'false acc' ] || exit 9
        if [ -e \"$STORE/$b/$k\" ]; then echo 'ErrorCode:BlobAlreadyExists' >&2; exit 1; fi
        mkdir -p \"$(dirname \"$STORE/$b/$k\")\"; cp \"$f\" \"$STORE/$b/$k\"",
    ),
    (
        "gcloud",
        "[ \"$1 $2 $3\" = 'storage cp --if-generation-match=0' ] || exit 9
        k=$STORE/${5#gs://}
        if [ -e \"$k\" ]; then echo 'ERROR: HTTPError 412: At least one of the pre-conditions you specified did not hold.' >&2; exit 1; fi
        mkdir -p \"$(dirname \"$k\")\"; cp \"$4\" \"$k\"",
    ),
    (
        "databricks",
        "k=$STORE/${3#dbfs:/}; [ $# = 3 ] || k=$STORE/${4#dbfs:/}
        case \"$1 $2\" in
        'fs mkdirs') mkdir -p \"$k\";;
        'fs cp') if [ -e \"$k\" ]; then echo \"$3 -> $4 (skipped; already exists)\"; else cp \"$3\" \"$k\"; fi;;
        *) exit 9;;
        esac",
    ),
];

/// The folder of the stand-ins.
fn stand_ins(project: &Project) -> std::path::PathBuf {
    for (name, script) in COMMANDS {
        project.write(&format!("bin/{name}"), &format!("#!/usr/bin/env bash\nset -eu\n{script}\n"));
        let path = project.path().join("bin").join(name);
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    project.path().join("bin")
}

#[rstest]
#[case("s3://heartbeat/t r/x", "heartbeat/t r/x")]
#[case("s3://heartbeat", "heartbeat")]
#[case("abfss://c@acc.dfs.core.windows.net/x", "c/x")]
#[case("gs://b/x", "b/x")]
#[case("/Volumes/c/s/v/x", "Volumes/c/s/v/x")]
#[case("dbfs:/mnt/x", "mnt/x")]
fn bash_uses_the_command_line_of_each_store(#[case] base: &str, #[case] below: &str) {
    let project = Project::bare();
    let bin = stand_ins(&project);
    let store = project.path().join("store");
    for id in ODD {
        let script = snippet(&project, "bash", base, id, &[]);
        for _ in 0..2 {
            let done = bash(&script, |command| {
                let clock = project.path().join("clock");
                command.env("PATH", path(&[&bin])).env("STORE", &store).env("CLOCK", clock);
            });
            assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{done:?}\n{script}");
        }
        holds_two(&store.join(below).join(id), id);
    }
}

/// Stands for a notebook's `dbutils`.
const DBUTILS: &str = r#"
import os

class Files:
    def put(self, path, text, overwrite=False):
        assert not overwrite
        assert path.startswith(os.environ["BEGINNING"]), path
        path = os.environ["STORE"] + path[len(os.environ["BEGINNING"]):]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            raise Exception("java.nio.file.FileAlreadyExistsException: " + path)
        with open(path, "w", newline="") as file:
            file.write(text)
        return True

class Secrets:
    def get(self, scope, key):
        assert (scope, key) == ("my scope", "my'key"), (scope, key)
        return os.environ["HB_KEY"]

class dbutils:
    fs = Files()
    secrets = Secrets()
"#;

#[rstest]
#[case("s3://b/x", "s3://b/x")]
#[case("abfss://c@acc.dfs.core.windows.net/x y", "abfss://c@acc.dfs.core.windows.net/x y")]
#[case("/Volumes/c/s/v", "/Volumes/c/s/v")]
#[case("dbfs:/mnt/x", "dbfs:/mnt/x")]
fn notebook_drops_files(#[case] base: &str, #[case] beginning: &str) {
    let project = Project::bare();
    let store = project.path().join("store");
    for id in ODD {
        let script = format!("{DBUTILS}\n{}", snippet(&project, "dbutils", base, id, &[]));
        for _ in 0..2 {
            let done = python(&script, |command| {
                command.env("STORE", &store).env("BEGINNING", beginning);
            });
            let Some(done) = done else { return };
            assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{done:?}\n{script}");
        }
        holds_two(&store.join(id), id);
    }
}

/// What stands for a worker of Airflow: the operator, and hooks of providers over a folder.
const AIRFLOW: [(&str, &str); 6] = [
    (
        "airflow/operators/python.py",
        "class PythonOperator:
    def __init__(self, task_id, python_callable):
        self.python_callable = python_callable\n",
    ),
    (
        "airflow/models/__init__.py",
        "import os
class Variable:
    def get(name):
        assert name == 'heartbeat_signing_key'
        return os.environ['HB_KEY']\n",
    ),
    (
        "airflow/providers/amazon/aws/hooks/s3.py",
        "import store
class S3Hook:
    def __init__(self, aws_conn_id): pass
    def load_string(self, string_data, key, bucket_name=None, replace=False):
        if not store.put(bucket_name, key, string_data):
            raise ValueError(f'The key {key} already exists.')\n",
    ),
    (
        "airflow/providers/microsoft/azure/hooks/wasb.py",
        "import store
from azure.core.exceptions import ResourceExistsError
class WasbHook:
    def __init__(self, wasb_conn_id): pass
    def load_string(self, string_data, container_name, blob_name, create_container=False, **kwargs):
        assert kwargs == {'overwrite': False}
        if not store.put(container_name, blob_name, string_data):
            raise ResourceExistsError()\n",
    ),
    (
        "airflow/providers/google/cloud/hooks/gcs.py",
        "import store
from google.api_core.exceptions import PreconditionFailed
class GCSHook:
    def __init__(self, gcp_conn_id): pass
    def get_conn(self): return self
    def bucket(self, name):
        self.name = name
        return self
    def blob(self, key):
        self.key = key
        return self
    def upload_from_string(self, text, if_generation_match):
        if if_generation_match != 0 or not store.put(self.name, self.key, text):
            raise PreconditionFailed()\n",
    ),
    (
        "store.py",
        "import os
def put(bucket, key, text):
    path = os.path.join(os.environ['STORE'], bucket, key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path): return False
    with open(path, 'w', newline='') as file: file.write(text)
    return True\n",
    ),
];

/// A folder that Python finds the stand-ins in.
fn airflow(project: &Project) -> String {
    for (path, text) in AIRFLOW {
        project.write(&format!("python/{path}"), text);
    }
    for (path, name) in [("azure/core", "ResourceExistsError"), ("google/api_core", "PreconditionFailed")] {
        project.write(&format!("python/{path}/exceptions.py"), &format!("class {name}(Exception): pass\n"));
    }
    project.path().join("python").display().to_string()
}

#[rstest]
#[case("s3://heartbeat/t r/x", "heartbeat/t r/x")]
#[case("abfss://c@acc.dfs.core.windows.net", "c")]
#[case("gs://b/x", "b/x")]
#[case("store/local $HOME", "local $HOME")]
fn airflow_drops_files(#[case] base: &str, #[case] below: &str) {
    let project = Project::bare();
    let modules = airflow(&project);
    let store = project.path().join("store");
    for id in ODD {
        let script = snippet(&project, "airflow", base, id, &[]);
        let script = format!("{script}\nfor _ in range(2): drop_trigger.python_callable()");
        let binary = Path::new(env!("CARGO_BIN_EXE_heartbeat")).parent().unwrap();
        let done = python(&script, |command| {
            command.env("PYTHONPATH", &modules).env("STORE", &store).env("PATH", path(&[binary]));
        });
        let Some(done) = done else { return };
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{done:?}\n{script}");
        holds_two(&store.join(below).join(id), id);
    }
}

#[rstest]
#[case("env:HB_KEY")]
#[case("file:key")]
#[case("scope:my scope/my'key")]
fn signatures_of_snippets_are_believed(#[case] reference: &str) {
    let id = ODD[1];
    let project = with_rows(&[(id, "7", "UNPAUSED")]);
    configure(&project, "trigger_file_options: {signing_key: 'env:HB_KEY'}");
    let modules = airflow(&project);
    let key = "a $key 'with' \"quotes\" é";
    project.write("key", &format!("{key}\n"));
    let folder = project
        .path()
        .join("triggers")
        .canonicalize()
        .unwrap_or_else(|_| project.path().canonicalize().unwrap().join("triggers"));
    let binary = Path::new(env!("CARGO_BIN_EXE_heartbeat")).parent().unwrap();
    let prepare = |command: &mut Command| {
        command
            .current_dir(project.path())
            .env("HB_KEY", key)
            .env("HEARTBEAT_SIGNING_KEY", key)
            .env("PYTHONPATH", &modules)
            .env("PATH", path(&[binary]))
            .env("BEGINNING", format!("file:{}", folder.display()))
            .env("STORE", &folder);
    };
    for kind in ["bash", "dbutils", "airflow"] {
        // Notebooks take keys from scopes only.
        let reference = if kind == "dbutils" { "scope:my scope/my'key" } else { reference };
        let script = snippet(&project, kind, "triggers", id, &["--signing-key", reference]);
        assert!(!script.contains(key), "{script}");
        let done = match kind {
            "bash" => Some(bash(&script, prepare)),
            "dbutils" => python(&format!("{DBUTILS}\n{script}"), prepare),
            _ => python(&format!("{script}\ndrop_trigger.python_callable()"), prepare),
        };
        let Some(done) = done else { return };
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{kind}: {done:?}\n{script}");
    }
    let done = project.run_with(&[&CHECK[..], &["--output", "json"]].concat(), |command| {
        command.env("HB_KEY", key);
    });
    let found = news(&serde_json::from_str(&done.out).unwrap());
    assert_eq!(found["7"], names(&folder.join(id)), "{done:?}");
    assert_eq!(found["7"].len(), 3);
}

#[test]
fn keys_stay_where_they_are_kept() {
    let project = with_rows(&[("x", "7", "UNPAUSED")]);
    configure(
        &project,
        "trigger_file_options: {signing_key: 'hush'}\nstorage_options: {aws_secret_access_key: hush}",
    );
    for base in ["triggers", "s3://b/x"] {
        for kind in ["dbutils", "airflow", "bash"] {
            let create =
                ["trigger-file", "create", "--acon", "files.yaml", "--base", base, "--sensor-id", "x"];
            let script = project.good(&[&create[..], &["--print-snippet", kind]].concat()).out;
            assert!(
                !script.contains("hush") && script.contains("igning_key") | script.contains("SIGNING_KEY"),
                "{script}"
            );
        }
    }
}

#[test]
fn storage_account_that_a_notebook_needs_is_asked_for() {
    let project = Project::bare();
    let create =
        ["trigger-file", "create", "--base", "az://c/x", "--sensor-id", "x", "--print-snippet", "dbutils"];
    project.refused(&create, &["abfss://CONTAINER@ACCOUNT"]);
    let named = ["--storage-option", "azure_storage_account_name=acc"];
    let script = project.good(&[&create[..], &named].concat()).out;
    assert!(script.contains("\"abfss://c@acc.dfs.core.windows.net/x\""), "{script}");
}
