//! nt_xent's kernels: rows to unit length, tiles of similarities folded, made again for backward. `kernels/nt_xent.cu`.

use super::super::splits;
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::kernel;
use crate::tensor::{DType, TensorType};

/// Rows and columns of a tile of similarities.
const TILE: usize = 64;
/// Columns of a chunk of unit rows, in shared memory and in registers.
const CHUNK: usize = 128;
/// Chunks of a block's own rows that stay in shared memory.
const MOST_CHUNKS: usize = 4;
/// Bytes of a chunk of 64 rows in bf16.
const SLOT: usize = TILE * CHUNK * 2;

kernel!(Normalize ["nt_xent_normalize_f32", "nt_xent_normalize_bf16"]
    { rows: u32, d: u32, z: Address, unit: Address, inverse: Address });

kernel!(Forward [
    "nt_xent_fwd_f32__direct", "nt_xent_fwd_bf16__direct", "nt_xent_fwd_f32__tiled", "nt_xent_fwd_bf16__tiled",
    "nt_xent_fwd_bf16__mma",
] { rows: u32, d: u32, temperature: f32, unit: Address, part: Address, positive: Address });

kernel!(Finalize ["nt_xent_fwd_f32__finalize"]
    { rows: u32, splits: u32, part: Address, positive: Address, lse: Address, loss: Address });

kernel!(Backward [
    "nt_xent_bwd_f32__direct", "nt_xent_bwd_bf16__direct", "nt_xent_bwd_f32__tiled", "nt_xent_bwd_bf16__tiled",
    "nt_xent_bwd_bf16__mma",
] { rows: u32, d: u32, temperature: f32, unit: Address, lse: Address, d_unit: Address });

kernel!(Apply ["nt_xent_bwd_f32__apply", "nt_xent_bwd_bf16__apply"] {
    rows: u32, d: u32, splits: u32, temperature: f32, accumulate: u32,
    d_loss: Address, z: Address, inverse: Address, d_unit: Address, dz: Address,
});

pub const KERNELS: &[Signature] =
    &[Normalize::SIGNATURE, Forward::SIGNATURE, Finalize::SIGNATURE, Backward::SIGNATURE, Apply::SIGNATURE];

/// How the work is cut, and where its parts lie in the workspace.
struct Shape {
    rows: usize,
    d: usize,
    bf16: bool,
    tiles: usize,
    chunks: usize,
    unit_bytes: usize,
}

impl Shape {
    fn of(z: &TensorType) -> Self {
        let (rows, d) = (z.shape[0], z.shape[1]);
        let (tiles, chunks) = (rows.div_ceil(TILE), d.div_ceil(CHUNK));
        // A multiple of 256, so that what follows is aligned too.
        Self {
            rows,
            d,
            bf16: z.dtype == DType::Bf16,
            tiles,
            chunks,
            unit_bytes: z.bytes().next_multiple_of(256),
        }
    }

    fn mma(&self) -> bool {
        self.bf16 && self.d.is_multiple_of(8)
    }

    /// Runs of tiles that a row of tiles is cut into.
    fn splits(&self, chunks: usize) -> usize {
        splits(self.tiles * chunks, self.tiles, 1)
    }

    fn row_bytes(&self) -> usize {
        (self.rows * size_of::<f32>()).next_multiple_of(256)
    }

    fn entry(&self, f32: &'static str, bf16: &'static str, mma: &'static str) -> (&'static str, u32, usize) {
        let slots = if self.chunks <= MOST_CHUNKS { self.chunks } else { 2 };
        match (self.bf16, self.mma()) {
            (false, _) => (f32, 256, 0),
            (true, false) => (bf16, 256, 0),
            (true, true) => (mma, 128, (slots + 2) * SLOT),
        }
    }

    fn normalize(&self, z: Address, unit: Address, inverse: Address) -> Launch {
        let entry = if self.bf16 { "nt_xent_normalize_bf16" } else { "nt_xent_normalize_f32" };
        let normalize = Normalize { rows: self.rows as u32, d: self.d as u32, z, unit, inverse };
        Launch::new(entry, self.rows.div_ceil(4), 128, normalize)
    }
}

/// unit, inverse, positive, part
pub fn forward_workspace(z: &TensorType) -> usize {
    let shape = Shape::of(z);
    shape.unit_bytes + (2 + shape.splits(1)) * shape.row_bytes()
}

pub fn forward(on: &Operands, temperature: f32) -> Vec<Launch> {
    let shape = Shape::of(on.ty(0));
    let (rows, d, splits) = (shape.rows as u32, shape.d as u32, shape.splits(1));
    let unit = on.workspace;
    let inverse = unit.plus(shape.unit_bytes);
    let positive = inverse.plus(shape.row_bytes());
    let part = positive.plus(shape.row_bytes());
    let (entry, block, shared) =
        shape.entry("nt_xent_fwd_f32__tiled", "nt_xent_fwd_bf16__tiled", "nt_xent_fwd_bf16__mma");
    let forward = Forward { rows, d, temperature, unit, part, positive };
    let (loss, lse) = (on.output(0), on.output(1));
    let finalize = Finalize { rows, splits: splits as u32, part, positive, lse, loss };
    vec![
        shape.normalize(on.input(0), unit, inverse),
        Launch::grid(entry, [shape.tiles, splits, 1], [block, 1, 1], forward).shared(shared),
        Launch::new("nt_xent_fwd_f32__finalize", 1, 1024, finalize),
    ]
}

/// unit, inverse, d_unit
pub fn backward_workspace(z: &TensorType) -> usize {
    let shape = Shape::of(z);
    let d_unit = shape.splits(shape.chunks) * shape.rows * shape.d * size_of::<f32>();
    shape.unit_bytes + shape.row_bytes() + d_unit
}

pub fn backward(on: &Operands, temperature: f32) -> Vec<Launch> {
    let shape = Shape::of(on.ty(1));
    let (rows, d, splits) = (shape.rows as u32, shape.d as u32, shape.splits(shape.chunks));
    let (d_loss, z, lse) = (on.input(0), on.input(1), on.input(2));
    let unit = on.workspace;
    let inverse = unit.plus(shape.unit_bytes);
    let d_unit = inverse.plus(shape.row_bytes());
    let (entry, block, shared) =
        shape.entry("nt_xent_bwd_f32__tiled", "nt_xent_bwd_bf16__tiled", "nt_xent_bwd_bf16__mma");
    let apply = Apply {
        rows,
        d,
        splits: splits as u32,
        temperature,
        accumulate: on.accumulate(0),
        d_loss,
        z,
        inverse,
        d_unit,
        dz: on.output(0),
    };
    let backward = Backward { rows, d, temperature, unit, lse, d_unit };
    let grid = [shape.tiles, splits, shape.chunks];
    vec![
        shape.normalize(z, unit, inverse),
        Launch::grid(entry, grid, [block, 1, 1], backward).shared(shared),
        Launch::new(
            on.pick(1, "nt_xent_bwd_f32__apply", "nt_xent_bwd_bf16__apply"),
            shape.rows.div_ceil(4),
            128,
            apply,
        ),
    ]
}
