//! Jigsaw: nine tiles of an image are shuffled by one of N permutations; which?

use super::super::inputs::{Draw, Drawn, Inputs};
use super::super::settings::fill;
use super::super::{BASE, Family, Labels, Method, Recorded, Recorder};
use super::classify;
use super::permutations::{Permutation, permutations};
use super::tiles::{CELLS, Cut};
use crate::Result;
use crate::augment::Policy;
use crate::graph::TensorId;
use crate::nn::{self, Mode};
use crate::ops::augment::ViewParams;
use crate::ops::concat_views::ConcatViews;
use crate::ops::patch_norm::PatchNorm;
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::rng::Philox;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// N, far below 9!.
    permutations: usize,
    /// Features of the layer between the tiles' and the answer.
    hidden: usize,
    /// Each tile to mean 0 and deviation 1: else brightness that runs on across a border gives it away.
    patch_norm: bool,
    tile: Cut,
}

impl Default for Settings {
    fn default() -> Self {
        Self { permutations: 100, hidden: 512, patch_norm: true, tile: Cut::default() }
    }
}

pub const METHOD: Method = Method {
    name: "jigsaw",
    family: Family::Pretext,
    summary: "pretext task: nine tiles, shuffled by one of N permutations far apart; which one?",
    paper: "Noroozi & Favaro, Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, ECCV 2016",
    avoids_collapse: "a task with labels: one output for every input gets one in N right",
    if_stuck: "Raise the learning rate or train longer; check that what the network sees suffices to solve the task.",
    labels: Labels::Drawn,
    settings: fill::<Settings>,
    inputs: |spec| {
        let s: Settings = spec.settings()?;
        let size = s.tile.pixels(spec)?;
        Ok(Box::new(Shuffled {
            policy: spec.augment.clone(),
            cut: s.tile,
            sizes: [size; CELLS],
            permutations: permutations(s.permutations)?,
        }))
    },
    record: |r| {
        let s: Settings = r.settings()?;
        let tiles = r.views(0..CELLS)?;
        let tiles = if s.patch_norm { r.graph.apply1(PatchNorm::default(), &[tiles])? } else { tiles };
        let (whole, each) = assemble(r, tiles, |r, features| r.project(features))?;
        let hidden = r.graph.scope("solver", |graph| {
            let x = nn::linear(graph, "0", whole, s.hidden, false)?;
            nn::batch_norm(graph, "1", x, None, true, Mode::Train)
        })?;
        let logits = classify(r, hidden, s.permutations)?;
        let answer = r.labels(0..1)?;
        let loss = r.graph.apply1(SoftmaxCrossEntropy, &[logits, answer])?;
        Ok(Recorded { loss, embeddings: vec![each] })
    },
    chance: |s, _, _| Ok(super::super::among(super::super::settings::read::<Settings>(s)?.permutations)),
    ..BASE
};

/// Nine tiles \[9·N,…\], each through encoder and `head` alone: their outputs side by side \[N,9·D\], and one by one
/// \[9·N,D\].
pub(in crate::ssl) fn assemble(
    r: &mut Recorder,
    tiles: TensorId,
    head: impl FnOnce(&mut Recorder, TensorId) -> Result<TensorId>,
) -> Result<(TensorId, TensorId)> {
    let features = r.encode(tiles)?;
    let each = head(r, features)?;
    Ok((r.graph.apply1(ConcatViews { views: CELLS }, &[each])?, each))
}

/// A permutation at random, and the tiles in its order.
pub fn shuffle(tiles: &[ViewParams], among: &[Permutation], rng: &mut Philox) -> (Vec<ViewParams>, i64) {
    let which = rng.below(among.len() as u32) as usize;
    (among[which].iter().map(|&cell| tiles[usize::from(cell)]).collect(), which as i64)
}

struct Shuffled {
    policy: Policy,
    cut: Cut,
    sizes: [usize; CELLS],
    permutations: Arc<Vec<Permutation>>,
}

impl Inputs for Shuffled {
    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn labels(&self) -> usize {
        1
    }

    fn draw(&self, of: Draw) -> Drawn {
        let mut rng = Cut::rng(of, 0);
        let tiles = self.cut.tiles(&self.policy, of, &mut rng);
        let (views, label) = shuffle(&tiles, &self.permutations, &mut rng);
        Drawn { views, labels: vec![label] }
    }
}
