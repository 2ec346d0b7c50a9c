//! Similarity alone: the two views of an image attract, and nothing else. It collapses, and is here to show that.

use super::{Method, Recorded};
use crate::ops::cosine_loss::CosineLoss;

pub const METHOD: Method = Method {
    name: "cosine",
    summary: "similarity alone: two views of an image attract, nothing repels (collapses, on purpose)",
    paper: "the trivial solution of siamese networks; Chen & He, SimSiam, CVPR 2021, section 4.1, without stop-gradient",
    avoids_collapse: "it does not: the same output for every input is its best loss",
    views: 2,
    record: |r| {
        let mut embeddings = Vec::new();
        for view in 0..2 {
            let images = r.views(view..view + 1)?;
            let features = r.encode(images)?;
            embeddings.push(r.project(features)?);
        }
        let loss = r.graph.apply1(CosineLoss, &embeddings)?;
        Ok(Recorded { loss, embeddings })
    },
};
