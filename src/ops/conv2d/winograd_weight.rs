//! The weight gradient by Winograd's filtering, the adjoint of `forward`.
//!
//! `dw = Gᵀ[Σ_tiles (A dy Aᵀ) ⊙ (Bᵀ x B)]G`: 36 products of [C × tiles] with [tiles × K]. A task owns some images and some
//! output channels, keeps its 36 sums while it goes through its tiles, and transforms them back at the end, so that only
//! 9 of 36 numbers are left to add between tasks.

use std::ops::Range;

use super::geometry::Geometry;
use super::kernel::{self, Walk, even_tiles};
use super::pack::{BLOCK, panel_width, partial_len, partial_offset, reduce_partials};
use super::parallel::{self, LINE, Shared, part};
use super::simd::{Isa, MAX_ROWS, Simd, Work};
use super::tiles::{Planes, Tiling};
use super::winograd::{A, Bt, Gt, IN, PRODUCTS, Strided, transform};

/// Floats of transforms, of inputs and gradients, that a task should hold.
const CHUNK: usize = 432 * 1024;
/// Tasks worth having, for threads to share evenly.
const TASKS: usize = 16;
/// Output channels of a task.
const CHANNELS: usize = 64;

#[derive(Clone, Copy)]
struct Plan {
    x: Tiling,
    dy: Tiling,
    tiles: usize,
    width: usize,
    panels: usize,
    panels_per_task: usize,
    partials: usize,
    tiles_per_chunk: usize,
    x_plane: usize,
    dy_plane: usize,
    sum_plane: usize,
}

impl Plan {
    fn new(g: &Geometry, isa: Isa) -> Self {
        let outputs = [g.p(), g.q()];
        let x = Tiling::new([g.h, g.w], g.c, g.padding, outputs);
        let dy = Tiling::new(outputs, g.k, [0, 0], outputs);
        let all_tiles = dy.tiles(g.n);
        let width = panel_width(isa, g.k);
        let panels = g.k.div_ceil(width);
        let panels_per_task = (CHANNELS / width).clamp(1, panels);
        let partials = TASKS.div_ceil(panels.div_ceil(panels_per_task)).min(all_tiles);
        let most = (CHUNK / (PRODUCTS * (g.c + panels_per_task * width))).clamp(48, 96);
        let tiles = all_tiles.div_ceil(partials);
        let tiles_per_chunk = tiles.div_ceil(tiles.div_ceil(most));
        Self {
            x,
            dy,
            tiles: all_tiles,
            width,
            panels,
            panels_per_task,
            partials,
            tiles_per_chunk,
            x_plane: tiles_per_chunk * g.c + LINE,
            dy_plane: tiles_per_chunk * panels_per_task * width + LINE,
            sum_plane: g.c * panels_per_task * width + LINE,
        }
    }

    fn tasks(&self) -> usize {
        self.partials * self.panels.div_ceil(self.panels_per_task)
    }

    /// Floats of: zeros, transformed inputs, transformed gradients, sums.
    fn slot(&self) -> [usize; 4] {
        let zeros = parallel::lines(self.x.channels.max(self.dy.channels));
        [zeros, PRODUCTS * self.x_plane, PRODUCTS * self.dy_plane, PRODUCTS * self.sum_plane]
    }
}

/// Scratch, in floats, of [`run`] in the current thread pool.
pub fn scratch_len(g: &Geometry, isa: Isa) -> usize {
    let plan = Plan::new(g, isa);
    parallel::lines(plan.partials * partial_len(g, plan.width))
        + parallel::slots_len(plan.tasks(), plan.slot().iter().sum())
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
    parallel::for_each_task(plan.tasks(), slots, plan.slot().iter().sum(), |task, slot| {
        let (partial, group) = (task % plan.partials, task / plan.partials);
        let [zeros, xs, dys, _] = plan.slot();
        let (zeros, rest) = slot.split_at_mut(zeros);
        let (xs, rest) = rest.split_at_mut(xs);
        let (dys, sums) = rest.split_at_mut(dys);
        let task = Task {
            g,
            plan: &plan,
            x,
            dy,
            tiles: part(plan.tiles, plan.partials, partial),
            panels: group * plan.panels_per_task..((group + 1) * plan.panels_per_task).min(plan.panels),
            zeros,
            xs,
            dys,
            sums,
            // SAFETY: partial sums lie one after the other.
            partial: unsafe { shared.get().add(partial * length) },
        };
        // SAFETY: `isa` was detected; no other task has this partial sum and these panels.
        unsafe { isa.run(task) };
    });
    reduce_partials(g, plan.width, partials, dw, accumulate);
}

