//! What must not be shown: it is neither printed nor logged.

use std::fmt;

use crate::units::{Fault, Text, text_form};

/// Text that `Debug` and `Display` do not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whoever must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A secret as it is written; written out again it is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenSecret(Secret);

text_form!(WrittenSecret);

impl WrittenSecret {
    pub(crate) fn secret(&self) -> Secret {
        self.0.clone()
    }
}

impl Text for WrittenSecret {
    const FORMAT: &'static str = "secret";
    const MEANING: &'static str = "a secret";
    const EXAMPLES: &'static [&'static str] = &["${REDIS_PASSWORD}"];

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "" => Err(Fault::new("is empty", "leave the key out to have none")),
            text => Ok(Self(Secret(text.to_owned()))),
        }
    }
}

impl fmt::Display for WrittenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// `line` of a file with what is secret in it replaced, character for character: the value of a
/// `password`, and what stands between `://` and `@`.
pub(crate) fn masked(line: &str) -> String {
    let mut shown: Vec<char> = line.chars().collect();
    for start in found(&shown, "password") {
        let rest = shown.iter().skip(start).copied();
        let to_value = rest.take_while(|c| *c == ' ' || *c == '=').count();
        let is_assigned = shown
            .iter()
            .skip(start)
            .take(to_value)
            .any(|character| *character == '=');
        if is_assigned {
            let end = end_of_value(&shown, start + to_value);
            mask(&mut shown, start + to_value, end);
        }
    }
    for start in found(&shown, "://") {
        let rest = shown.iter().skip(start);
        let authority = rest
            .take_while(|c| !matches!(c, '/' | '"' | '\'' | ' '))
            .collect::<Vec<_>>();
        if let Some(at) = authority.iter().rposition(|c| **c == '@') {
            mask(&mut shown, start, start + at);
        }
    }
    shown.into_iter().collect()
}

/// Where the text goes on behind each `word`.
fn found(text: &[char], word: &str) -> Vec<usize> {
    let word: Vec<char> = word.chars().collect();
    let starts = text.windows(word.len()).enumerate();
    starts
        .filter(|(_, part)| *part == word)
        .map(|(start, _)| start + word.len())
        .collect()
}

/// Behind the closing quote, or at the end of the line.
fn end_of_value(text: &[char], start: usize) -> usize {
    let quote = text.get(start).copied();
    let rest = text.iter().enumerate().skip(start + 1);
    let mut ends = rest.filter(|(_, character)| {
        quote.is_some_and(|quote| matches!(quote, '"' | '\'') && **character == quote)
    });
    ends.next().map_or(text.len(), |(end, _)| end + 1)
}

fn mask(text: &mut [char], start: usize, end: usize) {
    let length = end.saturating_sub(start);
    for character in text.iter_mut().skip(start).take(length) {
        *character = '*';
    }
}

/// Shown in place of a secret.
const HIDDEN: &str = "(hidden)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "(hidden)");
        let written = WrittenSecret::parse("hunter2").expect("any text");
        assert_eq!(
            (format!("{written:?}"), written.to_string().as_str()),
            ("WrittenSecret((hidden))".into(), "(hidden)")
        );
    }

    #[test]
    fn lines_are_shown_without_what_is_secret() {
        for (line, shown) in [
            ("password = \"hunter2\" # x", "password = ********* # x"),
            ("password=5", "password=*"),
            ("password_file = \"a\"", "password_file = \"a\""),
            (
                "redis = { password = 'hunter2', epoch = 1 }",
                "redis = { password = *********, epoch = 1 }",
            ),
            ("password = \"a\\\"b\"", "password = ****b\""),
            (
                "url = \"redis://me:pa@ss@host/1\"",
                "url = \"redis://*****@host/1\"",
            ),
            ("url = \"redis://host/1@2\"", "url = \"redis://host/1@2\""),
            ("", ""),
        ] {
            let (masked, shown) = (masked(line), shown);
            assert_eq!(masked.chars().count(), line.chars().count());
            if line.contains("pa@ss") {
                assert!(
                    !masked.contains("pa") && masked.contains("@host"),
                    "{masked}"
                );
            } else {
                assert_eq!(masked, shown);
            }
        }
    }
}
