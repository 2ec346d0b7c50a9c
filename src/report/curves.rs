//! The curves of training.

use super::ReportData;
use super::chart::{Chart, figure};
use super::html::number;
use serde_json::Value;

pub(super) fn section(data: &ReportData) -> String {
    let steps: Vec<&Value> = of_kind(data, "step");
    let epochs: Vec<&Value> = of_kind(data, "epoch");
    let marks = epoch_starts(&steps);
    let by_step = |title, caption, key, from_zero, reference| {
        let (points, marks) = (series(&steps, "step", key), marks.clone());
        figure(&Chart { title, caption, x_name: "step", points, from_zero, reference, marks })
    };
    let ideal = number(&data.summary, "collapse.std_ideal").map(|y| (y, "1/√d: evenly spread"));
    let mut out = String::from(
        "<p class=\"lead\">Lines are means, the pale band around them runs from the lowest to the highest value, and \
         vertical hairlines mark epochs.</p><div class=\"grid2\">",
    );
    out += &by_step(
        "Loss",
        "What training minimises. How low it can get depends on batch size and temperature, so compare it only \
         between runs with the same settings; that it falls smoothly is what matters.",
        "loss",
        false,
        None,
    );
    out += &by_step(
        "Spread of the features (std)",
        "Standard deviation of each l2-normalised feature over the batch. Near the dashed line images are spread over \
         the whole sphere; a fall to 0 means every image gets the same feature: collapse.",
        "std",
        true,
        ideal,
    );
    out += &by_step(
        "Learning rate",
        "The size of each step: a warm-up, so that large early gradients do no harm, then a cosine down to 0.",
        "lr",
        true,
        None,
    );
    out += &by_step(
        "Throughput",
        "Source images a second. A flat line is a healthy one; dips are other programs, slow disks, or evaluation.",
        "images_per_second",
        true,
        None,
    );
    let rank = series(&epochs, "epoch", "collapse.effective_rank");
    if rank.iter().filter(|p| p.1.is_finite()).count() > 1 {
        out += &figure(&Chart {
            title: "Effective rank by epoch",
            caption: "How many directions the features fill. A good run fills more and more of them.",
            x_name: "epoch",
            points: rank,
            from_zero: true,
            reference: None,
            marks: Vec::new(),
        });
        let uniformity = series(&epochs, "epoch", "collapse.uniformity");
        out += &figure(&Chart {
            title: "Uniformity by epoch",
            caption: "How evenly images cover the sphere; lower is more even, 0 is a single point.",
            x_name: "epoch",
            points: uniformity,
            from_zero: true,
            reference: None,
            marks: Vec::new(),
        });
    }
    out + "</div>"
}

fn of_kind<'a>(data: &'a ReportData, kind: &str) -> Vec<&'a Value> {
    data.metrics.iter().filter(|m| m.get("kind").and_then(Value::as_str) == Some(kind)).collect()
}

/// (x, y) of the rows that have the key at all; a value that is null or no number becomes NaN, to be counted.
fn series(rows: &[&Value], x: &str, y: &str) -> Vec<(f64, f64)> {
    let first_key = y.split('.').next().unwrap_or(y);
    rows.iter()
        .enumerate()
        .filter(|(_, row)| row.get(first_key).is_some())
        .map(|(i, row)| (number(row, x).unwrap_or(i as f64), number(row, y).unwrap_or(f64::NAN)))
        .collect()
}

/// Steps at which the epoch changes; none if that would be a thicket.
fn epoch_starts(steps: &[&Value]) -> Vec<f64> {
    let starts: Vec<f64> = steps
        .windows(2)
        .filter(|pair| number(pair[0], "epoch") != number(pair[1], "epoch"))
        .filter_map(|pair| number(pair[1], "step"))
        .collect();
    if starts.len() <= 30 { starts } else { Vec::new() }
}
