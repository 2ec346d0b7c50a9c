//! Direct convolution: `forward` and `bwd_input` of every shape.
//!
//! No im2col: a chunk of the source is copied once with its zero padding, and each register tile of [`kernel::gather`]
//! reads its pixels where they lie. Neighbouring taps are neighbours in memory, so a filter row is one run of S·C terms.
//! Without padding (1×1) the copy falls away and this is a plain matrix product.

use std::ops::Range;

use super::engine::Data;
use super::family::{Axis, Family, Sides, families};
use super::geometry::{Geometry, Pass};
use super::kernel::{self, Store, Window, even_tiles};
use super::pack::{Rectangle, Weights, copy_rectangle, panel_width};
use super::parallel::{self, LINE, Shared, part};
use super::simd::{Isa, MAX_ROWS, Simd, Work};

/// Floats of the source a chunk should hold: half of a 512 KiB L2, the rest is for weights.
const CHUNK: usize = 48 * 1024;
/// Chunks worth having, for threads to share evenly.
const TASKS: usize = 64;

/// Floats of weights that stay in L1, so that a tile can go through all of them: its outputs are then written side by side.
const SMALL: usize = 4 * 1024;
/// Register tiles by which pixels are fetched ahead, and floats of each: beyond them the processor sees the stream itself.
const AHEAD: usize = 2;
const FETCHED: usize = 64;

/// How a pass is cut into chunks; a function of its shape and the instruction set.
#[derive(Clone, Copy)]
struct Plan {
    sides: Sides,
    width: usize,
    panels: usize,
    panel_len: usize,
    /// Source rectangle that all families together read, per axis: first position and count; `None` if it lies inside.
    first: [isize; 2],
    cols: usize,
    padded: bool,
    in_step: usize,
    /// Rows of the source beyond those of the outputs.
    overlap: usize,
    /// Output rows of the largest family.
    rows: usize,
    images_per_chunk: usize,
    rows_per_chunk: usize,
}

impl Plan {
    fn new(g: &Geometry, pass: Pass, isa: Isa) -> Self {
        let sides = Sides::new(g, pass);
        let width = panel_width(isa, sides.out_channels);
        let used =
            || families(g, pass).filter(|family| family.iter().all(|axis| axis.taps > 0 && axis.outputs > 0));
        let first = |axis: usize| used().map(|family| family[axis].in_origin).min().unwrap_or(0);
        let last = |axis: usize| used().map(|family| reach(&family[axis])).max().unwrap_or(0);
        let first = [first(0), first(1)];
        let end = [last(0) + 1, last(1) + 1];
        let padded = (0..2).any(|axis| first[axis] < 0 || end[axis] > sides.in_size[axis] as isize);
        let in_step = if pass == Pass::Forward { g.stride[0] } else { 1 };
        let rows = families(g, pass).map(|[vertical, _]| vertical.outputs).max().unwrap_or(0);
        let cols = if padded { (end[1] - first[1]) as usize } else { sides.in_size[1] };
        let overlap =
            (end[0] - first[0]) as usize - ((rows - 1) * in_step + 1).min((end[0] - first[0]) as usize);
        let taps: usize = families(g, pass).map(|family| taps(&family)).sum();

        let row = in_step * cols * sides.in_channels;
        let image = row * rows + overlap * cols * sides.in_channels;
        let images_per_chunk = (CHUNK / image).clamp(1, g.n.div_ceil(TASKS));
        let rows_per_chunk = if image > CHUNK { (CHUNK / row).clamp(1, rows) } else { rows };
        let rows_per_chunk = rows.div_ceil(rows.div_ceil(rows_per_chunk));
        Self {
            sides,
            width,
            panels: sides.out_channels.div_ceil(width),
            panel_len: taps * sides.in_channels * width,
            first,
            cols,
            padded,
            in_step,
            overlap,
            rows,
            images_per_chunk,
            rows_per_chunk,
        }
    }

    fn tasks(&self, images: usize) -> usize {
        images.div_ceil(self.images_per_chunk) * self.rows.div_ceil(self.rows_per_chunk)
    }

    fn source_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.in_step + 1 + self.overlap
    }

    fn slot(&self) -> usize {
        let image = self.source_rows(self.rows_per_chunk) * self.cols * self.sides.in_channels;
        if self.padded { self.images_per_chunk * image } else { 0 }
    }
}

fn taps([vertical, horizontal]: &Family) -> usize {
    vertical.taps * horizontal.taps
}

/// Source position of the last tap of the last output.
fn reach(axis: &Axis) -> isize {
    axis.in_origin + ((axis.outputs - 1) * axis.in_step + (axis.taps - 1) * axis.tap_step) as isize
}

/// Scratch, in floats, of [`run`] in the current thread pool.
pub fn scratch_len(g: &Geometry, pass: Pass, isa: Isa) -> usize {
    let plan = Plan::new(g, pass, isa);
    parallel::lines(plan.panels * plan.panel_len) + parallel::slots_len(plan.tasks(g.n), plan.slot())
}

