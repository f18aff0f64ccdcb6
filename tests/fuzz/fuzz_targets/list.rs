//! Comma-separated lists. Laws: no member is empty or padded, and all of them are in the line, in order.
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
    }
});
