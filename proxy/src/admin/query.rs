//! The query of an admin request: `name=value` pairs (`application/x-www-form-urlencoded`).

/// The pairs in order, decoded; `+` is a space, bytes that are not UTF-8 are replaced.
pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
}

/// The first value of `name`.
pub(super) fn value(query: Option<&str>, name: &str) -> Option<String> {
    pairs(query).find_map(|(found, value)| (found == name).then_some(value))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = (byte == b'%')
            .then(|| after.split_first_chunk::<2>())
            .flatten()
            .and_then(|(digits, after)| Some((hex(*digits)?, after)));
        let (plain, after) = match (byte, escape) {
            (_, Some(escape)) => escape,
            (b'+', None) => (b' ', after),
            (other, None) => (other, after),
        };
        bytes.push(plain);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{pairs, value};

    #[test]
    fn queries() {
        for (query, expected) in [
            ("", vec![]),
            ("a=1&b=2", vec![("a", "1"), ("b", "2")]),
            ("a=%2Fx%3Fy%3D1", vec![("a", "/x?y=1")]),
            ("a=b+c", vec![("a", "b c")]),
            ("a", vec![("a", "")]),
            ("a=1=2", vec![("a", "1=2")]),
            ("&&a=1&", vec![("a", "1")]),
            ("a=%2", vec![("a", "%2")]),
            ("a=%zz", vec![("a", "%zz")]),
            ("a=%ff", vec![("a", "\u{fffd}")]),
        ] {
            let found: Vec<_> = pairs(Some(query)).collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(name, value): (&str, &str)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(found, expected, "{query}");
        }
        assert_eq!(value(Some("a=1&a=2"), "a").as_deref(), Some("1"));
        assert_eq!(value(None, "a"), None);
    }

    proptest! {
        #[test]
        fn any_query_is_read(query in "\\PC*") {
            pairs(Some(&query)).for_each(drop);
        }
    }
}
