//! Similarity alone: the two views of an image attract, and nothing else. It collapses, and is here to show that.

use super::{BASE, Family, Method, Recorded};
use crate::ops::cosine_loss::CosineLoss;

pub const METHOD: Method = Method {
    name: "cosine",
    family: Family::Similarity,
    summary: "similarity alone: two views of an image attract, nothing repels (collapses, on purpose)",
    paper: "the trivial solution of siamese networks; Chen & He, SimSiam, CVPR 2021, section 4.1, without stop-gradient",
    avoids_collapse: "it does not: the same output for every input is its best loss",
    record: |r| {
        let z = r.embed_two()?;
        let loss = r.graph.apply1(CosineLoss, &z)?;
        Ok(Recorded { loss, embeddings: z.to_vec() })
    },
    ..BASE
};
