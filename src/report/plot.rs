//! Lines of several runs over one pair of axes, as panels for a page or for one SVG file.

use super::chart::{tick_label, ticks};
use super::html::{escape, px, significant};
use super::lines::Point;
use std::fmt::Write;

const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 38.0;

/// What a panel shows.
#[derive(Default)]
pub(super) struct Plot {
    pub title: String,
    pub x_name: String,
    pub lines: Vec<Line>,
    /// Marks of the x axis; round numbers if there are none.
    pub x_ticks: Vec<(f64, String)>,
    /// Values the y axis must show.
    pub y_shows: Vec<f64>,
    pub log_y: bool,
    /// y is a share, marked in percent.
    pub percent: bool,
}

/// One line; `class` gives its colour and dashes, see [`class`].
pub(super) struct Line {
    pub class: String,
    pub name: String,
    pub points: Vec<Point>,
}

/// Colours there are; further lines take them again, dotted.
const COLOURS: usize = 9;

/// The class of the `i`-th line.
pub(super) fn class(i: usize) -> String {
    format!("k{}{}", i % COLOURS, if (i / COLOURS).is_multiple_of(2) { "" } else { " dotted" })
}

/// The class of what the others are compared with.
pub(super) const BASELINE: &str = "kb dashed";

/// A panel as an `<svg>`; nothing if no point is finite. `at` places it inside another SVG.
pub(super) fn panel(plot: &Plot, [width, height]: [f64; 2], at: Option<[f64; 2]>) -> Option<String> {
    let scale = |v: f64| if plot.log_y { v.log10() } else { v };
    let lines: Vec<(&Line, Vec<Point>)> =
        plot.lines.iter().map(|line| (line, scaled(&line.points, &scale))).collect();
    let points = || lines.iter().flat_map(|(_, points)| points);
    let ends = |f: fn(&Point) -> f64, shows: bool| {
        let values = points().map(f).chain(plot.y_shows.iter().map(|&v| scale(v)).filter(|_| shows));
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
    };
    let ([x_low, mut x_high], [low, _], [_, high]) =
        (ends(|p| p.x, false), ends(|p| p.low, true), ends(|p| p.high, true));
    points().next()?;
    if x_high <= x_low {
        x_high = x_low + 1.0;
    }
    let y_ticks = if plot.log_y { decades(low, high) } else { ticks(low, high, 4) };
    let (y_low, y_high) = (y_ticks[0], y_ticks[y_ticks.len() - 1]);
    let x = |v: f64| LEFT + (v - x_low) / (x_high - x_low) * (width - LEFT - RIGHT);
    let y = |v: f64| height - BOTTOM - (v - y_low) / (y_high - y_low) * (height - TOP - BOTTOM);

    let mut out = String::from("<svg class=\"plot\" ");
    if let Some([left, top]) = at {
        let _ = write!(out, "x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{height}\" ", px(left), px(top));
    }
    let _ = write!(
        out,
        "viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\"><text class=\"head\" x=\"{LEFT}\" y=\"16\">{0}</text>",
        escape(&plot.title)
    );
    for &tick in &y_ticks {
        let label = match (plot.log_y, plot.percent) {
            (true, _) => significant(10f64.powf(tick)),
            (_, true) => format!("{}\u{202f}%", tick_label(100.0 * tick, 100.0 * (y_ticks[1] - y_ticks[0]))),
            _ => tick_label(tick, y_ticks[1] - y_ticks[0]),
        };
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {0}H{1}\"/><text class=\"tick end\" x=\"{2}\" y=\"{0}\" dy=\".35em\">{label}</text>",
            px(y(tick)),
            px(width - RIGHT),
            px(LEFT - 6.0)
        );
    }
    let round = ticks(x_low, x_high, 4);
    let round = round.iter().map(|&t| (t, tick_label(t, round[1] - round[0])));
    let marks: Vec<(f64, String)> =
        if plot.x_ticks.is_empty() { round.collect() } else { plot.x_ticks.clone() };
    for (tick, label) in marks.iter().filter(|t| (x_low..=x_high).contains(&t.0)) {
        let (at, under) = (px(x(*tick)), px(height - BOTTOM + 16.0));
        let _ = write!(out, "<text class=\"tick mid\" x=\"{at}\" y=\"{under}\">{}</text>", escape(label));
    }
    let _ = write!(
        out,
        "<text class=\"axis end\" x=\"{}\" y=\"{}\">{}</text>",
        px(width - RIGHT),
        px(height - 5.0),
        escape(&plot.x_name)
    );
    // What the others are compared with lies beneath them.
    let (below, above): (Vec<_>, Vec<_>) = lines.iter().partition(|(line, _)| line.class == BASELINE);
    for (line, points) in below.into_iter().chain(above) {
        draw(&mut out, line, points, &x, &y);
    }
    Some(out + "</svg>")
}

