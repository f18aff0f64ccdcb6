//! `Forwarded` (RFC 7239) and `X-Forwarded-For`: the chain of those who passed a request on.
//!
//! ```
//! use middleware::fields::forwarded::{Node, elements};
//!
//! let chain: Vec<_> = elements(br#"for="[2001:db8::17]:4711";proto=https, for=unknown"#)
//!     .collect::<Option<_>>()
//!     .unwrap();
//! assert_eq!(chain[0].client, Some(Node::Address("2001:db8::17".parse().unwrap())));
//! assert_eq!(chain[0].proto.as_deref(), Some("https"));
//! assert_eq!(chain[1].client, Some(Node::Hidden));
//! ```

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// One proxy's word about whom it received a request from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element<'a> {
    /// `for`
    pub client: Option<Node>,
    /// `proto`
    pub proto: Option<Cow<'a, str>>,
    /// `host`
    pub host: Option<Cow<'a, str>>,
}

/// Somebody in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// By address; the port is dropped.
    Address(IpAddr),
    /// `unknown`, or an obfuscated name.
    Hidden,
}

/// The elements of one field line, in order. `None` stands for a malformed one, after which nothing
/// of the line can be trusted.
pub fn elements(line: &[u8]) -> impl Iterator<Item = Option<Element<'_>>> {
    let mut rest = str::from_utf8(line).ok();
    let mut broken = rest.is_none();
    std::iter::from_fn(move || {
        if std::mem::take(&mut broken) {
            return Some(None);
        }
        let text = rest?.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return None;
        }
        let read = element(text);
        rest = read.as_ref().map(|(_, rest)| *rest);
        Some(read.map(|(element, _)| element))
    })
}

/// Reads an address as `X-Forwarded-For` has it: bare or bracketed, with a port or without.
pub fn node(text: &str) -> Option<Node> {
    let text = text.trim_matches([' ', '\t']);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Node::Address(address.to_canonical()));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Node::Address(address.ip().to_canonical()));
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Some(Ok(address)) = bracketed.map(str::parse::<Ipv6Addr>) {
        return Some(Node::Address(IpAddr::V6(address).to_canonical()));
    }
    // RFC 7239 §6: a port may be obfuscated as well.
    let name = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            let port_is_hidden = port.strip_prefix('_').is_some_and(is_obfuscated);
            if port_is_hidden {
                return node(name);
            }
            name
        }
        _ => text,
    };
    let hidden =
        name.eq_ignore_ascii_case("unknown") || name.strip_prefix('_').is_some_and(is_obfuscated);
    hidden.then_some(Node::Hidden)
}

/// Writes the element of one more proxy: whom it received from, for which host, by which scheme.
pub fn write_element(text: &mut String, client: Option<IpAddr>, host: &str, proto: &str) {
    match client {
        Some(IpAddr::V4(address)) => write!(text, "for={address}"),
        Some(IpAddr::V6(address)) => write!(text, "for=\"[{address}]\""),
        None => write!(text, "for=unknown"),
    }
    .expect("writing to a string cannot fail");
    if !host.is_empty() {
        text.push_str(";host=");
        write_value(text, host);
    }
    text.push_str(";proto=");
    text.push_str(proto);
}

fn write_value(text: &mut String, value: &str) {
    if value.bytes().all(is_token_byte) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for letter in value.chars() {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
}

/// `[ forwarded-pair ] *( ";" [ forwarded-pair ] )`, and what follows its comma.
fn element(mut text: &str) -> Option<(Element<'_>, &str)> {
    let mut element = Element::default();
    loop {
        text = text.trim_start_matches([' ', '\t']);
        if text.is_empty() || text.starts_with(',') {
            return Some((element, text));
        }
        if let Some(rest) = text.strip_prefix(';') {
            text = rest;
            continue;
        }
        let (name, rest) = text.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return None;
        }
        let (value, rest) = value(rest)?;
        match name {
            _ if name.eq_ignore_ascii_case("for") => set_once(&mut element.client, node(&value)?)?,
            _ if name.eq_ignore_ascii_case("proto") => set_once(&mut element.proto, value)?,
            _ if name.eq_ignore_ascii_case("host") => set_once(&mut element.host, value)?,
            _ => {}
        }
        text = rest.trim_start_matches([' ', '\t']);
        if !(text.is_empty() || text.starts_with([',', ';'])) {
            return None;
        }
    }
}

