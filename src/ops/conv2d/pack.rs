//! Moving weights, images and weight gradients between their tensors and the order in which kernels read them.

use super::family::{Axis, Family, Sides};
use super::geometry::{Geometry, Pass};
use super::parallel::{self, Shared};
use super::simd::Isa;

/// Channels of a block of a blocked image: one cache line.
pub const BLOCK: usize = 16;

/// Output channels a register tile covers: two vectors, or one where one holds them all.
pub fn panel_width(isa: Isa, channels: usize) -> usize {
    if channels <= isa.lanes() { isa.lanes() } else { 2 * isa.lanes() }
}

/// The weights as a pass reads them: output channels are K for `forward` and C for `bwd_input`.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    data: &'a [f32],
    outputs: usize,
    inputs: usize,
    output_step: usize,
    input_step: usize,
    row_step: usize,
    col_step: usize,
}

impl<'a> Weights<'a> {
    pub fn new(g: &Geometry, pass: Pass, data: &'a [f32]) -> Self {
        let (filter, sides) = (g.r * g.s * g.c, Sides::new(g, pass));
        let (output_step, input_step) = if pass == Pass::Forward { (filter, 1) } else { (1, filter) };
        Self {
            data,
            outputs: sides.out_channels,
            inputs: sides.in_channels,
            output_step,
            input_step,
            row_step: g.s * g.c,
            col_step: g.c,
        }
    }

    /// Writes `[taps][inputs][width]` for output channels `first..first + width`, zero where there are none.
    pub fn pack(&self, [vertical, horizontal]: &Family, first: usize, width: usize, panel: &mut [f32]) {
        let valid = width.min(self.outputs - first);
        let mut terms = panel.chunks_exact_mut(width);
        for row in 0..vertical.taps {
            for col in 0..horizontal.taps {
                let tap = weight(vertical, row) * self.row_step + weight(horizontal, col) * self.col_step;
                let tap = tap + first * self.output_step;
                for (input, term) in (0..self.inputs).zip(&mut terms) {
                    let from = tap + input * self.input_step;
                    if self.output_step == 1 {
                        term[..valid].copy_from_slice(&self.data[from..from + valid]);
                    } else {
                        for (output, value) in term[..valid].iter_mut().enumerate() {
                            *value = self.data[from + output * self.output_step];
                        }
                    }
                    term[valid..].fill(0.0);
                }
            }
        }
    }
}

fn weight(axis: &Axis, tap: usize) -> usize {
    axis.weight_origin.wrapping_add_signed(tap as isize * axis.weight_step)
}

/// A rectangle of one image, reaching outside it where `origin` is negative or `origin + size·step` too large.
#[derive(Clone, Copy, Debug)]
pub struct Rectangle {
    pub origin: [isize; 2],
    pub size: [usize; 2],
    pub step: [usize; 2],
}

/// Copies channels `first..first + width` of `rectangle` into `to[rows][cols][width]`; zero outside `image[H][W][C]`.
pub fn copy_rectangle(
    image: &[f32],
    [height, width]: [usize; 2],
    channels: usize,
    rectangle: Rectangle,
    block: std::ops::Range<usize>,
    to: &mut [f32],
) {
    let Rectangle { origin, size, step } = rectangle;
    let copied = inside(origin[1], size[1], step[1], width);
    for (row, to) in to.chunks_exact_mut(size[1] * block.len()).take(size[0]).enumerate() {
        let from = origin[0] + (row * step[0]) as isize;
        if from < 0 || from >= height as isize || copied.is_empty() {
            to.fill(0.0);
            continue;
        }
        let (before, rest) = to.split_at_mut(copied.start * block.len());
        let (within, after) = rest.split_at_mut(copied.len() * block.len());
        before.fill(0.0);
        after.fill(0.0);
        let first = (origin[1] + (copied.start * step[1]) as isize) as usize;
        let from = &image[(from as usize * width + first) * channels..];
        if block.len() == channels && step[1] == 1 {
            within.copy_from_slice(&from[..within.len()]);
        } else {
            for (col, to) in within.chunks_exact_mut(block.len()).enumerate() {
                let from = &from[col * step[1] * channels + block.start..][..block.len()];
                match (<&mut [f32; BLOCK]>::try_from(&mut *to), <&[f32; BLOCK]>::try_from(from)) {
                    (Ok(to), Ok(from)) => *to = *from, // two vectors, not a call
                    _ => to.copy_from_slice(from),
                }
            }
        }
    }
}

/// The `i` in `0..count` for which `0 ≤ origin + i·step < size`.
fn inside(origin: isize, count: usize, step: usize, size: usize) -> std::ops::Range<usize> {
    let first_at_least = |bound: isize| (bound - origin).max(0).unsigned_abs().div_ceil(step).min(count);
    let start = first_at_least(0);
    start..first_at_least(size as isize).max(start)
}

/// Where weight gradient `(panel, tap, c)` starts among the partial sums `[panel][block][tap][c in block][width]`.
pub fn partial_offset(g: &Geometry, width: usize, panel: usize, tap: usize, c: usize) -> usize {
    let taps = g.r * g.s;
    let first = c / BLOCK * BLOCK;
    let block = BLOCK.min(g.c - first);
    (panel * taps * g.c + first * taps + tap * block + c - first) * width
}

/// Floats of one partial sum of the weight gradient.
pub fn partial_len(g: &Geometry, width: usize) -> usize {
    g.k.div_ceil(width) * width * g.r * g.s * g.c
}

/// `dw (+)= Σ partials`, summed in order, from kernel order to KRSC.
pub fn reduce_partials(g: &Geometry, width: usize, partials: &[f32], dw: &mut [f32], accumulate: bool) {
    let (taps, blocks) = (g.r * g.s, g.c.div_ceil(BLOCK));
    let length = partial_len(g, width);
    let shared = Shared::new(dw);
    let reduce = |task: usize| {
        let (panel, first) = (task / blocks, task % blocks * BLOCK);
        let block = BLOCK.min(g.c - first);
        let outputs = width.min(g.k - panel * width);
        let mut sums = [0.0; BLOCK * 32];
        let sums = &mut sums[..block * width];
        for tap in 0..taps {
            let at = partial_offset(g, width, panel, tap, first);
            sums.fill(0.0);
            for partial in partials.chunks_exact(length) {
                sums.iter_mut().zip(&partial[at..]).for_each(|(sum, term)| *sum += term);
            }
            for output in 0..outputs {
                let k = panel * width + output;
                for c in 0..block {
                    let sum = sums[c * width + output];
                    // SAFETY: `(k, tap, first + c)` lies inside KRSC and belongs to this task alone.
                    unsafe {
                        let to = shared.get().add((k * taps + tap) * g.c + first + c);
                        *to = if accumulate { *to + sum } else { sum };
                    }
                }
            }
        }
    };
    parallel::for_each(g.k.div_ceil(width) * blocks, reduce);
}
