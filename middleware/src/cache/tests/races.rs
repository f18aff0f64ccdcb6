//! A simulation of purges against fetches, leases and promotion: sidecars over one tier, a bus between them,
//! and everything that takes time taking it in an order drawn by lot. The code is the real one but for what
//! is beyond the process: upstream, tier and bus, and the scripts of leases, which may end at any moment.
//!
//! The app changes what it serves, then purges it at some sidecar. Whoever asks a sidecar after it was told
//! of that purge must not get what is older; nor may anybody be given what is older out of the tier after
//! the purge was told there. Each check that this rests on is taken out in turn, and the same lots find
//! a purge that is lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::cache::lease::testing::TestDesk;
use crate::cache::order::{From, PurgeListener, PurgeNews};
use crate::cache::place::Place;
use crate::cache::purge_message::PurgeMessage;
use crate::cache::shared::Purge;
use crate::cache::store::tier::testing::TestTier;
use crate::cache::testing::{Answer, World, read, reply};
use crate::cache::{Level, Read};
use crate::facts::Scheme;
use crate::metrics::Event;
use crate::{ResponseFuture, Result};

/// The check that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Of an answer with the purges of its URL since it was asked for.
    Sequence,
    /// Of a record with the purges since its place.
    Standing,
    /// Of the latest purge that the tier knows with those that were heard.
    Latest,
}

/// The app: what it serves now, and the answers that are on their way.
#[derive(Clone, Default)]
struct App {
    version: Arc<AtomicU64>,
    answers: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
}

struct Sidecar {
    world: World,
    told: Arc<Told>,
    inbox: VecDeque<Message>,
    /// The version whose purge has taken effect here.
    knows: u64,
    asked: Vec<Request>,
}

/// Purges of one sidecar that the bus does not have yet, each with the version that it is about.
#[derive(Debug, Default)]
struct Told(Mutex<VecDeque<(Bytes, u64, u64)>>, AtomicU64);

#[derive(Clone)]
struct Message {
    from: usize,
    written: Bytes,
    ticket: u64,
    place: Place,
    version: u64,
}

struct Request {
    /// What it must not be older than, from wherever it comes; and from the tier.
    least: u64,
    least_below: u64,
    answer: JoinHandle<Result<Answer>>,
}

impl PurgeListener for Told {
    fn purged(&self, news: &PurgeNews) {
        if let (From::Own, Some(ticket)) = (news.from, news.ticket) {
            let version = self.1.load(Ordering::SeqCst);
            let message = (news.message.clone(), ticket, version);
            self.0.lock().unwrap().push_back(message);
        }
    }
}

/// A drawn number, the same in every run (xorshift).
struct Lots(u64);

