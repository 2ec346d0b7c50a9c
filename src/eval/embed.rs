//! Images to features: an encoder in evaluation mode, run over a split.

use super::layer::pool_to_grid;
use super::{Features, Layer};
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

/// An encoder ready to embed images.
pub struct Embedder {
    program: Box<dyn Program>,
    images: TensorId,
    outputs: Vec<Output>,
    transform: Augment,
    channels: usize,
}

/// A tensor to read, and the side of the grid it is pooled to; 0 where it is \[N,D\] already.
struct Output {
    tensor: TensorId,
    grid: usize,
}

impl Embedder {
    /// An encoder that gives one layer and, if there is a projector, that one's output behind it; weights to come.
    /// Images are resized and cropped to `size` and normalised as `policy` says.
    pub fn new(
        encoder: &Encoder,
        projector: Option<&Projector>,
        layer: &Layer,
        policy: &Policy,
        size: usize,
        channels: usize,
        device: Device,
    ) -> Result<Self> {
        let layers: Vec<Layer> = [layer.clone()]
            .into_iter()
            .chain(projector.map(|p| Layer::of_projector(p.layers.saturating_sub(1))))
            .collect();
        Self::of_layers(encoder, projector, &layers, policy, size, channels, device)
    }

    /// An encoder, with its projector where layers of that are asked for, that gives several layers in one pass.
    ///
    /// Spatial layers are pooled on the host: reading them costs a GPU's bus, but only in evaluation.
    pub fn of_layers(
        encoder: &Encoder,
        projector: Option<&Projector>,
        layers: &[Layer],
        policy: &Policy,
        size: usize,
        channels: usize,
        device: Device,
    ) -> Result<Self> {
        policy.check(size, channels)?;
        let mut graph = Graph::new();
        let images = graph.input("images", TensorType::f32([BATCH, size, size, channels]))?;
        let encoded = encoder.record(&mut graph, images, Mode::Eval)?;
        let head = match projector {
            Some(projector) => projector.record_layers(&mut graph, encoded.features, Mode::Eval)?,
            None => Vec::new(),
        };
        let mut outputs = Vec::with_capacity(layers.len());
        for layer in layers {
            let (mut tensor, mut grid) = layer.find(&encoded, &head, |t| graph.ty(t).shape.to_vec())?;
            if grid == 1 {
                (tensor, grid) = (graph.apply1(GlobalAvgPool, &[tensor])?, 0);
            }
            graph.keep(tensor);
            outputs.push(Output { tensor, grid });
        }
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

    /// The first layer asked for, of every image of a split, in its order.
    pub fn embed(&mut self, split: &Split) -> Result<Features> {
        Ok(self.embed_layers(split)?.swap_remove(0))
    }

    /// Every layer asked for, of every image of a split.
    pub fn embed_layers(&mut self, split: &Split) -> Result<Vec<Features>> {
        self.embed_views(split, split.len(), &|image, _| ViewParams::eval(image.height, image.width))
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
            for (values, output) in values.iter_mut().zip(&self.outputs) {
                let batch = self.program.read_f32(output.tensor)?;
                let rows = &batch[..batch.len() / BATCH * n];
                if output.grid > 0 {
                    let shape = &self.program.graph().ty(output.tensor).shape;
                    values.extend(pool_to_grid(rows, [shape[1], shape[2], shape[3]], output.grid));
                } else {
                    values.extend_from_slice(rows);
                }
            }
        }
        let outputs = self.outputs.iter().zip(values);
        outputs.map(|(output, values)| Features::new(values, self.width(output), labels.clone())).collect()
    }

    /// Features a row of an output has.
    fn width(&self, output: &Output) -> usize {
        let shape = &self.program.graph().ty(output.tensor).shape;
        if output.grid > 0 { output.grid * output.grid * shape[3] } else { shape[1] }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, Options};

    const IMAGES: usize = 9;

    #[test]
    fn several_layers_in_one_pass_are_each_alone() {
        let data = data::open("embedded", &Options::default()).unwrap();
        let encoder = Encoder { width: 2, ..Encoder::new("resnet10", 16) };
        let projector = Projector { layers: 3, hidden: 12, out: 5, batch_norm: true, ..Default::default() };
        let policy = Policy::default();
        let read = |mut embedder: Embedder| {
            embedder.initialize(3).unwrap();
            let view = |image: &Image, _: usize| ViewParams::eval(image.height, image.width);
            embedder.embed_views(&data.test, IMAGES, &view).unwrap()
        };
        let several = |layers: &[Layer]| {
            Embedder::of_layers(&encoder, Some(&projector), layers, &policy, 16, 1, Device::Cpu)
        };
        let layers = Layer::all(Some(&projector));
        let all = read(several(&layers).unwrap());
        let widths: Vec<usize> = all.iter().map(|f| f.d).collect();
        assert_eq!(widths, [512, 512, 256, 128, 64, 16, 12, 12, 5]);
        for (layer, found) in layers.iter().zip(&all) {
            // A grid of equal cells has the mean of the whole; the rest is as it would be alone.
            let alone = read(several(&[Layer::Named(layer.name().into())]).unwrap()).swap_remove(0);
            assert_eq!((found.n, &found.labels), (IMAGES, &alone.labels));
            for i in 0..IMAGES {
                let cells = found.d / alone.d;
                for (c, expected) in alone.row(i).iter().enumerate() {
                    let got = found.row(i)[c..].iter().step_by(alone.d).sum::<f32>() / cells as f32;
                    assert!((got - expected).abs() < 1e-5, "{layer:?} row {i}: {got} {expected}");
                }
            }
        }
        // One layer and the projector's output, as pretraining is concluded.
        let pair = Embedder::new(&encoder, Some(&projector), &Layer::Features, &policy, 16, 1, Device::Cpu);
        assert_eq!(read(pair.unwrap()), [all[5].clone(), all[8].clone()]);
        let none = Embedder::of_layers(&encoder, None, &layers, &policy, 16, 1, Device::Cpu);
        assert!(none.err().unwrap().to_string().contains("there is no layer `projector.0`"));
    }
}
