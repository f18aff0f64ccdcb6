//! Whatever an app calls its sitemap: no more is taken from it than was asked for, none of it longer than
//! a URL may be, and an index names no pages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::warm_up::sitemap;

fuzz_target!(|content: &[u8]| {
    let Ok(found) = sitemap::read(content, 8) else {
        return;
    };
    assert!(found.urls.len() + found.sitemaps.len() <= 8);
    assert!(found.urls.is_empty() || found.sitemaps.is_empty());
    for url in found.urls.iter().chain(&found.sitemaps) {
        assert!(!url.is_empty() && url.len() <= 2048);
    }
});
