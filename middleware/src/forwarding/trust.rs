//! Whom to believe about who the client is.

use std::net::IpAddr;

use config::forwarding::{ForwardingSettings, Network};
use http::HeaderMap;
use http::header::FORWARDED;

use super::outgoing::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::facts::{Peer, Scheme};
use crate::fields::forwarded::{Element, Node, elements, node};

/// Whether what `peer` says about others is believed.
pub(super) fn is_trusted(settings: &ForwardingSettings, peer: Peer) -> bool {
    match peer.address() {
        Some(address) => is_in_any(&settings.trusted, address),
        None => settings.trust_unix,
    }
}

/// What a trusted peer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// The nearest in the chain that is not trusted itself.
    pub(super) client: Option<IpAddr>,
    pub(super) scheme: Option<Scheme>,
}

/// Reads the chain from its near end, which the trusted peer wrote, outwards.
///
/// A proxy continues one of the two fields and lets the other pass as the client sent it. We cannot
/// know which, so where both are there and name different clients, nothing is believed: `None`.
pub(super) fn claim(headers: &HeaderMap, trusted: &[Network]) -> Option<Claim> {
    let by_list = headers
        .contains_key(&X_FORWARDED_FOR)
        .then(|| from_list(headers, trusted));
    let by_elements = headers
        .contains_key(FORWARDED)
        .then(|| from_elements(headers, trusted));
    let claim = match (by_list, by_elements) {
        (Some(list), Some(elements)) if list.client != elements.client => return None,
        (Some(list), _) => list,
        (None, elements) => elements.unwrap_or_default(),
    };
    Some(Claim {
        client: claim.client,
        scheme: claim.scheme.or_else(|| nearest_scheme(headers)),
    })
}

fn from_list(headers: &HeaderMap, trusted: &[Network]) -> Claim {
    let lines = headers.get_all(&X_FORWARDED_FOR).iter();
    let chain = lines.flat_map(|line| line.to_str().unwrap_or_default().split(',').map(node));
    let chain: Vec<_> = chain.map(|node| node.map(|node| (node, None))).collect();
    nearest_untrusted(&chain, trusted)
}

fn from_elements(headers: &HeaderMap, trusted: &[Network]) -> Claim {
    let lines = headers.get_all(FORWARDED).iter();
    let read = |element: Element<'_>| {
        let scheme = element.proto.as_deref().and_then(scheme);
        Some((element.client?, scheme))
    };
    let chain: Vec<_> = lines
        .flat_map(|line| elements(line.as_bytes()))
        .map(|element| element.and_then(read))
        .collect();
    nearest_untrusted(&chain, trusted)
}

/// Walks towards the client until somebody is not trusted, or cannot be read: what lies beyond was
/// written by nobody we believe.
fn nearest_untrusted(chain: &[Option<(Node, Option<Scheme>)>], trusted: &[Network]) -> Claim {
    let mut nearest = Claim::default();
    for link in chain.iter().rev() {
        let Some((Node::Address(address), scheme)) = *link else {
            break;
        };
        nearest = Claim {
            client: Some(address),
            scheme,
        };
        if !is_in_any(trusted, address) {
            break;
        }
    }
    nearest
}

/// The last member: what our own peer says.
fn nearest_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let line = headers.get_all(&X_FORWARDED_PROTO).iter().next_back()?;
    scheme(line.to_str().ok()?.rsplit(',').next()?)
}

fn scheme(name: &str) -> Option<Scheme> {
    let name = name.trim_matches([' ', '\t']);
    let is = |scheme: &str| name.eq_ignore_ascii_case(scheme);
    if is("http") || is("ws") {
        Some(Scheme::Http)
    } else if is("https") || is("wss") {
        Some(Scheme::Https)
    } else {
        None
    }
}

fn is_in_any(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| is_in(network, address))
}

fn is_in(network: &Network, address: IpAddr) -> bool {
    match (network.address, address) {
        (IpAddr::V4(network_address), IpAddr::V4(address)) => {
            let shift = 32_u32.saturating_sub(u32::from(network.prefix));
            let differing = network_address.to_bits() ^ address.to_bits();
            differing.checked_shr(shift).unwrap_or(0) == 0
        }
        (IpAddr::V6(network_address), IpAddr::V6(address)) => {
            let shift = 128_u32.saturating_sub(u32::from(network.prefix));
            let differing = network_address.to_bits() ^ address.to_bits();
            differing.checked_shr(shift).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        let (address, prefix) = text.split_once('/').unwrap();
        Network {
            address: address.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
        }
    }

    fn read(fields: &[(&'static str, &'static str)]) -> Option<Claim> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        claim(&headers, &[network("10.0.0.0/8"), network("fd00::/8")])
    }

    fn client(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_client_is_the_nearest_that_is_not_trusted() {
        for (chain, expected) in [
            ("203.0.113.7", client("203.0.113.7")),
            ("203.0.113.7, 10.0.0.2", client("203.0.113.7")),
            // What the client itself wrote in front is not believed.
            ("1.1.1.1, 203.0.113.7, 10.0.0.2", client("203.0.113.7")),
            ("10.0.0.9, 10.0.0.2", client("10.0.0.9")),
            ("203.0.113.7, fd00::1", client("203.0.113.7")),
            ("garbage, 10.0.0.2", client("10.0.0.2")),
            ("203.0.113.7, garbage", None),
            ("unknown", None),
            ("", None),
        ] {
            let claim = read(&[("x-forwarded-for", chain)]).unwrap();
            assert_eq!(claim.client, expected, "{chain}");
        }
    }

    #[test]
    fn forwarded_says_the_scheme_of_the_same_hop() {
        let claim = read(&[(
            "forwarded",
            "for=203.0.113.7;proto=https, for=10.0.0.2;proto=http",
        )]);
        let expected = Claim {
            client: client("203.0.113.7"),
            scheme: Some(Scheme::Https),
        };
        assert_eq!(claim, Some(expected));
    }

    #[test]
    fn x_forwarded_proto_is_the_nearest() {
        let scheme = |proto| read(&[("x-forwarded-proto", proto)]).unwrap().scheme;
        assert_eq!(scheme("https"), Some(Scheme::Https));
        assert_eq!(scheme("https, HTTP"), Some(Scheme::Http));
        assert_eq!(scheme("gopher"), None);
    }

    #[test]
    fn contradicting_fields_are_not_believed() {
        // A balancer that continues one field lets the client choose the other.
        let contradiction = [
            ("x-forwarded-for", "203.0.113.7"),
            ("forwarded", "for=198.51.100.1"),
        ];
        assert_eq!(read(&contradiction), None);
        let agreement = [
            ("x-forwarded-for", "203.0.113.7"),
            ("forwarded", "for=203.0.113.7"),
        ];
        assert_eq!(read(&agreement).unwrap().client, client("203.0.113.7"));
    }

    #[test]
    fn networks() {
        for (text, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("10.0.0.1/32", "10.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("fd00::/8", "fd12::1", true),
            ("::1/128", "::2", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(is_in(&network(text), address), inside, "{text} {address}");
        }
    }

    proptest! {
        #[test]
        fn an_untrusted_client_cannot_move_itself(prefix in "[ -~]{0,40}") {
            let mut headers = HeaderMap::new();
            let chain = format!("{prefix}, 203.0.113.7, 10.0.0.2");
            headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(chain).unwrap());
            let claim = claim(&headers, &[network("10.0.0.0/8")]).unwrap();
            prop_assert_eq!(claim.client, client("203.0.113.7"));
        }
    }
}
