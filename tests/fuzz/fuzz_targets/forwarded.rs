//! `Forwarded`. Laws: reading ends; nothing comes after what is malformed; our own element, added
//! as a line of its own, is read as we wrote it.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use middleware::fields::forwarded::{Node, elements, node, write_element};

fuzz_target!(|bytes: &[u8]| {
    let read: Vec<_> = elements(bytes).collect();
    assert!(read.len() <= bytes.len() + 1);
    let broken = read.iter().position(Option::is_none);
    assert!(broken.is_none_or(|at| at + 1 == read.len()));
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    node(text);
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut ours = String::new();
    write_element(&mut ours, Some(client), text, "https");
    let read: Option<Vec<_>> = elements(ours.as_bytes()).collect();
    let read = read.expect("what we write is well formed");
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].client, Some(Node::Address(client)));
    assert_eq!(read[0].host.as_deref(), Some(text).filter(|text| !text.is_empty()));
});
