use std::os::unix::fs::symlink;

use axum::http::HeaderMap;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

struct Folder {
    dir: tempfile::TempDir,
    config: FilesConfig,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("served");
        std::fs::create_dir_all(served.join("Volumes/c/s/v/sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(served.join("Volumes/c/s/v/a"), "hello").unwrap();
        let config = FilesConfig { folder: prepare(&served).unwrap(), page: 2 };
        std::fs::write(served.join("dbfs/d"), "there").unwrap();
        Self { dir, config }
    }

    fn volume(&self, path: &str) -> PathBuf {
        self.config.folder.join("Volumes/c/s/v").join(path)
    }

    fn reply(&self, method: &str, target: &str, body: &[u8], headers: &HeaderMap) -> Option<Reply> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/api/2.0/{path}") };
        answer(&self.config, &Request { method, path: &path, query, headers, body })
    }

    fn call(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let reply = self.reply(method, target, body.as_bytes(), &HeaderMap::new()).unwrap();
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_else(|_| reply.told().into()))
    }

    /// Status and code of a refusal.
    fn refused(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let (status, told) = self.call(method, target, body);
        (status, told["error_code"].as_str().unwrap_or_default().to_owned())
    }

    /// All that is there, outside of what is served too.
    fn everything(&self) -> Vec<(PathBuf, String)> {
        let (mut found, mut below) = (Vec::new(), vec![self.dir.path().to_owned()]);
        while let Some(folder) = below.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    below.push(path.clone());
                }
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap_or_default()));
            }
        }
        found.sort();
        found
    }
}

#[rstest]
#[case("fs/files/Volumes/c/s/v/../../../../secret")]
#[case("fs/files/Volumes/c/s/v/%2e%2e/%2E%2E/%2e%2e/%2e%2e/%2e%2e/secret")]
#[case("fs/files/Volumes/c/s/v/.%2e/a")]
#[case("fs/files/Volumes/c/s/v/..%2f..%2f..%2f..%2f..%2fsecret")]
#[case("fs/files/Volumes/c/s/v/%2Fetc%2Fpasswd")]
#[case("fs/files/Volumes/c/s/v//etc/passwd")]
#[case("fs/files//etc/passwd")]
#[case("fs/files/etc/passwd")]
#[case("fs/files/dbfs/c/s/v")]
#[case("fs/files/Volumes/../dbfs/d")]
#[case("fs/files/Volumes/c/s/..")]
#[case("fs/files/Volumes/c/s")]
#[case("fs/files/Volumes/c/s/v/%00")]
#[case("fs/files/Volumes/c/s/v/%ff")]
#[case("fs/files/Volumes/c/s/v/out")]
#[case("fs/files/Volumes/c/s/v/way/secret")]
#[case("fs/files/Volumes/c/s/v/way/new")]
#[case("fs/files/Volumes/c/s/link/new")]
#[case("fs/directories/Volumes/c/s/v/way")]
#[case("fs/directories/Volumes/c/s/v/way/new")]
#[case("fs/directories/Volumes/c/s/v/../../../..")]
#[case("fs/directories/Volumes/c/s/new")]
#[case("fs/directories/Volumes")]
#[case("fs/directories/")]
fn no_path_of_the_files_api_leads_out_of_a_volume(#[case] target: &str) {
    let folder = Folder::new();
    symlink(folder.dir.path().join("secret"), folder.volume("out")).unwrap();
    symlink(folder.dir.path(), folder.volume("way")).unwrap();
    symlink(folder.dir.path(), folder.config.folder.join("Volumes/c/s/link")).unwrap();
    let before = folder.everything();
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let reply = folder.reply(method, target, b"new", &HeaderMap::new()).unwrap();
        assert!(
            (400..405).contains(&reply.status) && !reply.told().contains("secret"),
            "{method}: {reply:?}"
        );
    }
    assert_eq!(folder.everything(), before);
}

