//! Medians, and how far chance may have moved them.

/// The middle of the values; NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let (len, at) = (sorted.len(), |index: usize| sorted.get(index).copied());
    match (len, at(len / 2)) {
        (_, None) => f64::NAN,
        (len, Some(upper)) if len % 2 == 1 => upper,
        (len, Some(upper)) => f64::midpoint(at(len / 2 - 1).unwrap_or(upper), upper),
    }
}

/// A quarter of the values lies below the first, a quarter above the second.
pub(crate) fn quartiles(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    let at = |share: f64| {
        let place = share * (sorted.len().max(1) - 1) as f64;
        let low = sorted
            .get(place.floor() as usize)
            .copied()
            .unwrap_or(f64::NAN);
        let high = sorted.get(place.ceil() as usize).copied().unwrap_or(low);
        low + (high - low) * place.fract()
    };
    (at(0.25), at(0.75))
}

/// Where the centre of some noisy values lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Centre {
    /// The best guess.
    pub(crate) value: f64,
    /// Its standard error.
    error: f64,
    /// What the error was estimated from.
    degrees: f64,
}

impl Centre {
    /// The truth lies within this much of the value, in 99 of 100 measurements (Student's t).
    pub(crate) fn within(self) -> f64 {
        if self.degrees < 1.0 {
            f64::INFINITY
        } else {
            self.error * student(self.degrees as usize)
        }
    }

    /// How far this lies above the other, which was measured independently (Welch's t).
    pub(crate) fn above(self, other: Self) -> Self {
        let (mine, theirs) = (self.error.powi(2), other.error.powi(2));
        let degrees = if mine + theirs > 0.0 {
            (mine + theirs).powi(2) / (mine.powi(2) / self.degrees + theirs.powi(2) / other.degrees)
        } else {
            self.degrees.min(other.degrees)
        };
        Self {
            value: self.value - other.value,
            error: (mine + theirs).sqrt(),
            degrees: if self.degrees < 1.0 || other.degrees < 1.0 {
                0.0
            } else {
                degrees
            },
        }
    }
}

/// The centre of `values`.
///
/// From eight values on, the outer quarter at each end counts only as its neighbours do (Yuen's trimmed
/// mean): on a machine that others use too, single rounds are disturbed, and must neither make a change
/// nor hide one. Of one value nothing is known: it lies within infinity.
pub(crate) fn centre(values: &[f64]) -> Centre {
    let sorted = sorted(values);
    let count = sorted.len();
    let cut = if count >= TRIM_FROM { count / 4 } else { 0 };
    let kept = sorted.get(cut..count - cut).unwrap_or_default();
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
        return Centre {
            value: f64::NAN,
            error: f64::NAN,
            degrees: 0.0,
        };
    };
    let winsorized = sorted.iter().map(|value| value.min(*last).max(*first));
    let spread = squares(&winsorized.collect::<Vec<f64>>());
    let degrees = kept.len() - 1;
    Centre {
        value: mean(kept),
        error: (spread / (kept.len() * degrees).max(1) as f64).sqrt(),
        degrees: degrees as f64,
    }
}

/// A line through points, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// Growth per unit of x, with its 99 % interval.
    pub(crate) slope: Centre,
}

/// The regression line of y over x; none with fewer than three points or only one x.
pub(crate) fn line(points: &[(f64, f64)]) -> Option<Line> {
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (mean_x, mean_y) = (mean(&xs), mean(&ys));
    let across = squares(&xs);
    if points.len() < 3 || across <= 0.0 {
        return None;
    }
    let together: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    let slope = together / across;
    let residuals: f64 = points
        .iter()
        .map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2))
        .sum();
    let degrees = points.len() - 2;
    let error = (residuals / degrees as f64 / across).sqrt();
    Some(Line {
        slope: Centre {
            value: slope,
            error,
            degrees: degrees as f64,
        },
    })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sum of the squared distances from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Student's t for 99 %, two-sided.
fn student(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012,
        2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845, 2.831, 2.819, 2.807, 2.797, 2.787, 2.779,
        2.771, 2.763, 2.756, 2.750,
    ];
    let beyond = || 2.576 + 5.2 / degrees as f64;
    TABLE
        .get(degrees.wrapping_sub(1))
        .copied()
        .unwrap_or_else(beyond)
}

const TRIM_FROM: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(quartiles(&[1.0, 2.0, 3.0, 4.0, 5.0]), (2.0, 4.0));
    }

    #[test]
    fn the_interval_is_student_s() {
        // mean 3, s = 1.5811, s/√5 = 0.70711, t(4) = 4.604
        let centre = centre(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(centre.value, 3.0);
        assert!((centre.within() - 3.2555).abs() < 1e-3, "{centre:?}");
        // Twice the variance, twice the degrees: 1.0 × t(8).
        let above = centre.above(centre);
        assert!((above.within() - 3.355).abs() < 1e-3, "{above:?}");
    }

    #[test]
    fn one_disturbed_round_of_ten_moves_nothing() {
        let calm = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98, 1.01, 0.99, 1.0];
        let mut disturbed = calm;
        disturbed[3] = 50.0;
        let (calm, disturbed) = (centre(&calm), centre(&disturbed));
        assert!((calm.value - disturbed.value).abs() < 0.03, "{disturbed:?}");
        assert!(disturbed.within() < 0.2, "{disturbed:?}");
    }

    #[test]
    fn of_one_value_nothing_is_known() {
        assert_eq!(centre(&[5.0]).within(), f64::INFINITY);
        assert_eq!(centre(&[]).within(), f64::INFINITY);
        assert_eq!(
            centre(&[5.0]).above(centre(&[1.0, 2.0])).within(),
            f64::INFINITY
        );
    }

    #[test]
    fn a_line_finds_growth_and_doubt() {
        let exact: Vec<_> = (0..10)
            .map(|x| (f64::from(x), 3.0 * f64::from(x) + 1.0))
            .collect();
        let found = line(&exact).expect("ten points");
        assert!((found.slope.value - 3.0).abs() < 1e-12 && found.slope.within() < 1e-9);
        let noise: Vec<_> = (0..10).map(|x| (f64::from(x), f64::from(x % 2))).collect();
        let found = line(&noise).expect("ten points").slope;
        assert!(found.value.abs() < found.within(), "{found:?}");
        assert_eq!(line(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
