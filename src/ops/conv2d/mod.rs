//! conv2d: y\[n,p,q,k\] = Σ_rsc x\[n, p·u + r·d − a, q·u + s·d − a, c\] w\[k,r,s,c\], with stride u, dilation d, padding a.
//!
//! ```text
//! dx[n,h,w,c] = Σ_prsk dy[n,p,q,k] · w[k,r,s,c]     over the (p,q,r,s) that read (h,w)
//! dw[k,r,s,c] = Σ_npq  dy[n,p,q,k] · x[n, p·u + r·d − a, q·u + s·d − a, c]
//! ```
//!
//! x and y are channels-last, w is KRSC. The kernels allocate nothing and give the same bits whatever the number of
//! threads: work is cut by the shape alone, and partial sums are added in order.

mod direct;
mod direct_weight;
mod engine;
mod family;
mod geometry;
mod kernel;
mod launches;
mod pack;
mod parallel;
mod reference;
mod simd;
#[cfg(test)]
mod tests;
mod tiles;
mod winograd;
mod winograd_data;
mod winograd_weight;

pub use engine::{Engine, bwd_input, bwd_weight, forward, scratch_len};
pub use geometry::{Geometry, Pass, Technique};
pub use simd::Isa;

use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Launch, Operands};
use crate::graph::{Graph, TensorId, Vjp};
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

/// Parameters of the op: vertical, horizontal. In JSON one number stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conv2d {
    #[serde(deserialize_with = "pair")]
    pub stride: [usize; 2],
    /// Zeros on each side.
    #[serde(deserialize_with = "pair")]
    pub padding: [usize; 2],
    #[serde(deserialize_with = "pair")]
    pub dilation: [usize; 2],
}

impl Default for Conv2d {
    fn default() -> Self {
        Self::square(1, 0)
    }
}

fn pair<'de, D: Deserializer<'de>>(from: D) -> Result<[usize; 2], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a whole number, or two: [vertical, horizontal]")]
    enum Sizes {
        Both(usize),
        Each([usize; 2]),
    }
    Ok(match Sizes::deserialize(from)? {
        Sizes::Both(size) => [size; 2],
        Sizes::Each(sizes) => sizes,
    })
}

impl Conv2d {
    /// The same both ways, not dilated.
    pub fn square(stride: usize, padding: usize) -> Self {
        Self { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] }
    }

    /// The convolution of x\[N,H,W,C\] with w\[K,R,S,C\], if there is one.
    pub fn geometry(self, x: [usize; 4], w: [usize; 4]) -> Result<Geometry> {
        let ([n, h, width, c], [k, r, s, c_w]) = (x, w);
        if c != c_w {
            return Err(Error::op(
                "conv2d",
                format!("x has {c} channels, so w must be [K,R,S,{c}], but is {w:?}"),
            ));
        }
        let Self { stride, padding, dilation } = self;
        let g = Geometry { n, h, w: width, c, k, r, s, stride, padding, dilation };
        g.check()?;
        Ok(g)
    }
}

/// Records y = conv(x, w).
pub fn conv2d(graph: &mut Graph, x: TensorId, w: TensorId, conv: Conv2d) -> Result<TensorId> {
    graph.apply1(conv, &[x, w])
}

impl Conv2d {
    fn of(self, inputs: &[TensorType]) -> Result<Geometry> {
        let [x, w] = inputs else {
            return Err(Error::op("conv2d", "takes x and w"));
        };
        self.geometry(x.dims("conv2d", "x")?, w.dims("conv2d", "w")?)
    }

    /// The same for shapes that have passed `infer`.
    fn checked(self, inputs: &[TensorType]) -> Geometry {
        self.of(inputs).expect("the shape rule has passed")
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let g = self.of(inputs)?;
        inputs[1].expect("conv2d", "w", &inputs[1].with(inputs[0].dtype))?;
        Ok(vec![TensorType::new([g.n, g.p(), g.q(), g.k], inputs[0].dtype)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: self.checked(inputs).flops(), bytes: moved(inputs, outputs) }
    }

    fn scratch(&self, inputs: &[TensorType]) -> usize {
        scratch_len(&self.checked(inputs), Pass::Forward)
    }

    fn cpu(&self, args: &Args) {
        let g = self.checked(&[args.ty(0).clone(), args.ty(1).clone()]);
        forward(&g, args.f32(0), args.f32(1), args.out(0), args.scratch());
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (dy, x, w) = (vjp.grad(0)?, vjp.input(0), vjp.input(1));
        let g = self.of(&[vjp.ty(x).clone(), vjp.ty(w).clone()])?;
        if vjp.wants(0) {
            vjp.emit(BackwardInput(g), &[dy, w], &[0])?;
        }
        if vjp.wants(1) {
            vjp.emit(BackwardWeight(g), &[dy, x], &[1])?;
        }
        Ok(())
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let geometry = self.of(&[on.ty(0).clone(), on.ty(1).clone()])?;
        geometry.check_kernels()?;
        Ok(launches::forward(&geometry, on))
    }
}

/// dy, w → dx
#[derive(Debug)]
struct BackwardInput(Geometry);

impl Op for BackwardInput {
    fn name(&self) -> &'static str {
        "conv2d/bwd_input"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::new([self.0.n, self.0.h, self.0.w, self.0.c], inputs[0].dtype)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: self.0.flops(), bytes: moved(inputs, outputs) }
    }

    fn scratch(&self, _inputs: &[TensorType]) -> usize {
        scratch_len(&self.0, Pass::BwdInput)
    }

    fn cpu(&self, args: &Args) {
        bwd_input(&self.0, args.f32(0), args.f32(1), args.out(0), args.accumulates(0), args.scratch());
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        self.0.check_kernels()?;
        Ok(launches::bwd_input(&self.0, on))
    }
}