#[rstest]
#[case("/../../secret")]
#[case("/./d")]
#[case("//etc/passwd")]
#[case("/a//b")]
#[case("secret")]
#[case("../secret")]
#[case("/out")]
#[case("/way")]
#[case("/way/secret")]
#[case("/way/new")]
#[case("/Volumes/c/s/v/a")]
#[case("/\u{0}")]
#[case("/")]
fn no_path_of_dbfs_leads_out_of_it(#[case] path: &str) {
    let folder = Folder::new();
    let dbfs = folder.config.folder.join("dbfs");
    symlink(folder.dir.path().join("secret"), dbfs.join("out")).unwrap();
    symlink(folder.dir.path(), dbfs.join("way")).unwrap();
    let before = folder.everything();
    let encoded: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    let body = json!({"path": path, "contents": "eA==", "overwrite": true, "recursive": true}).to_string();
    for (method, call) in [
        ("GET", format!("dbfs/read?path={encoded}")),
        ("GET", format!("dbfs/get-status?path={encoded}")),
        ("GET", format!("dbfs/list?path={encoded}")),
        ("POST", "dbfs/put".to_owned()),
        ("POST", "dbfs/delete".to_owned()),
        ("POST", "dbfs/mkdirs".to_owned()),
    ] {
        let reply = folder.reply(method, &call, body.as_bytes(), &HeaderMap::new()).unwrap();
        let of_root = path == "/" && ["get-status", "list", "mkdirs"].iter().any(|name| call.contains(name));
        assert!(of_root || (400..405).contains(&reply.status), "{call}: {reply:?}");
        assert!(!reply.told().contains("secret") && !reply.told().contains("way"), "{call}: {reply:?}");
    }
    assert_eq!(folder.everything(), before);
}

#[test]
fn a_whole_tree_that_is_a_link_is_not_entered() {
    let folder = Folder::new();
    let dbfs = folder.config.folder.join("dbfs");
    std::fs::remove_dir_all(&dbfs).unwrap();
    symlink(folder.dir.path(), &dbfs).unwrap();
    assert_eq!(folder.refused("GET", "dbfs/list?path=/", "").0, 403);
    let volumes = folder.config.folder.join("Volumes");
    std::fs::rename(&volumes, folder.dir.path().join("moved")).unwrap();
    symlink(folder.dir.path().join("moved"), &volumes).unwrap();
    assert_eq!(folder.refused("GET", "fs/files/Volumes/c/s/v/a", "").0, 404);
}

#[test]
fn a_file_is_created_read_in_part_and_deleted() {
    let folder = Folder::new();
    let file = "fs/files/Volumes/c/s/v/sub/a%20b%25%23%3F%C3%A9";
    assert_eq!(folder.call("PUT", &format!("{file}?overwrite=false"), "first").0, 204);
    let again = folder.refused("PUT", &format!("{file}?overwrite=false"), "second");
    assert_eq!(again, (409, "ALREADY_EXISTS".to_owned()));
    assert_eq!(std::fs::read_to_string(folder.volume("sub/a b%#?é")).unwrap(), "first");
    let headers = HeaderMap::from_iter([(axum::http::header::RANGE, "bytes=1-2".parse().unwrap())]);
    let part = folder.reply("GET", file, b"", &headers).unwrap();
    assert_eq!((part.status, part.told().as_str()), (206, "ir"));
    assert!(part.headers.contains(&("content-range".to_owned(), "bytes 1-2/5".to_owned())), "{part:?}");
    assert_eq!(folder.call("PUT", file, "").0, 204);
    assert_eq!(folder.reply("GET", file, b"", &headers).unwrap().status, 416);
    assert_eq!(folder.call("DELETE", file, "").0, 204);
    assert_eq!(folder.refused("DELETE", file, ""), (404, "NOT_FOUND".to_owned()));
    assert_eq!(folder.refused("GET", file, ""), (404, "NOT_FOUND".to_owned()));
    let orphan = folder.refused("PUT", "fs/files/Volumes/c/s/v/none/x", "x");
    assert_eq!(orphan, (404, "NOT_FOUND".to_owned()));
    assert_eq!(folder.refused("PUT", "fs/files/Volumes/c/s/v/sub", "x").0, 409);
    assert_eq!(folder.refused("PUT", "fs/files/Volumes/c/s/none/x", "x"), (404, "NOT_FOUND".to_owned()));
}

