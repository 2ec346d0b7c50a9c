//! SimCLR: the two views of an image attract each other and repel every other view in the batch.

use super::{Method, Recorded};
use crate::ops::nt_xent::NtXent;

pub const METHOD: Method = Method {
    name: "simclr",
    summary: "contrastive: two views of an image attract, all other images in the batch repel",
    paper: "Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020",
    avoids_collapse: "negatives repel: one output for every input would make all similarities equal, the worst loss",
    views: 2,
    record: |r| {
        let images = r.views(0..2)?;
        let features = r.encode(images)?;
        let z = r.project(features)?;
        let loss = r.graph.apply1(NtXent { temperature: r.spec.loss.temperature }, &[z])?;
        Ok(Recorded { loss, embeddings: vec![z] })
    },
};
