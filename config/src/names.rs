//! Names of fields, cookies and query parameters, as they are written.

use std::fmt;

use crate::units::{Fault, Text, text_form};

/// A field's name, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldName(pub(crate) String);

/// A cookie's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieName(pub(crate) String);

/// A query parameter's name, or its beginning and a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParameterName(pub(crate) String);

text_form!(FieldName, CookieName, ParameterName);

impl Text for FieldName {
    const FORMAT: &'static str = "field-name";
    const MEANING: &'static str = "a header field's name";
    const EXAMPLES: &'static [&'static str] = &["accept-language", "x-tenant"];

    fn parse(text: &str) -> Result<Self, Fault> {
        token(text).map(|name| Self(name.to_ascii_lowercase()))
    }
}

impl Text for CookieName {
    const FORMAT: &'static str = "cookie-name";
    const MEANING: &'static str = "a cookie's name";
    const EXAMPLES: &'static [&'static str] = &["lang"];

    fn parse(text: &str) -> Result<Self, Fault> {
        token(text).map(|name| Self(name.to_owned()))
    }
}

impl Text for ParameterName {
    const FORMAT: &'static str = "query-parameter";
    const MEANING: &'static str = "a query parameter";
    const EXAMPLES: &'static [&'static str] = &["utm_*", "fbclid"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let stray = |c: char| c.is_control() || "*&=#?".contains(c);
        if text.is_empty() || name.contains(stray) {
            let help = "write the name as it stands in the query; a `*` may be last";
            return Err(Fault::new("is not the name of a query parameter", help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token (RFC 9110 §5.6.2).
pub(crate) fn token(text: &str) -> Result<&str, Fault> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_token) {
        Ok(text)
    } else {
        let help = "write letters, digits and any of !#$%&'*+-.^_`|~";
        Err(Fault::new("is not a name", help))
    }
}
