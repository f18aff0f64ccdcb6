//! Router: host, path and method choose a route. Matching decodes unreserved escapes and resolves
//! dot segments (RFC 3986 §6.2.2); what is keyed and forwarded keeps the bytes as sent.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};

use config::Settings;
use config::route::{HostPattern, Pattern, RouteSettings, Segment};
use http::header::{CONNECTION, HOST, UPGRADE};
use middleware::{Error, Request, Response, ResponseFuture, Result, facts};
use tower::Service;

use crate::pipeline::{RouteStack, route_stack};
use crate::shared::{Core, Shared};
use crate::tunnel::Tunnel;

/// One core's table of routes. Owned by that core's front, so a request clones nothing of it.
#[derive(Debug)]
pub struct Router {
    /// Most specific first; the last takes everything.
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    settings: Arc<RouteSettings>,
    /// This core's own copy of the name, so that its reference count stays on the core.
    name: Arc<str>,
    stack: RouteStack,
    /// Where a request goes that asks to upgrade.
    tunnel: Tunnel,
}

impl Router {
    /// The table that `settings` describe, for one core.
    pub fn build(settings: &Settings, shared: &Shared, core: &Core) -> Self {
        let route = |route: &Arc<RouteSettings>| {
            let upstream = shared.upstreams.get(
                &route.upstream,
                core.index,
                route.strip_prefix.clone(),
                settings.forwarding.host,
            );
            Route {
                settings: route.clone(),
                name: Arc::from(&*route.name),
                stack: route_stack(route, shared, core, upstream.clone()),
                tunnel: Tunnel::new(upstream, shared),
            }
        };
        Self {
            routes: settings.routes.iter().map(route).collect(),
        }
    }
}

impl Service<Request> for Router {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        let wanted = Wanted::of(&request);
        let Some(route) = self
            .routes
            .iter_mut()
            .find(|route| wanted.matches(&route.settings.pattern))
        else {
            return ResponseFuture::ready(Err(
                Error::internal().detail("no route takes this request")
            ));
        };
        let name = route.name.clone();
        let response = if asks_to_upgrade(&request) {
            route.tunnel.call(request)
        } else {
            route.stack.call(request)
        };
        response.change(move |result| {
            let facts = match result {
                Ok(response) => facts::of_response(response),
                Err(error) => error.facts_mut(),
            };
            facts.route = Some(name);
        })
    }
}

/// The route that `request` takes, as the router of every core finds it.
pub fn find<'a>(settings: &'a Settings, request: &Request) -> Option<&'a Arc<RouteSettings>> {
    let wanted = Wanted::of(request);
    let mut routes = settings.routes.iter();
    routes.find(|route| wanted.matches(&route.pattern))
}

/// What of a request the patterns look at.
struct Wanted<'a> {
    method: &'a str,
    host: &'a str,
    path: Cow<'a, str>,
}

impl<'a> Wanted<'a> {
    fn of(request: &'a Request) -> Self {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("");
        Self {
            method: request.method().as_str(),
            host: without_port(host),
            path: normal_path(request.uri().path()),
        }
    }

    fn matches(&self, pattern: &Pattern) -> bool {
        (pattern.methods.is_empty() || pattern.methods.iter().any(|method| method == self.method))
            && host_matches(&pattern.host, self.host)
            && path_matches(pattern, &self.path)
    }
}

/// Whether the client asks to switch protocols (RFC 9110 §7.8).
fn asks_to_upgrade(request: &Request) -> bool {
    request.headers().contains_key(UPGRADE)
        && request.headers().get_all(CONNECTION).iter().any(|value| {
            value.to_str().is_ok_and(|list| {
                list.split(',')
                    .any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
            })
        })
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name.eq_ignore_ascii_case(host),
        HostPattern::Below(domain) => host
            .len()
            .checked_sub(domain.len() + 1)
            .and_then(|dot| host.split_at_checked(dot))
            .and_then(|(below, rest)| Some((below, rest.strip_prefix('.')?)))
            .is_some_and(|(below, rest)| !below.is_empty() && rest.eq_ignore_ascii_case(domain)),
    }
}

fn path_matches(pattern: &Pattern, path: &str) -> bool {
    if pattern.open && pattern.segments.is_empty() {
        return true;
    }
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
    for wanted in &pattern.segments {
        match (wanted, segments.next()) {
            (Segment::Literal(text), Some(segment)) if text == segment => {}
            (Segment::Any(_), Some(segment)) if !segment.is_empty() => {}
            _ => return false,
        }
    }
    pattern.open || segments.next().is_none()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An IPv6 address keeps its brackets, and its colons.
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Unreserved escapes decoded, then dot segments removed (RFC 3986 §6.2.2.2, §5.2.4).
fn normal_path(path: &str) -> Cow<'_, str> {
    let decoded = decode_unreserved(path);
    if decoded.contains("/.") {
        Cow::Owned(remove_dot_segments(&decoded))
    } else {
        decoded
    }
}

fn decode_unreserved(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = (byte == b'%')
            .then(|| after.first_chunk::<2>().and_then(unreserved))
            .flatten();
        match escape {
            Some(plain) => {
                decoded.push(plain);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The byte that two hexadecimal digits stand for, if it is unreserved (RFC 3986 §2.3).
fn unreserved(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    let byte = u8::try_from(high? * 16 + low?).ok()?;
    (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(byte)
}

fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => {
                kept.push(other);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}
