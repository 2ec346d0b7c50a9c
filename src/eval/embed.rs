//! Images to features: an encoder in evaluation mode, run over a split.

use super::Features;
use crate::augment::Policy;
use crate::data::{Image, Split};
use crate::device::{Device, Program};
use crate::graph::{Graph, TensorId};
use crate::nn::{Encoder, Mode, Projector};
use crate::ops::augment::{Augment, Scratch, ViewParams};
use crate::ops::global_avg_pool::GlobalAvgPool;
use crate::tensor::{HostTensor, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Images a run of the encoder takes.
const BATCH: usize = 128;

/// What to read off the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The encoder's output after global average pooling.
    Features,
    /// conv1, res2, res3, res4 or res5, average-pooled.
    Named(String),
}

/// An encoder ready to embed images.
pub struct Embedder {
    program: Box<dyn Program>,
    images: TensorId,
    /// Features first; then the embeddings, where there is a projector.
    outputs: Vec<TensorId>,
    transform: Augment,
    channels: usize,
}

impl Embedder {
    /// An encoder, and on request its projector, with weights to come. Images are resized and cropped to `size` and
    /// normalised as `policy` says.
    pub fn new(
        encoder: &Encoder,
        projector: Option<&Projector>,
        layer: &Layer,
        policy: &Policy,
        size: usize,
        channels: usize,
        device: Device,
    ) -> Result<Self> {
        policy.check(size, channels)?;
        let mut graph = Graph::new();
        let images = graph.input("images", TensorType::f32([BATCH, size, size, channels]))?;
        let encoded = encoder.record(&mut graph, images, Mode::Eval)?;
        let features = match layer {
            Layer::Features => encoded.features,
            Layer::Named(name) => {
                let found = encoded.layers.iter().find(|(n, _)| n == name).ok_or_else(|| {
                    let names: Vec<_> = encoded.layers.iter().map(|(n, _)| *n).collect();
                    Error::config(
                        "layer",
                        format!("there is no layer `{name}`; there are {}", names.join(", ")),
                    )
                })?;
                graph.apply1(GlobalAvgPool, &[found.1])?
            }
        };
        let mut outputs = vec![features];
        if let Some(projector) = projector {
            outputs.push(projector.record(&mut graph, encoded.features, Mode::Eval)?);
        }
        outputs.iter().for_each(|&t| graph.keep(t));
        let program = device.program(graph)?;
        Ok(Self { program, images, outputs, transform: policy.op(size), channels })
    }

    /// What the network is.
    pub fn graph(&self) -> &Graph {
        self.program.graph()
    }

    /// Takes trained weights.
    pub fn load(&mut self, state: &BTreeMap<String, HostTensor>) -> Result<()> {
        self.program.load_state_dict(state)
    }

    /// Takes fresh weights: the baseline that pretraining has to beat.
    pub fn initialize(&mut self, seed: u64) -> Result<()> {
        self.program.initialize(seed)
    }

    /// The features of every image of a split, in its order.
    pub fn embed(&mut self, split: &Split) -> Result<Features> {
        let mut all =
            self.embed_views(split, split.len(), &|image, _| ViewParams::eval(image.height, image.width))?;
        Ok(all.swap_remove(0))
    }

    /// The outputs of the first `count` images of a split, each seen through the view that `view` draws for it.
    pub fn embed_views(
        &mut self,
        split: &Split,
        count: usize,
        view: &(dyn Fn(&Image, usize) -> ViewParams + Sync),
    ) -> Result<Vec<Features>> {
        let len = self.transform.size * self.transform.size * self.channels;
        let mut views = vec![0.0; BATCH * len];
        let mut labels = Vec::with_capacity(count);
        let mut values = vec![Vec::new(); self.outputs.len()];
        for from in (0..count).step_by(BATCH) {
            let n = BATCH.min(count - from);
            let batch: Result<Vec<i64>> = views[..n * len]
                .par_chunks_mut(len)
                .enumerate()
                .map_init(Default::default, |(image, scratch): &mut (Image, Scratch), (i, out)| {
                    let read = split.read(from + i, image)?;
                    let row = view(image, from + i);
                    let Image { height, width, channels, pixels } = &*image;
                    self.transform
                        .apply(pixels, *height, *width, *channels, &row, out, scratch)
                        .map_err(|e| Error::op("augment", e))?;
                    Ok(split.label(read))
                })
                .collect();
            labels.extend(batch?);
            self.program.write_f32(self.images, &views)?;
            self.program.run_all()?;
            for (values, &output) in values.iter_mut().zip(&self.outputs) {
                let batch = self.program.read_f32(output)?;
                values.extend_from_slice(&batch[..batch.len() / BATCH * n]);
            }
        }
        let d = |t: TensorId| self.program.graph().ty(t).shape[1];
        let outputs = self.outputs.iter().zip(values);
        outputs.map(|(&t, values)| Features::new(values, d(t), labels.clone())).collect()
    }
}

/// The pixels themselves as features: the other baseline. Images are resized to `size` first.
pub fn raw_pixels(split: &Split, policy: &Policy, size: usize, channels: usize) -> Result<Features> {
    let transform = policy.op(size);
    let len = size * size * channels;
    let mut values = vec![0.0; split.len() * len];
    let labels: Result<Vec<i64>> = values
        .par_chunks_mut(len)
        .enumerate()
        .map_init(Default::default, |(image, scratch): &mut (Image, Scratch), (i, out)| {
            let read = split.read(i, image)?;
            let Image { height, width, channels, pixels } = &*image;
            transform
                .apply(pixels, *height, *width, *channels, &ViewParams::eval(*height, *width), out, scratch)
                .map_err(|e| Error::op("augment", e))?;
            Ok(split.label(read))
        })
        .collect();
    Features::new(values, len, labels?)
}
