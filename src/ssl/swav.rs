//! SwAV: each view's assignment to prototypes, which share the images equally, is predicted from the other view.

use super::inputs::{GLOBAL, MultiCrop};
use super::settings::{fill, positive};
use super::{BASE, Family, Method, Recorded, Recorder};
use crate::graph::{Init, TensorId};
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::linear::linear;
use crate::ops::sinkhorn::Sinkhorn;
use crate::ops::soft_cross_entropy::SoftCrossEntropy;
use crate::ops::unit_rows::unit_rows;
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Clusters. More of them than the batch and the queue have images cannot share these equally, but works.
    prototypes: usize,
    temperature: f32,
    /// Entropy of the assignments: the smaller, the harder they are.
    epsilon: f32,
    /// Normalisations of rows and columns.
    iterations: usize,
    /// Embeddings of earlier batches that take part in the sharing, for small batches; 0 for none.
    queue: usize,
    /// The epoch, from 0, from which they do.
    queue_from: usize,
    /// Epochs in which the prototypes stay as they were drawn.
    freeze: usize,
    /// Small crops besides the two views, their pixels (half a view's if 0), and the share of the area they cover.
    local_crops: usize,
    local_size: usize,
    local_scale: [f32; 2],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prototypes: 512,
            temperature: 0.1,
            epsilon: 0.05,
            iterations: 3,
            queue: 0,
            queue_from: 0,
            freeze: 0,
            local_crops: 0,
            local_size: 0,
            local_scale: [0.08, 0.5],
        }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        positive("temperature", self.temperature)?;
        positive("epsilon", self.epsilon)?;
        for (key, value) in [("prototypes", self.prototypes), ("iterations", self.iterations)] {
            if value == 0 {
                return Err(Error::config(format!("loss.{key}"), "must be at least 1"));
            }
        }
        Ok(())
    }
}

pub const METHOD: Method = Method {
    name: "swav",
    family: Family::Clustering,
    summary: "clustering: a view's prototypes, shared out equally over the batch, are predicted from the other view",
    paper: "Caron et al., Unsupervised Learning by Contrasting Cluster Assignments, NeurIPS 2020, equations 1 to 3",
    avoids_collapse: "equipartition: optimal transport gives every prototype the same share of the images",
    if_stuck: "Freeze the prototypes for an epoch or two, lower epsilon, lengthen the warm-up, or use fewer prototypes.",
    if_dead: "Use fewer prototypes, a larger batch or a queue, more Sinkhorn iterations or a smaller epsilon, and freeze \
              the prototypes in the first epoch.",
    settings: fill::<Settings>,
    inputs: |spec| {
        let s: Settings = spec.settings()?;
        MultiCrop::views(spec, s.local_crops, s.local_size, s.local_scale)
    },
    phase: |loss, epoch| {
        let s: Settings = super::settings::read(loss)?;
        Ok(usize::from(epoch < s.freeze) + 2 * usize::from(s.queue > 0 && epoch >= s.queue_from))
    },
    record: |r| {
        let settings: Settings = r.settings()?;
        settings.check()?;
        let Settings { prototypes, temperature, queue, queue_from, .. } = settings;
        let epoch = r.spec.epoch;
        let (mut unit, mut scores) = (Vec::new(), Vec::new());
        let mut weights = None;
        for view in 0..r.view_count() {
            let z = r.embed(view)?;
            let z = r.graph.apply1(L2Normalize::default(), &[z])?;
            let [_, d] = r.graph.ty(z).dims("swav", "z")?;
            let c = match weights {
                Some(c) => c,
                None => *weights.insert(prototype_weights(r, prototypes, d, epoch < settings.freeze)?),
            };
            scores.push(linear(r.graph, z, c, None)?);
            unit.push(z);
        }
        let (Some(c), [_, d]) = (weights, r.graph.ty(unit[0]).dims("swav", "z")?) else {
            return Err(Error::Graph("swav needs a view".into()));
        };
        let mut terms = Vec::new();
        let views = scores.len();
        for target in 0..GLOBAL {
            let mut inputs = vec![r.graph.stop_gradient(scores[target])];
            if queue > 0 {
                // Kept and filled from the start, so that it is full when its epoch comes.
                let earlier = r.state(&format!("queue.{target}"), [queue, d], Init::UnitRows)?;
                let newest = r.graph.stop_gradient(unit[target]);
                r.enqueue(earlier, newest);
                if epoch >= queue_from {
                    let earlier = crate::ops::cast::activation(r.graph, earlier)?;
                    let c = r.graph.stop_gradient(c);
                    inputs.push(linear(r.graph, earlier, c, None)?);
                }
            }
            let sinkhorn = Sinkhorn { epsilon: settings.epsilon, iterations: settings.iterations };
            let assignment = r.graph.apply1(sinkhorn, &inputs)?;
            for view in (0..views).filter(|&v| v != target) {
                let ce = r.graph.apply1(SoftCrossEntropy { temperature }, &[scores[view], assignment])?;
                terms.push((1.0 / (GLOBAL * (views - 1)) as f32, ce));
            }
        }
        let loss = r.sum(&terms)?;
        unit.truncate(GLOBAL);
        Ok(Recorded { loss, embeddings: unit })
    },
    chance: |s, _, _| Ok(super::among(super::settings::read::<Settings>(s)?.prototypes)),
    ..BASE
};

/// Prototypes \[K,D\] of unit length, brought back to it after every step; without a gradient where they are frozen.
pub(super) fn prototype_weights(r: &mut Recorder, count: usize, d: usize, frozen: bool) -> Result<TensorId> {
    let master = r.graph.param("prototypes.weight", TensorType::f32([count, d]), Init::UnitRows)?;
    let weight = r.graph.reduced(master);
    if frozen {
        return Ok(r.graph.stop_gradient(weight));
    }
    r.after(move |graph, _| unit_rows(graph, master));
    Ok(weight)
}
