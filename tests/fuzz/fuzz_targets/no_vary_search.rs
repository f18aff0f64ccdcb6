//! `No-Vary-Search`. Laws: nothing is made of what is no dictionary; equivalence is reflexive and
//! symmetric, holds between a query and itself with its first parameter escaped, and never joins queries
//! whose decoded parameters differ in what the field does not leave out.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::no_vary_search::{NO_VARY_SEARCH, NoVarySearch};
use sfv::{Dictionary, Parser};

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (line, one, other) = input;
    let Ok(value) = HeaderValue::from_bytes(line) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.insert(NO_VARY_SEARCH, value);
    let Some(said) = NoVarySearch::of(&fields) else {
        return;
    };
    let dictionary = Parser::new(line).parse::<Dictionary>();
    let dictionary = dictionary.expect("nothing is said by what is no dictionary");
    assert!(said.is_same(Some(one), Some(one)));
    let is_same = said.is_same(Some(one), Some(other));
    assert_eq!(is_same, said.is_same(Some(other), Some(one)));
    let escaped: String = one
        .bytes()
        .map(|byte| match byte {
            b'&' | b'=' | b'%' | b'+' => char::from(byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect();
    if !one.contains('%') {
        assert!(said.is_same(Some(one), Some(&escaped)), "{one} {escaped}");
    }
    if is_same && dictionary.get("params").is_none() {
        // Only order may differ.
        assert_eq!(sorted(one), sorted(other));
    }
});

/// The decoded parameters of a query, in order.
fn sorted(query: &str) -> Vec<Vec<u8>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let mut parts: Vec<_> = parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            [decoded(name), vec![0xff, b'='], decoded(value)].concat()
        })
        .collect();
    parts.sort();
    parts
}

fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let plain = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (first, plain.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(plain)) => {
                bytes.push(plain);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}
