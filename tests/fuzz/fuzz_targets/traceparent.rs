//! `traceparent`. Laws: what is read is valid, and is read again from what is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use middleware::fields::traceparent;

fuzz_target!(|bytes: &[u8]| {
    if let Some(trace) = traceparent::parse(bytes) {
        assert!(trace.trace_id != 0 && trace.span_id != 0);
        let written = traceparent::write(&trace);
        assert_eq!(traceparent::parse(written.as_bytes()), Some(trace));
    }
});
