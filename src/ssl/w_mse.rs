//! W-MSE: embeddings are whitened over the batch before the views are compared, so they cannot fall together.

use super::settings::{fill, share};
use super::{BASE, Family, Method, Recorded};
use crate::ops::cosine_loss::CosineLoss;
use crate::ops::rows::Rows;
use crate::ops::whiten::Whiten;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Images that are whitened together; must divide the batch and be more than the embedding has features.
    slice: usize,
    /// Share of the identity mixed into the covariance.
    eps: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { slice: 128, eps: 0.0 }
    }
}

pub const METHOD: Method = Method {
    name: "w-mse",
    family: Family::RedundancyReduction,
    summary: "redundancy reduction: embeddings are whitened over the batch, then two views attract",
    paper: "Ermolov et al., Whitening for Self-Supervised Representation Learning, ICML 2021, equation 5 (less its constant 2)",
    avoids_collapse: "whitening: every batch has mean 0 and the identity as covariance, whatever the network does",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { slice, eps } = r.settings()?;
        share("eps", eps)?;
        let batch = r.spec.batch;
        let slice = slice.min(batch);
        if slice == 0 || !batch.is_multiple_of(slice) {
            let what = format!("{slice} must divide the batch of {batch}");
            return Err(Error::config("loss.slice", what));
        }
        let z = r.embed_two()?;
        let [_, d] = r.graph.ty(z[0]).dims("w-mse", "z")?;
        if slice <= d {
            let what = format!(
                "{slice} images cannot be whitened in {d} features: choose more images or a smaller projector.out"
            );
            return Err(Error::config("loss.slice", what));
        }
        let slices = batch / slice;
        let mut terms = Vec::new();
        for i in 0..slices {
            let mut white = |z| -> Result<_> {
                let rows = Rows { from: i * slice, to: (i + 1) * slice };
                let rows = if slices == 1 { z } else { r.graph.apply1(rows, &[z])? };
                Whiten { eps }.record(r.graph, rows)
            };
            let white = [white(z[0])?, white(z[1])?];
            // ‖a − b‖² of unit vectors is 2 − 2 cos.
            terms.push((2.0 / slices as f32, r.graph.apply1(CosineLoss, &white)?));
        }
        let loss = r.sum(&terms)?;
        Ok(Recorded { loss, embeddings: z.to_vec() })
    },
    ..BASE
};