#[test]
fn directories_are_made_with_what_is_above_and_listed_page_by_page() {
    let folder = Folder::new();
    for _ in 0..2 {
        assert_eq!(folder.call("PUT", "fs/directories/Volumes/c/s/v/x/y", "").0, 204);
    }
    symlink(folder.dir.path(), folder.volume("b")).unwrap();
    let whole = "fs/directories/Volumes/c/s/v";
    let (_, first) = folder.call("GET", &format!("{whole}?page_size=5000"), "");
    let names = |page: &Value| -> Vec<String> {
        page["contents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(names(&first), ["a", "sub"]);
    assert_eq!(first["contents"][0]["file_size"], 5);
    assert_eq!(first["contents"][1]["path"], "/Volumes/c/s/v/sub");
    assert!(first["contents"][1].get("file_size").is_none());
    let token = first["next_page_token"].as_str().unwrap();
    let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let (_, second) = folder.call("GET", &format!("{whole}?page_size=1&page_token={token}"), "");
    assert_eq!((names(&second), second.get("next_page_token")), (vec!["x".to_owned()], None));
    assert_eq!(folder.call("GET", &format!("{whole}/sub/"), ""), (200, json!({})));
    assert_eq!(folder.call("HEAD", &format!("{whole}/x/y"), "").0, 200);
    assert_eq!(folder.refused("DELETE", &format!("{whole}/x"), "").0, 400);
    assert_eq!(folder.call("DELETE", &format!("{whole}/x/y"), "").0, 204);
    assert_eq!(folder.refused("GET", &format!("{whole}/x/y"), ""), (404, "NOT_FOUND".to_owned()));
    assert_eq!(folder.refused("GET", &format!("{whole}/a"), "").0, 404);
    assert_eq!(folder.refused("PUT", &format!("{whole}/a/b"), "").0, 409);
    assert_eq!(folder.refused("DELETE", whole, "").0, 400);
    assert!(folder.reply("POST", whole, b"", &HeaderMap::new()).is_none());
}

#[test]
fn dbfs_answers_as_it_is_documented() {
    let folder = Folder::new();
    let put = |path: &str, overwrite: bool| {
        let body = json!({"path": path, "contents": base64_of("hello"), "overwrite": overwrite});
        folder.call("POST", "dbfs/put", &body.to_string())
    };
    let refused = |(status, told): (u16, Value)| (status, told["error_code"].as_str().unwrap().to_owned());
    let exists = (400, "RESOURCE_ALREADY_EXISTS".to_owned());
    let missing = (404, "RESOURCE_DOES_NOT_EXIST".to_owned());
    assert_eq!(put("/x/y/f", false), (200, json!({})));
    assert_eq!(refused(put("/x/y/f", false)), exists);
    assert_eq!(put("/x/y/f", true), (200, json!({})));
    assert_eq!(refused(put("/x/y", true)), exists);
    assert_eq!(refused(put("/x/y/f/g", true)), exists);
    let (_, root) = folder.call("GET", "dbfs/list?path=/", "");
    assert_eq!(root["files"].as_array().unwrap().len(), 2);
    assert_eq!(root["files"][1]["path"], "/x");
    let (_, one) = folder.call("GET", "dbfs/list?path=/x/y/f", "");
    assert_eq!((&one["files"][0]["path"], &one["files"][0]["file_size"]), (&json!("/x/y/f"), &json!(5)));
    let (_, status) = folder.call("GET", "dbfs/get-status?path=/x/y", "");
    assert_eq!((&status["is_dir"], &status["file_size"]), (&json!(true), &json!(0)));
    let (_, block) = folder.call("GET", "dbfs/read?path=/x/y/f&offset=1&length=2", "");
    assert_eq!(block, json!({"bytes_read": 2, "data": base64_of("el")}));
    for (query, code) in [
        ("path=/x/y/f&length=1048577", "MAX_READ_SIZE_EXCEEDED"),
        ("path=/x/y/f&offset=-1", "INVALID_PARAMETER_VALUE"),
        ("path=/x", "INVALID_PARAMETER_VALUE"),
    ] {
        assert_eq!(folder.refused("GET", &format!("dbfs/read?{query}"), ""), (400, code.to_owned()));
    }
    for call in ["read", "list", "get-status"] {
        assert_eq!(folder.refused("GET", &format!("dbfs/{call}?path=/none"), ""), missing);
    }
    let delete = |path: &str, recursive: bool| {
        folder.call("POST", "dbfs/delete", &json!({"path": path, "recursive": recursive}).to_string())
    };
    assert_eq!(refused(delete("/x", false)), (400, "IO_ERROR".to_owned()));
    assert_eq!((delete("/x", true).0, delete("/x", true).0), (200, 200));
    assert_eq!(folder.call("POST", "dbfs/mkdirs", r#"{"path": "/m/n"}"#).0, 200);
    assert_eq!(folder.refused("POST", "dbfs/mkdirs", r#"{"path": "/d/n"}"#), exists);
    assert_eq!(folder.call("GET", "dbfs/list?path=/m/n", ""), (200, json!({})));
    assert_eq!(folder.refused("POST", "dbfs/put", "no json").0, 400);
}

fn base64_of(text: &str) -> String {
    crate::base64::encode(text.as_bytes())
}
