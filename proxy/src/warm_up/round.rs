//! One round: asks for pages one after the other, and gives way to clients.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use config::warm_up::WarmUpSettings;
use futures_util::future::join_all;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderValue, StatusCode, Uri};
use http_body_util::BodyExt;
use middleware::clock::timer_now;
use middleware::facts::{self, CacheOutcome, Peer, RequestFacts};
use middleware::metrics::Event;
use middleware::{Answering, Body, Request, Response};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::Service;
use tracing::{info, warn};

use super::pages::{Page, Pages};
use super::sitemap;
use crate::pipeline::InnerStack;
use crate::server::RequestIds;
use crate::shared::Shared;

/// What a round needs. It is asked for on one thread, by few who take turns: nothing is borrowed
/// across an await.
pub(super) struct Round {
    pub(super) stack: RefCell<InnerStack>,
    pub(super) ids: RefCell<RequestIds>,
    pub(super) settings: Arc<WarmUpSettings>,
    pub(super) shared: Shared,
    /// No longer content is read for the cache's sake.
    pub(super) most_content: u64,
    pub(super) waiting: Waiting,
}

/// How many pages a round has still to ask for; for metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a round ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    stored: usize,
    fresh: usize,
    passed: usize,
    failed: usize,
    took: Duration,
    /// What was not asked for, since the app does not answer.
    pub(super) left: Vec<Page>,
}

impl Ended {
    pub(super) fn tell(&self, cause: &'static str) {
        let Self {
            stored,
            fresh,
            passed,
            failed,
            took,
            left,
        } = self;
        let (left, took) = (left.len(), format!("{took:.1?}"));
        if left == 0 {
            info!(
                cause,
                stored,
                fresh,
                not_stored = passed,
                failed,
                took,
                "The cache was warmed up."
            );
        } else {
            warn!(
                cause,
                stored,
                fresh,
                not_stored = passed,
                failed,
                left,
                "The warm-up pauses: the app does not answer."
            );
        }
    }
}

/// What came of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Stored,
    Fresh,
    Passed,
    Failed,
}

/// A round's progress, for those who work on it.
struct Progress {
    /// Pages, and how often each has failed.
    queue: VecDeque<(Page, u32)>,
    /// Those that failed since the last answer.
    failed: Vec<(Page, u32)>,
    ended: Ended,
}

impl Progress {
    /// Notes what came of `page`.
    fn note(&mut self, page: Page, failures: u32, came: Came) {
        let count = match came {
            Came::Failed => return self.failed.push((page, failures + 1)),
            Came::Stored => &mut self.ended.stored,
            Came::Fresh => &mut self.ended.fresh,
            Came::Passed => &mut self.ended.passed,
        };
        *count += 1;
        self.forgive();
    }

    /// The app answers, so those that failed get another chance, and no more.
    fn forgive(&mut self) {
        for (page, failures) in std::mem::take(&mut self.failed) {
            if failures < CHANCES {
                self.queue.push_back((page, failures));
            } else {
                self.ended.failed += 1;
            }
        }
    }

    /// The next page. None if there is none left, or if the app does not answer.
    fn next(&mut self) -> Option<(Page, u32)> {
        if self.failed.len() >= FAILURES {
            return None;
        }
        let has_answered = self.ended.stored + self.ended.fresh + self.ended.passed > 0;
        if self.queue.is_empty() && has_answered {
            self.forgive();
        }
        self.queue.pop_front()
    }

    /// How it ended; with what is to be asked for when the app answers again.
    fn end(self, took: Duration) -> Ended {
        let left = self.failed.into_iter().chain(self.queue);
        Ended {
            took,
            left: left.map(|(page, _)| page).collect(),
            ..self.ended
        }
    }
}

impl Round {
    /// Asks for `pages`. Ends early, with what is left, if the app does not answer.
    pub(super) async fn run(&self, pages: Vec<Page>) -> Ended {
        let begun = timer_now();
        // When the next request may be forwarded.
        let next = Cell::new(begun);
        let progress = RefCell::new(Progress {
            queue: pages.into_iter().map(|page| (page, 0)).collect(),
            failed: Vec::new(),
            ended: Ended::default(),
        });
        self.tell_waiting(&progress);
        join_all((0..self.settings.concurrency).map(|_| self.work(&progress, &next))).await;
        self.waiting.0.store(0, Ordering::Relaxed);
        progress.into_inner().end(timer_now() - begun)
    }

    async fn work(&self, progress: &RefCell<Progress>, next: &Cell<Instant>) {
        loop {
            self.turn(next).await;
            let page = progress.borrow_mut().next();
            self.tell_waiting(progress);
            let Some((page, failures)) = page else { return };
            let came = self.fetch(&page, next).await;
            self.shared.metrics.count(match came {
                Came::Stored => Event::WarmedStored,
                Came::Fresh => Event::WarmedFresh,
                Came::Passed => Event::WarmedPassed,
                Came::Failed => Event::WarmedFailed,
            });
            progress.borrow_mut().note(page, failures, came);
        }
    }

    fn tell_waiting(&self, progress: &RefCell<Progress>) {
        let count = progress.borrow().queue.len();
        self.waiting.0.store(count, Ordering::Relaxed);
    }

    /// Waits until a request may be made: by the rate, and because clients leave room for it.
    async fn turn(&self, next: &Cell<Instant>) {
        loop {
            sleep_until(next.get()).await;
            if self.shared.metrics.in_flight() > i64::from(self.settings.busy) {
                sleep(GLANCE).await;
            } else if timer_now() >= next.get() {
                return;
            }
        }
    }

