//! `rusa eval --finetune`, and `--few --tuned`.

use super::sources::pixels;
use super::{Difference, percent, say};
use crate::cli::progress::Steps;
use crate::cli::run::Trained;
use anyhow::Result;
use rusa::data::Dataset;
use rusa::device::Device;
use rusa::eval::{self, FinetuneOptions, Labels, LinearOptions, Network, Spread, few_labels};
use serde_json::{Value, json};

/// Draws and starts where --seeds does not say how many: each is a training run.
pub const SEEDS: usize = 3;

/// Training runs on some labels, all under the same seeds; they show how far they are.
pub struct Tuning<'a> {
    trained: &'a Trained,
    data: &'a Dataset,
    device: Device,
    seeds: usize,
    options: FinetuneOptions,
    steps: Steps,
}

impl<'a> Tuning<'a> {
    /// To run on each of `all` labels.
    pub fn new(
        trained: &'a Trained,
        data: &'a Dataset,
        device: Device,
        seeds: usize,
        all: &[Labels],
    ) -> Result<Self> {
        let options = FinetuneOptions::default();
        let (of_images, mut steps) = (data.train.labels(), 0);
        for labels in all {
            steps += 2 * seeds * options.steps_for(labels.draw(&of_images, trained.about.seed)?.len());
        }
        Ok(Self { trained, data, device, seeds, options, steps: Steps::new(steps as u64) })
    }

    /// Accuracy from the trained weights and from scratch, under the same draws of images.
    pub fn both(&self, labels: Labels, shown: &str) -> Result<[Spread; 2]> {
        let about = &self.trained.about;
        let network = Network {
            encoder: &about.encoder,
            policy: &about.augment,
            size: about.size,
            channels: about.channels,
            classes: self.data.classes.len(),
            device: self.device,
        };
        let run = |weights, from: &str| {
            self.steps.say(format!("{shown}, {from}"));
            let (splits, seeds) = ([&self.data.train, &self.data.test], (about.seed, self.seeds));
            let mut step = || self.steps.step();
            eval::finetune(network, weights, splits, labels, seeds, &self.options, &mut step)
        };
        Ok([run(Some(&self.trained.state), "pretrained")?, run(None, "from scratch")?])
    }
}

/// Fine-tunes on each fraction, from the trained weights and from scratch, beside a linear probe of raw pixels: all
/// under the same draws of images.
pub fn run(
    trained: &Trained,
    data: &Dataset,
    device: Device,
    fractions: &[f64],
    seeds: usize,
    probe: &LinearOptions,
) -> Result<Value> {
    let of_images = data.train.labels();
    let mut fractions = fractions.to_vec();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    let all: Vec<Labels> = fractions.iter().copied().map(Labels::Fraction).collect();
    let classes = of_images.iter().collect::<std::collections::BTreeSet<_>>().len();
    let tuning = Tuning::new(trained, data, device, seeds, &all)?;
    let [train, test] = pixels(&trained.about, data, true)?;
    let raw = few_labels(&train, &test, &all, seeds, probe)?;
    drop([train, test]);
    say!(
        "fine-tuning; mean over {seeds} seeds and its 95 % interval (Student's t); the last two columns are"
    );
    say!("points gained over training from scratch and over a linear probe of raw pixels, paired by draw");
    say!(
        "{:<10}{:>8}{:>25}{:>25}{:>25}{:>25}{:>25}",
        "labels",
        "images",
        "pretrained",
        "from scratch",
        "raw pixels",
        "over scratch",
        "over raw pixels"
    );
    let mut rows = Vec::new();
    for ((&fraction, &labels), raw) in fractions.iter().zip(&all).zip(&raw) {
        let images = labels.draw(&of_images, trained.about.seed)?.len();
        // Whole images of each class: not always the share that was asked for.
        let share = images as f64 / of_images.len() as f64;
        let shown = share_of(share);
        let [pretrained, scratch] = tuning.both(labels, &format!("{shown} of labels"))?;
        let own = ("pretrained", &pretrained);
        let differences =
            [("from_scratch", &scratch), ("raw_pixels", raw)].map(|other| Difference::of(own, other));
        let mut line = format!("{shown:<10}{images:>8}");
        for spread in [&pretrained, &scratch, raw] {
            line += &format!("{:>25}", percent(spread.mean, (spread.low, spread.high)));
        }
        differences.iter().for_each(|d| line += &format!("{:>25}", d.points()));
        tuning.steps.suspend(|| -> Result<()> {
            say!("{line}");
            Ok(())
        })?;
        let mut row = json!({
            "fraction": fraction,
            "share": share,
            "images": images,
            "labels_per_class": images as f64 / classes as f64,
            "pretrained": pretrained,
            "from_scratch": scratch,
            "raw_pixels": raw,
        });
        for difference in &differences {
            row["differences"][&difference.key] = serde_json::to_value(&difference.spread)?;
        }
        rows.push(row);
    }
    Ok(rows.into())
}

/// A share to three digits, as a percentage.
fn share_of(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = (2 - percent.log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{percent:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

#[cfg(test)]
mod tests {
    use super::share_of;

    #[test]
    fn shares_are_those_used() {
        // Ten of 8,000 images are not the 0.01 % that were asked for.
        assert_eq!(
            [10.0 / 8000.0, 0.1, 1.0, 1.0 / 3.0].map(share_of),
            ["0.125 %", "10 %", "100 %", "33.3 %"]
        );
        assert_eq!(share_of(1.0 / 60_000.0), "0.00167 %");
    }
}
