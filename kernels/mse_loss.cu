// loss = (1/n) sum over i of (a[i] - b[i])^2. Backward for either input, a, with the other, b:
// da[i] = d_loss 2 (a[i] - b[i]) / n.
//
// Memory    a[n], b[n] in the entry's type, read, 16 bytes at a time. part[parts] f32, workspace: a block of fwd
//           overwrites one, finalize reads all. loss[1] f32 overwritten, d_loss[1] f32 read. da[n] in the entry's type
//           overwritten, or added to if `accumulate`.
// Work      256 threads each. fwd: grid parts = ceil(n / 16384), at most 1024; finalize: grid 1; bwd: grid
//           min(ceil(n / (256 P)), 65535), P = 16 bytes of elements.
// Shape     Any n >= 1.
// Cost      3 n FLOPs; bytes fwd a + b, bwd a + b + da (+ da): memory bandwidth is the limit. Share of it: not yet
//           measured.
// Numbers   f32, a thread's terms in order, then a tree, then the blocks' sums: error at most about n / (256 parts) + 20
//           half ulp. bf16 adds its rounding of da.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "elementwise.cuh"
#include "rows.cuh"

constexpr uint32_t WARPS = ELEMENTWISE_THREADS / 32;

template <typename T>
__device__ __forceinline__ void fwd(uint64_t n, const T* __restrict__ a, const T* __restrict__ b,
                                    float* __restrict__ part)
{
    __shared__ float shared[WARPS];
    float sum = 0.0f;
    elementwise<PACK<T>>(
        n,
        [&](uint64_t at) {
            float left[PACK<T>], right[PACK<T>];
            load_pack(left, a + at);
            load_pack(right, b + at);
#pragma unroll
            for (uint32_t i = 0; i < PACK<T>; ++i) {
                const float off = left[i] - right[i];
                sum = fmaf(off, off, sum);
            }
        },
        [&](uint64_t at) {
            const float off = to_float(a[at]) - to_float(b[at]);
            sum = fmaf(off, off, sum);
        });
    sum = block_sum<WARPS>(sum, shared);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = sum;
    }
}

template <typename T>
__device__ __forceinline__ void bwd(uint64_t n, bool accumulate, const float* __restrict__ d_loss,
                                    const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ da)
{
    const float scale = 2.0f * d_loss[0] / float(n);
    elementwise<PACK<T>>(
        n,
        [&](uint64_t at) {
            float left[PACK<T>], right[PACK<T>];
            load_pack(left, a + at);
            load_pack(right, b + at);
#pragma unroll
            for (uint32_t i = 0; i < PACK<T>; ++i) {
                left[i] = scale * (left[i] - right[i]);
            }
            write_wide(da + at, left, accumulate);
        },
        [&](uint64_t at) { write(da + at, scale * (to_float(a[at]) - to_float(b[at])), accumulate); });
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
mse_loss_fwd_f32(uint64_t n, const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ part)
{
    fwd(n, a, b, part);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
mse_loss_fwd_bf16(uint64_t n, const bf16* __restrict__ a, const bf16* __restrict__ b, float* __restrict__ part)
{
    fwd(n, a, b, part);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
mse_loss_fwd_f32__finalize(uint64_t n, uint32_t parts, const float* __restrict__ part, float* __restrict__ loss)
{
    __shared__ float shared[WARPS];
    const float sum = sum_of_block<WARPS>(parts, shared, [&](uint32_t i) { return part[i]; });
    if (threadIdx.x == 0) {
        loss[0] = sum / float(n);
    }
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
mse_loss_bwd_f32(uint64_t n, uint32_t accumulate, const float* __restrict__ d_loss, const float* __restrict__ a,
                 const float* __restrict__ b, float* __restrict__ da)
{
    bwd(n, accumulate != 0, d_loss, a, b, da);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
mse_loss_bwd_bf16(uint64_t n, uint32_t accumulate, const float* __restrict__ d_loss, const bf16* __restrict__ a,
                  const bf16* __restrict__ b, bf16* __restrict__ da)
{
    bwd(n, accumulate != 0, d_loss, a, b, da);
}
