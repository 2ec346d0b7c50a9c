// y[n][k] = x[n][k] / |x[n]|, the length taken as eps where shorter. Backward: dx = (dy - y <y, dy>) / |x|, and
// dx = dy / eps in the rows shorter than eps, where the divisor is constant.
//
// Memory    x[N,D], y[N,D], dy[N,D], dx[N,D] in the entry's type, row-major. x, dy read; y overwritten; dx overwritten,
//           or added to if `accumulate`. 16-byte accesses if D is a multiple of 4 (f32) or 8 (bf16), else by element.
// Work      A warp owns a row and holds it in registers, 4 KiB of it (in f32, 1024 elements); longer rows are read
//           again for what is beyond. Block 128, grid ceil(N / 4).
// Shape     Any N, D >= 1; eps >= 0.
// Cost      fwd 3 N D, bwd 6 N D FLOPs; bytes fwd x + y, bwd x + dy + dx (+ dx): memory bandwidth is the limit. Share
//           of it: not yet measured.
// Numbers   f32; lengths from scaled sums, right from 1e-34 to 1e38. A lane's sum is in order, lanes by halving: at
//           most D / 32 + 5 half ulp of the square. bf16 adds its rounding of the result.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "rows.cuh"

constexpr uint32_t WARPS = 4;
constexpr uint32_t HELD = 8;  // 16-byte packs of a lane

template <typename T, uint32_t WIDTH>
__device__ __forceinline__ void forward_row(uint32_t d, float eps, const T* __restrict__ x, T* __restrict__ y)
{
    const Row<T, WIDTH, 32, HELD> row(x, d, threadIdx.x % 32);
    const float scale = 1.0f / at_least(warp_length(row), eps);
    row.each([&](uint32_t at, auto& x) {
        for (float& v : x) {
            v *= scale;
        }
        write_wide(y + at, x, false);
    });
}

template <typename T>
__device__ __forceinline__ void forward(uint32_t n, uint32_t d, float eps, const T* __restrict__ x, T* __restrict__ y)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n) {
        return;
    }
    const size_t first = size_t(row) * d;
    if (d % PACK<T> == 0) {
        forward_row<T, PACK<T>>(d, eps, x + first, y + first);
    } else {
        forward_row<T, 1>(d, eps, x + first, y + first);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
l2_normalize_fwd_f32(uint32_t n, uint32_t d, float eps, const float* __restrict__ x, float* __restrict__ y)
{
    forward(n, d, eps, x, y);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
l2_normalize_fwd_bf16(uint32_t n, uint32_t d, float eps, const bf16* __restrict__ x, bf16* __restrict__ y)
{
    forward(n, d, eps, x, y);
}

template <typename T, uint32_t WIDTH>
__device__ __forceinline__ void backward_row(uint32_t d, float eps, bool accumulate, const T* __restrict__ dy,
                                             const T* __restrict__ x, T* __restrict__ dx)
{
    using WarpRow = Row<T, WIDTH, 32, HELD>;
    const WarpRow row(x, d, threadIdx.x % 32), gradient(dy, d, threadIdx.x % 32);
    const float length = warp_length(row), scale = 1.0f / at_least(length, eps);
    float along = 0.0f;
    row.each_with(gradient, [&](uint32_t, const auto& x, const auto& g) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            along = fmaf(x[i] * scale, g[i], along);
        }
    });
    along = length <= eps ? 0.0f : warp_sum(along);
    row.each_with(gradient, [&](uint32_t at, auto& x, const auto& g) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            x[i] = (g[i] - x[i] * scale * along) * scale;
        }
        write_wide(dx + at, x, accumulate);
    });
}

template <typename T>
__device__ __forceinline__ void backward(uint32_t n, uint32_t d, float eps, bool accumulate, const T* __restrict__ dy,
                                         const T* __restrict__ x, T* __restrict__ dx)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n) {
        return;
    }
    const size_t first = size_t(row) * d;
    if (d % PACK<T> == 0) {
        backward_row<T, PACK<T>>(d, eps, accumulate, dy + first, x + first, dx + first);
    } else {
        backward_row<T, 1>(d, eps, accumulate, dy + first, x + first, dx + first);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
l2_normalize_bwd_f32(uint32_t n, uint32_t d, float eps, uint32_t accumulate, const float* __restrict__ dy,
                     const float* __restrict__ x, float* __restrict__ dx)
{
    backward(n, d, eps, accumulate != 0, dy, x, dx);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
l2_normalize_bwd_bf16(uint32_t n, uint32_t d, float eps, uint32_t accumulate, const bf16* __restrict__ dy,
                      const bf16* __restrict__ x, bf16* __restrict__ dx)
{
    backward(n, d, eps, accumulate != 0, dy, x, dx);
}
