//! SimCLR: the two views of an image attract each other and repel every other view in the batch.

use super::settings::{fill, positive};
use super::{BASE, Family, Method, Recorded};
use crate::ops::nt_xent::NtXent;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// What similarities are divided by.
    temperature: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { temperature: 0.2 }
    }
}

pub const METHOD: Method = Method {
    name: "simclr",
    family: Family::Contrastive,
    summary: "contrastive: two views of an image attract, all other images in the batch repel",
    paper: "Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020",
    avoids_collapse: "negatives repel: one output for every input would make all similarities equal, the worst loss",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { temperature } = r.settings()?;
        positive("temperature", temperature)?;
        let images = r.views(0..2)?;
        let features = r.encode(images)?;
        let z = r.project(features)?;
        let loss = r.graph.apply1(NtXent { temperature }, &[z])?;
        Ok(Recorded { loss, embeddings: vec![z] })
    },
    chance: |_, batch, _| Ok(super::among((2 * batch).saturating_sub(1))),
    ..BASE
};
