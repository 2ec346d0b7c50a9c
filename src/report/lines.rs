//! A figure of several lines as an SVG file of its own: shares as percentages, whiskers for intervals, readable on
//! light and dark ground.

use super::chart::ticks;
use super::html::{escape, px};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 86.0;
const BOTTOM: f64 = 64.0;
/// About the width of a character.
const CHARACTER: f64 = 7.4;

/// Colours of lines in their order on light and on dark ground: told apart without red and green.
const COLOURS: [(&str, &str); 6] = [
    ("#0a6c94", "#58b9e6"),
    ("#b0480c", "#ffa265"),
    ("#6f7d88", "#9aa8b4"),
    ("#832db6", "#b673e6"),
    ("#8a6d00", "#d9bd4a"),
    ("#17713f", "#5ccf92"),
];

/// What the figure shows.
pub struct Lines<'a> {
    pub title: &'a str,
    pub x_name: &'a str,
    pub y_name: &'a str,
    /// Where the x axis has marks, and what they say.
    pub x_ticks: Vec<(f64, String)>,
    pub series: Vec<Series>,
}

/// One line.
pub struct Series {
    pub name: String,
    pub points: Vec<Point>,
    /// For what the others are to be compared with.
    pub dashed: bool,
}

/// A share at x with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub low: f64,
    pub high: f64,
}

/// Draws the figure. Points that are not finite are left out.
pub fn lines(figure: &Lines) -> String {
    let finite = |p: &&Point| [p.x, p.y, p.low, p.high].iter().all(|v| v.abs() < 1e100);
    let points = || figure.series.iter().flat_map(|s| s.points.iter().filter(finite));
    let xs = || points().map(|p| p.x).chain(figure.x_ticks.iter().map(|t| t.0).filter(|x| x.is_finite()));
    let low = points().map(|p| p.low.min(p.y)).fold(f64::INFINITY, f64::min);
    let high = points().map(|p| p.high.max(p.y)).fold(f64::NEG_INFINITY, f64::max);
    let y_ticks = if low <= high { ticks(low, high, 6) } else { ticks(0.0, 1.0, 5) };
    let (y_low, y_high) = (y_ticks[0], y_ticks[y_ticks.len() - 1]);
    let (x_low, x_high) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
    // Half a step of room on both sides; a single place stands in the middle.
    let room = if x_high > x_low { 0.04 * (x_high - x_low) } else { 1.0 };
    let x = |v: f64| LEFT + (v - x_low + room) / (x_high - x_low + 2.0 * room) * (WIDTH - LEFT - RIGHT);
    let y = |v: f64| HEIGHT - BOTTOM - (v - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);

    let mut out = head(figure);
    let digits = if y_ticks[1] - y_ticks[0] < 0.01 { 1 } else { 0 };
    for tick in &y_ticks {
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {0}H{1}\"/><text class=\"end\" x=\"{2}\" y=\"{0}\" \
             dy=\".35em\">{3:.digits$}\u{202f}%</text>",
            px(y(*tick)),
            px(WIDTH - RIGHT),
            px(LEFT - 9.0),
            100.0 * tick
        );
    }
    let mut at: Vec<f64> = figure.x_ticks.iter().map(|t| x(t.0)).filter(|at| at.is_finite()).collect();
    at.sort_by(f64::total_cmp);
    let step = at.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let longest = figure.x_ticks.iter().map(|t| t.1.chars().count()).max().unwrap_or(0);
    // About the width of the text, whatever the font: names that would touch are slanted.
    let slanted = CHARACTER * longest as f64 + 4.0 > step;
    for (at, name) in figure.x_ticks.iter().filter(|t| t.0.is_finite()) {
        let (at, under) = (px(x(*at)), px(HEIGHT - BOTTOM + 20.0));
        let turn = if slanted { format!(" transform=\"rotate(-25 {at} {under})\"") } else { String::new() };
        let anchor = if slanted { "end" } else { "mid" };
        let _ =
            write!(out, "<text class=\"{anchor}\" x=\"{at}\" y=\"{under}\"{turn}>{}</text>", escape(name));
    }
    let _ = write!(
        out,
        "<text class=\"mid axis\" x=\"{}\" y=\"{}\">{}</text>",
        px((LEFT + WIDTH - RIGHT) / 2.0),
        px(HEIGHT - 16.0),
        escape(figure.x_name)
    );
    // Baselines first, so that what matters lies on top.
    let mut order: Vec<usize> = (0..figure.series.len()).collect();
    order.sort_by_key(|&i| !figure.series[i].dashed);
    for i in order {
        let mut points: Vec<Point> = figure.series[i].points.iter().filter(finite).copied().collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        out.push_str(&drawn(&points, i, figure.series[i].dashed, &x, &y));
    }
    out + "</svg>\n"
}