/// `forward` or `bwd_input`.
pub fn run(job: Data, scratch: &mut [f32]) {
    let Data { g, pass, isa, from, weights, to, accumulate } = job;
    let plan = Plan::new(g, pass, isa);
    let weights = Weights::new(g, pass, weights);
    let (packed, slots) = scratch.split_at_mut(parallel::lines(plan.panels * plan.panel_len));
    let panels = Shared::new(packed);
    parallel::for_each(plan.panels, |panel| {
        // SAFETY: each task has its own panel.
        let packed = unsafe {
            std::slice::from_raw_parts_mut(panels.get().add(panel * plan.panel_len), plan.panel_len)
        };
        let mut rest = packed;
        for family in families(g, pass) {
            let terms = taps(&family) * plan.sides.in_channels;
            let (terms, after) = rest.split_at_mut(terms * plan.width);
            weights.pack(&family, panel * plan.width, plan.width, terms);
            rest = after;
        }
    });

    let bands = plan.rows.div_ceil(plan.rows_per_chunk);
    let to = Shared::new(to);
    parallel::for_each_task(plan.tasks(g.n), slots, plan.slot(), |task, slot| {
        let images = task / bands * plan.images_per_chunk..(task / bands + 1) * plan.images_per_chunk;
        let images = images.start..images.end.min(g.n);
        let chunk =
            Chunk::new(g, pass, &plan, packed, from, slot, images, part(plan.rows, bands, task % bands), to);
        // SAFETY: `isa` was detected; the chunk's source covers what its outputs read, and its outputs are its own.
        unsafe { isa.run(Chunk { accumulate, ..chunk }) };
    });
}

/// The outputs of some images and rows, all channels.
struct Chunk<'a> {
    g: &'a Geometry,
    pass: Pass,
    plan: &'a Plan,
    packed: &'a [f32],
    /// Source pixel `first` of the first image, and the steps between images and rows.
    source: *const f32,
    image_step: usize,
    row_step: usize,
    images: Range<usize>,
    rows: Range<usize>,
    to: *mut f32,
    accumulate: bool,
}

impl<'a> Chunk<'a> {
    #[allow(clippy::too_many_arguments)]
    fn new(
        g: &'a Geometry,
        pass: Pass,
        plan: &'a Plan,
        packed: &'a [f32],
        from: &'a [f32],
        slot: &mut [f32],
        images: Range<usize>,
        rows: Range<usize>,
        to: Shared,
    ) -> Self {
        let Sides { in_size, in_channels, .. } = plan.sides;
        let image_len = in_size[0] * in_size[1] * in_channels;
        let from = &from[images.start * image_len..images.end * image_len];
        let origin = [plan.first[0] + (rows.start * plan.in_step) as isize, plan.first[1]];
        let row_step = plan.cols * in_channels;
        let (source, image_step) = if plan.padded {
            let rectangle =
                Rectangle { origin, size: [plan.source_rows(rows.len()), plan.cols], step: [1, 1] };
            let copy_len = rectangle.size[0] * row_step;
            for (from, to) in from.chunks_exact(image_len).zip(slot.chunks_exact_mut(copy_len)) {
                copy_rectangle(from, in_size, in_channels, rectangle, 0..in_channels, to);
            }
            (slot.as_ptr(), copy_len)
        } else {
            let first = origin[0] as usize * row_step + origin[1] as usize * in_channels;
            (from[first..].as_ptr(), image_len)
        };
        let to = to.get();
        Self { g, pass, plan, packed, source, image_step, row_step, images, rows, to, accumulate: false }
    }
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
    unsafe fn panels<S: Simd, const NV: usize>(&self) {
        if !self.accumulate && families(self.g, self.pass).any(|family| taps(&family) == 0) {
            unsafe { self.clear() };
        }
        let Plan { sides: Sides { in_channels, .. }, panels, panel_len, width, .. } = *self.plan;
        let together = if panels * panel_len <= SMALL { panels } else { 1 };
        for first in (0..panels).step_by(together) {
            let mut packed = self.packed[first * panel_len..].as_ptr();
            for family in families(self.g, self.pass) {
                unsafe { self.family::<S, NV>(&family, first..first + together, packed) };
                packed = packed.wrapping_add(taps(&family) * in_channels * width);
            }
        }
    }

    /// Zeros for the outputs that no tap reaches.
    #[inline(always)]
    unsafe fn clear(&self) {
        let Sides { out_size, out_channels, .. } = self.plan.sides;
        let step = self.g.stride[0];
        let rows = self.rows.start * step..(self.rows.end * step).min(out_size[0]);
        let row_len = out_size[1] * out_channels;
        for image in self.images.clone() {
            let first = (image * out_size[0] + rows.start) * row_len;
            unsafe { self.to.add(first).write_bytes(0, rows.len() * row_len) };
        }
    }

