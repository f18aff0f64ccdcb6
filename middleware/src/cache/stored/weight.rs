//! Bytes of memory behind the parts of a stored response.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::cache_status::CACHE_STATUS;

/// Bytes of memory that fields hold whose values each have memory of their own.
pub(super) fn apart_weight(fields: &HeaderMap) -> usize {
    block(size_of::<HeaderMap>() + COUNTS) + fields_weight(fields) + fields.len() * (SHARED + 16)
}

/// Bytes of memory that these fields hold, their values in one piece.
pub(super) fn fields_weight(fields: &HeaderMap) -> usize {
    let names: usize = fields
        .keys()
        .filter(|name| is_custom(name))
        .map(|name| block(name.as_str().len()) + SHARED)
        .sum();
    let values: usize = fields.values().map(HeaderValue::len).sum();
    let repeated = fields.len() - fields.keys_len();
    // Robin Hood table of four-byte positions, at most three quarters full.
    let positions = (fields.keys_len() * 4 / 3 + 1).next_power_of_two() * 4;
    block(positions)
        + block(fields.keys_len() * FIELD)
        + block(repeated * FIELD)
        + block(values)
        + SHARED
        + names
}

/// Whether a name is spelled out in memory rather than being one of the known ones.
fn is_custom(name: &HeaderName) -> bool {
    // Known names are told by a number, and there is no asking which a name is; those that we store
    // often and that are not known begin so.
    name.as_str().starts_with("x-") || *name == CACHE_STATUS
}

/// What the allocator hands out for `bytes`: it has four sizes from one power of two to the next, and of
/// a large piece the pages that are used.
pub(crate) fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=64 => bytes.next_multiple_of(16),
        65..PAGED => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
        PAGED.. => bytes.next_multiple_of(4096),
    }
}

/// Pieces from here on are not touched beyond what is used of them.
const PAGED: usize = 64 << 10;
/// Reference counts of an `Arc`.
pub(crate) const COUNTS: usize = 16;
/// What `Bytes` allocates beside the content once it is shared.
pub(super) const SHARED: usize = 32;
/// One field in a `HeaderMap`: hash, name, value, links.
const FIELD: usize = size_of::<HeaderName>() + size_of::<HeaderValue>() + 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_the_allocator() {
        for (bytes, expected) in [
            (0, 0),
            (1, 16),
            (64, 64),
            (65, 80),
            (128, 128),
            (129, 160),
            (200, 224),
            (1025, 1280),
            (2048, 2048),
            (2049, 2560),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, (1 << 20) + 4096),
        ] {
            assert_eq!(block(bytes), expected, "{bytes}");
        }
    }
}
