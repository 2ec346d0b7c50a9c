//! The classifier as two programs: one that trains and one that judges.

use crate::augment::Policy;
use crate::device::{Device, Program};
use crate::eval::start::ENCODER;
use crate::graph::{Graph, TensorId};
use crate::nn::{Encoder, Mode, linear};
use crate::ops::softmax_cross_entropy::SoftmaxCrossEntropy;
use crate::ops::when_finite::when_finite;
use crate::optim::Optimizer;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// Images a run of the finished classifier takes.
pub const EVAL_BATCH: usize = 128;

/// The network and its input.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    pub encoder: &'a Encoder,
    /// Sets interpolation, mean and standard deviation; of the changes only crops and flips are kept.
    pub policy: &'a Policy,
    /// Pixels of an image in height and width.
    pub size: usize,
    pub channels: usize,
    /// Labels are 0 to `classes` − 1.
    pub classes: usize,
    pub device: Device,
}

/// A training step.
pub struct Training {
    pub program: Box<dyn Program>,
    pub images: TensorId,
    pub labels: TensorId,
    pub loss: TensorId,
    /// Of the encoder, of the head.
    pub schedules: [TensorId; 2],
    pub update_from: usize,
}

/// The finished classifier.
pub struct Testing {
    pub program: Box<dyn Program>,
    pub images: TensorId,
    pub logits: TensorId,
}

/// Images \[N,S,S,C\] → logits \[N,K\].
fn record(graph: &mut Graph, network: &Network, batch: usize, mode: Mode) -> Result<[TensorId; 2]> {
    let Network { encoder, size, channels, classes, .. } = *network;
    let images = graph.input("images", TensorType::f32([batch, size, size, channels]))?;
    let features = encoder.record(graph, images, mode)?.features;
    Ok([images, linear(graph, "head", features, classes, true)?])
}

impl Training {
    /// Plans it for `batch` images.
    pub fn record(network: &Network, batch: usize, device: Device) -> Result<Self> {
        let mut graph = Graph::new();
        let [images, logits] = record(&mut graph, network, batch, Mode::Train)?;
        let labels = graph.input("labels", TensorType::new([batch], DType::I64))?;
        let loss = graph.apply1(SoftmaxCrossEntropy, &[logits, labels])?;
        let d_loss = graph.input("d_loss", TensorType::f32([1]))?;
        let gradients = graph.differentiate(&[(loss, d_loss)])?;
        let update_from = graph.nodes().len();
        let sgd = Optimizer { name: "sgd".into(), weight_decay: 0.0, ..Optimizer::default() };
        let schedules = [
            graph.input("schedule.encoder", TensorType::f32([2]))?,
            graph.input("schedule.head", TensorType::f32([2]))?,
        ];
        let [encoder, head] = [
            when_finite(&mut graph, loss, schedules[0], 0.0)?,
            when_finite(&mut graph, loss, schedules[1], 0.0)?,
        ];
        sgd.record_some(&mut graph, &gradients, encoder, |name| name.starts_with(ENCODER))?;
        sgd.record_some(&mut graph, &gradients, head, |name| !name.starts_with(ENCODER))?;
        graph.keep(loss);
        let mut program = device.program(graph)?;
        program.write_f32(d_loss, &[1.0])?;
        Ok(Self { program, images, labels, loss, schedules, update_from })
    }

    /// One step on a full batch, with the rates of encoder and head; `at` counts from 0.
    pub fn step(&mut self, views: &[f32], labels: &[i64], rates: [f32; 2], at: usize) -> Result<()> {
        self.program.write_f32(self.images, views)?;
        self.program.write(self.labels, bytemuck::cast_slice(labels))?;
        for (schedule, lr) in self.schedules.into_iter().zip(rates) {
            self.program.write_f32(schedule, &[lr, (at + 1) as f32])?;
        }
        self.program.run_all()?;
        let loss = self.program.read_f32(self.loss)?[0];
        if !loss.is_finite() {
            let found = self.program.find_non_finite(0..self.update_from)?;
            let place = found.unwrap_or_else(|| "no single op could be blamed".into());
            let what = format!("fine-tuning: the loss is {loss}: {place}; lower the learning rates");
            return Err(Error::NonFinite { step: at as u64 + 1, what });
        }
        Ok(())
    }
}

impl Testing {
    /// Plans it for [`EVAL_BATCH`] images.
    pub fn record(network: &Network, device: Device) -> Result<Self> {
        let mut graph = Graph::new();
        let [images, logits] = record(&mut graph, network, EVAL_BATCH, Mode::Eval)?;
        graph.keep(logits);
        Ok(Self { program: device.program(graph)?, images, logits })
    }
}
