//! Real Redis servers of the test's own: single, with TLS, behind a Sentinel, or a Cluster. Each is a
//! process on free ports of 127.0.0.1 with its files in a folder of its own, ended by its id.
//!
//! Used by the suites, and by tests within `middleware`, which `middleware/src/cache/store/redis` gives this file to:
//! so it uses nothing of ours.

#[path = "redis_certificates.rs"]
mod certificates;
#[path = "port.rs"]
pub mod port;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, TlsCertificates, Value};
use rustix::process::{Pid, Signal, kill_process};

use self::port::Port;

/// One server.
pub struct Redis {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Nobody else gets it while it is not running.
    _reserved: Port,
    /// Its files: log, dump, certificates.
    pub folder: Folder,
    arguments: Vec<String>,
    process: Mutex<Option<Child>>,
    password: Option<String>,
    certificates: Option<Certificates>,
}

/// A master with a replica, and a Sentinel that watches them.
pub struct Watched {
    /// The two servers, the master first, as they were at the start.
    pub servers: [Redis; 2],
    /// What watches them.
    pub sentinel: Redis,
}

/// A cluster of three masters.
pub struct Cluster {
    /// The masters, with a third of the slots each.
    pub masters: Vec<Redis>,
    /// One for each master, or none.
    pub replicas: Vec<Redis>,
    _buses: Vec<Port>,
}

/// Files in PEM.
#[derive(Clone)]
pub struct Certificates {
    /// The root that signed the others.
    pub ca: PathBuf,
    /// The server's, for 127.0.0.1 and localhost.
    pub server: (PathBuf, PathBuf),
    /// A client's.
    pub client: (PathBuf, PathBuf),
}

/// A folder that goes when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pillion-redis-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a writable temporary folder");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

impl Redis {
    /// One server that stores nothing on disk.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One server with these arguments as well: `["--maxmemory", "1mb"]`.
    pub async fn with(arguments: &[&str]) -> Self {
        Self::make(Folder::new(), arguments, None, None).await
    }

    /// One that asks for a password.
    pub async fn with_password(password: &str) -> Self {
        let arguments = ["--requirepass", password];
        Self::make(Folder::new(), &arguments, Some(password), None).await
    }

    /// One that speaks TLS alone, and asks clients for a certificate if `asks` says so.
    pub async fn with_tls(asks: bool) -> Self {
        let folder = Folder::new();
        let certificates = Certificates::write(folder.path());
        let text = |path: &Path| path.display().to_string();
        let arguments = [
            "--tls-cert-file",
            &text(&certificates.server.0),
            "--tls-key-file",
            &text(&certificates.server.1),
            "--tls-ca-cert-file",
            &text(&certificates.ca),
            "--tls-auth-clients",
            if asks { "yes" } else { "no" },
        ];
        Self::make(folder, &arguments, None, Some(certificates.clone())).await
    }

    async fn make(
        folder: Folder,
        arguments: &[&str],
        password: Option<&str>,
        certificates: Option<Certificates>,
    ) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let reserved = Port::reserve();
        let redis = Self {
            port: reserved.address().port(),
            _reserved: reserved,
            folder,
            arguments,
            process: Mutex::default(),
            password: password.map(str::to_owned),
            certificates,
        };
        redis.restart().await;
        redis
    }

    /// `redis://127.0.0.1:PORT`, or `rediss:` with TLS.
    pub fn url(&self) -> String {
        let scheme = match self.certificates {
            Some(_) => "rediss",
            None => "redis",
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The certificates of one with TLS.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a server with TLS")
    }

    /// What it wrote into its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Lets it stand still: connections stay open, and nothing answers (SIGSTOP).
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Panics
    /// If it does not answer in time.
    pub async fn restart(&self) {
        self.kill();
        self.spawn();
        let ready = tokio::time::timeout(PATIENCE, self.is_ready()).await;
        let answers = ready.unwrap_or(false);
        assert!(answers, "redis-server does not start:\n{}", self.log());
    }

    /// Forgets all keys.
    pub async fn flushall(&self) {
        self.command(&["FLUSHALL"]).await;
    }

    /// What it answers on a connection of its own.
    ///
    /// # Panics
    /// If it does not answer, or with an error.
    pub async fn command(&self, words: &[&str]) -> Value {
        let answer = self.try_command(words).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// What it answers as text; lists are one element a line.
    pub async fn text(&self, words: &[&str]) -> String {
        text(&self.command(words).await)
    }

    /// What it answers on a connection of its own.
    pub async fn try_command(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let mut connection = self.connection().await?;
        let (name, arguments) = words.split_first().expect("a command");
        let mut command = redis::cmd(name);
        for argument in arguments {
            command.arg(*argument);
        }
        command.query_async(&mut connection).await
    }

    /// A connection of the test's own, with all rights.
    pub async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        // The library chooses no provider.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let credentials = match &self.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        let url = self.url().replace("://", &format!("://{credentials}"));
        let client = match &self.certificates {
            None => Client::open(url)?,
            Some(certificates) => {
                let read = |path: &Path| std::fs::read(path).expect("a readable file");
                Client::build_with_tls(
                    url,
                    TlsCertificates {
                        client_tls: Some(redis::ClientTlsConfig {
                            client_cert: read(&certificates.client.0),
                            client_key: read(&certificates.client.1),
                        }),
                        root_cert: Some(read(&certificates.ca)),
                    },
                )?
            }
        };
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(5)))
            .set_response_timeout(Some(Duration::from_secs(5)));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    fn spawn(&self) {
        let port = self.port.to_string();
        let (plain, tls) = match self.certificates {
            Some(_) => ("0", port.as_str()),
            None => (port.as_str(), "0"),
        };
        let folder = self.folder.path();
        let log = File::create(folder.join("log")).expect("a writable folder");
        let mut command = Command::new("redis-server");
        // A Sentinel writes what it learns into its file, and takes its options from there.
        let is_sentinel = folder.join("sentinel.conf").exists();
        if is_sentinel {
            command.arg(folder.join("sentinel.conf")).arg("--sentinel");
        } else {
            command.args(["--save", "", "--appendonly", "no", "--tls-port", tls]);
        }
        let child = command
            .args(["--port", plain, "--bind", "127.0.0.1", "--daemonize", "no"])
            .arg("--dir")
            .arg(folder)
            .args(&self.arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("redis-server is installed (./tests/run does)");
        *self.process() = Some(child);
    }

    /// Waits until it answers, whatever it does, or has ended: whether it answers.
    async fn is_ready(&self) -> bool {
        loop {
            match self.try_command(&["PING"]).await {
                Ok(_) => return true,
                Err(error) if error.is_io_error() => {}
                Err(_) => return true,
            }
            let ended = self.process().as_mut().map(Child::try_wait);
            if matches!(ended, Some(Ok(Some(_))) | None) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.process().as_ref() {
            kill_process(Pid::from_child(process), signal).expect("it runs");
        }
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Watched {
    /// Started, and known to the Sentinel, which takes a master for dead after half a second.
    pub async fn start() -> Self {
        let master = Redis::start().await;
        let port = master.port.to_string();
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &port]).await;
        let folder = Folder::new();
        let watched = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 3000\n"
        );
        std::fs::write(folder.path().join("sentinel.conf"), watched).expect("a writable folder");
        let sentinel = Redis::make(folder, &[], None, None).await;
        until("the Sentinel knows the replica", async || {
            let master = sentinel.text(&["SENTINEL", "MASTER", "mymaster"]).await;
            let synced = replica.text(&["INFO", "replication"]).await;
            master.contains("num-slaves\n1") && synced.contains("master_link_status:up")
        })
        .await;
        Self {
            servers: [master, replica],
            sentinel,
        }
    }

    /// The port of the master that the Sentinel names now.
    pub async fn master(&self) -> u16 {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
        let address = self.sentinel.text(&words).await;
        let port = address.lines().nth(1).map(str::parse);
        port.expect("a master").expect("a port")
    }
}

