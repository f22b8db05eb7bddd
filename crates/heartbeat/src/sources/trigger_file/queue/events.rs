//! What a message of a queue says: events of S3, as they are, or handed on by SNS or EventBridge. Pure.
//!
//! Facts: docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html (keys are encoded as forms are,
//! sequencers are compared as text after the shorter one is filled up with zeros), .../ev-events.html (keys are not encoded).

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::Deserialize;

use crate::stores::{Listed, decoded_form};

/// One thing that happened in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// An object was written.
    Created(Created),
    /// Something else: an object was removed, or S3 tries whether it may tell this queue.
    Other {
        /// Where.
        bucket: String,
        /// Of which object; `None` where it is about none.
        key: Option<String>,
    },
}

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Created {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) etag: Option<String>,
    pub(super) time: Option<Timestamp>,
    pub(super) sequencer: Option<String>,
}

/// What an event is for the source of a base folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A file in a sensor's folder.
    File(Told),
    /// It is of this base, and never news.
    Nothing,
    /// It is of another bucket, or of another folder of this one.
    Elsewhere,
}

/// A file that an event tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Name of the sensor's folder.
    pub(super) folder: String,
    /// By its path in the folder.
    pub(super) file: Listed,
    sequencer: Option<String>,
}

impl Told {
    /// Whether it tells of a later write of the same file.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        let order = match (&self.sequencer, &other.sequencer) {
            (Some(one), Some(two)) => {
                let length = one.len().max(two.len());
                format!("{one:0<length$}").cmp(&format!("{two:0<length$}"))
            }
            _ => self.file.modified.cmp(&other.file.modified),
        };
        order == Ordering::Greater
    }
}

/// Why a message is left to the queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no event of S3: {0}")]
pub(super) struct Unreadable(String);

/// SNS may wrap what EventBridge has sent; nothing wraps more.
const DEEPEST: usize = 2;

/// The events of a message.
pub(super) fn read(body: &str) -> Result<Vec<Event>, Unreadable> {
    read_within(body, DEEPEST)
}

fn read_within(body: &str, depth: usize) -> Result<Vec<Event>, Unreadable> {
    let body: Body = serde_json::from_str(body).map_err(|error| Unreadable(error.to_string()))?;
    match body {
        Body { records: Some(records), .. } => records.into_iter().map(Record::event).collect(),
        Body { detail_type: Some(kind), detail: Some(detail), time, .. } => {
            let time = time.as_ref().and_then(|time| time.as_str()?.parse().ok());
            Ok(vec![detail.event(kind == "Object Created", time, Ok)?])
        }
        Body { kind: Some(kind), message: Some(message), .. } if kind == "Notification" && depth > 0 => {
            read_within(&message, depth - 1)
        }
        Body { event: Some(event), bucket: Some(bucket), .. } if event == "s3:TestEvent" => {
            Ok(vec![Event::Other { bucket, key: None }])
        }
        _ => Err(Unreadable("it has no records".to_owned())),
    }
}

impl Event {
    /// What it means where triggers lie below `base` (empty, or ending with a slash) of `bucket`. `counts` tells which
    /// paths of a folder can be news.
    pub(super) fn meaning(self, bucket: &str, base: &str, counts: impl Fn(&str, &str) -> bool) -> Meaning {
        let (of, key) = match &self {
            Self::Created(created) => (&created.bucket, Some(&created.key)),
            Self::Other { bucket, key } => (bucket, key.as_ref()),
        };
        if of != bucket {
            return Meaning::Elsewhere;
        }
        let Some(key) = key else { return Meaning::Nothing };
        let Some(below) = key.strip_prefix(base) else { return Meaning::Elsewhere };
        let Some((folder, path)) = below.split_once('/') else { return Meaning::Nothing };
        let counts = !folder.is_empty() && !folder.starts_with(['.', '_']) && counts(path, folder);
        let (folder, path) = (folder.to_owned(), path.to_owned());
        match self {
            Self::Created(Created { size, etag, time, sequencer, .. }) if counts => {
                let file = Listed { path, size, etag, modified: time, owner: None };
                Meaning::File(Told { folder, file, sequencer })
            }
            _ => Meaning::Nothing,
        }
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "Bucket")]
    bucket: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Option<Detail>,
    time: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    event_time: Option<String>,
    s3: Detail,
}

#[derive(Deserialize)]
struct Detail {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    #[serde(default)]
    size: u64,
    #[serde(alias = "eTag")]
    etag: Option<String>,
    sequencer: Option<String>,
}

impl Record {
    fn event(self) -> Result<Event, Unreadable> {
        // Ceph and MinIO put what kind of event it is before it, as it stands in the bucket's configuration.
        let name = self.event_name.strip_prefix("s3:").unwrap_or(&self.event_name);
        let time = self.event_time.and_then(|time| time.parse().ok());
        self.s3.event(name.starts_with("ObjectCreated:"), time, |key| {
            decoded_form(&key).map_err(|error| Unreadable(error.to_string()))
        })
    }
}