/// dy, x → dw
#[derive(Debug)]
struct BackwardWeight(Geometry);

impl Op for BackwardWeight {
    fn name(&self) -> &'static str {
        "conv2d/bwd_weight"
    }

    fn infer(&self, _inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::f32([self.0.k, self.0.r, self.0.s, self.0.c])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: self.0.flops(), bytes: moved(inputs, outputs) }
    }

    fn scratch(&self, _inputs: &[TensorType]) -> usize {
        scratch_len(&self.0, Pass::BwdWeight)
    }

    fn cpu(&self, args: &Args) {
        bwd_weight(&self.0, args.f32(1), args.f32(0), args.out(0), args.accumulates(0), args.scratch());
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::bwd_weight_workspace(&self.0, &inputs[0])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        self.0.check_kernels()?;
        Ok(launches::bwd_weight(&self.0, on))
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "conv2d",
    summary: "2-D convolution",
    inputs: &[Operand::new("x", "[N,H,W,C]"), Operand::new("w", "[K,R,S,C]").full()],
    outputs: &[Operand::new("y", "[N,P,Q,K]")],
    defaults: || json!({"stride": 1, "padding": 0, "dilation": 1}),
    record: |graph, params, t| {
        let w = graph.reduced(t.get("w")?);
        Ok(vec![conv2d(graph, t.get("x")?, w, parse::<Conv2d>("conv2d", params)?)?])
    },
    reference: |params, t| {
        let conv: Conv2d = parse("conv2d", params).expect("a case's parameters");
        let (x, w) = (t.at("x"), t.at("w"));
        let shape = |t: &Tensor64| <[usize; 4]>::try_from(&t.shape[..]).expect("a case's shape");
        let g = conv.geometry(shape(x), shape(w)).expect("a case's shapes");
        vec![Tensor64::new([g.n, g.p(), g.q(), g.k], reference::forward(&g, &x.data, &w.data))]
    },
    kernels: launches::KERNELS,
    cases: || {
        let case =
            |name, params, x: [usize; 4], w: [usize; 4]| Case::new(name, params).input("x", x).input("w", w);
        let same = || json!({"padding": 1});
        let half = || json!({"stride": 2, "padding": 1});
        vec![
            case("small", same(), [2, 5, 6, 3], [4, 3, 3, 3]),
            case("winograd", same(), [2, 7, 5, 16], [32, 3, 3, 16]),
            case("strided", half(), [2, 7, 8, 5], [9, 3, 3, 5]),
            case("1x1", json!({}), [3, 4, 4, 6], [17, 1, 1, 6]),
            case("shortcut", json!({"stride": 2}), [2, 6, 6, 8], [16, 1, 1, 8]),
            case(
                "odd",
                json!({"stride": [2, 1], "padding": [0, 2], "dilation": [1, 3]}),
                [1, 9, 8, 7],
                [5, 2, 3, 7],
            ),
            // What kernels tell apart: whole chunks of 8 channels or not, the first layer, filters of 1×1 to 7×7.
            case("chunks", same(), [1, 7, 9, 24], [40, 3, 3, 24]),
            case("chunks_strided", half(), [2, 9, 8, 16], [24, 3, 3, 16]),
            case("chunks_shortcut", json!({"stride": 2}), [3, 5, 7, 8], [72, 1, 1, 8]),
            case("chunks_odd_filters", same(), [1, 5, 4, 8], [5, 3, 3, 8]),
            case("two_tiles", json!({}), [2, 9, 8, 72], [136, 1, 1, 72]),
            case("5x5", json!({"padding": 2, "stride": 3}), [1, 11, 10, 8], [16, 5, 5, 8]),
            case("dilated", json!({"padding": 2, "dilation": 2}), [2, 6, 5, 8], [8, 3, 3, 8]),
            case("stem_gray", same(), [2, 8, 7, 1], [16, 3, 3, 1]),
            case("stem_7x7", json!({"padding": 3, "stride": 2}), [1, 15, 13, 3], [8, 7, 7, 3]),
            case("36_channels", same(), [1, 4, 5, 36], [20, 3, 3, 36]),
            case("pixels_in_parts", same(), [3, 11, 10, 8], [8, 3, 3, 8]),
            case("stem_in_parts", half(), [5, 16, 17, 3], [8, 3, 3, 3]),
            case("one_pixel", same(), [1, 1, 1, 8], [8, 3, 3, 8]),
            case("resnet18.conv1", same(), [64, 32, 32, 3], [64, 3, 3, 3]).bench_only(),
            case("resnet18.layer1", same(), [64, 32, 32, 64], [64, 3, 3, 64]).bench_only(),
            case("resnet18.layer2.0", half(), [64, 32, 32, 64], [128, 3, 3, 64]).bench_only(),
            case("resnet18.layer2.0.downsample", json!({"stride": 2}), [64, 32, 32, 64], [128, 1, 1, 64])
                .bench_only(),
            case("resnet18.layer4", same(), [64, 4, 4, 512], [512, 3, 3, 512]).bench_only(),
            case("resnet50.layer1.conv3", json!({}), [16, 56, 56, 64], [256, 1, 1, 64]).bench_only(),
            case("imagenet_stem", json!({"stride": 2, "padding": 3}), [16, 224, 224, 3], [64, 7, 7, 3])
                .bench_only(),
        ]
    },
};
