//! Which kernel computes a pass on a GPU, and on what grid. `kernels/conv2d*.cu`.
//!
//! | | channels in 16-byte steps | small windows, as in the first layer | the rest |
//! | --- | --- | --- | --- |
//! | bf16 | `__mma` on tensor cores | `__stem` on tensor cores | `__tiled` |
//! | f32 | `__tiled` | `__tiled` | `__tiled` |
//!
//! `__direct` is the obvious way, to study and to check the others by.

use super::super::splits;
use super::Geometry;
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::kernel;
use crate::tensor::{DType, TensorType};

/// Parameter structs that begin with the sizes of the convolution.
macro_rules! passes {
    ($($name:ident [$($entry:literal),+ $(,)?] { $($field:ident: $ty:ty),+ })+) => { $(
        kernel!($name [$($entry),+] {
            n: u32, h: u32, w: u32, c: u32, k: u32, r: u32, s: u32, p: u32, q: u32, stride_h: u32, stride_w: u32,
            pad_h: u32, pad_w: u32, dil_h: u32, dil_w: u32, $($field: $ty),+
        });

        impl $name {
            #[allow(dead_code, reason = "the direct rung of bwd_weight is for tests")]
            fn new(g: &Geometry, $($field: $ty),+) -> Self {
                let u = |size: usize| size as u32;
                let ([stride_h, stride_w], [pad_h, pad_w]) = (g.stride.map(u), g.padding.map(u));
                let [dil_h, dil_w] = g.dilation.map(u);
                let [n, h, w, c, k, r, s, p, q] = [g.n, g.h, g.w, g.c, g.k, g.r, g.s, g.p(), g.q()].map(u);
                Self {
                    n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, $($field),+
                }
            }
        }
    )+ };
}

passes! {
    Forward [
        "conv2d_fwd_f32__direct", "conv2d_fwd_bf16__direct", "conv2d_fwd_f32__tiled", "conv2d_fwd_bf16__tiled",
        "conv2d_fwd_bf16__stem", "conv2d_fwd_bf16__mma_128x128", "conv2d_fwd_bf16__mma_128x64",
        "conv2d_fwd_bf16__mma_64x64",
    ] { x: Address, weight: Address, y: Address }

    BackwardInput [
        "conv2d_bwd_input_f32__direct", "conv2d_bwd_input_bf16__direct", "conv2d_bwd_input_f32__tiled",
        "conv2d_bwd_input_bf16__tiled", "conv2d_bwd_input_bf16__mma_128x128", "conv2d_bwd_input_bf16__mma_128x64",
        "conv2d_bwd_input_bf16__mma_64x64",
    ] { accumulate: u32, dy: Address, weight: Address, dx: Address }

    BackwardWeightDirect ["conv2d_bwd_weight_f32__direct", "conv2d_bwd_weight_bf16__direct"]
        { accumulate: u32, dy: Address, x: Address, dw: Address }

    BackwardWeight [
        "conv2d_bwd_weight_f32__tiled", "conv2d_bwd_weight_bf16__tiled", "conv2d_bwd_weight_bf16__stem",
        "conv2d_bwd_weight_bf16__mma_128x128", "conv2d_bwd_weight_bf16__mma_64x128",
        "conv2d_bwd_weight_bf16__mma_64x64",
    ] { splits: u32, dy: Address, x: Address, workspace: Address }
}

kernel!(Reduce ["conv2d_bwd_weight_f32__reduce"]
    { length: u32, splits: u32, accumulate: u32, workspace: Address, dw: Address });

pub const KERNELS: &[Signature] = &[
    Forward::SIGNATURE,
    BackwardInput::SIGNATURE,
    BackwardWeightDirect::SIGNATURE,
    BackwardWeight::SIGNATURE,
    Reduce::SIGNATURE,
];

/// Elements of a window up to which the first layer's kernels take it whole.
const STEM_WINDOW: usize = 208;
/// Blocks that fill a large GPU once.
const WAVE: usize = 128;

