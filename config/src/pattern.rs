//! The text of a route's pattern: `[METHOD|METHOD ][HOST]/PATH`.

use std::fmt;
use std::fmt::Write;

use crate::names::token;
use crate::route::{HostPattern, Pattern, Segment};
use crate::site::Site;
use crate::units::{Fault, Text, text_form};
use crate::upstream::is_host_name;

/// A pattern, and as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenPattern {
    pub(crate) text: String,
    pub(crate) pattern: Pattern,
}

/// The beginning of a path that is taken off: `/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) String);

text_form!(WrittenPattern, Prefix);

impl fmt::Display for WrittenPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Text for WrittenPattern {
    const FORMAT: &'static str = "route-pattern";
    const MEANING: &'static str = "a pattern";
    const EXAMPLES: &'static [&'static str] = &[
        "/assets/*",
        "GET /users/{id}",
        "api.example.com/v1/*",
        "*.example.com/*",
    ];

    fn parse(text: &str) -> Result<Self, Fault> {
        let (methods, target) = match text.split_once(' ') {
            Some((methods, target)) => (parse_methods(methods)?, target),
            None => (Vec::new(), text),
        };
        let Some(slash) = target.find('/') else {
            return Err(no_path(text, target));
        };
        let (host, path) = target.split_at(slash);
        let (segments, open) = parse_path(path)?;
        Ok(Self {
            text: text.to_owned(),
            pattern: Pattern {
                methods,
                host: parse_host(host)?,
                segments,
                open,
            },
        })
    }
}

/// What every request matches.
pub(crate) fn everything() -> Pattern {
    Pattern {
        open: true,
        ..Pattern::default()
    }
}

fn no_path(text: &str, target: &str) -> Fault {
    let help = match target {
        "*" => "write \"/*\" for every request".to_owned(),
        _ if token(target).is_ok_and(|name| name.bytes().all(|b| b.is_ascii_uppercase())) => {
            format!("write \"{target} /*\" for every path")
        }
        _ => format!("write \"{text}/*\" for every path there"),
    };
    Fault::new("has no path", help)
}

/// `GET` takes `HEAD` along: they ask for the same thing (RFC 9110 §9.3.2).
fn parse_methods(text: &str) -> Result<Vec<String>, Fault> {
    let mut methods: Vec<String> = Vec::new();
    for method in text.split('|') {
        if token(method).is_err() {
            let help = "write methods with `|` between them, one space, then the path";
            return Err(Fault::new(format!("has the method `{method}`"), help));
        }
        if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(Fault::new(
                format!("has the method `{method}`"),
                format!("methods are upper case: {}", method.to_ascii_uppercase()),
            ));
        }
        if methods.iter().any(|known| known == method) && method != "HEAD" {
            return Err(Fault::new(
                format!("names {method} twice"),
                "once is enough",
            ));
        }
        let also = (method == "GET").then_some("HEAD");
        for method in [method].into_iter().chain(also) {
            if !methods.iter().any(|known| known == method) {
                methods.push(method.to_owned());
            }
        }
    }
    Ok(methods)
}

fn parse_host(text: &str) -> Result<HostPattern, Fault> {
    let host = text.to_ascii_lowercase();
    if host.is_empty() {
        return Ok(HostPattern::Any);
    }
    if let Some(domain) = host
        .strip_prefix("*.")
        .filter(|domain| is_host_name(domain))
    {
        return Ok(HostPattern::Below(domain.to_owned()));
    }
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    if is_v6 || is_host_name(&host) {
        return Ok(HostPattern::Exact(host));
    }
    let help = match host.as_str() {
        "*" => "leave the host out for every host".to_owned(),
        host if host.ends_with(':') => "leave the scheme out".to_owned(),
        host if host.contains(':') => "leave the port out, it is not compared".to_owned(),
        host if host.contains('*') => {
            "a `*` stands for the whole beginning: *.example.com".to_owned()
        }
        _ => "write a name, or `*.` and a domain".to_owned(),
    };
    Err(Fault::new(format!("has the host `{text}`"), help))
}

/// The segments of a path that begins with a slash, and whether it may go on after them.
fn parse_path(path: &str) -> Result<(Vec<Segment>, bool), Fault> {
    let mut texts: Vec<&str> = path.split('/').skip(1).collect();
    let open = texts.last() == Some(&"*");
    if open {
        texts.pop();
    }
    let mut segments: Vec<Segment> = Vec::new();
    for text in texts {
        let segment = parse_segment(text)?;
        if matches!(segment, Segment::Any(_)) && segments.contains(&segment) {
            let help = "give each placeholder its own name";
            return Err(Fault::new(format!("has {text} twice"), help));
        }
        segments.push(segment);
    }
    Ok((segments, open))
}

fn parse_segment(text: &str) -> Result<Segment, Fault> {
    let name = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    if let Some(name) = name {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        return match !name.is_empty() && name.bytes().all(is_name) {
            true => Ok(Segment::Any(name.to_owned())),
            false => Err(Fault::new(
                format!("has the placeholder `{text}`"),
                "write letters, digits and `_` in the braces",
            )),
        };
    }
    let help = match text {
        "." | ".." => "paths are compared without dot segments",
        text if text.contains('*') => "a `*` stands alone, as the last segment",
        text if text.contains(['{', '}']) => "a placeholder is a whole segment: /{id}/",
        text if text.contains(['?', '#']) => "patterns see the path only, not the query",
        text if text.contains(|c: char| c.is_control() || c == ' ') => "write a space as %20",
        text => {
            let help = "after a `%` stand two hexadecimal digits";
            let fault = || Fault::new(format!("has the segment `{text}`"), help);
            return literal(text).map(Segment::Literal).ok_or_else(fault);
        }
    };
    Err(Fault::new(format!("has the segment `{text}`"), help))
}

