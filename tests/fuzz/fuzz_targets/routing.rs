//! Paths as routes see them. Laws: an escape of an unreserved character is that character, and a dot
//! segment is nothing, so neither leads around a route; no path is without one.
#![no_main]

use std::sync::LazyLock;

use config::{Overrides, Settings, load_text};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use proxy::routing::find;

fuzz_target!(|path: &[u8]| {
    let route = |path: &[u8]| {
        let request = fuzz::request(path, HeaderMap::new())?;
        let route = find(&SETTINGS, &request).expect("the last route takes everything");
        Some(route.name.clone())
    };
    if !path.starts_with(b"/") || path.contains(&b'?') || path.contains(&b'#') {
        return;
    }
    let Some(found) = route(path) else { return };
    let mut escaped = Vec::new();
    let mut dotted = Vec::new();
    for (at, byte) in path.iter().enumerate() {
        // The digits of an escape stay, or it would be another one.
        let in_escape = path[at.saturating_sub(2)..at].contains(&b'%');
        match byte {
            b'a'..=b'z' | b'.' | b'~' if !in_escape => {
                escaped.extend_from_slice(format!("%{byte:02x}").as_bytes());
            }
            _ => escaped.push(*byte),
        }
        dotted.push(*byte);
        if *byte == b'/' {
            dotted.extend_from_slice(b"./%2E/");
        }
    }
    assert_eq!(route(&escaped).as_ref(), Some(&found));
    assert_eq!(route(&dotted).as_ref(), Some(&found));
    let around = [b"/x/y/../%2e%2E", path].concat();
    assert_eq!(route(&around).as_ref(), Some(&found));
});

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let text = "[upstream.app]\nurl = \"http://127.0.0.1:3000\"\n\
        [[route]]\nmatch = \"/a/*\"\nupstream = \"app\"\n\
        [[route]]\nmatch = \"/a/b\"\nupstream = \"app\"\n\
        [[route]]\nmatch = \"/{id}/b/\"\nupstream = \"app\"\n";
    let loaded = load_text(text, None, &Overrides::default(), &|_| None);
    loaded.expect("settings").settings
});
