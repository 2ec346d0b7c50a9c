// y[n][c] = mean over the pixels of x[n][pixel][c]; backward, dx[n][pixel][c] = dy[n][c] / pixels.
//
// Memory    x, dx [N,pixels,C] with pixels = H W; y, dy [N,C]; row-major, f32 or bf16 by the entry, 16-byte aligned
//           bases. x and dy read, y overwritten, dx overwritten or added to if `accumulate`.
// Work      A thread owns 16 bytes of y or dy where C is a multiple of that (8 bf16, 4 f32), else one element, and
//           walks down the pixels; neighbouring threads own neighbours, so a warp moves whole rows. Block 256, grid
//           ceil(units/256), units = N C / (C % PACK == 0 ? PACK : 1).
// Shape     N, pixels, C at least 1, N C < 2^32; checked by the host.
// Cost      N pixels C additions or products, and the bytes of x and y once: memory. Share of the limit: not yet
//           measured.
// Numbers   f32 sum, pixels ascending, times 1/pixels: error at most (pixels + 1) ulp of the mean magnitude, and in
//           bf16 one rounding, 2^-8 of |result|.
// Lost      Nothing tried yet.

#include "element.cuh"

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void forward(uint32_t n, uint32_t pixels, uint32_t c, const T* __restrict__ x,
                                        T* __restrict__ y)
{
    const uint32_t units = c / WIDTH, at = blockIdx.x * 256 + threadIdx.x;
    if (at >= n * units) {
        return;
    }
    const T* from = x + size_t(at / units) * pixels * c + at % units * WIDTH;
    float sums[WIDTH] = {};
#pragma unroll 4
    for (uint32_t pixel = 0; pixel < pixels; ++pixel) {
        float values[WIDTH];
        load_wide(values, from + size_t(pixel) * c);
#pragma unroll
        for (uint32_t e = 0; e < WIDTH; ++e) {
            sums[e] += values[e];
        }
    }
    const float scale = 1.0f / static_cast<float>(pixels);
#pragma unroll
    for (uint32_t e = 0; e < WIDTH; ++e) {
        sums[e] *= scale;
    }
    store_wide(y + size_t(at) * WIDTH, sums);
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void backward(uint32_t n, uint32_t pixels, uint32_t c, bool accumulate,
                                         const T* __restrict__ dy, T* __restrict__ dx)
{
    const uint32_t units = c / WIDTH, at = blockIdx.x * 256 + threadIdx.x;
    if (at >= n * units) {
        return;
    }
    T* to = dx + size_t(at / units) * pixels * c + at % units * WIDTH;
    const float scale = 1.0f / static_cast<float>(pixels);
    float values[WIDTH];
    load_wide(values, dy + size_t(at) * WIDTH);
#pragma unroll
    for (uint32_t e = 0; e < WIDTH; ++e) {
        values[e] *= scale;
    }
#pragma unroll 4
    for (uint32_t pixel = 0; pixel < pixels; ++pixel, to += c) {
        if (accumulate) {
            float sums[WIDTH];
            load_wide(sums, to);
#pragma unroll
            for (uint32_t e = 0; e < WIDTH; ++e) {
                sums[e] += values[e];
            }
            store_wide(to, sums);
        } else {
            store_wide(to, values);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
global_avg_pool_fwd_f32(uint32_t n, uint32_t pixels, uint32_t c, const float* __restrict__ x, float* __restrict__ y)
{
    c % PACK<float> == 0 ? forward<PACK<float>>(n, pixels, c, x, y) : forward<1>(n, pixels, c, x, y);
}

extern "C" __global__ void __launch_bounds__(256)
global_avg_pool_fwd_bf16(uint32_t n, uint32_t pixels, uint32_t c, const bf16* __restrict__ x, bf16* __restrict__ y)
{
    c % PACK<bf16> == 0 ? forward<PACK<bf16>>(n, pixels, c, x, y) : forward<1>(n, pixels, c, x, y);
}

extern "C" __global__ void __launch_bounds__(256)
global_avg_pool_bwd_f32(uint32_t n, uint32_t pixels, uint32_t c, uint32_t accumulate, const float* __restrict__ dy,
                        float* __restrict__ dx)
{
    c % PACK<float> == 0 ? backward<PACK<float>>(n, pixels, c, accumulate, dy, dx)
                         : backward<1>(n, pixels, c, accumulate, dy, dx);
}

extern "C" __global__ void __launch_bounds__(256)
global_avg_pool_bwd_bf16(uint32_t n, uint32_t pixels, uint32_t c, uint32_t accumulate, const bf16* __restrict__ dy,
                         bf16* __restrict__ dx)
{
    c % PACK<bf16> == 0 ? backward<PACK<bf16>>(n, pixels, c, accumulate, dy, dx)
                        : backward<1>(n, pixels, c, accumulate, dy, dx);
}