    /// Asks for one page, and reads the answer if it is being stored.
    async fn fetch(&self, page: &Page, next: &Cell<Instant>) -> Came {
        let Some(mut request) = self.request(page) else {
            return Came::Failed;
        };
        // As browsers ask, so that coded copies are made now and not for the first visitor.
        let codings = HeaderValue::from_static("gzip, deflate, br, zstd");
        request.headers_mut().insert(ACCEPT_ENCODING, codings);
        let asked = async {
            let mut response = self.ask(request, next).await?;
            let came = came(&mut response);
            let read = match came {
                Came::Stored => self.drain(response.into_body()).await,
                _ => Some(()),
            };
            read.map(|()| came)
        };
        let came = timeout(LONGEST, asked).await;
        came.ok().flatten().unwrap_or(Came::Failed)
    }

    /// `None` if there is no answer but a failure of our own.
    async fn ask(&self, request: Request, next: &Cell<Instant>) -> Option<Response> {
        let answer = self.stack.borrow_mut().call(request).try_ready();
        let answer = match answer {
            // From the store: it costs the app nothing, and need not be spread.
            Ok(answer) => answer,
            Err(answer) => {
                next.set(timer_now() + Duration::from_secs(1) / self.settings.rate);
                answer.await
            }
        };
        answer.ok()
    }

    fn request(&self, page: &Page) -> Option<Request> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from(page.path.clone());
        let fields = request.headers_mut();
        fields.insert(HOST, page.host()?);
        fields.insert(USER_AGENT, HeaderValue::from_static("pillion-warm-up"));
        fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let id = self.ids.borrow_mut().next();
        // No address: an app that trusts its own machine must not take us for an administrator, and
        // what it then says would be stored for all.
        let facts = RequestFacts::new(self.shared.clock.now(), id, Peer::Unix, page.scheme);
        request.extensions_mut().insert(facts);
        Some(request)
    }

    /// Reads content to its end, or as far as anything is stored; `None` if it breaks off.
    async fn drain(&self, mut body: Body) -> Option<()> {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
            if read > self.most_content {
                break;
            }
        }
        Some(())
    }

    /// Adds what the sitemap at `first` names to `pages`, and those of the sitemaps that it names.
    pub(super) async fn follow(&self, first: Page, pages: &mut Pages) {
        let next = Cell::new(timer_now());
        let mut known = HashSet::from([first.clone()]);
        let mut queue = VecDeque::from([(first.clone(), true)]);
        let mut elsewhere = 0;
        while let Some((page, may_be_index)) = queue.pop_front() {
            if pages.room() == 0 {
                break;
            }
            self.turn(&next).await;
            let found = match self.sitemap(&page, pages.room(), &next).await {
                Ok(found) => found,
                Err(error) => {
                    warn!(url = %page, %error, "A sitemap cannot be read.");
                    continue;
                }
            };
            let mut named = |urls: Vec<String>| {
                let all = urls.len();
                let urls = urls.iter().filter_map(|url| page.page(url).ok());
                let here: Vec<_> = urls.filter(|url| url.is_beside(&first)).collect();
                elsewhere += all - here.len();
                here
            };
            named(found.urls)
                .into_iter()
                .for_each(|page| pages.add(page));
            // An index of indexes is against the protocol, and a way to keep us busy for ever.
            for sitemap in named(found.sitemaps).into_iter().filter(|_| may_be_index) {
                if known.len() < SITEMAPS && known.insert(sitemap.clone()) {
                    queue.push_back((sitemap, false));
                }
            }
        }
        if elsewhere > 0 {
            warn!(
                count = elsewhere,
                host = %first,
                "URLs of the sitemap are left out: they are of another scheme or host than it, or malformed. \
                 Say in warm_up.origin how clients name this site."
            );
        }
    }

    async fn sitemap(
        &self,
        page: &Page,
        most: usize,
        next: &Cell<Instant>,
    ) -> Result<sitemap::Sitemap, String> {
        let read = async {
            let request = self.request(page).ok_or("it cannot be asked for")?;
            let response = self.ask(request, next).await;
            let response = response.ok_or("there is no answer")?;
            if response.status() != StatusCode::OK {
                return Err(format!("the answer is {}", response.status()));
            }
            let content = collect(response.into_body()).await?;
            sitemap::read(&content, most).map_err(|error| error.to_string())
        };
        let read = timeout(LONGEST, read).await;
        read.unwrap_or_else(|_| Err("it takes too long".to_owned()))
    }
}

async fn collect(mut body: Body) -> Result<Bytes, String> {
    let mut content = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(data) = frame.data_ref() {
            content.extend_from_slice(data);
        }
        if content.len() as u64 > sitemap::LONGEST {
            return Err("it is too long".to_owned());
        }
    }
    Ok(content.freeze())
}

/// What an answer means for the cache.
fn came(response: &mut Response) -> Came {
    let status = response.status();
    let facts = facts::of_response(response);
    if facts.error.is_some() || status.is_server_error() {
        return Came::Failed;
    }
    match facts.cache {
        Some(cache) => match cache.outcome {
            CacheOutcome::Hit | CacheOutcome::HitStale => Came::Fresh,
            CacheOutcome::Revalidated => Came::Stored,
            CacheOutcome::Fwd(_) if cache.stored => Came::Stored,
            // Fetched by somebody else just now, here or at another sidecar.
            CacheOutcome::Fwd(_) if cache.collapsed => Came::Fresh,
            CacheOutcome::Fwd(_) => Came::Passed,
        },
        None => Came::Passed,
    }
}

/// Failures in a row that end a round.
const FAILURES: usize = 5;
/// How often a page may fail while others are answered.
const CHANCES: u32 = 2;
/// Between looks at what clients do.
const GLANCE: Duration = Duration::from_millis(20);
/// For one answer, content included.
const LONGEST: Duration = Duration::from_secs(60);
/// Sitemaps that an index may name.
const SITEMAPS: usize = 256;
