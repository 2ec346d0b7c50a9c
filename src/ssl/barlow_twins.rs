//! Barlow Twins: the views' cross-correlation matrix is to be the identity.

use super::settings::{fill, positive};
use super::{BASE, Family, Method, Recorded};
use crate::ops::barlow_twins::BarlowTwins;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Weight of what different features have in common, against 1 of what each keeps over views.
    lambda: f32,
    /// The whole loss times this.
    scale: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lambda: 5e-3, scale: 0.1 }
    }
}

pub const METHOD: Method = Method {
    name: "barlow-twins",
    family: Family::RedundancyReduction,
    summary: "redundancy reduction: each feature agrees over views, different features have nothing in common",
    paper: "Zbontar et al., Barlow Twins, ICML 2021, equation 1",
    avoids_collapse: "decorrelation: features are standardised over the batch, and equal features are punished",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { lambda, scale } = r.settings()?;
        positive("lambda", lambda)?;
        positive("scale", scale)?;
        let z = r.embed_two()?;
        let loss = BarlowTwins { lambda, scale, ..BarlowTwins::default() }.record(r.graph, z[0], z[1])?;
        Ok(Recorded { loss, embeddings: z.to_vec() })
    },
    ..BASE
};
