//! ListObjectsV2's document.

use jiff::Timestamp;
use serde::Deserialize;

use super::super::error::Fault;
use super::super::http::Answer;
use super::super::xml::{decoded_form, read};
use super::super::{Listed, Page};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    // Any other document would be an empty folder.
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
    #[serde(default)]
    contents: Vec<Contents>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    size: u64,
    last_modified: Option<String>,
    #[serde(rename = "ETag")]
    etag: Option<String>,
    owner: Option<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    #[serde(rename = "ID")]
    id: Option<String>,
}

/// A page of a listing of keys that begin with `folder`.
pub(super) fn page(answer: &Answer, folder: &str) -> Result<Page, Fault> {
    let document: Document = read(&answer.body)?;
    let is_encoded = document.encoding_type.as_deref() == Some("url");
    let mut files = Vec::with_capacity(document.contents.len());
    for Contents { key, size, last_modified, etag, owner } in document.contents {
        let key = if is_encoded && key.contains(['%', '+']) { decoded_form(&key)? } else { key };
        let Some(path) = key.strip_prefix(folder) else {
            return Err(Fault::Nonsense(format!("key `{key}` is not below `{folder}`")));
        };
        files.push(Listed {
            path: path.to_owned(),
            size,
            etag: etag.map(|etag| etag.trim_matches('"').to_owned()),
            modified: last_modified.and_then(|time| time.parse::<Timestamp>().ok()),
            owner: owner.and_then(|owner| owner.id),
        });
    }
    let next = document.next_continuation_token.filter(|token| !token.is_empty());
    if document.is_truncated && next.is_none() {
        // What is missing would look deleted.
        return Err(Fault::Nonsense("a truncated listing without a token to go on".to_owned()));
    }
    Ok(Page { files, next: next.filter(|_| document.is_truncated), now: answer.now() })
}
