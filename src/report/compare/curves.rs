//! The curves of the page: loss, spectrum, layers, invariance, few labels.

use super::group::Group;
use super::pool::pooled;
use super::read::Run;
use crate::eval::Curve;
use crate::report::html::{at, number};
use crate::report::invariance::points;
use crate::report::lines::Point;
use crate::report::plot::{BASELINE, Line, Plot, class, panel};
use serde_json::Value;

const SMALL: [f64; 2] = [340.0, 220.0];
const LARGE: [f64; 2] = [760.0, 340.0];
/// The class of the raw pixels' line.
pub(super) const PIXELS: &str = "kp dashed";
/// What an accuracy can be.
pub(super) const SHARE: [f64; 2] = [0.0, 1.0];
/// The least singular value that is drawn, as a share of the largest.
const FLOOR: f64 = 1e-6;
/// Points a loss curve is reduced to.
const BUCKETS: usize = 120;

fn bare(x: f64, y: f64) -> Point {
    Point { x, y, low: y, high: y }
}

fn small(plot: &Plot) -> String {
    panel(plot, SMALL, None).map_or(String::new(), |svg| format!("<figure class=\"card\">{svg}</figure>"))
}

fn large(plot: &Plot) -> Option<String> {
    panel(plot, LARGE, None).map(|svg| format!("<figure class=\"card scroll wide\">{svg}</figure>"))
}

/// A panel a method, a line a seed: losses of different methods are different things.
pub(super) fn losses(groups: &[Group]) -> Option<String> {
    let panels: String = groups
        .iter()
        .enumerate()
        .map(|(i, group)| {
            let line =
                |run: &&Run| Line { class: class(i), name: run.folder.clone(), points: reduced(&run.losses) };
            small(&Plot {
                title: group.name.clone(),
                x_name: "step".into(),
                lines: group.runs.iter().map(line).collect(),
                ..Plot::default()
            })
        })
        .collect();
    (!panels.is_empty()).then(|| format!("<div class=\"grid3\">{panels}</div>"))
}

/// Means of at most [`BUCKETS`] stretches of finite losses, with the lowest and highest of each.
fn reduced(losses: &[(f64, f64)]) -> Vec<Point> {
    let finite: Vec<(f64, f64)> =
        losses.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    finite
        .chunks(finite.len().div_ceil(BUCKETS).max(1))
        .map(|part| {
            let mean = |f: fn(&(f64, f64)) -> f64| part.iter().map(f).sum::<f64>() / part.len() as f64;
            let ys = || part.iter().map(|p| p.1);
            Point {
                x: mean(|p| p.0),
                y: mean(|p| p.1),
                low: ys().fold(f64::INFINITY, f64::min),
                high: ys().fold(f64::NEG_INFINITY, f64::max),
            }
        })
        .collect()
}

/// Singular values over the largest, a line a method.
pub(super) fn spectrum(groups: &[Group]) -> Option<String> {
    let line = |(i, group): (usize, &Group)| {
        let of = |run: &&Run| {
            let values = run.spectrum.as_ref()?;
            let largest = values.first().copied().filter(|v| *v > 0.0)?;
            let point = |(k, v): (usize, &f64)| bare(k as f64 + 1.0, (v / largest).max(FLOOR));
            Some(values.iter().enumerate().map(point).collect())
        };
        let curves: Vec<Vec<Point>> = group.runs.iter().filter_map(of).collect();
        (!curves.is_empty()).then(|| Line {
            class: class(i),
            name: group.name.clone(),
            points: pooled(&curves, [FLOOR, 1.0]),
        })
    };
    large(&Plot {
        title: "Singular value, as a share of the largest".into(),
        x_name: "direction".into(),
        lines: groups.iter().enumerate().filter_map(line).collect(),
        log_y: true,
        ..Plot::default()
    })
}

/// A share with its interval, or a mean with that of seeds: `y` and the ends at two keys.
pub(super) fn point(x: f64, value: &Value, y: &str, interval: &str) -> Option<Point> {
    let y = number(value, y)?;
    let end = |i: usize| at(value, interval).and_then(|v| v.get(i)).and_then(Value::as_f64).unwrap_or(y);
    Some(Point { x, y, low: end(0), high: end(1) })
}

