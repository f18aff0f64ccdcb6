//! The short form of `just bench flood`, alone in its process: memory does not grow with the number of
//! URLs that were ever asked for.
#![cfg(target_os = "linux")]

#[path = "../benches/flood/driver.rs"]
mod driver;
#[path = "../benches/route/mod.rs"]
mod route;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BUDGET: u64 = 64 << 20;

#[test]
fn memory_does_not_grow_with_the_number_of_urls() {
    let idle = driver::idle(BUDGET);
    for has_tags in [false, true] {
        driver::flood(&driver::Flood {
            count: 60_000,
            budget: BUDGET,
            has_tags,
            tells: 5,
            idle,
        });
    }
}
