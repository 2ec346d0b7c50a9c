// y[n] = x[index[n]]; NaN where index[n] is beyond x.
//
// Memory    x[M,D] f32, row-major, read: 16-byte accesses if D is a multiple of 4, else by element. index[N] u32 read.
//           y[N,D] f32 overwritten, as x.
// Work      A warp owns a row of y. Block 128, grid ceil(N / 4).
// Shape     Any M, N, D >= 1.
// Cost      No FLOPs; 8 N D + 4 N bytes: memory bandwidth is the limit, and its latency where N is small. Share of it:
//           not yet measured.
// Numbers   Copies: bits stay as they are.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include <cmath>

#include "element.cuh"

constexpr uint32_t WARPS = 4;

template <uint32_t WIDTH>
__device__ __forceinline__ void copy_row(uint32_t d, bool there, const float* __restrict__ from,
                                         float* __restrict__ to)
{
    for (uint32_t at = threadIdx.x % 32 * WIDTH; at < d; at += 32 * WIDTH) {
        float x[WIDTH];
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            x[i] = NAN;
        }
        if (there) {
            load_wide(x, from + at);
        }
        store_wide(to + at, x);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
gather_fwd_f32(uint32_t m, uint32_t n, uint32_t d, const float* __restrict__ x, const uint32_t* __restrict__ index,
               float* __restrict__ y)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n) {
        return;
    }
    const uint32_t source = index[row];
    const float* from = x + size_t(source) * d;
    float* to = y + size_t(row) * d;
    d % PACK<float> == 0 ? copy_row<PACK<float>>(d, source < m, from, to) : copy_row<1>(d, source < m, from, to);
}
