//! The app: endpoints, pooled connections, deadlines and safe retries.
//!
//! A request's way through here is `exchange`: a connection of this core's own pool (`pool`) to
//! one of the endpoints (`balance`; HTTP/2: `multiplex`), or a new one (`connect`, `handshake`; driven by `bell`); the target and
//! framing it is sent with (`outgoing`, `upload`); the answer (`answer`), or a failure
//! (`failure`) and whether it may go again (`retry`).

mod answer;
mod balance;
mod bell;
mod connect;
mod deadline;
mod endpoint;
mod exchange;
mod failure;
mod gate;
mod handshake;
mod multiplex;
mod outgoing;
mod plain;
mod pool;
mod retry;
mod sent;
mod sweep;
mod upload;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use config::forwarding::{ForwardedHost, ForwardingSettings};
use config::upstream::UpstreamSettings;
use middleware::clock::Clock;
use middleware::forwarding::Interims;
use middleware::metrics::{Metrics, OpenTunnel, UpstreamMetrics};
use middleware::{Error, Request, Response, ResponseFuture, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use balance::Dice;
use connect::Roots;
pub use connect::loopback;
use endpoint::Endpoint;
use exchange::{Way, forward};
use gate::Gate;
pub use gate::Hold;

/// All upstreams of the program, with what their endpoints share between cores.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<BTreeMap<Arc<str>, Arc<State>>>);

/// The leaf of a route's stack on one core: one `Arc`, cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Lane>);

/// One upstream, as all cores share it.
struct State {
    settings: Arc<UpstreamSettings>,
    /// At least one.
    endpoints: Vec<Endpoint>,
    gate: Arc<Gate>,
    metrics: UpstreamMetrics,
    clock: Clock,
    /// Where the tasks go that drive connections.
    tasks: TaskTracker,
    /// When it is cancelled, unused connections are closed, and others after use.
    stopping: CancellationToken,
}

/// One route's way to an upstream, on one core: made once, so that requests count references on
/// their own core alone.
struct Lane {
    state: Arc<State>,
    core: usize,
    strip_prefix: Option<Arc<str>>,
    host: ForwardedHost,
    /// How interim responses are passed on, if they are.
    interims: Option<Interims>,
    dice: Dice,
}

impl Upstreams {
    /// Reads what needs reading (roots of trust) and prepares every endpoint for `cores` cores;
    /// connects to none. Connections are driven by tasks on `tasks`, on the core that opened them;
    /// once `stopping` is cancelled, none is kept unused.
    ///
    /// # Errors
    /// When a file named in the settings cannot be read or is not what it should be.
    pub fn new(
        settings: &BTreeMap<Arc<str>, Arc<UpstreamSettings>>,
        cores: usize,
        clock: Clock,
        metrics: &Metrics,
        tasks: &TaskTracker,
        stopping: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let mut roots = Roots::default();
        let mut upstreams = BTreeMap::new();
        for (name, settings) in settings {
            let endpoints = settings
                .endpoints
                .iter()
                .map(|address| Endpoint::new(address, settings, cores, &mut roots, &clock))
                .collect::<anyhow::Result<Vec<_>>>()
                .with_context(|| format!("upstream \"{name}\""))?;
            anyhow::ensure!(!endpoints.is_empty(), "upstream \"{name}\" has no endpoint");
            let state = State {
                settings: settings.clone(),
                endpoints,
                gate: Arc::default(),
                metrics: metrics.upstream(name),
                clock: clock.clone(),
                tasks: tasks.clone(),
                stopping: stopping.clone(),
            };
            upstreams.insert(name.clone(), Arc::new(state));
        }
        Ok(Self(Arc::new(upstreams)))
    }

    /// The upstream `name` as core `core` uses it for one route, whose prefix is taken off the path;
    /// `forwarding` says what it is told, and what of it is passed on.
    ///
    /// # Panics
    /// If there is none of that name: the configuration was checked.
    pub fn get(
        &self,
        name: &str,
        core: usize,
        strip_prefix: Option<Arc<str>>,
        forwarding: &ForwardingSettings,
    ) -> Upstream {
        Upstream(Arc::new(Lane {
            state: self.state(name).clone(),
            core,
            strip_prefix,
            host: forwarding.host,
            interims: Interims::new(forwarding),
            dice: Dice::new(core),
        }))
    }

    /// Holds requests to the upstream `name` back until the hold is released or dropped: while the
    /// app is starting. They are bounded in number and time; see [`Hold`].
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn hold(&self, name: &str) -> Hold {
        Hold::new(self.state(name).gate.clone())
    }

    fn state(&self, name: &str) -> &Arc<State> {
        self.0
            .get(name)
            .expect("the configuration names existing upstreams")
    }
}

impl Upstream {
    /// Forwards a request that asks to upgrade, on HTTP/1.1. An answer of 101 comes with its fields
    /// as they are, and with the upgraded connection in its extensions (`hyper::upgrade::on`).
    pub(crate) fn upgrade(&self, request: Request) -> ResponseFuture {
        forward(&self.0, request, Way::Upgrade)
    }

    /// Longest pause of an upgraded connection.
    pub(crate) fn stream_idle(&self) -> Duration {
        self.0.state.settings.stream_idle
    }

    /// Counts an upgraded connection while the guard lives.
    pub(crate) fn count_tunnel(&self) -> OpenTunnel {
        self.0.state.metrics.tunnel()
    }
}

impl Service<Request> for Upstream {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        forward(&self.0, request, Way::Plain)
    }
}

impl Lane {
    fn endpoint(&self, at: usize) -> &Endpoint {
        &self.state.endpoints[at]
    }

    /// How many there are.
    fn endpoints(&self) -> usize {
        self.state.endpoints.len()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("core", &self.core)
            .field("strip_prefix", &self.strip_prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
