//! `forward` and `bwd_input` by Winograd's filtering; `bwd_input` is `forward` with the filter turned by 180°.
//!
//! A task takes some tiles, few enough that their transforms stay in L2, through all three steps: transform, 36 matrix
//! products, inverse transform. Filters are transformed beforehand.

use std::ops::Range;

use super::engine::Data;
use super::family::{Sides, families};
use super::geometry::{Geometry, Pass};
use super::kernel::{self, Store, Window, even_tiles};
use super::pack::{Weights, panel_width};
use super::parallel::{self, LINE, Shared, part};
use super::simd::{Isa, MAX_ROWS, Simd, Work};
use super::tiles::{Planes, Tiling};
use super::winograd::{Bt, G, IN, PRODUCTS, Strided, transform};

/// Floats of transforms, in and out, that a task should hold.
const CHUNK: usize = 216 * 1024;
/// Tasks worth having, for threads to share evenly.
const TASKS: usize = 16;
/// Output channels of a task where tiles alone are too few tasks.
const CHANNELS: usize = 64;

#[derive(Clone, Copy)]
struct Plan {
    sides: Sides,
    source: Tiling,
    output: Tiling,
    tiles: usize,
    width: usize,
    panels: usize,
    panels_per_task: usize,
    chunks: usize,
    /// Steps between the 36 planes of transformed inputs and outputs; a line more than they hold, so that a tile's planes
    /// do not share a cache set.
    input_plane: usize,
    output_plane: usize,
}

impl Plan {
    fn new(g: &Geometry, pass: Pass, isa: Isa) -> Self {
        let sides = Sides::new(g, pass);
        let padding = if pass == Pass::Forward { g.padding } else { g.padding.map(|padding| 2 - padding) };
        let outputs = sides.out_size;
        let source = Tiling::new(sides.in_size, sides.in_channels, padding, outputs);
        let output = Tiling::new(outputs, sides.out_channels, [0, 0], outputs);
        let tiles = output.tiles(g.n);
        let width = panel_width(isa, sides.out_channels);
        let panels = sides.out_channels.div_ceil(width);
        let most = CHUNK / (PRODUCTS * (sides.in_channels + sides.out_channels));
        let chunks = tiles.div_ceil(most.clamp(24, 72));
        let groups = if chunks >= TASKS { 1 } else { sides.out_channels.div_ceil(CHANNELS) };
        let panels_per_task = panels.div_ceil(groups);
        let tiles_per_chunk = tiles.div_ceil(chunks);
        Self {
            sides,
            source,
            output,
            tiles,
            width,
            panels,
            panels_per_task,
            chunks,
            input_plane: tiles_per_chunk * sides.in_channels + LINE,
            output_plane: tiles_per_chunk * panels_per_task * width + LINE,
        }
    }

    fn filter_len(&self) -> usize {
        self.sides.in_channels * self.width
    }

    fn tasks(&self) -> usize {
        self.chunks * self.panels.div_ceil(self.panels_per_task)
    }

    /// Floats of: what lies outside the image, transformed inputs, transformed outputs.
    fn slot(&self) -> [usize; 3] {
        let outside = self.sides.in_channels.max(self.sides.out_channels);
        [parallel::lines(outside), PRODUCTS * self.input_plane, PRODUCTS * self.output_plane]
    }

    /// Floats of a worker while it transforms filters.
    fn filter_slot(&self) -> usize {
        9 * self.filter_len()
    }
}

/// Scratch, in floats, of [`run`] in the current thread pool.
pub fn scratch_len(g: &Geometry, pass: Pass, isa: Isa) -> usize {
    let plan = Plan::new(g, pass, isa);
    let filters = parallel::slots_len(plan.panels, plan.filter_slot());
    let tiles = parallel::slots_len(plan.tasks(), plan.slot().iter().sum());
    plan.panels * PRODUCTS * plan.filter_len() + filters.max(tiles)
}

