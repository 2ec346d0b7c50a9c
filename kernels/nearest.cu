// y[n] = support[j], where <z[n], support[j]> / (|z[n]| |support[j]|) is greatest over j; the lowest such j. NaN where the
// greatest is NaN, as it is where anything it is taken over is.
//
// Memory    a[N,D], b[K,D], f32, row-major: z and support with rows of length 1 (info_nce's normalize), read by fwd;
//           workspaces best[S,N] f32 and index[S,N] u32 overwritten by it, read by copy; support[K,D] f32 read, y[N,D]
//           f32 overwritten by copy. 16-byte accesses if D is a multiple of 4.
// Work        __direct  a warp owns a row; S = 1. Block 128, grid ceil(N / 4).
//             __tiled   a block owns 64 rows (x) and a run of ceil(tiles / S) tiles of 64 columns (y), see
//                       similarity.cuh. Block 256, grid (ceil(N / 64), S).
//             copy      a warp owns a row, and merges its splits in order. Block 128, grid ceil(N / 4).
// Shape     Any N, K, D >= 1; 1 <= S <= ceil(K / 64). The host picks __tiled.
// Cost      2 N K D FLOPs: f32 arithmetic is the limit. Share of it: not yet measured.
// Numbers   f32, k ascending. Of supports whose cosines are within D half ulp of 1 of each other any may win; the copy
//           is exact.
// Lost      Nothing tried yet.

#include "similarity.cuh"

constexpr uint32_t ROW_WARPS = 4;

// The greatest of what was added so far: NaN before any number, then the larger, then the lower index.
struct Greatest {
    float value = -INFINITY;
    uint32_t index = 0xffffffffu;

    __device__ __forceinline__ void add(float other, uint32_t other_index)
    {
        const bool nan = value != value, other_nan = other != other;
        const bool lower = other_index < index;
        if (nan || other_nan ? other_nan && (!nan || lower) : other > value || (other == value && lower)) {
            value = other;
            index = other_index;
        }
    }
};

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nearest_fwd_f32__direct(uint32_t rows, uint32_t columns, uint32_t d, const float* __restrict__ a,
                        const float* __restrict__ b, float* __restrict__ best, uint32_t* __restrict__ index)
{
    const uint32_t i = blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (i >= rows) {
        return;
    }
    Greatest greatest;
    for (uint32_t j = 0; j < columns; ++j) {
        greatest.add(warp_dot(d, a + size_t(i) * d, b + size_t(j) * d), j);
    }
    if (threadIdx.x % 32 == 0) {
        best[i] = greatest.value;
        index[i] = greatest.index;
    }
}

extern "C" __global__ void __launch_bounds__(TILED, 2)
nearest_fwd_f32__tiled(uint32_t rows, uint32_t columns, uint32_t d, const float* __restrict__ a,
                       const float* __restrict__ b, float* __restrict__ best, uint32_t* __restrict__ index)
{
    __shared__ alignas(16) Tiled shared;
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16, i0 = blockIdx.x * TILE;
    const Run run = columns_of_block(columns);
    Greatest greatest[4];
    for (uint32_t tile = run.first; tile < run.end; ++tile) {
        const uint32_t j0 = tile * TILE;
        float dots[4][4];
        tile_of_dots(shared, d, rows, a, i0, columns, b, j0, dots);
#pragma unroll
        for (uint32_t i = 0; i < 16; ++i) {
            const uint32_t j = j0 + x * 4 + i % 4;
            if (j < columns) {
                greatest[i / 4].add(dots[i / 4][i % 4], j);
            }
        }
    }
#pragma unroll
    for (uint32_t r = 0; r < 4; ++r) {
#pragma unroll
        for (uint32_t s = 1; s < 16; s *= 2) {
            const float value = __shfl_xor_sync(ALL_LANES, greatest[r].value, s);
            greatest[r].add(value, __shfl_xor_sync(ALL_LANES, greatest[r].index, s));
        }
        const uint32_t i = i0 + y * 4 + r;
        if (x == 0 && i < rows) {
            best[size_t(blockIdx.y) * rows + i] = greatest[r].value;
            index[size_t(blockIdx.y) * rows + i] = greatest[r].index;
        }
    }
}

template <uint32_t WIDTH>
__device__ __forceinline__ void copy_row(uint32_t d, bool there, const float* __restrict__ from,
                                         float* __restrict__ to)
{
    for (uint32_t at = threadIdx.x % 32 * WIDTH; at < d; at += 32 * WIDTH) {
        float x[WIDTH];
        load_wide(x, from + at);
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            x[i] = there ? x[i] : NAN;
        }
        store_wide(to + at, x);
    }
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nearest_fwd_f32__copy(uint32_t rows, uint32_t d, uint32_t splits, const float* __restrict__ best,
                      const uint32_t* __restrict__ index, const float* __restrict__ support, float* __restrict__ y)
{
    const uint32_t i = blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (i >= rows) {
        return;
    }
    Greatest greatest;
    for (uint32_t split = 0; split < splits; ++split) {
        greatest.add(best[size_t(split) * rows + i], index[size_t(split) * rows + i]);
    }
    const bool there = greatest.value == greatest.value;
    const float* from = support + size_t(greatest.index) * d;
    float* to = y + size_t(i) * d;
    d % PACK<float> == 0 ? copy_row<PACK<float>>(d, there, from, to) : copy_row<1>(d, there, from, to);
}
