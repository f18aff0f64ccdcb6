//! `Host` and `:authority`. Laws: what is accepted is printable and holds nothing by which a second
//! parser could see another host; an authority is the same as itself in any case.
#![no_main]

use libfuzzer_sys::fuzz_target;
use middleware::fields::host::Authority;

fuzz_target!(|bytes: &[u8]| {
    let Some(authority) = Authority::parse(bytes) else {
        return;
    };
    assert!(bytes.iter().all(u8::is_ascii_graphic));
    assert!(!bytes.iter().any(|byte| b"@/\\,;?#%".contains(byte)));
    assert!(!authority.host().is_empty());
    let other_case = bytes.to_ascii_uppercase();
    let other_case = Authority::parse(&other_case).expect("case changes nothing");
    assert!(authority.is_same(&other_case, 80));
});
