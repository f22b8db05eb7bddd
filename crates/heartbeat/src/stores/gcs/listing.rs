//! What is asked for a listing of objects, and what is answered.

use jiff::Timestamp;
use serde::Deserialize;

use super::super::error::Fault;
use super::super::http::Answer;
use super::super::xml::encoded;
use super::super::{Listed, Listing, Page, Start};

/// Most objects a page.
const LARGEST_PAGE: usize = 1000;

/// Only what is told on: a tenth of what would be sent.
const FIELDS: &str = "nextPageToken,items(name,size,generation,timeCreated)";

/// What one request asks for, in keys of the bucket.
pub(super) struct Asked {
    prefix: String,
    limit: usize,
    /// The listing begins with this key, which is not of it.
    after: Option<String>,
    token: Option<String>,
}

impl Asked {
    pub(super) fn of(listing: &Listing<'_>, folder: &str) -> Self {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (after, token) = match listing.start {
            Start::Beginning => (None, None),
            Start::After(path) => (Some(format!("{folder}{path}")), None),
            // Google's token is of a listing that may have begun behind a key: ours hold both.
            Start::Token(ours) => {
                let (token, after) = ours.split_once('\n').unwrap_or((ours, ""));
                (some(after), some(token))
            }
        };
        let limit = listing.limit.clamp(1, LARGEST_PAGE);
        Self { prefix: format!("{folder}{}", listing.prefix), limit, after, token }
    }

    fn begins_with_a_key(&self) -> bool {
        self.after.is_some() && self.token.is_none()
    }

    pub(super) fn query(&self) -> String {
        // The key that the listing begins with takes a place on the page.
        let most = (self.limit + usize::from(self.begins_with_a_key())).min(LARGEST_PAGE);
        let mut query =
            format!("fields={}&maxResults={most}&prefix={}", encoded(FIELDS), encoded(&self.prefix));
        for (name, value) in [("startOffset", &self.after), ("pageToken", &self.token)] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        query
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    next_page_token: Option<String>,
    #[serde(default)]
    items: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    name: String,
    /// A number, told as a text.
    size: String,
    generation: Option<String>,
    time_created: Option<Timestamp>,
}

/// A page of a listing of keys that begin with `folder`. An object's generation tells one content from the next, and is
/// made when the content is: changes of metadata change neither.
pub(super) fn page(answer: &Answer, folder: &str, asked: &Asked) -> Result<Page, Fault> {
    let document: Document =
        serde_json::from_slice(&answer.body).map_err(|error| Fault::Nonsense(error.to_string()))?;
    let mut files = Vec::with_capacity(document.items.len());
    for Object { name, size, generation, time_created } in document.items {
        let Some(path) = name.strip_prefix(folder) else {
            return Err(Fault::Nonsense(format!("object `{name}` is not below `{folder}`")));
        };
        if asked.after.as_deref().is_some_and(|after| name.as_str() <= after) {
            continue;
        }
        let size = size.parse().map_err(|_| Fault::Nonsense(format!("`{size}` is no size of an object")))?;
        let path = path.to_owned();
        files.push(Listed { path, size, etag: generation, modified: time_created, owner: None });
    }
    let after = asked.after.as_deref().unwrap_or_default();
    let next = document.next_page_token.filter(|token| !token.is_empty());
    let mut next = next.map(|token| format!("{token}\n{after}"));
    if files.len() > asked.limit {
        // The key that the listing begins with was not there, and its place is taken by one too many.
        files.truncate(asked.limit);
        next = files.last().map(|last| format!("\n{folder}{}", last.path));
    }
    Ok(Page { files, next, now: answer.now() })
}
