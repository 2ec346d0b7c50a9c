//! GPS: in which cell of the map was the image taken?

use super::super::inputs::Augmented;
use super::super::{BASE, Family, Labels, Method, Recorded};
use super::classify;
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;

pub const METHOD: Method = Method {
    name: "gps",
    family: Family::WeakLabels,
    summary: "semi-automatic labels: the cell of an adaptive map in which the image was taken",
    paper: "Weyand, Kostrikov & Philbin, PlaNet - Photo Geolocation with Convolutional Neural Networks, ECCV 2016",
    avoids_collapse: "a task with labels: one output for every input knows only which cell is fullest",
    projects: false,
    labels: Labels::Places,
    inputs: |spec| Augmented::views(spec, 1),
    record: |r| {
        let images = r.views(0..1)?;
        let features = r.encode(images)?;
        let logits = classify(r, features, r.spec.data.classes)?;
        let cells = r.labels(0..1)?;
        let loss = r.graph.apply1(SoftmaxCrossEntropy, &[logits, cells])?;
        Ok(Recorded { loss, embeddings: vec![features] })
    },
    // No `chance`: who knows nothing of the image still learns how full each cell is, and the entropy of that is unknown here.
    ..BASE
};