/// `forward` or `bwd_input`.
pub fn run(job: Data, scratch: &mut [f32]) {
    let Data { g, pass, isa, from, weights, to, accumulate } = job;
    let plan = Plan::new(g, pass, isa);
    let weights = Weights::new(g, pass, weights);
    let panel_len = PRODUCTS * plan.filter_len();
    let (filters, slots) = scratch.split_at_mut(plan.panels * panel_len);
    let shared = Shared::new(filters);
    parallel::for_each_task(plan.panels, slots, plan.filter_slot(), |panel, packed| {
        for family in families(g, pass) {
            weights.pack(&family, panel * plan.width, plan.width, packed);
        }
        // SAFETY: `isa` was detected; each task has its own panel.
        unsafe { isa.run(Filters { plan: &plan, packed, to: shared.get().add(panel * panel_len) }) };
    });

    let to = Shared::new(to);
    parallel::for_each_task(plan.tasks(), slots, plan.slot().iter().sum(), |task, slot| {
        let (chunk, group) = (task % plan.chunks, task / plan.chunks);
        let panels = group * plan.panels_per_task..((group + 1) * plan.panels_per_task).min(plan.panels);
        let tiles = part(plan.tiles, plan.chunks, chunk);
        let [outside, inputs, _] = plan.slot();
        let (outside, rest) = slot.split_at_mut(outside);
        let (inputs, outputs) = rest.split_at_mut(inputs);
        let chunk = Chunk {
            plan: &plan,
            filters,
            from,
            to: to.get(),
            accumulate,
            tiles,
            panels,
            outside,
            inputs,
            outputs,
        };
        // SAFETY: `isa` was detected; a tile's outputs in these panels are written by this task alone.
        unsafe { isa.run(chunk) };
    });
}

/// `[9][inputs][width]` to `[36][inputs][width]`.
struct Filters<'a> {
    plan: &'a Plan,
    packed: &'a [f32],
    to: *mut f32,
}

impl Work for Filters<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let plane = self.plan.filter_len();
        for i in (0..plane).step_by(S::LANES) {
            unsafe {
                let from = Strided { base: self.packed.as_ptr().add(i), row: 3 * plane, col: plane };
                let to = Strided { base: self.to.add(i), row: IN * plane, col: plane };
                transform::<S, G, 3, 6>(from, to);
            }
        }
    }
}

/// Some tiles and panels of output channels, through all steps.
struct Chunk<'a> {
    plan: &'a Plan,
    filters: &'a [f32],
    from: &'a [f32],
    to: *mut f32,
    accumulate: bool,
    tiles: Range<usize>,
    panels: Range<usize>,
    outside: &'a mut [f32],
    inputs: &'a mut [f32],
    outputs: &'a mut [f32],
}

impl Work for Chunk<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let mut this = self;
            this.transform_inputs::<S>();
            match this.plan.width / S::LANES {
                1 => this.multiply::<S, 1>(),
                _ => this.multiply::<S, 2>(),
            }
            this.transform_outputs::<S>();
        }
    }
}

impl Chunk<'_> {
    #[inline(always)]
    unsafe fn transform_inputs<S: Simd>(&mut self) {
        let Plan { source, input_plane, .. } = *self.plan;
        let Tiling { channels, .. } = source;
        let (from, zeros) = (self.from.as_ptr(), self.outside.as_ptr());
        let base = self.inputs.as_mut_ptr();
        let to = Planes { base, plane: input_plane, tile_step: channels, block: channels, block_step: 0 };
        self.outside.fill(0.0);
        unsafe { source.read::<S, Bt, 6>(self.tiles.clone(), channels, from, zeros, to) };
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd, const NV: usize>(&mut self) {
        let Plan { sides: Sides { in_channels, .. }, input_plane, output_plane, .. } = *self.plan;
        let (filter_len, width) = (self.plan.filter_len(), NV * S::LANES);
        let output_row = self.plan.panels_per_task * width;
        let window = Window { rows: 1, row_step: 0, cols: 1, col_step: 0, len: in_channels };
        let store = Store { valid: width, accumulate: false };
        let mut a = [std::ptr::null(); MAX_ROWS];
        let mut y = [std::ptr::null_mut(); MAX_ROWS];
        for product in 0..PRODUCTS {
            let inputs = self.inputs[product * input_plane..].as_ptr();
            let outputs = self.outputs[product * output_plane..].as_mut_ptr();
            for (i, panel) in self.panels.clone().enumerate() {
                let filters = self.filters[(panel * PRODUCTS + product) * filter_len..].as_ptr();
                for (first, tile) in even_tiles(self.tiles.len(), S::ROWS) {
                    for row in 0..tile {
                        a[row] = inputs.wrapping_add((first + row) * in_channels);
                        y[row] = outputs.wrapping_add((first + row) * output_row + i * width);
                    }
                    unsafe { kernel::gather::<S, NV>(tile, &a, &y, window, filters, store) };
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn transform_outputs<S: Simd>(&mut self) {
        let Plan { output, output_plane, width, panels_per_task, .. } = *self.plan;
        let first = self.panels.start * width;
        let channels = (self.panels.end * width).min(output.channels) - first;
        let to = self.to.wrapping_add(first);
        let (base, tile_step) = (self.outputs.as_ptr(), panels_per_task * width);
        let from = Planes { base, plane: output_plane, tile_step, block: channels, block_step: 0 };
        let nowhere = self.outside.as_mut_ptr();
        unsafe { output.write::<S>(self.tiles.clone(), channels, from, to, nowhere, self.accumulate) };
    }
}
