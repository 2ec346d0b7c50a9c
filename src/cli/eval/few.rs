//! `rusa eval --few`.

use super::sources::Sources;
use super::{draw, percent, say};
use anyhow::{Context, Result, bail};
use rusa::data::Dataset;
use rusa::eval::{FEW_LABELS, LinearOptions, Spread, few_labels};
use rusa::report::{Lines, Point, Series};
use serde_json::{Value, json};
use std::path::Path;

/// The numbers of labels a class that a list asks for; all that the smallest class allows if it is empty.
pub fn counts(list: &str, data: &Dataset) -> Result<Vec<usize>> {
    let mut of_class = vec![0; data.classes.len()];
    (0..data.train.len()).for_each(|i| of_class[data.train.label(i) as usize] += 1);
    // A class that only the test split has cannot be learnt, with few labels or many.
    let smallest =
        (0..of_class.len()).filter(|&class| of_class[class] > 0).min_by_key(|&class| of_class[class]);
    let smallest = smallest.context("there are no training images")?;
    let most = of_class[smallest];
    if list.is_empty() {
        return Ok(FEW_LABELS.into_iter().filter(|&n| n <= most).collect());
    }
    let mut counts = Vec::new();
    for word in list.split(',') {
        match word.trim().parse::<usize>() {
            Ok(n) if n > 0 => counts.push(n),
            _ => bail!("--few takes numbers of labels a class, such as --few 1,10,100; `{word}` is none"),
        }
    }
    if let Some(n) = counts.iter().find(|&&n| n > most) {
        let class = &data.classes[smallest];
        bail!(
            "--few {n}: class `{class}` has only {most} training images; ask for at most {most} labels a class"
        );
    }
    counts.sort_unstable();
    counts.dedup();
    Ok(counts)
}

/// The curve of every source, as a table, as JSON, and drawn where asked.
pub fn run(
    sources: &Sources,
    counts: &[usize],
    seeds: usize,
    options: &LinearOptions,
    out: Option<&Path>,
) -> Result<Value> {
    let mut curves: Vec<Vec<Spread>> = Vec::new();
    for source in sources.all() {
        curves.push(few_labels(&source.train, &source.test, counts, seeds, options)?);
    }
    say!("linear probe on few labels; mean over {seeds} draws and its 95 % interval (Student's t)");
    let names: String = sources.all().iter().map(|source| format!("{:>25}", source.name)).collect();
    say!("{:<14}{names}", "labels a class");
    let mut rows = Vec::new();
    for (i, &count) in counts.iter().enumerate() {
        let mut row = json!({"labels_per_class": count});
        let mut line = format!("{count:<14}");
        for (source, curve) in sources.all().iter().zip(&curves) {
            let spread = &curve[i];
            line += &format!("{:>25}", percent(spread.mean, (spread.low, spread.high)));
            row[source.key] = serde_json::to_value(spread)?;
        }
        say!("{line}");
        rows.push(row);
    }
    let series = sources.all().iter().zip(&curves).map(|(source, curve)| Series {
        name: source.name.into(),
        points: counts
            .iter()
            .zip(curve)
            .map(|(&n, s)| Point { x: (n as f64).log10(), y: s.mean, low: s.low, high: s.high })
            .collect(),
        dashed: source.name != super::sources::TRAINED,
    });
    let figure = Lines {
        title: "Accuracy by number of labels",
        x_name: "labels a class",
        y_name: "Linear probe, top-1 on held-out images",
        x_ticks: counts.iter().map(|&n| ((n as f64).log10(), n.to_string())).collect(),
        series: series.collect(),
    };
    draw(out, &figure)?;
    Ok(rows.into())
}
