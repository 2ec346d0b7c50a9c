//! A line chart as inline SVG: mean line over a band from minimum to maximum, so that a long curve stays honest.

use super::html::{escape, missing, px, significant};
use std::fmt::Write;

/// Points a curve is reduced to.
const BUCKETS: usize = 200;
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 36.0;

/// What a chart shows and says.
pub(super) struct Chart<'a> {
    pub title: &'a str,
    /// One sentence for the reader; already HTML.
    pub caption: &'a str,
    pub x_name: &'a str,
    /// (x, y); points that are not finite are left out and counted.
    pub points: Vec<(f64, f64)>,
    /// Keep 0 on the y axis.
    pub from_zero: bool,
    /// A dashed line at this y, and its name.
    pub reference: Option<(f64, &'a str)>,
    /// Light vertical lines: where epochs begin.
    pub marks: Vec<f64>,
}

struct Bucket {
    x: f64,
    mean: f64,
    low: f64,
    high: f64,
}

/// The chart as a `<figure>`; a note if there is nothing to draw.
pub(super) fn figure(chart: &Chart) -> String {
    let mut points = chart.points.clone();
    // Beyond 1e100 a number is as good as infinite, and scales overflow.
    points.retain(|(x, y)| x.abs() < 1e100 && y.abs() < 1e100);
    let lost = chart.points.len() - points.len();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let drawing = if points.is_empty() { missing("No values recorded.") } else { svg(chart, &points) };
    let lost = match lost {
        0 => String::new(),
        1 => " One step without a finite value is left out.".into(),
        n => format!(" {n} steps without a finite value are left out."),
    };
    format!(
        "<figure class=\"card\"><h3>{}</h3>{drawing}<figcaption>{}{lost}</figcaption></figure>",
        escape(chart.title),
        chart.caption
    )
}

fn svg(chart: &Chart, points: &[(f64, f64)]) -> String {
    let buckets = reduce(points);
    let reference = chart.reference.filter(|(y, _)| y.abs() < 1e100);
    let (first, last) = (points[0], points[points.len() - 1]);
    let low = buckets.iter().map(|b| b.low).chain(reference.map(|r| r.0)).fold(f64::INFINITY, f64::min);
    let high = buckets.iter().map(|b| b.high).chain(reference.map(|r| r.0)).fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if chart.from_zero { (low.min(0.0), high.max(0.0)) } else { (low, high) };
    let y_ticks = ticks(low, high, 5);
    let (y_low, y_high) = (y_ticks[0], y_ticks[y_ticks.len() - 1]);
    let (x_low, x_high) = (first.0, if last.0 > first.0 { last.0 } else { first.0 + 1.0 });
    let x = |v: f64| LEFT + (v - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| HEIGHT - BOTTOM - (v - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);

    let mut out = String::new();
    let join = |f: &dyn Fn(&Bucket) -> f64| {
        buckets.iter().map(|b| significant_ascii(f(b))).collect::<Vec<_>>().join(" ")
    };
    let _ = write!(
        out,
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}: {} at {x_name} {}, {} at \
         {x_name} {}\" data-x=\"{}\" data-y=\"{}\" data-px=\"{}\" data-py=\"{}\">",
        escape(chart.title),
        significant(first.1),
        significant(first.0),
        significant(last.1),
        significant(last.0),
        join(&|b| b.x),
        join(&|b| b.mean),
        buckets.iter().map(|b| px(x(b.x))).collect::<Vec<_>>().join(" "),
        buckets.iter().map(|b| px(y(b.mean))).collect::<Vec<_>>().join(" "),
        x_name = escape(chart.x_name),
    );
    for mark in chart.marks.iter().filter(|m| **m > x_low && **m < x_high) {
        let at = px(x(*mark));
        let _ = write!(out, "<path class=\"mark\" d=\"M{at} {}V{}\"/>", px(TOP), px(HEIGHT - BOTTOM));
    }
    for tick in &y_ticks {
        let at = px(y(*tick));
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {at}H{}\"/><text class=\"tick end\" x=\"{}\" y=\"{at}\" \
             dy=\".35em\">{}</text>",
            px(WIDTH - RIGHT),
            px(LEFT - 8.0),
            tick_label(*tick, y_ticks[1] - y_ticks[0])
        );
    }
    let x_ticks = ticks(x_low, x_high, 6);
    for tick in x_ticks.iter().filter(|t| **t >= x_low && **t <= x_high && (t.fract() == 0.0)) {
        let _ = write!(
            out,
            "<text class=\"tick mid\" x=\"{}\" y=\"{}\">{}</text>",
            px(x(*tick)),
            px(HEIGHT - BOTTOM + 16.0),
            tick_label(*tick, x_ticks[1] - x_ticks[0])
        );
    }
    let _ = write!(
        out,
        "<text class=\"axis end\" x=\"{}\" y=\"{}\">{}</text>",
        px(WIDTH - RIGHT),
        px(HEIGHT - 4.0),
        escape(chart.x_name)
    );
    if let Some((value, name)) = reference {
        let at = y(value);
        // Above the line unless that would leave the picture.
        let text = if at < TOP + 16.0 { at + 15.0 } else { at - 6.0 };
        let _ = write!(
            out,
            "<path class=\"reference\" d=\"M{LEFT} {0}H{1}\"/><text class=\"refname end\" x=\"{1}\" y=\"{2}\">{3}</text>",
            px(at),
            px(WIDTH - RIGHT),
            px(text),
            escape(name)
        );
    }
    if let [only] = &buckets[..] {
        let _ = write!(
            out,
            "<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"4\"/>",
            px(x(only.x)),
            px(y(only.mean))
        );
    } else {
        let pairs = |f: &dyn Fn(&Bucket) -> f64| {
            buckets.iter().map(|b| format!("{} {}", px(x(b.x)), px(y(f(b))))).collect::<Vec<_>>()
        };
        let mut lows = pairs(&|b| b.low);
        lows.reverse();
        let _ = write!(
            out,
            "<path class=\"band\" d=\"M{}L{}Z\"/><path class=\"line\" d=\"M{}\"/>",
            pairs(&|b| b.high).join("L"),
            lows.join("L"),
            pairs(&|b| b.mean).join("L")
        );
    }
    out.push_str("</svg>");
    out
}

