//! `rusa eval --layers`.

use super::{draw, percent, say};
use crate::cli::run::Trained;
use anyhow::Result;
use rusa::data::Dataset;
use rusa::device::Device;
use rusa::eval::{Embedder, Features, Layer, LayerScore, LinearOptions, judge_layer};
use rusa::report::{Lines, Point, Series};
use serde_json::Value;
use std::path::Path;

/// A probe on every layer, trained and untrained, as a table, as JSON, and drawn where asked.
pub fn run(
    trained: &Trained,
    data: &Dataset,
    device: Device,
    options: &LinearOptions,
    seeds: Option<usize>,
    out: Option<&Path>,
) -> Result<Value> {
    let (about, projector) = (&trained.about, trained.projector());
    if projector.is_none() {
        eprintln!(
            "note: no projector among the layers; one is judged in a run folder whose method puts it on the features"
        );
    }
    let layers = Layer::all(projector);
    let mut embedder = Embedder::of_layers(
        &about.encoder,
        projector,
        &layers,
        &about.augment,
        about.size,
        about.channels,
        device,
    )?;
    embedder.load(&trained.state)?;
    let own = both_splits(&mut embedder, data)?;
    embedder.initialize(about.seed)?;
    let baseline = both_splits(&mut embedder, data)?;

    say!("linear probe on every layer, spatial ones averaged over a grid; 95 % intervals (Wilson)");
    let over =
        seeds.map_or(String::new(), |k| format!("{:>25}{:>25}", format!("trained, {k} seeds"), "untrained"));
    say!("{:<14}{:>9}{:>25}{:>25}{over}", "layer", "features", "trained", "untrained");
    let mut scores: Vec<LayerScore> = Vec::new();
    for ((layer, own), baseline) in layers.iter().zip(&own).zip(&baseline) {
        let score = judge_layer(layer.name(), own.each_ref(), baseline.each_ref(), options, seeds)?;
        let over: String = [&score.linear_seeds, &score.untrained_seeds]
            .into_iter()
            .flatten()
            .map(|s| format!("{:>25}", percent(s.mean, (s.low, s.high))))
            .collect();
        say!(
            "{:<14}{:>9}{:>25}{:>25}{over}",
            score.name,
            score.features,
            percent(score.linear_top1, score.interval),
            percent(score.untrained, score.untrained_interval)
        );
        scores.push(score);
    }
    draw(out, &figure(&scores))?;
    Ok(serde_json::to_value(scores)?)
}

/// Of every layer: the features of the training and of the test images.
fn both_splits(embedder: &mut Embedder, data: &Dataset) -> Result<Vec<[Features; 2]>> {
    let (train, test) = (embedder.embed_layers(&data.train)?, embedder.embed_layers(&data.test)?);
    Ok(train.into_iter().zip(test).map(|(train, test)| [train, test]).collect())
}

/// The talk's figure: layer on x, accuracy on y.
fn figure(scores: &[LayerScore]) -> Lines<'static> {
    let series = |name: &str, dashed, share: fn(&LayerScore) -> (f64, (f64, f64))| {
        let point = |(i, score): (usize, &LayerScore)| {
            let (y, (low, high)) = share(score);
            Point { x: i as f64, y, low, high }
        };
        Series { name: name.into(), points: scores.iter().enumerate().map(point).collect(), dashed }
    };
    Lines {
        title: "Linear accuracy by layer",
        x_name: "layer",
        y_name: "Linear probe, top-1 on held-out images",
        x_ticks: scores.iter().enumerate().map(|(i, score)| (i as f64, score.name.clone())).collect(),
        series: vec![
            series("trained", false, |s| (s.linear_top1, s.interval)),
            series("untrained", true, |s| (s.untrained, s.untrained_interval)),
        ],
    }
}
