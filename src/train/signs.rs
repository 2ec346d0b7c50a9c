//! What a run shows of collapse on held-out images: measured here for `pretrain` and `diagnose` alike.

use super::RunFolder;
use crate::augment::{Policy, draw, stream};
use crate::config::Config;
use crate::data::{Image, Split};
use crate::eval::{
    Collapse, DeadPrototypes, Embedder, Features, StuckLoss, dead_prototypes, l2_normalize_rows, stuck_loss,
};
use crate::linalg::{Mat, gemm};
use crate::ops::augment::ViewParams;
use crate::ssl::{self, Known};
use crate::tensor::HostTensor;
use crate::{Result, report};
use std::collections::BTreeMap;

/// Held-out images whose two views tell about collapse.
pub const COLLAPSE_IMAGES: usize = 1024;
/// Held-out images that are shared out to prototypes.
const PROTOTYPE_IMAGES: usize = 2048;
/// How near to chance a loss is stuck, as a share of it.
const STUCK: f64 = 0.02;
/// Of the views drawn here. Epochs are counted from 0: no epoch of a run ever draws them.
const EPOCH: u32 = (1 << 24) - 1;

/// Each output of the embedder for two random views of the first `count` images.
pub fn two_views(
    embedder: &mut Embedder,
    policy: &Policy,
    seed: u64,
    split: &Split,
    count: usize,
) -> Result<[Vec<Features>; 2]> {
    let mut one = |view: usize| {
        let of = |image: &Image, i: usize| {
            draw(policy, view, &mut stream(seed, EPOCH, i as u64, view, 2), image.height, image.width)
        };
        embedder.embed_views(split, count.min(split.len()), &of)
    };
    Ok([one(0)?, one(1)?])
}

/// The collapse figures of two views' features, of the first 1,024 images at most.
pub fn collapse_of([a, b]: [&Features; 2]) -> Result<Collapse> {
    let values = a.n.min(COLLAPSE_IMAGES) * a.d;
    Collapse::of_views(&a.data[..values], &b.data[..values], a.d)
}

/// How many of the prototypes in a checkpoint's `state` no held-out image is assigned to; of several sets, the one with
/// most. None where the method has none, or the embedder's last output is not what they are compared with.
pub fn prototypes_of(
    state: &BTreeMap<String, HostTensor>,
    embedder: &mut Embedder,
    split: &Split,
) -> Result<Option<DeadPrototypes>> {
    let sets = ssl::prototypes(state);
    if sets.is_empty() {
        return Ok(None);
    }
    let as_is = |image: &Image, _: usize| ViewParams::eval(image.height, image.width);
    let outputs = embedder.embed_views(split, split.len().min(PROTOTYPE_IMAGES), &as_is)?;
    let Some(embeddings) = outputs.last() else { return Ok(None) };
    let (n, d, z) = (embeddings.n, embeddings.d, embeddings.l2_normalized());
    let mut worst: Option<DeadPrototypes> = None;
    for set in sets.iter().filter(|set| set.d == d) {
        let (mut rows, k) = (set.rows.to_vec(), set.rows.len() / d);
        l2_normalize_rows(&mut rows, d);
        let mut scores = vec![0.0; n * k];
        gemm(&mut scores, k, Mat::new(&z, n, d), Mat::new(&rows, k, d).t(), 1.0, false, false);
        for row in scores.chunks_exact_mut(k) {
            row.iter_mut().zip(set.center).for_each(|(score, center)| *score -= center);
        }
        let found = dead_prototypes(&scores, k)?;
        if worst.is_none_or(|worst| found.share() > worst.share()) {
            worst = Some(found);
        }
    }
    Ok(worst)
}

/// The loss curve of a run beside chance, where its method has such a value.
pub fn loss_of(
    config: &Config,
    state: &BTreeMap<String, HostTensor>,
    folder: &RunFolder,
) -> Result<Option<StuckLoss>> {
    let rows = |name: &str| state.get(name).and_then(|t| t.shape.first().copied()).unwrap_or(0);
    let data = Known { images: rows("bank"), classes: rows("classifier.weight") };
    let Some(chance) = ssl::find(&config.method)?.chance(&config.loss, config.batch, data)? else {
        return Ok(None);
    };
    let metrics = report::read_metrics(folder)?;
    let steps = metrics.iter().filter(|row| row["kind"] == "step");
    let losses: Vec<f64> = steps.map(|row| row["loss"].as_f64().unwrap_or(f64::NAN)).collect();
    if losses.is_empty() { Ok(None) } else { stuck_loss(&losses, chance, STUCK).map(Some) }
}
