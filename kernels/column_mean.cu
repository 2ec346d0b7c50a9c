// y[k] = (1/N) sum over n of x[n][k]. Backward: dx[n][k] = dy[k] / N.
//
// Memory    x[N,K] and dx[N,K] in the entry's type, row-major; 16-byte accesses if K is a multiple of 4 (f32) or 8
//           (bf16). y[K], dy[K] f32. fwd overwrites sums[parts,K] f32: y itself where there is one part, else workspace
//           that reduce reads. dx overwritten, or added to if `accumulate`.
// Work      Columns of columns.cuh: a block owns up to 32 accesses side by side of rows_per_part rows, and a thread the
//           channels of one, going down the rows. fwd and bwd: block 256, grid (parts, shares of a row). reduce: a
//           thread a column, parts in order; block 256, grid ceil(K / 256).
// Shape     Any N, K >= 1; parts rows_per_part >= N.
// Cost      N K FLOPs; bytes fwd x + y, bwd dx + dy (+ dx), dy once a part: memory bandwidth is the limit. Share of it:
//           not yet measured.
// Numbers   f32; a thread's rows in order, threads by halving, parts in order. The sum is scaled by 1/N once, at its
//           end. bf16 adds its rounding of dx.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "columns.cuh"

template <uint32_t W, typename T>
__device__ __forceinline__ void sum_columns(uint32_t n, uint32_t k, uint32_t rows_per_part, float scale,
                                            const T* __restrict__ x, float* __restrict__ sums)
{
    __shared__ alignas(16) float shared[W * COLUMN_THREADS];
    const auto columns = Columns<W>::of_row(k);
    const uint32_t first = blockIdx.x * rows_per_part, end = min(n, first + rows_per_part);
    float sum[1][W] = {};
    columns.template each_row<4>(k, first, end, [&](auto count, uint32_t, size_t at, size_t stride) {
        Unit<T, W> units[count.value];
#pragma unroll
        for (uint32_t r = 0; r < count.value; ++r) {
            units[r] = load_unit<T, W>(x + at + r * stride);
        }
#pragma unroll
        for (uint32_t r = 0; r < count.value; ++r) {
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                sum[0][i] += to_float(units[r].element[i]);
            }
        }
    });
    columns.template fold<1>(sum, shared);
    if (columns.owns && columns.row == 0) {
#pragma unroll
        for (uint32_t i = 0; i < W; ++i) {
            sum[0][i] *= scale;
        }
        store_floats<W>(sums + size_t(blockIdx.x) * k + columns.channel, sum[0]);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
column_mean_fwd_f32(uint32_t n, uint32_t k, uint32_t rows_per_part, float scale, const float* __restrict__ x,
                    float* __restrict__ sums)
{
    k % PACK<float> == 0 ? sum_columns<PACK<float>>(n, k, rows_per_part, scale, x, sums)
                         : sum_columns<1>(n, k, rows_per_part, scale, x, sums);
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
column_mean_fwd_bf16(uint32_t n, uint32_t k, uint32_t rows_per_part, float scale, const bf16* __restrict__ x,
                     float* __restrict__ sums)
{
    k % PACK<bf16> == 0 ? sum_columns<PACK<bf16>>(n, k, rows_per_part, scale, x, sums)
                        : sum_columns<1>(n, k, rows_per_part, scale, x, sums);
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
column_mean_fwd_f32__reduce(uint32_t k, uint32_t parts, float scale, const float* __restrict__ sums,
                            float* __restrict__ y)
{
    const uint32_t column = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    if (column >= k) {
        return;
    }
    float sum = 0.0f;
#pragma unroll 4
    for (uint32_t part = 0; part < parts; ++part) {
        sum += sums[size_t(part) * k + column];
    }
    y[column] = scale * sum;
}

template <uint32_t W, typename T>
__device__ __forceinline__ void spread(uint32_t n, uint32_t k, uint32_t rows_per_part, float scale, bool accumulate,
                                       const float* __restrict__ dy, T* __restrict__ dx)
{
    const auto columns = Columns<W>::of_row(k);
    const uint32_t first = blockIdx.x * rows_per_part, end = min(n, first + rows_per_part);
    // Once a block, and in whole sectors: of W = 8 floats a lane, each access would use half of its sectors.
    __shared__ alignas(16) float shared[W * COLUMN_WIDTH];
    const uint32_t own = blockIdx.y * columns.width * W, channels = min(columns.width * W, k - own);
    for (uint32_t i = threadIdx.x; i < channels; i += COLUMN_THREADS) {
        shared[i] = scale * dy[own + i];
    }
    __syncthreads();
    float g[W] = {};
    if (columns.owns) {
        load_floats<W>(g, shared + (columns.channel - own));
    }
    columns.template each_row<1>(k, first, end, [&](auto, uint32_t, size_t at, size_t) {
        store_unit<T, W>(dx + at, g, accumulate);
    });
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
column_mean_bwd_f32(uint32_t n, uint32_t k, uint32_t rows_per_part, float scale, uint32_t accumulate,
                    const float* __restrict__ dy, float* __restrict__ dx)
{
    k % PACK<float> == 0 ? spread<PACK<float>>(n, k, rows_per_part, scale, accumulate != 0, dy, dx)
                         : spread<1>(n, k, rows_per_part, scale, accumulate != 0, dy, dx);
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
column_mean_bwd_bf16(uint32_t n, uint32_t k, uint32_t rows_per_part, float scale, uint32_t accumulate,
                     const float* __restrict__ dy, bf16* __restrict__ dx)
{
    k % PACK<bf16> == 0 ? spread<PACK<bf16>>(n, k, rows_per_part, scale, accumulate != 0, dy, dx)
                        : spread<1>(n, k, rows_per_part, scale, accumulate != 0, dy, dx);
}
