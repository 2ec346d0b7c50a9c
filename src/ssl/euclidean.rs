//! Distance alone: the two views of an image are pulled to one point, and nothing else. It collapses, on purpose.

use super::{BASE, Family, Method, Recorded};
use crate::ops::mse_loss::MseLoss;

pub const METHOD: Method = Method {
    name: "euclidean",
    family: Family::Similarity,
    summary: "distance alone: the mean squared difference of two views, nothing repels (collapses, on purpose)",
    paper: "the trivial solution of siamese networks; Hadsell, Chopra & LeCun, CVPR 2006, section 2, without its repelling term",
    avoids_collapse: "it does not: the same output for every input is its best loss",
    record: |r| {
        let z = r.embed_two()?;
        let loss = r.graph.apply1(MseLoss, &z)?;
        Ok(Recorded { loss, embeddings: z.to_vec() })
    },
    ..BASE
};
