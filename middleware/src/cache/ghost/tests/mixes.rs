//! Recorded mixes of requests, each made from a fixed seed, replayed twice through the real service: in
//! front of a cache that is off, whose ghost predicts, and of one that is on, which is then counted.

use std::sync::Arc;
use std::time::Duration;

use config::cache::CacheSettings;
use tokio_util::task::TaskTracker;
use tower::Layer;

use crate::cache::CacheLayer;
use crate::cache::ghost::TTLS;
use crate::cache::ghost::savings::{RouteSavings, Savings};
use crate::cache::key::KeyHasher;
use crate::cache::shared::SharedCache;
use crate::cache::testing::{Answer, Leaf, World, at_once, reply, streamed};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::{Request, ResponseFuture};

/// One request of a recording.
#[derive(Clone, Debug)]
struct Ask {
    /// Milliseconds since the beginning.
    at: u64,
    method: &'static str,
    path: String,
    fields: Vec<(&'static str, String)>,
}

/// A recording, and the app that it was made from: what it says depends on path, time and user only.
struct Mix {
    asks: Vec<Ask>,
    app: fn(&str, u64, Option<&str>) -> Page,
}

/// What the app says.
struct Page {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: String,
}

/// SplitMix64: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn unit(&mut self) -> f64 {
        self.roll() as f64 / 2_f64.powi(64)
    }
}

/// Numbers below `count`, the k-th with a probability in inverse proportion to k.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let summed = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self(summed.collect())
    }

    fn draw(&self, dice: &mut Dice) -> usize {
        let wanted = dice.unit() * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum < wanted)
    }
}

/// Files that seldom change, most without a lifetime, some with one of their own.
fn files(urls: usize, requests: u64) -> Mix {
    let (mut dice, zipf) = (Dice(1), Zipf::new(urls));
    let asks = (0..requests).map(|number| Ask {
        at: number * 600_000 / requests,
        method: "GET",
        path: format!("/assets/{}.css", zipf.draw(&mut dice)),
        fields: Vec::new(),
    });
    Mix {
        asks: asks.collect(),
        app: |path, at, _| {
            let number: u64 = digits(path);
            // One in ten is deployed anew, at a time of its own.
            let version = u64::from(number.is_multiple_of(10) && at > number * 7919 % 600_000);
            let mut fields = vec![("content-type", "text/css".to_owned())];
            if number % 7 == 3 {
                fields.push(("cache-control", format!("max-age={}", number % 40)));
            }
            Page {
                status: if number % 50 == 49 { 404 } else { 200 },
                fields,
                body: format!(
                    "{path} version {version} {}",
                    "x".repeat(number as usize % 900)
                ),
            }
        },
    }
}

/// An API: bodies that change every few seconds, languages, private parts, writes in between, errors.
fn api() -> Mix {
    let (mut dice, zipf) = (Dice(2), Zipf::new(200));
    let mut asks = Vec::new();
    let mut at = 0;
    for _ in 0..6_000 {
        at += dice.below(200);
        let number = zipf.draw(&mut dice);
        let mut fields = Vec::new();
        if dice.below(3) > 0 {
            let language = ["de", "fr", "en"][dice.below(3) as usize];
            fields.push(("accept-language", language.to_owned()));
        }
        if dice.below(50) == 0 {
            fields.push(("cache-control", "no-cache".to_owned()));
        }
        asks.push(Ask {
            at,
            method: match dice.below(40) {
                0 => "POST",
                _ => "GET",
            },
            path: format!("/api/{number}?page={}", dice.below(2)),
            fields,
        });
    }
    Mix {
        asks,
        app: |path, at, _| {
            let number = digits(path);
            // Some change all the time, some every few seconds, some never.
            let version = match number % 4 {
                0 => at,
                1 => at / 2_500,
                2 => at / 20_000,
                _ => 0,
            };
            let fields = match number % 9 {
                0 => vec![("cache-control", "no-store".to_owned())],
                1 => vec![("cache-control", "private".to_owned())],
                2 | 3 => vec![("vary", "Accept-Language".to_owned())],
                4 => vec![("cache-control", "no-cache".to_owned())],
                5 => vec![("age", "3".to_owned())],
                _ => Vec::new(),
            };
            let fails = at % 1000 < 20;
            Page {
                status: if fails { 503 } else { 200 },
                fields,
                body: format!("{{\"path\":\"{path}\",\"version\":{version}}}"),
            }
        },
    }
}

