//! A training step: what decides it, and what it is once recorded.

use super::inputs::InputSpec;
use super::recorder::{Gate, Recorded, Recorder};
use super::{Method, Ramp};
use crate::Result;
use crate::augment::Policy;
use crate::graph::{Graph, Precision, TensorId};
use crate::nn::{Encoder, Projector};
use crate::ops::augment::Augment;
use crate::optim::Optimizer;
use crate::tensor::{DType, TensorType};
use std::ops::Range;
use toml::Table;

/// All that decides a step's graph.
#[derive(Clone, Copy)]
pub struct StepSpec<'a> {
    pub method: &'a Method,
    pub encoder: &'a Encoder,
    pub projector: &'a Projector,
    /// The method's settings, complete.
    pub loss: &'a Table,
    pub optimizer: &'a Optimizer,
    pub augment: &'a Policy,
    /// Source images a step.
    pub batch: usize,
    /// Pixels of a view, in height and width.
    pub size: usize,
    pub channels: usize,
    pub precision: Precision,
    /// The epoch that begins: some methods change their graph once or twice ([`Method::phase`]).
    pub epoch: usize,
    pub data: Known,
    /// If the step makes its views itself, of which images and how; if not, views are its input.
    pub images: Option<&'a Images>,
}

/// What must be known of the data set.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Images: the rows of memory banks.
    pub images: usize,
    /// Tags, or cells of the map: the outputs of methods that learn from them.
    pub classes: usize,
}

impl Default for Known {
    /// For a step that never runs on data: CIFAR's 50,000 images, 100 classes.
    fn default() -> Self {
        Self { images: 50_000, classes: 100 }
    }
}

/// Pictures on the device, of which it makes the views.
#[derive(Clone, Debug)]
pub struct Images {
    pub count: usize,
    pub height: usize,
    pub width: usize,
    /// Whether these are the batch's own, new with each, instead of the whole data set.
    pub streamed: bool,
    /// Makes a view, but for its size.
    pub transform: Augment,
}

/// A recorded, differentiated training step.
pub struct Step {
    pub graph: Graph,
    pub feeds: Feeds,
    pub loss: TensorId,
    /// What the loss compares, \[…,D\], in the order of the views.
    pub embeddings: Vec<TensorId>,
    /// The input \[2\] that takes learning rate and step number.
    pub schedule: TensorId,
    /// The input \[1\] that takes 1: the loss's own gradient.
    pub seed_gradient: TensorId,
    /// Nodes before this one compute loss and gradients; this one and later ones update weights and states, unless the loss
    /// is not finite: these then keep their values (rows brought
    /// to unit length may move by a rounding), and the batch can be looked at again.
    pub update_from: usize,
}

/// A step's inputs that change from batch to batch.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    /// Each with the views it holds: views \[(views)·N,S,S,C\], or rows of parameters \[(views)·N,16\] to make them by.
    pub views: Vec<(Range<usize>, TensorId)>,
    /// The data set u8\[count,H,W,C\] or the batch's part of it, where the step makes its views.
    pub images: Option<TensorId>,
    /// Where the batch's images lie among them, u32\[N\], if not in the places that `index` says.
    pub places: Option<TensorId>,
    /// The batch's images, u32\[N\].
    pub index: Option<TensorId>,
    /// Each with the labels it holds: i64\[(labels)·N\].
    pub labels: Vec<(Range<usize>, TensorId)>,
    /// Shares of each class, f32\[N,classes\].
    pub targets: Option<TensorId>,
    /// Images of other batches, u32\[K\].
    pub negatives: Option<TensorId>,
    /// Scheduled numbers \[1\].
    pub ramps: Vec<(TensorId, Ramp)>,
    /// Peak learning rate and step number \[2\], for parameters that stay at it.
    pub held_schedule: Option<TensorId>,
}

impl StepSpec<'_> {
    /// Records forward pass, backward pass, optimiser, and the method's own updates.
    pub fn record(&self) -> Result<Step> {
        let inputs = self.method.inputs(&self.inputs())?;
        let mut graph = Graph::with_precision(self.precision);
        let schedule = graph.input("schedule", TensorType::f32([2]))?;
        let mut recorder = Recorder::new(&mut graph, self, &*inputs);
        if let Some(images) = self.images {
            let ty = TensorType::new([images.count, images.height, images.width, self.channels], DType::U8);
            recorder.feeds.images = Some(recorder.graph.input("images", ty)?);
            let places = TensorType::new([self.batch], DType::U32);
            if images.streamed {
                recorder.feeds.places = Some(recorder.graph.input("places", places)?);
            } else {
                recorder.index()?;
            }
        }
        let Recorded { loss, embeddings } = (self.method.record)(&mut recorder)?;
        let Recorder { feeds, held, after, .. } = recorder;
        let seed_gradient = graph.input("d_loss", TensorType::f32([1]))?;
        let gradients = graph.differentiate(&[(loss, seed_gradient)])?;
        let update_from = graph.nodes().len();
        let gate = Gate::new(&mut graph, loss, schedule)?;
        match (held, feeds.held_schedule) {
            (Some(module), Some(peak)) => {
                let (is_held, peak) =
                    (|name: &str| name.starts_with(module), gate.schedule(&mut graph, peak)?);
                self.optimizer.record_some(&mut graph, &gradients, gate.schedule, |name| !is_held(name))?;
                self.optimizer.record_some(&mut graph, &gradients, peak, is_held)?;
            }
            _ => self.optimizer.record(&mut graph, &gradients, gate.schedule)?,
        }
        for update in after {
            update(&mut graph, &gate)?;
        }
        graph.keep(loss);
        embeddings.iter().for_each(|&t| graph.keep(t));
        Ok(Step { graph, feeds, loss, embeddings, schedule, seed_gradient, update_from })
    }

    /// What decides its inputs.
    pub fn inputs(&self) -> InputSpec<'_> {
        InputSpec { augment: self.augment, size: self.size, loss: self.loss }
    }
}
