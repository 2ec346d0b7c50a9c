//! A training step, and what methods record it with.

use super::inputs::{InputSpec, Inputs};
use super::{Method, Ramp, settings};
use crate::augment::Policy;
use crate::graph::{Graph, Init, Precision, TensorId};
use crate::nn::{Encoder, Mode, Predictor, Projector};
use crate::ops::augment::{Augment, PARAMS};
use crate::ops::weighted_sum::WeightedSum;
use crate::optim::{self, Optimizer};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use serde::de::DeserializeOwned;
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

/// A data set that lies on the device.
#[derive(Clone, Debug)]
pub struct Images {
    pub count: usize,
    pub height: usize,
    pub width: usize,
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
    /// Nodes before this one compute loss and gradients; this one and later ones update weights and states.
    pub update_from: usize,
}

/// A step's inputs that change from batch to batch.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    /// Each with the views it holds: views \[(views)·N,S,S,C\], or rows of parameters \[(views)·N,16\] to make them by.
    pub views: Vec<(Range<usize>, TensorId)>,
    /// The data set u8\[count,H,W,C\], where the step makes its views.
    pub images: Option<TensorId>,
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
        let mut recorder = Recorder {
            graph: &mut graph,
            spec: self,
            inputs: &*inputs,
            schedule,
            feeds: Feeds::default(),
            held: None,
            after: vec![],
        };
        if let Some(images) = self.images {
            let ty = TensorType::new([images.count, images.height, images.width, self.channels], DType::U8);
            recorder.feeds.images = Some(recorder.graph.input("images", ty)?);
            recorder.index()?;
        }
        let Recorded { loss, embeddings } = (self.method.record)(&mut recorder)?;
        let Recorder { feeds, held, after, .. } = recorder;
        let seed_gradient = graph.input("d_loss", TensorType::f32([1]))?;
        let gradients = graph.differentiate(&[(loss, seed_gradient)])?;
        let update_from = graph.nodes().len();
        match (held, feeds.held_schedule) {
            (Some(module), Some(peak)) => {
                let is_held = |name: &str| name.starts_with(module);
                self.optimizer.record_some(&mut graph, &gradients, schedule, |name| !is_held(name))?;
                self.optimizer.record_some(&mut graph, &gradients, peak, is_held)?;
            }
            _ => self.optimizer.record(&mut graph, &gradients, schedule)?,
        }
        for update in after {
            update(&mut graph)?;
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

/// What a method gives back.
pub(super) struct Recorded {
    pub loss: TensorId,
    pub embeddings: Vec<TensorId>,
}

type Update = Box<dyn FnOnce(&mut Graph) -> Result<()>>;

/// What a method records with.
pub(super) struct Recorder<'a> {
    pub graph: &'a mut Graph,
    pub spec: &'a StepSpec<'a>,
    inputs: &'a dyn Inputs,
    /// \[2\]: learning rate, number of the step from 1.
    pub schedule: TensorId,
    feeds: Feeds,
    /// Begins the names of parameters that `held_schedule` is for.
    held: Option<&'static str>,
    after: Vec<Update>,
}