impl Detail {
    fn event(
        self,
        is_created: bool,
        time: Option<Timestamp>,
        decoded: impl Fn(String) -> Result<String, Unreadable>,
    ) -> Result<Event, Unreadable> {
        let Self { bucket: Bucket { name: bucket }, object } = self;
        let Object { key, size, etag, sequencer } = object;
        let key = decoded(key)?;
        if !is_created {
            return Ok(Event::Other { bucket, key: Some(key) });
        }
        let etag = etag.map(|etag| etag.trim_matches('"').to_owned());
        Ok(Event::Created(Created { bucket, key, size, etag, time, sequencer }))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn record(name: &str, key: &str) -> serde_json::Value {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1",
            "eventTime": "2026-01-02T03:04:05.678Z", "eventName": name,
            "s3": {
                "s3SchemaVersion": "1.0", "configurationId": "heartbeat",
                "bucket": {"name": "b", "ownerIdentity": {"principalId": "A"}, "arn": "arn:aws:s3:::b"},
                "object": {"key": key, "size": 7, "eTag": "e", "sequencer": "0055AED6DCD90281E5"},
            },
        })
    }

    fn one(body: &serde_json::Value) -> Event {
        read(&body.to_string()).unwrap().remove(0)
    }

    fn file(event: Event) -> (String, String) {
        match event.meaning("b", "base/", |_, _| true) {
            Meaning::File(Told { folder, file, .. }) => (folder, file.path),
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case("ObjectCreated:Put", "base/s/a.txt", "a.txt")]
    #[case("ObjectCreated:Post", "base/s/a+b.txt", "a b.txt")]
    #[case("ObjectCreated:Copy", "base%2Fs%2Fx%2Fa%2Bb.txt", "x/a+b.txt")]
    #[case("ObjectCreated:CompleteMultipartUpload", "base/s/%C3%A9", "é")]
    #[case("s3:ObjectCreated:Put", "base/s/100%25", "100%")]
    fn every_way_to_write_an_object_is_read(#[case] name: &str, #[case] key: &str, #[case] path: &str) {
        let event = one(&json!({"Records": [record(name, key)]}));
        let Event::Created(created) = &event else { panic!("{event:?}") };
        assert_eq!((created.size, created.etag.as_deref()), (7, Some("e")));
        assert_eq!(created.time, Some("2026-01-02T03:04:05.678Z".parse().unwrap()));
        assert_eq!(file(event), ("s".to_owned(), path.to_owned()));
    }

    #[test]
    fn events_that_others_hand_on_are_read() {
        let plain = json!({"Records": [record("ObjectCreated:Put", "base/s/a+b")]});
        let by_sns = json!({"Type": "Notification", "MessageId": "m", "Message": plain.to_string()});
        assert_eq!(file(one(&by_sns)).1, "a b");
        let bridged = json!({
            "version": "0", "detail-type": "Object Created", "source": "aws.s3", "time": "2026-01-02T03:04:05Z",
            "detail": {
                "version": "0", "bucket": {"name": "b"}, "reason": "PutObject",
                "object": {"key": "base/s/a+b", "size": 5, "etag": "e", "sequencer": "617f08299329d189"},
            },
        });
        let Event::Created(created) = one(&bridged) else { panic!() };
        assert_eq!((created.key.as_str(), created.size), ("base/s/a+b", 5), "these keys are not encoded");
        assert_eq!(created.time, Some("2026-01-02T03:04:05Z".parse().unwrap()));
        let both = json!({"Type": "Notification", "Message": bridged.to_string()});
        assert_eq!(file(one(&both)).1, "a+b");
    }

    #[test]
    fn what_is_no_creation_is_nothing_and_what_is_elsewhere_is_told_apart() {
        let removed = one(&json!({"Records": [record("ObjectRemoved:Delete", "base/s/a")]}));
        assert_eq!(removed.clone().meaning("b", "base/", |_, _| true), Meaning::Nothing);
        assert_eq!(removed.clone().meaning("c", "base/", |_, _| true), Meaning::Elsewhere);
        assert_eq!(removed.meaning("b", "bas/", |_, _| true), Meaning::Elsewhere);
        let trial = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b", "RequestId": "x"});
        assert_eq!(one(&trial).meaning("b", "base/", |_, _| true), Meaning::Nothing);
        for key in ["base/x", "base/_s/a", "base//a", "base/s/_hidden"] {
            let created = one(&json!({"Records": [record("ObjectCreated:Put", key)]}));
            assert_eq!(created.meaning("b", "base/", |path, _| path != "_hidden"), Meaning::Nothing, "{key}");
        }
        assert_eq!(read(r#"{"Records": []}"#), Ok(Vec::new()));
    }

    #[rstest]
    #[case("")]
    #[case("hello")]
    #[case("{}")]
    #[case(r#"{"Records": [{"eventName": "ObjectCreated:Put"}]}"#)]
    #[case(r#"{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "%FF"}}}]}"#)]
    #[case(r#"{"Type": "Notification", "Message": "hello"}"#)]
    fn what_makes_no_sense_is_unreadable(#[case] body: &str) {
        assert!(read(body).is_err());
    }

    #[test]
    fn the_later_of_two_writes_is_told_by_the_sequencer() {
        let told = |sequencer: Option<&str>, second: i64| Told {
            folder: "s".to_owned(),
            file: Listed {
                path: "a".to_owned(),
                size: 0,
                etag: None,
                modified: Timestamp::from_second(second).ok(),
                owner: None,
            },
            sequencer: sequencer.map(str::to_owned),
        };
        assert!(told(Some("0055B"), 1).is_newer_than(&told(Some("0055A"), 2)));
        assert!(told(Some("0055AA"), 1).is_newer_than(&told(Some("0055A"), 2)));
        assert!(
            !told(Some("0055A"), 1).is_newer_than(&told(Some("0055A0"), 2)),
            "filled up they are the same"
        );
        assert!(told(None, 2).is_newer_than(&told(Some("9"), 1)));
    }
}
