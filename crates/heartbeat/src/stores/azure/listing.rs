//! List Blobs' document. Read event by event: deserializers take blanks from the ends of names.
//!
//! Fact: learn.microsoft.com/rest/api/storageservices/list-blobs ("Response body": `Encoded`, `ResourceType`).

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use super::super::error::Fault;
use super::super::http::Answer;
use super::super::{Listed, Page};

/// A page of a listing of blobs whose names begin with `folder`. Folders are left out: a Data Lake tells them beside the
/// files, and Hadoop's drivers make empty blobs that stand for them elsewhere.
pub(super) fn page(answer: &Answer, folder: &str) -> Result<Page, Fault> {
    let (blobs, next) = read(&answer.body).map_err(Fault::Nonsense)?;
    let mut files = Vec::with_capacity(blobs.len());
    for blob in blobs {
        let Some(path) = blob.name.strip_prefix(folder) else {
            return Err(Fault::Nonsense(format!("blob `{}` is not below `{folder}`", blob.name)));
        };
        if blob.is_folder {
            continue;
        }
        let path = path.to_owned();
        files.push(Listed { path, size: blob.size, etag: blob.etag, modified: blob.modified, owner: None });
    }
    Ok(Page { files, next: Some(next).filter(|next| !next.is_empty()), now: answer.now() })
}

#[derive(Default)]
struct Blob {
    name: String,
    size: u64,
    etag: Option<String>,
    modified: Option<Timestamp>,
    is_folder: bool,
}

/// The blobs of a document, and the marker of the next page.
fn read(body: &[u8]) -> Result<(Vec<Blob>, String), String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    // Azure begins its documents with a byte order mark.
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let (mut blobs, mut next) = (Vec::new(), String::new());
    let mut blob = Blob::default();
    let mut within: Vec<String> = Vec::new();
    let mut is_whole = false;
    let mut is_encoded = false;
    let mut text = String::new();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                is_encoded = has_encoded(&start);
                within.push(start.name().0.to_owned());
                text.clear();
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| error.to_string())?;
                match character {
                    Some(character) => text.push(character),
                    None => text.push_str(
                        resolve_predefined_entity(&reference)
                            .ok_or_else(|| format!("unknown entity `{}`", &*reference))?,
                    ),
                }
            }
            Event::End(_) => {
                let value = std::mem::take(&mut text);
                match within.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                    [_, "Blobs", "Blob", "Name"] => blob.name = decoded(value, is_encoded)?,
                    [_, "Blobs", "Blob", "Properties", property] => blob.set(property, &value)?,
                    [_, "Blobs", "Blob", "Metadata", name] => {
                        blob.is_folder |= name.eq_ignore_ascii_case("hdi_isfolder") && value == "true";
                    }
                    [_, "Blobs", "Blob"] => blobs.push(std::mem::take(&mut blob)),
                    [_, "NextMarker"] => next = value,
                    ["EnumerationResults"] => is_whole = true,
                    _ => {}
                }
                within.pop();
            }
            // What is missing would look deleted.
            Event::Eof if !is_whole => return Err("a listing without an end".to_owned()),
            Event::Eof => return Ok((blobs, next)),
            _ => {}
        }
    }
}

impl Blob {
    fn set(&mut self, property: &str, value: &str) -> Result<(), String> {
        match property {
            "Content-Length" => {
                self.size = value.parse().map_err(|_| format!("`{value}` is no size of a blob"))?;
            }
            "Etag" => self.etag = Some(value.trim_matches('"').to_owned()),
            "Last-Modified" => self.modified = rfc2822::parse(value).ok().map(|time| time.timestamp()),
            "ResourceType" => self.is_folder |= value == "directory",
            _ => {}
        }
        Ok(())
    }
}

fn has_encoded(start: &BytesStart<'_>) -> bool {
    start.try_get_attribute("Encoded").ok().flatten().is_some_and(|encoded| &*encoded.value == "true")
}

fn decoded(name: String, is_encoded: bool) -> Result<String, String> {
    if !is_encoded {
        return Ok(name);
    }
    percent_decode_str(&name).decode_utf8().map(Cow::into_owned).map_err(|error| format!("a name: {error}"))
}
