//! SimSiam: a predictor and a stop-gradient are enough; neither negatives nor a moving average.

use super::settings::fill;
use super::{BASE, Family, Method, Recorded};
use crate::nn::Predictor;
use crate::ops::cosine_loss::CosineLoss;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    predictor_hidden: usize,
    /// Without it the method collapses (the paper's figure 2): to see that.
    stop_gradient: bool,
    /// The predictor shall keep up with its input to the end (the paper's section 4.2, "lr not decayed").
    constant_predictor_lr: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { predictor_hidden: 512, stop_gradient: true, constant_predictor_lr: true }
    }
}

pub const METHOD: Method = Method {
    name: "simsiam",
    family: Family::Distillation,
    summary: "distillation: each view, through a predictor, follows the other; no gradient flows into what is followed",
    paper: "Chen & He, Exploring Simple Siamese Representation Learning, CVPR 2021, algorithm 1",
    avoids_collapse: "asymmetry: a predictor on one branch, stop-gradient on the other",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { predictor_hidden, stop_gradient, constant_predictor_lr } = r.settings()?;
        let predictor = Predictor { hidden: predictor_hidden };
        if constant_predictor_lr {
            r.hold_lr("predictor.")?;
        }
        let z = r.embed_two()?;
        let mut terms = Vec::new();
        for (view, other) in [(0, 1), (1, 0)] {
            let p = r.predict(z[view], &predictor)?;
            let target = if stop_gradient { r.graph.stop_gradient(z[other]) } else { z[other] };
            terms.push((0.5, r.graph.apply1(CosineLoss, &[p, target])?));
        }
        let loss = r.sum(&terms)?;
        Ok(Recorded { loss, embeddings: z.to_vec() })
    },
    ..BASE
};
