//! BYOL: a student predicts what a slowly moving teacher makes of the other view. No negatives.

use super::settings::{fill, positive, share};
use super::{BASE, Family, Method, Ramp, Recorded};
use crate::nn::Predictor;
use crate::ops::cosine_loss::CosineLoss;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    momentum: f32,
    momentum_end: f32,
    predictor_hidden: usize,
    /// The whole loss times this: equation 2 at 1, the mean of the two cosines at 1/4.
    scale: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { momentum: 0.99, momentum_end: 1.0, predictor_hidden: 512, scale: 1.0 }
    }
}

pub const METHOD: Method = Method {
    name: "byol",
    family: Family::Distillation,
    summary: "distillation: a student with a predictor follows a moving average of itself across views",
    paper: "Grill et al., Bootstrap Your Own Latent, NeurIPS 2020, equation 2 (less its constant 4)",
    avoids_collapse: "asymmetry: a predictor on one branch, no gradient and a moving average on the other",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { momentum, momentum_end, predictor_hidden, scale } = r.settings()?;
        share("momentum", momentum)?;
        share("momentum_end", momentum_end)?;
        positive("scale", scale)?;
        let predictor = Predictor { hidden: predictor_hidden };
        let images = [r.views(0..1)?, r.views(1..2)?];
        let (mut p, mut z, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for view in images {
            let features = r.encode(view)?;
            z.push(r.project(features)?);
            p.push(r.predict(z[z.len() - 1], &predictor)?);
        }
        for view in images {
            targets.push(r.teacher(|r| {
                let features = r.encode(view)?;
                r.project(features)
            })?);
        }
        let mut terms = Vec::new();
        for (view, other) in [(0, 1), (1, 0)] {
            // ‖p − z‖² of unit vectors is 2 − 2 cos.
            terms.push((2.0 * scale, r.graph.apply1(CosineLoss, &[p[view], targets[other]])?));
        }
        let loss = r.sum(&terms)?;
        r.follow(Ramp::cosine(momentum, momentum_end))?;
        Ok(Recorded { loss, embeddings: z })
    },
    ..BASE
};
