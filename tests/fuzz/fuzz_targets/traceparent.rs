//! `traceparent`. Laws: no number is zero; what was read is written so that it is read again, and as
//! it came where the version is ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use middleware::fields::traceparent;

fuzz_target!(|bytes: &[u8]| {
    let Some(trace) = traceparent::parse(bytes) else {
        return;
    };
    assert!(trace.trace_id != [0, 0] && trace.span_id != 0);
    let written = traceparent::write(&trace);
    assert_eq!(traceparent::parse(written.as_bytes()), Some(trace));
    assert_eq!(written.as_bytes()[3..53], bytes[3..53]);
});