fn rows(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Accuracy by layer, a line a method; the untrained encoder is that of the method with most layers.
pub(super) fn layers(groups: &[Group]) -> Option<String> {
    let found: Vec<(usize, &Group, Vec<&[Value]>)> = groups
        .iter()
        .enumerate()
        .map(|(i, g)| (i, g, g.lists(|r| r.layers.as_ref())))
        .filter(|(.., runs)| !runs.is_empty())
        .collect();
    // Encoders share their layers; projectors may be of different depth.
    let (.., all) = found.iter().max_by_key(|(.., runs)| runs[0].len())?;
    let deepest = all[0];
    let name = |row: &Value| at(row, "name").and_then(Value::as_str).unwrap_or("?").to_string();
    let names: Vec<String> = deepest.iter().map(name).collect();
    let curve = |runs: &[&[Value]], y: &str, interval: &str| -> Vec<Point> {
        let place = |row: &Value| names.iter().position(|n| *n == name(row));
        let of = |rows: &&[Value]| {
            rows.iter().filter_map(|row| point(place(row)? as f64, row, y, interval)).collect()
        };
        pooled(&runs.iter().map(of).collect::<Vec<_>>(), SHARE)
    };
    let mut lines: Vec<Line> = found
        .iter()
        .map(|(i, group, runs)| Line {
            class: class(*i),
            name: group.name.clone(),
            points: curve(runs, "linear_top1", "interval"),
        })
        .collect();
    lines.push(Line {
        class: BASELINE.into(),
        name: "untrained".into(),
        points: curve(all, "untrained", "untrained_interval"),
    });
    large(&Plot {
        title: "Linear probe, top-1 on held-out images".into(),
        x_name: "layer".into(),
        lines,
        x_ticks: names.into_iter().enumerate().map(|(i, n)| (i as f64, n)).collect(),
        percent: true,
        ..Plot::default()
    })
}

/// Accuracy by labels a class, on a log axis.
pub(super) fn few(groups: &[Group]) -> Option<String> {
    let mut counts: Vec<f64> = Vec::new();
    let mut lines = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        let runs = group.lists(|r| r.few.as_ref());
        let Some(rows) = runs.first() else { continue };
        let curve = |key: &str| -> Vec<Point> {
            let one = |row: &Value| {
                let x = number(row, "labels_per_class").filter(|n| *n >= 1.0)?.log10();
                let spread = at(row, key)?;
                let y = number(spread, "mean")?;
                let end = |key| number(spread, key).unwrap_or(y);
                Some(Point { x, y, low: end("low"), high: end("high") })
            };
            let curves: Vec<Vec<Point>> =
                runs.iter().map(|rows| rows.iter().filter_map(one).collect()).collect();
            pooled(&curves, SHARE)
        };
        if lines.is_empty() {
            counts =
                rows.iter().filter_map(|row| number(row, "labels_per_class")).filter(|n| *n >= 1.0).collect();
            for (key, name, class) in
                [("untrained", "untrained", BASELINE), ("raw_pixels", "raw pixels", PIXELS)]
            {
                lines.push(Line { class: class.into(), name: name.into(), points: curve(key) });
            }
        }
        lines.push(Line { class: class(i), name: group.name.clone(), points: curve("pretrained") });
    }
    large(&Plot {
        title: "Linear probe, top-1 on held-out images".into(),
        x_name: "labels a class".into(),
        lines,
        x_ticks: counts.iter().map(|n| (n.log10(), n.to_string())).collect(),
        percent: true,
        ..Plot::default()
    })
}

/// A panel a nuisance: relative curves of all methods, and the untrained one of the first.
pub(super) fn invariance(groups: &[Group]) -> Option<String> {
    let found: Vec<(usize, &Group, Vec<&[Value]>)> = groups
        .iter()
        .enumerate()
        .map(|(i, g)| (i, g, g.lists(|r| r.diagnostics.as_ref()?.get("invariance"))))
        .filter(|(.., runs)| !runs.is_empty())
        .collect();
    let (.., first_runs) = found.first()?;
    let curve = |runs: &[&[Value]], nuisance: &str, key: &str| -> Vec<Point> {
        let of = |sweeps: &&[Value]| {
            let sweep = sweeps.iter().find(|s| s["nuisance"] == nuisance)?;
            let values: Vec<f64> = rows(sweep.get("values")).iter().filter_map(Value::as_f64).collect();
            let curve = serde_json::from_value::<Curve>(sweep.get(key)?.clone()).ok()?;
            Some(points(&values, &curve, true))
        };
        pooled(&runs.iter().filter_map(of).collect::<Vec<_>>(), [f64::NEG_INFINITY, 1.0])
    };
    let panels: String = first_runs[0]
        .iter()
        .map(|first| {
            let nuisance = at(first, "nuisance").and_then(Value::as_str).unwrap_or("?");
            let mut lines = vec![Line {
                class: BASELINE.into(),
                name: "untrained".into(),
                points: curve(first_runs, nuisance, "untrained"),
            }];
            for (i, group, runs) in &found {
                let points = curve(runs, nuisance, "trained");
                lines.push(Line { class: class(*i), name: group.name.clone(), points });
            }
            small(&Plot {
                title: nuisance.into(),
                x_name: at(first, "unit").and_then(Value::as_str).unwrap_or_default().into(),
                lines,
                y_shows: vec![0.0, 1.0],
                ..Plot::default()
            })
        })
        .collect();
    (!panels.is_empty()).then(|| format!("<div class=\"grid3\">{panels}</div>"))
}
