//! Warming the cache up: pages are asked for before anybody does, quietly.
//!
//! A round asks for the URLs of the configuration, the hottest of the last run and those of a sitemap,
//! once each. Its requests go the way of a client's, from the error pages down: the same limits, keys
//! and rules, so what is stored is what a client without credentials would get. Nothing is fetched
//! from anywhere but the upstreams, whatever a sitemap says.
//!
//! It has a thread of its own, with connections of its own to the upstreams, and gives way: while
//! clients wait for answers it makes no request, and never more than `rate` in a second. A round begins
//! when the app can be asked, and after each ordered purge; what is still fresh then costs nothing.

mod pages;
mod remembered;
mod round;
pub mod sitemap;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use config::Settings;
use config::warm_up::WarmUpSettings;
use middleware::cache::What;
use middleware::clock::timer_now;
use middleware::metrics::Sampled;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tracing::warn;

use self::pages::{Origin, Page, Pages};
use self::remembered::Remembered;
use self::round::{Round, Waiting};
use crate::pipeline;
use crate::server::RequestIds;
use crate::shared::{Core, Shared};
use crate::shutdown::{Readiness, State};
use crate::{Running, StartError};

/// How many of the hottest keys are to be known, if any.
pub(crate) fn hottest(settings: &Settings) -> Option<usize> {
    let hottest = settings.warm_up.as_ref()?.hottest.as_ref()?;
    Some(hottest.count)
}

/// Starts the thread that warms the cache of `running` up, if there is anything to do.
///
/// # Errors
/// When the thread cannot be made.
pub(crate) fn begin(running: &mut Running) -> Result<(), StartError> {
    let settings = running.settings().clone();
    let Some(warm_up) = settings.warm_up.clone() else {
        return Ok(());
    };
    let shared = running.shared().clone();
    let waiting = Waiting::default();
    let count = waiting.clone();
    let metrics = &shared.metrics;
    metrics.observe(Sampled::WarmUpWaiting, move || count.get() as f64);
    let warmer = Warmer {
        origin: Origin::of(&warm_up, running.addresses()),
        // From now on: whatever is ordered before the thread runs is not to be missed.
        orders: shared.cache.orders(),
        readiness: running.readiness(),
        remembered: None,
        settings: warm_up,
        waiting,
    };
    let started = running.beside("warm-up", move |ended| async move {
        let shared = shared;
        let stopping = shared.stopping.clone();
        let mut warmer = warmer;
        warmer.recall();
        tokio::select! {
            () = stopping.cancelled() => {}
            () = warmer.work(&settings, &shared) => {}
        }
        warmer.remember(&shared);
        // What it has asked for may still be read on here.
        ended.cancelled().await;
    });
    started.map_err(|error| {
        StartError::new(
            "The thread that warms the cache up cannot be started",
            "Raise the limit of processes and threads for this user (ulimit -u)",
        )
        .caused_by(error)
    })
}

/// See the module.
struct Warmer {
    settings: Arc<WarmUpSettings>,
    origin: Origin,
    orders: broadcast::Receiver<What>,
    readiness: Readiness,
    /// `None` where nothing is to be remembered.
    remembered: Option<Remembered>,
    waiting: Waiting,
}

/// Why a round begins, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Due {
    /// The app can be asked.
    Start,
    /// Something was purged; where these pages alone, they alone are asked for.
    Purge(Option<Vec<Page>>),
}

