//! `sasl.jaas.config`: `class flag key="value" ... ;`, as Java's configuration of login modules is written.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// One login module with its options. Values may be secret, so there is no `Debug`.
pub(super) struct Module {
    /// Last part of the class's name: `PlainLoginModule`, also of shaded copies of Kafka.
    pub(super) class: String,
    /// By name as written.
    pub(super) options: BTreeMap<String, String>,
}

/// Reads the text. Errors say what is wrong and never repeat the text.
pub(super) fn parse(text: &str) -> Result<Module, &'static str> {
    let tokens = tokens(text)?;
    // A block of a file of Java's, as `-Djava.security.auth.login.config` names one.
    if tokens.iter().take(2).any(|token| matches!(token, Token::Word(word) if word.ends_with('{'))) {
        return Err("has a `KafkaClient { }` around it, which is of Java's file: leave that out");
    }
    let mut tokens = tokens.into_iter().peekable();
    let class = match tokens.next() {
        Some(Token::Word(class)) => class.rsplit('.').next().unwrap_or_default().to_owned(),
        _ => return Err("must begin with the class of a login module"),
    };
    match tokens.next() {
        Some(Token::Word(flag))
            if ["required", "requisite", "sufficient", "optional"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&flag)) => {}
        _ => return Err("needs `required` behind the class of the login module"),
    }
    let mut options = BTreeMap::new();
    loop {
        match tokens.next() {
            Some(Token::End) if tokens.peek().is_none() => return Ok(Module { class, options }),
            Some(Token::End) => return Err("names more than one login module"),
            None => return Err("must end with a semicolon"),
            Some(Token::Word(name)) => match (tokens.next(), tokens.next()) {
                (Some(Token::Equals), Some(Token::Word(value) | Token::Quoted(value))) => {
                    if options.insert(name, value).is_some() {
                        return Err("gives an option twice");
                    }
                }
                _ => return Err("has an option without a value: write key=\"value\""),
            },
            Some(_) => return Err("has a value without a key: write key=\"value\""),
        }
    }
}

enum Token {
    Word(String),
    Quoted(String),
    Equals,
    End,
}

/// What stands behind a backslash: a letter, or up to three octal digits.
fn escaped(chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    Some(match chars.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        first @ '0'..='7' => {
            let mut code = first.to_digit(8)?;
            for _ in 0..if first <= '3' { 2 } else { 1 } {
                let Some(digit) = chars.peek().and_then(|next| next.to_digit(8)) else { break };
                code = code * 8 + digit;
                chars.next();
            }
            char::from_u32(code)?
        }
        other => other,
    })
}

/// As Java's `StreamTokenizer` does for `JaasConfig`: quoted texts with backslashes, words, `=` and `;`, comments.
fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '=' => tokens.push(Token::Equals),
            ';' => tokens.push(Token::End),
            quote @ ('"' | '\'') => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        None => return Err("has a quote that does not end"),
                        Some('\\') => value.push(escaped(&mut chars).ok_or("has a quote that does not end")?),
                        Some(end) if end == quote => break,
                        Some(other) => value.push(other),
                    }
                }
                tokens.push(Token::Quoted(value));
            }
            blank if blank.is_whitespace() => {}
            '/' if chars.peek() == Some(&'/') => while chars.next().is_some_and(|next| next != '\n') {},
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut last = ' ';
                loop {
                    match chars.next() {
                        None => return Err("has a comment that does not end"),
                        Some('/') if last == '*' => break,
                        Some(next) => last = next,
                    }
                }
            }
            first => {
                let mut word = String::from(first);
                while let Some(&next) = chars.peek() {
                    if next.is_whitespace() || matches!(next, '=' | ';' | '"' | '\'') {
                        break;
                    }
                    word.push(next);
                    chars.next();
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Result<String, &'static str> {
        parse(text).map(|module| module.options["password"].clone())
    }

    #[test]
    fn comments_are_skipped_between_words_and_kept_within_them() {
        let text = "// of us\na.PlainLoginModule /* as * Java */ required // so\n username=u password=\"p//q/*r*/\";";
        assert_eq!(password(text).unwrap(), "p//q/*r*/");
        assert_eq!(password("a.M required password=file:/a//b;").unwrap(), "file:/a//b");
        assert_eq!(password("a.M required /* password=x;"), Err("has a comment that does not end"));
    }

    #[test]
    fn escapes_are_those_of_java() {
        assert_eq!(password(r#"a.M required password="\101\60\4010\n\"\\";"#).unwrap(), "A0 10\n\"\\");
        assert_eq!(password("a.M required password=\"x\\"), Err("has a quote that does not end"));
    }

    #[test]
    fn a_block_of_javas_file_is_known_as_one() {
        for text in
            ["KafkaClient {\n a.M required password=p;\n};", "KafkaClient{ a.M required password=p; };"]
        {
            assert!(password(text).unwrap_err().contains("leave that out"));
        }
        assert_eq!(password("a.M required password={{secrets/s/k}};").unwrap(), "{{secrets/s/k}}");
    }
}
