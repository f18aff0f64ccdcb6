//! `Surrogate-Key`, `Cache-Tag`, `xkey` and `Cache-Groups`. Laws: lines mean what one line with all of
//! them means; a name has no separator in it and is part of what was sent; groups are what the list of
//! structured fields says.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::tags::{self, Source};
use sfv::{List, Parser};

fn read(source: Source, lines: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let mut fields = HeaderMap::new();
    for line in lines {
        fields.append(source.field(), HeaderValue::from_bytes(line).ok()?);
    }
    let mut names = Vec::new();
    tags::read(&fields, |from, name| {
        assert_eq!(from, source);
        names.push(name.to_vec());
    });
    Some(names)
}

fuzz_target!(|lines: (&[u8], &[u8])| {
    let (one, two) = lines;
    for source in Source::ALL {
        let between: &[u8] = match source {
            Source::CacheTag | Source::CacheGroups => b", ",
            Source::SurrogateKey | Source::Xkey => b" ",
        };
        let joined = [one, between, two].concat();
        let (Some(both), Some(together)) = (read(source, &[one, two]), read(source, &[&joined]))
        else {
            continue;
        };
        assert_eq!(both, together);
        for name in &both {
            let is_part = |line: &[u8]| line.windows(name.len()).any(|part| part == name);
            let has = |separator: u8| name.contains(&separator);
            match source {
                Source::CacheTag => assert!(!has(b',') && (is_part(one) || is_part(two))),
                Source::SurrogateKey | Source::Xkey => {
                    assert!(!has(b' ') && !has(b'\t') && (is_part(one) || is_part(two)));
                }
                Source::CacheGroups => assert!(name.is_ascii()),
            }
        }
        if source == Source::CacheGroups {
            let list = Parser::new(&joined).parse::<List>();
            assert!(both.len() <= list.map_or(0, |list| list.len()));
        }
    }
});
