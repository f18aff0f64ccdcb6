//! What can go wrong with Redis, and what an operator is told.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind};

/// Why an operation came to nothing. For whoever asked it is a miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Of a closed set, for metrics and decisions.
    pub(crate) kind: FailureKind,
    /// What was said: by Redis, by TLS, by the system.
    pub(crate) detail: String,
}

/// See [`Failure::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FailureKind {
    /// Redis is known not to answer: nothing was sent.
    Away,
    /// No answer in time.
    Late,
    /// No connection, or it broke.
    Connection,
    /// The TLS handshake failed.
    Tls,
    /// A wrong password, or none.
    Credentials,
    /// The user may not do this, or not with this key.
    Forbidden,
    /// Redis has no memory left for writes (`maxmemory` and `noeviction`).
    Full,
    /// A replica that takes no writes.
    ReadOnly,
    /// It is reading its data, or has lost its master, or the cluster is incomplete: it will be well.
    NotReady,
    /// It is a node of a cluster, and is spoken to as a server of its own.
    IsCluster,
    /// It is a server of its own, and is spoken to as a cluster.
    NoCluster,
    /// It is a Sentinel, and is spoken to as a server.
    IsSentinel,
    /// The Sentinels know no such master, or are none.
    NoMaster,
    /// The key has gone to another node; followed once.
    Moved,
    /// Anything else that Redis said.
    Refused,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// Nothing was sent, since nobody would answer.
    pub(crate) fn away() -> Self {
        Self::new(FailureKind::Away, "")
    }

    /// No answer in time.
    pub(crate) fn late() -> Self {
        Self::new(FailureKind::Late, "no answer in time")
    }

    /// Whether it says that this node, or this connection to it, is of no use just now; else Redis
    /// is well and refused one command.
    pub(super) fn is_outage(&self) -> bool {
        use FailureKind::{Connection, Credentials, IsCluster, IsSentinel, Late, NoCluster, Tls};
        matches!(
            self.kind,
            Late | Connection | Tls | Credentials | IsCluster | IsSentinel | NoCluster
        )
    }

    /// Whether Redis answers, and does not take what is written.
    pub(crate) fn is_refusal(&self) -> bool {
        use FailureKind::{Forbidden, Full, ReadOnly, Refused};
        matches!(self.kind, Forbidden | Full | ReadOnly | Refused)
    }

    /// The next step for an operator.
    pub(crate) fn help(&self) -> &'static str {
        match self.kind {
            FailureKind::Away | FailureKind::Late | FailureKind::Connection => {
                "See whether Redis runs and can be reached; the address is in [cache.redis]. \
                 A server that wants TLS closes connections without it: write `rediss:`. One without \
                 TLS never answers a handshake: write `redis:`."
            }
            FailureKind::Tls => {
                "`cache.redis.ca` must hold the root of Redis' certificate, whose name must be the \
                 URL's host; with `tls-auth-clients` Redis wants `certificate` and `key`. \
                 A port without TLS is written `redis:`."
            }
            FailureKind::Credentials => "Correct `cache.redis.username` and `password_file`.",
            FailureKind::Forbidden => {
                "Widen the ACL of this user: the manual names the commands and keys that it needs."
            }
            FailureKind::Full => {
                "Nothing new is shared until there is room. Give Redis more `maxmemory`, or \
                 `maxmemory-policy allkeys-lru`: what is stored there may be evicted."
            }
            FailureKind::ReadOnly => {
                "This is a replica: nothing new is shared, and purges made here reach nobody. Name the \
                 master, or use `mode = \"sentinel\"`, which follows it."
            }
            FailureKind::NotReady => "It will be asked again until it is ready.",
            FailureKind::IsCluster => {
                "This Redis is a node of a cluster: write `mode = \"cluster\"` in [cache.redis]."
            }
            FailureKind::NoCluster => {
                "This Redis is no node of a cluster: leave `mode = \"cluster\"` out of [cache.redis]."
            }
            FailureKind::IsSentinel => {
                "Write `mode = \"sentinel\"`, `master` and `nodes` in [cache.redis]."
            }
            FailureKind::NoMaster => {
                "With `mode = \"sentinel\"` the nodes are Sentinels, not servers. Correct `cache.redis.master`: it is the name in `sentinel monitor NAME …`."
            }
            FailureKind::Moved => "The cluster is asked where its slots are.",
            FailureKind::Refused => "See what Redis said.",
        }
    }
}

