//! `[cache.redis]`: what many Pillions share.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lease::{LeaseSettings, WrittenLease};
use crate::redis_url::{Transport, WrittenRedisUrl};
use crate::secret::{Secret, WrittenSecret};
use crate::site::Site;
use crate::units::{Fault, FilePath, Period, Size, Text, text_form};

/// The Redis (or Valkey) behind the cache of many Pillions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// What the nodes are to each other.
    pub mode: RedisMode,
    /// Where to ask first; at least one.
    pub nodes: Vec<RedisAddress>,
    /// How TLS is spoken to all of them; `None` speaks none.
    pub tls: Option<RedisTls>,
    /// The number of the database; 0 in a cluster.
    pub database: u32,
    /// Begins every key. Letters, digits and `-_.:`, so that nothing in it is a hash tag.
    pub prefix: String,
    /// What was stored under another number is not seen.
    pub epoch: u32,
    /// The ACL user; Redis' `default` without one.
    pub username: Option<String>,
    /// That user's password.
    pub password: Option<Password>,
    /// The password that Sentinels ask for, where they ask for one.
    pub sentinel_password: Option<Password>,
    /// Holds the key that records are sealed with; `None` stores them in clear.
    pub key_file: Option<PathBuf>,
    /// Deadline for a connection: TCP, TLS and the first commands.
    pub connect_timeout: Duration,
    /// Deadline for one operation that a request waits for.
    pub timeout: Duration,
    /// What may wait to be written, in bytes.
    pub queue: usize,
    /// Longer records are not written, in bytes.
    pub max_record: usize,
    /// Fetching for others.
    pub lease: LeaseSettings,
}

/// See [`RedisSettings::mode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// The nodes know each other, and share the keys.
    Cluster,
    /// The nodes are Sentinels, which know where the master of this name is.
    Sentinel(String),
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RedisAddress {
    /// A name or an address (IPv6 without brackets), and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// TLS towards Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// PEM with the roots to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files with the client's certificate chain and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// In the configuration.
    Written(Secret),
    /// In the first line of a file.
    File(PathBuf),
}

/// `[cache.redis]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenRedis {
    /// The server: `redis:`, `rediss:` (TLS) or `unix:PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<WrittenRedisUrl>,
    /// Several nodes of a cluster, or Sentinels, instead of `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<WrittenRedisUrl>>,
    /// What the nodes are to each other.
    mode: WrittenMode,
    /// What the Sentinels call the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<MasterName>,
    /// Begins every key, so that others can use the same Redis.
    prefix: Prefix,
    /// What was stored under another number is not seen.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    epoch: u32,
    /// The ACL user; `default` without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Its password; better in a file, or in a variable: `"${REDIS_PASSWORD}"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<WrittenSecret>,
    /// Holds its password, in the first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<FilePath>,
    /// Holds the password that the Sentinels themselves ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentinel_password_file: Option<FilePath>,
    /// PEM with the roots to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<FilePath>,
    /// PEM with the client's certificate chain, where Redis asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<FilePath>,
    /// PEM with the key of `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<FilePath>,
    /// Holds the key that records are sealed with, so that Redis need not be trusted with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<FilePath>,
    /// Deadline for a connection: TCP, TLS and the first commands.
    connect_timeout: Period,
    /// Deadline for one operation that a request waits for.
    timeout: Period,
    /// What may wait to be written; what comes beyond is not written.
    queue: Size,
    /// Longer records are not written.
    max_record: Size,
    /// One of many Pillions fetches what all of them miss.
    lease: WrittenLease,
}

/// See [`WrittenRedis::mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WrittenMode {
    /// One server.
    Single,
    /// The nodes share the keys; any of them tells of the others.
    Cluster,
    /// The nodes are Sentinels, which tell where the master is.
    Sentinel,
}

/// What Sentinels call a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MasterName(String);

/// See [`RedisSettings::prefix`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(String);

text_form!(MasterName, Prefix);

