//! Sends the flood and watches memory.

use std::time::Duration;

use middleware::cache::benched::remembered_names;
use middleware::cache::{Purge, What};

use crate::route::{App, Route, cpu, resident};

/// What is sent.
pub(crate) struct Flood {
    pub(crate) count: u64,
    pub(crate) budget: u64,
    /// Two each; every tenth response's own tag is purged.
    pub(crate) has_tags: bool,
    /// How often figures are told.
    pub(crate) tells: u64,
    /// See [`idle`].
    pub(crate) idle: u64,
}

/// Kibibytes that are resident with an empty cache.
pub(crate) fn idle(budget: u64) -> u64 {
    let app = App {
        has_tags: false,
        length: 64,
    };
    let mut route = Route::new(budget, app);
    drop(route.ask(route.request("/")));
    resident()
}

/// Sends it.
///
/// # Panics
/// If memory grows beyond its bounds.
pub(crate) fn flood(what: &Flood) {
    let Flood {
        count,
        budget,
        has_tags,
        tells,
        idle,
    } = *what;
    let mut route = Route::new(
        budget,
        App {
            has_tags,
            length: 64,
        },
    );
    let begun = cpu();
    let (mut most, mut least) = (0, u64::MAX);
    println!(
        "{count} unique URLs, {} MiB, tags: {has_tags}; idle {} MiB",
        budget >> 20,
        idle >> 10
    );
    for number in 1..=count {
        drop(route.ask(route.request(&format!("/item/{number}"))));
        if has_tags && number.is_multiple_of(10) {
            let tag = What::Tags(vec![format!("item:{number}")]);
            route.shared.purge(&tag, Purge::Hard).expect("a tag");
        }
        if number.is_multiple_of(count.div_ceil(tells * 10)) {
            let now = resident();
            // Filling up is over.
            if number * 2 > count {
                (most, least) = (most.max(now), least.min(now));
            }
            let figures = route.shared.figures();
            assert!(figures.bytes <= budget, "{} of {budget}", figures.bytes);
            if number.is_multiple_of(count.div_ceil(tells)) {
                println!(
                    "{number:>10}: {:4} MiB resident, {:3} MiB accounted, {} responses, {} names",
                    now >> 10,
                    figures.bytes >> 20,
                    figures.entries,
                    remembered_names(&route.shared)
                );
            }
        }
    }
    let spent = (cpu() - begun).max(Duration::from_nanos(1));
    let bound = idle + budget / 1024 * 5 / 4;
    println!(
        "{:.2} µs each; in the second half {} to {} MiB resident, {} MiB allowed",
        spent.as_secs_f64() * 1e6 / count as f64,
        least >> 10,
        most >> 10,
        bound >> 10
    );
    assert!(
        most <= bound,
        "{most} KiB are resident, {bound} are allowed"
    );
    assert!(remembered_names(&route.shared) <= NAMES);
}

/// Tags and prefixes that the table of purges remembers.
const NAMES: usize = (1 << 16) + (1 << 12);
