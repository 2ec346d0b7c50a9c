//! NNCLR: the positive of a view is not the other view but its nearest neighbour among earlier embeddings.

use super::settings::{fill, positive};
use super::{BASE, Family, Method, Recorded};
use crate::Error;
use crate::graph::Init;
use crate::nn::Predictor;
use crate::ops::cast;
use crate::ops::info_nce::InfoNce;
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::nearest::Nearest;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    temperature: f32,
    /// Embeddings of earlier batches, among which neighbours are sought.
    queue: usize,
    predictor_hidden: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { temperature: 0.2, queue: 4096, predictor_hidden: 512 }
    }
}

pub const METHOD: Method = Method {
    name: "nnclr",
    family: Family::Contrastive,
    summary: "contrastive: a view attracts the other view's nearest neighbour among earlier images, the batch repels",
    paper: "Dwibedi et al., With a Little Help from My Friends, ICCV 2021, equation 4",
    avoids_collapse: "negatives repel: the other images in the batch",
    settings: fill::<Settings>,
    record: |r| {
        let Settings { temperature, queue, predictor_hidden } = r.settings()?;
        positive("temperature", temperature)?;
        if queue == 0 {
            return Err(Error::config("loss.queue", "must be at least 1: neighbours are sought in it"));
        }
        let predictor = Predictor { hidden: predictor_hidden };
        let z = r.embed_two()?;
        let [_, d] = r.graph.ty(z[0]).dims("nnclr", "z")?;
        let support = r.state("queue", [queue, d], Init::UnitRows)?;
        let p = [r.predict(z[0], &predictor)?, r.predict(z[1], &predictor)?];
        let mut terms = Vec::new();
        for (view, other) in [(0, 1), (1, 0)] {
            let own = r.graph.stop_gradient(z[view]);
            let found = r.graph.apply1(Nearest, &[own, support])?;
            let neighbour = cast::activation(r.graph, found)?;
            terms.push((0.5, r.graph.apply1(InfoNce { temperature }, &[neighbour, p[other]])?));
        }
        let loss = r.sum(&terms)?;
        let newest = r.graph.stop_gradient(z[0]);
        let newest = r.graph.apply1(L2Normalize::default(), &[newest])?;
        r.enqueue(support, newest);
        Ok(Recorded { loss, embeddings: z.to_vec() })
    },
    chance: |_, batch, _| Ok(super::among(batch)),
    ..BASE
};
