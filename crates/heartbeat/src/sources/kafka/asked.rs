//! Every question answered exactly once, and no other: what answers by topic and partition are held against.

use std::collections::HashMap;

/// Questions that have no answer yet, by what they are about.
#[derive(Debug)]
pub(super) struct Open<'a> {
    /// What is asked for, for messages.
    what: &'static str,
    left: HashMap<(&'a str, i32), usize>,
}

impl<'a> Open<'a> {
    /// All of these topics and partitions, which are numbered in their order.
    pub(super) fn new(what: &'static str, questions: impl Iterator<Item = (&'a str, i32)>) -> Self {
        Self { what, left: questions.enumerate().map(|(index, about)| (about, index)).collect() }
    }

    /// The number of the question that this is the answer to.
    pub(super) fn answered(&mut self, topic: &'a str, partition: i32) -> Result<usize, String> {
        let number = self.left.remove(&(topic, partition));
        number.ok_or_else(|| format!("an {} nobody asked for, of `{topic}` partition {partition}", self.what))
    }

    /// Ends with what has no answer.
    pub(super) fn end(self) -> Result<(), String> {
        match self.left.keys().next() {
            Some((topic, partition)) => Err(format!("no {} for `{topic}` partition {partition}", self.what)),
            None => Ok(()),
        }
    }
}
