//! The whole file as written, and what it means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Settings;
use crate::admin::WrittenAdmin;
use crate::cache::WrittenCache;
use crate::conditional::WrittenConditional;
use crate::content_coding::WrittenContentCoding;
use crate::etag::WrittenEtag;
use crate::forwarding::WrittenForwarding;
use crate::invalidate::{InvalidateRule, WrittenInvalidate};
use crate::limits::WrittenLimits;
use crate::listen::{ListenAddress, ListenSettings, WrittenListen};
use crate::pattern::everything;
use crate::problem::Severity;
use crate::profile::Profile;
use crate::request_log::WrittenRequestLog;
use crate::respond::WrittenRespond;
use crate::route::{RouteSettings, Upstreams, WrittenRoute, by_specificity, collide};
use crate::site::Site;
use crate::units::PeriodOrZero;
use crate::upstream::{UpstreamSettings, WrittenUpstream};
use crate::warm_up::WrittenWarmUp;

/// Configures one Pillion: what listens, what is forwarded where, and what is done on the way.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Written {
    /// Moves the defaults; a written key wins.
    pub(crate) profile: Profile,
    /// Cores to run on; all that this process may use, unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) threads: Option<usize>,
    /// What a stop waits for requests in flight.
    drain: PeriodOrZero,
    /// Where clients connect; 127.0.0.1:8080 without any.
    pub(crate) listen: Vec<WrittenListen>,
    /// Metrics, health, explain, purge: the operator's own listener.
    pub(crate) admin: WrittenAdmin,
    /// Bounds on what clients may send, and how slowly.
    limits: WrittenLimits,
    /// Whom to believe, and what the upstream is told.
    forwarding: WrittenForwarding,
    /// Apps that requests are forwarded to, by name; the only one, or the one called `app`, takes what no route takes.
    upstream: BTreeMap<String, WrittenUpstream>,
    /// Which requests go where, and what is different for them; the most specific wins, the order does not matter.
    pub(crate) route: Vec<WrittenRoute>,
    /// What may be stored, and when it may be used.
    cache: WrittenCache,
    /// What requests that change something make invalid, beside their own URL.
    invalidate: Vec<WrittenInvalidate>,
    /// Answering 304 and 206 here.
    conditional: WrittenConditional,
    /// Brotli, zstd and gzip.
    content_coding: WrittenContentCoding,
    /// Tags for content that comes without one.
    etag: WrittenEtag,
    /// Pages that are fetched before anybody asks for them.
    warm_up: WrittenWarmUp,
    /// One line for each request.
    request_log: WrittenRequestLog,
    /// Pages shown instead of the built-in problem document.
    respond: WrittenRespond,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            threads: None,
            drain: PeriodOrZero(DEFAULT_DRAIN),
            listen: Vec::new(),
            admin: WrittenAdmin::default(),
            limits: WrittenLimits::default(),
            forwarding: WrittenForwarding::default(),
            upstream: BTreeMap::new(),
            route: Vec::new(),
            cache: WrittenCache::default(),
            invalidate: Vec::new(),
            conditional: WrittenConditional::default(),
            content_coding: WrittenContentCoding::default(),
            etag: WrittenEtag::default(),
            warm_up: WrittenWarmUp::default(),
            request_log: WrittenRequestLog::default(),
            respond: WrittenRespond::default(),
        }
    }
}

impl Written {
    /// What it means. The result is only to be used if `site` heard of no problem.
    /// To have no upstream is as bad as `missing` says.
    pub(crate) fn check(&self, missing: Severity, site: &Site<'_>) -> Settings {
        let listen = self.check_listen(&site.key("listen"));
        let admin = self.admin.check(&site.key("admin"));
        check_addresses(&listen, admin.as_ref().map(|admin| &admin.address), site);
        let upstreams = self.check_upstreams(missing, &site.key("upstream"));
        let routes = self.check_routes(&upstreams, site);
        Settings {
            threads: self.threads.unwrap_or_else(cores),
            drain: self.drain.0,
            listen,
            admin,
            limits: self.limits.check(&site.key("limits")),
            forwarding: Arc::new(self.forwarding.check(&site.key("forwarding"))),
            request_log: self.request_log.check(&site.key("request_log")),
            respond: Arc::new(self.respond.check(&site.key("respond"))),
            cache_memory: self.cache.memory(),
            disk: self.cache.disk.check(&site.key("cache").key("disk")),
            ghost_keys: self.cache.ghost_keys(),
            redis: self.cache.redis(&site.key("cache")),
            warm_up: self.warm_up.check(&site.key("warm_up")).map(Arc::new),
            upstreams,
            routes,
        }
    }

    fn check_listen(&self, site: &Site<'_>) -> Vec<ListenSettings> {
        if self.listen.is_empty() {
            return vec![ListenSettings::default()];
        }
        let all = self.listen.iter().enumerate();
        all.map(|(index, listen)| listen.check(&site.index(index)))
            .collect()
    }

