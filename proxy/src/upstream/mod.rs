//! The app: endpoints, pooled connections, deadlines and safe retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use config::forwarding::ForwardedHost;
use config::upstream::UpstreamSettings;
use middleware::clock::Clock;
use middleware::metrics::Metrics;
use middleware::{Error, ErrorKind, Request, Response, ResponseFuture, Result};
use tower::Service;

/// All upstreams of the program, with what their endpoints share between cores.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<BTreeMap<Arc<str>, Arc<UpstreamSettings>>>);

/// The leaf of a route's stack on one core: one `Arc`, cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    _settings: Arc<UpstreamSettings>,
}

impl Upstreams {
    /// Reads what needs reading (roots of trust) and prepares every endpoint for `cores` cores;
    /// connects to none.
    ///
    /// # Errors
    /// When a file named in the settings cannot be read or is not what it should be.
    pub fn new(
        settings: &BTreeMap<Arc<str>, Arc<UpstreamSettings>>,
        _cores: usize,
        _clock: Clock,
        _metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(settings.clone())))
    }

    /// The upstream `name` as core `core` uses it for one route, whose prefix is taken off the path.
    ///
    /// # Panics
    /// If there is none of that name: the configuration was checked.
    pub fn get(
        &self,
        name: &str,
        _core: usize,
        _strip_prefix: Option<Arc<str>>,
        _host: ForwardedHost,
    ) -> Upstream {
        let settings = self
            .0
            .get(name)
            .expect("the configuration names existing upstreams");
        Upstream {
            _settings: settings.clone(),
        }
    }
}

impl Service<Request> for Upstream {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request) -> ResponseFuture {
        ResponseFuture::ready(Err(Error::upstream(ErrorKind::DestinationUnavailable)))
    }
}