impl Recorder<'_> {
    /// The method's settings.
    pub fn settings<S: DeserializeOwned>(&self) -> Result<S> {
        settings::read(self.spec.loss)
    }

    /// How many views a sample has.
    pub fn view_count(&self) -> usize {
        self.inputs.sizes().len()
    }

    /// The images of these views, which are of one size: the first view's N rows first.
    pub fn views(&mut self, views: Range<usize>) -> Result<TensorId> {
        let StepSpec { batch, channels, .. } = *self.spec;
        let sizes = &self.inputs.sizes()[views.clone()];
        let size = sizes[0];
        if sizes.iter().any(|&s| s != size) {
            return Err(Error::Graph(format!("views {views:?} are not of one size: {sizes:?}")));
        }
        let name = format!("views.{}-{}", views.start, views.end);
        let count = views.len() * batch;
        let (Some(images), Some(all), Some(index)) = (self.spec.images, self.feeds.images, self.feeds.index)
        else {
            let ty = self.graph.activation([count, size, size, channels]);
            let input = self.graph.input(&name, ty)?;
            self.feeds.views.push((views, input));
            return Ok(input);
        };
        let rows = self.graph.input(&format!("{name}.params"), TensorType::f32([count, PARAMS]))?;
        self.feeds.views.push((views, rows));
        let dtype = self.graph.precision().dtype();
        self.graph.apply1(Augment { dtype, size, ..images.transform.clone() }, &[all, rows, index])
    }

    /// Numbers of the batch's images in the data set, u32\[N\].
    pub fn index(&mut self) -> Result<TensorId> {
        if let Some(index) = self.feeds.index {
            return Ok(index);
        }
        let index = self.graph.input("index", TensorType::new([self.spec.batch], DType::U32))?;
        self.feeds.index = Some(index);
        Ok(index)
    }

    /// Labels of the samples, i64\[(labels)·N\], the first label's N rows first.
    pub fn labels(&mut self, labels: Range<usize>) -> Result<TensorId> {
        let ty = TensorType::new([labels.len() * self.spec.batch], DType::I64);
        let input = self.graph.input(&format!("labels.{}-{}", labels.start, labels.end), ty)?;
        self.feeds.labels.push((labels, input));
        Ok(input)
    }

    /// Each sample's share of every class, f32\[N,classes\].
    pub fn targets(&mut self) -> Result<TensorId> {
        let ty = TensorType::f32([self.spec.batch, self.spec.data.classes]);
        let input = self.graph.input("targets", ty)?;
        self.feeds.targets = Some(input);
        Ok(input)
    }

    /// Numbers of `count` images that are not in the batch, u32\[count\].
    pub fn negatives(&mut self, count: usize) -> Result<TensorId> {
        let input = self.graph.input("negatives", TensorType::new([count], DType::U32))?;
        self.feeds.negatives = Some(input);
        Ok(input)
    }

    /// A number \[1\] that follows `ramp` over the run.
    pub fn scheduled(&mut self, name: &str, ramp: Ramp) -> Result<TensorId> {
        let input = self.graph.input(name, TensorType::f32([1]))?;
        self.feeds.ramps.push((input, ramp));
        Ok(input)
    }

    /// Keeps the learning rate of parameters whose names begin so at its peak: neither warm-up nor decay.
    pub fn hold_lr(&mut self, module: &'static str) -> Result<()> {
        self.feeds.held_schedule = Some(self.graph.input("schedule.held", TensorType::f32([2]))?);
        self.held = Some(module);
        Ok(())
    }

    /// Features \[N,D\] of images. Encoding twice shares the weights.
    pub fn encode(&mut self, images: TensorId) -> Result<TensorId> {
        Ok(self.spec.encoder.record(self.graph, images, Mode::Train)?.features)
    }

    /// The head's output on features.
    pub fn project(&mut self, features: TensorId) -> Result<TensorId> {
        self.spec.projector.record(self.graph, features, Mode::Train)
    }

    /// Encoder and head on one view.
    pub fn embed(&mut self, view: usize) -> Result<TensorId> {
        let images = self.views(view..view + 1)?;
        let features = self.encode(images)?;
        self.project(features)
    }

    /// Encoder and head on two views, each in a forward pass (and with batch statistics) of its own.
    pub fn embed_two(&mut self) -> Result<[TensorId; 2]> {
        Ok([self.embed(0)?, self.embed(1)?])
    }

    /// Runs `record` on the teacher's network, which follows the student's by a moving average that `momentum` weighs.
    ///
    /// The average is taken at the end of a step, with the momentum of the next: as if taken at that one's beginning.
    pub fn teacher<R>(&mut self, record: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.graph.set_teaching(true);
        let result = record(self);
        self.graph.set_teaching(false);
        result
    }

    /// Records the moving average of everything the teacher has.
    pub fn follow(&mut self, momentum: Ramp) -> Result<()> {
        let momentum = self.scheduled("momentum", momentum)?;
        let pairs = self.graph.teachers();
        self.after(move |graph| optim::ema(graph, momentum, &pairs));
        Ok(())
    }

    /// The prediction head of methods with asymmetric branches, on projections \[N,D\]: \[N,D\] again.
    pub fn predict(&mut self, z: TensorId, predictor: &Predictor) -> Result<TensorId> {
        predictor.record(self.graph, z, Mode::Train)
    }

    /// What keeps its values from step to step, without a gradient.
    pub fn state(&mut self, name: &str, shape: impl Into<Vec<usize>>, init: Init) -> Result<TensorId> {
        self.graph.state(name, TensorType::f32(shape), init)
    }

    /// Records something behind the optimiser: queues, banks, averages.
    pub fn after(&mut self, update: impl FnOnce(&mut Graph) -> Result<()> + 'static) {
        self.after.push(Box::new(update));
    }

    /// Σ weight · loss.
    pub fn sum(&mut self, terms: &[(f32, TensorId)]) -> Result<TensorId> {
        let (weights, losses): (Vec<_>, Vec<_>) = terms.iter().copied().unzip();
        self.graph.apply1(WeightedSum { weights }, &losses)
    }
}
