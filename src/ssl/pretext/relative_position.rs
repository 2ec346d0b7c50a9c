//! Relative position: of a patch and its neighbour, on which of eight sides is the neighbour?

use super::super::inputs::{Draw, Drawn, Inputs};
use super::super::settings::fill;
use super::super::{BASE, Family, Labels, Method, Recorded};
use super::classify;
use super::tiles::{CELLS, Cut};
use crate::augment::Policy;
use crate::nn::{self, Mode};
use crate::ops::concat_views::ConcatViews;
use crate::ops::patch_norm::PatchNorm;
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use serde::{Deserialize, Serialize};

/// Where the neighbour can be.
const SIDES: usize = 8;
/// The middle of the grid.
const CENTER: usize = CELLS / 2;

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Features of the layer between the patches' and the answer.
    hidden: usize,
    /// Each patch to mean 0 and deviation 1: else brightness that runs on across a border gives it away.
    patch_norm: bool,
    /// Gaps between patches of half a patch, as in the paper, are a `gap` of 1/3.
    tile: Cut,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 512, patch_norm: true, tile: Cut { gap: 0.25, ..Cut::default() } }
    }
}

pub const METHOD: Method = Method {
    name: "relative-position",
    family: Family::Pretext,
    summary: "pretext task: two patches through weight-sharing networks; on which of 8 sides is the second?",
    paper: "Doersch, Gupta & Efros, Unsupervised Visual Representation Learning by Context Prediction, ICCV 2015",
    avoids_collapse: "a task with labels: one output for every input gets one in eight right",
    if_stuck: "Raise the learning rate or train longer; check that what the network sees suffices to solve the task.",
    labels: Labels::Drawn,
    settings: fill::<Settings>,
    inputs: |spec| {
        let s: Settings = spec.settings()?;
        let size = s.tile.pixels(spec)?;
        Ok(Box::new(Neighbours { policy: spec.augment.clone(), cut: s.tile, sizes: [size; 2] }))
    },
    record: |r| {
        let s: Settings = r.settings()?;
        let patches = r.views(0..2)?;
        let patches = if s.patch_norm { r.graph.apply1(PatchNorm::default(), &[patches])? } else { patches };
        let features = r.encode(patches)?;
        let each = r.project(features)?;
        let pair = r.graph.apply1(ConcatViews { views: 2 }, &[each])?;
        let hidden = r.graph.scope("solver", |graph| {
            let x = nn::linear(graph, "0", pair, s.hidden, false)?;
            nn::batch_norm(graph, "1", x, None, true, Mode::Train)
        })?;
        let logits = classify(r, hidden, SIDES)?;
        let side = r.labels(0..1)?;
        let loss = r.graph.apply1(SoftmaxCrossEntropy, &[logits, side])?;
        Ok(Recorded { loss, embeddings: vec![each] })
    },
    chance: |_, _, _| Ok(super::super::among(SIDES)),
    ..BASE
};

/// The patch in the middle, and one of those around it, which are numbered in reading order.
struct Neighbours {
    policy: Policy,
    cut: Cut,
    sizes: [usize; 2],
}

impl Inputs for Neighbours {
    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn labels(&self) -> usize {
        1
    }

    fn draw(&self, of: Draw) -> Drawn {
        let mut rng = Cut::rng(of, 0);
        let tiles = self.cut.tiles(&self.policy, of, &mut rng);
        let side = rng.below(SIDES as u32) as usize;
        let cell = if side < CENTER { side } else { side + 1 };
        Drawn { views: vec![tiles[CENTER], tiles[cell]], labels: vec![side as i64] }
    }
}