impl Default for WrittenRedis {
    fn default() -> Self {
        Self {
            url: None,
            nodes: None,
            mode: WrittenMode::Single,
            master: None,
            prefix: Prefix("pillion:".to_owned()),
            epoch: 0,
            username: None,
            password: None,
            password_file: None,
            sentinel_password_file: None,
            ca: None,
            certificate: None,
            key: None,
            key_file: None,
            connect_timeout: Period(Duration::from_millis(200)),
            timeout: Period(Duration::from_millis(30)),
            queue: Size(16 << 20),
            max_record: Size(2 << 20),
            lease: WrittenLease::default(),
        }
    }
}

impl WrittenRedis {
    /// `None` without a server. The result is only to be used if `site` heard of no problem.
    pub(crate) fn check(&self, site: &Site<'_>) -> Option<RedisSettings> {
        let urls = self.urls(site);
        let Some((first, _)) = urls.first() else {
            if site.is_written() && self.url.is_none() && self.nodes.is_none() {
                let help = "write `url = \"redis://127.0.0.1:6379\"`, or leave the table out";
                site.warning("names no server, so nothing is shared", help);
            }
            return None;
        };
        let is_tls = first.transport == Transport::Tls;
        for (url, site) in &urls {
            if (url.transport == Transport::Tls) != is_tls {
                let help = "write them all with `rediss:`, or all with `redis:`";
                site.problem("does not speak TLS as the others do", help);
            }
            if url.database != 0 && self.mode == WrittenMode::Cluster {
                site.problem(
                    "a cluster has the database 0 alone",
                    "end the URL at the port",
                );
            }
        }
        let databases = urls.iter().map(|(url, _)| url.database);
        Some(RedisSettings {
            mode: self.check_mode(site),
            nodes: urls.iter().map(|(url, _)| url.address.clone()).collect(),
            tls: self.check_tls(is_tls, site),
            database: databases.max().unwrap_or_default(),
            prefix: self.prefix.0.clone(),
            epoch: self.epoch,
            username: self.username.clone(),
            password: self.check_password(site),
            sentinel_password: self
                .sentinel_password_file
                .as_ref()
                .map(|file| Password::File(site.key("sentinel_password_file").existing_file(file))),
            key_file: self
                .key_file
                .as_ref()
                .map(|file| site.key("key_file").existing_file(file)),
            connect_timeout: self.connect_timeout.0,
            timeout: self.check_timeout(site),
            queue: self.queue.in_memory(),
            max_record: self.check_record(site),
            lease: self.lease.check(),
        })
    }

