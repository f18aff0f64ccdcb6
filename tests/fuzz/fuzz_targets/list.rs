//! Comma-separated lists. Laws: no member is empty or padded, all of them are in the line, in order, and
//! what lies between two of them is space and commas outside of quotes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use middleware::fields::list::{self, Quotes};

fuzz_target!(|line: &[u8]| {
    for quotes in [Quotes::Escaping, Quotes::Plain] {
        let mut rest = line;
        for member in list::split(line, quotes) {
            assert!(!member.is_empty());
            assert_eq!(list::trim(member), member);
            let at = rest
                .windows(member.len())
                .position(|window| window == member)
                .expect("a member is in the line");
            rest = &rest[at + member.len()..];
        }
        let found: Vec<_> = list::split(line, quotes).collect();
        assert_eq!(found, by_quoted_strings(line, quotes));
    }
});

/// The same in another way: over quoted strings it goes in one leap, so every comma that it meets
/// parts two members.
fn by_quoted_strings(line: &[u8], quotes: Quotes) -> Vec<&[u8]> {
    let (mut commas, mut at) = (vec![], 0);
    while at < line.len() {
        match line[at] {
            b',' => commas.push(at),
            b'"' => {
                at += 1;
                while at < line.len() && line[at] != b'"' {
                    let skips = line[at] == b'\\' && quotes == Quotes::Escaping;
                    at += 1 + usize::from(skips);
                }
            }
            _ => {}
        }
        at += 1;
    }
    commas.push(line.len());
    let mut start = 0;
    let members = commas.into_iter().map(|end| {
        let member = &line[start..end];
        start = end + 1;
        trimmed(member)
    });
    members.filter(|member| !member.is_empty()).collect()
}

/// Optional whitespace is space and tab.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_kept = |byte: &u8| !b" \t".contains(byte);
    let first = bytes.iter().position(is_kept);
    let last = bytes.iter().rposition(is_kept);
    first.zip(last).map_or(&[], |(first, last)| &bytes[first..=last])
}
