//! `rusa eval`.

use super::run::{Trained, open_data};
use super::say;
use anyhow::{Context, Result, bail};
use rusa::data::Options;
use rusa::device::Device;
use rusa::eval::{Embedder, KnnOptions, Layer, LinearOptions, judge};
use rusa::files::write_atomically;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Judge an encoder's features on held-out images, beside those of the same encoder untrained.
///
/// Trains on the data set's training images and judges on its test split, or on a seeded hold-out where it has none.
/// Without --knn or --linear it does both.
#[derive(clap::Args)]
pub struct Arguments {
    /// A run folder, or its encoder.safetensors.
    #[arg(value_name = "WEIGHTS|RUN")]
    from: PathBuf,
    /// `embedded`, or a folder of labelled images.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// Weighted k-nearest neighbours (Wu et al. 2018).
    #[arg(long)]
    knn: bool,
    /// Linear probe: logistic regression on the frozen features.
    #[arg(long)]
    linear: bool,
    /// Neighbours that vote.
    #[arg(long, default_value_t = 200)]
    k: usize,
    /// Temperature of their votes.
    #[arg(long, default_value_t = 0.1)]
    temperature: f64,
    /// Also write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// auto, cpu or vm (the PTX machine: slow, for study).
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let device = Device::parse(&arguments.device)?;
    let Trained { about, state, .. } = Trained::open(&arguments.from)?;
    let options = Options { channels: Some(about.channels), ..Options::default() };
    let data = open_data(&arguments.data, &options)?;
    if !data.labelled {
        bail!(
            "{} has no labels to judge by; put the pictures of each class into a folder of its own",
            arguments.data
        );
    }
    let both = !arguments.knn && !arguments.linear;
    let knn = KnnOptions { k: arguments.k, temperature: arguments.temperature };
    let linear = LinearOptions { seed: about.seed, ..LinearOptions::default() };
    let mut results =
        json!({"data": arguments.data, "test_images": data.test.len(), "encoder": about.encoder.name});
    let mut embedder = Embedder::new(
        &about.encoder,
        None,
        &Layer::Features,
        &about.augment,
        about.size,
        about.channels,
        device,
    )?;
    for (name, trained) in [("trained", true), ("untrained", false)] {
        if trained {
            embedder.load(&state)?
        } else {
            embedder.initialize(about.seed)?
        }
        let (train, test) = (embedder.embed(&data.train)?, embedder.embed(&data.test)?);
        let scores = judge(
            &train,
            &test,
            (both || arguments.knn).then_some(&knn),
            (both || arguments.linear).then_some(&linear),
        )?;
        let scores = serde_json::to_value(scores)?;
        let show = |key: &str| scores[key].as_f64().map_or("–".into(), |v| format!("{:.2} %", v * 100.0));
        say!("{name:<10} kNN {:>8}   linear {:>8}", show("knn_top1"), show("linear_top1"));
        match (&mut results, scores) {
            (Value::Object(results), Value::Object(scores)) if trained => results.extend(scores),
            (results, scores) => results[name] = scores,
        }
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&results).context("results")?;
        write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
