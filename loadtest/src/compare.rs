//! Better, same or worse: two series of rounds, judged with the noise stated.

use serde::{Deserialize, Serialize};

use crate::figures::{Better, Figure, Round};
use crate::stats::{Centre, centre, median, quartiles};

/// What a comparison says of a figure, or over all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Better,
    Same,
    Worse,
}

impl Verdict {
    /// In one word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Same => "same",
            Self::Worse => "worse",
        }
    }
}

/// One figure of a target, over its rounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    /// A quarter of the rounds lay below.
    pub(crate) low: f64,
    /// A quarter of the rounds lay above.
    pub(crate) high: f64,
}

impl Summary {
    /// None if no round has the figure.
    pub(crate) fn of(figure: Figure, rounds: &[Round]) -> Option<Self> {
        let values: Vec<f64> = rounds.iter().filter_map(|round| figure.of(round)).collect();
        let (low, high) = quartiles(&values);
        (!values.is_empty()).then(|| Self {
            median: median(&values),
            low,
            high,
        })
    }
}

/// One figure of two targets.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) figure: Figure,
    pub(crate) reference: Summary,
    pub(crate) subject: Summary,
    /// Subject over reference, less one: 0.1 is 10 % more. Infinite, if the reference is zero.
    #[serde(deserialize_with = "or_infinite")]
    pub(crate) change: f64,
    /// Chance alone may make a change of this much, in 99 of 100 comparisons.
    #[serde(deserialize_with = "or_infinite")]
    pub(crate) noise: f64,
    pub(crate) verdict: Verdict,
}

/// JSON has no infinity; `null` is what it becomes.
fn or_infinite<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

/// Judges the subject against the reference, figure by figure; `least` is the least change that counts.
///
/// The rounds are pairs: the n-th of both were run next to each other, so what disturbed the machine
/// for a while disturbed both, and the pairs' ratios are free of it. What disturbed single rounds is
/// seen better in each series by itself. Of both views the one with less noise is taken.
pub(crate) fn pairs(reference: &[Round], subject: &[Round], least: f64) -> Vec<Judged> {
    let ratio = |left: &[f64], right: &[f64]| {
        let apart = centre(right).above(centre(left));
        let changes: Vec<f64> = left.iter().zip(right).map(|(a, b)| b - a).collect();
        let paired = centre(&changes);
        if paired.within() < apart.within() {
            paired
        } else {
            apart
        }
    };
    judge(reference, subject, ratio, least)
}

/// The same for rounds that were not run together, such as a baseline's.
pub(crate) fn apart(reference: &[Round], subject: &[Round], least: f64) -> Vec<Judged> {
    let ratio = |left: &[f64], right: &[f64]| centre(right).above(centre(left));
    judge(reference, subject, ratio, least)
}

/// Over all: worse if a figure that decides is worse, else better if one is better.
pub(crate) fn overall(judged: &[Judged], with_rate: bool) -> Verdict {
    let any = |wanted: Verdict| {
        judged.iter().any(|one| {
            one.verdict == wanted && (one.figure.decides(with_rate) || one.figure == Figure::Failed)
        })
    };
    if any(Verdict::Worse) {
        Verdict::Worse
    } else if any(Verdict::Better) {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

fn judge(
    reference: &[Round],
    subject: &[Round],
    ratio: impl Fn(&[f64], &[f64]) -> Centre,
    least: f64,
) -> Vec<Judged> {
    let one = |figure: Figure| {
        let values = |rounds: &[Round]| -> Vec<f64> {
            rounds.iter().filter_map(|round| figure.of(round)).collect()
        };
        let (left, right) = (values(reference), values(subject));
        let (reference, subject) = (
            Summary::of(figure, reference)?,
            Summary::of(figure, subject)?,
        );
        let logarithms = |values: &[f64]| values.iter().map(|v| v.ln()).collect::<Vec<f64>>();
        // Zero has no ratio to anything.
        let positive = left.iter().chain(&right).all(|value| *value > 0.0);
        let (change, noise) = if positive {
            let centre = ratio(&logarithms(&left), &logarithms(&right));
            (centre.value.exp_m1(), centre.within().exp_m1())
        } else {
            of_zeros(&left, &right)
        };
        Some(Judged {
            figure,
            reference,
            subject,
            change,
            noise,
            verdict: verdict(figure.better(), change, noise, least),
        })
    };
    Figure::ALL.into_iter().filter_map(one).collect()
}

/// Where ratios have no meaning: the difference, in shares of the reference.
fn of_zeros(left: &[f64], right: &[f64]) -> (f64, f64) {
    let base = centre(left).value;
    let centre = centre(right).above(centre(left));
    let (difference, within) = (centre.value, centre.within());
    if base > 0.0 {
        let is_beyond = difference.abs() > within;
        // Nothing at all is infinitely less than something, whatever the noise: so that has to be, too.
        let noise = if is_beyond {
            within / base
        } else {
            f64::INFINITY
        };
        (difference / base, noise)
    } else if difference.abs() > within {
        (f64::INFINITY * difference.signum(), 0.0)
    } else {
        (0.0, 0.0)
    }
}

fn verdict(better: Better, change: f64, noise: f64, least: f64) -> Verdict {
    // As logarithms, where twice as much and half as much are as far from the same.
    let size = |share: f64| {
        if share > -1.0 {
            share.ln_1p().abs()
        } else {
            f64::INFINITY
        }
    };
    let counts = size(change) > size(noise) && size(change) >= least.ln_1p();
    match better {
        Better::Higher if counts && change > 0.0 => Verdict::Better,
        Better::Lower if counts && change < 0.0 => Verdict::Better,
        Better::Higher | Better::Lower if counts => Verdict::Worse,
        _ => Verdict::Same,
    }
}

#[cfg(test)]
mod tests;
