//! How a hit's cost grows: `just bench scale [MOST]` with 10^3 to MOST (1,000,000) stored responses, asked
//! for at random, and with two threads beside one.
//!
//! Processor time of each thread, making requests left out; rounds of one thread and of two alternate.

mod route;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Duration;

use middleware::Request;

use self::route::{App, Random, Route, cpu, resident};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let is_measured = std::env::args().any(|word| word == "--bench");
    // As `cargo test --benches` starts it: only that it runs is of interest.
    let (most, rounds) = match (numbers.next(), is_measured) {
        (Some(most), _) => (most.parse().expect("a number of responses"), ROUNDS),
        (None, true) => (1_000_000, ROUNDS),
        (None, false) => (1000, 1),
    };
    let mut first = None;
    let mut count = 1000;
    while count <= most {
        let before = resident();
        let mut route = filled(count);
        let bytes = (resident() - before.min(resident())) * 1024 / count;
        let nanos = one(&mut route, count, rounds);
        let first = *first.get_or_insert(nanos);
        let figures = route.shared.figures();
        assert_eq!(figures.entries, count, "all are stored");
        println!(
            "{count:>9} stored: {nanos:7.0} ns a hit, {:+6.0} ns over the first; {bytes} resident bytes each",
            nanos - first
        );
        if count == 1000 {
            two(&route, count, rounds);
        }
        count *= 10;
    }
}

/// A route with `count` responses in store.
fn filled(count: u64) -> Route {
    let mut route = Route::new(count * EACH + (64 << 20), APP);
    for number in 0..count {
        drop(route.ask(route.request(&path(number))));
    }
    route
}

/// Nanoseconds of a hit, the median round.
fn one(route: &mut Route, count: u64, rounds: usize) -> f64 {
    let mut random = Random(count);
    let mut all: Vec<f64> = (0..rounds)
        .map(|_| nanos(batch(route, count, &mut random)))
        .collect();
    median(&mut all)
}

/// Threads beside each other, each with a stack of its own, as cores have them.
fn two(route: &Route, count: u64, rounds: usize) {
    let mut alone = Vec::new();
    let mut together = Vec::new();
    for round in 0..rounds.div_ceil(BATCHES) {
        alone.extend(run(route, count, 1, round));
        together.extend(run(route, count, 2, round));
    }
    let (alone, together) = (median(&mut alone), median(&mut together));
    println!(
        "          two threads: {together:.0} ns of each one's processor time a hit, {alone:.0} ns alone: \
         {:.2} times the hits of one thread, a core each",
        2.0 * alone / together
    );
}

/// Nanoseconds of a hit, of each batch of each thread.
fn run(route: &Route, count: u64, threads: usize, round: usize) -> Vec<f64> {
    let together = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (mut own, together) = (route.beside(), &together);
                scope.spawn(move || {
                    let mut random = Random((round * 2 + thread) as u64);
                    together.wait();
                    (0..BATCHES)
                        .map(|_| nanos(batch(&mut own, count, &mut random)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let all = running.into_iter();
        all.flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}

fn batch(route: &mut Route, count: u64, random: &mut Random) -> Duration {
    let requests: Vec<Request> = (0..BATCH)
        .map(|_| route.request(&path(random.below(count))))
        .collect();
    let begun = cpu();
    for request in requests {
        drop(black_box(route.ask(request)));
    }
    cpu() - begun
}

fn nanos(batch: Duration) -> f64 {
    batch.as_nanos() as f64 / BATCH as f64
}

fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn path(number: u64) -> String {
    format!("/item/{number}")
}

const APP: App = App {
    has_tags: false,
    length: 64,
};
/// More than a response is accounted for.
const EACH: u64 = 2048;
const ROUNDS: usize = 201;
/// In a row, of one thread or of two.
const BATCHES: usize = 20;
const BATCH: usize = 2000;
