//! Pretext tasks: solved only to learn features. A part of the image, or what came with it, is predicted from the rest.

pub mod gps;
pub mod hashtag;
pub mod jigsaw;
pub mod permutations;
pub mod relative_position;
pub mod rotation;
pub mod tiles;

use super::Recorder;
use crate::Result;
use crate::graph::TensorId;
use crate::nn;

/// The classifier that solves a task: one linear layer, under `classifier.`.
fn classify(r: &mut Recorder, features: TensorId, classes: usize) -> Result<TensorId> {
    nn::linear(r.graph, "classifier", features, classes, true)
}
