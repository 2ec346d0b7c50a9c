//! MoCo v3: no queue any more; the batch's other keys repel, and a predictor stands behind the query.

use super::settings::{fill, positive, share};
use super::{BASE, Family, Method, Ramp, Recorded};
use crate::nn::Predictor;
use crate::ops::info_nce::InfoNce;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    temperature: f32,
    momentum: f32,
    momentum_end: f32,
    predictor_hidden: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { temperature: 0.2, momentum: 0.99, momentum_end: 1.0, predictor_hidden: 512 }
    }
}

pub const METHOD: Method = Method {
    name: "moco-v3",
    family: Family::Contrastive,
    summary: "contrastive: queries, through a predictor, against the batch's keys made by a moving average",
    paper: "Chen, Xie & He, An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021, algorithm 1",
    avoids_collapse: "negatives repel: the other images' keys in the batch",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { temperature, momentum, momentum_end, predictor_hidden } = r.settings()?;
        positive("temperature", temperature)?;
        share("momentum", momentum)?;
        share("momentum_end", momentum_end)?;
        let predictor = Predictor { hidden: predictor_hidden };
        let images = [r.views(0..1)?, r.views(1..2)?];
        let (mut z, mut k, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for view in images {
            let features = r.encode(view)?;
            z.push(r.project(features)?);
        }
        for view in images {
            k.push(r.teacher(|r| {
                let features = r.encode(view)?;
                r.project(features)
            })?);
        }
        for (query, key) in [(0, 1), (1, 0)] {
            let q = r.predict(z[query], &predictor)?;
            let loss = r.graph.apply1(InfoNce { temperature }, &[q, k[key]])?;
            // Gradients then do not grow as the temperature falls.
            terms.push((2.0 * temperature, loss));
        }
        let loss = r.sum(&terms)?;
        r.follow(Ramp::cosine(momentum, momentum_end))?;
        Ok(Recorded { loss, embeddings: z })
    },
    // Two terms, each scaled by 2T.
    chance: |s, batch, _| {
        let t = f64::from(super::settings::read::<Settings>(s)?.temperature);
        Ok(super::among(batch).map(|nats| 4.0 * t * nats))
    },
    ..BASE
};
