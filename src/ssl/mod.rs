//! Methods of self-supervision. One method, one file; each records its loss from the same ops.

mod cosine;
mod simclr;

use crate::graph::{Graph, Precision, TensorId};
use crate::nn::{Encoder, Mode, Projector};
use crate::ops::augment::{Augment, PARAMS};
use crate::optim::Optimizer;
use crate::tensor::{DType, TensorType};
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
    pub precision: Precision,
    /// If the step makes its views itself, of which images and how; if not, views are its input.
    pub images: Option<&'a Images>,
}

/// A data set that lies on the device.
#[derive(Clone, Debug)]
pub struct Images {
    pub count: usize,
    pub height: usize,
    pub width: usize,
    pub transform: Augment,
}

/// A recorded, differentiated training step.
pub struct Step {
    pub graph: Graph,
    /// Inputs, each with the views it holds: views \[(views)·N,S,S,C\], or rows of parameters \[(views)·N,16\] to make them
    /// by.
    pub views: Vec<(Range<usize>, TensorId)>,
    /// Where the step makes its views: the data set u8\[count,H,W,C\] and the batch's images u32\[N\].
    pub resident: Option<Resident>,
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

/// Inputs of a step that makes its own views.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    pub images: TensorId,
    pub index: TensorId,
}

impl StepSpec<'_> {
    /// Records forward pass, backward pass and optimiser.
    pub fn record(&self) -> Result<Step> {
        let mut graph = Graph::with_precision(self.precision);
        let resident = self.images.map(|images| self.resident(&mut graph, images)).transpose()?;
        let mut recorder = Recorder { graph: &mut graph, spec: self, resident, views: Vec::new() };
        let Recorded { loss, embeddings } = (self.method.record)(&mut recorder)?;
        let views = recorder.views;
        let seed_gradient = graph.input("d_loss", TensorType::f32([1]))?;
        let gradients = graph.differentiate(&[(loss, seed_gradient)])?;
        let update_from = graph.nodes().len();
        let schedule = self.optimizer.record(&mut graph, &gradients)?;
        graph.keep(loss);
        embeddings.iter().for_each(|&t| graph.keep(t));
        Ok(Step { graph, views, resident, loss, embeddings, schedule, seed_gradient, update_from })
    }

    fn resident(&self, graph: &mut Graph, images: &Images) -> Result<Resident> {
        let shape = [images.count, images.height, images.width, self.channels];
        Ok(Resident {
            images: graph.input("images", TensorType::new(shape, DType::U8))?,
            index: graph.input("index", TensorType::new([self.batch], DType::U32))?,
        })
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
    resident: Option<Resident>,
    views: Vec<(Range<usize>, TensorId)>,
}

impl Recorder<'_> {
    /// The images of these views, the first view's N rows first.
    fn views(&mut self, views: Range<usize>) -> Result<TensorId> {
        let StepSpec { batch, size, channels, .. } = *self.spec;
        let name = format!("views.{}-{}", views.start, views.end);
        let count = views.len() * batch;
        let (Some(images), Some(Resident { images: all, index })) = (self.spec.images, self.resident) else {
            let ty = self.graph.activation([count, size, size, channels]);
            let input = self.graph.input(&name, ty)?;
            self.views.push((views, input));
            return Ok(input);
        };
        let rows = self.graph.input(&format!("{name}.params"), TensorType::f32([count, PARAMS]))?;
        self.views.push((views, rows));
        let dtype = self.graph.precision().dtype();
        self.graph.apply1(Augment { dtype, ..images.transform.clone() }, &[all, rows, index])
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
