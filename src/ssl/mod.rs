//! Methods of self-supervision. One method, one file; each records its loss from the same ops.

mod cosine;
mod simclr;

use crate::graph::{Graph, TensorId};
use crate::nn::{Encoder, Mode, Projector};
use crate::optim::Optimizer;
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Every method.
pub const METHODS: &[Method] = &[simclr::METHOD, cosine::METHOD];

/// A way to pretrain.
pub struct Method {
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    pub paper: &'static str,
    /// How it avoids the trivial solution, one output for every input.
    pub avoids_collapse: &'static str,
    /// Views of each image.
    pub views: usize,
    record: fn(&mut Recorder) -> Result<Recorded>,
}

/// The method of that name, or an error that lists the names there are.
pub fn find(name: &str) -> Result<&'static Method> {
    METHODS.iter().find(|m| m.name == name).ok_or_else(|| {
        let names: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        Error::config("method", format!("there is no method `{name}`; there are {}", names.join(", ")))
    })
}

/// Settings of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// What similarities are divided by in contrastive losses.
    pub temperature: f32,
}

impl Default for Loss {
    fn default() -> Self {
        Self { temperature: 0.2 }
    }
}

/// All that decides a step's graph.
#[derive(Clone, Copy)]
pub struct StepSpec<'a> {
    pub method: &'a Method,
    pub encoder: &'a Encoder,
    pub projector: &'a Projector,
    pub loss: &'a Loss,
    pub optimizer: &'a Optimizer,
    /// Source images a step.
    pub batch: usize,
    /// Pixels of a view, in height and width.
    pub size: usize,
    pub channels: usize,
}

/// A recorded, differentiated training step.
pub struct Step {
    pub graph: Graph,
    /// Inputs \[(views)·N,S,S,C\], each with the views it holds.
    pub views: Vec<(Range<usize>, TensorId)>,
    pub loss: TensorId,
    /// What the loss compares, \[…,D\], in the order of the views.
    pub embeddings: Vec<TensorId>,
    /// The input \[2\] that takes learning rate and step number.
    pub schedule: TensorId,
    /// The input \[1\] that takes 1: the loss's own gradient.
    pub seed_gradient: TensorId,
    /// Nodes before this one compute loss and gradients; this one and later ones update the weights.
    pub update_from: usize,
}

impl StepSpec<'_> {
    /// Records forward pass, backward pass and optimiser.
    pub fn record(&self) -> Result<Step> {
        let mut graph = Graph::new();
        let mut recorder = Recorder { graph: &mut graph, spec: self, views: Vec::new() };
        let Recorded { loss, embeddings } = (self.method.record)(&mut recorder)?;
        let views = recorder.views;
        let seed_gradient = graph.input("d_loss", TensorType::f32([1]))?;
        let gradients = graph.differentiate(&[(loss, seed_gradient)])?;
        let update_from = graph.nodes().len();
        let schedule = self.optimizer.record(&mut graph, &gradients)?;
        graph.keep(loss);
        embeddings.iter().for_each(|&t| graph.keep(t));
        Ok(Step { graph, views, loss, embeddings, schedule, seed_gradient, update_from })
    }
}

/// What a method gives back.
struct Recorded {
    loss: TensorId,
    embeddings: Vec<TensorId>,
}

/// What a method records with.
struct Recorder<'a> {
    graph: &'a mut Graph,
    spec: &'a StepSpec<'a>,
    views: Vec<(Range<usize>, TensorId)>,
}

impl Recorder<'_> {
    /// The images of these views, the first view's N rows first.
    fn views(&mut self, views: Range<usize>) -> Result<TensorId> {
        let StepSpec { batch, size, channels, .. } = *self.spec;
        let ty = TensorType::f32([views.len() * batch, size, size, channels]);
        let input = self.graph.input(&format!("views.{}-{}", views.start, views.end), ty)?;
        self.views.push((views, input));
        Ok(input)
    }

    /// Features of images. Encoding twice shares the weights.
    fn encode(&mut self, images: TensorId) -> Result<TensorId> {
        Ok(self.spec.encoder.record(self.graph, images, Mode::Train)?.features)
    }

    /// The head's output on features.
    fn project(&mut self, features: TensorId) -> Result<TensorId> {
        self.spec.projector.record(self.graph, features, Mode::Train)
    }
}
