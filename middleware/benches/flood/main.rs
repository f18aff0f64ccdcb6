//! Unique URLs without end through a small cache: `just bench flood [COUNT] [BUDGET_MIB]`, 10,000,000
//! through 64 MiB unless said otherwise; without tags, and with two each, of which every tenth is purged.
//!
//! Fails if the resident set ever leaves what it was when idle, and the budget and a quarter of it.

mod driver;
#[path = "../route/mod.rs"]
mod route;

use self::driver::{Flood, flood, idle};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .map(|word| word.parse::<u64>().expect("a number"));
    let is_measured = std::env::args().any(|word| word == "--bench");
    // As `cargo test --benches` starts it: only that it runs is of interest.
    let count = numbers
        .next()
        .unwrap_or(if is_measured { 10_000_000 } else { 1000 });
    let budget = numbers.next().unwrap_or(64) << 20;
    let idle = idle(budget);
    for has_tags in [false, true] {
        flood(&Flood {
            count,
            budget,
            has_tags,
            tells: 10,
            idle,
        });
    }
}
