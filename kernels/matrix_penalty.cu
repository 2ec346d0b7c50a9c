// loss = on sum over i of f(c[i][i]) + off sum over i != j of c[i][j]^2, with f(c) = (1 - c)^2, or with `hinge`
// f(c) = max(0, 1 - sqrt(c + eps)). Backward: dc = d_loss times the slope of each.
//
// Memory    c[D,D] f32 read; part[gridDim.x] f32, workspace: a block of fwd overwrites one, mse_loss_fwd_f32__finalize
//           adds them up. dc[D,D] f32 overwritten, or added to if `accumulate`. d_loss[1] read.
// Work      256 threads, an element at a time, grid min(ceil(D^2 / 4096), 1024), which strides.
// Shape     Any D >= 1 with D^2 < 2^64.
// Cost      2 D^2 FLOPs, D^2 elements read, bwd as many written: memory bandwidth. Share of it: not yet measured.
// Numbers   f32, fixed order. A variance below -eps is NaN, and so is the loss. Where the hinge is shut the slope is 0.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "elementwise.cuh"
#include "reduce.cuh"

constexpr uint32_t WARPS = ELEMENTWISE_THREADS / 32;

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
matrix_penalty_fwd_f32(uint32_t d, uint32_t hinge, float on_diagonal, float off_diagonal, float eps,
                       const float* __restrict__ c, float* __restrict__ part)
{
    __shared__ float shared[WARPS];
    float sum = 0.0f;
    elementwise<1>(
        uint64_t(d) * d,
        [&](uint64_t at) {
            const float x = c[at];
            if (at % (uint64_t(d) + 1) != 0) {
                sum = fmaf(off_diagonal * x, x, sum);
            } else {
                const float off = 1.0f - x;
                sum = fmaf(on_diagonal, hinge ? rectified(1.0f - sqrtf(x + eps)) : off * off, sum);
            }
        },
        [](uint64_t) {});
    sum = block_sum<WARPS>(sum, shared);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
matrix_penalty_bwd_f32(uint32_t d, uint32_t hinge, uint32_t accumulate, float on_diagonal, float off_diagonal,
                       float eps, const float* __restrict__ d_loss, const float* __restrict__ c,
                       float* __restrict__ dc)
{
    const float upstream = d_loss[0];
    elementwise<1>(
        uint64_t(d) * d,
        [&](uint64_t at) {
            const float x = c[at];
            float slope = 2.0f * off_diagonal * x;
            if (at % (uint64_t(d) + 1) == 0) {
                const float std = sqrtf(x + eps);
                slope = on_diagonal * (hinge ? (std >= 1.0f ? 0.0f : -0.5f / std) : -2.0f * (1.0f - x));
            }
            write(dc + at, upstream * slope, accumulate != 0);
        },
        [](uint64_t) {});
}
