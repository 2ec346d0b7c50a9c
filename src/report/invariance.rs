//! The invariance curves as one SVG file: small multiples, a panel a nuisance.

use super::lines::Point;
use super::plot::{BASELINE, Line, Plot, class, panel};
use crate::eval::{Curve, Invariance, Sweep};
use std::fmt::Write;

const PANEL: [f64; 2] = [300.0, 210.0];
const COLUMNS: usize = 3;
const GAP: f64 = 16.0;
const HEAD: f64 = 66.0;

const STYLE: &str = "text{font:12px system-ui,-apple-system,\"Segoe UI\",Roboto,\"Liberation Sans\",sans-serif;fill:#56616c}\
    .end{text-anchor:end}.mid{text-anchor:middle}.title{font-size:17px;font-weight:650;fill:#1a2026}\
    .head{font-size:13px;font-weight:600;fill:#1a2026}.ground{fill:#fff}.grid{stroke:#dfe3e7;fill:none}\
    .curve{stroke-width:2;stroke-linejoin:round;fill:none}.area{fill-opacity:.17}.dashed .curve{stroke-dasharray:5 4}\
    .k0 .curve{stroke:#0a6c94}.k0 .area{fill:#0a6c94}.kb .curve{stroke:#6f7d88}.kb .area{fill:#6f7d88}\
    @media(prefers-color-scheme:dark){.ground{fill:#161d23}text{fill:#9aa8b4}.title,.head{fill:#e7ecf0}\
    .grid{stroke:#2a343d}.k0 .curve{stroke:#58b9e6}.k0 .area{fill:#58b9e6}.kb .curve{stroke:#9aa8b4}.kb .area{fill:#9aa8b4}}";

/// Draws the curves of the trained against those of the untrained encoder: the cosines themselves with a band of one
/// standard deviation, and below them the curves relative to the cosine between different images.
pub fn invariance_svg(found: &Invariance) -> String {
    let rows = found.sweeps.len().div_ceil(COLUMNS) as f64;
    let block = HEAD + rows * (PANEL[1] + GAP);
    let width = COLUMNS as f64 * (PANEL[0] + GAP) + GAP;
    let height = 2.0 * block + 52.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Invariance of features to changes of an image\"><style>{STYLE}</style>\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"10\"/>\
         <g class=\"k0\"><path class=\"curve\" d=\"M{GAP} 26h28\"/></g><text x=\"52\" y=\"30\">trained</text>\
         <g class=\"{BASELINE}\"><path class=\"curve\" d=\"M120 26h28\"/></g><text x=\"156\" y=\"30\">untrained</text>\
         <text x=\"240\" y=\"30\">{} held-out images; bands are one standard deviation over images</text>",
        found.images
    );
    let blocks = [
        (
            "Cosine between an image and its changed self",
            format!(
                "different images: {:.3} trained, {:.3} untrained; a collapsed encoder has 1 everywhere",
                found.between[0], found.between[1]
            ),
            false,
        ),
        (
            "The same, relative to different images: (cos − between) / (1 − between)",
            "1: the change does not show; 0: the changed image is no nearer to itself than to any other image".into(),
            true,
        ),
    ];
    for (i, (title, note, relative)) in blocks.into_iter().enumerate() {
        let top = 44.0 + i as f64 * block;
        let _ = write!(
            out,
            "<text class=\"title\" x=\"{GAP}\" y=\"{}\">{title}</text><text x=\"{GAP}\" y=\"{}\">{note}</text>",
            top + 28.0,
            top + 48.0
        );
        for (j, sweep) in found.sweeps.iter().enumerate() {
            let column = (j % COLUMNS) as f64;
            let row = (j / COLUMNS) as f64;
            let at = [GAP + column * (PANEL[0] + GAP), top + HEAD + row * (PANEL[1] + GAP)];
            out += &panel(&plot(sweep, relative), PANEL, Some(at)).unwrap_or_default();
        }
    }
    out + "</svg>\n"
}

fn plot(sweep: &Sweep, relative: bool) -> Plot {
    let line = |name: &str, class: String, curve: &Curve| Line {
        class,
        name: name.into(),
        points: points(&sweep.values, curve, relative),
    };
    Plot {
        title: sweep.nuisance.clone(),
        x_name: sweep.unit.clone(),
        lines: vec![
            line("trained", class(0), &sweep.trained),
            line("untrained", BASELINE.into(), &sweep.untrained),
        ],
        y_shows: if relative { vec![0.0, 1.0] } else { vec![1.0] },
        ..Plot::default()
    }
}

/// The points of a curve: with its band, or relative and without.
pub(super) fn points(values: &[f64], curve: &Curve, relative: bool) -> Vec<Point> {
    let bare = |(&x, &y): (&f64, &f64)| Point { x, y, low: y, high: y };
    if relative {
        return values.iter().zip(curve.relative.iter().flatten()).map(bare).collect();
    }
    let means = values.iter().zip(&curve.mean).zip(&curve.std);
    // A cosine ends at 1, whatever the deviation.
    means.map(|((&x, &y), &std)| Point { x, y, low: y - std, high: (y + std).min(1.0_f64.max(y)) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_panel_a_nuisance_and_block() {
        let curve = |b: f64| Curve {
            mean: vec![1.0, 0.8],
            std: vec![0.0, 0.1],
            relative: (b < 1.0).then(|| vec![1.0, (0.8 - b) / (1.0 - b)]),
        };
        let sweep = |name: &str| Sweep {
            nuisance: name.into(),
            unit: "degrees".into(),
            values: vec![0.0, 90.0],
            trained: curve(0.5),
            untrained: curve(1.0),
        };
        let sweeps = vec![sweep("rotation"), sweep("blur")];
        let found = Invariance { images: 7, between: [0.5, 1.0], sweeps, skipped: vec![] };
        let svg = invariance_svg(&found);
        assert_eq!(svg.matches("<svg class=\"plot\"").count(), 4);
        // The untrained encoder of this example has no relative curve.
        assert_eq!(svg.matches("<title>untrained</title><path").count(), 2);
        assert_eq!(svg.matches("class=\"area\"").count(), 4);
        assert!(!svg.contains("NaN"));
    }
}
