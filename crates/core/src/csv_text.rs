//! CSV as the feeds are written: RFC 4180 with blanks around quoted values, a byte order mark, any line ends,
//! and Spark's `\"` inside quotes, because existing feeds were written for Spark's reader.
//!
//! The `csv` crate takes a quote behind a blank as text and knows one kind of escape at a time; both stand in
//! real feeds.

use std::iter::Peekable;
use std::str::Chars;

/// One record with the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// From 1.
    pub line: usize,
    /// Values, unquoted; blanks around unquoted values are kept for the caller to judge.
    pub values: Vec<String>,
}

/// A text that is no CSV.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// A quote that is never closed.
    #[error("line {line}: the quote that opens here is never closed")]
    OpenQuote {
        /// Line of the quote.
        line: usize,
    },
    /// Text between a closing quote and the next comma.
    #[error("line {line}: text behind a closing quote; double the quotes inside a quoted value")]
    TextBehindQuote {
        /// Line of the text.
        line: usize,
    },
}

/// Splits a text into records. Lines that are blank are passed over.
pub fn parse(text: &str) -> Result<Vec<Record>, CsvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let mut records = Vec::new();
    while reader.chars.peek().is_some() {
        let record = reader.record()?;
        if record.values.len() > 1 || !record.values[0].trim().is_empty() {
            records.push(record);
        }
    }
    Ok(records)
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn record(&mut self) -> Result<Record, CsvError> {
        let line = self.line;
        let mut values = Vec::new();
        loop {
            let (value, last) = self.value()?;
            values.push(value);
            if last {
                return Ok(Record { line, values });
            }
        }
    }

    /// One value, and whether its record ends with it.
    fn value(&mut self) -> Result<(String, bool), CsvError> {
        let mut value = String::new();
        loop {
            match self.chars.next() {
                None => return Ok((value, true)),
                Some(',') => return Ok((value, false)),
                Some('\n') => {
                    self.line += 1;
                    return Ok((value, true));
                }
                Some('\r') => {
                    self.line += 1;
                    self.chars.next_if_eq(&'\n');
                    return Ok((value, true));
                }
                Some('"') if value.trim().is_empty() => {
                    let quoted = self.quoted()?;
                    let last = self.end_of_quoted()?;
                    return Ok((quoted, last));
                }
                Some(other) => value.push(other),
            }
        }
    }

    fn quoted(&mut self) -> Result<String, CsvError> {
        let opened = self.line;
        let mut value = String::new();
        loop {
            match self.chars.next() {
                None => return Err(CsvError::OpenQuote { line: opened }),
                Some('"') if self.chars.next_if_eq(&'"').is_some() => value.push('"'),
                Some('"') => return Ok(value),
                Some('\\') if self.chars.peek() == Some(&'"') => {
                    self.chars.next();
                    // A backslash at the end of a value is a backslash, not an escape.
                    if matches!(self.chars.peek(), None | Some(',' | '\n' | '\r')) {
                        value.push('\\');
                        return Ok(value);
                    }
                    value.push('"');
                }
                Some(other) => {
                    self.line += usize::from(other == '\n');
                    value.push(other);
                }
            }
        }
    }

    /// Passes the blanks behind a closing quote; whether the record ends there.
    fn end_of_quoted(&mut self) -> Result<bool, CsvError> {
        loop {
            match self.chars.next() {
                None => return Ok(true),
                Some(',') => return Ok(false),
                Some('\n') => {
                    self.line += 1;
                    return Ok(true);
                }
                Some('\r') => {}
                Some(blank) if blank.is_whitespace() => {}
                Some(_) => return Err(CsvError::TextBehindQuote { line: self.line }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn values(text: &str) -> Vec<Vec<String>> {
        parse(text).unwrap().into_iter().map(|record| record.values).collect()
    }

    #[rstest]
    #[case::plain("a,b\n1,2\n", "a|b/1|2")]
    #[case::crlf_and_no_end("a,b\r\n1,2", "a|b/1|2")]
    #[case::byte_order_mark("\u{feff}a,b\n", "a|b")]
    #[case::comma_in_quotes("\"a,1\",b\n", "a,1|b")]
    #[case::doubled_quote("\"a \"\"x\"\"\",b\n", "a \"x\"|b")]
    #[case::spark_escape("\"a \\\"x\\\" y\",b\n", "a \"x\" y|b")]
    #[case::backslash_at_the_end("\"c:\\\",b\n", "c:\\|b")]
    #[case::blanks_around_quotes("a, \"b,c\" ,d\n", "a|b,c|d")]
    #[case::quote_inside_text("a\"b,c\n", "a\"b|c")]
    #[case::line_break_in_quotes("\"a\nb\",c\n", "a\nb|c")]
    #[case::blank_lines("a,b\n\n  \n1,2\n", "a|b/1|2")]
    #[case::empty_values(",\n", "|")]
    fn texts(#[case] text: &str, #[case] expected: &str) {
        let joined: Vec<String> = values(text).iter().map(|row| row.join("|")).collect();
        assert_eq!(joined.join("/"), expected);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let lines: Vec<usize> = parse("a,b\n\"x\ny\",1\n\nz,2\n").unwrap().iter().map(|r| r.line).collect();
        assert_eq!(lines, [1, 2, 5]);
    }

    #[test]
    fn broken_quotes_name_their_line() {
        assert_eq!(parse("a\n\"b\nc"), Err(CsvError::OpenQuote { line: 2 }));
        assert_eq!(parse("\"a\"b,c\n"), Err(CsvError::TextBehindQuote { line: 1 }));
    }
}
