//! Hashtags: which words did people put beside the image? Labels nobody was paid for.

use super::super::inputs::Augmented;
use super::super::{BASE, Family, Labels, Method, Recorded};
use super::classify;
use crate::ops::soft_cross_entropy::SoftCrossEntropy;

pub const METHOD: Method = Method {
    name: "hashtag",
    family: Family::WeakLabels,
    summary: "semi-automatic labels: the hashtags beside an image, each of k with a share of 1/k",
    paper: "Mahajan et al., Exploring the Limits of Weakly Supervised Pretraining, ECCV 2018, section 2.2",
    avoids_collapse: "a task with labels: one output for every input knows only how often each tag is used",
    projects: false,
    labels: Labels::Tags,
    inputs: |spec| Augmented::views(spec, 1),
    record: |r| {
        let images = r.views(0..1)?;
        let features = r.encode(images)?;
        let logits = classify(r, features, r.spec.data.classes)?;
        let shares = r.targets()?;
        let loss = r.graph.apply1(SoftCrossEntropy { temperature: 1.0 }, &[logits, shares])?;
        Ok(Recorded { loss, embeddings: vec![features] })
    },
    // No `chance`: who knows nothing of the image still learns how often each tag is used, and the entropy of that is unknown here.
    ..BASE
};
