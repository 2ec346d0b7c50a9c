// y[n][d] = x[n][d] - mean[d], where column_mean makes the means. Its own gradient.
//
// Memory    x[N,D] read, y[N,D] overwritten, or added to if `accumulate`, in the entry's type; 16-byte accesses if D is a
//           multiple of 4 (f32) or 8 (bf16). mean[D] f32 read, once a block.
// Work      Columns of columns.cuh: a block owns up to 32 accesses side by side of rows_per_part rows, and a thread the
//           channels of one, going down the rows. Block 256, grid (parts, shares of a row).
// Shape     Any N, D >= 1; parts rows_per_part >= N.
// Cost      N D FLOPs; bytes x + y (+ y where it accumulates), beside the means' own pass over x: memory bandwidth is
//           the limit. Share of it: not yet measured.
// Numbers   f32: the mean is rounded, then the difference. bf16 rounds the result once.
// Lost      Elementwise, with the means of its columns loaded for each access: from cache, but six times the sectors.

#include "columns.cuh"

template <uint32_t W, typename T>
__device__ __forceinline__ void apply(uint32_t n, uint32_t d, uint32_t rows_per_part, bool accumulate,
                                      const T* __restrict__ x, const float* __restrict__ mean, T* __restrict__ y)
{
    const auto columns = Columns<W>::of_row(d);
    const uint32_t first = blockIdx.x * rows_per_part, end = min(n, first + rows_per_part);
    // Once a block, and in whole sectors: of W = 8 floats a lane, each access would use half of its sectors.
    __shared__ alignas(16) float shared[W * COLUMN_WIDTH];
    const uint32_t own = blockIdx.y * columns.width * W, channels = min(columns.width * W, d - own);
    for (uint32_t i = threadIdx.x; i < channels; i += COLUMN_THREADS) {
        shared[i] = mean[own + i];
    }
    __syncthreads();
    float means[W] = {};
    if (columns.owns) {
        load_floats<W>(means, shared + (columns.channel - own));
    }
    columns.template each_row<2>(d, first, end, [&](auto count, uint32_t, size_t at, size_t stride) {
        Unit<T, W> units[count.value];
#pragma unroll
        for (uint32_t r = 0; r < count.value; ++r) {
            units[r] = load_unit<T, W>(x + at + r * stride);
        }
#pragma unroll
        for (uint32_t r = 0; r < count.value; ++r) {
            float out[W];
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                out[i] = to_float(units[r].element[i]) - means[i];
            }
            store_unit<T, W>(y + at + r * stride, out, accumulate);
        }
    });
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
center_apply_f32(uint32_t n, uint32_t d, uint32_t rows_per_part, uint32_t accumulate, const float* __restrict__ x,
                 const float* __restrict__ mean, float* __restrict__ y)
{
    d % PACK<float> == 0 ? apply<PACK<float>>(n, d, rows_per_part, accumulate != 0, x, mean, y)
                         : apply<1>(n, d, rows_per_part, accumulate != 0, x, mean, y);
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
center_apply_bf16(uint32_t n, uint32_t d, uint32_t rows_per_part, uint32_t accumulate, const bf16* __restrict__ x,
                  const float* __restrict__ mean, bf16* __restrict__ y)
{
    d % PACK<bf16> == 0 ? apply<PACK<bf16>>(n, d, rows_per_part, accumulate != 0, x, mean, y)
                        : apply<1>(n, d, rows_per_part, accumulate != 0, x, mean, y);
}
