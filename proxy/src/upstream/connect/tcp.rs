//! TCP: names resolved anew, every address tried (RFC 8305, happy eyeballs).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use middleware::clock::Clock;
use middleware::{Error, ErrorKind, Result, Side};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use super::{Budget, refused};

/// A name or an address, and its port.
pub(super) struct Tcp {
    host: String,
    port: u16,
    /// What the name resolved to and when. A burst of connects asks once; a moved name is noticed
    /// within [`FRESH`]. Read and written by any core that connects.
    resolved: Mutex<Option<(Instant, Arc<[SocketAddr]>)>>,
}

impl Tcp {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            resolved: Mutex::new(None),
        }
    }

    /// A connection to the first address that takes one.
    pub(super) async fn connect(&self, budget: &Budget<'_>) -> Result<TcpStream> {
        let addresses = budget
            .spend_or(self.addresses(budget.clock), ErrorKind::DnsTimeout)
            .await?;
        let stream = budget.spend(race(&addresses)).await?;
        prepare(&stream).map_err(refused)?;
        Ok(stream)
    }

    async fn addresses(&self, clock: &Clock) -> Result<Arc<[SocketAddr]>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(Arc::from([SocketAddr::new(address, self.port)]));
        }
        if let Some(both) = loopback(&self.host) {
            return Ok(both
                .map(|address| SocketAddr::new(address, self.port))
                .into());
        }
        let now = clock.mono();
        if let Some((when, addresses)) =
            &*self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
            && now.saturating_duration_since(*when) < FRESH
        {
            return Ok(addresses.clone());
        }
        let found = lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| unresolved().caused_by(error))?;
        let addresses = families_in_turn(found.collect());
        if addresses.is_empty() {
            return Err(unresolved());
        }
        let addresses: Arc<[SocketAddr]> = addresses.into();
        *self.resolved.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((now, addresses.clone()));
        Ok(addresses)
    }
}

/// The addresses of `host`, if it is `localhost`: "Name resolution APIs SHOULD recognize localhost
/// names as special" (RFC 6761 §6.3). Some resolvers know only one of the two, and an app often
/// listens on only one.
pub fn loopback(host: &str) -> Option<[IpAddr; 2]> {
    let both = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    is_localhost(host).then_some(both)
}

fn is_localhost(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next();
    last.is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

fn unresolved() -> Error {
    Error::upstream(ErrorKind::DnsError).retryable()
}

/// Tries the addresses in order: the next one when the last has failed or is slow, without giving
/// the slow one up. What the first one failed with is told, unless that was our own trouble (a
/// machine without IPv6).
async fn race(addresses: &[SocketAddr]) -> Result<TcpStream> {
    let mut rest = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut failure: Option<Error> = None;
    running.extend(rest.next().map(TcpStream::connect));
    loop {
        let slow = tokio::time::sleep(STAGGER);
        tokio::select! {
            done = running.next() => match done {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => {
                    failure = match failure {
                        Some(first) if first.side() == Side::Upstream => Some(first),
                        _ => Some(refused(error)),
                    };
                    running.extend(rest.next().map(TcpStream::connect));
                }
                None => return Err(failure.unwrap_or_else(unresolved)),
            },
            () = slow, if rest.len() > 0 => running.extend(rest.next().map(TcpStream::connect)),
        }
    }
}

/// The resolver's order, but one address of each family in turn (RFC 8305 §4).
fn families_in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut these, mut those): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(these.len() + those.len());
    while let Some(address) = these.pop_front() {
        ordered.push(address);
        std::mem::swap(&mut these, &mut those);
        if these.is_empty() {
            std::mem::swap(&mut these, &mut those);
        }
    }
    ordered
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // So that a pooled connection to a machine that vanished is noticed.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// How long a resolved name is used for further connections.
const FRESH: Duration = Duration::from_secs(1);

/// How long an address may take before the next one is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_known_in_any_case_and_below() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("app.localhost", true),
            ("localhost.example", false),
            ("notlocalhost", false),
            ("", false),
        ] {
            assert_eq!(is_localhost(host), expected, "{host}");
        }
    }

    #[test]
    fn addresses_of_both_families_take_turns() {
        let addresses = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (found, ordered) in [
            (&[][..], &[][..]),
            (&["1.1.1.1:1", "1.1.1.2:1"], &["1.1.1.1:1", "1.1.1.2:1"]),
            (
                &["[::1]:1", "[::2]:1", "1.1.1.1:1"],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1"],
            ),
            (
                &["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"],
                &["1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"],
            ),
        ] {
            assert_eq!(families_in_turn(addresses(found)), addresses(ordered));
        }
    }
}
