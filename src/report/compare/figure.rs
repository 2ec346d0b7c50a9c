//! The talk's figure as a file of its own: a probe on every layer that all runs have, a line a method.

use super::super::html::at;
use super::super::lines::{Lines, Series, lines};
use super::curves::{SHARE, point};
use super::group::groups;
use super::pool::pooled;
use super::read::Run;
use serde_json::Value;

/// Accuracy of a linear probe by layer, a line a method over its runs that have `layers.json`, beside the untrained
/// encoder; `None` if none has.
pub fn layers_svg(runs: &[Run]) -> Option<String> {
    let groups = groups(runs);
    let found: Vec<(&str, Vec<&[Value]>)> = groups
        .iter()
        .map(|g| (g.name.as_str(), g.lists(|r| r.layers.as_ref())))
        .filter(|(_, runs)| !runs.is_empty())
        .collect();
    let name = |row: &Value| at(row, "name").and_then(Value::as_str).unwrap_or("?").to_string();
    let (_, first) = found.first()?;
    let shared = |n: &String| {
        found.iter().flat_map(|(_, runs)| runs).all(|rows| rows.iter().any(|row| name(row) == *n))
    };
    let names: Vec<String> = first[0].iter().map(name).filter(shared).collect();
    let curve = |runs: &[&[Value]], y: &str, interval: &str| {
        let place = |row: &Value| names.iter().position(|n| *n == name(row));
        let of = |rows: &&[Value]| {
            rows.iter().filter_map(|row| point(place(row)? as f64, row, y, interval)).collect()
        };
        pooled(&runs.iter().map(of).collect::<Vec<_>>(), SHARE)
    };
    let mut series: Vec<Series> = found
        .iter()
        .map(|(name, runs)| Series {
            name: if runs.len() > 1 { format!("{name} ({} runs)", runs.len()) } else { name.to_string() },
            points: curve(runs, "linear_top1", "interval"),
            dashed: false,
        })
        .collect();
    let untrained = curve(first, "untrained", "untrained_interval");
    series.push(Series { name: "untrained".into(), points: untrained, dashed: true });
    Some(lines(&Lines {
        title: "Linear probe on each layer",
        x_name: "layer",
        y_name: "top-1 on held-out images",
        x_ticks: names.iter().enumerate().map(|(i, n)| (i as f64, n.clone())).collect(),
        series,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn layers_that_all_have_and_a_line_each() {
        let run = |method: &str, layers: Value| Run {
            folder: method.into(),
            summary: json!({"method": method, "seed": 0}),
            config: method.into(),
            layers: Some(layers),
            ..Run::default()
        };
        let row = |name: &str, y: f64| json!({"name": name, "linear_top1": y, "interval": [y, y], "untrained": 0.4});
        let runs = [
            run("jigsaw", json!([row("res4", 0.6), row("res5", 0.5), row("projector.0", 0.2)])),
            run("pirl", json!([row("res4", 0.6), row("res5", 0.7)])),
        ];
        let svg = layers_svg(&runs).unwrap();
        assert!(["jigsaw", "pirl", "untrained", "res4", "res5"].iter().all(|word| svg.contains(word)));
        assert!(!svg.contains("projector.0"));
        assert!(layers_svg(&[Run::default()]).is_none());
        // Another seed of the second is no line of its own.
        let [first, mut again] = runs.clone();
        again.summary["seed"] = json!(1);
        let svg = layers_svg(&[first, runs[1].clone(), again]).unwrap();
        assert!(svg.contains("pirl (2 runs)") && !svg.contains("jigsaw ("));
    }
}
