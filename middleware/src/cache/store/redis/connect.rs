//! Connections: TCP or a Unix socket, TLS, the first commands, within one deadline.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config::redis::{Password, RedisAddress, RedisSettings};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, ProtocolVersion, RedisConnectionInfo,
    RedisError, Value,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::info;

use super::driver::Driver;
use super::failure::{Failure, FailureKind};
use super::setup::{self, SetupError};

/// Opens connections as the settings say.
pub(super) struct Dialer {
    tls: Option<TlsConnector>,
    database: u32,
    username: Option<String>,
    password: Option<Password>,
    sentinel_password: Option<Password>,
    deadline: Duration,
    /// Set by whichever connection finds that this Redis does not know `HELLO`.
    speaks_resp2: AtomicBool,
    /// Whatever reads and writes connections, on the runtimes of those who opened them.
    tasks: TaskTracker,
}

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A server with records.
    Server,
    /// A Sentinel, which has credentials of its own.
    Sentinel,
}

/// A connection on which many commands may be under way at once. A handle; the connection is closed
/// with its last one.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    line: Arc<Line>,
}

/// The life of a connection.
struct Line {
    /// Set by the task that reads, when there is nothing more to read.
    closed: Arc<AtomicBool>,
    driver: Arc<Driver>,
    _close: DropGuard,
}

