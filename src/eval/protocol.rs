//! The protocols on frozen features: weighted kNN and a linear probe, trained on one split, judged on the other.

use super::{Accuracy, Features, KnnOptions, LinearOptions, Spread, knn, linear_probe};
use crate::Result;
use serde::{Deserialize, Serialize};

/// Accuracy on held-out images, as shares from 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_top1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_top5: Option<f64>,
    /// 95 % Wilson interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_interval: Option<(f64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_top1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_top5: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_interval: Option<(f64, f64)>,
    /// The weight decay the probe chose on a part of its own training set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_l2: Option<f64>,
}

/// Judges features by kNN, by a linear probe, or by both (`None` leaves one out).
pub fn judge(
    train: &Features,
    test: &Features,
    knn_options: Option<&KnnOptions>,
    linear_options: Option<&LinearOptions>,
) -> Result<Scores> {
    let neighbours: Option<Accuracy> = knn_options.map(|o| knn(train, test, o)).transpose()?;
    let probe = linear_options.map(|o| linear_probe(train, test, o)).transpose()?;
    Ok(Scores {
        knn_top1: neighbours.as_ref().map(|a| a.top1),
        knn_top5: neighbours.as_ref().map(|a| a.top5),
        knn_interval: neighbours.as_ref().map(Accuracy::interval),
        linear_top1: probe.as_ref().map(|p| p.accuracy.top1),
        linear_top5: probe.as_ref().map(|p| p.accuracy.top5),
        linear_interval: probe.as_ref().map(|p| p.accuracy.interval()),
        linear_l2: probe.as_ref().map(|p| p.l2),
    })
}

/// Top-1 of the linear probe under several seeds, from `options.seed` on. All that a seed decides is which train rows
/// choose the weight decay: the spread says how much of the figure hangs on that.
pub fn linear_over_seeds(
    train: &Features,
    test: &Features,
    options: &LinearOptions,
    seeds: usize,
) -> Result<Spread> {
    let top1 = |i: u64| {
        let options = LinearOptions { seed: options.seed.wrapping_add(i), ..options.clone() };
        Ok(linear_probe(train, test, &options)?.accuracy.top1)
    };
    Ok(Spread::of((0..seeds as u64).map(top1).collect::<Result<_>>()?, [0.0, 1.0]))
}

/// A layer's linear accuracy on held-out images, trained and untrained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerScore {
    /// [`Layer::name`](super::Layer::name).
    pub name: String,
    /// Features the probe saw.
    pub features: usize,
    pub linear_top1: f64,
    /// 95 % Wilson interval.
    pub interval: (f64, f64),
    /// Top-1 of the same layer of the untrained encoder.
    pub untrained: f64,
    pub untrained_interval: (f64, f64),
    /// Top-1 under several seeds of the probe, where asked for, as [`linear_over_seeds`] gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear_seeds: Option<Spread>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untrained_seeds: Option<Spread>,
}

/// Probes the same layers of a trained and of an untrained network, each given as its (train, test) features; with
/// `seeds`, under so many seeds of the probe too.
pub fn judge_layer(
    name: &str,
    trained: [&Features; 2],
    untrained: [&Features; 2],
    options: &LinearOptions,
    seeds: Option<usize>,
) -> Result<LayerScore> {
    let over_seeds = |[train, test]: [&Features; 2]| {
        seeds.map(|seeds| linear_over_seeds(train, test, options, seeds)).transpose()
    };
    let [own, baseline] = [trained, untrained].map(|[train, test]| linear_probe(train, test, options));
    let (own, baseline) = (own?.accuracy, baseline?.accuracy);
    Ok(LayerScore {
        name: name.into(),
        features: trained[0].d,
        linear_top1: own.top1,
        interval: own.interval(),
        untrained: baseline.top1,
        untrained_interval: baseline.interval(),
        linear_seeds: over_seeds(trained)?,
        untrained_seeds: over_seeds(untrained)?,
    })
}