    /// The nodes, each with the place that it is written at.
    fn urls<'a>(&self, site: &Site<'a>) -> Vec<(WrittenRedisUrl, Site<'a>)> {
        let found = match (&self.url, &self.nodes) {
            (Some(url), None) => vec![(url.clone(), site.key("url"))],
            (None, Some(nodes)) if nodes.is_empty() => {
                let help = "write for example [\"redis://10.0.0.1:6379\"]";
                site.key("nodes").problem("has no node", help);
                Vec::new()
            }
            (None, Some(nodes)) => {
                let place = |index| site.key("nodes").index(index);
                let all = nodes.iter().enumerate();
                all.map(|(index, url)| (url.clone(), place(index)))
                    .collect()
            }
            (Some(_), Some(_)) => {
                let help = "write all nodes in `nodes`, or one in `url`";
                site.key("nodes").problem("stands beside `url`", help);
                Vec::new()
            }
            (None, None) => Vec::new(),
        };
        let found = found.into_iter();
        found.map(|(url, site)| (url.placed(&site), site)).collect()
    }

    fn check_mode(&self, site: &Site<'_>) -> RedisMode {
        let several = self.nodes.as_ref().is_some_and(|nodes| nodes.len() > 1);
        if self.mode == WrittenMode::Single && several {
            site.key("nodes").problem(
                "are several, and nothing says what they are to each other",
                "write `mode = \"cluster\"` or `mode = \"sentinel\"`, or one node alone",
            );
        }
        if self.mode != WrittenMode::Sentinel {
            for key in ["master", "sentinel_password_file"] {
                if site.key(key).is_written() {
                    let help = "write `mode = \"sentinel\"`, or leave it out";
                    site.key(key).problem("is for Sentinels alone", help);
                }
            }
        }
        match (self.mode, &self.master) {
            (WrittenMode::Single, _) => RedisMode::Single,
            (WrittenMode::Cluster, _) => RedisMode::Cluster,
            (WrittenMode::Sentinel, Some(master)) => RedisMode::Sentinel(master.0.clone()),
            (WrittenMode::Sentinel, None) => {
                let help = "write `master = \"mymaster\"`, the name in `sentinel monitor NAME …`";
                site.key("mode").problem(
                    "Sentinels watch masters by name, and `master` is missing",
                    help,
                );
                RedisMode::Sentinel(String::new())
            }
        }
    }

    fn check_tls(&self, is_tls: bool, site: &Site<'_>) -> Option<RedisTls> {
        let file = |key: &str, file: &Option<FilePath>| {
            let site = site.key(key);
            if file.is_some() && !is_tls {
                let help = "write the URL with `rediss:`, or leave this out";
                site.problem("says how to speak TLS, but the URL does not", help);
            }
            file.as_ref().map(|file| site.existing_file(file))
        };
        let (certificate, key) = (
            file("certificate", &self.certificate),
            file("key", &self.key),
        );
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                let help = "write `key = \"client.key\"` beside it";
                site.key("certificate")
                    .problem("stands without its key", help);
                None
            }
            (None, Some(_)) => {
                let help = "write `certificate = \"client.pem\"`; records are sealed by `key_file`";
                site.key("key")
                    .problem("stands without its certificate", help);
                None
            }
        };
        let ca = file("ca", &self.ca);
        is_tls.then_some(RedisTls { ca, client })
    }

    fn check_password(&self, site: &Site<'_>) -> Option<Password> {
        let password = match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => {
                let help = "write one of them";
                site.key("password_file")
                    .problem("stands beside `password`", help);
                None
            }
            (Some(secret), None) => Some(Password::Written(secret.secret())),
            (None, Some(file)) => Some(Password::File(
                site.key("password_file").existing_file(file),
            )),
            (None, None) => None,
        };
        if self.username.is_some() && self.password.is_none() && self.password_file.is_none() {
            let help = "write `password_file = \"redis.password\"` beside it";
            site.key("username").problem("has no password", help);
        }
        password
    }

    /// An operation that a request waits for is cheap, or it is not worth a wait.
    fn check_timeout(&self, site: &Site<'_>) -> Duration {
        if self.timeout.0 > LONG {
            let message = format!("a request may wait for Redis for {}", self.timeout);
            let help =
                "the app may well be faster; 30ms is twenty times what Redis takes when it is well";
            site.key("timeout").warning(message, help);
        }
        self.timeout.0
    }

    fn check_record(&self, site: &Site<'_>) -> usize {
        if self.max_record.0 > self.queue.0 {
            let message = format!(
                "longer records than the queue ({}) never fit it",
                self.queue
            );
            let help = "raise `queue`, or lower this";
            site.key("max_record").warning(message, help);
        }
        self.max_record.in_memory()
    }
}

impl Text for MasterName {
    const FORMAT: &'static str = "sentinel-master";
    const MEANING: &'static str = "a master's name";
    const EXAMPLES: &'static [&'static str] = &["mymaster"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_plain) {
            let help = "write the name in `sentinel monitor NAME …`: letters, digits and `-_.`";
            return Err(Fault::new("cannot be a master's name", help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Text for Prefix {
    const FORMAT: &'static str = "key-prefix";
    const MEANING: &'static str = "the beginning of keys";
    const EXAMPLES: &'static [&'static str] = &["pillion:", "shop:cache:"];

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(is_plain) {
            // Braces would move all keys into one slot of a cluster; stars would widen ACL patterns.
            let help = "write at most 64 letters, digits and `-_.:`";
            return Err(Fault::new("cannot begin keys", help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MasterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a request waits at most for what may not be there.
const LONG: Duration = Duration::from_millis(250);
