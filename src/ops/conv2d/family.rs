//! One description of the outputs of `forward` and `bwd_input`.
//!
//! `bwd_input` with stride s is s₀·s₁ convolutions of stride 1: the pixels of `dx` with the same remainder modulo the
//! stride are reached by the same taps. A [`Family`] is such a set; `forward` has just one.

use super::geometry::{Geometry, Pass};

/// One axis of a family: which outputs, and where the taps of each lie in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    pub outputs: usize,
    pub out_origin: usize,
    pub out_step: usize,
    /// Source position of the first tap of the first output; negative in the padding.
    pub in_origin: isize,
    pub in_step: usize,
    pub taps: usize,
    pub tap_step: usize,
    /// Weight position of the first tap, and of each next one relative to it.
    pub weight_origin: usize,
    pub weight_step: isize,
}

/// Vertical and horizontal axis.
pub type Family = [Axis; 2];

/// The tensors of a pass as source `[N, in_size, in_channels]` and output `[N, out_size, out_channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    pub in_size: [usize; 2],
    pub in_channels: usize,
    pub out_size: [usize; 2],
    pub out_channels: usize,
}

impl Sides {
    pub fn new(g: &Geometry, pass: Pass) -> Self {
        let (x, y) = ([g.h, g.w], [g.p(), g.q()]);
        let (in_size, in_channels, out_size, out_channels) =
            if pass == Pass::Forward { (x, g.c, y, g.k) } else { (y, g.k, x, g.c) };
        Self { in_size, in_channels, out_size, out_channels }
    }
}

/// The families of a pass; those without outputs or taps included.
pub fn families(g: &Geometry, pass: Pass) -> impl Iterator<Item = Family> + use<> {
    let g = *g;
    let count = if pass == Pass::Forward { 1 } else { g.stride[0] * g.stride[1] };
    (0..count).map(move |family| match pass {
        Pass::Forward => [forward_axis(&g, 0), forward_axis(&g, 1)],
        _ => [backward_axis(&g, 0, family / g.stride[1]), backward_axis(&g, 1, family % g.stride[1])],
    })
}

fn forward_axis(g: &Geometry, axis: usize) -> Axis {
    Axis {
        outputs: [g.p(), g.q()][axis],
        out_origin: 0,
        out_step: 1,
        in_origin: -(g.padding[axis] as isize),
        in_step: g.stride[axis],
        taps: [g.r, g.s][axis],
        tap_step: g.dilation[axis],
        weight_origin: 0,
        weight_step: 1,
    }
}

/// Outputs `residue + stride·u`. Tap `r` reaches them from `dy` at `(residue + padding − r·dilation) / stride + u` where
/// that divides evenly; taps are listed backwards, so that their places in `dy` ascend.
fn backward_axis(g: &Geometry, axis: usize, residue: usize) -> Axis {
    let (size, taps) = ([g.h, g.w][axis], [g.r, g.s][axis]);
    let (stride, dilation) = (g.stride[axis], g.dilation[axis]);
    let place = |r: usize| (residue + g.padding[axis]) as isize - (r * dilation) as isize;
    let reaches = |r: &usize| place(*r).rem_euclid(stride as isize) == 0;
    let (first, last) = ((0..taps).find(reaches), (0..taps).rev().find(reaches));
    let step = stride / gcd(stride, dilation);
    let (last, count) = match (first, last) {
        (Some(first), Some(last)) => (last, (last - first) / step + 1),
        _ => (0, 0),
    };
    Axis {
        outputs: size.saturating_sub(residue).div_ceil(stride),
        out_origin: residue,
        out_step: stride,
        in_origin: if count == 0 { 0 } else { place(last).div_euclid(stride as isize) },
        in_step: 1,
        taps: count,
        tap_step: step * dilation / stride,
        weight_origin: last,
        weight_step: -(step as isize),
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
