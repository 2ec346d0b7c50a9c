// Between bf16 and f32, one tensor: to[i] = float(from[i]) (fwd), to[i] = bf16(from[i]) or to[i] + from[i] (bwd).
//
// Memory    fwd: from[n] bf16 read, to[n] f32 overwritten. bwd: from[n] f32 read, to[n] bf16 overwritten, or added to if
//           `accumulate`. Bases are 16-byte aligned. Nothing overlaps.
// Work      256 threads, grid min(ceil(n / 1024), 65535); a thread owns four neighbours at a time, 16 bytes of f32
//           and 8 of bf16, so that neighbouring lanes leave no gaps on either side.
// Shape     Any n.
// Cost      6 n bytes, 8 n where it accumulates; no arithmetic: memory bandwidth is the limit. Share of it: not yet
//           measured.
// Numbers   fwd is exact. bwd is to nearest even, added in f32 and rounded once; NaN stays NaN.
// Lost      Nothing tried yet. cast.cu does many tensors a launch, from a table; it neither adds nor widens.

#include "elementwise.cuh"

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
widen_fwd_bf16(uint64_t n, const bf16* __restrict__ from, float* __restrict__ to)
{
    elementwise<4>(
        n,
        [&](uint64_t at) {
            float x[4];
            load_wide(x, from + at);
            store_wide(to + at, x);
        },
        [&](uint64_t at) { to[at] = to_float(from[at]); });
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
widen_bwd_bf16(uint64_t n, uint32_t accumulate, const float* __restrict__ from, bf16* __restrict__ to)
{
    elementwise<4>(
        n,
        [&](uint64_t at) {
            float x[4];
            load_wide(x, from + at);
            write_wide(to + at, x, accumulate != 0);
        },
        [&](uint64_t at) { write(to + at, from[at], accumulate != 0); });
}
