//! The PROXY protocol, v1 and v2: who the client of the balancer in front of us is.
//!
//! A listener with `proxy_protocol = true` *requires* the header: were it optional, any client could
//! claim to be anybody. Certificates, authorities and other TLVs of v2 are skipped.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::server::socket::Rewound;

/// What a header says about the connection's other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The balancer relays for this client.
    Client(SocketAddr),
    /// The balancer itself (`LOCAL`: a health check), or it does not know (`UNKNOWN`, `UNSPEC`, a
    /// family that is not IP): what the socket says holds.
    Connection,
}

/// Bytes that are no PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a PROXY protocol header of version 1 or 2")
    }
}

impl std::error::Error for Malformed {}

/// Reads the header from the beginning of `stream`; what follows it stays to be read. The caller
/// sets the deadline.
///
/// # Errors
/// When the connection fails or ends, or begins with anything else.
pub(crate) async fn read<T: AsyncRead + Unpin>(
    mut stream: T,
) -> std::io::Result<(Source, Rewound<T>)> {
    let mut seen = BytesMut::with_capacity(256);
    loop {
        if let Some((source, length)) = parse(&seen).map_err(std::io::Error::other)? {
            let unread: Bytes = seen.split_off(length).freeze();
            return Ok((source, Rewound::new(unread, stream)));
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The header at the beginning of `bytes` and its length; `None` while it may still become one.
///
/// # Errors
/// When no continuation of `bytes` is a header that we take.
pub fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Err(Malformed)
    }
}

/// Whether `bytes` begin with `signature`, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes
        .iter()
        .zip(signature)
        .all(|(byte, wanted)| byte == wanted)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    let within = bytes.get(..V1_LONGEST).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_LONGEST {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    let line = str::from_utf8(within.get(..end).unwrap_or_default()).map_err(|_| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Malformed)?;
    let source = match family {
        // Whatever follows is to be ignored.
        "UNKNOWN" => Source::Connection,
        "TCP4" => Source::Client(v1_source::<Ipv4Addr>(words)?),
        "TCP6" => Source::Client(v1_source::<Ipv6Addr>(words)?),
        _ => return Err(Malformed),
    };
    Ok(Some((source, end + 2)))
}

/// Source of `SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT`, all four checked.
fn v1_source<'a, A>(mut words: impl Iterator<Item = &'a str>) -> Result<SocketAddr, Malformed>
where
    A: str::FromStr + Into<IpAddr>,
{
    let mut address = || words.next()?.parse::<A>().ok();
    let (source, _destination) = (address().ok_or(Malformed)?, address().ok_or(Malformed)?);
    let mut port = || words.next().and_then(v1_port);
    let (source_port, _destination_port) = (port().ok_or(Malformed)?, port().ok_or(Malformed)?);
    match words.next() {
        None => Ok(SocketAddr::new(source.into(), source_port)),
        Some(_) => Err(Malformed),
    }
}

fn v1_port(word: &str) -> Option<u16> {
    // `parse` alone would take "+80".
    word.bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| word.parse().ok())
        .flatten()
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    let Some((head, rest)) = bytes.split_first_chunk::<V2_HEAD>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_LONGEST {
        return Err(Malformed);
    }
    let source = match command {
        0x20 => None,
        0x21 => Some(family),
        _ => return Err(Malformed),
    };
    let Some(content) = rest.get(..length) else {
        return Ok(None);
    };
    let source = match source {
        Some(0x11) => {
            let (address, ports) = content.split_first_chunk::<8>().ok_or(Malformed)?;
            let [a, b, c, d, ..] = *address;
            Source::Client(SocketAddr::new(
                Ipv4Addr::new(a, b, c, d).into(),
                v2_source_port(ports)?,
            ))
        }
        Some(0x21) => {
            let (address, rest) = content.split_first_chunk::<16>().ok_or(Malformed)?;
            let (_destination, ports) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
            Source::Client(SocketAddr::new(
                Ipv6Addr::from(*address).into(),
                v2_source_port(ports)?,
            ))
        }
        _ => Source::Connection,
    };
    Ok(Some((source, V2_HEAD + length)))
}

