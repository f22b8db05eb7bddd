//! Printing: data on stdout as a table or one JSON document, everything else on stderr.

use std::io::{self, Write};

use serde_json::Value;

use super::args::Format;

/// The way out for data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    format: Format,
    quiet: bool,
}

impl Printer {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet }
    }

    /// Whether data is printed as JSON.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints the document as JSON, or what `table` makes of it.
    pub(crate) fn data(self, document: &Value, table: impl FnOnce() -> String) -> io::Result<()> {
        match self.format {
            Format::Json => self.text(&format!("{document}\n")),
            Format::Table => self.text(&table()),
        }
    }

    /// Whether only errors go to stderr.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Prints text on stdout. A reader that has gone (`| head`) is no error.
    #[expect(clippy::unused_self, reason = "the one door to stdout")]
    pub(crate) fn text(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// A line for people on stderr, unless --quiet.
    pub(crate) fn note(self, line: &str) {
        if !self.quiet {
            self.error(line);
        }
    }

    /// A line for people on stderr, always.
    #[expect(clippy::unused_self, reason = "the one door to stderr")]
    pub(crate) fn error(self, line: &str) {
        // Nobody is left to tell when stderr is gone.
        drop(writeln!(io::stderr().lock(), "{line}"));
    }
}

/// Columns aligned by their widest value, two blanks between them.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|name| name.chars().count()).collect();
    for row in rows {
        for (width, value) in widths.iter_mut().zip(row) {
            *width = (*width).max(value.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |values: &mut dyn Iterator<Item = &str>| {
        let mut padded = String::new();
        for (value, width) in values.zip(&widths) {
            padded.push_str(value);
            padded.extend(std::iter::repeat_n(' ', width - value.chars().count() + 2));
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_value() {
        let rows = vec![vec!["a".to_owned(), "b".to_owned()], vec!["ärger".to_owned(), String::new()]];
        assert_eq!(table(&["x", "long"], &rows), "x      long\na      b\närger\n");
    }
}
