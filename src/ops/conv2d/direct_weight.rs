//! Direct weight gradient, of every shape.
//!
//! `dw[k,r,s,c] = Σ_npq dy[n,p,q,k] · x[n, p·stride₀ + …, q·stride₁ + …, c]`: rows of the register tile are (r, s, c), the
//! sum runs over pixels. Both operands are copied so that a pixel is one cache line apart from the next: `x` in blocks of
//! 16 channels with its padding, `dy` in panels of output channels. A task owns some images and some panels; the tasks'
//! partial sums, their number fixed by the shape, are added in order.

use std::ops::Range;

use super::geometry::Geometry;
use super::kernel::{self, Walk, even_tiles};
use super::pack::{
    BLOCK, Rectangle, copy_rectangle, panel_width, partial_len, partial_offset, reduce_partials,
};
use super::parallel::{self, Shared, part};
use super::simd::{Isa, MAX_ROWS, Simd, Work};

/// Output pixels of a chunk: a panel of their gradients is a quarter of a 32 KiB L1.
const PIXELS: usize = 128;
/// Tasks worth having, for threads to share evenly.
const TASKS: usize = 16;
/// Output channels of a task.
const CHANNELS: usize = 128;

#[derive(Clone, Copy)]
struct Plan {
    width: usize,
    panels_per_task: usize,
    groups: usize,
    partials: usize,
    images_per_chunk: usize,
    rows_per_chunk: usize,
    /// Step between the pixels of neighbouring outputs, in the image and in its copy: an axis with one tap is sampled.
    sample: [usize; 2],
    step: [usize; 2],
    cols: usize,
}

impl Plan {
    fn new(g: &Geometry, isa: Isa) -> Self {
        let width = panel_width(isa, g.k);
        let panels = g.k.div_ceil(width);
        let panels_per_task = (CHANNELS / width).clamp(1, panels);
        let groups = panels.div_ceil(panels_per_task);
        let (p, q) = (g.p(), g.q());
        let rows_per_chunk = p.div_ceil(p.div_ceil((PIXELS / q).clamp(1, p)));
        let images_per_chunk = if rows_per_chunk == p { (PIXELS / (p * q)).clamp(1, g.n) } else { 1 };
        let partials = TASKS.div_ceil(groups).min(g.n.div_ceil(images_per_chunk));
        let taps = [g.r, g.s];
        let pick = |axis: usize, one: usize, many: usize| if taps[axis] == 1 { one } else { many };
        let sample = [pick(0, g.stride[0], 1), pick(1, g.stride[1], 1)];
        let step = [pick(0, 1, g.stride[0]), pick(1, 1, g.stride[1])];
        let cols = (q - 1) * step[1] + (g.s - 1) * g.dilation[1] + 1;
        Self {
            width,
            panels_per_task,
            groups,
            partials,
            images_per_chunk,
            rows_per_chunk,
            sample,
            step,
            cols,
        }
    }

    fn source_rows(&self, g: &Geometry, rows: usize) -> usize {
        (rows - 1) * self.step[0] + (g.r - 1) * g.dilation[0] + 1
    }

    /// Floats of a chunk's copy of `dy`, and of one block of `x`.
    fn slot(&self, g: &Geometry) -> [usize; 2] {
        let pixels = self.images_per_chunk * self.rows_per_chunk * g.q();
        let block =
            self.images_per_chunk * self.source_rows(g, self.rows_per_chunk) * self.cols * BLOCK.min(g.c);
        [parallel::lines(pixels * self.panels_per_task * self.width), block]
    }
}

/// Scratch, in floats, of [`run`] in the current thread pool.
pub fn scratch_len(g: &Geometry, isa: Isa) -> usize {
    let plan = Plan::new(g, isa);
    parallel::lines(plan.partials * partial_len(g, plan.width))
        + parallel::slots_len(plan.partials * plan.groups, plan.slot(g).iter().sum())
}

/// `dw (+)= bwd_weight(x, dy)`.
pub fn run(
    g: &Geometry,
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    accumulate: bool,
    scratch: &mut [f32],
) {
    let plan = Plan::new(g, isa);
    let length = partial_len(g, plan.width);
    let (partials, slots) = scratch.split_at_mut(parallel::lines(plan.partials * length));
    let partials = &mut partials[..plan.partials * length];
    let shared = Shared::new(partials);
    let [dy_len, x_len] = plan.slot(g);
    parallel::for_each_task(plan.partials * plan.groups, slots, dy_len + x_len, |task, slot| {
        let (partial, group) = (task % plan.partials, task / plan.partials);
        let panels = g.k.div_ceil(plan.width);
        let panels = group * plan.panels_per_task..((group + 1) * plan.panels_per_task).min(panels);
        let images = part(g.n, plan.partials, partial);
        let (dy_copy, x_copy) = slot.split_at_mut(dy_len);
        let mut accumulate = false;
        for first in images.clone().step_by(plan.images_per_chunk) {
            let images = first..(first + plan.images_per_chunk).min(images.end);
            for first in (0..g.p()).step_by(plan.rows_per_chunk) {
                let rows = first..(first + plan.rows_per_chunk).min(g.p());
                copy_gradients(g, &plan, dy, images.clone(), rows.clone(), panels.clone(), dy_copy);
                for c in (0..g.c).step_by(BLOCK) {
                    let c = c..(c + BLOCK).min(g.c);
                    copy_inputs(g, &plan, x, images.clone(), rows.clone(), c.clone(), x_copy);
                    let chunk = Chunk {
                        g,
                        plan: &plan,
                        x: x_copy,
                        dy: dy_copy,
                        images: images.len(),
                        rows: rows.len(),
                        panels: panels.clone(),
                        c,
                        // SAFETY: partial sums lie one after the other.
                        partial: unsafe { shared.get().add(partial * length) },
                        accumulate,
                    };
                    // SAFETY: `isa` was detected; the copies cover the chunk; no other task has this partial and panels.
                    unsafe { isa.run(chunk) };
                }
                accumulate = true;
            }
        }
    });
    reduce_partials(g, plan.width, partials, dw, accumulate);
}

