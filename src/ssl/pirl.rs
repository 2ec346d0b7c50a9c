//! PIRL: an image and its transformed self (a jigsaw of it, or a turned one) have the same feature, which is told from
//! those of other images, remembered from earlier epochs.

use super::bank::{BANK, fill_bank};
use super::inputs::{Draw, Drawn, Inputs};
use super::pretext::jigsaw::{assemble, shuffle};
use super::pretext::permutations::{Permutation, permutations};
use super::pretext::rotation::TURNS;
use super::pretext::tiles::{CELLS, Cut};
use super::settings::{fill, positive, share};
use super::{BASE, Family, Labels, Method, Recorded, Recorder};
use crate::augment::{Policy, draw, stream};
use crate::graph::{Init, TensorId};
use crate::nn::{self, Mode};
use crate::ops::cast;
use crate::ops::gather::Gather;
use crate::ops::info_nce::InfoNce;
use crate::ops::rotate::Rotate;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is done to an image whose feature is to stay.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transform {
    Jigsaw,
    Rotation,
}

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    temperature: f32,
    transform: Transform,
    /// Weight of the transformed image's loss against the plain one's.
    lambda: f32,
    /// Remembered images that repel, drawn anew each step; all but the batch's if there are fewer.
    negatives: usize,
    /// Share of its old feature that a remembered image keeps.
    momentum: f32,
    permutations: usize,
    tile: Cut,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            temperature: 0.07,
            transform: Transform::Jigsaw,
            lambda: 0.5,
            negatives: 4096,
            momentum: 0.5,
            permutations: 1000,
            tile: Cut::default(),
        }
    }
}

pub const METHOD: Method = Method {
    name: "pirl",
    family: Family::Contrastive,
    summary: "contrastive: an image and its jigsaw (or turned self) have one feature, told from a memory of others",
    paper: "Misra & van der Maaten, Self-Supervised Learning of Pretext-Invariant Representations, CVPR 2020, equation 5",
    avoids_collapse: "negatives repel: other images' features, remembered in a bank",
    labels: Labels::Drawn,
    settings: fill::<Settings>,
    inputs: |spec| {
        let s: Settings = spec.settings()?;
        let jigsaw = match s.transform {
            Transform::Jigsaw => Some(permutations(s.permutations)?),
            Transform::Rotation => None,
        };
        let mut sizes = vec![spec.size];
        match jigsaw {
            Some(_) => sizes.extend([s.tile.pixels(spec)?; CELLS]),
            None => sizes.push(spec.size),
        }
        Ok(Box::new(Pair { policy: spec.augment.clone(), cut: s.tile, sizes, jigsaw }))
    },
    record: |r| {
        let s: Settings = r.settings()?;
        positive("temperature", s.temperature)?;
        share("lambda", s.lambda)?;
        share("momentum", s.momentum)?;
        if s.negatives == 0 {
            return Err(Error::config("loss.negatives", "must be at least 1: they are all that repels"));
        }
        let (images, batch) = (r.spec.data.images, r.spec.batch);
        let count = s.negatives.min(images.saturating_sub(batch));
        if count == 0 {
            let what = format!("{images} images in batches of {batch} leave none to repel");
            return Err(Error::config("loss.negatives", what));
        }
        let plain = r.embed(0)?;
        let [_, d] = r.graph.ty(plain).dims("pirl", "z")?;
        let transformed = match s.transform {
            Transform::Jigsaw => {
                let tiles = r.views(1..1 + CELLS)?;
                // Tiles are brought to one brightness in neither branch: the image's feature is to hold it.
                let (whole, _) = assemble(r, tiles, project_transformed)?;
                nn::linear(r.graph, "transformed", whole, d, true)?
            }
            Transform::Rotation => {
                let turns = r.labels(0..1)?;
                let view = r.views(1..2)?;
                let turned = r.graph.apply1(Rotate, &[view, turns])?;
                let features = r.encode(turned)?;
                project_transformed(r, features)?
            }
        };
        let bank = r.state(BANK, [images, d], Init::UnitRows)?;
        let (index, others) = (r.index()?, r.negatives(count)?);
        let own = r.graph.apply1(Gather, &[bank, index])?;
        let own = cast::activation(r.graph, own)?;
        let others = r.graph.apply1(Gather, &[bank, others])?;
        let nce = InfoNce { temperature: s.temperature };
        let mut terms = Vec::new();
        for (weight, z) in [(s.lambda, transformed), (1.0 - s.lambda, plain)] {
            terms.push((weight, r.graph.apply1(nce, &[z, own, others])?));
        }
        let loss = r.sum(&terms)?;
        let (newest, momentum) = (r.graph.stop_gradient(plain), s.momentum);
        r.remember(bank, newest, index, momentum);
        Ok(Recorded { loss, embeddings: vec![plain, transformed] })
    },
    epoch: Some(|program, before| fill_bank(program, &before)),
    chance: |s, batch, data| {
        let s: Settings = super::settings::read(s)?;
        Ok(super::among(1 + s.negatives.min(data.images.saturating_sub(batch))))
    },
    ..BASE
};

/// The head of transformed images, the paper's g, apart from the plain ones', f.
fn project_transformed(r: &mut Recorder, features: TensorId) -> Result<TensorId> {
    let head = r.spec.projector;
    r.graph.scope("transformed", |graph| head.record(graph, features, Mode::Train))
}

/// A view of the image, then the transformed one.
struct Pair {
    policy: Policy,
    cut: Cut,
    sizes: Vec<usize>,
    jigsaw: Option<Arc<Vec<Permutation>>>,
}

impl Inputs for Pair {
    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn labels(&self) -> usize {
        1
    }

    fn draw(&self, of: Draw) -> Drawn {
        let [h, w] = of.image;
        let view = |v| draw(&self.policy, v, &mut stream(of.seed, of.epoch, of.id, v, 2), h, w);
        // The tiles' colours come from streams of their own.
        let mut rng = Cut::rng(of, 1);
        let mut views = vec![view(0)];
        let label = match &self.jigsaw {
            Some(among) => {
                let tiles = self.cut.tiles(&self.policy, of, &mut rng);
                let (tiles, label) = shuffle(&tiles, among, &mut rng);
                views.extend(tiles);
                label
            }
            None => {
                views.push(view(1));
                1 + i64::from(rng.below(TURNS as u32 - 1))
            }
        };
        Drawn { views, labels: vec![label] }
    }
}
