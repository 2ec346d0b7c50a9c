//! `rusa eval --finetune`.

use super::{percent, say};
use crate::cli::run::Trained;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use rusa::data::Dataset;
use rusa::device::Device;
use rusa::eval::{self, FinetuneOptions, Labels, Network, Spread};
use serde_json::{Value, json};

/// Draws and starts where --seeds does not say how many: each is a training run.
pub const SEEDS: usize = 3;

/// Fine-tunes on each fraction, from the trained weights and from scratch, under the same draws of images.
pub fn run(
    trained: &Trained,
    data: &Dataset,
    device: Device,
    fractions: &[f64],
    seeds: usize,
) -> Result<Value> {
    let about = &trained.about;
    let labels = data.train.labels();
    let mut fractions = fractions.to_vec();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    let draws: Vec<usize> = fractions
        .iter()
        .map(|&fraction| Ok(Labels::Fraction(fraction).draw(&labels, about.seed)?.len()))
        .collect::<Result<_>>()?;
    let classes = labels.iter().collect::<std::collections::BTreeSet<_>>().len();
    let options = FinetuneOptions::default();
    let network = Network {
        encoder: &about.encoder,
        policy: &about.augment,
        size: about.size,
        channels: about.channels,
        classes: data.classes.len(),
        device,
    };
    let steps: usize = draws.iter().map(|&images| 2 * seeds * options.steps_for(images)).sum();
    let bar = ProgressBar::new(steps as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30.cyan/dim} {pos}/{len} steps  {msg}  {elapsed}<{eta}")
    {
        bar.set_style(style);
    }
    say!("fine-tuning; mean over {seeds} seeds and its 95 % interval (Student's t)");
    say!("{:<10}{:>8}{:>25}{:>25}", "labels", "images", "pretrained", "from scratch");
    let mut rows = Vec::new();
    for (&fraction, &images) in fractions.iter().zip(&draws) {
        let spread = |weights, from: &str| {
            bar.set_message(format!("{} % of labels, {from}", 100.0 * fraction));
            let (splits, seeds) = ([&data.train, &data.test], (about.seed, seeds));
            let labels = Labels::Fraction(fraction);
            eval::finetune(network, weights, splits, labels, seeds, &options, &mut || bar.inc(1))
        };
        let pretrained = spread(Some(&trained.state), "pretrained")?;
        let scratch = spread(None, "from scratch")?;
        let show = |s: &Spread| percent(s.mean, (s.low, s.high));
        let line = format!(
            "{:<10}{images:>8}{:>25}{:>25}",
            format!("{} %", 100.0 * fraction),
            show(&pretrained),
            show(&scratch)
        );
        bar.suspend(|| -> Result<()> {
            say!("{line}");
            Ok(())
        })?;
        rows.push(json!({
            "fraction": fraction,
            "images": images,
            "labels_per_class": images as f64 / classes as f64,
            "pretrained": pretrained,
            "from_scratch": scratch,
        }));
    }
    bar.finish_and_clear();
    Ok(rows.into())
}
