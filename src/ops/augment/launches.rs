//! augment's kernel: every view of a batch in one launch, a block a view. `kernels/augment.cu`.

use super::{Augment, Interpolation};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::kernel;
use crate::tensor::{DType, TensorType};

/// The sizes that every entry takes, then what it alone does.
macro_rules! entries {
    ($($name:ident [$($entry:literal),+] { $($more:ident),* })+) => { $(
        kernel!($name [$($entry),+] {
            rows: u32, n: u32, count: u32, h: u32, w: u32, c: u32, size: u32, bicubic: u32, antialias: u32,
            clamp: u32, blur_kernel: u32, scratch: u32, taps: u32, stage: u32, mean0: f32, mean1: f32, mean2: f32,
            std0: f32, std1: f32, std2: f32, images: Address, index: Address, params: Address, y: Address,
            $($more: Address),*
        });

        impl $name {
            fn new(op: &Augment, plan: &Plan, on: &Operands, $($more: Address),*) -> Self {
                let [count, h, w, c] = on.dims(0);
                let [rows, _] = on.dims(1);
                let n = on.inputs.get(2).map_or(count, |(_, index)| index.elements() as u32);
                Self {
                    rows, n, count, h, w, c,
                    size: op.size as u32,
                    bicubic: (op.interpolation == Interpolation::Bicubic).into(),
                    antialias: op.antialias.into(),
                    clamp: op.clamp.into(),
                    blur_kernel: op.blur_kernel as u32,
                    scratch: plan.scratch as u32,
                    taps: plan.taps as u32,
                    stage: plan.stage as u32,
                    mean0: op.mean_of(0), mean1: op.mean_of(1), mean2: op.mean_of(2),
                    std0: op.std_of(0), std1: op.std_of(1), std2: op.std_of(2),
                    images: on.input(0), index: on.input(2), params: on.input(1), y: on.output(0),
                    $($more),*
                }
            }
        }
    )+ };
}

entries! {
    InShared ["augment_fwd_f32", "augment_fwd_bf16"] {}
    InWorkspace ["augment_fwd_f32__workspace", "augment_fwd_bf16__workspace"] { workspace }
}

pub const KERNELS: &[Signature] = &[InShared::SIGNATURE, InWorkspace::SIGNATURE];

/// Shared memory up to which a view stays in it whole: what a block may have on every chip since Ampere.
const MOST_SHARED: usize = 96 << 10;
/// Blocks that share a workspace, each with a view at a time.
const WORKSPACE_BLOCKS: usize = 264;
/// Bytes of an image that are staged at once where it is large.
const MOST_STAGE: usize = 32 << 10;
/// Scratch of a view that lies in the workspace, in floats.
const WORKSPACE_SCRATCH: usize = 12288;

/// How much memory a block has, and for what.
pub struct Plan {
    whole: bool,
    blocks: usize,
    scratch: usize,
    taps: usize,
    stage: usize,
    shared: usize,
    /// Bytes in global memory.
    pub workspace: usize,
}

fn quads(floats: usize) -> usize {
    floats.next_multiple_of(4)
}

impl Plan {
    pub fn of(op: &Augment, inputs: &[TensorType]) -> Self {
        let [h, w, c] = [1, 2, 3].map(|axis| inputs[0].shape[axis]);
        let (rows, s) = (inputs[1].shape[0], op.size);
        let reach = if op.interpolation == Interpolation::Bicubic { 2.0 } else { 1.0 };
        let shrink = if op.antialias { (h.max(w) as f64 / s as f64).max(1.0) } else { 1.0 };
        let taps = ((2.0 * reach * shrink).ceil() as usize + 1) | 1;
        let stage = (h * w * c + 30).next_multiple_of(16).min(MOST_STAGE);
        let shared = |view: usize, scratch: usize| {
            4 * (quads(view) + quads(scratch) + quads(2 * s * taps) + quads(4 * s) + quads(2 * s)) + stage
        };
        let line = (s | 1).max(w * c).max(2 * s);
        let scratch = quads((c * s * s).max(s * (s | 1)).max(line));
        if shared(c * s * s, scratch) <= MOST_SHARED {
            let shared = shared(c * s * s, scratch);
            return Self { whole: true, blocks: rows, scratch, taps, stage, shared, workspace: 0 };
        }
        let scratch = quads((8 * c).max(line)).max(WORKSPACE_SCRATCH);
        let blocks = rows.min(WORKSPACE_BLOCKS);
        let workspace = 8 * blocks * c * s * s;
        Self { whole: false, blocks, scratch, taps, stage, shared: shared(0, scratch), workspace }
    }
}

pub fn launch(op: &Augment, on: &Operands) -> Launch {
    let plan = Plan::of(op, &[on.ty(0).clone(), on.ty(1).clone()]);
    let by_type = |f32, bf16| if op.dtype == DType::Bf16 { bf16 } else { f32 };
    let launch = if plan.whole {
        let entry = by_type("augment_fwd_f32", "augment_fwd_bf16");
        Launch::new(entry, plan.blocks, 256, InShared::new(op, &plan, on))
    } else {
        let entry = by_type("augment_fwd_f32__workspace", "augment_fwd_bf16__workspace");
        Launch::new(entry, plan.blocks, 512, InWorkspace::new(op, &plan, on, on.workspace))
    };
    launch.shared(plan.shared)
}
