//! augment: views of images, each by its own row of parameters.
//!
//! y = normalize(solarize(blur(grayscale(jitter(flip(resize(crop(x / 255)))))))), each step as
//! `torchvision.transforms.v2.functional` does it on float tensors in \[0, 1\]; the jitter is brightness, contrast,
//! saturation and hue in the order that the row says. What is drawn, and how, is [`crate::augment`]'s business: here
//! every number is given.
//!
//! A row that does not fit its image (see [`ViewParams::check`]) gives a view of NaN, which training stops at: the shape
//! rule cannot see values.

mod apply;
mod blur;
mod color;
mod launches;
pub mod params;
#[cfg(test)]
mod properties;
mod reference;
mod resize;

pub use apply::Scratch;
pub use params::{PARAMS, ViewParams};

use super::table::{Case, Fill, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, moved};
use crate::augment::{draw_batch, preset};
use crate::device::launch::{Launch, Operands};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::cell::RefCell;

const NAME: &str = "augment";

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    #[default]
    Bilinear,
    Bicubic,
}

/// images\[M,H,W,C\] u8, params\[V·N,16\], \[index\[N\]\] → y\[V·N,S,S,C\]; row v·N + i is view v of image index\[i\], or of
/// image i. What all views share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Side S of a view, in pixels.
    pub size: usize,
    pub interpolation: Interpolation,
    /// Whether shrinking averages over all pixels it covers.
    pub antialias: bool,
    /// Clamps to \[0, 1\] after the resize. Bicubic overshoots: PIL and 8-bit pipelines clamp, torchvision's floats not.
    pub clamp: bool,
    /// Length of the blur's kernel, odd and below 2S; 0: three standard deviations of each view's own blur.
    pub blur_kernel: usize,
    /// Subtracted from values in \[0, 1\]: one number, or one a channel.
    pub mean: Vec<f32>,
    /// Divides what is left: one number, or one a channel.
    pub std: Vec<f32>,
    /// Of y: the graph's precision.
    #[serde(skip, default = "Augment::full")]
    pub dtype: DType,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            size: 32,
            interpolation: Interpolation::Bilinear,
            antialias: true,
            clamp: false,
            blur_kernel: 0,
            mean: vec![0.0],
            std: vec![1.0],
            dtype: DType::F32,
        }
    }
}

impl Augment {
    fn full() -> DType {
        DType::F32
    }

    /// Whether these parameters can be used on images of `channels` channels.
    pub fn check(&self, channels: usize) -> Result<()> {
        let fail = |what: String| Err(Error::op(NAME, what));
        if channels != 1 && channels != 3 {
            return fail(format!("images must have 1 or 3 channels, but have {channels}"));
        }
        if self.size == 0 {
            return fail("`size` must be at least 1".into());
        }
        if self.blur_kernel != 0 && (self.blur_kernel.is_multiple_of(2) || self.blur_kernel >= 2 * self.size)
        {
            return fail(format!(
                "`blur_kernel` is {}: must be odd and below {} (twice the size of a view), or 0",
                self.blur_kernel,
                2 * self.size
            ));
        }
        for (name, values, least) in [("mean", &self.mean, f32::MIN), ("std", &self.std, f32::MIN_POSITIVE)] {
            if values.len() != 1 && values.len() != channels {
                return fail(format!(
                    "`{name}` has {} numbers: must be one, or one for each of {channels} channels",
                    values.len()
                ));
            }
            if let Some(bad) = values.iter().find(|v| !(least..=f32::MAX).contains(v)) {
                return fail(format!("`{name}` holds {bad}: must be finite, and `std` above 0"));
            }
        }
        Ok(())
    }

    /// Mean of a channel.
    pub fn mean_of(&self, channel: usize) -> f32 {
        *self.mean.get(channel).unwrap_or(&self.mean[0])
    }

    /// Standard deviation of a channel.
    pub fn std_of(&self, channel: usize) -> f32 {
        *self.std.get(channel).unwrap_or(&self.std[0])
    }
}