/// Some tiles, all input channels, some panels of output channels.
struct Task<'a> {
    g: &'a Geometry,
    plan: &'a Plan,
    x: &'a [f32],
    dy: &'a [f32],
    tiles: Range<usize>,
    panels: Range<usize>,
    zeros: &'a mut [f32],
    xs: &'a mut [f32],
    dys: &'a mut [f32],
    sums: &'a mut [f32],
    partial: *mut f32,
}

impl Work for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut this = self;
        this.zeros.fill(0.0);
        let all = this.tiles.clone();
        for first in all.clone().step_by(this.plan.tiles_per_chunk) {
            let tiles = first..(first + this.plan.tiles_per_chunk).min(all.end);
            unsafe {
                this.transform_inputs::<S>(tiles.clone());
                this.transform_gradients::<S>(tiles.clone());
                match this.plan.width / S::LANES {
                    1 => this.multiply::<S, 1>(tiles.len(), first > all.start),
                    _ => this.multiply::<S, 2>(tiles.len(), first > all.start),
                }
            }
        }
        unsafe { this.transform_sums::<S>() };
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn transform_inputs<S: Simd>(&mut self, tiles: Range<usize>) {
        let Plan { x, x_plane, .. } = *self.plan;
        let (from, zeros, base) = (self.x.as_ptr(), self.zeros.as_ptr(), self.xs.as_mut_ptr());
        let block_step = tiles.len() * BLOCK;
        let to = Planes { base, plane: x_plane, tile_step: BLOCK, block: BLOCK, block_step };
        unsafe { x.read::<S, Bt, 6>(tiles, x.channels, from, zeros, to) };
    }

    #[inline(always)]
    unsafe fn transform_gradients<S: Simd>(&mut self, tiles: Range<usize>) {
        let Plan { dy, dy_plane, width, .. } = *self.plan;
        let first = self.panels.start * width;
        let channels = (self.panels.end * width).min(dy.channels) - first;
        let from = self.dy.as_ptr().wrapping_add(first);
        let (zeros, base) = (self.zeros.as_ptr(), self.dys.as_mut_ptr());
        let block_step = tiles.len() * width;
        let to = Planes { base, plane: dy_plane, tile_step: width, block: width, block_step };
        unsafe { dy.read::<S, A, 4>(tiles, channels, from, zeros, to) };
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd, const NV: usize>(&mut self, tiles: usize, accumulate: bool) {
        let Plan { x: Tiling { channels, .. }, x_plane, dy_plane, sum_plane, .. } = *self.plan;
        let width = NV * S::LANES;
        let walk = Walk { images: 1, image_step: 0, rows: 1, row_step: 0, cols: tiles, col_step: BLOCK };
        let mut a = [std::ptr::null(); MAX_ROWS];
        for product in 0..PRODUCTS {
            let xs = self.xs[product * x_plane..].as_ptr();
            for panel in 0..self.panels.len() {
                let dys = self.dys[product * dy_plane + panel * tiles * width..].as_ptr();
                let sums = self.sums[product * sum_plane + panel * channels * width..].as_mut_ptr();
                for (first, rows) in even_tiles(channels, S::ROWS) {
                    for (c, a) in (first..).zip(&mut a[..rows]) {
                        *a = xs.wrapping_add(c / BLOCK * tiles * BLOCK + c % BLOCK);
                    }
                    unsafe {
                        kernel::outer::<S, NV>(rows, &a, walk, dys, sums.add(first * width), accumulate)
                    };
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn transform_sums<S: Simd>(&mut self) {
        let Plan { sum_plane, width, .. } = *self.plan;
        for (i, panel) in self.panels.clone().enumerate() {
            for c in 0..self.g.c {
                let at = partial_offset(self.g, width, panel, 0, c);
                let tap = partial_offset(self.g, width, panel, 1, c) - at;
                for lane in (0..width).step_by(S::LANES) {
                    unsafe {
                        let base = self.sums.as_ptr().add((i * self.g.c + c) * width + lane);
                        let from = Strided { base, row: IN * sum_plane, col: sum_plane };
                        let to = Strided { base: self.partial.add(at + lane), row: 3 * tap, col: tap };
                        transform::<S, Gt, 6, 3>(from, to);
                    }
                }
            }
        }
    }
}
