//! The 2-D map: a dot for each image, coloured and shaped by class.

use super::html::{escape, missing, px};
use super::{MapPoint, ReportData};
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 640.0;
const MARGIN: f64 = 26.0;
/// Classes named in the legend.
const MAX_NAMED: usize = 40;
pub(super) const COLOURS: usize = 10;
/// Marks of about equal area around the origin; with ten colours, fifty classes differ.
const SHAPES: [&str; 5] = [
    "<circle id=\"m0\" r=\"4.2\"/>",
    "<path id=\"m1\" d=\"M0-5.2 4.9 3.5H-4.9Z\"/>",
    "<path id=\"m2\" d=\"M-3.7-3.7H3.7V3.7H-3.7Z\"/>",
    "<path id=\"m3\" d=\"M0-5.4 5 0 0 5.4-5 0Z\"/>",
    "<path id=\"m4\" d=\"M-1.7-5h3.4v3.3H5v3.4H1.7V5h-3.4V1.7H-5v-3.4h3.3Z\"/>",
];

pub(super) fn section(data: &ReportData) -> String {
    let finite = |p: &&MapPoint| p.x.is_finite() && p.y.is_finite();
    let mut by_class: BTreeMap<i64, Vec<(f64, f64)>> = BTreeMap::new();
    for p in data.map.iter().filter(finite) {
        by_class.entry(p.label).or_default().push((f64::from(p.x), f64::from(p.y)));
    }
    if by_class.is_empty() {
        return missing("No map was made.");
    }
    let spread = fit(&mut by_class);
    let mut dots = String::new();
    let mut legend = String::new();
    for (i, (label, points)) in by_class.iter().enumerate() {
        let (colour, shape, name) =
            (i % COLOURS, (i + i / COLOURS) % SHAPES.len(), escape(&data.class(*label)));
        let _ = write!(dots, "<g class=\"c{colour}\" data-k=\"{i}\"><title>{name}</title>");
        for (x, y) in points {
            let _ = write!(dots, "<use href=\"#m{shape}\" x=\"{}\" y=\"{}\"/>", px(*x), px(*y));
        }
        dots.push_str("</g>");
        if i < MAX_NAMED {
            let _ = write!(
                legend,
                "<li data-k=\"{i}\"><svg class=\"c{colour}\" viewBox=\"-6 -6 12 12\" aria-hidden=\"true\"><use \
                 href=\"#m{shape}\"/></svg>{name} <small>{}</small></li>",
                points.len()
            );
        }
    }
    if by_class.len() > MAX_NAMED {
        let _ = write!(legend, "<li>and {} more</li>", by_class.len() - MAX_NAMED);
    }
    let (count, note) = (by_class.values().map(Vec::len).sum::<usize>(), if spread { "" } else { COINCIDE });
    format!(
        "<p class=\"lead\">Each mark is a test image, placed by t-SNE so that images with similar features lie close \
         together; the colour is its class, which neither the encoder nor the map was told. Islands of one colour are \
         classes that were found without labels. Only closeness means something here: axes, sizes of islands and \
         distances between them do not.{note}</p><figure class=\"card\"><svg class=\"map\" viewBox=\"0 0 {WIDTH} \
         {HEIGHT}\" role=\"img\" aria-label=\"Map of {count} images in {} classes\"><defs>{}</defs>{dots}{}</svg>\
         <figcaption><ul class=\"legend\">{legend}</ul></figcaption></figure>",
        by_class.len(),
        SHAPES.concat(),
        if spread { names(data, &by_class) } else { String::new() }
    )
}

const COINCIDE: &str = " <b>All points coincide: the features have collapsed to one.</b>";

/// Scales the points into the picture, both axes alike; false if they all coincide.
fn fit(by_class: &mut BTreeMap<i64, Vec<(f64, f64)>>) -> bool {
    let range = |f: fn(&(f64, f64)) -> f64| {
        let all = || by_class.values().flatten().map(f);
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max))
    };
    let ((x0, x1), (y0, y1)) = (range(|p| p.0), range(|p| p.1));
    let room =
        |size: f64, extent: f64| if extent > 0.0 { (size - 2.0 * MARGIN) / extent } else { f64::INFINITY };
    let scale = room(WIDTH, x1 - x0).min(room(HEIGHT, y1 - y0));
    let spread = scale.is_finite();
    let scale = if spread { scale } else { 1.0 };
    for (x, y) in by_class.values_mut().flatten() {
        *x = WIDTH / 2.0 + (*x - (x0 + x1) / 2.0) * scale;
        *y = HEIGHT / 2.0 + (*y - (y0 + y1) / 2.0) * scale;
    }
    spread
}

/// Class names in the middle of their points, left out where they would cover another.
fn names(data: &ReportData, by_class: &BTreeMap<i64, Vec<(f64, f64)>>) -> String {
    let mut out = String::from("<g class=\"names\" aria-hidden=\"true\">");
    let mut placed: Vec<(f64, f64, f64)> = Vec::new();
    for (label, points) in by_class.iter().take(MAX_NAMED) {
        let median = |f: fn(&(f64, f64)) -> f64| {
            let mut v: Vec<f64> = points.iter().map(f).collect();
            v.sort_by(f64::total_cmp);
            v[v.len() / 2]
        };
        let name = data.class(*label);
        // About 8.5 px a letter at this size.
        let half = name.chars().count() as f64 * 4.3 + 4.0;
        let (x, y) = (median(|p| p.0).clamp(half, (WIDTH - half).max(half)), median(|p| p.1));
        if placed.iter().all(|(px, py, ph)| (px - x).abs() > ph + half || (py - y).abs() > 20.0) {
            placed.push((x, y, half));
            let _ = write!(out, "<text x=\"{}\" y=\"{}\">{}</text>", px(x), px(y + 5.0), escape(&name));
        }
    }
    out + "</g>"
}
