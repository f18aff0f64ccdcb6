//! Makes a history that fails smaller while it fails: fewer steps, then simpler ones.

use super::choices::STEP;

/// The smallest that was found for which `fails` still holds.
pub(super) fn smallest(mut bytes: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    loop {
        let before = bytes.clone();
        bytes = fewer_steps(bytes, &fails);
        bytes = simpler_choices(bytes, &fails);
        if bytes == before {
            return bytes;
        }
    }
}

fn fewer_steps(mut bytes: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut at = bytes.len() / STEP;
    // From the end, and never the first, which says what the rest means.
    while at > 1 {
        at -= 1;
        let mut shorter = bytes.clone();
        let end = shorter.len().min((at + 1) * STEP);
        shorter.drain(at * STEP..end);
        if fails(&shorter) {
            bytes = shorter;
        }
    }
    bytes
}

fn simpler_choices(mut bytes: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    for at in 0..bytes.len() {
        for simpler in [0, bytes[at] / 2] {
            if simpler >= bytes[at] {
                continue;
            }
            let mut other = bytes.clone();
            other[at] = simpler;
            if fails(&other) {
                bytes = other;
                break;
            }
        }
    }
    bytes
}

/// Hexadecimal digits, a full stop between steps, without the zeros at their ends.
pub(super) fn to_text(bytes: &[u8]) -> String {
    let steps = bytes.chunks(STEP).map(|step| {
        let end = step.iter().rposition(|byte| *byte != 0);
        let told = &step[..end.map_or(0, |end| end + 1)];
        told.iter().map(|byte| format!("{byte:02x}")).collect()
    });
    steps.collect::<Vec<String>>().join(".")
}

pub(super) fn from_text(text: &str) -> Vec<u8> {
    let steps = text.split('.').flat_map(|step| {
        let digits = step.as_bytes().chunks(2);
        let bytes = digits.map(|pair| {
            let pair = str::from_utf8(pair).expect("hexadecimal digits");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        });
        let mut bytes: Vec<u8> = bytes.collect();
        bytes.resize(STEP, 0);
        bytes
    });
    steps.collect()
}
