//! Errors as people read them: one line, cause by cause.

use std::error::Error;

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = first_line(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = first_line(inner);
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// Some libraries put a backtrace behind their message.
fn first_line(error: &dyn Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