/// Pages: most visitors have a session, whose pages greet them by name; a first visit sets a cookie;
/// some pages have a nonce.
fn pages() -> Mix {
    let (mut dice, zipf) = (Dice(3), Zipf::new(300));
    let mut asks = Vec::new();
    let mut at = 0;
    for _ in 0..6_000 {
        at += dice.below(180);
        let mut fields = Vec::new();
        match dice.below(10) {
            0..5 => fields.push(("cookie", format!("session={}", dice.below(500)))),
            5 => fields.push(("authorization", "Bearer x".to_owned())),
            _ => {}
        }
        if dice.below(60) == 0 {
            fields.push(("range", "bytes=0-10".to_owned()));
        }
        asks.push(Ask {
            at,
            method: "GET",
            path: format!("/{}", zipf.draw(&mut dice)),
            fields,
        });
    }
    Mix {
        asks,
        app: |path, at, user| {
            let number = digits(path);
            let greets = !number.is_multiple_of(3);
            let nonce = if number.is_multiple_of(5) { at } else { 0 };
            let name = user.filter(|_| greets).unwrap_or("guest");
            let mut fields = vec![("content-type", "text/html".to_owned())];
            if number % 4 == 1 && user.is_none() {
                fields.push(("set-cookie", format!("session={at}")));
            }
            Page {
                status: 200,
                fields,
                body: format!("<p>Hello {name}, this is {path} ({nonce})"),
            }
        },
    }
}

fn digits(path: &str) -> u64 {
    let path = path.split('?').next().unwrap();
    let digits: String = path.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// What a replay gave, by what its clients got.
#[derive(Debug, Default)]
struct Given {
    /// Of requests without credentials or a range.
    hits: u64,
    wrong: u64,
    /// Of requests with credentials.
    shared: u64,
    shared_wrong: u64,
    requests: u64,
}

impl Mix {
    /// All of it through one world; `change` says how its cache is.
    async fn replay(&self, world: &World) -> Given {
        let begin = world.clock.now().mono;
        let mut given = Given::default();
        for ask in &self.asks {
            let passed = world.clock.mono().duration_since(begin);
            world.clock.advance(Duration::from_millis(ask.at) - passed);
            let fields: Vec<_> = ask
                .fields
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            let answer = world.ask(ask.method, &ask.path, &fields).await;
            if ask.method == "GET" && !fields.iter().any(|(name, _)| *name == "range") {
                given.take(&answer, &self.page(ask));
            }
        }
        given
    }

    fn page(&self, ask: &Ask) -> (Page, bool) {
        let user = user(ask.fields.iter().map(|(name, value)| (*name, &**value)));
        (
            (self.app)(&ask.path, ask.at, user.as_deref()),
            user.is_some(),
        )
    }

    /// A world in front of the mix's app, whose clock stands still between requests.
    fn world(&self, keys: usize, seed: u64, change: impl FnOnce(&mut CacheSettings)) -> World {
        let mut settings = CacheSettings {
            ghost: true,
            ..CacheSettings::default()
        };
        change(&mut settings);
        let clock = Clock::standing();
        let shared = SharedCache::hashing_by(
            KeyHasher::seeded(seed),
            64 << 20,
            keys,
            clock.clone(),
            TaskTracker::new(),
            &Metrics::new(),
        );
        let (app, time, begin) = (self.app, clock.clone(), clock.mono());
        let leaf = Leaf::new(move |_, request: &Request| {
            let at = time.mono().duration_since(begin).as_millis();
            let path = request.uri().path_and_query().unwrap().as_str();
            let fields = request.headers().iter();
            let user = user(fields.map(|(name, value)| (name.as_str(), value.to_str().unwrap())));
            send(app(path, u64::try_from(at).unwrap(), user.as_deref()))
        });
        let layer = CacheLayer::new(Arc::new(settings.clone()), shared.clone()).on_route("*");
        World {
            clock,
            shared,
            cache: layer.layer(leaf),
            settings,
        }
    }
}

impl Given {
    fn take(&mut self, answer: &Answer, (page, has_user): &(Page, bool)) {
        let is_hit = answer.is_hit();
        let is_wrong = is_hit && page.status < 500 && page.body != answer.body();
        if *has_user {
            self.shared += u64::from(is_hit);
            self.shared_wrong += u64::from(is_wrong);
        } else {
            self.requests += 1;
            self.hits += u64::from(is_hit);
            self.wrong += u64::from(is_wrong);
        }
    }
}

/// Every other page as a stream, as it would come from a socket.
fn send(page: Page) -> ResponseFuture {
    let fields: Vec<_> = page
        .fields
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    if page.body.len().is_multiple_of(2) {
        return at_once(reply(page.status, &fields, page.body));
    }
    let (sender, body) = streamed();
    let (first, second) = page.body.split_at(page.body.len() / 2);
    for piece in [first, second] {
        sender.send(Ok(piece.to_owned().into())).unwrap();
    }
    at_once(reply(page.status, &fields, body))
}

fn user<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut credentials = fields.filter(|(name, _)| ["cookie", "authorization"].contains(name));
    credentials.next().map(|(_, value)| value.to_owned())
}