/// The first of the two ports at the beginning of `bytes`.
fn v2_source_port(bytes: &[u8]) -> Result<u16, Malformed> {
    let ([high, low, _, _], _tlvs) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    Ok(u16::from_be_bytes([*high, *low]))
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// §2.1: the longest line, its CRLF included.
const V1_LONGEST: usize = 107;
/// Signature, version and command, family, length.
const V2_HEAD: usize = 16;
/// Addresses and TLVs that we read before we give up. A client certificate's fields fit.
const V2_LONGEST: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(address: &str) -> Source {
        Source::Client(address.parse().unwrap())
    }

    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn version_1_lines() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n",
                Ok(client("192.0.2.7:4711")),
            ),
            (
                "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n",
                Ok(client("[2001:db8::7]:1")),
            ),
            ("PROXY UNKNOWN\r\n", Ok(Source::Connection)),
            (
                "PROXY UNKNOWN ffff::1 what ever\r\n",
                Ok(Source::Connection),
            ),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 +1 80\r\n", Err(Malformed)),
            (
                "PROXY TCP4 192.0.2.7 192.0.2.1 65536 80\r\n",
                Err(Malformed),
            ),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 1 2 3\r\n", Err(Malformed)),
            ("PROXY TCP4  192.0.2.7 192.0.2.1 1 2\r\n", Err(Malformed)),
            ("PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n\r\n", Err(Malformed)),
            ("PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n", Err(Malformed)),
            ("PROXY \r\n", Err(Malformed)),
            ("GET / HTTP/1.1\r\n", Err(Malformed)),
        ] {
            let expected = expected.map(|source| Some((source, line.len())));
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn version_1_is_bounded() {
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(parse(&endless), Err(Malformed));
        assert_eq!(parse(&endless[..106]), Ok(None));
    }

    #[test]
    fn version_2_headers() {
        let v4 = [192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80];
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[33] = 9;
        let with_tlv = [v4.as_slice(), &[0x20, 0, 3, 1, 2, 3]].concat();
        for (name, bytes, expected) in [
            (
                "TCP over IPv4",
                v2(0x21, 0x11, &v4),
                Ok(client("192.0.2.7:4711")),
            ),
            (
                "TLVs are skipped",
                v2(0x21, 0x11, &with_tlv),
                Ok(client("192.0.2.7:4711")),
            ),
            ("TCP over IPv6", v2(0x21, 0x21, &v6), Ok(client("[::1]:9"))),
            (
                "LOCAL says nothing of a client",
                v2(0x20, 0x11, &v4),
                Ok(Source::Connection),
            ),
            (
                "LOCAL without addresses",
                v2(0x20, 0, &[]),
                Ok(Source::Connection),
            ),
            ("UNSPEC", v2(0x21, 0, &[1, 2]), Ok(Source::Connection)),
            (
                "a Unix socket's path is no client",
                v2(0x21, 0x31, &[0; 216]),
                Ok(Source::Connection),
            ),
            (
                "too short for its family",
                v2(0x21, 0x11, &v4[..11]),
                Err(Malformed),
            ),
            ("unknown command", v2(0x22, 0x11, &v4), Err(Malformed)),
            ("unknown version", v2(0x11, 0x11, &v4), Err(Malformed)),
            (
                "over our bound",
                v2(0x21, 0x11, &vec![0; V2_LONGEST + 1]),
                Err(Malformed),
            ),
        ] {
            let expected = expected.map(|source| Some((source, bytes.len())));
            assert_eq!(parse(&bytes), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_prefix_of_a_header_is_incomplete(
            source: SocketAddr,
            tlvs in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let (family, mut content) = match source.ip() {
                IpAddr::V4(ip) => (0x11, [ip.octets(), [0; 4]].concat()),
                IpAddr::V6(ip) => (0x21, [ip.octets(), [0; 16]].concat()),
            };
            content.extend(source.port().to_be_bytes());
            content.extend([0, 80]);
            content.extend(tlvs);
            let header = v2(0x21, family, &content);
            for length in 0..header.len() {
                prop_assert_eq!(parse(&header[..length]), Ok(None));
            }
            let expected = Source::Client(SocketAddr::new(source.ip(), source.port()));
            prop_assert_eq!(parse(&header), Ok(Some((expected, header.len()))));
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes: Vec<u8>, v1: bool) {
            let signature = if v1 { V1_SIGNATURE } else { V2_SIGNATURE };
            let bytes = [signature, &bytes].concat();
            if let Ok(Some((_, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
