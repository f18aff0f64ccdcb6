//! Dates in three forms. Laws: what was read is read again from what is written; what was read from
//! the form that we write is written as it came, names of days and letter case aside.
#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use middleware::fields::http_date;

fuzz_target!(|bytes: &[u8]| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200);
    if let Some(time) = http_date::parse(bytes, now) {
        let written = http_date::format(time);
        // A leap second at the end of the year 9999 is the one date that cannot be written.
        let again = http_date::parse(written.as_bytes(), now).expect("a date");
        assert!(again == time || again + Duration::from_secs(1) == time);
        let is_leap_second = bytes.ends_with(b":60 GMT") || bytes.ends_with(b":60 gmt");
        if bytes.get(3) == Some(&b',') && !is_leap_second {
            assert!(written.as_bytes()[5..].eq_ignore_ascii_case(&bytes[5..]));
        }
    }
});
