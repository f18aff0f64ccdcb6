//! Which server has which key.

use std::collections::HashMap;
use std::sync::Arc;

use config::redis::{RedisAddress, RedisMode};
use redis::Value;

use super::connect::{Connection, Dialer, Peer};
use super::failure::{Failure, FailureKind};
use super::node::Node;
use super::slots::{SLOTS, slot_of};

/// Where keys are, as far as it is known. Replaced as a whole; nodes that stay are the same ones.
#[derive(Clone, Debug)]
pub(super) enum Topology {
    /// Nobody has been asked yet.
    Unknown,
    /// All of them on one server.
    Whole(Arc<Node>),
    /// By slot; a slot that no master has is `None`.
    Cluster(Arc<Slots>),
}

/// The masters of a cluster.
#[derive(Debug)]
pub(super) struct Slots {
    nodes: Vec<Arc<Node>>,
    /// For each slot its node's position, or [`NOBODY`].
    owners: Box<[u16]>,
}

impl Topology {
    /// The server that has `key`; `None` where it is not known.
    pub(super) fn node(&self, key: &[u8]) -> Option<Arc<Node>> {
        match self {
            Self::Unknown => None,
            Self::Whole(node) => Some(node.clone()),
            Self::Cluster(slots) => slots.node(slot_of(key)),
        }
    }

    /// The server with this address, if it is one of them.
    pub(super) fn named(&self, address: &RedisAddress) -> Option<Arc<Node>> {
        let is_it = |node: &&Arc<Node>| node.address == *address;
        self.nodes().iter().find(is_it).cloned()
    }

    /// All servers.
    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        match self {
            Self::Unknown => &[],
            Self::Whole(node) => std::slice::from_ref(node),
            Self::Cluster(slots) => &slots.nodes,
        }
    }

    /// Whether each key has a server.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Whole(_) => true,
            Self::Cluster(slots) => slots.owners.iter().all(|owner| *owner != NOBODY),
        }
    }

    fn has_same_places(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.address == other.address,
            (Self::Cluster(one), Self::Cluster(other)) => {
                let addresses = |slots: &Slots| -> Vec<RedisAddress> {
                    let nodes = slots.nodes.iter();
                    nodes.map(|node| node.address.clone()).collect()
                };
                one.owners == other.owners && addresses(one) == addresses(other)
            }
            _ => false,
        }
    }
}

impl Slots {
    fn node(&self, slot: u16) -> Option<Arc<Node>> {
        let owner = self.owners.get(usize::from(slot))?;
        self.nodes.get(usize::from(*owner)).cloned()
    }
}

/// Asks `known` (nodes, and where to ask first) where keys are now. `None`: as before.
pub(super) async fn ask(
    mode: &RedisMode,
    first: &[RedisAddress],
    before: &Topology,
    dialer: &Dialer,
) -> Result<Option<Topology>, Failure> {
    let now = match mode {
        RedisMode::Single => return Ok(None),
        RedisMode::Sentinel(master) => {
            let address = ask_sentinels(first, master, dialer).await?;
            let node = before.named(&address);
            Topology::Whole(node.unwrap_or_else(|| Arc::new(Node::new(address))))
        }
        RedisMode::Cluster => ask_cluster(first, before, dialer).await?,
    };
    Ok((!now.has_same_places(before)).then_some(now))
}

/// Where the master is, as the first Sentinel says that knows and answers.
async fn ask_sentinels(
    sentinels: &[RedisAddress],
    master: &str,
    dialer: &Dialer,
) -> Result<RedisAddress, Failure> {
    let mut worst = Failure::new(FailureKind::NoMaster, "no Sentinel was asked");
    for sentinel in sentinels {
        let asked = async {
            let mut connection = dialer.dial(sentinel, Peer::Sentinel).await?;
            let mut command = redis::cmd("SENTINEL");
            command.arg("get-master-addr-by-name").arg(master);
            connection.command(&command, dialer.deadline()).await
        };
        match asked.await {
            Ok(Value::Array(parts)) if parts.len() == 2 => match address(&parts) {
                Some(address) => return Ok(address),
                None => worst = unclear("SENTINEL get-master-addr-by-name"),
            },
            Ok(_) => {
                let detail = format!("the Sentinel {sentinel} knows no master called {master}");
                worst = Failure::new(FailureKind::NoMaster, detail);
            }
            Err(failure) if failure.detail.contains("unknown command") => {
                let detail = format!("{sentinel} is no Sentinel");
                worst = Failure::new(FailureKind::NoMaster, detail);
            }
            Err(failure) => worst = failure,
        }
    }
    Err(worst)
}

/// Where the slots are, as the first node says that answers: those that were nodes lately first.
async fn ask_cluster(
    first: &[RedisAddress],
    before: &Topology,
    dialer: &Dialer,
) -> Result<Topology, Failure> {
    let lately = before.nodes().iter().map(|node| &node.address);
    let mut asked: Vec<&RedisAddress> = Vec::new();
    for address in lately.chain(first) {
        if !asked.contains(&address) {
            asked.push(address);
        }
    }
    let mut worst = Failure::new(FailureKind::NotReady, "no node was asked");
    let mut partial = None;
    for address in asked {
        let told = async {
            let mut connection = dialer.dial(address, Peer::Server).await?;
            slots_of(&mut connection, dialer).await
        };
        match told.await {
            Ok(value) => match read_slots(&value, address, before) {
                Some(topology) if topology.is_whole() => return Ok(topology),
                Some(topology) => partial = partial.or(Some(topology)),
                None => worst = unclear("CLUSTER SLOTS"),
            },
            Err(failure) => worst = failure,
        }
    }
    match partial {
        Some(partial) if !partial.nodes().is_empty() => Ok(partial),
        Some(_) => Err(Failure::new(
            FailureKind::NotReady,
            "the cluster has assigned no slots",
        )),
        None => Err(worst),
    }
}