impl Lots {
    fn draw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

struct Simulation {
    lots: Lots,
    app: App,
    tier: TestTier,
    /// Where leases are; `None` without them.
    desk: Option<TestDesk>,
    reads: Arc<Semaphore>,
    sidecars: Vec<Sidecar>,
    without: Without,
    /// Counts what the bus has told.
    places: u64,
    /// The version whose purge the tier knows.
    told: u64,
}

impl Simulation {
    fn new(seed: u64, without: Without, has_leases: bool) -> Self {
        let (app, tier) = (App::default(), TestTier::default());
        let desk = has_leases.then(|| TestDesk::beside(&tier));
        let serving = app.clone();
        let origin = World::new(move |_, _| {
            let version = serving.version.load(Ordering::SeqCst);
            let (sent, goes) = oneshot::channel();
            serving.answers.lock().unwrap().push(sent);
            ResponseFuture::boxed(async move {
                goes.await.ok();
                let fields = [("cache-control", "max-age=600"), ("surrogate-key", "one")];
                Ok(reply(200, &fields, version.to_string()))
            })
        });
        let sidecar = |_| {
            let world = origin.sidecar(&tier);
            let told = Arc::<Told>::default();
            world.shared.on_purge(told.clone());
            if let Some(desk) = &desk {
                let leases = desk.leases(world.shared.metrics());
                let tiers = world.shared.tiers().unwrap();
                assert!(tiers.leases().set(leases).is_ok());
            }
            let blind = without == Without::Sequence;
            world
                .shared
                .purges()
                .is_blind
                .store(blind, Ordering::Relaxed);
            let blind = without == Without::Standing;
            let order = world.shared.order().unwrap();
            order.is_blind.store(blind, Ordering::Relaxed);
            Sidecar {
                world,
                told,
                inbox: VecDeque::new(),
                knows: 0,
                asked: Vec::new(),
            }
        };
        Self {
            lots: Lots(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            sidecars: (0..3).map(sidecar).collect(),
            reads: tier.take_time(),
            app,
            tier,
            desk,
            without,
            places: 0,
            told: 0,
        }
    }

    /// One thing happens: `Err` where a purge was lost.
    async fn step(&mut self) -> std::result::Result<(), String> {
        let action = self.lots.draw(if self.desk.is_some() { 20 } else { 16 });
        let index = self.lots.draw(self.sidecars.len());
        let least_below = self.told;
        let sidecar = &mut self.sidecars[index];
        match action {
            0..5 => {
                let answer = sidecar.world.send("GET", "/", &[]);
                // Who follows another that has read already gets what memory would have given it.
                let is_first = sidecar.asked.is_empty();
                let tasks = sidecar.world.shared.tasks();
                sidecar.asked.push(Request {
                    least: sidecar.knows,
                    least_below: if is_first { least_below } else { 0 },
                    answer: tasks.spawn(async { Ok(read(answer.await?).await) }),
                });
            }
            5..8 => {
                let which = self.lots.draw(1 << 16);
                let mut answers = self.app.answers.lock().unwrap();
                if !answers.is_empty() {
                    let which = which % answers.len();
                    answers.remove(which).send(()).ok();
                }
            }
            8..10 => self.reads.add_permits(4),
            10 => {
                for _ in 0..3 {
                    self.tier.land(self.lots.draw(1 << 16));
                }
            }
            11 => self.change(index),
            12 => self.tell(index),
            13 => self.hear(index),
            14 => drop(sidecar.world.shared.store().remove_all()),
            // Who waits looks again.
            16..19 => tokio::time::advance(Duration::from_millis(60)).await,
            19 => {
                let which = self.lots.draw(1 << 16);
                self.desk.as_ref().unwrap().expire(which);
            }
            _ => {
                self.tell(index);
                self.hear((index + 1) % 3);
            }
        }
        for _ in 0..40 {
            tokio::task::yield_now().await;
        }
        self.look().await
    }

    /// The app has new content, and tells a sidecar.
    fn change(&mut self, index: usize) {
        let version = 1 + self.app.version.fetch_add(1, Ordering::SeqCst);
        let by_tag = self.without != Without::Sequence && self.lots.draw(2) == 0;
        let sidecar = &mut self.sidecars[index];
        sidecar.told.1.store(version, Ordering::SeqCst);
        let shared = &sidecar.world.shared;
        if by_tag {
            shared.purge_tags(&["one"], Purge::Hard);
        } else {
            let uri = "/".parse().unwrap();
            shared.purge_uri(Scheme::Http, "example.com", &uri, Purge::Hard);
        }
        sidecar.knows = version;
    }

    /// The bus gets the next purge of a sidecar, and the tier knows of it in the same moment.
    fn tell(&mut self, index: usize) {
        let next = self.sidecars[index].told.0.lock().unwrap().pop_front();
        let Some((written, ticket, version)) = next else {
            return;
        };
        self.places += 1;
        let place = Place::of_number(self.places << 20);
        if self.without != Without::Latest {
            self.tier.set_latest(place.number());
        }
        self.told = self.told.max(version);
        for sidecar in &mut self.sidecars {
            sidecar.inbox.push_back(Message {
                from: index,
                written: written.clone(),
                ticket,
                place,
                version,
            });
        }
    }

    /// A sidecar hears the next purge.
    fn hear(&mut self, index: usize) {
        let sidecar = &mut self.sidecars[index];
        let Some(news) = sidecar.inbox.pop_front() else {
            return;
        };
        let message = PurgeMessage::read(&news.written).unwrap();
        let shared = &sidecar.world.shared;
        if news.from == index {
            shared.placed(&news.written, &message, news.place, news.ticket);
        } else {
            shared.apply(&news.written, &message, news.place);
        }
        sidecar.knows = sidecar.knows.max(news.version);
    }

    /// Looks at the answers that have come.
    async fn look(&mut self) -> std::result::Result<(), String> {
        for sidecar in &mut self.sidecars {
            let asked = std::mem::take(&mut sidecar.asked);
            for request in asked {
                if !request.answer.is_finished() {
                    sidecar.asked.push(request);
                    continue;
                }
                let answer = request.answer.await.unwrap().unwrap();
                let version: u64 = answer.body().parse().unwrap();
                let status = answer.cache_status();
                let is_from_tier = status.ends_with("detail=l2");
                if version < request.least || is_from_tier && version < request.least_below {
                    return Err(format!("{version} after {}: {status}", request.least));
                }
            }
        }
        Ok(())
    }
}

/// Whether one of so many runs loses a purge, and what happened in them.
async fn loses_one(runs: u64, without: Without, has_leases: bool) -> (Option<String>, Happened) {
    let mut happened = Happened::default();
    for seed in 1..=runs {
        let mut simulation = Simulation::new(seed, without, has_leases);
        for _ in 0..120 {
            if let Err(what) = simulation.step().await {
                return (Some(format!("run {seed}: {what}")), happened);
            }
        }
        for sidecar in &simulation.sidecars {
            happened.add(&sidecar.world);
        }
    }
    (None, happened)
}

/// How often.
#[derive(Debug, Default)]
struct Happened {
    /// The tier answered.
    found: u64,
    /// A lease was taken; one who waited found a record; a lease had gone when the record came.
    won: u64,
    waited: u64,
    lost: u64,
}

impl Happened {
    fn add(&mut self, world: &World) {
        let total = |event| world.shared.metrics().total(event);
        self.found += world.reads(Level::L2, Read::Hit);
        self.won += total(Event::LeaseWon);
        self.waited += total(Event::LeaseFound);
        self.lost += total(Event::LeaseLost);
    }
}

#[tokio::test(start_paused = true)]
async fn no_purge_is_lost_between_fetches_and_promotion() {
    let (lost, happened) = loses_one(RUNS, Without::Nothing, false).await;
    assert_eq!(lost, None);
    let little = format!("{happened:?}: little was tried");
    assert!(happened.found > RUNS / 4, "{little}");
}

#[tokio::test(start_paused = true)]
async fn nor_between_sidecars_that_wait_for_each_other_s_leases() {
    let (lost, happened) = loses_one(RUNS, Without::Nothing, true).await;
    assert_eq!(lost, None);
    let little = format!("{happened:?}: little was tried");
    println!("{happened:?}");
    assert!(happened.won > RUNS && happened.found > RUNS / 4, "{little}");
    assert!(
        happened.waited > RUNS / 20 && happened.lost > RUNS / 20,
        "{little}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_any_one_of_the_checks_a_purge_is_lost() {
    for without in [Without::Sequence, Without::Standing, Without::Latest] {
        for has_leases in [false, true] {
            let (lost, _) = loses_one(RUNS, without, has_leases).await;
            assert!(lost.is_some(), "{without:?}, leases: {has_leases}");
            println!(
                "{without:?}, leases: {has_leases}: {}",
                lost.unwrap_or_default()
            );
        }
    }
}

/// Each of 120 steps.
const RUNS: u64 = 400;
