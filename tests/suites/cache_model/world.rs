//! Runs one history through the real layers, on a clock that stands still between its steps.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::cache::{CacheSettings, ClientDirectives, Cookies, SetCookie};
use config::conditional::ConditionalSettings;
use config::content_coding::ContentCodingSettings;
use config::etag::EtagSettings;
use http::{HeaderName, HeaderValue, Uri};
use http_body_util::BodyExt;
use middleware::cache::{Cache, CacheLayer, Purge, SharedCache, What};
use middleware::clock::Clock;
use middleware::conditional::{Conditional, ConditionalLayer};
use middleware::content_coding::{ContentCoding, ContentCodingLayer};
use middleware::etag::{Etag, EtagLayer};
use middleware::facts::{Peer, RequestFacts, RequestId, Scheme};
use middleware::metrics::Metrics;
use middleware::{Body, ErrorKind, Request, ResponseFuture};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

use super::history::{
    Ask, COOKIES, Class, FLAVOURS, History, LANGUAGES, Method, NAMES, Name, NoneMatch, PATTERNS,
    PREFIXES, Purged, Rules, Since, Step, URLS, USERS, Word,
};
use super::log::{Answer, Asked, Change, Changed, Got, Log};
use super::model::{Permit, Tally};
use super::upstream::{Gates, Upstream, beginning, date, number_of, opaque};
use super::verify::Verdict;

type Stack = Conditional<ContentCoding<Cache<Etag<Upstream>>>>;
type State = Arc<Mutex<(Log, Gates)>>;

/// What histories share: they differ in their hosts, as sites of one server do.
pub(super) struct World {
    shared: SharedCache,
    metrics: Metrics,
    host: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let metrics = Metrics::new();
        let clock = Clock::standing_at(beginning());
        let shared = SharedCache::new(64 << 20, clock, TaskTracker::new(), &metrics);
        Self {
            shared,
            metrics,
            host: 0,
        }
    }

    fn stack(&self, rules: Rules, upstream: Upstream) -> Stack {
        let settings = CacheSettings {
            stale_while_revalidate: rules.windows.then(|| Duration::from_secs(30)),
            stale_if_error: rules.windows.then(|| Duration::from_secs(60)),
            client_directives: match rules.deaf {
                true => ClientDirectives::Ignore,
                false => ClientDirectives::Respect,
            },
            set_cookie: match rules.strips {
                true => SetCookie::Strip,
                false => SetCookie::Skip,
            },
            cookies: match rules.ignores_cookies {
                true => Cookies::Ignore,
                false => Cookies::Respect,
            },
            ttl: rules.ttl.then(|| Duration::from_secs(20)),
            ..CacheSettings::default()
        };
        let tags = EtagSettings {
            enabled: rules.tags,
            min_useful: 0.0,
            ..EtagSettings::default()
        };
        let coding = ContentCodingSettings::default();
        let etag = EtagLayer::new(tags, &self.metrics).layer(upstream);
        let cache = CacheLayer::new(Arc::new(settings), self.shared.clone()).layer(etag);
        let coding =
            ContentCodingLayer::new(coding, self.shared.clone(), &self.metrics).layer(cache);
        ConditionalLayer::new(ConditionalSettings::default()).layer(coding)
    }

    /// Runs `history`; what was wrong, if something was.
    pub(super) async fn run(&mut self, history: &History, tally: &mut Tally) -> Result<(), String> {
        self.host += 1;
        // From a whole second on, so that a history goes the same way whatever went before it.
        let past = elapsed(&self.shared).rem_euclid(1_000);
        let step = Duration::from_millis(1_000 - past.unsigned_abs());
        self.shared.clock().advance(step);
        let log = Log::new(history, elapsed(&self.shared));
        let state = Arc::new(Mutex::new((log, Gates::new())));
        let mut run = Run {
            stack: self.stack(history.rules, Upstream(state.clone())),
            shared: self.shared.clone(),
            host: format!("h{}.test", self.host),
            state,
            history,
            open: Vec::new(),
            answers: Arc::default(),
            expected: Vec::new(),
            last: vec![(None, None); URLS.len()],
            refreshed: Vec::new(),
            tally,
        };
        for step in &history.steps {
            run.step(step).await?;
        }
        run.finish().await
    }
}

