//! Random histories against a model of RFC 9111: whatever happens, in whatever order, no client gets an
//! answer that the model forbids, and what could be reused is.
//!
//! A history that fails is made smaller and printed with the command that runs it again. More of them:
//! `PILLION_HISTORIES=1000000 cargo test --release -p tests --test suites cache_model`.

mod choices;
mod history;
mod log;
mod model;
mod shrink;
mod upstream;
mod verify;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::choices::{Random, STEP};
use self::history::{Class, History};
use self::model::Tally;
use self::world::World;

/// How many histories are tried unless `PILLION_HISTORIES` says otherwise.
const HISTORIES: u64 = 100_000;
/// Steps of one history, at most.
const STEPS: u64 = 20;
/// Histories that share one cache.
const NEIGHBOURS: u64 = 200;

#[test]
fn no_history_gives_an_answer_that_the_model_forbids() {
    let count =
        said("PILLION_HISTORIES").map_or(HISTORIES, |count| count.parse().expect("a number"));
    let first = said("PILLION_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let (next, tally, failed) = (AtomicU64::new(0), Mutex::default(), Mutex::new(None));
    let work = || {
        let mut own = Tally::default();
        loop {
            let from = next.fetch_add(NEIGHBOURS, Ordering::Relaxed);
            if from >= count || failed.lock().expect("nobody panics").is_some() {
                break;
            }
            let seeds = first + from..first + count.min(from + NEIGHBOURS);
            if let Err(failure) = on_paused_time(try_all(seeds, &mut own)) {
                *failed.lock().expect("nobody panics") = Some(failure);
            }
        }
        Tally::add(&mut tally.lock().expect("nobody panics"), &own);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    if let Some((seed, bytes)) = failed.into_inner().expect("nobody panics") {
        panic!("{}", report(seed, bytes));
    }
    is_reused_enough(&tally.into_inner().expect("nobody panics"), count);
}

#[test]
fn the_history_that_is_asked_for() {
    // PILLION_HISTORY is what a report of the test above says.
    if let Some(text) = said("PILLION_HISTORY") {
        let bytes = shrink::from_text(&text);
        println!("{}", History::of(&bytes));
        on_paused_time(run_one(&bytes)).unwrap_or_else(|reason| panic!("{reason}"));
    }
}

fn said(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The first seed whose history fails, and the history.
async fn try_all(seeds: std::ops::Range<u64>, tally: &mut Tally) -> Result<(), (u64, Vec<u8>)> {
    let mut world = World::new();
    for seed in seeds {
        let bytes = bytes_of(seed);
        if world.run(&History::of(&bytes), tally).await.is_err() {
            return Err((seed, bytes));
        }
    }
    Ok(())
}

fn bytes_of(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let steps = usize::try_from(4 + random.next() % (STEPS - 3)).expect("few");
    random.bytes(STEP * (1 + steps))
}

/// One history on a cache of its own.
async fn run_one(bytes: &[u8]) -> Result<(), String> {
    World::new()
        .run(&History::of(bytes), &mut Tally::default())
        .await
}

fn on_paused_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn report(seed: u64, bytes: Vec<u8>) -> String {
    let fails = |bytes: &[u8]| on_paused_time(run_one(bytes)).err();
    let bytes = shrink::smallest(bytes, |bytes| fails(bytes).is_some());
    let reason = fails(&bytes).unwrap_or_else(|| "it fails among others alone".to_owned());
    let (history, text) = (History::of(&bytes), shrink::to_text(&bytes));
    format!(
        "the history of seed {seed} fails:\n{history}\n{reason}\n\nAgain, as it is printed here:\n\
         PILLION_HISTORY={text} cargo test -p tests --test suites cache_model -- --nocapture\n\
         and as it was at first: PILLION_SEED={seed} PILLION_HISTORIES=1"
    )
}

/// A cache that forwards everything would never be wrong.
fn is_reused_enough(tally: &Tally, count: u64) {
    let mut report = format!("{count} histories\n");
    let mut too_few = Vec::new();
    for (class, kind, could, did) in tally.all() {
        let share = did as f64 / could as f64;
        report += &format!("{class:?}, {kind}: {did} of {could} ({share:.3})\n");
        let least = LEAST.iter().find(|(name, _)| *name == kind);
        let least = least.map_or(1.0, |(_, least)| *least);
        if could >= ENOUGH && share < least {
            too_few.push(format!(
                "{class:?}, {kind}: {share:.3} is less than {least}"
            ));
        }
    }
    println!("{report}");
    assert!(too_few.is_empty(), "{too_few:#?}\n{report}");
    if count >= HISTORIES {
        let is_there = |wanted: &str| {
            tally
                .all()
                .any(|(_, kind, could, _)| kind == wanted && could >= ENOUGH)
        };
        for (kind, _) in LEAST {
            assert!(is_there(kind), "histories never get to: {kind}\n{report}");
        }
        for class in Class::ALL {
            assert!(tally.all().any(|(found, ..)| found == class), "{class:?}");
        }
    }
}

/// So often is enough to judge by.
const ENOUGH: u64 = 200;
/// The part of what the model permits that is to be reused, in each class of histories. It permits more
/// than can be: what was replaced by a later answer, what another request is just bringing, and what
/// we are too careful to store.
const LEAST: [(&str, f64); 11] = [
    ("fresh", 0.84),
    ("a HEAD, fresh", 0.85),
    ("fresh by a guess", 0.75),
    ("stale while it is validated", 0.6),
    ("stale, which the client accepts", 0.4),
    ("stale in place of an error", 0.25),
    ("a condition for what is stale", 0.45),
    ("refreshed in the background", 0.6),
    ("shared with another request", 0.5),
    ("a 304 from here", 0.97),
    ("a part of what is stored", 0.97),
];
