use super::*;
use crate::figures::Latency;

/// A round whose latency and rate follow one disturbance.
fn round(slowness: f64) -> Round {
    Round {
        seconds: 1.0,
        requests: (10_000.0 / slowness) as u64,
        latency: Latency {
            quantiles: vec![(0.5, 0.01 * slowness), (0.99, 0.03 * slowness)],
            ..Latency::default()
        },
        ..Round::default()
    }
}

/// Numbers between 0 and 1 that are the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A machine that others use too: 5 % of jitter, and one round of ten takes up to three times as long.
    fn slowness(&mut self) -> f64 {
        let bell = (0..12).map(|_| self.next()).sum::<f64>() - 6.0;
        let disturbed = if self.next() < 0.1 {
            1.0 + 2.0 * self.next()
        } else {
            1.0
        };
        (0.05 * bell).exp() * disturbed
    }

    fn rounds(&mut self, factor: f64) -> Vec<Round> {
        (0..12).map(|_| round(factor * self.slowness())).collect()
    }
}

fn share(factor: f64, wanted: Verdict) -> f64 {
    let mut chance = Chance(7);
    let found = (0..1000).filter(|_| {
        let (reference, subject) = (chance.rounds(1.0), chance.rounds(factor));
        overall(&pairs(&reference, &subject, 0.05), false) == wanted
    });
    found.count() as f64 / 1000.0
}

#[test]
fn the_same_is_the_same_in_nineteen_of_twenty() {
    let same = share(1.0, Verdict::Same);
    assert!(same >= 0.95, "{same}");
}

#[test]
fn a_fifth_slower_is_worse_in_nineteen_of_twenty() {
    let worse = share(1.2, Verdict::Worse);
    assert!(worse >= 0.95, "{worse}");
}

#[test]
fn a_fifth_quicker_is_better() {
    let better = share(1.0 / 1.2, Verdict::Better);
    assert!(better >= 0.95, "{better}");
}

#[test]
fn what_is_within_the_noise_is_never_a_regression() {
    let noisy: Vec<Round> = [0.5, 2.0, 0.6, 1.8, 1.0].map(round).into();
    let slower: Vec<Round> = [0.7, 2.6, 0.8, 2.4, 1.3].map(round).into();
    let judged = apart(&noisy, &slower, 0.2);
    assert_eq!(overall(&judged, false), Verdict::Same, "{judged:?}");
    let calm: Vec<Round> = [1.0, 1.01, 0.99, 1.0, 1.02].map(round).into();
    let slower: Vec<Round> = [1.3, 1.31, 1.29, 1.3, 1.32].map(round).into();
    assert_eq!(overall(&apart(&calm, &slower, 0.2), false), Verdict::Worse);
    let little: Vec<Round> = [1.1, 1.11, 1.09, 1.1, 1.12].map(round).into();
    assert_eq!(
        overall(&apart(&calm, &little, 0.2), false),
        Verdict::Same,
        "under the threshold"
    );
}

#[test]
fn failures_decide_even_if_they_are_fast() {
    let good: Vec<Round> = [1.0, 1.01, 0.99, 1.0].map(round).into();
    let mut bad: Vec<Round> = [0.2, 0.21, 0.19, 0.2].map(round).into();
    for round in &mut bad {
        round.statuses.insert(500, round.requests);
    }
    let judged = pairs(&good, &bad, 0.05);
    let failed = judged
        .iter()
        .find(|one| one.figure == Figure::Failed)
        .expect("judged");
    assert_eq!(failed.verdict, Verdict::Worse);
    assert_eq!(overall(&judged, false), Verdict::Worse);
}

#[test]
fn nothing_at_all_is_less_only_if_that_is_beyond_the_noise() {
    let judged = |left: &[f64]| {
        let (change, noise) = of_zeros(left, &[0.0; 12]);
        assert!(change <= 0.0, "{change}");
        verdict(Better::Lower, change, noise, 0.05)
    };
    // A clock that ticks too seldom for what it measures.
    let mut now_and_then = [0.0; 12];
    now_and_then[..7].fill(1.0);
    assert_eq!(judged(&now_and_then), Verdict::Same);
    assert_eq!(judged(&[1.0; 12]), Verdict::Better);
    assert_eq!(judged(&[0.0; 12]), Verdict::Same);
}

#[test]
fn one_round_tells_nothing() {
    let judged = pairs(&[round(1.0)], &[round(3.0)], 0.05);
    assert_eq!(overall(&judged, false), Verdict::Same);
    assert!(judged.iter().any(|one| one.noise.is_infinite()));
}

#[test]
fn the_report_s_json_is_read_again() {
    let judged = pairs(&[round(1.0)], &[round(3.0)], 0.05);
    let text = serde_json::to_string(&judged).expect("it is data");
    let again: Vec<Judged> = serde_json::from_str(&text).expect("it was written by us");
    assert!(again.iter().any(|one| one.noise.is_infinite()));
}