/// Milliseconds since the clock began.
fn elapsed(shared: &SharedCache) -> i64 {
    let since = shared.clock().now().wall.duration_since(beginning());
    i64::try_from(since.expect("it goes forward").as_millis()).expect("not for so long")
}

struct Run<'a> {
    stack: Stack,
    shared: SharedCache,
    host: String,
    state: State,
    history: &'a History,
    /// Clients that wait, by the number of their request.
    open: Vec<(usize, JoinHandle<()>)>,
    answers: Arc<Mutex<Vec<Answer>>>,
    /// What the model thought possible when a request was made: an answer from the store, a condition.
    expected: Vec<(Option<Permit>, bool)>,
    /// `ETag` and `Last-Modified` of the last answer for each URL.
    last: Vec<(Option<String>, Option<String>)>,
    /// Background validations: of which stored response, when.
    refreshed: Vec<((usize, usize), i64)>,
    tally: &'a mut Tally,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Ask(ask) => self.ask(ask).await,
            Step::Tick(milliseconds) => self.pass(*milliseconds).await,
            Step::Release(which) => self.release(*which).await,
            Step::Leave(which) => self.leave(*which).await,
            Step::Purge(purged) => self.purge(*purged),
        }
        self.judge()
    }

    async fn finish(mut self) -> Result<(), String> {
        for _ in 0..200 {
            if self.state.lock().expect("one thread").1.is_empty() {
                break;
            }
            self.release(0).await;
            self.judge()?;
        }
        // Nothing is held back any more, so nobody waits for anything but a deadline.
        self.pass(40_000).await;
        self.judge()?;
        match self.open.first() {
            Some((number, _)) => Err(format!("request {number} is never answered")),
            None => Ok(()),
        }
    }

    async fn ask(&mut self, ask: &Ask) {
        let (request, number) = self.request(ask);
        self.expect(number);
        let answer = self.stack.call(request);
        let mut client = Box::pin(client(
            answer,
            number,
            self.state.clone(),
            self.answers.clone(),
        ));
        if futures_util::poll!(&mut client).is_pending() {
            self.open.push((number, tokio::spawn(client)));
        }
        self.settle().await;
    }

    async fn pass(&mut self, milliseconds: i64) {
        let step = Duration::from_millis(milliseconds.unsigned_abs());
        self.shared.clock().advance(step);
        self.state.lock().expect("one thread").0.now.at += milliseconds;
        if self.is_busy() {
            tokio::time::advance(step).await;
        }
        self.settle().await;
    }

    async fn release(&mut self, which: usize) {
        {
            let mut state = self.state.lock().expect("one thread");
            let gates = &mut state.1;
            if gates.is_empty() {
                return;
            }
            let which = which % gates.len();
            // Whoever waited for it may have gone.
            gates.remove(which).send(()).unwrap_or_default();
        }
        self.settle().await;
    }

    async fn leave(&mut self, which: usize) {
        if self.open.is_empty() {
            return;
        }
        let (_, client) = self.open.remove(which % self.open.len());
        client.abort();
        self.settle().await;
    }

    fn purge(&mut self, purged: Purged) {
        {
            let log = &mut self.state.lock().expect("one thread").0;
            let moment = log.tick();
            let kind = Changed::Purge(purged);
            let by = None;
            log.changes.push(Change { moment, kind, by });
        }
        let (url, purge) = match purged {
            Purged::All => {
                // All is shared with other histories, which is no harm.
                self.shared.purge_all();
                return;
            }
            Purged::Named(name, soft) => {
                let what = match name {
                    Name::Tag(tag) => What::Tags(vec![NAMES[tag].to_owned()]),
                    Name::Prefix(prefix) => What::Prefix {
                        host: Some(self.host.clone()),
                        path: PREFIXES[prefix].0.to_owned(),
                    },
                    Name::Pattern(pattern) => {
                        What::Pattern(format!("{}{}", self.host, PATTERNS[pattern].0))
                    }
                };
                let purge = if soft { Purge::Soft } else { Purge::Hard };
                self.shared.purge(&what, purge).expect("a pattern");
                return;
            }
            Purged::Hard(url) => (url, Purge::Hard),
            Purged::Soft(url) => (url, Purge::Soft),
        };
        let uri: Uri = URLS[url].parse().expect("a URL");
        self.shared.purge_uri(Scheme::Http, &self.host, &uri, purge);
    }

    fn is_busy(&self) -> bool {
        !self.open.is_empty() || !self.shared.tasks().is_empty()
    }

    /// Lets every task go on as far as it can.
    async fn settle(&mut self) {
        if !self.is_busy() {
            return;
        }
        // This task gets its turn again when no other can go on.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.open.retain(|(_, client)| !client.is_finished());
    }

    /// Judges the answers that have come.
    fn judge(&mut self) -> Result<(), String> {
        let answers = std::mem::take(&mut *self.answers.lock().expect("one thread"));
        for answer in answers {
            self.judge_one(&answer).map_err(|reason| {
                let state = self.state.lock().expect("one thread");
                let own: Vec<_> = state.0.own(answer.asked).map(|(number, _)| number).collect();
                format!(
                    "request {} of {}\n  {}\n  at {:?}, exchanges {own:?}\n  got {:?}\n  WRONG: {reason}",
                    answer.asked,
                    URLS[state.0.asked[answer.asked].ask.url],
                    state.0.asked[answer.asked].ask,
                    answer.head_at,
                    answer.got,
                )
            })?;
        }
        Ok(())
    }

    fn judge_one(&mut self, answer: &Answer) -> Result<(), String> {
        let state = self.state.lock().expect("one thread");
        let log = &state.0;
        let verdict = log.verify(answer)?;
        let ask = &log.asked[answer.asked].ask;
        if let Got::Response { fields, .. } = &answer.got {
            let text = |name: &str| Some(fields.get(name)?.to_str().ok()?.to_owned());
            self.last[ask.url] = (text("etag"), text("last-modified"));
            let status = text("cache-status").unwrap_or_default();
            let has_own = log.own(answer.asked).next().is_some();
            let is_hit = status.starts_with("pillion; hit");
            let reused = matches!(verdict, Verdict::Reused(..));
            if is_hit && !reused {
                return Err(format!("{status} for what the upstream answered"));
            }
            if reused && !has_own && !is_hit && !status.contains("; collapsed") {
                // An answer that stands in for another request's failure says so as `fwd`.
                if !status.contains("stale-if-error") {
                    return Err(format!("{status} without a request to the upstream"));
                }
            }
        }
        count(
            log,
            answer,
            verdict,
            self.expected[answer.asked],
            self.history.class,
            self.tally,
        );
        let class = self.history.class;
        // Where the upstream was asked first, and failed, the same answer is not one of these.
        let is_hit = match &answer.got {
            Got::Response { fields, .. } => fields
                .get("cache-status")
                .is_some_and(|status| status.as_bytes().starts_with(b"pillion; hit")),
            Got::Error { .. } => false,
        };
        if let Verdict::Reused(Permit::WhileRevalidating, serial) = verdict
            && is_hit
        {
            let own = log.own(answer.asked).next();
            let update = match &answer.got {
                Got::Response { fields, .. } => number_of(fields, "x-update"),
                Got::Error { .. } => None,
            };
            let what = (serial, update.unwrap_or(serial));
            let at = answer.head_at.at;
            let mut before = self.refreshed.iter();
            let is_soon = before.any(|(of, then)| *of == what && at - then < 1_000);
            match own {
                Some(_) if is_soon => return Err("validated twice in a second".into()),
                Some(_) => self.refreshed.push((what, at)),
                None => {}
            }
            if !is_soon {
                let kind = "refreshed in the background";
                self.tally.count(class, kind, own.is_some());
            }
        }
        Ok(())
    }

    /// Notes what could be reused for a request that is about to be made.
    fn expect(&mut self, number: usize) {
        let mut state = self.state.lock().expect("one thread");
        let log = &mut state.0;
        let now = log.tick();
        let asker = log.asker(number, now);
        let expected = (log.best(asker), log.has_validator(asker));
        self.expected.push(expected);
    }

    fn request(&mut self, ask: &Ask) -> (Request, usize) {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = ask.method.name().parse().expect("a method");
        *request.uri_mut() = Uri::from_static(URLS[ask.url]);
        let received = self.shared.clock().now();
        let (etag, modified) = self.last[ask.url].clone();
        let none_match = ask.none_match.and_then(|condition| match condition {
            NoneMatch::Last => etag,
            NoneMatch::Unknown => Some("\"unknown\"".to_owned()),
            NoneMatch::Any => Some("*".to_owned()),
        });
        let mut state = self.state.lock().expect("one thread");
        let log = &mut state.0;
        let now = log.now.at;
        let modified_since = ask.modified_since.and_then(|since| match since {
            Since::Last => modified,
            Since::LongAgo => Some(date(-1_000_000_000)),
            Since::Now => Some(date(now.div_euclid(1_000) * 1_000)),
        });
        let words = ask.words.iter().map(|word| match word {
            Word::NoCache => "no-cache".to_owned(),
            Word::NoStore => "no-store".to_owned(),
            Word::OnlyIfCached => "Only-If-Cached".to_owned(),
            Word::MaxAge(seconds) => format!("max-age={seconds}"),
            Word::MinFresh(seconds) => format!("min-fresh={seconds}"),
            Word::MaxStale(None) => "max-stale".to_owned(),
            Word::MaxStale(Some(seconds)) => format!("max-stale={seconds}"),
            Word::StaleIfError(seconds) => format!("stale-if-error={seconds}"),
        });
        let words = words.collect::<Vec<_>>().join(", ");
        let range = ask.range.map(|(first, last)| {
            let last = last.map_or_else(String::new, |last| last.to_string());
            format!("bytes={first}-{last}")
        });
        let number = log.asked.len();
        let fields = [
            ("host", Some(self.host.clone())),
            ("x-ask", Some(number.to_string())),
            (
                "authorization",
                ask.authorization.map(|user| USERS[user].to_owned()),
            ),
            (
                "cookie",
                ask.cookie.map(|cookie| COOKIES[cookie].to_owned()),
            ),
            (
                "cache-control",
                Some(words).filter(|words| !words.is_empty()),
            ),
            ("pragma", ask.pragma.then(|| "no-cache".to_owned())),
            ("if-none-match", none_match.clone()),
            ("if-modified-since", modified_since.clone()),
            ("range", range),
            (
                "accept-language",
                ask.language.map(|index| LANGUAGES[index].0.to_owned()),
            ),
            (
                "x-flavour",
                ask.flavour.map(|index| FLAVOURS[index].0.to_owned()),
            ),
        ];
        for (name, text) in fields {
            if let Some(text) = text {
                let value = HeaderValue::from_str(text.trim()).expect("visible ASCII");
                request
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        let facts = RequestFacts::new(received, RequestId::Made([0, 1]), Peer::Unix, Scheme::Http);
        request.extensions_mut().insert(facts);
        let modified_since = modified_since.and_then(|text| httpdate::parse_http_date(&text).ok());
        let since = modified_since.map(|time| match time.duration_since(beginning()) {
            Ok(after) => i64::try_from(after.as_millis()).expect("not so long"),
            Err(before) => -i64::try_from(before.duration().as_millis()).expect("not so long"),
        });
        let started = log.tick();
        log.asked.push(Asked {
            ask: ask.clone(),
            started,
            none_match,
            modified_since: since,
        });
        (request, number)
    }
}

/// Counts what was reused, of what the model thought possible.
fn count(
    log: &Log,
    answer: &Answer,
    verdict: Verdict,
    (permit, has_validator): (Option<Permit>, bool),
    class: Class,
    tally: &mut Tally,
) {
    let asker = log.asker(answer.asked, answer.head_at);
    let ask = asker.ask;
    let is_reused = matches!(verdict, Verdict::Reused(..));
    let own = log.own(answer.asked).next().map(|(_, exchange)| exchange);
    if let Some(permit) = permit {
        let kind = match permit {
            Permit::Fresh if ask.method == Method::Head => "a HEAD, fresh",
            Permit::Fresh => "fresh",
            Permit::Heuristic => "fresh by a guess",
            Permit::WhileRevalidating => "stale while it is validated",
            Permit::MaxStale => "stale, which the client accepts",
            Permit::IfError | Permit::Confirmed => unreachable!("nothing has been asked yet"),
        };
        tally.count(class, kind, is_reused);
    } else if let Some(exchange) = own {
        if has_validator && ask.method == Method::Get && !ask.words.contains(&Word::NoStore) {
            let is_asked = |name: &str| exchange.fields.contains_key(name);
            let is_conditional = is_asked("if-none-match") || is_asked("if-modified-since");
            tally.count(class, "a condition for what is stale", is_conditional);
        }
        if exchange.has_failed() && log.best(asker) == Some(Permit::IfError) {
            tally.count(class, "stale in place of an error", is_reused);
        }
    }
    if own.is_none_or(|exchange| exchange.started > asker.started) && log.could_follow(asker) {
        tally.count(class, "shared with another request", own.is_none());
    }
    let Got::Response { status, fields, .. } = &answer.got else {
        return;
    };
    if !is_reused {
        return;
    }
    let has_copy = || {
        let condition = log.asked[answer.asked].none_match.as_deref();
        let tag = fields.get("etag").and_then(|tag| tag.to_str().ok());
        condition.is_some() && condition.map(opaque) == tag.map(opaque)
    };
    if has_copy() && matches!(status, 200 | 206 | 304) {
        tally.count(class, "a 304 from here", *status == 304);
    } else if ask.range.is_some() && ask.method == Method::Get && matches!(status, 200 | 206 | 416)
    {
        tally.count(class, "a part of what is stored", *status != 200);
    }
}

/// Waits for the answer and reads it.
async fn client(
    answer: ResponseFuture,
    asked: usize,
    state: State,
    answers: Arc<Mutex<Vec<Answer>>>,
) {
    let result = answer.await;
    let head_at = state.lock().expect("one thread").0.tick();
    let got = match result {
        Err(error) => Got::Error {
            only_if_cached: error.kind() == ErrorKind::OnlyIfCached,
        },
        Ok(response) => {
            let (head, mut body) = response.into_parts();
            let (mut read, mut is_broken) = (Vec::new(), false);
            while let Some(frame) = body.frame().await {
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => read.extend_from_slice(&data),
                    Ok(Err(_)) => {}
                    Err(_) => {
                        is_broken = true;
                        break;
                    }
                }
            }
            let text = String::from_utf8(read).expect("text");
            Got::Response {
                status: head.status.as_u16(),
                fields: head.headers,
                content: if is_broken { Err(text) } else { Ok(text) },
            }
        }
    };
    let answer = Answer {
        asked,
        head_at,
        got,
    };
    answers.lock().expect("one thread").push(answer);
}
