//! Rotation: by which of 0, 90, 180, 270 degrees was the image turned? All four are asked in every step.

use super::super::inputs::{Draw, Drawn, InputSpec, Inputs};
use super::super::{BASE, Family, Labels, Method, Recorded};
use super::classify;
use crate::augment::{Policy, draw, stream};
use crate::ops::rotate::Rotate;
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;

pub const TURNS: usize = 4;

pub const METHOD: Method = Method {
    name: "rotation",
    family: Family::Pretext,
    summary: "pretext task: by how many quarter turns was the image turned?",
    paper: "Gidaris, Singh & Komodakis, Unsupervised Representation Learning by Predicting Image Rotations, ICLR 2018",
    avoids_collapse: "a task with labels: one output for every input gets one in four right",
    if_stuck: "Raise the learning rate or train longer; check that what the network sees suffices to solve the task.",
    projects: false,
    labels: Labels::Drawn,
    inputs: |spec| Ok(Box::new(Turned::new(spec))),
    record: |r| {
        let images = r.views(0..TURNS)?;
        let turns = r.labels(0..TURNS)?;
        let turned = r.graph.apply1(Rotate, &[images, turns])?;
        let features = r.encode(turned)?;
        let logits = classify(r, features, TURNS)?;
        let loss = r.graph.apply1(SoftmaxCrossEntropy, &[logits, turns])?;
        Ok(Recorded { loss, embeddings: vec![features] })
    },
    chance: |_, _, _| Ok(super::super::among(TURNS)),
    ..BASE
};

/// One view of an image, four times: the crop does not give the turn away.
struct Turned {
    policy: Policy,
    sizes: [usize; TURNS],
}

impl Turned {
    fn new(spec: &InputSpec) -> Self {
        Self { policy: spec.augment.clone(), sizes: [spec.size; TURNS] }
    }
}

impl Inputs for Turned {
    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn labels(&self) -> usize {
        TURNS
    }

    fn draw(&self, of: Draw) -> Drawn {
        let [h, w] = of.image;
        let view = draw(&self.policy, 0, &mut stream(of.seed, of.epoch, of.id, 0, 1), h, w);
        Drawn { views: vec![view; TURNS], labels: (0..TURNS as i64).collect() }
    }
}