/// Logarithms of 1, 2 and 5 × 10ᵏ (over more than two decades: of 10ᵏ) that enclose \[low, high\]; at least two.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high - low > 2.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let marks: Vec<f64> = ((low - 1.0).floor() as i32..=(high + 1.0).ceil() as i32)
        .flat_map(|k| steps.iter().map(move |m| m.log10() + f64::from(k)))
        .collect();
    let from = marks.iter().rposition(|m| *m <= low + 1e-9).unwrap_or(0);
    let to = marks.iter().position(|m| *m >= high - 1e-9).unwrap_or(marks.len() - 1);
    marks[from..=to.max(from + 1)].to_vec()
}

/// Finite points in the order of x, on the axis' scale.
fn scaled(points: &[Point], scale: &dyn Fn(f64) -> f64) -> Vec<Point> {
    let one = |p: &Point| Point { x: p.x, y: scale(p.y), low: scale(p.low), high: scale(p.high) };
    let finite = |p: &Point| [p.x, p.y, p.low, p.high].iter().all(|v| v.abs() < 1e100);
    let mut points: Vec<Point> = points.iter().map(one).filter(finite).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}

fn draw(out: &mut String, line: &Line, points: &[Point], x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) {
    let path = |f: &dyn Fn(&Point) -> f64, back: bool| {
        let mut places: Vec<String> =
            points.iter().map(|p| format!("{} {}", px(x(p.x)), px(y(f(p))))).collect();
        if back {
            places.reverse();
        }
        places.join("L")
    };
    let _ = write!(out, "<g class=\"{}\"><title>{}</title>", line.class, escape(&line.name));
    if let [only] = points {
        let (at, low, high) = (px(x(only.x)), px(y(only.low)), px(y(only.high)));
        let middle = px(y(only.y));
        let _ = write!(
            out,
            "<path class=\"curve\" d=\"M{at} {low}V{high}\"/><circle cx=\"{at}\" cy=\"{middle}\" r=\"3\"/>"
        );
    } else if !points.is_empty() {
        if points.iter().any(|p| p.high > p.low) {
            let _ = write!(
                out,
                "<path class=\"area\" d=\"M{}L{}Z\"/>",
                path(&|p| p.high, false),
                path(&|p| p.low, true)
            );
        }
        let _ = write!(out, "<path class=\"curve\" d=\"M{}\"/>", path(&|p| p.y, false));
    }
    out.push_str("</g>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<Point>) -> Plot {
        let line = Line { class: class(0), name: "a<b".into(), points };
        Plot { title: "T & t".into(), x_name: "x".into(), lines: vec![line], ..Plot::default() }
    }

    fn point(x: f64, y: f64) -> Point {
        Point { x, y, low: y, high: y }
    }

    #[test]
    fn points_are_where_they_belong() {
        let mut plot = plot(vec![point(10.0, 1.0), point(0.0, 0.0)]);
        let svg = panel(&plot, [300.0, 200.0], None).unwrap();
        assert!(svg.contains("<path class=\"curve\" d=\"M46 162L288 30\"/>"), "{svg}");
        assert!(svg.contains("T &amp; t") && svg.contains("a&lt;b") && !svg.contains("area"));
        // On a log axis 0 has no place, and one point is a dot.
        plot.log_y = true;
        assert!(panel(&plot, [300.0, 200.0], Some([5.0, 6.0])).unwrap().contains("<circle"));
    }

    #[test]
    fn log_axes_have_round_marks() {
        let marks = |low: f64, high: f64| -> Vec<f64> {
            decades(low.log10(), high.log10()).iter().map(|m| (10f64.powf(*m) * 1e6).round() / 1e6).collect()
        };
        assert_eq!(marks(0.03, 1.0), [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]);
        assert_eq!(marks(0.0002, 0.5), [0.0001, 0.001, 0.01, 0.1, 1.0]);
        assert_eq!(marks(1.0, 1.0), [1.0, 2.0]);
    }

    #[test]
    fn nothing_to_draw_is_no_panel() {
        for points in [vec![], vec![point(f64::NAN, 1.0)], vec![point(1.0, f64::INFINITY)]] {
            assert!(panel(&plot(points), [300.0, 200.0], None).is_none());
        }
    }

    #[test]
    fn the_tenth_line_is_told_from_the_first() {
        let all: std::collections::HashSet<String> = (0..18).map(class).collect();
        assert_eq!(all.len(), 18);
    }
}
