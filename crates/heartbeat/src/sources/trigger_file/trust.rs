//! Whose trigger files start something: those that are signed, or those of certain owners.
//!
//! A signed file holds `Success` and, on a line of its own, `heartbeat-signature: v1=` with the hex HMAC-SHA-256 of
//! `v1`, the sensor's id, the file's name and the body above the line, each ended by a line break. The name is in it, so
//! that a signature cannot be carried over to another file or sensor.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use aws_lc_rs::hmac;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use heartbeat_core::acon::TriggerTrust;
use heartbeat_core::claim::hex;
use heartbeat_core::secret::Secret;
use heartbeat_core::source::SourceError;
use jiff::Timestamp;

use crate::stores::{Listed, Store};

/// Body of a trigger file, as documented.
pub(crate) const BODY: &str = "Success";

const LINE: &str = "heartbeat-signature: v1=";

/// What is thought of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It starts something.
    Trusted,
    /// It starts nothing, and why.
    Not(String),
    /// It is gone again.
    Gone,
}

/// Judges the files of one folder.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) store: &'a Store,
    pub(super) sensor_id: &'a str,
    pub(super) trust: &'a TriggerTrust,
    /// The keys, where files are signed.
    pub(super) keys: &'a [Secret],
    /// What was thought of files before: very many are read over several looks.
    pub(super) verdicts: &'a Verdicts,
    pub(super) deadline: Instant,
}

/// Verdicts of earlier looks.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<Kept>);

/// Verdicts by path and content, with the keys that they were given by.
#[derive(Debug, Default)]
struct Kept {
    keys: Vec<Secret>,
    verdicts: HashMap<Content, Verdict>,
}

impl Verdicts {
    fn get(&self, keys: &[Secret], content: &Content) -> Option<Verdict> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.verdicts.get(content).filter(|_| kept.keys == keys).cloned()
    }

    fn keep(&self, keys: &[Secret], content: Content, verdict: Verdict) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.keys != keys || kept.verdicts.len() >= MOST_KEPT {
            *kept = Kept { keys: keys.to_vec(), verdicts: HashMap::new() };
        }
        kept.verdicts.insert(content, verdict);
    }
}

/// A path with what tells its content from another.
type Content = (String, Option<String>, u64, Option<Timestamp>);

/// More verdicts than this are not kept.
const MOST_KEPT: usize = 100_000;

/// Files that are read at a time.
const AT_A_TIME: usize = 16;

impl Judge<'_> {
    /// What a listing did not tell of files. Those that are gone are left out.
    ///
    /// Where nothing depends on it (`must` is false), files that cannot be looked at in time are taken as they are named.
    pub(super) async fn complete(&self, files: Vec<Listed>, must: bool) -> Result<Vec<Listed>, SourceError> {
        let Store::Local(local) = self.store else { return Ok(files) };
        if files.is_empty() {
            return Ok(files);
        }
        let (root, folder) = (local.root().to_owned(), self.sensor_id.to_owned());
        let must = must || matches!(self.trust, TriggerTrust::Owners(_));
        let left = self.deadline.saturating_duration_since(Instant::now());
        let until = Instant::now() + left / 2;
        let complete = move || super::here::complete(&root, &folder, &files, until, must);
        Ok(local.call(self.sensor_id, self.deadline, complete).await?)
    }

    /// Judges files, several at a time; what is found stands for the next look too, should time run out. Only signatures need
    /// the files' bodies.
    pub(super) async fn of(&self, files: &[Listed]) -> Result<Vec<Verdict>, SourceError> {
        let verdicts: Vec<_> = files.iter().map(|file| self.of_one(file)).collect();
        stream::iter(verdicts).buffered(AT_A_TIME).try_collect().await
    }

    async fn of_one(&self, file: &Listed) -> Result<Verdict, SourceError> {
        match self.trust {
            TriggerTrust::Anyone => Ok(Verdict::Trusted),
            TriggerTrust::Owners(owners) => Ok(match &file.owner {
                Some(owner) if owners.contains(owner) => Verdict::Trusted,
                Some(owner) => Verdict::Not(format!("its owner `{owner}` is not in `allowed_owners`")),
                None => Verdict::Not("the store does not tell its owner".to_owned()),
            }),
            TriggerTrust::Signed(_) => {
                if file.path.contains('/') {
                    // The signature is of the name: under another folder it would be a second file with the same.
                    return Ok(Verdict::Not(
                        "it lies in a folder below, where no signature holds".to_owned(),
                    ));
                }
                let path = format!("{}/{}", self.sensor_id, file.path);
                let name = (path.clone(), file.etag.clone(), file.size, file.modified);
                if let Some(known) = self.verdicts.get(self.keys, &name) {
                    return Ok(known);
                }
                let body = self.store.read(&path, self.deadline).await?;
                let Some(body) = body else { return Ok(Verdict::Gone) };
                let verdict = match check(self.keys, self.sensor_id, &file.path, &body) {
                    Ok(()) => Verdict::Trusted,
                    Err(why) => Verdict::Not(why.to_owned()),
                };
                self.verdicts.keep(self.keys, name, verdict.clone());
                Ok(verdict)
            }
        }
    }
}

