//! `sasl.jaas.config`: `class flag key="value" ... ;`, as Java's configuration of login modules is written.

use std::collections::BTreeMap;

/// One login module with its options. Values may be secret, so there is no `Debug`.
pub(super) struct Module {
    /// Last part of the class's name: `PlainLoginModule`, also of shaded copies of Kafka.
    pub(super) class: String,
    /// By name as written.
    pub(super) options: BTreeMap<String, String>,
}

/// Reads the text. Errors say what is wrong and never repeat the text.
pub(super) fn parse(text: &str) -> Result<Module, &'static str> {
    let mut tokens = tokens(text)?.into_iter().peekable();
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

/// As Java's `StreamTokenizer` does for `JaasConfig`: quoted texts with backslashes, words, `=` and `;`.
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
                        Some('\\') => match chars.next() {
                            None => return Err("has a quote that does not end"),
                            Some('n') => value.push('\n'),
                            Some('t') => value.push('\t'),
                            Some('r') => value.push('\r'),
                            Some(other) => value.push(other),
                        },
                        Some(end) if end == quote => break,
                        Some(other) => value.push(other),
                    }
                }
                tokens.push(Token::Quoted(value));
            }
            blank if blank.is_whitespace() => {}
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
