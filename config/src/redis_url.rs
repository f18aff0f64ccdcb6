//! Where a Redis is: `redis://HOST[:PORT][/DATABASE]`, `rediss://…` with TLS, `unix:PATH`.

use std::fmt;
use std::net::Ipv6Addr;

use crate::redis::RedisAddress;
use crate::site::Site;
use crate::units::{self, Fault, FilePath, Text, text_form};
use crate::upstream::is_host_name;

/// A node, and as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenRedisUrl {
    text: String,
    pub(crate) address: RedisAddress,
    pub(crate) transport: Transport,
    pub(crate) database: u32,
    /// Which are refused, but by a message that does not show them.
    has_credentials: bool,
}

/// What is spoken beneath Redis' protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

text_form!(WrittenRedisUrl);

impl WrittenRedisUrl {
    /// The same with a socket's path found from the folder of the file. Refuses credentials.
    pub(crate) fn placed(mut self, site: &Site<'_>) -> Self {
        if self.has_credentials {
            site.problem(
                "holds credentials, and a URL is shown in logs and by /config",
                "write `username` and `password_file` beside it",
            );
        }
        if let RedisAddress::Unix(path) = &mut self.address {
            *path = site.file(&FilePath(path.to_string_lossy().into_owned()));
        }
        self
    }
}

impl fmt::Display for WrittenRedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.has_credentials, self.text.split_once("://")) {
            (true, Some((scheme, _))) => write!(f, "{scheme}://{}", self.address),
            _ => f.write_str(&self.text),
        }
    }
}

impl Text for WrittenRedisUrl {
    const FORMAT: &'static str = "redis-url";
    const MEANING: &'static str = "a Redis' URL";
    const EXAMPLES: &'static [&'static str] = &[
        "redis://127.0.0.1:6379",
        "rediss://redis.internal:6380/1",
        "unix:/run/redis/redis.sock",
    ];

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self {
                text: text.to_owned(),
                address: RedisAddress::Unix(units::path(path)?.into()),
                transport: Transport::Plain,
                database: 0,
                has_credentials: false,
            });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Fault::new("has no scheme", guess(text)));
        };
        let transport = match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => Transport::Plain,
            "rediss" | "valkeys" => Transport::Tls,
            _ => {
                let help = "schemes are redis:, rediss: (TLS) and unix:";
                return Err(Fault::new(format!("has the scheme `{scheme}`"), help));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (has_credentials, authority) = match authority.rsplit_once('@') {
            Some((_, authority)) => (true, authority),
            None => (false, authority),
        };
        Ok(Self {
            text: text.to_owned(),
            address: address(authority)?,
            transport,
            database: database(path)?,
            has_credentials,
        })
    }

    fn for_bare_number(number: i64) -> Option<String> {
        Some(format!("write \"redis://127.0.0.1:{number}\""))
    }
}

fn address(authority: &str) -> Result<RedisAddress, Fault> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0)) {
        None => DEFAULT_PORT,
        Some(Some(port)) => port,
        Some(None) => return Err(Fault::new("has no possible port", "ports are 1 to 65535")),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(v6) if v6.parse::<Ipv6Addr>().is_ok() => v6,
        None if is_host_name(host) => host,
        _ => {
            let help = "write a name, an IPv4 address, or an IPv6 address in brackets";
            return Err(Fault::new("has no possible host", help));
        }
    };
    Ok(RedisAddress::Tcp(host.to_ascii_lowercase(), port))
}

fn database(path: &str) -> Result<u32, Fault> {
    match path {
        "" => Ok(0),
        number => number.parse().map_err(|_| {
            let help =
                "behind the host only the number of a database may stand: \"redis://host/1\"";
            Fault::new("has a path that is no database", help)
        }),
    }
}

fn guess(text: &str) -> String {
    match text.parse::<u16>() {
        Ok(port) => format!("write \"redis://127.0.0.1:{port}\""),
        Err(_) if address(text).is_ok() => format!("write \"redis://{text}\""),
        Err(_) if text.starts_with(['/', '.']) => format!("write \"unix:{text}\" for a socket"),
        Err(_) => "write for example \"redis://127.0.0.1:6379\"".to_owned(),
    }
}

/// Redis' own.
const DEFAULT_PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_node_transport_and_database() {
        for (text, host, port, transport, database) in [
            ("redis://localhost", "localhost", 6379, Transport::Plain, 0),
            (
                "redis://10.0.0.1:7000/",
                "10.0.0.1",
                7000,
                Transport::Plain,
                0,
            ),
            (
                "rediss://Redis.Internal:1/15",
                "redis.internal",
                1,
                Transport::Tls,
                15,
            ),
            ("valkey://[::1]:6379", "::1", 6379, Transport::Plain, 0),
            ("valkeys://v", "v", 6379, Transport::Tls, 0),
        ] {
            let url = WrittenRedisUrl::parse(text).expect(text);
            assert_eq!(url.address, RedisAddress::Tcp(host.into(), port), "{text}");
            assert_eq!(
                (url.transport, url.database),
                (transport, database),
                "{text}"
            );
            assert_eq!(url.to_string(), text);
        }
        let unix = WrittenRedisUrl::parse("unix:/run/r.sock").expect("a socket");
        assert_eq!(unix.address, RedisAddress::Unix("/run/r.sock".into()));
    }

    #[test]
    fn what_is_no_redis_is_refused_without_showing_secrets() {
        for wrong in [
            "",
            "6379",
            "localhost:6379",
            "http://a",
            "redis://",
            "redis://a:0",
            "redis://a:x",
            "redis://a/x",
            "redis://a/1/2",
            "redis://a?b",
            "redis://::1",
            "redis:a",
            "unix:",
        ] {
            assert!(WrittenRedisUrl::parse(wrong).is_err(), "{wrong:?}");
        }
        let url = WrittenRedisUrl::parse("redis://me:hunter2@host:1/2").expect("a URL");
        assert!(url.has_credentials && url.to_string() == "redis://host:1");
    }
}