/// The body of a signed trigger file.
pub(crate) fn signed(key: &Secret, sensor_id: &str, name: &str) -> String {
    let signature = hmac::sign(&key_of(key), text(sensor_id, name, BODY).as_bytes());
    format!("{BODY}\n{LINE}{}\n", hex(signature.as_ref()))
}

fn check(keys: &[Secret], sensor_id: &str, name: &str, body: &[u8]) -> Result<(), &'static str> {
    let body = std::str::from_utf8(body).map_err(|_| "it is not signed")?;
    let (above, signature) = body.rsplit_once(LINE).ok_or("it is not signed")?;
    let above = above.strip_suffix('\n').ok_or("its signature does not stand on a line of its own")?;
    let above = above.strip_suffix('\r').unwrap_or(above);
    let signature = unhex(signature.trim()).ok_or("its signature is not hexadecimal")?;
    let text = text(sensor_id, name, above);
    let holds = |key: &Secret| hmac::verify(&key_of(key), text.as_bytes(), &signature).is_ok();
    if keys.iter().any(holds) { Ok(()) } else { Err("its signature is not of this key, sensor and name") }
}

fn key_of(key: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())
}

fn text(sensor_id: &str, name: &str, body: &str) -> String {
    format!("v1\n{sensor_id}\n{name}\n{body}\n")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_file_only() {
        let key = Secret::new("key");
        let body = signed(&key, "s", "s_1.txt");
        let key = [Secret::new("new"), key];
        assert_eq!(check(&key[1..], "s", "s_1.txt", body.as_bytes()), Ok(()));
        let windows = body.replace('\n', "\r\n");
        assert_eq!(check(&key, "s", "s_1.txt", windows.as_bytes()), Ok(()));
        for (key, sensor, name) in
            [("other", "s", "s_1.txt"), ("key", "t", "s_1.txt"), ("key", "s", "s_2.txt")]
        {
            assert!(check(&[Secret::new(key)], sensor, name, body.as_bytes()).is_err());
        }
        assert_eq!(check(&key, "s", "s_1.txt", b"Success"), Err("it is not signed"));
        assert_eq!(check(&key, "s", "s_1.txt", b""), Err("it is not signed"));
        let cut = format!("{LINE}zz");
        assert!(check(&key, "s", "s_1.txt", cut.as_bytes()).is_err());
    }

    /// What `printf 'v1\ns\ns_1.txt\nSuccess\n' | openssl dgst -sha256 -hmac key` prints.
    #[test]
    fn openssl_makes_the_same() {
        let body = signed(&Secret::new("key"), "s", "s_1.txt");
        let signature = "6cdccb2e504d878e4829ccb22334511e37895e13d92e7c3968ebca948887b33f";
        assert_eq!(body, format!("Success\nheartbeat-signature: v1={signature}\n"));
    }
}
