// fwd: y[i] = a[i] + b[i].  bwd: dx[i] (+)= dy[i], once for each of the two inputs.
//
// Memory    n elements of the entry's type each, 16-byte aligned. fwd: a and b read, y overwritten; a and b may be the
//           same tensor. bwd: dy read, dx overwritten, or added to if `accumulate`. Else tensors do not overlap.
// Work      256 threads, grid min(ceil(n / (256 P)), 65535), P = 16 bytes of elements; a thread owns 16 bytes of each
//           tensor at a time, then those a grid further on.
// Shape     Any n.
// Cost      3 n elements moved, bwd overwriting 2 n; one addition each: memory bandwidth is the limit. Share of it: not
//           yet measured.
// Numbers   Added in f32 and rounded once: f32 is exact to half an ulp, bf16 to half a bf16 ulp. A copy is exact.
// Lost      Nothing tried yet. A gradient that flows on unchanged need not be copied if whoever reads it knows where it
//           lies; the graph copies it since the next writer may add to it.

#include "elementwise.cuh"

template <typename T>
__device__ __forceinline__ void fwd(uint64_t n, const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y)
{
    elementwise<PACK<T>>(
        n,
        [&](uint64_t at) {
            float left[PACK<T>], right[PACK<T>];
            load_pack(left, a + at);
            load_pack(right, b + at);
#pragma unroll
            for (uint32_t i = 0; i < PACK<T>; ++i) {
                left[i] += right[i];
            }
            store_pack(y + at, left);
        },
        [&](uint64_t at) { y[at] = from_float<T>(to_float(a[at]) + to_float(b[at])); });
}

template <typename T>
__device__ __forceinline__ void bwd(uint64_t n, bool accumulate, const T* __restrict__ dy, T* __restrict__ dx)
{
    elementwise<PACK<T>>(
        n,
        [&](uint64_t at) {
            float g[PACK<T>], before[PACK<T>] = {};
            load_pack(g, dy + at);
            if (accumulate) {
                load_pack(before, dx + at);
            }
#pragma unroll
            for (uint32_t i = 0; i < PACK<T>; ++i) {
                g[i] = accumulate ? before[i] + g[i] : g[i];
            }
            store_pack(dx + at, g);
        },
        [&](uint64_t at) { write(dx + at, to_float(dy[at]), accumulate); });
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
add_fwd_f32(uint64_t n, const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y)
{
    fwd(n, a, b, y);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
add_fwd_bf16(uint64_t n, const bf16* __restrict__ a, const bf16* __restrict__ b, bf16* __restrict__ y)
{
    fwd(n, a, b, y);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
add_bwd_f32(uint64_t n, uint32_t accumulate, const float* __restrict__ dy, float* __restrict__ dx)
{
    bwd(n, accumulate, dy, dx);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
add_bwd_bf16(uint64_t n, uint32_t accumulate, const bf16* __restrict__ dy, bf16* __restrict__ dx)
{
    bwd(n, accumulate, dy, dx);
}
