//! MoCo: a query is told from the keys of earlier batches, which a slowly moving copy of the encoder made.

use super::settings::{fill, positive, share};
use super::{BASE, Family, Method, Ramp, Recorded};
use crate::graph::Init;
use crate::ops::concat::Concat;
use crate::ops::info_nce::InfoNce;
use crate::ops::l2_normalize::L2Normalize;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    temperature: f32,
    /// Keys of earlier batches that repel; more than the data set has images is allowed, the oldest are then stale.
    queue: usize,
    /// The teacher's momentum at the beginning, and at the end of half a cosine.
    momentum: f32,
    momentum_end: f32,
    /// Each view is query once and key once (MoCo v2+); else the first is the query, the second the key.
    symmetric: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { temperature: 0.2, queue: 4096, momentum: 0.99, momentum_end: 0.999, symmetric: true }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        positive("temperature", self.temperature)?;
        share("momentum", self.momentum)?;
        share("momentum_end", self.momentum_end)?;
        if self.queue == 0 {
            return Err(Error::config("loss.queue", "must be at least 1: its keys are all that repels"));
        }
        Ok(())
    }
}

pub const METHOD: Method = Method {
    name: "moco-v2",
    family: Family::Contrastive,
    summary: "contrastive: a query attracts its image's key and repels a queue of keys made by a moving average",
    paper: "He et al., Momentum Contrast, CVPR 2020; Chen et al., Improved Baselines with MoCo, 2020; v2+ of solo-learn",
    avoids_collapse: "negatives repel: keys of earlier batches, more than a batch could hold",
    settings: fill::<Settings>,
    record: |r| {
        let settings: Settings = r.settings()?;
        settings.check()?;
        let Settings { temperature, queue, momentum, momentum_end, symmetric } = settings;
        let images = [r.views(0..1)?, r.views(1..2)?];
        let queries = if symmetric { 2 } else { 1 };
        let mut q = Vec::new();
        for &view in &images[..queries] {
            let features = r.encode(view)?;
            q.push(r.project(features)?);
        }
        // The key of view v stands at the query of the other one.
        let keys = r.teacher(|r| {
            images
                .iter()
                .rev()
                .take(queries)
                .map(|&view| {
                    let features = r.encode(view)?;
                    let z = r.project(features)?;
                    r.graph.apply1(L2Normalize::default(), &[z])
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let [_, d] = r.graph.ty(q[0]).dims("moco", "q")?;
        let bank = r.state("queue", [queue, d], Init::UnitRows)?;
        let mut terms = Vec::new();
        for (&q, &k) in q.iter().zip(&keys) {
            terms.push((1.0 / queries as f32, r.graph.apply1(InfoNce { temperature }, &[q, k, bank])?));
        }
        let loss = r.sum(&terms)?;
        r.follow(Ramp::cosine(momentum, momentum_end))?;
        // Both views' keys, behind both terms: a query never meets the other key of its own image in this step.
        let newest = if symmetric { r.graph.apply1(Concat, &keys)? } else { keys[0] };
        r.enqueue(bank, newest);
        let embeddings = if symmetric { q } else { vec![q[0], keys[0]] };
        Ok(Recorded { loss, embeddings })
    },
    chance: |s, _, _| Ok(super::among(1 + super::settings::read::<Settings>(s)?.queue)),
    ..BASE
};