/// The one spelling that the router compares: unreserved escapes decoded (RFC 3986 §6.2.2.2),
/// everything beyond ASCII escaped, as clients send it.
fn literal(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            match byte.is_ascii() {
                true => out.push(char::from(byte)),
                false => write!(out, "%{byte:02X}").ok()?,
            }
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(char::from(byte)),
            false => write!(out, "%{byte:02X}").ok()?,
        }
    }
    Some(out)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for Prefix {
    const FORMAT: &'static str = "path-prefix";
    const MEANING: &'static str = "the beginning of a path";
    const EXAMPLES: &'static [&'static str] = &["/v1", "/apps/shop"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write it with a slash at its beginning and none at its end: \"/v1\"";
        let stray = |c: char| c.is_control() || " *{}?#".contains(c);
        let segments = text.strip_prefix('/').filter(|rest| !rest.is_empty());
        match segments {
            Some(rest) if !rest.ends_with('/') && !rest.contains(stray) => {
                let parts: Option<Vec<String>> = rest.split('/').map(literal).collect();
                let parts = parts.ok_or_else(|| Fault::new("has a broken escape", help))?;
                Ok(Self(format!("/{}", parts.join("/"))))
            }
            _ => Err(Fault::new("is not the beginning of a path", help)),
        }
    }
}

impl Prefix {
    /// It must be what every path of the route begins with.
    pub(crate) fn check(&self, pattern: &Pattern, site: &Site<'_>) {
        let mut wanted = pattern.segments.iter();
        for part in self.0.split('/').skip(1) {
            match wanted.next() {
                Some(Segment::Literal(text)) if text == part => {}
                _ => {
                    let message = format!("not every path of this route begins with {self}");
                    return site.problem(message, format!("match \"{self}/*\""));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Result<Pattern, String> {
        WrittenPattern::parse(text)
            .map(|written| written.pattern)
            .map_err(|fault| fault.to_string())
    }

    fn literals(texts: &[&str]) -> Vec<Segment> {
        texts
            .iter()
            .map(|text| Segment::Literal((*text).to_owned()))
            .collect()
    }

    #[test]
    fn a_path_alone_is_any_method_and_host() {
        let all = Pattern {
            open: true,
            ..Pattern::default()
        };
        assert_eq!(pattern("/*"), Ok(all.clone()));
        let v1 = Pattern {
            segments: literals(&["v1"]),
            ..all
        };
        assert_eq!(pattern("/v1/*"), Ok(v1.clone()));
        let users = Pattern {
            segments: vec![Segment::Literal("users".into()), Segment::Any("id".into())],
            open: false,
            ..v1
        };
        assert_eq!(pattern("/users/{id}"), Ok(users));
        assert_eq!(
            pattern("/").map(|pattern| pattern.segments),
            Ok(literals(&[""]))
        );
        assert_eq!(
            pattern("/a/").map(|pattern| pattern.segments),
            Ok(literals(&["a", ""]))
        );
    }

    #[test]
    fn methods_and_hosts_come_before_the_path() {
        let parsed = pattern("POST|PUT api.Example.com/x");
        let parsed = parsed.map(|pattern| (pattern.methods, pattern.host));
        let expected = (
            vec!["POST".to_owned(), "PUT".to_owned()],
            HostPattern::Exact("api.example.com".into()),
        );
        assert_eq!(parsed, Ok(expected));
        let host = |text| pattern(text).map(|pattern| pattern.host);
        assert_eq!(
            host("*.example.com/*"),
            Ok(HostPattern::Below("example.com".into()))
        );
        assert_eq!(host("[::1]/"), Ok(HostPattern::Exact("[::1]".into())));
    }

    #[test]
    fn get_takes_head_along() {
        let methods = |text| pattern(text).map(|pattern| pattern.methods.join("|"));
        assert_eq!(methods("GET /me"), Ok("GET|HEAD".into()));
        assert_eq!(methods("GET|HEAD /me"), Ok("GET|HEAD".into()));
        assert_eq!(methods("HEAD /me"), Ok("HEAD".into()));
    }

    #[test]
    fn literals_are_compared_in_one_spelling() {
        let segments = |text| pattern(text).map(|pattern| pattern.segments);
        assert_eq!(
            segments("/%7euser/a%2fb/é"),
            Ok(literals(&["~user", "a%2Fb", "%C3%A9"]))
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in [
            "",
            "*",
            "GET",
            "example.com",
            "get /x",
            "GET|GET /x",
            "GET  /x",
            "/a*",
            "/*/a",
            "/a{b}",
            "/{}",
            "/{a}/{a}",
            "/a?b",
            "/a#b",
            "/a/../b",
            "/a b",
            "/%zz",
            "/%4",
            "example.com:80/",
            "*/x",
            "a*.b/x",
            "https://a/b",
            "/\n",
            "GET| /x",
        ] {
            assert!(pattern(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*", path in "[A-Z |]{0,5}[a-z.*:]{0,8}/[a-z%{}*/0-9.]{0,20}") {
            let _ = (pattern(&text).is_ok(), pattern(&path).is_ok(), Prefix::parse(&text).is_ok());
        }
    }
}