/// At most [`BUCKETS`] runs of neighbouring points, of equal count.
fn reduce(points: &[(f64, f64)]) -> Vec<Bucket> {
    let size = points.len().div_ceil(BUCKETS).max(1);
    points
        .chunks(size)
        .map(|run| {
            let n = run.len() as f64;
            Bucket {
                x: run.iter().map(|p| p.0 / n).sum(),
                mean: run.iter().map(|p| p.1 / n).sum(),
                low: run.iter().map(|p| p.1).fold(f64::INFINITY, f64::min),
                high: run.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max),
            }
        })
        .collect()
}

/// Round numbers 1, 2 or 5 × 10ᵏ apart that enclose [low, high]; at least two.
pub(super) fn ticks(low: f64, high: f64, about: usize) -> Vec<f64> {
    // Beyond these, the steps below overflow or vanish.
    let (low, high) = (low.clamp(-1e100, 1e100), high.clamp(-1e100, 1e100));
    let least = (low.abs().max(high.abs()) * 1e-6).max(1e-100);
    let (low, high) = if high - low < least {
        let pad = if low == 0.0 && high == 0.0 { 1.0 } else { low.abs().max(high.abs()) * 0.5 };
        (low - if low < 0.0 || low > pad { pad } else { low }, high + pad)
    } else {
        (low, high)
    };
    let raw = (high - low) / about as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw * 0.999).unwrap_or(raw);
    let (from, to) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    (0..=(to - from).max(1.0) as usize).map(|i| (from + i as f64) * step).collect()
}

/// A tick with as many digits as its step needs.
pub(super) fn tick_label(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let label = if !(1e-4..1e5).contains(&step) {
        format!("{value:.1e}").replace(".0e", "e")
    } else if value.abs() >= 1e4 && step >= 1000.0 {
        format!("{:.0}k", value / 1000.0)
    } else {
        let digits = (-step.log10().floor()).max(0.0) as usize;
        format!("{value:.digits$}")
    };
    label.replace('-', "−")
}

/// For scripts: up to four significant digits, plain ASCII.
fn significant_ascii(x: f64) -> String {
    let rounded: f64 = format!("{x:.3e}").parse().unwrap_or(0.0);
    if rounded != 0.0 && (rounded.abs() < 1e-4 || rounded.abs() >= 1e9) {
        format!("{rounded:e}")
    } else {
        format!("{rounded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.2, 5.6, 5), [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0]);
        for (low, high) in
            [(0.0, 0.0), (5.0, 5.0), (-3.0, -3.0), (1e-9, 1.1e-9), (-1e300, 1e300), (0.0, 1e-300)]
        {
            let t = ticks(low, high, 5);
            assert!(t.len() >= 2 && t.len() < 20 && t.iter().all(|x| x.is_finite()), "{low} {high}: {t:?}");
            let (first, last) = (t[0], t[t.len() - 1]);
            assert!(
                first < last && (low.abs() > 1e100 || (first <= low && high <= last)),
                "{low} {high}: {t:?}"
            );
        }
    }

    #[test]
    fn labels() {
        let label = |v, s| tick_label(v, s);
        assert_eq!([label(0.06, 0.02), label(3.5, 0.5), label(20000.0, 5000.0)], ["0.06", "3.5", "20k"]);
        assert_eq!([label(-1.0, 1.0), label(2e-5, 1e-5), label(0.0, 1.0)], ["−1", "2e−5", "0"]);
    }

    #[test]
    fn long_curves_keep_their_extremes() {
        let points: Vec<_> = (0..10_000).map(|i| (f64::from(i), if i == 777 { 50.0 } else { 1.0 })).collect();
        let buckets = reduce(&points);
        assert_eq!(buckets.len(), BUCKETS);
        assert_eq!(buckets.iter().map(|b| b.high).fold(0.0, f64::max), 50.0);
    }
}