/// A tile of the product, and the entry that computes it.
type Tile = ([usize; 2], &'static str);

/// The largest tile that still gives every multiprocessor a block; the smallest if none does.
fn choose(m: usize, n: usize, tiles: [Tile; 3]) -> (usize, &'static str) {
    let blocks = |[bm, bn]: [usize; 2]| m.div_ceil(bm) * n.div_ceil(bn);
    let fits = |&([_, bn], _): &Tile| bn <= n.next_multiple_of(64);
    let of = |(tile, entry): Tile| (blocks(tile), entry);
    tiles.into_iter().filter(fits).map(of).find(|(blocks, _)| *blocks >= WAVE).unwrap_or_else(|| of(tiles[2]))
}

impl Geometry {
    fn window(&self) -> usize {
        self.r * self.s * self.c
    }

    fn pixels(&self) -> usize {
        self.n * self.p() * self.q()
    }

    /// Pixels of x of the most frequent parity, and how many parities there are: the subproblems of dx.
    fn parities(&self) -> (usize, usize) {
        let [u, v] = self.stride;
        (self.n * self.h.div_ceil(u) * self.w.div_ceil(v), u * v)
    }

    fn whole_chunks(&self, k_too: bool) -> bool {
        self.c.is_multiple_of(8) && (!k_too || self.k.is_multiple_of(8)) && self.r <= 12 && self.s <= 12
    }

    /// Dynamic shared memory of the first layer's kernels: 64 windows.
    fn stem_shared(&self) -> usize {
        128 * (self.window().next_multiple_of(16) + 8)
    }
}

pub fn forward(g: &Geometry, on: &Operands) -> Vec<Launch> {
    let forward = Forward::new(g, on.input(0), on.input(1), on.output(0));
    let (m, filters) = (g.pixels(), g.k.div_ceil(64));
    vec![if on.is_bf16(0) && g.whole_chunks(false) {
        let (blocks, entry) = choose(
            m,
            g.k,
            [
                ([128, 128], "conv2d_fwd_bf16__mma_128x128"),
                ([128, 64], "conv2d_fwd_bf16__mma_128x64"),
                ([64, 64], "conv2d_fwd_bf16__mma_64x64"),
            ],
        );
        Launch::new(entry, blocks, 128, forward)
    } else if on.is_bf16(0) && g.window() <= STEM_WINDOW {
        let blocks = m.div_ceil(64).min((4 * WAVE).div_ceil(filters));
        Launch::grid("conv2d_fwd_bf16__stem", [blocks, filters, 1], [128, 1, 1], forward)
            .shared(g.stem_shared())
    } else {
        let entry = on.pick(0, "conv2d_fwd_f32__tiled", "conv2d_fwd_bf16__tiled");
        Launch::grid(entry, [m.div_ceil(128), filters, 1], [128, 1, 1], forward)
    }]
}

pub fn bwd_input(g: &Geometry, on: &Operands) -> Vec<Launch> {
    let bwd_input = BackwardInput::new(g, on.accumulate(0), on.input(0), on.input(1), on.output(0));
    let (m, parities) = g.parities();
    vec![if on.is_bf16(0) && g.whole_chunks(true) {
        let (blocks, entry) = choose(
            m * parities,
            g.c,
            [
                ([128, 128], "conv2d_bwd_input_bf16__mma_128x128"),
                ([128, 64], "conv2d_bwd_input_bf16__mma_128x64"),
                ([64, 64], "conv2d_bwd_input_bf16__mma_64x64"),
            ],
        );
        Launch::grid(entry, [blocks, 1, parities], [128, 1, 1], bwd_input)
    } else {
        let entry = on.pick(0, "conv2d_bwd_input_f32__tiled", "conv2d_bwd_input_bf16__tiled");
        Launch::grid(entry, [m.div_ceil(128), g.c.div_ceil(64), parities], [128, 1, 1], bwd_input)
    }]
}

/// How dw's sum over pixels is split, and by what kernel.
struct Weights {
    entry: &'static str,
    grid: [usize; 3],
    threads: u32,
    shared: usize,
    splits: usize,
}

impl Weights {
    fn of(g: &Geometry, bf16: bool) -> Self {
        let (window, filters) = (g.window(), g.k.div_ceil(64));
        let parts = |tiles| splits(tiles, g.pixels(), 256);
        if bf16 && g.whole_chunks(true) {
            let (tile, entry) = match (g.k > 64, window > 64) {
                (true, true) => ([128, 128], "conv2d_bwd_weight_bf16__mma_128x128"),
                (false, true) => ([64, 128], "conv2d_bwd_weight_bf16__mma_64x128"),
                _ => ([64, 64], "conv2d_bwd_weight_bf16__mma_64x64"),
            };
            let tiles = g.k.div_ceil(tile[0]) * window.div_ceil(tile[1]);
            return Self {
                entry,
                grid: [tiles, parts(tiles), 1],
                threads: 128,
                shared: 0,
                splits: parts(tiles),
            };
        }
        if bf16 && window <= STEM_WINDOW {
            let (entry, splits) = ("conv2d_bwd_weight_bf16__stem", parts(filters));
            return Self { entry, grid: [filters, splits, 1], threads: 256, shared: g.stem_shared(), splits };
        }
        let entry = if bf16 { "conv2d_bwd_weight_bf16__tiled" } else { "conv2d_bwd_weight_f32__tiled" };
        let splits = parts(window.div_ceil(128) * filters);
        Self { entry, grid: [window.div_ceil(128), filters, splits], threads: 128, shared: 0, splits }
    }
}

/// A sum of each weight's gradient a split.
pub fn bwd_weight_workspace(g: &Geometry, dy: &TensorType) -> usize {
    Weights::of(g, dy.dtype == DType::Bf16).splits * g.k * g.window() * size_of::<f32>()
}

pub fn bwd_weight(g: &Geometry, on: &Operands) -> Vec<Launch> {
    let Weights { entry, grid, threads, shared, splits } = Weights::of(g, on.is_bf16(0));
    let (length, workspace) = (g.k * g.window(), on.workspace);
    let sums = BackwardWeight::new(g, splits as u32, on.input(0), on.input(1), workspace);
    let reduce = Reduce {
        length: length as u32,
        splits: splits as u32,
        accumulate: on.accumulate(0),
        workspace,
        dw: on.output(0),
    };
    let each = if length.is_multiple_of(4) { 4 } else { 1 };
    vec![
        Launch::grid(entry, grid, [threads, 1, 1], sums).shared(shared),
        Launch::new("conv2d_bwd_weight_f32__reduce", length.div_ceil(128 * each), 128, reduce),
    ]
}
