//! The detector as two programs: one that trains and one that finds.

use super::targets::Level;
use crate::Result;
use crate::device::{Device, Program};
use crate::eval::start::ENCODER;
use crate::graph::{Graph, TensorId};
use crate::nn::{Encoder, Mode, batch_norm, conv2d};
use crate::optim::Optimizer;
use crate::tensor::TensorType;

/// The encoder's maps that the heads read.
const LAYERS: [&str; 3] = ["res3", "res4", "res5"];
/// Channels of a head.
const HEAD: usize = 32;

/// Which network.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    pub encoder: &'a Encoder,
    /// Pixels of a picture in height and width.
    pub size: usize,
    pub channels: usize,
    pub classes: usize,
    pub batch: usize,
    /// Whether the encoder learns too.
    pub tune: bool,
}

/// The maps of one level.
pub struct Head {
    pub level: Level,
    /// f32\[N,H,W,K\]
    pub logits: TensorId,
    /// f32\[N,H,W,4\]
    pub sides: TensorId,
}

/// A detector that finds.
pub struct Finding {
    pub program: Box<dyn Program>,
    pub images: TensorId,
    pub heads: Vec<Head>,
}

/// A detector that learns: the loss and its gradients by the predictions are the host's.
pub struct Learning {
    pub program: Box<dyn Program>,
    pub images: TensorId,
    pub heads: Vec<Head>,
    /// Of each head: the inputs that take the gradients by logits and sides.
    pub upstream: Vec<[TensorId; 2]>,
    /// Of the heads and, if it learns, of the encoder; each with its share of the learning rate.
    pub schedules: Vec<(TensorId, f32)>,
    /// Nodes before this one predict.
    pub backward_from: usize,
}

fn record(graph: &mut Graph, shape: &Shape, mode: Mode) -> Result<(TensorId, Vec<Head>)> {
    let &Shape { encoder, size, channels, classes, batch, tune } = shape;
    let images = graph.input("images", TensorType::f32([batch, size, size, channels]))?;
    let frozen = !tune;
    let encoded = encoder.record(graph, images, if frozen { Mode::Eval } else { mode })?;
    let mut heads = Vec::new();
    for (name, x) in encoded.layers.into_iter().filter(|(name, _)| LAYERS.contains(name)) {
        let x = if frozen { graph.stop_gradient(x) } else { x };
        let [_, height, width, _] = graph.ty(x).dims("detector", name)?;
        let level = Level { height, width, stride: size as f64 / height as f64 };
        let (logits, sides) = graph.scope(&format!("detector.{name}"), |graph| -> Result<_> {
            let mut y = conv2d(graph, "lateral", x, HEAD, 1, 1, 0)?;
            y = batch_norm(graph, "bn1", y, None, true, mode)?;
            y = conv2d(graph, "tower", y, HEAD, 3, 1, 1)?;
            y = batch_norm(graph, "bn2", y, None, true, mode)?;
            Ok((conv2d(graph, "class", y, classes, 1, 1, 0)?, conv2d(graph, "box", y, 4, 1, 1, 0)?))
        })?;
        graph.keep(logits);
        graph.keep(sides);
        heads.push(Head { level, logits, sides });
    }
    Ok((images, heads))
}

impl Finding {
    pub fn record(shape: &Shape, device: Device) -> Result<Self> {
        let mut graph = Graph::new();
        let (images, heads) = record(&mut graph, shape, Mode::Eval)?;
        Ok(Self { program: device.program(graph)?, images, heads })
    }
}

impl Learning {
    pub fn record(shape: &Shape, device: Device) -> Result<Self> {
        let mut graph = Graph::new();
        let (images, heads) = record(&mut graph, shape, Mode::Train)?;
        let backward_from = graph.nodes().len();
        let (mut upstream, mut outputs) = (Vec::new(), Vec::new());
        for (i, head) in heads.iter().enumerate() {
            let mut input = |of: TensorId, what: &str| -> Result<TensorId> {
                let ty = graph.ty(of).clone();
                let gradient = graph.input(&format!("d_{what}.{i}"), ty)?;
                outputs.push((of, gradient));
                Ok(gradient)
            };
            upstream.push([input(head.logits, "logits")?, input(head.sides, "sides")?]);
        }
        let gradients = graph.differentiate(&outputs)?;
        let adamw = Optimizer { name: "adamw".into(), weight_decay: 1e-4, ..Optimizer::default() };
        let mut group = |name: &str, share: f32, encoder: bool| {
            let chosen = |name: &str| name.starts_with(ENCODER) == encoder;
            let schedule = graph.input(name, TensorType::f32([2]))?;
            adamw.record_some(&mut graph, &gradients, schedule, chosen)?;
            Ok::<_, crate::Error>((schedule, share))
        };
        let mut schedules = vec![group("schedule.heads", 1.0, false)?];
        if shape.tune {
            // What is learnt already should move less than what is not.
            schedules.push(group("schedule.encoder", 0.3, true)?);
        }
        let program = device.program(graph)?;
        Ok(Self { program, images, heads, upstream, schedules, backward_from })
    }
}