impl Op for Augment {
    fn name(&self) -> &'static str {
        NAME
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let (images, params, index) = match inputs {
            [images, params] => (images, params, None),
            [images, params, index] => (images, params, Some(index)),
            _ => return Err(Error::op(NAME, "takes images, params and optionally index")),
        };
        let [m, h, w, c] = images.dims(NAME, "images")?;
        images.expect(NAME, "images", &TensorType::new([m, h, w, c], DType::U8))?;
        let n = match index {
            Some(index) => {
                let [n] = index.dims(NAME, "index")?;
                index.expect(NAME, "index", &TensorType::new([n], DType::U32))?;
                n
            }
            None => m,
        };
        let [rows, _] = params.dims(NAME, "params")?;
        params.expect(NAME, "params", &TensorType::f32([rows, PARAMS]))?;
        if rows % n != 0 {
            return Err(Error::op(
                NAME,
                format!("`params` has {rows} rows for {n} images: must be as many for every image"),
            ));
        }
        self.check(c)?;
        Ok(vec![TensorType::new([rows, self.size, self.size, c], self.dtype)])
    }

    /// At least: the resize of a crop no larger than the view, and the normalisation.
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let taps = match self.interpolation {
            Interpolation::Bilinear => 2,
            Interpolation::Bicubic => 4,
        };
        // Of a resident data set only the batch's images are read.
        let images = match inputs.get(2) {
            Some(index) => inputs[0].bytes() / inputs[0].shape[0] * index.elements(),
            None => inputs[0].bytes(),
        };
        let bytes = moved(&inputs[1..], outputs) + images as u64;
        Cost { flops: (4 * taps + 2) * outputs[0].elements() as u64, bytes }
    }

    fn cpu(&self, args: &Args) {
        thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());
        let [_, h, w, c] = args.dims(0);
        let images: Vec<&[u8]> = args.u8(0).chunks_exact(h * w * c).collect();
        let index = (args.inputs() == 3).then(|| args.u32(2));
        let n = index.map_or(images.len(), <[u32]>::len);
        let image = |i: usize| match index {
            Some(index) => images.get(index[i] as usize),
            None => images.get(i),
        };
        let views = args.out(0).par_chunks_mut(self.size * self.size * c);
        views.zip(params::from_tensor(args.f32(1))).enumerate().for_each(|(row, (view, params))| {
            SCRATCH.with_borrow_mut(|scratch| {
                let done = image(row % n)
                    .is_some_and(|image| self.apply(image, h, w, c, params, view, scratch).is_ok());
                if !done {
                    view.fill(f32::NAN);
                }
            });
        });
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::Plan::of(self, inputs).workspace
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(vec![launches::launch(self, on)])
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: NAME,
    summary: "views of images: crop, flip, colour jitter, grayscale, blur, solarize, normalise",
    inputs: &[
        Operand::new("images", "[M,H,W,C]").of(DType::U8),
        Operand::new("params", "[V·N,16]").full().constant(),
        Operand::new("index", "[N]").of(DType::U32).index_of("images", 0).optional(),
    ],
    outputs: &[Operand::new("y", "[V·N,S,S,C]").constant()],
    defaults: || json!(Augment::default()),
    record: |graph, params, t| {
        let op = Augment { dtype: graph.precision().dtype(), ..parse::<Augment>(NAME, params)? };
        let inputs: Vec<_> =
            [t.get("images")?, t.get("params")?].into_iter().chain(t.optional("index")).collect();
        graph.apply(op, &inputs)
    },
    reference: |params, t| {
        let op: Augment = parse(NAME, params).expect("a case's parameters");
        let (images, rows) = (t.at("images"), t.at("params"));
        let [m, w, c] = [0, 2, 3].map(|axis| images.shape[axis]);
        let index = t.optional("index").map_or((0..m).map(|i| i as f64).collect(), |index| index.data);
        let views = (0..rows.shape[0]).flat_map(|i| {
            let pixels: Vec<u8> =
                images.row(index[i % index.len()] as usize).iter().map(|&v| v as u8).collect();
            let row: Vec<f32> = rows.row(i).iter().map(|&v| v as f32).collect();
            reference::view(&op, &pixels, w, c, &params::from_tensor(&row)[0])
        });
        vec![Tensor64::new([rows.shape[0], op.size, op.size, c], views.collect())]
    },
    kernels: launches::KERNELS,
    cases,
};

fn cases() -> Vec<Case> {
    // Two views of every image, drawn by a preset.
    fn rows(name: &str, elements: usize, size: [usize; 2]) -> Vec<f32> {
        let samples: Vec<u64> = (0..(elements / PARAMS / 2) as u64).collect();
        let policy = preset(name).expect("a preset of the table").policy();
        params::as_tensor(&draw_batch(&policy, 1, 0, &samples, 2, size)).to_vec()
    }
    let case = |name, params: Value, shape: [usize; 4], rows: fn(usize) -> Vec<f32>| {
        Case::new(name, params).filled("images", TensorType::new(shape, DType::U8), Fill::Pixels).filled(
            "params",
            TensorType::f32([2 * shape[0], PARAMS]),
            Fill::Given(rows),
        )
    };
    let cifar = json!({"size": 32, "interpolation": "bicubic", "clamp": true});
    vec![
        case("gray", json!({"size": 13, "mean": [0.286], "std": [0.353]}), [3, 11, 9, 1], |n| {
            rows("fashion-mnist", n, [11, 9])
        }),
        case("rgb", json!({"size": 8, "interpolation": "bicubic", "clamp": true}), [5, 13, 10, 3], |n| {
            rows("cifar-simclr", n, [13, 10])
        }),
        // Two views of three of seven images.
        Case::new("indexed", json!({"size": 6}))
            .filled("images", TensorType::new([7, 9, 8, 3], DType::U8), Fill::Pixels)
            .filled("params", TensorType::f32([6, PARAMS]), Fill::Given(|n| rows("cifar-simclr", n, [9, 8])))
            .filled("index", TensorType::new([3], DType::U32), Fill::Labels(7)),
        case("plain", json!({"size": 5, "antialias": false, "blur_kernel": 3}), [1, 17, 12, 3], |n| {
            rows("cifar-byol", n, [17, 12])
        }),
        case("fashion_mnist", json!({"size": 28}), [256, 28, 28, 1], |n| rows("fashion-mnist", n, [28, 28]))
            .bench_only(),
        case("cifar", cifar, [256, 32, 32, 3], |n| rows("cifar-simclr", n, [32, 32])).bench_only(),
    ]
}
