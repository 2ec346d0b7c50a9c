//! batch_norm's kernels: statistics, their merging, and one pass over the activations. `kernels/batch_norm.cu`.

use super::{BatchNorm, channels};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::kernel;
use crate::tensor::TensorType;

kernel!(Stats ["batch_norm_stats_f32", "batch_norm_stats_bf16"]
    { m: u32, c: u32, chunk: u32, x: Address, partial: Address });

kernel!(StatsFinalize ["batch_norm_stats_f32__finalize"]
    { m: u32, c: u32, chunk: u32, partial: Address, mean: Address, var: Address });

kernel!(Apply ["batch_norm_apply_f32", "batch_norm_apply_bf16"] {
    m: u32, c: u32, chunk: u32, relu: u32, eps: f32, x: Address, gamma: Address, beta: Address, mean: Address,
    var: Address, residual: Address, y: Address,
});

kernel!(Reduce ["batch_norm_bwd_reduce_f32", "batch_norm_bwd_reduce_bf16"] {
    m: u32, c: u32, chunk: u32, relu: u32, eps: f32, dy: Address, x: Address, y: Address, gamma: Address,
    beta: Address, mean: Address, var: Address, partial: Address,
});

kernel!(ReduceFinalize ["batch_norm_bwd_f32__finalize"] {
    m: u32, c: u32, chunk: u32, training: u32, accumulate_dgamma: u32, accumulate_dbeta: u32, eps: f32,
    partial: Address, gamma: Address, var: Address, dgamma: Address, dbeta: Address, coefficients: Address,
});

kernel!(BackwardApply ["batch_norm_bwd_apply_f32", "batch_norm_bwd_apply_bf16"] {
    m: u32, c: u32, chunk: u32, relu: u32, accumulate_dx: u32, accumulate_residual: u32, dy: Address, x: Address,
    y: Address, beta: Address, mean: Address, coefficients: Address, dx: Address, d_residual: Address,
});

kernel!(Running ["batch_norm_running_f32"] {
    c: u32, count: u32, momentum: f32, mean: Address, var: Address, running_mean: Address, running_var: Address,
});

kernel!(
    /// The first rung, to study: a block a channel.
    Direct ["batch_norm_fwd_f32__direct", "batch_norm_fwd_bf16__direct"] {
        m: u32, c: u32, relu: u32, eps: f32, x: Address, gamma: Address, beta: Address, residual: Address,
        y: Address, mean: Address, var: Address,
    }
);

pub const KERNELS: &[Signature] = &[
    Stats::SIGNATURE,
    StatsFinalize::SIGNATURE,
    Apply::SIGNATURE,
    Reduce::SIGNATURE,
    ReduceFinalize::SIGNATURE,
    BackwardApply::SIGNATURE,
    Running::SIGNATURE,
    Direct::SIGNATURE,
];

/// How blocks of 256 threads share out x\[M,C\]: threads along channels, 16 bytes each where rows allow, the rest of the
/// block along rows; a block takes `chunk` rows.
struct Tiling {
    m: usize,
    c: usize,
    chunk: usize,
    /// Blocks along rows and along channels.
    parts: usize,
    strips: usize,
}

impl Tiling {
    fn of(x: &TensorType) -> Self {
        let c = channels(x);
        let m = x.elements() / c;
        let pack = 16 / x.dtype.size();
        let units = if c.is_multiple_of(pack) { c / pack } else { c };
        let strips = units.div_ceil(32);
        let rows = 256 / units.div_ceil(strips);
        // About 1024 blocks in all, and at least eight rows a thread: what a block reads of each channel is then 3 % of x.
        let chunk = m.div_ceil((1024 / strips).max(1)).next_multiple_of(rows).max(8 * rows);
        Self { m, c, chunk, parts: m.div_ceil(chunk), strips }
    }

    fn sizes(&self) -> (u32, u32, u32) {
        (self.m as u32, self.c as u32, self.chunk as u32)
    }

    /// f32 values of `count` numbers for each part and channel.
    fn partial_bytes(&self, count: usize) -> usize {
        (count * self.parts * self.c * size_of::<f32>()).next_multiple_of(256)
    }