    fn check_upstreams(
        &self,
        missing: Severity,
        site: &Site<'_>,
    ) -> BTreeMap<Arc<str>, Arc<UpstreamSettings>> {
        if self.upstream.is_empty() {
            let message = "there is nothing to forward to";
            let help = "start with `--upstream http://127.0.0.1:3000`, or with the app's command \
                        after `--`, or write `url = \"http://127.0.0.1:3000\"` under [upstream.app]";
            match missing {
                Severity::Error => site.problem(message, help),
                Severity::Warning => site.warning(message, help),
            }
        }
        let check = |(name, upstream): (&String, &WrittenUpstream)| {
            let site = site.key(name);
            if !is_upstream_name(name) {
                let help = "write at most 64 letters, digits, `-` and `_`";
                site.problem("this name cannot be a label of logs and metrics", help);
            }
            (Arc::from(name.as_str()), Arc::new(upstream.check(&site)))
        };
        self.upstream.iter().map(check).collect()
    }

    /// Most specific first; the last takes everything.
    fn check_routes(
        &self,
        upstreams: &BTreeMap<Arc<str>, Arc<UpstreamSettings>>,
        site: &Site<'_>,
    ) -> Vec<Arc<RouteSettings>> {
        let upstreams = Upstreams {
            all: upstreams,
            is_unclear: site.key("upstream").is_unclear(),
        };
        let invalidate = self.check_invalidate(&site.key("invalidate"));
        let site_of = |index| site.key("route").index(index);
        let mut routes: Vec<RouteSettings> = Vec::new();
        for (index, route) in self.route.iter().enumerate() {
            let route = route.check(&site_of(index), &upstreams);
            let twin = |earlier: &RouteSettings| collide(&earlier.pattern, &route.pattern);
            if let Some(earlier) = routes.iter().position(twin) {
                let other = site_of(earlier).key("match").described();
                site_of(index).key("match").problem(
                    format!("takes requests that the route of {other} takes as well"),
                    "let one of them be more specific, or write one route",
                );
            }
            routes.push(route);
        }
        let rest = self.rest(upstreams.default(), site);
        if !routes.iter().any(|route| route.pattern == everything()) {
            if rest.upstream.is_empty() && !upstreams.all.is_empty() && !upstreams.is_unclear {
                site.key("upstream").problem(
                    "requests that no route takes have nowhere to go: \
                     there are several upstreams, and none is called `app`",
                    "call one of them `app`, or add a [[route]] with `match = \"/*\"`",
                );
            }
            routes.push(rest);
        }
        routes.sort_by(|left, right| by_specificity(&left.pattern, &right.pattern));
        for route in &mut routes {
            Arc::make_mut(&mut route.cache).invalidate = invalidate.clone();
        }
        routes.into_iter().map(Arc::new).collect()
    }

    fn check_invalidate(&self, site: &Site<'_>) -> Arc<[InvalidateRule]> {
        let rules = self.invalidate.iter().enumerate();
        rules
            .map(|(index, rule)| rule.check(&site.index(index)))
            .collect()
    }

    /// The route of what no route takes. Checked even if one takes everything, for the tables of
    /// all routes are checked with it.
    fn rest(&self, upstream: Option<Arc<str>>, site: &Site<'_>) -> RouteSettings {
        RouteSettings {
            name: "*".into(),
            pattern: everything(),
            upstream: upstream.unwrap_or_default(),
            strip_prefix: None,
            cache: Arc::new(self.cache.check(&site.key("cache"))),
            conditional: self.conditional.check(&site.key("conditional")),
            content_coding: self.content_coding.check(&site.key("content_coding")),
            etag: self.etag.check(&site.key("etag")),
        }
    }
}

/// Two sockets cannot have one address.
fn check_addresses(listen: &[ListenSettings], admin: Option<&ListenAddress>, site: &Site<'_>) {
    let is_fixed = |address: &ListenAddress| match address {
        ListenAddress::Tcp(tcp) => tcp.port() != 0,
        _ => true,
    };
    for (index, listener) in listen.iter().enumerate() {
        let taken = |other: &ListenAddress| is_fixed(other) && *other == listener.address;
        let address = site.key("listen").index(index).key("address");
        let earlier = listen.iter().take(index);
        if earlier.map(|listener| &listener.address).any(taken) {
            let help = "every [[listen]] needs an address of its own";
            address.problem("an earlier [[listen]] has this address", help);
        }
        if admin.is_some_and(taken) {
            let help = "give one of them another port, or write `enabled = false` under [admin]";
            address.problem("the admin listener has this address", help);
        }
    }
}

fn is_upstream_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

/// What affinity and quotas leave to this process.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// With what comes before and after it, a stop takes less than the 5 s after which impatient
/// supervisors kill.
const DEFAULT_DRAIN: Duration = Duration::from_secs(4);
