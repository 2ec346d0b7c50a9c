//! `rusa eval --few`.

use super::finetune::Tuning;
use super::sources::{Sources, TRAINED};
use super::{Difference, draw, percent, say};
use anyhow::{Context, Result, bail};
use rusa::data::Dataset;
use rusa::eval::{FEW_LABELS, Labels, LinearOptions, Spread, few_labels};
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
    let (class, most) = (&data.classes[smallest], of_class[smallest]);
    if list.is_empty() {
        let counts: Vec<usize> = FEW_LABELS.into_iter().filter(|&n| n <= most).collect();
        if counts.len() < FEW_LABELS.len() {
            eprintln!(
                "note: --few stops at {} labels a class: class `{class}` has only {most} training images",
                counts[counts.len() - 1]
            );
        }
        return Ok(counts);
    }
    let mut counts = Vec::new();
    for word in list.split(',') {
        match word.trim().parse::<usize>() {
            Ok(n) if n > 0 => counts.push(n),
            _ => bail!("--few takes numbers of labels a class, such as --few 1,10,100; `{word}` is none"),
        }
    }
    if let Some(n) = counts.iter().find(|&&n| n > most) {
        bail!(
            "--few {n}: class `{class}` has only {most} training images; ask for at most {most} labels a class"
        );
    }
    counts.sort_unstable();
    counts.dedup();
    Ok(counts)
}

/// Accuracy by number of labels, of one way to learn from them.
pub struct Curve {
    /// In tables.
    pub name: &'static str,
    /// In JSON.
    pub key: &'static str,
    /// One for each count.
    pub points: Vec<Spread>,
}

/// Differences that are shown where both are there: what is hoped to be better, and what it is to be compared with.
const DIFFERENCES: [[&str; 2]; 5] = [
    ["pretrained", "raw_pixels"],
    ["pretrained", "untrained"],
    ["fine_tuned", "from_scratch"],
    ["fine_tuned", "raw_pixels"],
    ["fine_tuned", "pretrained"],
];

/// Linear probes on the frozen features of every source.
pub fn probe(
    sources: &Sources,
    counts: &[usize],
    seeds: usize,
    options: &LinearOptions,
) -> Result<Vec<Curve>> {
    let labels: Vec<Labels> = counts.iter().copied().map(Labels::PerClass).collect();
    let curve = |source: &super::sources::Source| {
        let points = few_labels(&source.train, &source.test, &labels, seeds, options)?;
        Ok(Curve { name: source.name, key: source.key, points })
    };
    sources.all().iter().map(curve).collect()
}

/// The whole encoder, from the trained weights and from scratch, on the draws that the probes saw.
pub fn tune(tuning: &Tuning, counts: &[usize]) -> Result<Vec<Curve>> {
    let runs = counts.iter().map(|&n| tuning.both(Labels::PerClass(n), &format!("{n} labels a class")));
    let (tuned, scratch) = runs.collect::<Result<Vec<_>>>()?.into_iter().map(|[a, b]| (a, b)).unzip();
    Ok(vec![
        Curve { name: "fine-tuned", key: "fine_tuned", points: tuned },
        Curve { name: "from scratch", key: "from_scratch", points: scratch },
    ])
}

/// The curves and their paired differences, as tables and as JSON, and drawn where asked.
pub fn show(curves: &[Curve], counts: &[usize], seeds: usize, out: Option<&Path>) -> Result<Value> {
    let tuned = curves.iter().any(|curve| curve.key == "fine_tuned");
    let what = if tuned { "linear probe and fine-tuning" } else { "linear probe" };
    say!("{what} on few labels; mean over {seeds} draws and its 95 % interval (Student's t)");
    let names: String = curves.iter().map(|curve| format!("{:>25}", curve.name)).collect();
    say!("{:<14}{names}", "labels a class");
    let mut rows = Vec::new();
    for (i, &count) in counts.iter().enumerate() {
        let mut row = json!({"labels_per_class": count});
        let mut line = format!("{count:<14}");
        for curve in curves {
            let spread = &curve.points[i];
            line += &format!("{:>25}", percent(spread.mean, (spread.low, spread.high)));
            row[curve.key] = serde_json::to_value(spread)?;
        }
        say!("{line}");
        rows.push(row);
    }
    let of = |key| curves.iter().find(|curve| curve.key == key);
    let pairs: Vec<[&Curve; 2]> = DIFFERENCES.iter().filter_map(|&[a, b]| Some([of(a)?, of(b)?])).collect();
    say!("\npoints gained on the same draws, and the 95 % interval of that paired difference");
    let names: String =
        pairs.iter().map(|[a, b]| format!("{:>28}", format!("{} − {}", a.name, b.name))).collect();
    say!("{:<14}{names}", "labels a class");
    for (i, (&count, row)) in counts.iter().zip(&mut rows).enumerate() {
        let mut line = format!("{count:<14}");
        for [a, b] in &pairs {
            let difference = Difference::of((a.key, &a.points[i]), (b.key, &b.points[i]));
            line += &format!("{:>28}", difference.points());
            row["differences"][&difference.key] = serde_json::to_value(&difference.spread)?;
        }
        say!("{line}");
    }
    draw(out, &figure(curves, counts, tuned))?;
    Ok(rows.into())
}

fn figure(curves: &[Curve], counts: &[usize], tuned: bool) -> Lines<'static> {
    let series = curves.iter().map(|curve| Series {
        name: curve.name.into(),
        points: counts
            .iter()
            .zip(&curve.points)
            .map(|(&n, s)| Point { x: (n as f64).log10(), y: s.mean, low: s.low, high: s.high })
            .collect(),
        dashed: ![TRAINED, "fine-tuned"].contains(&curve.name),
    });
    Lines {
        title: "Accuracy by number of labels",
        x_name: "labels a class",
        y_name: if tuned { "Top-1 on held-out images" } else { "Linear probe, top-1 on held-out images" },
        x_ticks: counts.iter().map(|&n| ((n as f64).log10(), n.to_string())).collect(),
        series: series.collect(),
    }
}