impl FailureKind {
    /// As the label of a metric.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Late => "timeout",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Forbidden => "forbidden",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::NotReady => "not_ready",
            Self::IsCluster | Self::IsSentinel | Self::NoCluster | Self::NoMaster => "mode",
            Self::Moved => "moved",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FailureKind::Away => "Redis is away",
            FailureKind::Late => "Redis is late",
            FailureKind::Connection => "no connection",
            FailureKind::Tls => "no TLS",
            FailureKind::Credentials => "Redis does not let us in",
            FailureKind::Forbidden => "Redis does not allow it",
            FailureKind::Full => "Redis is full",
            FailureKind::ReadOnly => "Redis is a replica",
            FailureKind::NotReady => "Redis is not ready",
            FailureKind::IsCluster => "Redis is a cluster",
            FailureKind::NoCluster => "Redis is no cluster",
            FailureKind::IsSentinel => "this Redis is a Sentinel",
            FailureKind::NoMaster => "no master",
            FailureKind::Moved => "the key has moved",
            FailureKind::Refused => "Redis refused",
        };
        match self.detail.as_str() {
            "" => f.write_str(what),
            detail => write!(f, "{what}: {detail}"),
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Server(kind) => of_server(kind, error.detail().unwrap_or_default()),
            ErrorKind::AuthenticationFailed => FailureKind::Credentials,
            ErrorKind::Extension => of_code(error.code().unwrap_or_default()),
            ErrorKind::Io | ErrorKind::Parse if is_tls(&error) => FailureKind::Tls,
            ErrorKind::Io if error.is_timeout() => FailureKind::Late,
            ErrorKind::Io | ErrorKind::Parse => FailureKind::Connection,
            _ => FailureKind::Refused,
        };
        Self::new(kind, said(&error.to_string()))
    }
}

impl From<&ServerError> for Failure {
    fn from(error: &ServerError) -> Self {
        let details = error.details().unwrap_or_default();
        let kind = match error.kind() {
            Some(kind) => of_server(kind, details),
            None => of_code(error.code()),
        };
        Self::new(kind, said(&format!("{} {details}", error.code())))
    }
}

fn of_server(kind: ServerErrorKind, detail: &str) -> FailureKind {
    match kind {
        ServerErrorKind::Moved | ServerErrorKind::Ask => FailureKind::Moved,
        ServerErrorKind::ReadOnly => FailureKind::ReadOnly,
        ServerErrorKind::NoPerm => FailureKind::Forbidden,
        ServerErrorKind::BusyLoading
        | ServerErrorKind::MasterDown
        | ServerErrorKind::ClusterDown
        | ServerErrorKind::TryAgain => FailureKind::NotReady,
        ServerErrorKind::ResponseError if detail.contains("cluster support disabled") => {
            FailureKind::NoCluster
        }
        // What a script may not do is told in words alone (Redis 7.0).
        ServerErrorKind::ResponseError if detail.contains("user executing the script can't") => {
            FailureKind::Forbidden
        }
        ServerErrorKind::ResponseError if is_about_credentials(detail) => FailureKind::Credentials,
        ServerErrorKind::ResponseError if detail.contains("max number of clients") => {
            FailureKind::Connection
        }
        _ => FailureKind::Refused,
    }
}

fn of_code(code: &str) -> FailureKind {
    match code {
        "WRONGPASS" | "NOAUTH" | "DENIED" => FailureKind::Credentials,
        "OOM" => FailureKind::Full,
        // Writes are refused while the disk of Redis is, or its replicas are away.
        "MISCONF" | "NOREPLICAS" => FailureKind::Full,
        _ => FailureKind::Refused,
    }
}

fn is_about_credentials(detail: &str) -> bool {
    ["invalid password", "AUTH", "username-password"]
        .iter()
        .any(|word| detail.contains(word))
}

fn is_tls(error: &RedisError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        let inner = io.and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        source = error.source();
    }
    // What the peer thinks of our certificate comes as an alert, after the handshake.
    let said = error.to_string();
    said.contains("fatal alert") || said.contains("certificate")
}

/// What was said, fit for a log: one line that is not too long.
fn said(text: &str) -> String {
    let visible = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.chars().take(SAID).map(visible).collect()
}

/// Of what Redis said, in characters.
const SAID: usize = 300;
