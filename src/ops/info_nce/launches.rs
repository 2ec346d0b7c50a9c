//! info_nce's kernels: rows to unit length, tiles of similarities folded, made again for backward. `kernels/info_nce.cu`.

use super::super::{softmax_cross_entropy, splits};
use super::backward::{InfoNceBackward, Of};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::kernel;
use crate::tensor::{DType, TensorType};

/// Rows and columns of a tile of similarities.
const TILE: usize = 64;
/// Columns of unit rows that a block of the backward pass sums.
const CHUNK: usize = 128;

kernel!(Normalize ["info_nce_normalize_f32", "info_nce_normalize_bf16"]
    { rows: u32, d: u32, z: Address, unit: Address, inverse: Address });

kernel!(Forward ["info_nce_fwd_f32__direct", "info_nce_fwd_f32__tiled"]
    { rows: u32, columns: u32, d: u32, temperature: f32, a: Address, b: Address, part: Address });

kernel!(Merge ["info_nce_fwd_f32__merge"] {
    rows: u32, d: u32, splits: u32, queue: u32, temperature: f32,
    q: Address, k: Address, part: Address, lse: Address, row_loss: Address,
});

kernel!(Backward ["info_nce_bwd_f32__direct", "info_nce_bwd_f32__tiled"] {
    rows: u32, columns: u32, d: u32, by_column: u32, temperature: f32,
    a: Address, b: Address, lse: Address, d_unit: Address,
});

kernel!(Apply ["info_nce_bwd_f32__apply", "info_nce_bwd_bf16__apply"] {
    rows: u32, d: u32, splits: u32, queue: u32, accumulate: u32, temperature: f32, d_loss: Address, z: Address,
    inverse: Address, partner: Address, lse: Address, d_unit: Address, dz: Address,
});

pub const KERNELS: &[Signature] =
    &[Normalize::SIGNATURE, Forward::SIGNATURE, Merge::SIGNATURE, Backward::SIGNATURE, Apply::SIGNATURE];

fn aligned(elements: usize) -> usize {
    (elements * size_of::<f32>()).next_multiple_of(256)
}

/// Unit rows in f32, and the inverses of the lengths they had.
#[derive(Clone, Copy)]
pub struct Unit {
    pub rows: Address,
    pub inverse: Address,
}

impl Unit {
    /// Bytes that those of `z` take.
    pub fn bytes(z: &TensorType) -> usize {
        aligned(z.elements()) + aligned(z.shape[0])
    }

    /// Makes those of `z`, at `to`.
    pub fn of(z: Address, ty: &TensorType, to: Address) -> (Self, Launch) {
        let (rows, d) = (ty.shape[0], ty.shape[1]);
        let unit = Self { rows: to, inverse: to.plus(aligned(ty.elements())) };
        let bf16 = ty.dtype == DType::Bf16;
        let entry = if bf16 { "info_nce_normalize_bf16" } else { "info_nce_normalize_f32" };
        let normalize =
            Normalize { rows: rows as u32, d: d as u32, z, unit: unit.rows, inverse: unit.inverse };
        (unit, Launch::new(entry, rows.div_ceil(4), 128, normalize))
    }
}

/// Tiles of rows, and the runs that its tiles of columns are cut into.
pub fn tiles(rows: usize, columns: usize, chunks: usize) -> (usize, usize) {
    let tiles = rows.div_ceil(TILE);
    (tiles, splits(tiles * chunks, columns.div_ceil(TILE), 1))
}

/// Of q, k and queue; a part's lse; each row's loss.
pub fn forward_workspace(inputs: &[TensorType]) -> usize {
    let (n, columns) = (inputs[0].shape[0], inputs[inputs.len() - 1].shape[0]);
    let (_, splits) = tiles(n, columns, 1);
    inputs.iter().map(Unit::bytes).sum::<usize>() + aligned(splits * n) + aligned(n)
}

