//! Copies of blocks of rows, which slicing and concatenation are made of, in both directions.

use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::kernel;
use rayon::prelude::*;

/// Elements a task copies, about.
const CHUNK: usize = 1 << 15;

/// `count` blocks of `rows` rows of `width` elements; pitches between rows and steps between blocks count elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    pub count: usize,
    pub rows: usize,
    pub width: usize,
    pub from_pitch: usize,
    pub from_step: usize,
    pub to_pitch: usize,
    pub to_step: usize,
}

impl Blocks {
    /// One run of elements.
    pub fn run(width: usize) -> Self {
        Self { count: 1, rows: 1, width, from_pitch: 0, from_step: 0, to_pitch: 0, to_step: 0 }
    }

    /// The same copy the other way.
    pub fn inverse(self) -> Self {
        let Self { from_pitch, from_step, to_pitch, to_step, .. } = self;
        Self { from_pitch: to_pitch, from_step: to_step, to_pitch: from_pitch, to_step: from_step, ..self }
    }

    /// Whole rows, or one run, lie in `to` without gaps.
    pub fn cpu(self, from: &[f32], to: &mut [f32], accumulate: bool) {
        let Self { count, rows, width, .. } = self;
        let put = |(to, from): (&mut [f32], &[f32])| {
            if accumulate {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            } else {
                to.copy_from_slice(from);
            }
        };
        if count * rows == 1 {
            let to = to[..width].par_chunks_mut(CHUNK);
            return to.zip(from[..width].par_chunks(CHUNK)).for_each(put);
        }
        let pieces = to[..count * rows * width].par_chunks_mut(width).enumerate();
        pieces.with_min_len(CHUNK.div_ceil(width)).for_each(|(piece, to)| {
            let (block, row) = (piece * width / self.to_step % count, piece * width / self.to_pitch % rows);
            put((to, &from[block * self.from_step + row * self.from_pitch..][..width]));
        });
    }

    /// Adds to `to` if output 0 is added to.
    pub fn launch(self, on: &Operands, from: Address, to: Address) -> Launch {
        let entry = on.pick(0, "copy_blocks_f32", "copy_blocks_bf16");
        let x = (self.rows * self.width).div_ceil(256 * 4).clamp(1, 65535);
        let parameters = BlocksParameters {
            rows: self.rows as u64,
            width: self.width as u64,
            from_pitch: self.from_pitch as u64,
            from_step: self.from_step as u64,
            to_pitch: self.to_pitch as u64,
            to_step: self.to_step as u64,
            accumulate: on.accumulate(0),
            from,
            to,
        };
        Launch::grid(entry, [x, self.count, 1], [256, 1, 1], parameters)
    }
}

/// Writes `n` zeros of the type of input 0.
pub(super) fn zero(on: &Operands, n: usize, to: Address) -> Launch {
    let entry = on.pick(0, "copy_zero_f32", "copy_zero_bf16");
    Launch::new(entry, n.div_ceil(256).clamp(1, 65535), 256, Zero { n: n as u64, to })
}

kernel!(BlocksParameters ["copy_blocks_f32", "copy_blocks_bf16"] {
    rows: u64, width: u64, from_pitch: u64, from_step: u64, to_pitch: u64, to_step: u64, accumulate: u32,
    from: Address, to: Address,
});

kernel!(Zero ["copy_zero_f32", "copy_zero_bf16"] { n: u64, to: Address });

pub const KERNELS: &[Signature] = &[BlocksParameters::SIGNATURE, Zero::SIGNATURE];
