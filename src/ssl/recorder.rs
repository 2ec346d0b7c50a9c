//! What methods record a step with.

use super::inputs::Inputs;
use super::record::{Feeds, StepSpec};
use super::{Ramp, settings};
use crate::Error;
use crate::Result;
use crate::graph::{Graph, Init, TensorId};
use crate::nn::{Mode, Predictor};
use crate::ops::augment::{Augment, PARAMS};
use crate::ops::enqueue::enqueue;
use crate::ops::memory_bank::remember;
use crate::ops::weighted_sum::WeightedSum;
use crate::ops::when_finite::when_finite;
use crate::optim;
use crate::tensor::{DType, TensorType};
use serde::de::DeserializeOwned;
use std::ops::Range;

/// What updates go by: it turns their numbers into those that change nothing where the loss is not finite.
pub(super) struct Gate {
    loss: TensorId,
    /// \[2\]: learning rate, number of the step from 1; 0 where nothing is to be done.
    pub schedule: TensorId,
}

impl Gate {
    pub fn new(graph: &mut Graph, loss: TensorId, schedule: TensorId) -> Result<Self> {
        Ok(Self { loss, schedule: when_finite(graph, loss, schedule, 0.0)? })
    }

    /// Another learning rate and step \[2\].
    pub fn schedule(&self, graph: &mut Graph, schedule: TensorId) -> Result<TensorId> {
        when_finite(graph, self.loss, schedule, 0.0)
    }

    /// The momentum \[1\] of a moving average.
    pub fn momentum(&self, graph: &mut Graph, momentum: TensorId) -> Result<TensorId> {
        when_finite(graph, self.loss, momentum, 1.0)
    }

    /// Rows \[N\] of a bank.
    pub fn index(&self, graph: &mut Graph, index: TensorId) -> Result<TensorId> {
        when_finite(graph, self.loss, index, u32::MAX.into())
    }
}

/// What a method gives back.
pub(super) struct Recorded {
    pub loss: TensorId,
    pub embeddings: Vec<TensorId>,
}

type Update = Box<dyn FnOnce(&mut Graph, &Gate) -> Result<()>>;

/// What a method records with.
pub(super) struct Recorder<'a> {
    pub graph: &'a mut Graph,
    pub spec: &'a StepSpec<'a>,
    inputs: &'a dyn Inputs,
    pub feeds: Feeds,
    /// Begins the names of parameters that `held_schedule` is for.
    pub held: Option<&'static str>,
    pub after: Vec<Update>,
}

impl<'a> Recorder<'a> {
    pub fn new(graph: &'a mut Graph, spec: &'a StepSpec<'a>, inputs: &'a dyn Inputs) -> Self {
        Self { graph, spec, inputs, feeds: Feeds::default(), held: None, after: Vec::new() }
    }

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
        let places = self.feeds.places.or(self.feeds.index);
        let (Some(images), Some(all), Some(places)) = (self.spec.images, self.feeds.images, places) else {
            let ty = self.graph.activation([count, size, size, channels]);
            let input = self.graph.input(&name, ty)?;
            self.feeds.views.push((views, input));
            return Ok(input);
        };
        let rows = self.graph.input(&format!("{name}.params"), TensorType::f32([count, PARAMS]))?;
        self.feeds.views.push((views, rows));
        let dtype = self.graph.precision().dtype();
        self.graph.apply1(Augment { dtype, size, ..images.transform.clone() }, &[all, rows, places])
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
        self.average(momentum, pairs);
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

    /// Records, behind the optimiser, that targets move towards values by a moving average.
    pub fn average(&mut self, momentum: TensorId, pairs: Vec<(TensorId, TensorId)>) {
        self.after(move |graph, gate| {
            let momentum = gate.momentum(graph, momentum)?;
            optim::ema(graph, momentum, &pairs)
        });
    }

    /// Records, behind the optimiser, that a queue takes rows for its oldest.
    pub fn enqueue(&mut self, queue: TensorId, rows: TensorId) {
        self.after(move |graph, gate| enqueue(graph, queue, rows, gate.schedule));
    }

    /// Records, behind the optimiser, that images' rows of a bank move towards their newest.
    pub fn remember(&mut self, bank: TensorId, rows: TensorId, index: TensorId, momentum: f32) {
        self.after(move |graph, gate| {
            let index = gate.index(graph, index)?;
            remember(graph, bank, rows, index, momentum)
        });
    }

    /// Records something behind the optimiser: queues, banks, averages. Where the loss is not finite it must change nothing,
    /// for which it takes its numbers through the gate.
    pub fn after(&mut self, update: impl FnOnce(&mut Graph, &Gate) -> Result<()> + 'static) {
        self.after.push(Box::new(update));
    }

    /// Σ weight · loss.
    pub fn sum(&mut self, terms: &[(f32, TensorId)]) -> Result<TensorId> {
        let (weights, losses): (Vec<_>, Vec<_>) = terms.iter().copied().unzip();
        self.graph.apply1(WeightedSum { weights }, &losses)
    }
}
