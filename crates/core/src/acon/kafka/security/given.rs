//! One setting that may be given by a key of the product or by an option.

use super::super::super::Report;
use super::super::options::Options;
use super::secret;
use crate::secret::SecretRef;

/// A setting with the path of the key that gave it.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) path: String,
    pub(super) value: T,
}

/// Takes an option as a text.
pub(super) fn text(name: &str, options: &mut Options, report: &mut Report) -> Option<At<String>> {
    options.take_text(name, report).map(|(path, value)| At { path, value })
}

/// Takes an option that is a secret.
pub(super) fn secret_text(name: &str, options: &mut Options, report: &mut Report) -> Option<At<SecretRef>> {
    let At { path, value } = text(name, options, report)?;
    let value = secret(&path, &value, report)?;
    Some(At { path, value })
}

/// The first of several names that stand for one setting; a second one must say the same.
pub(super) fn one_of<T: PartialEq>(
    given: impl IntoIterator<Item = Option<At<T>>>,
    report: &mut Report,
) -> Option<At<T>> {
    let mut first: Option<At<T>> = None;
    for at in given.into_iter().flatten() {
        match &first {
            None => first = Some(at),
            Some(other) if other.value != at.value => {
                report.error(at.path, format!("contradicts `{}`: give one of the two", other.path));
            }
            Some(_) => {}
        }
    }
    first
}
