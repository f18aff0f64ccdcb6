//! Dates in three forms. Law: what was read is read again from what is written.
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
    }
});