fn drawn(
    points: &[Point],
    colour: usize,
    dashed: bool,
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) -> String {
    let mut out = format!("<g class=\"s{}{}\">", colour % COLOURS.len(), if dashed { " dashed" } else { "" });
    let path: Vec<String> = points.iter().map(|p| format!("{} {}", px(x(p.x)), px(y(p.y)))).collect();
    if path.len() > 1 {
        let _ = write!(out, "<path class=\"line\" d=\"M{}\"/>", path.join("L"));
    }
    for p in points {
        let (at, low, high) = (x(p.x), px(y(p.low)), px(y(p.high)));
        let (left, right) = (px(at - 4.0), px(at + 4.0));
        let at = px(at);
        let _ = write!(
            out,
            "<path class=\"whisker\" d=\"M{at} {low}V{high}M{left} {low}H{right}M{left} {high}H{right}\"/>\
             <circle cx=\"{at}\" cy=\"{}\" r=\"4\"><title>{:.2} % [{:.2}, {:.2}]</title></circle>",
            px(y(p.y)),
            100.0 * p.y,
            100.0 * p.low,
            100.0 * p.high
        );
    }
    out + "</g>"
}

/// The opening, the style, the titles and the legend.
fn head(figure: &Lines) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\" aria-label=\"{0}\"><style>\
         text{{font:13px system-ui,-apple-system,\"Segoe UI\",Roboto,\"Liberation Sans\",sans-serif;fill:#56616c}}\
         .end{{text-anchor:end}}.mid{{text-anchor:middle}}.title{{font-size:17px;font-weight:650;fill:#1a2026}}\
         .ground{{fill:#fff}}.grid{{stroke:#dfe3e7;fill:none}}.line{{stroke-width:2.5;stroke-linejoin:round;fill:none}}\
         .whisker{{stroke-width:1.3;stroke-opacity:.7;fill:none}}.dashed .line{{stroke-dasharray:7 5;stroke-width:2}}",
        escape(figure.title)
    );
    let colours = |f: &dyn Fn(&(&'static str, &'static str)) -> &'static str| {
        let rule = |(i, c): (usize, &(&'static str, &'static str))| {
            format!(".s{i} path{{stroke:{0}}}.s{i} circle{{fill:{0}}}", f(c))
        };
        COLOURS.iter().enumerate().map(rule).collect::<String>()
    };
    let _ = write!(
        out,
        "{}@media(prefers-color-scheme:dark){{.ground{{fill:#161d23}}text{{fill:#9aa8b4}}.title{{fill:#e7ecf0}}\
         .grid{{stroke:#2a343d}}{}}}</style><rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"10\"/>\
         <text class=\"title\" x=\"{LEFT}\" y=\"30\">{}</text>",
        colours(&|c| c.0),
        colours(&|c| c.1),
        escape(figure.title)
    );
    let mut at = LEFT;
    for (i, series) in figure.series.iter().enumerate() {
        let class = format!("s{}{}", i % COLOURS.len(), if series.dashed { " dashed" } else { "" });
        let _ = write!(
            out,
            "<g class=\"{class}\"><path class=\"line\" d=\"M{} 51h28\"/><circle cx=\"{}\" cy=\"51\" r=\"4\"/></g>\
             <text x=\"{}\" y=\"51\" dy=\".35em\">{}</text>",
            px(at),
            px(at + 14.0),
            px(at + 36.0),
            escape(&series.name)
        );
        at += 36.0 + CHARACTER * series.name.chars().count() as f64 + 22.0;
    }
    let _ = write!(
        out,
        "<text class=\"axis\" x=\"{LEFT}\" y=\"{}\">{}</text>",
        px(TOP - 8.0),
        escape(figure.y_name)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(points: Vec<Point>) -> Lines<'static> {
        let series = Series { name: "tr<ained".into(), points, dashed: false };
        let x_ticks = vec![(0.0, "conv1".into()), (1.0, "res2".into())];
        Lines { title: "T & t", x_name: "layer", y_name: "accuracy", x_ticks, series: vec![series] }
    }

    #[test]
    fn points_are_where_they_belong() {
        let point = |x, y| Point { x, y, low: y - 0.1, high: y + 0.1 };
        let svg = lines(&figure(vec![point(1.0, 0.9), point(0.0, 0.5)]));
        // From 40 % to 100 % over 280 pixels; x is padded by a 27th on each side of 674 pixels.
        assert!(svg.contains("<path class=\"line\" d=\"M87 319.3L711 132.7\"/>"), "{svg}");
        assert!(svg.contains(">40\u{202f}%<") && svg.contains(">100\u{202f}%<") && !svg.contains(">110"));
        assert!(svg.contains("90.00 % [80.00, 100.00]"));
        assert!(svg.contains(">conv1<") && svg.contains("tr&lt;ained") && svg.contains("T &amp; t"));
    }

    #[test]
    fn long_names_are_slanted() {
        let names = |n: usize| (0..n).map(|i| (i as f64, format!("projector.{i}"))).collect();
        assert!(!lines(&Lines { x_ticks: names(6), ..figure(vec![]) }).contains("rotate"));
        assert_eq!(lines(&Lines { x_ticks: names(12), ..figure(vec![]) }).matches("rotate(-25 ").count(), 12);
    }

    #[test]
    fn nothing_finite_is_still_a_figure() {
        let bad = Point { x: 0.0, y: f64::NAN, low: 0.0, high: f64::INFINITY };
        for points in [vec![], vec![bad]] {
            let svg = lines(&figure(points));
            assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.ends_with("</svg>\n"));
        }
        let alone = Point { x: 3.0, y: 0.25, low: 0.25, high: 0.25 };
        let one = Lines { x_ticks: vec![], ..figure(vec![alone]) };
        assert!(lines(&one).contains("cx=\"399\""), "{}", lines(&one));
    }
}
