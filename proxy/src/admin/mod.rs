//! The operator's own listener: health, metrics, and the questions and orders of those who run this.
//!
//! It has a thread and a runtime of its own, so that it answers while every core is busy, and never
//! takes time from one. Who may use it is told by `auth`.

mod auth;
mod config;
mod explain;
mod health;
mod log_level;
mod metrics;
mod purge;
mod purged;
mod query;
pub(crate) mod question;
mod reply;
mod savings;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::config::Settings;
use ::config::admin::AdminSettings;
use bytes::Bytes;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use self::auth::{Access, Rules, Socket, Token};
use self::reply::Reply;
use crate::server::listen::{self, Opened};
use crate::server::socket::Listener;
use crate::shared::Shared;
use crate::{Bound, BoundAddress, Readiness, Running, StartError};

/// Opens the admin listener of `running` and says where it is; `None` where it is switched off.
///
/// # Errors
/// When its address cannot be had, or its token cannot be read.
pub fn open(running: &mut Running, told: Told) -> Result<Option<Bound>, StartError> {
    let settings = running.settings().clone();
    let Some(admin) = &settings.admin else {
        return Ok(None);
    };
    let opened = listen::open(&admin.address, 1).map_err(for_admin)?;
    let address = opened.address.clone();
    let resources = Arc::new(Admin {
        rules: rules(admin, &address)?,
        settings: settings.clone(),
        shared: running.shared().clone(),
        readiness: running.readiness(),
        authority: authority(running.addresses()),
        told,
    });
    running
        .beside("admin", |ended| serve(opened, resources, ended))
        .map_err(|error| {
            StartError::new(
                "The admin listener's thread cannot be started",
                "Raise the limit of processes and threads for this user (ulimit -u)",
            )
            .caused_by(error)
        })?;
    Ok(Some(Bound {
        address,
        tls: false,
    }))
}

/// What only those know who started this Pillion.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The effective configuration as TOML, each value with where it came from; for `/config`.
    pub effective: String,
}

/// Everything that the resources look at.
#[derive(Debug)]
struct Admin {
    rules: Rules,
    settings: Arc<Settings>,
    shared: Shared,
    readiness: Readiness,
    /// Where a client would ask for a path, in questions that do not say so.
    authority: Authority,
    told: Told,
}

/// The first listener, as a client on this machine would name it.
pub(crate) fn authority(bound: &[Bound]) -> Authority {
    let address = bound.iter().find_map(Bound::tcp);
    let named = address.map(|address| match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    });
    let named = named.and_then(|named| named.parse().ok());
    named.unwrap_or_else(|| Authority::from_static("localhost"))
}

fn rules(admin: &AdminSettings, address: &BoundAddress) -> Result<Rules, StartError> {
    let read = |path: &std::path::PathBuf| {
        Token::read(path).map_err(|error| {
            StartError::new(
                format!("The admin token cannot be read from {}", path.display()),
                "Write one line of printable ASCII characters into that file, \
                 or name another as admin.token_file",
            )
            .caused_by(error)
        })
    };
    let token = admin.token_file.as_ref().map(read).transpose()?;
    let (socket, is_near) = match address {
        BoundAddress::Tcp(address) => (Socket::Tcp, address.ip().is_loopback()),
        BoundAddress::Unix(_) => (Socket::Unix, true),
    };
    if !is_near && token.is_none() {
        return Err(StartError::new(
            "The admin listener would be open to everybody who can reach this machine",
            "Let it listen on 127.0.0.1, or set admin.token_file",
        ));
    }
    Ok(Rules { token, socket })
}

fn for_admin(error: StartError) -> StartError {
    StartError::new(
        format!("The admin listener cannot be opened. {}", error.sentence()),
        "Stop the program that is in the way, or choose another address with --admin",
    )
}