impl Warmer {
    async fn work(&mut self, settings: &Settings, shared: &Shared) {
        let core = Core {
            // The pools behind those of the cores.
            index: settings.threads,
            metrics: shared.metrics.core(),
            journal: None,
            hottest: None,
        };
        let stack = pipeline::inner_stack(settings, shared, &core);
        let round = Round {
            stack: RefCell::new(stack),
            ids: RefCell::new(RequestIds::seeded()),
            settings: self.settings.clone(),
            shared: shared.clone(),
            most_content: largest(settings),
            waiting: self.waiting.clone(),
        };
        self.is_ready().await;
        if let Some(tiers) = &shared.tiers {
            // What lies there need not be fetched.
            tiers.opened(OPENING).await;
        }
        let mut pages = Pages::default();
        let mut due = self.settings.at_start.then_some(Due::Start);
        let mut saving = interval_at(timer_now() + SAVE, SAVE);
        saving.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(now) = due.take() {
                due = self.persist(&round, &mut pages, &now).await;
                continue;
            }
            tokio::select! {
                first = self.orders.recv(), if self.settings.after_purge => match first {
                    Err(RecvError::Closed) => return,
                    first => due = Some(self.gather(first.ok()).await),
                },
                _ = saving.tick() => self.remember(shared),
            }
        }
    }

    /// Goes on when requests can be served.
    async fn is_ready(&self) {
        let mut changes = self.readiness.changes();
        // Whoever can announce it lives as long as we do.
        changes.wait_for(|state| *state == State::Ready).await.ok();
    }

    /// What an order and those that come soon after it come to.
    async fn gather(&mut self, first: Option<What>) -> Due {
        let mut some = first.as_ref().and_then(due);
        // An app that purges after each change of a page would otherwise begin a round with each.
        sleep(GATHER).await;
        loop {
            match self.orders.try_recv() {
                Ok(what) => {
                    some = some.zip(due(&what)).map(|(mut some, more)| {
                        some.extend(more);
                        some
                    });
                }
                Err(TryRecvError::Lagged(_)) => some = None,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Due::Purge(some),
            }
        }
    }

    /// Makes a round, and again after a while if the app does not answer. What is due then, if an
    /// order came meanwhile.
    async fn persist(&mut self, round: &Round, pages: &mut Pages, due: &Due) -> Option<Due> {
        let mut list = match due {
            Due::Purge(Some(some)) => {
                if pages.are_unknown() {
                    self.list(round, pages).await;
                }
                pages.known(some)
            }
            Due::Start | Due::Purge(None) => self.list(round, pages).await,
        };
        for attempt in 0..ATTEMPTS {
            let ended = round.run(list).await;
            ended.tell(due.name());
            if ended.left.is_empty() {
                return None;
            }
            list = ended.left;
            tokio::select! {
                () = sleep(FIRST_PAUSE * 2_u32.pow(attempt)) => {}
                Ok(_) = self.orders.recv(), if self.settings.after_purge => {
                    return Some(Due::Purge(None));
                }
            }
        }
        warn!("The warm-up gives up: the app does not answer.");
        None
    }

    /// All that is to be asked for, each once.
    async fn list(&mut self, round: &Round, pages: &mut Pages) -> Vec<Page> {
        *pages = Pages::new(self.settings.most);
        for url in &self.settings.urls {
            match self.origin.page(url) {
                Ok(page) => pages.add(page),
                Err(error) => warn!(url, error, "This URL is not warmed up."),
            }
        }
        self.recount(&round.shared);
        if let Some(remembered) = &self.remembered {
            let hottest = remembered.urls().iter();
            hottest
                .flat_map(|url| self.origin.page(url))
                .for_each(|page| pages.add(page));
        }
        if let Some(sitemap) = &self.settings.sitemap {
            match self.origin.page(sitemap) {
                Ok(first) => round.follow(first, pages).await,
                Err(error) => warn!(url = sitemap, error, "The sitemap is not asked for."),
            }
        }
        pages.all()
    }

    /// Reads what the last run has left behind.
    fn recall(&mut self) {
        let Some(hottest) = &self.settings.hottest else {
            return;
        };
        let (remembered, read) = Remembered::read(hottest);
        if let Err(error) = read {
            let file = hottest.file.display();
            warn!(%error, %file, "The hottest URLs of the last run cannot be read.");
        }
        self.remembered = Some(remembered);
    }

    fn recount(&mut self, shared: &Shared) {
        if let Some(remembered) = &mut self.remembered {
            remembered.update(shared.cache.hottest_urls());
        }
    }

    /// Leaves behind what is hot now.
    fn remember(&mut self, shared: &Shared) {
        self.recount(shared);
        if let Some(remembered) = &self.remembered
            && let Err(error) = remembered.write()
        {
            warn!(%error, "The hottest URLs cannot be written; they are kept in memory.");
        }
    }
}

impl Due {
    fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Purge(_) => "purge",
        }
    }
}

/// The pages that `what` names, if it does.
fn due(what: &What) -> Option<Vec<Page>> {
    match what {
        What::Url {
            scheme,
            authority,
            uri,
        } => Some(vec![Page::new(*scheme, authority, uri)?]),
        _ => None,
    }
}

/// The longest content that any route stores.
fn largest(settings: &Settings) -> u64 {
    let routes = settings.routes.iter();
    routes
        .map(|route| route.cache.max_body)
        .max()
        .unwrap_or_default()
}

/// How often a round is tried while the app does not answer; with the pauses, some 17 minutes.
const ATTEMPTS: u32 = 11;
/// Before the second attempt; each further one comes after twice the time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// For the tiers below memory to open; a disk of many records takes a while.
const OPENING: Duration = Duration::from_secs(5);
/// From the first order of a round to its begin.
const GATHER: Duration = Duration::from_millis(500);
/// Between writings of what is hot: what a kill may cost.
const SAVE: Duration = Duration::from_secs(300);
