//! Charts as SVG, drawn here so that the page needs no library.

use std::fmt::Write;

use crate::units::mark;

/// One line of a chart.
pub(super) struct Series {
    /// Which colour of the page.
    pub(super) colour: usize,
    /// x, y and what a reader is told who points at it.
    pub(super) points: Vec<(f64, f64, String)>,
    /// x, low and high: where half of the rounds lay.
    pub(super) band: Vec<(f64, f64, f64)>,
    /// Whether points are joined.
    pub(super) joined: bool,
}

/// One axis: its bounds and where it has a line with a name.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) marks: Vec<(f64, String)>,
    /// Whether each doubling has the same length.
    pub(super) logarithmic: bool,
}

impl Axis {
    /// From 0 to a little above `most`, with about five marks.
    pub(super) fn from_zero(most: f64, name: impl Fn(f64) -> String) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / 4.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
        let step = steps
            .into_iter()
            .map(|step| step * magnitude)
            .find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = (most / step).ceil() as usize;
        Self {
            low: 0.0,
            high: count as f64 * step,
            marks: (0..=count)
                .map(|n| (n as f64 * step, mark(&name(n as f64 * step))))
                .collect(),
            logarithmic: false,
        }
    }

    /// From 0 to `end` exactly, with about five marks.
    pub(super) fn until(end: f64, name: impl Fn(f64) -> String) -> Self {
        let mut axis = Self::from_zero(end, name);
        axis.high = end.max(1e-9);
        axis.marks.retain(|(at, _)| *at <= end);
        axis
    }

    /// Whole powers of ten around the values, with 2 and 5 between where there is room.
    pub(super) fn logarithmic(
        values: impl Iterator<Item = f64>,
        name: impl Fn(f64) -> String,
    ) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = if low <= high {
            (low / 1.15, high * 1.15)
        } else {
            (0.1, 1.0)
        };
        let decades = (high / low).log10();
        let between: &[f64] = if decades < 2.5 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let mut marks = Vec::new();
        let mut power = 10f64.powf(low.log10().floor());
        while power <= high {
            for factor in between {
                let at = power * factor;
                if at >= low && at <= high {
                    marks.push((at, mark(&name(at))));
                }
            }
            power *= 10.0;
        }
        Self {
            low,
            high,
            marks,
            logarithmic: true,
        }
    }

    /// 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

/// Lines over two axes.
pub(super) fn lines(series: &[Series], across: &Axis, up: &Axis, height: f64) -> String {
    let (left, right, top, bottom) = (64.0, WIDTH - 14.0, 10.0, height - 26.0);
    let x = |value: f64| left + across.share(value) * (right - left);
    let y = |value: f64| bottom - up.share(value) * (bottom - top);
    let mut svg = String::new();
    let mut put = |text: String| svg.push_str(&text);
    put(format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">"
    ));
    for (value, name) in &up.marks {
        let y = y(*value);
        put(format!(
            "<line class=\"grid-line\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 4.0,
            escaped(name)
        ));
    }
    for (value, name) in &across.marks {
        let x = x(*value);
        put(format!(
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 4.0,
            bottom + 18.0,
            escaped(name)
        ));
    }
    put(format!(
        "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
    ));
    for one in series {
        let colour = format!("var(--s{})", one.colour);
        if !one.band.is_empty() {
            let there = one
                .band
                .iter()
                .map(|(at, low, _)| format!("{:.1},{:.1}", x(*at), y(*low)));
            let back = one
                .band
                .iter()
                .rev()
                .map(|(at, _, high)| format!("{:.1},{:.1}", x(*at), y(*high)));
            let points: Vec<_> = there.chain(back).collect();
            put(format!(
                "<polygon points=\"{}\" fill=\"{colour}\" opacity=\".14\"/>",
                points.join(" ")
            ));
        }
        if one.joined {
            let points: Vec<_> = one
                .points
                .iter()
                .map(|(at, value, _)| format!("{:.1},{:.1}", x(*at), y(*value)))
                .collect();
            put(format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\" \
                 stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
                points.join(" ")
            ));
        }
        for (at, value, tip) in &one.points {
            let radius = if one.points.len() > 60 { 1.8 } else { 3.2 };
            put(format!(
                "<circle cx=\"{0:.1}\" cy=\"{1:.1}\" r=\"{radius}\" fill=\"{colour}\"/>\
                 <circle cx=\"{0:.1}\" cy=\"{1:.1}\" r=\"9\" fill=\"transparent\" data-tip=\"{2}\"/>",
                x(*at),
                y(*value),
                escaped(tip)
            ));
        }
    }
    put("</svg>".to_owned());
    svg
}

/// One bar: a name, what it shows, and its parts from left to right.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: String,
    /// Length, colour, and what a reader is told who points at it.
    pub(super) parts: Vec<(f64, usize, String)>,
}

/// Horizontal bars that share a scale.
pub(super) fn bars(bars: &[Bar]) -> String {
    let whole = |bar: &Bar| bar.parts.iter().map(|(length, ..)| length).sum::<f64>();
    let most = bars.iter().map(whole).fold(0.0, f64::max);
    let (row, left, room) = (25.0, 62.0, WIDTH - 62.0 - 96.0);
    let height = row * bars.len() as f64;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    for (index, bar) in bars.iter().enumerate() {
        let top = index as f64 * row;
        let mut x = left;
        write!(
            svg,
            "<text x=\"0\" y=\"{:.1}\">{}</text>",
            top + 16.0,
            escaped(&bar.name)
        )
        .expect("a string takes all");
        for (length, colour, tip) in &bar.parts {
            let width = if most > 0.0 {
                (length / most * room).max(1.0)
            } else {
                1.0
            };
            write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"3\" \
                 fill=\"var(--s{colour})\" data-tip=\"{}\"/>",
                top + 3.0,
                row - 7.0,
                escaped(tip)
            )
            .expect("a string takes all");
            x += width;
        }
        write!(
            svg,
            "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 8.0,
            top + 16.0,
            escaped(&bar.value)
        )
        .expect("a string takes all");
    }
    svg.push_str("</svg>");
    svg
}

/// Text that is no markup.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Of all charts; the page scales them.
const WIDTH: f64 = 480.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks() {
        let axis = Axis::from_zero(9300.0, |value| format!("{value}"));
        let marks: Vec<_> = axis.marks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(marks, ["0", "2500", "5000", "7500", "10000"]);
        let axis = Axis::logarithmic([0.0004, 0.04].into_iter(), |value| format!("{value:.4}"));
        let marks: Vec<_> = axis.marks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(marks, ["0.0005", "0.001", "0.002", "0.005", "0.01", "0.02"]);
        assert!((axis.share(0.004) - 0.5).abs() < 1e-9);
        assert!(Axis::logarithmic(std::iter::empty(), |_| String::new()).share(1.0) <= 1.0);
        assert!(Axis::from_zero(0.0, |_| String::new()).high > 0.0);
    }

    #[test]
    fn names_are_no_markup() {
        let bar = Bar {
            name: "<script>".to_owned(),
            value: "\"1\" & 'more'".to_owned(),
            parts: vec![(1.0, 0, "\"><x".to_owned())],
        };
        let svg = bars(&[bar]);
        assert!(!svg.contains("<script") && !svg.contains("\"><x"), "{svg}");
    }
}
