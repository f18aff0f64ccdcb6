//! Which endpoint a request goes to.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::Lane;

/// Endpoints that one request has tried in vain.
#[derive(Default)]
pub(super) struct Tried(Vec<usize>);

impl Tried {
    pub(super) fn add(&mut self, at: usize) {
        self.0.push(at);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Lane {
    /// The less busy of two endpoints picked at random (the power of two choices), by what this core
    /// knows. One that could not be connected to is passed over for a second, if there is another.
    pub(super) fn pick(&self, now: Instant, tried: &Tried) -> usize {
        let count = self.endpoints();
        if count == 1 {
            return 0;
        }
        let untried = || (0..count).filter(|at| !tried.0.contains(at));
        let well: Vec<usize> = untried()
            .filter(|at| !self.endpoint(*at).is_shunned(now))
            .collect();
        let candidates = if well.is_empty() {
            untried().collect()
        } else {
            well
        };
        let one = self.dice.pick(&candidates);
        let other = self.dice.pick(&candidates);
        let load = |at: &usize| {
            let shard = self.endpoint(*at).shard(self.core);
            shard.in_flight.load(Ordering::Relaxed)
        };
        [one, other].into_iter().min_by_key(load).unwrap_or(0)
    }
}

/// A small random generator (xorshift): fair enough to spread load, and written by one core alone.
pub(super) struct Dice(AtomicU32);

impl Dice {
    pub(super) fn new(seed: usize) -> Self {
        let seed = u32::try_from(seed).unwrap_or_default();
        Self(AtomicU32::new(seed.wrapping_mul(0x9E37_79B9) | 1))
    }

    fn pick(&self, candidates: &[usize]) -> usize {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        self.0.store(state, Ordering::Relaxed);
        let count = candidates.len().max(1);
        candidates
            .get(state as usize % count)
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_show_every_side() {
        let dice = Dice::new(0);
        let mut seen = [0; 3];
        for _ in 0..300 {
            seen[dice.pick(&[0, 1, 2])] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