    #[inline(always)]
    unsafe fn family<S: Simd, const NV: usize>(
        &self,
        family: &Family,
        panels: Range<usize>,
        packed: *const f32,
    ) {
        let [vertical, horizontal] = family;
        let Plan { sides: Sides { in_channels, out_channels, .. }, padded, panel_len, .. } = *self.plan;
        let width = NV * S::LANES;
        let mut pixels = Pixels::new(self, family, panels.start * width);
        if pixels.len() == 0 || taps(family) == 0 {
            return;
        }
        let mut window = Window {
            rows: vertical.taps,
            row_step: vertical.tap_step * self.row_step,
            cols: horizontal.taps,
            col_step: horizontal.tap_step * in_channels,
            len: in_channels,
        };
        if window.col_step == in_channels {
            window.len *= window.cols;
            window.cols = 1;
        }

        // Tiles are placed some steps before their turn, and their pixels fetched meanwhile. What was copied is near.
        let fetched = if padded || panels.start > 0 { 0 } else { FETCHED.min(in_channels) };
        let written = (panels.len() * width).min(out_channels - panels.start * width);
        let count = pixels.len();
        let mut later = even_tiles(count, S::ROWS);
        let mut place = |(a, y): &mut Tile| {
            let rows = later.next().map_or(0, |(_, rows)| rows);
            for (a, y) in a.iter_mut().zip(y).take(rows) {
                (*a, *y) = pixels.next();
                (0..fetched).step_by(LINE).for_each(|c| S::fetch(a.wrapping_add(c)));
                (0..written).step_by(LINE).for_each(|k| S::fetch_to_write(y.wrapping_add(k)));
            }
        };
        let mut tiles: [Tile; AHEAD + 1] = [([self.source; MAX_ROWS], [self.to; MAX_ROWS]); AHEAD + 1];
        tiles[..AHEAD].iter_mut().for_each(&mut place);
        for (i, (_, rows)) in even_tiles(count, S::ROWS).enumerate() {
            place(&mut tiles[(i + AHEAD) % (AHEAD + 1)]);
            let (a, y) = &mut tiles[i % (AHEAD + 1)];
            for panel in panels.clone() {
                let packed = packed.wrapping_add((panel - panels.start) * panel_len);
                let store =
                    Store { valid: width.min(out_channels - panel * width), accumulate: self.accumulate };
                unsafe { kernel::gather::<S, NV>(rows, a, y, window, packed, store) };
                y.iter_mut().for_each(|y| *y = y.wrapping_add(width));
            }
        }
    }
}

/// Addresses of a register tile's pixels, in the source and in the output.
type Tile = ([*const f32; MAX_ROWS], [*mut f32; MAX_ROWS]);

/// The outputs of a family in a chunk, one after the other.
struct Pixels {
    a: *const f32,
    y: *mut f32,
    /// Floats from one column to the next, and from a row's or image's end to the next, in the source and in the output.
    a_steps: [usize; 3],
    y_steps: [usize; 3],
    /// Columns, rows, images: how many there are, and how many are left.
    size: [usize; 3],
    left: [usize; 3],
}

impl Pixels {
    #[inline(always)]
    fn new(chunk: &Chunk, family: &Family, channel: usize) -> Self {
        let [vertical, horizontal] = family;
        let Sides { in_channels, out_size, out_channels, .. } = chunk.plan.sides;
        let rows = chunk.rows.start.min(vertical.outputs)..chunk.rows.end.min(vertical.outputs);
        let first = |axis: usize| (family[axis].in_origin - chunk.plan.first[axis]) as usize;
        let a = first(0).wrapping_mul(chunk.row_step).wrapping_add(first(1).wrapping_mul(in_channels));
        let row = chunk.images.start * out_size[0] + vertical.out_origin + rows.start * vertical.out_step;
        let y = (row * out_size[1] + horizontal.out_origin) * out_channels + channel;
        let out_row = out_size[1] * out_channels;
        let size = [horizontal.outputs, rows.len(), chunk.images.len()];
        // A step along an axis comes on top of all the steps along the one before.
        let beyond = |[col, row, image]: [usize; 3], [cols, rows, _]: [usize; 3]| {
            [col, row.wrapping_sub(cols * col), image.wrapping_sub(rows * row)]
        };
        Self {
            a: chunk.source.wrapping_add(a),
            y: chunk.to.wrapping_add(y),
            a_steps: beyond(
                [horizontal.in_step * in_channels, vertical.in_step * chunk.row_step, chunk.image_step],
                size,
            ),
            y_steps: beyond(
                [horizontal.out_step * out_channels, vertical.out_step * out_row, out_size[0] * out_row],
                size,
            ),
            size,
            left: size,
        }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.size.iter().product()
    }

    #[inline(always)]
    fn next(&mut self) -> (*const f32, *mut f32) {
        let pixel = (self.a, self.y);
        for axis in 0..3 {
            self.a = self.a.wrapping_add(self.a_steps[axis]);
            self.y = self.y.wrapping_add(self.y_steps[axis]);
            self.left[axis] -= 1;
            if self.left[axis] > 0 {
                break;
            }
            self.left[axis] = self.size[axis];
        }
        pixel
    }
}