/// Accepts until `ended`.
async fn serve(opened: Opened, admin: Arc<Admin>, ended: CancellationToken) {
    // Held until the end: it removes the socket's file then.
    let _file = opened.file;
    let listener = opened.listeners.into_iter().next().map(Listener::new);
    let listener = match listener {
        Some(Ok(listener)) => listener,
        Some(Err(error)) => {
            error!(%error, "The admin listener cannot be used.");
            return;
        }
        None => return,
    };
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = ended.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let admin = admin.clone();
                connections.spawn(async move {
                    converse(stream, admin).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Most likely this process has too many files open: let some be closed.
                debug!(%error, "The admin listener could not accept a connection.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from its first request to its last.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, admin: Arc<Admin>) {
    let service = service_fn(|request: Request<Incoming>| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(admin.answer(request).await) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(FIELDS)
        .max_buf_size(HEADER_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut conversation = std::pin::pin!(conversation);
    let ended = match timeout(LONGEST, &mut conversation).await {
        Ok(ended) => ended,
        // Who does not read its answers would otherwise hold its place for ever.
        Err(_) => {
            conversation.as_mut().graceful_shutdown();
            timeout(GOODBYE, conversation).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "A connection to the admin listener ended early.");
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let resource = RESOURCES
            .iter()
            .find(|resource| resource.path == head.uri.path());
        let access = resource.map_or(Access::Operator, |resource| resource.access);
        if let Err(refusal) = self.rules.judge(&head, access) {
            return reply::refusal(refusal);
        }
        let Some(resource) = resource else {
            let detail = "There is no such resource; / lists those that there are.";
            return reply::problem(StatusCode::NOT_FOUND, detail);
        };
        if !resource.takes(&head.method) {
            return reply::wrong_method(resource.methods);
        }
        let content = timeout(BODY_TIME, Limited::new(body, BODY_SIZE).collect()).await;
        match content {
            Ok(Ok(content)) => {
                let content = content.to_bytes();
                match resource.answer {
                    Answer::Now(answer) => answer(self, &head, &content),
                    Answer::Later(answer) => answer(self, &head, &content).await,
                }
            }
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let detail = format!("At most {BODY_SIZE} bytes are taken.");
                reply::problem(StatusCode::PAYLOAD_TOO_LARGE, &detail)
            }
            Ok(Err(_)) => reply::problem(StatusCode::BAD_REQUEST, "The content broke off."),
            Err(_) => reply::problem(StatusCode::REQUEST_TIMEOUT, "The content took too long."),
        }
    }
}

/// One resource of the admin listener.
struct Resource {
    path: &'static str,
    /// As `Allow` lists them.
    methods: &'static str,
    access: Access,
    purpose: &'static str,
    answer: Answer,
}

type LaterReply<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// How a resource answers.
enum Answer {
    /// At once.
    Now(fn(&Admin, &Parts, &Bytes) -> Reply),
    /// When something else is done, too.
    Later(for<'a> fn(&'a Admin, &'a Parts, &'a Bytes) -> LaterReply<'a>),
}

impl Resource {
    fn takes(&self, method: &Method) -> bool {
        self.methods
            .split(", ")
            .any(|allowed| allowed == method.as_str())
    }
}

/// `/`: what there is.
fn index(_: &Admin, _: &Parts, _: &Bytes) -> Reply {
    let mut lines = format!("Pillion {}\n\n", env!("CARGO_PKG_VERSION"));
    for resource in RESOURCES {
        let Resource {
            path,
            methods,
            purpose,
            ..
        } = resource;
        lines.push_str(&format!("{path:<17} {methods:<14} {purpose}\n"));
    }
    reply::text(lines)
}

const RESOURCES: &[Resource] = &[
    Resource {
        path: "/",
        methods: "GET, HEAD",
        access: Access::Operator,
        purpose: "this list",
        answer: Answer::Now(index),
    },
    Resource {
        path: "/healthz",
        methods: "GET, HEAD",
        access: Access::Probe,
        purpose: "whether the process is alive",
        answer: Answer::Now(health::alive),
    },
    Resource {
        path: "/readyz",
        methods: "GET, HEAD",
        access: Access::Probe,
        purpose: "whether requests should be sent here; 503 if not",
        answer: Answer::Now(health::ready),
    },
    Resource {
        path: "/metrics",
        methods: "GET, HEAD",
        access: Access::Operator,
        purpose: "for Prometheus, as classic text or OpenMetrics",
        answer: Answer::Now(metrics::scrape),
    },
    Resource {
        path: "/config",
        methods: "GET, HEAD",
        access: Access::Operator,
        purpose: "the effective configuration",
        answer: Answer::Now(config::show),
    },
    Resource {
        path: "/explain",
        methods: "GET, HEAD",
        access: Access::Operator,
        purpose: "?method=&url=&header=Name: value (repeatable): what would become of a request, and why; ?id=: what became of one",
        answer: Answer::Later(explain::explain),
    },
    Resource {
        path: "/explain/recent",
        methods: "GET, HEAD",
        access: Access::Operator,
        purpose: "the latest decisions, secrets left out, for judging them again",
        answer: Answer::Now(explain::recent),
    },
    Resource {
        path: "/explain/savings",
        methods: "GET, HEAD",
        access: Access::Operator,
        purpose: "what a cache would save where nothing is stored, at which risk, and the TOML for it",
        answer: Answer::Now(savings::savings),
    },
    Resource {
        path: "/purge",
        methods: "POST",
        access: Access::Operator,
        purpose: "?url= ?tag= ?group= ?prefix= ?pattern= or ?all, or as JSON {\"url\": …}: forget what is stored; &soft: validate it first; &dry_run: only tell",
        answer: Answer::Later(|admin, head, content| Box::pin(purge::purge(admin, head, content))),
    },
    Resource {
        path: "/log-level",
        methods: "GET, HEAD, PUT",
        access: Access::Operator,
        purpose: "the log's filter, as in RUST_LOG; PUT replaces it",
        answer: Answer::Now(log_level::log_level),
    },
];

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// For a request's head; also what an unused connection is kept for.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// What a connection is kept for, requests or not.
const LONGEST: Duration = Duration::from_secs(300);
/// For the answer that is under way then.
const GOODBYE: Duration = Duration::from_secs(10);
/// Of a request's head, in bytes.
const HEADER_SIZE: usize = 32 << 10;
/// Header fields of a request.
const FIELDS: usize = 64;
/// Of a request's content, in bytes.
const BODY_SIZE: usize = 64 << 10;
/// For a request's content.
const BODY_TIME: Duration = Duration::from_secs(10);
/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