/// RFC 7239 §4: "Each parameter MUST NOT occur more than once per field-value."
fn set_once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Addresses with a colon should be quoted, and often are not.
        let end = text.find([',', ';', ' ', '\t', '"']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (!value.is_empty()).then_some((Cow::Borrowed(value), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((Cow::Owned(value), quoted.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

fn is_obfuscated(name: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.bytes().all(may)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(line: &str) -> Option<Vec<Element<'_>>> {
        elements(line.as_bytes()).collect()
    }

    fn address(text: &str) -> Option<Node> {
        Some(Node::Address(text.parse().unwrap()))
    }

    #[test]
    fn examples_of_rfc_7239() {
        let one = all("For=\"[2001:db8:cafe::17]:4711\"").unwrap();
        assert_eq!(one[0].client, address("2001:db8:cafe::17"));
        let two = all("for=192.0.2.60;proto=http;by=203.0.113.43").unwrap();
        assert_eq!(two[0].client, address("192.0.2.60"));
        assert_eq!(two[0].proto.as_deref(), Some("http"));
        let three = all("for=192.0.2.43, for=198.51.100.17").unwrap();
        assert_eq!(three.len(), 2);
        let four = all("for=_gazonk, for=\"_SEVKISEK:_x1\", for=unknown").unwrap();
        assert!(
            four.iter()
                .all(|element| element.client == Some(Node::Hidden))
        );
    }

    #[test]
    fn malformed_elements_end_the_line() {
        for line in [
            "for",
            "for=",
            "=x",
            "for=\"1.2.3.4",
            "for=1.2.3.4 proto=http",
            "for=1.2.3.4;for=5.6.7.8",
            "for=not an address",
            "for=1.2.3.4:99999x",
            "f(r=1",
        ] {
            assert_eq!(all(line), None, "{line}");
        }
        let mut read = elements(b"for=1.2.3.4, for=, for=5.6.7.8");
        assert!(read.next().unwrap().is_some());
        assert_eq!(read.next(), Some(None));
        assert_eq!(read.next(), None);
        assert_eq!(elements(b"for=\xff").collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn nodes_as_proxies_write_them() {
        for (text, read) in [
            ("192.0.2.1", address("192.0.2.1")),
            (" 192.0.2.1:4711 ", address("192.0.2.1")),
            ("2001:db8::1", address("2001:db8::1")),
            ("[2001:db8::1]", address("2001:db8::1")),
            ("[2001:db8::1]:80", address("2001:db8::1")),
            ("192.0.2.1:_port", address("192.0.2.1")),
            ("::ffff:192.0.2.1", address("192.0.2.1")),
            ("unknown", Some(Node::Hidden)),
            ("_hidden", Some(Node::Hidden)),
            ("", None),
            ("localhost", None),
            ("1.2.3", None),
            ("1.2.3.4, 5.6.7.8", None),
            ("_", None),
        ] {
            assert_eq!(node(text), read, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_elements_read_back(
            client in any::<Option<IpAddr>>(),
            host in "[a-z0-9.:\"\\\\]{0,20}",
        ) {
            let mut text = String::new();
            write_element(&mut text, client, &host, "https");
            let read = all(&text).unwrap();
            prop_assert_eq!(read.len(), 1);
            let expected = client.map_or(Node::Hidden, |ip| Node::Address(ip.to_canonical()));
            prop_assert_eq!(read[0].client, Some(expected));
            prop_assert_eq!(read[0].host.as_deref(), Some(&*host).filter(|host| !host.is_empty()));
            prop_assert_eq!(read[0].proto.as_deref(), Some("https"));
        }

        #[test]
        fn nothing_panics_and_reading_ends(line in any::<Vec<u8>>(), text in "[for=;,:\\[\\]\"\\\\ 1a_-]{0,40}") {
            prop_assert!(elements(&line).count() <= line.len() + 1);
            prop_assert!(elements(text.as_bytes()).count() <= text.len() + 1);
            node(&text);
        }
    }
}
