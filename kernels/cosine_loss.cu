// loss = -(1/N) sum over n of cos[n], cos = <p, z> / (|p| |z|), lengths taken as 1e-12 where shorter. Backward for
// either input, a, with the other, b: da[n] = -(d_loss / N) (b / |b| - cos a / |a|) / |a|; where a is shorter than
// 1e-12 its length is a constant and the term with cos drops out.
//
// Memory    p[N,D], z[N,D] (a, b) in the entry's type, row-major, read; 16-byte accesses if D is a multiple of 4 (f32)
//           or 8 (bf16). cosine[N] f32, workspace: fwd overwrites it, finalize reads it. loss[1] f32 overwritten,
//           d_loss[1] f32 read. da[N,D] in the entry's type overwritten, or added to if `accumulate`. Nothing is saved
//           for backward: it reads both rows anyway and works the lengths out again.
// Work      A warp owns a row of both and holds 4 KiB of each in registers. fwd and bwd: block 128, grid ceil(N / 4).
//           finalize: block 256, grid 1.
// Shape     Any N, D >= 1.
// Cost      fwd 6 N D, bwd 12 N D FLOPs; bytes fwd p + z, bwd a + b + da (+ da): memory bandwidth is the limit. Share
//           of it: not yet measured.
// Numbers   f32, fixed order. The products of unit elements are summed, so long rows do not overflow: error of a cosine
//           at most about D / 32 + 8 half ulp of 1. bf16 adds its rounding of da.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "rows.cuh"

constexpr uint32_t WARPS = 4;
constexpr uint32_t HELD = 8;  // 16-byte packs of a lane, for each input
constexpr uint32_t FINAL_WARPS = 8;
constexpr float EPS = 1e-12f;

// <a / |a|, b / |b|>
template <typename WarpRow>
__device__ __forceinline__ float warp_cosine(const WarpRow& a, const WarpRow& b, float a_scale, float b_scale)
{
    float sum = 0.0f;
    a.each_with(b, [&](uint32_t, const auto& a, const auto& b) {
#pragma unroll
        for (uint32_t i = 0; i < WarpRow::WIDTH; ++i) {
            sum = fmaf(a[i] * a_scale, b[i] * b_scale, sum);
        }
    });
    return warp_sum(sum);
}

template <typename T, uint32_t WIDTH>
__device__ __forceinline__ float forward_row(uint32_t d, const T* __restrict__ p, const T* __restrict__ z)
{
    const Row<T, WIDTH, 32, HELD> a(p, d, threadIdx.x % 32), b(z, d, threadIdx.x % 32);
    return warp_cosine(a, b, 1.0f / at_least(warp_length(a), EPS), 1.0f / at_least(warp_length(b), EPS));
}

template <typename T>
__device__ __forceinline__ void forward(uint32_t n, uint32_t d, const T* __restrict__ p, const T* __restrict__ z,
                                        float* __restrict__ cosine)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n) {
        return;
    }
    const size_t first = size_t(row) * d;
    const float cos = d % PACK<T> == 0 ? forward_row<T, PACK<T>>(d, p + first, z + first)
                                       : forward_row<T, 1>(d, p + first, z + first);
    if (threadIdx.x % 32 == 0) {
        cosine[row] = cos;
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
cosine_loss_fwd_f32(uint32_t n, uint32_t d, const float* __restrict__ p, const float* __restrict__ z,
                    float* __restrict__ cosine)
{
    forward(n, d, p, z, cosine);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
cosine_loss_fwd_bf16(uint32_t n, uint32_t d, const bf16* __restrict__ p, const bf16* __restrict__ z,
                     float* __restrict__ cosine)
{
    forward(n, d, p, z, cosine);
}

extern "C" __global__ void __launch_bounds__(FINAL_WARPS * 32)
cosine_loss_fwd_f32__finalize(uint32_t n, const float* __restrict__ cosine, float* __restrict__ loss)
{
    __shared__ float shared[FINAL_WARPS];
    const float sum = sum_of_block<FINAL_WARPS>(n, shared, [&](uint32_t i) { return cosine[i]; });
    if (threadIdx.x == 0) {
        loss[0] = -sum / float(n);
    }
}

template <typename T, uint32_t WIDTH>
__device__ __forceinline__ void backward_row(uint32_t d, bool accumulate, float upstream, const T* __restrict__ a_row,
                                             const T* __restrict__ b_row, T* __restrict__ da)
{
    using WarpRow = Row<T, WIDTH, 32, HELD>;
    const WarpRow a(a_row, d, threadIdx.x % 32), b(b_row, d, threadIdx.x % 32);
    const float length = warp_length(a), a_scale = 1.0f / at_least(length, EPS);
    const float b_scale = 1.0f / at_least(warp_length(b), EPS);
    const float cos = warp_cosine(a, b, a_scale, b_scale);
    const float along = length <= EPS ? 0.0f : cos, scale = upstream * a_scale;
    a.each_with(b, [&](uint32_t at, auto& a, const auto& b) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            a[i] = scale * (b[i] * b_scale - along * (a[i] * a_scale));
        }
        write_wide(da + at, a, accumulate);
    });
}

template <typename T>
__device__ __forceinline__ void backward(uint32_t n, uint32_t d, bool accumulate, const float* __restrict__ d_loss,
                                         const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ da)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n) {
        return;
    }
    const size_t first = size_t(row) * d;
    const float upstream = -d_loss[0] / float(n);
    if (d % PACK<T> == 0) {
        backward_row<T, PACK<T>>(d, accumulate, upstream, a + first, b + first, da + first);
    } else {
        backward_row<T, 1>(d, accumulate, upstream, a + first, b + first, da + first);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
cosine_loss_bwd_f32(uint32_t n, uint32_t d, uint32_t accumulate, const float* __restrict__ d_loss,
                    const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ da)
{
    backward(n, d, accumulate != 0, d_loss, a, b, da);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
cosine_loss_bwd_bf16(uint32_t n, uint32_t d, uint32_t accumulate, const float* __restrict__ d_loss,
                     const bf16* __restrict__ a, const bf16* __restrict__ b, bf16* __restrict__ da)
{
    backward(n, d, accumulate != 0, d_loss, a, b, da);
}
