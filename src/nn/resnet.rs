//! ResNets (He et al., CVPR 2016) as torchvision builds them, with a width and a stem for small images.

use super::layers::{Mode, batch_norm, conv2d};
use crate::graph::{Graph, TensorId};
use crate::ops::{global_avg_pool::GlobalAvgPool, max_pool::MaxPool};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The first layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// 3×3 convolution with stride 1 and no pooling: for images of up to 64 pixels.
    Small,
    /// 7×7 convolution with stride 2, then 3×3 max pooling with stride 2.
    Imagenet,
}

/// Which ResNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// `resnet10`, `resnet18`, `resnet34` or `resnet50`.
    pub name: String,
    /// Channels of the first stage; each of the three later stages doubles them.
    #[serde(default = "default_width")]
    pub width: usize,
    pub stem: Stem,
}

fn default_width() -> usize {
    64
}

/// The names [`Encoder::name`] can take.
pub const NAMES: [&str; 4] = ["resnet10", "resnet18", "resnet34", "resnet50"];

/// What recording an encoder gives.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Features \[N,D\] after global average pooling.
    pub features: TensorId,
    /// The activations that layer-wise probes look at, each \[N,H,W,C\]: conv1, res2, res3, res4, res5.
    pub layers: Vec<(&'static str, TensorId)>,
}

impl Encoder {
    /// The encoder of that name, with torchvision's width and the stem that suits images of `size` pixels.
    pub fn new(name: &str, size: usize) -> Self {
        let stem = if size <= 64 { Stem::Small } else { Stem::Imagenet };
        Self { name: name.into(), width: default_width(), stem }
    }

    /// Blocks a stage, and whether they are bottlenecks.
    fn blocks(&self) -> Result<([usize; 4], bool)> {
        Ok(match self.name.as_str() {
            "resnet10" => ([1, 1, 1, 1], false),
            "resnet18" => ([2, 2, 2, 2], false),
            "resnet34" => ([3, 4, 6, 3], false),
            "resnet50" => ([3, 4, 6, 3], true),
            other => {
                let what = format!("there is no `{other}`; there are {}", NAMES.join(", "));
                return Err(Error::config("encoder", what));
            }
        })
    }

    /// Length of a feature vector.
    pub fn features(&self) -> Result<usize> {
        let (_, bottleneck) = self.blocks()?;
        Ok(self.width * 8 * if bottleneck { 4 } else { 1 })
    }

    /// Records the encoder on images \[N,H,W,C\], its parameters under `encoder.`.
    pub fn record(&self, graph: &mut Graph, x: TensorId, mode: Mode) -> Result<Encoded> {
        let (blocks, bottleneck) = self.blocks()?;
        if self.width == 0 {
            return Err(Error::config("encoder.width", "must be at least 1"));
        }
        graph.scope("encoder", |graph| {
            let mut x = match self.stem {
                Stem::Small => conv2d(graph, "conv1", x, self.width, 3, 1, 1)?,
                Stem::Imagenet => conv2d(graph, "conv1", x, self.width, 7, 2, 3)?,
            };
            x = batch_norm(graph, "bn1", x, None, true, mode)?;
            let mut layers = vec![("conv1", x)];
            if self.stem == Stem::Imagenet {
                x = graph.apply1(MaxPool::default(), &[x])?;
            }
            for (stage, &count) in blocks.iter().enumerate() {
                let planes = self.width << stage;
                x = graph.scope(&format!("layer{}", stage + 1), |graph| {
                    (0..count).try_fold(x, |x, block| {
                        let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                        let record = if bottleneck { bottleneck_block } else { basic_block };
                        graph.scope(&block.to_string(), |graph| record(graph, x, planes, stride, mode))
                    })
                })?;
                layers.push((["res2", "res3", "res4", "res5"][stage], x));
            }
            let features = graph.apply1(GlobalAvgPool, &[x])?;
            Ok(Encoded { features, layers })
        })
    }
}

/// 3×3, 3×3.
fn basic_block(graph: &mut Graph, x: TensorId, planes: usize, stride: usize, mode: Mode) -> Result<TensorId> {
    let shortcut = shortcut(graph, x, planes, stride, mode)?;
    let y = conv2d(graph, "conv1", x, planes, 3, stride, 1)?;
    let y = batch_norm(graph, "bn1", y, None, true, mode)?;
    let y = conv2d(graph, "conv2", y, planes, 3, 1, 1)?;
    batch_norm(graph, "bn2", y, Some(shortcut), true, mode)
}

/// 1×1, 3×3 (with the stride, as in ResNet v1.5), 1×1 to four times the channels.
fn bottleneck_block(
    graph: &mut Graph,
    x: TensorId,
    planes: usize,
    stride: usize,
    mode: Mode,
) -> Result<TensorId> {
    let shortcut = shortcut(graph, x, planes * 4, stride, mode)?;
    let y = conv2d(graph, "conv1", x, planes, 1, 1, 0)?;
    let y = batch_norm(graph, "bn1", y, None, true, mode)?;
    let y = conv2d(graph, "conv2", y, planes, 3, stride, 1)?;
    let y = batch_norm(graph, "bn2", y, None, true, mode)?;
    let y = conv2d(graph, "conv3", y, planes * 4, 1, 1, 0)?;
    batch_norm(graph, "bn3", y, Some(shortcut), true, mode)
}

/// The block's input, by a strided 1×1 convolution where its shape changes.
fn shortcut(graph: &mut Graph, x: TensorId, channels: usize, stride: usize, mode: Mode) -> Result<TensorId> {
    let [_, _, _, c] = graph.ty(x).dims("resnet", "x")?;
    if stride == 1 && c == channels {
        return Ok(x);
    }
    graph.scope("downsample", |graph| {
        let y = conv2d(graph, "0", x, channels, 1, stride, 0)?;
        batch_norm(graph, "1", y, None, false, mode)
    })
}