    fn over_x<P: Parameters>(&self, entry: &'static str, parameters: P) -> Launch {
        Launch::grid(entry, [self.parts, self.strips, 1], [256, 1, 1], parameters)
    }

    /// A warp a channel.
    fn over_channels<P: Parameters>(&self, entry: &'static str, parameters: P) -> Launch {
        Launch::new(entry, self.c.div_ceil(8), 256, parameters)
    }
}

/// Three numbers a part and channel: pivot, mean beyond it, squares about the mean.
pub fn statistics_workspace(x: &TensorType) -> usize {
    Tiling::of(x).partial_bytes(3)
}

pub fn forward(on: &Operands, bn: BatchNorm, residual: bool) -> Vec<Launch> {
    let tiling = Tiling::of(on.ty(0));
    let (m, c, chunk) = tiling.sizes();
    let (x, gamma, beta, partial) = (on.input(0), on.input(1), on.input(2), on.workspace);
    let mut launches = Vec::new();
    let (mean, var) = if bn.training {
        let (mean, var) = (on.output(1), on.output(2));
        let entry = on.pick(0, "batch_norm_stats_f32", "batch_norm_stats_bf16");
        launches.push(tiling.over_x(entry, Stats { m, c, chunk, x, partial }));
        let merge = StatsFinalize { m, c, chunk, partial, mean, var };
        launches.push(tiling.over_channels("batch_norm_stats_f32__finalize", merge));
        (mean, var)
    } else {
        let from = 3 + usize::from(residual);
        (on.input(from), on.input(from + 1))
    };
    let residual = if residual { on.input(3) } else { Address::NULL };
    let (relu, eps, y) = (bn.relu.into(), bn.eps, on.output(0));
    let apply = Apply { m, c, chunk, relu, eps, x, gamma, beta, mean, var, residual, y };
    launches.push(tiling.over_x(on.pick(0, "batch_norm_apply_f32", "batch_norm_apply_bf16"), apply));
    launches
}

/// Two sums a part and channel, then three coefficients a channel.
pub fn backward_workspace(x: &TensorType) -> usize {
    let tiling = Tiling::of(x);
    tiling.partial_bytes(2) + 3 * tiling.c * size_of::<f32>()
}

pub fn backward(on: &Operands, bn: BatchNorm) -> Vec<Launch> {
    let tiling = Tiling::of(on.ty(1));
    let (m, c, chunk) = tiling.sizes();
    let [dy, x, gamma, beta, mean, var, y] = std::array::from_fn(|i| on.input(i));
    let [dx, dgamma, dbeta, d_residual] = std::array::from_fn(|i| on.output(i));
    let partial = on.workspace;
    let coefficients = partial.plus(tiling.partial_bytes(2));
    let (relu, eps) = (bn.relu.into(), bn.eps);
    let reduce = Reduce { m, c, chunk, relu, eps, dy, x, y, gamma, beta, mean, var, partial };
    let finalize = ReduceFinalize {
        m,
        c,
        chunk,
        training: bn.training.into(),
        accumulate_dgamma: on.accumulate(1),
        accumulate_dbeta: on.accumulate(2),
        eps,
        partial,
        gamma,
        var,
        dgamma,
        dbeta,
        coefficients,
    };
    let apply = BackwardApply {
        m,
        c,
        chunk,
        relu,
        accumulate_dx: on.accumulate(0),
        accumulate_residual: on.accumulate(3),
        dy,
        x,
        y,
        beta,
        mean,
        coefficients,
        dx,
        d_residual,
    };
    vec![
        tiling.over_x(on.pick(1, "batch_norm_bwd_reduce_f32", "batch_norm_bwd_reduce_bf16"), reduce),
        tiling.over_channels("batch_norm_bwd_f32__finalize", finalize),
        tiling.over_x(on.pick(1, "batch_norm_bwd_apply_f32", "batch_norm_bwd_apply_bf16"), apply),
    ]
}

pub fn running(on: &Operands, momentum: f32, count: usize) -> Vec<Launch> {
    let [c] = on.dims(0);
    let running = Running {
        c,
        count: count as u32,
        momentum,
        mean: on.input(0),
        var: on.input(1),
        running_mean: on.output(0),
        running_var: on.output(1),
    };
    vec![Launch::new("batch_norm_running_f32", c.div_ceil(256) as usize, 256, running)]
}
