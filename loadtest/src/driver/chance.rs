//! Luck that can be repeated.

/// Numbers that look random, and are the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Between 0 and 1, 1 excluded.
    pub(crate) fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 to `end`, `end` excluded.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.share() * end as f64) as u64
    }
}

/// Draws 0 to `count - 1`, k in proportion to 1/(k+1)^s.
///
/// By rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from
/// monotone discrete distributions", 1996): no table, whatever the number of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    count: f64,
    s: f64,
    first: f64,
    last: f64,
    shortcut: f64,
}

impl Zipf {
    pub(crate) fn new(count: u32, s: f64) -> Self {
        let count = f64::from(count);
        let mut zipf = Self {
            count,
            s,
            first: 0.0,
            last: 0.0,
            shortcut: 0.0,
        };
        zipf.first = zipf.area(1.5) - 1.0;
        zipf.last = zipf.area(count + 0.5);
        zipf.shortcut = 2.0 - zipf.place(zipf.area(2.5) - zipf.height(2.0));
        zipf
    }

    pub(crate) fn draw(&self, chance: &mut Chance) -> u32 {
        loop {
            let area = self.last + chance.share() * (self.first - self.last);
            let place = self.place(area);
            let key = place.round().clamp(1.0, self.count);
            let close = key - place <= self.shortcut;
            if close || area >= self.area(key + 0.5) - self.height(key) {
                return (key - 1.0) as u32;
            }
        }
    }

    fn height(&self, x: f64) -> f64 {
        (-self.s * x.ln()).exp()
    }

    /// The integral of the height from 1.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        let exponent = (1.0 - self.s) * log;
        if exponent.abs() < 1e-8 {
            log
        } else {
            exponent.exp_m1() / (1.0 - self.s)
        }
    }

    /// The inverse of the area.
    fn place(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.s)).max(-1.0);
        if t.abs() < 1e-8 {
            area.exp()
        } else {
            (t.ln_1p() / (1.0 - self.s)).exp()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_popular_as_they_should_be() {
        for s in [0.0, 0.5, 1.0, 1.1, 2.0] {
            let (count, draws) = (20u32, 200_000);
            let (zipf, mut chance) = (Zipf::new(count, s), Chance::new(1));
            let mut seen = vec![0u32; count as usize];
            for _ in 0..draws {
                seen[zipf.draw(&mut chance) as usize] += 1;
            }
            let whole: f64 = (1..=count).map(|k| f64::from(k).powf(-s)).sum();
            for (key, seen) in seen.into_iter().enumerate() {
                let expected = (key as f64 + 1.0).powf(-s) / whole;
                let found = f64::from(seen) / f64::from(draws);
                let deviation = (expected * (1.0 - expected) / f64::from(draws)).sqrt();
                assert!(
                    (found - expected).abs() < 5.0 * deviation + 1e-9,
                    "s {s}, key {key}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn one_key_is_always_the_same() {
        let mut chance = Chance::new(3);
        assert!((0..100).all(|_| Zipf::new(1, 1.1).draw(&mut chance) == 0));
    }
}
