//! `Host` and `:authority`. Laws: what is accepted holds nothing by which a second parser could see
//! another host, and the library below us sees the same; what was read is the same when it is written
//! again, in any letter case; no port and the default one are alike; a port is digits and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use middleware::fields::host::Authority;

fuzz_target!(|bytes: &[u8]| {
    let Some(read) = Authority::parse(bytes) else {
        return;
    };
    assert!(bytes.iter().all(u8::is_ascii_graphic));
    assert!(!bytes.iter().any(|byte| b"@/\\,;?#%".contains(byte)));
    assert!(!read.host().is_empty());
    let bracketed = read.host().contains(':');
    let host = match bracketed {
        true => format!("[{}]", read.host()),
        false => read.host().to_owned(),
    };
    let written = match read.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.clone(),
    };
    let after = bytes.get(host.len()..).expect("the host comes first");
    let is_port = |rest: &[u8]| rest[0] == b':' && rest[1..].iter().all(u8::is_ascii_digit);
    assert!(after.is_empty() || is_port(after));

    for text in [written.clone(), written.to_ascii_uppercase()] {
        let again = Authority::parse(text.as_bytes()).expect("still one");
        assert!(again.is_same(&read, 80) && read.is_same(&again, 80));
    }
    let plain = Authority::parse(host.as_bytes()).expect("still one");
    assert!(plain.is_same(&read, read.port().unwrap_or(80)));

    let theirs = http::uri::Authority::try_from(written.as_str()).expect("a URI's authority");
    assert_eq!((theirs.host(), theirs.port_u16()), (&*host, read.port()));
});
