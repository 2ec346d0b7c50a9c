//! DeepCluster-v2: before each epoch the remembered embeddings are clustered; an image's cluster is then its label.

use super::bank::{BANK, fill_bank, find};
use super::kmeans::spherical_k_means;
use super::settings::{fill, positive};
use super::{ASSIGNMENTS, BASE, Before, Family, Labels, Method, Recorded};
use crate::device::Program;
use crate::graph::Init;
use crate::ops::cast;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::matmul::MatMul;
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Rounds of k-means before an epoch.
const ROUNDS: usize = 10;

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Clusters of each clustering; several clusterings, from different beginnings, vote as several heads.
    prototypes: Vec<usize>,
    temperature: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { prototypes: vec![256; 3], temperature: 0.1 }
    }
}

pub const METHOD: Method = Method {
    name: "deepcluster-v2",
    family: Family::Clustering,
    summary: "clustering: before each epoch k-means gives every image a label, which its views then predict",
    paper: "Caron et al., DeepCluster, ECCV 2018; version 2: Caron et al., SwAV, NeurIPS 2020, appendix C",
    avoids_collapse: "k-means anew each epoch: one output for all images could not tell its labels apart",
    if_stuck: "The clusters carry nothing that a view shows: use fewer of them, or train longer.",
    if_dead: "Use fewer clusters, or train longer: the embeddings have moved together since k-means made them.",
    labels: Labels::Assigned,
    settings: fill::<Settings>,
    record: |r| {
        let Settings { prototypes, temperature } = r.settings()?;
        positive("temperature", temperature)?;
        let images = r.spec.data.images;
        if prototypes.is_empty() || prototypes.iter().any(|&k| k == 0 || k > images) {
            let what = format!("{prototypes:?} must be numbers of clusters from 1 to the {images} images");
            return Err(Error::config("loss.prototypes", what));
        }
        let z = r.embed_two()?;
        let [_, d] = r.graph.ty(z[0]).dims("deepcluster", "z")?;
        let unit = [
            r.graph.apply1(L2Normalize::default(), &[z[0]])?,
            r.graph.apply1(L2Normalize::default(), &[z[1]])?,
        ];
        let bank = r.state(BANK, [images, d], Init::UnitRows)?;
        r.state(ASSIGNMENTS, [prototypes.len(), images], Init::Zeros)?;
        let mut terms = Vec::new();
        for (head, &k) in prototypes.iter().enumerate() {
            let centroids = r.state(&format!("centroids.{head}"), [k, d], Init::UnitRows)?;
            let centroids = cast::activation(r.graph, centroids)?;
            let labels = r.labels(head..head + 1)?;
            for view in unit {
                let scale = 1.0 / temperature;
                let similar = MatMul { transpose_a: false, transpose_b: true, scale };
                let logits = r.graph.apply1(similar, &[view, centroids])?;
                let ce = r.graph.apply1(SoftmaxCrossEntropy, &[logits, labels])?;
                terms.push((1.0 / (2 * prototypes.len()) as f32, ce));
            }
        }
        let loss = r.sum(&terms)?;
        let (newest, index) = (r.graph.stop_gradient(unit[0]), r.index()?);
        r.remember(bank, newest, index, 0.0);
        Ok(Recorded { loss, embeddings: unit.to_vec() })
    },
    epoch: Some(cluster),
    chance: |s, _, _| {
        let Settings { prototypes, .. } = super::settings::read(s)?;
        let nats: f64 = prototypes.iter().filter_map(|&k| super::among(k)).sum();
        Ok((nats > 0.0).then(|| nats / prototypes.len() as f64))
    },
    ..BASE
};

/// Clusters the bank (before the first epoch: fresh embeddings of all images) and writes centroids and assignments.
fn cluster(program: &mut dyn Program, before: Before) -> Result<()> {
    let Settings { prototypes, .. } = super::settings::read(before.loss)?;
    fill_bank(program, &before)?;
    let bank = find(program, BANK)?;
    let (images, d) = (program.graph().ty(bank).shape[0], program.graph().ty(bank).shape[1]);
    let rows = program.read_f32(bank)?;
    let mut assignments = Vec::with_capacity(prototypes.len() * images);
    for (head, &k) in prototypes.iter().enumerate() {
        let stream = (before.epoch * prototypes.len() + head) as u32;
        let found = spherical_k_means(&rows, d, k, ROUNDS, before.seed, stream);
        program.write_f32(find(program, &format!("centroids.{head}"))?, &found.centroids)?;
        assignments.extend(found.assignments.iter().map(|&c| c as f32));
    }
    program.write_f32(find(program, ASSIGNMENTS)?, &assignments)
}