async fn slots_of(connection: &mut Connection, dialer: &Dialer) -> Result<Value, Failure> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    connection.command(&command, dialer.deadline()).await
}

/// The answer to `CLUSTER SLOTS`: ranges, each with its master first. A master without a host is the
/// one that was asked.
fn read_slots(value: &Value, asked: &RedisAddress, before: &Topology) -> Option<Topology> {
    let Value::Array(ranges) = value else {
        return None;
    };
    let mut nodes: Vec<Arc<Node>> = Vec::new();
    let mut positions: HashMap<RedisAddress, u16> = HashMap::new();
    let mut owners = vec![NOBODY; usize::from(SLOTS)].into_boxed_slice();
    for range in ranges {
        let Value::Array(range) = range else {
            return None;
        };
        let [Value::Int(start), Value::Int(end), Value::Array(master), ..] = range.as_slice()
        else {
            return None;
        };
        let address = match (address(master), asked) {
            (Some(RedisAddress::Tcp(host, port)), RedisAddress::Tcp(asked, _))
                if host.is_empty() || host == "?" =>
            {
                RedisAddress::Tcp(asked.clone(), port)
            }
            (Some(address), _) => address,
            (None, _) => return None,
        };
        let position = *positions.entry(address.clone()).or_insert_with(|| {
            let node = before.named(&address);
            nodes.push(node.unwrap_or_else(|| Arc::new(Node::new(address))));
            u16::try_from(nodes.len() - 1).unwrap_or(NOBODY)
        });
        let (start, end) = (usize::try_from(*start).ok()?, usize::try_from(*end).ok()?);
        if start > end {
            return None;
        }
        owners.get_mut(start..=end)?.fill(position);
    }
    Some(Topology::Cluster(Arc::new(Slots { nodes, owners })))
}

/// A host and a port, as Redis and Sentinels write them.
fn address(parts: &[Value]) -> Option<RedisAddress> {
    let [host, port, ..] = parts else { return None };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Nil => Some(String::new()),
        _ => None,
    };
    let port = match port {
        Value::Int(port) => u16::try_from(*port).ok()?,
        other => text(other)?.parse().ok()?,
    };
    Some(RedisAddress::Tcp(text(host)?, port))
}

/// The node and whether it is to be asked once only (`ASK`), in what Redis says of a key that is not
/// here: `MOVED 3999 127.0.0.1:6381`.
pub(super) fn redirection(detail: &str) -> Option<(RedisAddress, bool)> {
    let mut words = detail.split_ascii_whitespace();
    let is_ask = loop {
        match words.next()?.trim_end_matches(':') {
            "MOVED" => break false,
            "ASK" => break true,
            _ => {}
        }
    };
    words.next()?.parse::<u16>().ok()?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((
        RedisAddress::Tcp(host.to_owned(), port.parse().ok()?),
        is_ask,
    ))
}

fn unclear(command: &str) -> Failure {
    Failure::new(
        FailureKind::Refused,
        format!("the answer to {command} cannot be read"),
    )
}

const NOBODY: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(start: i64, end: i64, host: Value, port: i64) -> Value {
        let master = Value::Array(vec![host, Value::Int(port), text("id")]);
        Value::Array(vec![Value::Int(start), Value::Int(end), master])
    }

    fn tcp(host: &str, port: u16) -> RedisAddress {
        RedisAddress::Tcp(host.to_owned(), port)
    }

    #[test]
    fn slots_lead_to_their_masters_and_nodes_stay_the_same() {
        let asked = tcp("10.0.0.9", 7000);
        let ranges = Value::Array(vec![
            range(0, 8191, text("10.0.0.1"), 7001),
            range(8192, 16382, Value::Nil, 7000),
        ]);
        let first = read_slots(&ranges, &asked, &Topology::Unknown).expect("slots");
        assert!(!first.is_whole(), "one slot has no master");
        let address = |topology: &Topology, key: &[u8]| {
            let node = topology.node(key);
            node.map(|node| node.address.clone())
        };
        // foo: 12182, bar: 5061
        assert_eq!(address(&first, b"foo"), Some(asked.clone()));
        assert_eq!(address(&first, b"bar"), Some(tcp("10.0.0.1", 7001)));
        let ranges = Value::Array(vec![range(0, 16383, text("10.0.0.1"), 7001)]);
        let second = read_slots(&ranges, &asked, &first).expect("slots");
        assert!(second.is_whole() && !second.has_same_places(&first));
        let (before, after) = (first.node(b"bar"), second.node(b"foo"));
        assert!(Arc::ptr_eq(
            &before.expect("a node"),
            &after.expect("a node")
        ));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let asked = tcp("h", 1);
        for wrong in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![Value::Array(vec![])]),
            Value::Array(vec![range(0, 16384, text("h"), 1)]),
            Value::Array(vec![range(-1, 5, text("h"), 1)]),
            Value::Array(vec![range(5, 4, text("h"), 1)]),
            Value::Array(vec![range(0, 5, text("h"), 70_000)]),
        ] {
            assert!(
                read_slots(&wrong, &asked, &Topology::Unknown).is_none(),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn redirections_are_read() {
        let moved = redirection("MOVED 3999 127.0.0.1:6381");
        assert_eq!(moved, Some((tcp("127.0.0.1", 6381), false)));
        let ask = redirection("An error was signalled: ASK 3999 [::1]:6381");
        assert_eq!(ask, Some((tcp("::1", 6381), true)));
        for wrong in ["", "MOVED", "MOVED x 1:1", "MOVED 1 host", "OK 1 host:1"] {
            assert_eq!(redirection(wrong), None, "{wrong}");
        }
    }
}
