// y[r][j] = x[r][j] - sums[j] / rows, where sums[j] is the sum of column j, from linear_bwd_bias. Its own gradient.
//
// Memory    x[rows,D] read, y[rows,D] overwritten, or added to if `accumulate`, in the entry's type, 16 bytes at a time
//           where D is a multiple of that, else element by element. sums[D] f32 read, from cache. n = rows D.
// Work      256 threads, grid min(ceil(n / (256 P)), 65535), P = 16 bytes of elements; the grid strides.
// Shape     Any rows, D >= 1.
// Cost      2 n elements moved (3 n where it accumulates), and the sums' pass over x: memory bandwidth is the limit.
//           Share of it: not yet measured.
// Numbers   f32: the mean is rounded, then the difference. bf16 rounds the result once.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "elementwise.cuh"

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void subtract(uint64_t n, uint32_t rows, uint32_t d, bool accumulate,
                                         const T* __restrict__ x, const float* __restrict__ sums, T* __restrict__ y)
{
    const float count = float(rows);
    const auto some = [&](uint64_t at) {
        const uint32_t column = uint32_t(at % d);
        float values[WIDTH];
        load_wide(values, x + at);
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            values[i] -= sums[column + i] / count;
        }
        write_wide(y + at, values, accumulate);
    };
    elementwise<WIDTH>(n, some, [](uint64_t) {});  // WIDTH divides D: nothing is left over
}

template <typename T>
__device__ __forceinline__ void apply(uint64_t n, uint32_t rows, uint32_t d, bool accumulate, const T* __restrict__ x,
                                      const float* __restrict__ sums, T* __restrict__ y)
{
    d % PACK<T> == 0 ? subtract<PACK<T>>(n, rows, d, accumulate, x, sums, y)
                     : subtract<1>(n, rows, d, accumulate, x, sums, y);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
center_apply_f32(uint64_t n, uint32_t rows, uint32_t d, uint32_t accumulate, const float* __restrict__ x,
                 const float* __restrict__ sums, float* __restrict__ y)
{
    apply(n, rows, d, accumulate != 0, x, sums, y);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
center_apply_bf16(uint64_t n, uint32_t rows, uint32_t d, uint32_t accumulate, const bf16* __restrict__ x,
                  const float* __restrict__ sums, bf16* __restrict__ y)
{
    apply(n, rows, d, accumulate != 0, x, sums, y);
}