impl Connection {
    /// Whether it is known to be of no use any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.line.closed.load(Ordering::Acquire)
    }

    /// Writes what was asked for by now, rather than when its task has its turn.
    pub(super) fn push(&self) {
        self.line.driver.push();
    }

    /// What Redis answers to `command`; waits for no longer than `deadline`.
    pub(crate) async fn command(
        &mut self,
        command: &Cmd,
        deadline: Duration,
    ) -> Result<Value, Failure> {
        match timeout(deadline, self.inner.send_packed_command(command)).await {
            Ok(Ok(Value::ServerError(error))) => Err(Failure::from(&error)),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::late()),
        }
    }

    /// What Redis answers to each command; a refusal of one is a [`Value::ServerError`] in its place.
    pub(crate) async fn pipeline(
        &mut self,
        pipeline: &Pipeline,
        deadline: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let answers = self.inner.send_packed_commands(pipeline, 0, pipeline.len());
        match timeout(deadline, answers).await {
            Ok(Ok(values)) => Ok(values),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::late()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Dialer {
    /// Reads the files that the settings name.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, SetupError> {
        // Once now, so that a wrong path stops the start; again for each connection.
        setup::password(settings.password.as_ref(), "password_file")?;
        setup::password(
            settings.sentinel_password.as_ref(),
            "sentinel_password_file",
        )?;
        Ok(Self {
            tls: settings.tls.as_ref().map(setup::tls).transpose()?,
            database: settings.database,
            username: settings.username.clone(),
            password: settings.password.clone(),
            sentinel_password: settings.sentinel_password.clone(),
            deadline: settings.connect_timeout,
            speaks_resp2: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        })
    }

    /// The deadline of [`dial`](Self::dial).
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Where what opens connections in the background is tracked.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// A new connection, which the runtime of the caller reads and writes.
    pub(super) async fn dial(
        &self,
        address: &RedisAddress,
        peer: Peer,
    ) -> Result<Connection, Failure> {
        match timeout(self.deadline, self.connect(address, peer)).await {
            Ok(connection) => connection,
            Err(_) => Err(Failure::late()),
        }
    }

    async fn connect(&self, address: &RedisAddress, peer: Peer) -> Result<Connection, Failure> {
        if self.speaks_resp2.load(Ordering::Relaxed) {
            return self.greet(address, peer, ProtocolVersion::RESP2).await;
        }
        match self.greet(address, peer, ProtocolVersion::RESP3).await {
            Err(failure) if knows_no_hello(&failure) => {
                let connection = self.greet(address, peer, ProtocolVersion::RESP2).await?;
                if !self.speaks_resp2.swap(true, Ordering::Relaxed) {
                    info!(
                        redis = %address,
                        "This Redis does not know HELLO, so it is spoken to by RESP2; nothing is lost by that."
                    );
                }
                Ok(connection)
            }
            other => other,
        }
    }

    async fn greet(
        &self,
        address: &RedisAddress,
        peer: Peer,
        protocol: ProtocolVersion,
    ) -> Result<Connection, Failure> {
        let info = self.introduction(peer, protocol)?;
        match address {
            RedisAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(broken)?;
                self.begin(stream, &info).await
            }
            RedisAddress::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(broken)?;
                stream.set_nodelay(true).map_err(broken)?;
                let Some(tls) = &self.tls else {
                    return self.begin(stream, &info).await;
                };
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| Failure::new(FailureKind::Tls, error.to_string()))?;
                let stream = tls.connect(name, stream).await;
                let stream =
                    stream.map_err(|error| Failure::new(FailureKind::Tls, error.to_string()))?;
                self.begin(stream, &info).await
            }
        }
    }

    /// Who we are, as of now.
    fn introduction(
        &self,
        peer: Peer,
        protocol: ProtocolVersion,
    ) -> Result<RedisConnectionInfo, Failure> {
        let unreadable =
            |error: SetupError| Failure::new(FailureKind::Credentials, error.to_string());
        let info = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_lib_name("pillion", env!("CARGO_PKG_VERSION"));
        let (info, password) = match peer {
            Peer::Sentinel => (
                info,
                setup::password(self.sentinel_password.as_ref(), "sentinel_password_file"),
            ),
            Peer::Server => {
                let info = info.set_db(self.database.into());
                let info = match &self.username {
                    // Its rights may well not reach to telling who asks, and Redis logs refusals.
                    Some(username) => info.set_username(username).set_skip_set_lib_name(),
                    None => info,
                };
                (
                    info,
                    setup::password(self.password.as_ref(), "password_file"),
                )
            }
        };
        Ok(match password.map_err(unreadable)? {
            Some(password) => info.set_password(password.reveal()),
            None => info,
        })
    }

    /// The first commands, and the task that reads and writes from then on.
    async fn begin<S>(&self, stream: S, info: &RedisConnectionInfo) -> Result<Connection, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new()
            // Deadlines are ours, since they end the wait for a place in the queue as well.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING);
        let (inner, driver) = MultiplexedConnection::new_with_config(info, stream, config).await?;
        let ended = CancellationToken::new();
        let closed = Arc::new(AtomicBool::new(false));
        let driver = Arc::new(Driver::new(driver));
        let line = Line {
            closed: closed.clone(),
            driver: driver.clone(),
            _close: ended.clone().drop_guard(),
        };
        self.tasks.spawn(async move {
            tokio::select! {
                () = driver.done() => {}
                // Answers that nobody waits for would keep it open otherwise.
                () = ended.cancelled() => {}
            }
            closed.store(true, Ordering::Release);
        });
        let mut connection = Connection {
            inner,
            line: Arc::new(line),
        };
        // By RESP2 a server that wants a password does not say so before the first command.
        let answer = connection.command(&redis::cmd("PING"), self.deadline).await;
        match answer {
            Err(failure) if failure.is_outage() => Err(failure),
            // It lets us in; what it allows is seen by what is asked.
            _ => Ok(connection),
        }
    }
}

/// Whether this Redis is too old for RESP3, or has `HELLO` renamed away.
fn knows_no_hello(failure: &Failure) -> bool {
    let said = failure.detail.to_ascii_lowercase();
    (said.contains("unknown command") && said.contains("hello"))
        || said.contains("noproto")
        || said.contains("resp3")
}

fn broken(error: io::Error) -> Failure {
    let error = RedisError::from(error);
    match error.kind() {
        ErrorKind::Io => Failure::new(FailureKind::Connection, error.to_string()),
        _ => error.into(),
    }
}

/// Commands that wait for their turn on one connection; more callers than that wait for a place.
const WAITING: usize = 1024;