/// What the ghost tells of all parts together: hits, rate, wrong, shared, shared and wrong.
fn predicted(routes: &[RouteSavings], plan: usize) -> (f64, u64, u64, u64) {
    let saved = routes.iter().map(|route| match plan.checked_sub(1) {
        None => route.as_configured.as_ref().expect("it is off"),
        Some(index) => &route.ttl[index],
    });
    let requests: u64 = routes.iter().map(|route| route.requests).sum();
    let (mut hits, mut wrong, mut shared, mut shared_wrong) = (0, 0, 0, 0);
    for saved in saved {
        hits += saved.hits;
        wrong += saved.wrong;
        shared += saved.credentialed_served;
        shared_wrong += saved.credentialed_wrong;
    }
    (hits as f64 / requests as f64, wrong, shared, shared_wrong)
}

/// Every plan, predicted by a ghost that follows all keys, and then carried out.
async fn prove(mix: &Mix, observed: impl Fn(&mut CacheSettings), least_wrong: u64) {
    let world = mix.world(1 << 20, 1, &observed);
    let off = mix.replay(&world).await;
    assert_eq!(
        off.hits + off.shared,
        0,
        "nothing is reused where the cache is off"
    );
    let Savings { followed, routes } = world.shared.savings();
    assert_eq!(followed.part, 1.0);
    let requests: u64 = routes.iter().map(|route| route.requests).sum();
    assert_eq!(requests, off.requests);
    let mut most_wrong = 0;
    for plan in 0..=TTLS.len() {
        let ttl = plan.checked_sub(1).map(|index| TTLS[index]);
        let world = mix.world(1 << 10, 2, |settings| settings.ttl = ttl);
        let on = mix.replay(&world).await;
        let (rate, wrong, shared, shared_wrong) = predicted(&routes, plan);
        let given = on.hits as f64 / on.requests as f64;
        assert!(
            (rate - given).abs() < 0.03,
            "{ttl:?}: {rate} predicted, {given} given"
        );
        assert_eq!(wrong, on.wrong, "{ttl:?}");
        assert_eq!(
            (shared, shared_wrong),
            (on.shared, on.shared_wrong),
            "{ttl:?}"
        );
        most_wrong = most_wrong.max(wrong);
    }
    assert!(
        most_wrong >= least_wrong,
        "a mix that could show nothing: {most_wrong}"
    );
}

fn off(settings: &mut CacheSettings) {
    settings.enabled = false;
}

fn observed(settings: &mut CacheSettings) {
    settings.mode = config::mode::Mode::Observe;
}

#[tokio::test]
async fn files_are_predicted() {
    prove(&files(1_500, 8_000), off, 20).await;
}

#[tokio::test]
async fn an_api_is_predicted() {
    prove(&api(), off, 500).await;
}

#[tokio::test]
async fn pages_are_predicted() {
    prove(&pages(), observed, 100).await;
}

/// Where there are more keys than are followed, the estimate is that of a random part: near for each
/// seed, and nearer for all of them together, since it leans to neither side.
#[tokio::test]
async fn a_part_of_the_keys_stands_for_all() {
    const SEEDS: u64 = 3;
    let mix = files(8_000, 10_000);
    let mut sums = [(0.0, 0.0); TTLS.len()];
    for seed in 0..SEEDS {
        let world = mix.world(800, seed, off);
        mix.replay(&world).await;
        let Savings { followed, routes } = world.shared.savings();
        assert!(followed.keys <= 800, "{}", followed.keys);
        assert!(followed.part < 0.5, "{}", followed.part);
        for (index, (sum, _)) in sums.iter_mut().enumerate() {
            *sum += predicted(&routes, index + 1).0 / SEEDS as f64;
        }
    }
    for (index, (predicted, given)) in sums.iter_mut().enumerate() {
        let world = mix.world(1 << 10, 0, |settings| settings.ttl = Some(TTLS[index]));
        let on = mix.replay(&world).await;
        *given = on.hits as f64 / on.requests as f64;
        assert!((*predicted - *given).abs() < 0.03, "{sums:?}");
    }
}