pub fn forward(on: &Operands, temperature: f32) -> Vec<Launch> {
    let mut free = on.workspace;
    let (mut units, mut launches) = (Vec::new(), Vec::new());
    for (z, ty) in on.inputs {
        let (unit, normalize) = Unit::of(*z, ty, free);
        units.push(unit);
        launches.push(normalize);
        free = free.plus(Unit::bytes(ty));
    }
    let ([n, d], [columns, _]) = (on.dims::<2>(0), on.dims::<2>(on.inputs.len() - 1));
    let (tiles, splits) = tiles(n as usize, columns as usize, 1);
    let (part, row_loss) = (free, free.plus(aligned(splits * n as usize)));
    let (q, k, b) = (units[0].rows, units[1].rows, units[units.len() - 1].rows);
    let forward = Forward { rows: n, columns, d, temperature, a: q, b, part };
    let queue = u32::from(units.len() == 3);
    let merge = Merge {
        rows: n,
        d,
        splits: splits as u32,
        queue,
        temperature,
        q,
        k,
        part,
        lse: on.output(1),
        row_loss,
    };
    launches.extend([
        Launch::grid("info_nce_fwd_f32__tiled", [tiles, splits, 1], [256, 1, 1], forward),
        Launch::new("info_nce_fwd_f32__merge", (n as usize).div_ceil(4), 128, merge),
        softmax_cross_entropy::mean(n, row_loss, on.output(0)),
    ]);
    launches
}

/// The columns that a backward pass sums over, as a place among d_loss, z, partner, lse, \[queue\].
fn summed(of: Of, inputs: usize) -> Option<usize> {
    match (of, inputs) {
        (_, 4) => Some(2),
        (Of::Q, _) => Some(4),
        (Of::K, _) => None,
    }
}

/// How a sum over `columns` is cut: tiles, splits, chunks.
fn sum_shape(z: &TensorType, columns: usize) -> [usize; 3] {
    let chunks = z.shape[1].div_ceil(CHUNK);
    let (tiles, splits) = tiles(z.shape[0], columns, chunks);
    [tiles, splits, chunks]
}

/// Of z, partner and, for q, queue; d_unit.
pub fn backward_workspace(of: Of, inputs: &[TensorType]) -> usize {
    let z = &inputs[1];
    let sums = summed(of, inputs.len()).map_or(0, |i| {
        let queue = if i == 4 { Unit::bytes(&inputs[i]) } else { 0 };
        let [_, splits, _] = sum_shape(z, inputs[i].shape[0]);
        queue + splits * z.elements() * size_of::<f32>()
    });
    Unit::bytes(z) + Unit::bytes(&inputs[2]) + sums
}

pub fn backward(on: &Operands, op: &InfoNceBackward) -> Vec<Launch> {
    let (temperature, ty, [rows, d]) = (op.loss.temperature, on.ty(1), on.dims::<2>(1));
    let (z, normalize_z) = Unit::of(on.input(1), ty, on.workspace);
    let (partner, normalize_partner) = Unit::of(on.input(2), on.ty(2), on.workspace.plus(Unit::bytes(ty)));
    let mut free = on.workspace.plus(Unit::bytes(ty) + Unit::bytes(on.ty(2)));
    let mut launches = vec![normalize_z, normalize_partner];
    let lse = on.input(3);
    let mut parts = 0;
    if let Some(i) = summed(op.of, on.inputs.len()) {
        let mut b = partner;
        if i == 4 {
            let (queue, normalize) = Unit::of(on.input(i), on.ty(i), free);
            b = queue;
            launches.push(normalize);
            free = free.plus(Unit::bytes(on.ty(i)));
        }
        let [columns, _] = on.dims::<2>(i);
        let grid = sum_shape(ty, columns as usize);
        parts = grid[1] as u32;
        let by_column = u32::from(op.of == Of::K);
        let backward =
            Backward { rows, columns, d, by_column, temperature, a: z.rows, b: b.rows, lse, d_unit: free };
        launches.push(Launch::grid("info_nce_bwd_f32__tiled", grid, [256, 1, 1], backward));
    }
    let apply = Apply {
        rows,
        d,
        splits: parts,
        queue: u32::from(on.inputs.len() == 5),
        accumulate: on.accumulate(0),
        temperature,
        d_loss: on.input(0),
        z: on.input(1),
        inverse: z.inverse,
        partner: partner.rows,
        lse,
        d_unit: free,
        dz: on.output(0),
    };
    let entry = on.pick(1, "info_nce_bwd_f32__apply", "info_nce_bwd_bf16__apply");
    launches.push(Launch::new(entry, (rows as usize).div_ceil(4), 128, apply));
    launches
}
