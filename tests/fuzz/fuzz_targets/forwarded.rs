//! `Forwarded` and the addresses of `X-Forwarded-For`. Laws: after something malformed nothing is
//! believed; an element that we write, for whatever host, is read as it was meant.
#![no_main]

use std::borrow::Cow;
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use middleware::fields::forwarded::{Element, Node, elements, node, write_element};

fuzz_target!(|line: &[u8]| {
    let read: Vec<_> = elements(line).collect();
    assert!(read.len() <= line.len().max(1));
    let broken = read.iter().position(Option::is_none);
    assert!(broken.is_none_or(|at| at + 1 == read.len()));

    for element in read.into_iter().flatten() {
        let address = match element.client {
            Some(Node::Address(address)) => Some(address),
            Some(Node::Hidden) | None => None,
        };
        is_read_as_meant(address, &element.host.unwrap_or_default());
    }
    let Ok(text) = str::from_utf8(line) else {
        return;
    };
    is_read_as_meant(None, text);
    if let Some(Node::Address(address)) = node(text) {
        assert_eq!(node(&address.to_string()), Some(Node::Address(address)));
        assert_eq!(address, address.to_canonical());
    }
});

fn is_read_as_meant(client: Option<IpAddr>, host: &str) {
    let mut written = String::new();
    write_element(&mut written, client, host, "https");
    let meant = Element {
        client: Some(client.map_or(Node::Hidden, Node::Address)),
        proto: Some(Cow::Borrowed("https")),
        host: (!host.is_empty()).then_some(Cow::Borrowed(host)),
    };
    let again: Vec<_> = elements(written.as_bytes()).collect();
    assert_eq!(again, [Some(meant)]);
}