impl Cluster {
    /// Three masters without replicas.
    pub async fn start() -> Self {
        Self::of(false).await
    }

    /// Three masters, each with a replica that takes its place when it is dead for a second.
    pub async fn with_replicas() -> Self {
        Self::of(true).await
    }

    async fn of(has_replicas: bool) -> Self {
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..if has_replicas { 6 } else { 3 } {
            let reserved = Port::reserve();
            let bus = reserved.address().port().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-config-file",
                "nodes.conf",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
            ];
            nodes.push((Redis::with(&arguments).await, bus));
            buses.push(reserved);
        }
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for ((node, _), (first, last)) in nodes.iter().zip(slots) {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last])
                .await;
        }
        let (first, others) = nodes.split_first().expect("nodes");
        for (node, bus) in others {
            let port = node.port.to_string();
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, bus];
            first.0.command(&meet).await;
        }
        for (node, _) in &nodes {
            until("all nodes know each other", async || {
                let info = node.text(&["CLUSTER", "INFO"]).await;
                info.contains(&format!("cluster_known_nodes:{}", nodes.len()))
            })
            .await;
        }
        let mut nodes: Vec<Redis> = nodes.into_iter().map(|(node, _)| node).collect();
        let replicas = nodes.split_off(3);
        for (master, replica) in nodes.iter().zip(&replicas) {
            let id = master.text(&["CLUSTER", "MYID"]).await;
            until("a node becomes a replica", async || {
                let words = ["CLUSTER", "REPLICATE", id.trim()];
                replica.try_command(&words).await.is_ok()
            })
            .await;
        }
        let cluster = Self {
            masters: nodes,
            replicas,
            _buses: buses,
        };
        for node in cluster.masters.iter().chain(&cluster.replicas) {
            until("the cluster is whole", async || {
                let info = node.text(&["CLUSTER", "INFO"]).await;
                let is_synced = cluster
                    .masters
                    .iter()
                    .any(|master| master.port == node.port)
                    || node
                        .text(&["INFO", "replication"])
                        .await
                        .contains("master_link_status:up");
                info.contains("cluster_state:ok") && is_synced
            })
            .await;
        }
        cluster
    }

    /// The URLs of the masters, as a list in TOML.
    pub fn nodes(&self) -> String {
        let urls: Vec<String> = self.masters.iter().map(Redis::url).collect();
        format!("{urls:?}")
    }

    /// Forgets all keys.
    pub async fn flushall(&self) {
        for master in &self.masters {
            master.flushall().await;
        }
    }
}

/// An answer as text; lists are one element a line, maps alternate.
pub fn text(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::VerbatimString { text, .. } => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(values) | Value::Set(values) => {
            let lines: Vec<String> = values.iter().map(text).collect();
            lines.join("\n")
        }
        Value::Map(pairs) => {
            let line = |(key, value): &(Value, Value)| format!("{}\n{}", text(key), text(value));
            let lines: Vec<String> = pairs.iter().map(line).collect();
            lines.join("\n")
        }
        other => format!("{other:?}"),
    }
}

/// Asks again and again until `holds`.
///
/// # Panics
/// If it does not come true in time.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let come = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let come = tokio::time::timeout(PATIENCE, come).await;
    assert!(come.is_ok(), "waited in vain until {what}");
}

/// What servers may take for what they do; failovers are the longest, and CI machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);