/// `dy` as `[panel][image][row][col][width]`, zero beyond K.
fn copy_gradients(
    g: &Geometry,
    plan: &Plan,
    dy: &[f32],
    images: Range<usize>,
    rows: Range<usize>,
    panels: Range<usize>,
    to: &mut [f32],
) {
    let row_len = g.q() * g.k;
    let pixels = images.len() * rows.len() * g.q();
    for (panel, to) in panels.zip(to.chunks_exact_mut(pixels * plan.width)) {
        let channels = panel * plan.width..((panel + 1) * plan.width).min(g.k);
        let mut to = to.chunks_exact_mut(plan.width);
        for image in images.clone() {
            let image = &dy[image * g.p() * row_len..(image + 1) * g.p() * row_len];
            let pixels = image[rows.start * row_len..rows.end * row_len].chunks_exact(g.k);
            for (from, to) in pixels.zip(&mut to) {
                let from = &from[channels.clone()];
                match (<&mut [f32; BLOCK]>::try_from(&mut *to), <&[f32; BLOCK]>::try_from(from)) {
                    (Ok(to), Ok(from)) => *to = *from,
                    _ => {
                        to[..from.len()].copy_from_slice(from);
                        to[from.len()..].fill(0.0);
                    }
                }
            }
        }
    }
}

/// Channels `c` of `x` as `[image][row][col][channel]`, with what the taps reach beyond the image.
fn copy_inputs(
    g: &Geometry,
    plan: &Plan,
    x: &[f32],
    images: Range<usize>,
    rows: Range<usize>,
    c: Range<usize>,
    to: &mut [f32],
) {
    let image_len = g.h * g.w * g.c;
    let rectangle = Rectangle {
        origin: [(rows.start * g.stride[0]) as isize - g.padding[0] as isize, -(g.padding[1] as isize)],
        size: [plan.source_rows(g, rows.len()), plan.cols],
        step: plan.sample,
    };
    let copy_len = rectangle.size[0] * rectangle.size[1] * c.len();
    let images = x[images.start * image_len..images.end * image_len].chunks_exact(image_len);
    for (image, to) in images.zip(to.chunks_exact_mut(copy_len)) {
        copy_rectangle(image, [g.h, g.w], g.c, rectangle, c.clone(), to);
    }
}

/// All taps of one block of input channels against some panels of output channels.
struct Chunk<'a> {
    g: &'a Geometry,
    plan: &'a Plan,
    x: &'a [f32],
    dy: &'a [f32],
    images: usize,
    rows: usize,
    panels: Range<usize>,
    c: Range<usize>,
    partial: *mut f32,
    accumulate: bool,
}

impl Work for Chunk<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            match self.plan.width / S::LANES {
                1 => self.panels::<S, 1>(),
                _ => self.panels::<S, 2>(),
            }
        }
    }
}

impl Chunk<'_> {
    #[inline(always)]
    unsafe fn panels<S: Simd, const NV: usize>(self) {
        let Self { g, plan, images, rows, .. } = self;
        let block = self.c.len();
        let row_len = plan.cols * block;
        let walk = Walk {
            images,
            image_step: plan.source_rows(g, rows) * row_len,
            rows,
            row_step: plan.step[0] * row_len,
            cols: g.q(),
            col_step: plan.step[1] * block,
        };
        let panel_len = images * rows * g.q() * plan.width;
        let first = self.panels.start;
        for panel in self.panels {
            let dy = self.dy[(panel - first) * panel_len..].as_ptr();
            let mut a = [self.x.as_ptr(); MAX_ROWS];
            // Rows of the tile run through channels, then taps.
            let (mut r, mut s, mut c) = (0, 0, 0);
            for (first, tile) in even_tiles(g.r * g.s * block, S::ROWS) {
                for a in &mut a[..tile] {
                    *a = self.x[r * g.dilation[0] * row_len + s * g.dilation[1] * block + c..].as_ptr();
                    c += 1;
                    if c == block {
                        (c, s) = (0, s + 1);
                        if s == g.s {
                            (s, r) = (0, r + 1);
                        }
                    }
                }
                let at = partial_offset(g, plan.width, panel, 0, self.c.start) + first * plan.width;
                unsafe { kernel::outer::<S, NV>(tile, &a, walk, dy, self.partial.add(at), self.accumulate) };
            }
        }
    }
}
