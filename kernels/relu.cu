// fwd: y[i] = max(x[i], 0).  bwd: dx[i] (+)= dy[i] where y[i] > 0, else 0.
//
// Memory    n elements of the entry's type each, 16-byte aligned. fwd: x read, y overwritten. bwd: dy and y read, dx
//           overwritten, or added to if `accumulate`. Tensors do not overlap.
// Work      256 threads, grid min(ceil(n / (256 P)), 65535), P = 16 bytes of elements; a thread owns 16 bytes of each
//           tensor at a time, then those a grid further on.
// Shape     Any n.
// Cost      fwd 2 n, bwd 3 n (accumulating: 4 n) elements moved, one comparison each: memory bandwidth is the limit.
//           Share of it: not yet measured.
// Numbers   Exact, NaN stays NaN (max.f32 would make it 0); accumulating rounds once. The derivative at 0 is 0, and at
//           a NaN too.
// Lost      Nothing tried yet.

#include "elementwise.cuh"

template <typename T>
__device__ __forceinline__ void fwd(uint64_t n, const T* __restrict__ x, T* __restrict__ y)
{
    elementwise<PACK<T>>(
        n,
        [&](uint64_t at) {
            float v[PACK<T>];
            load_pack(v, x + at);
#pragma unroll
            for (uint32_t i = 0; i < PACK<T>; ++i) {
                v[i] = rectified(v[i]);
            }
            store_pack(y + at, v);
        },
        [&](uint64_t at) { y[at] = from_float<T>(rectified(to_float(x[at]))); });
}

template <typename T>
__device__ __forceinline__ void bwd(uint64_t n, bool accumulate, const T* __restrict__ dy, const T* __restrict__ y,
                                    T* __restrict__ dx)
{
    elementwise<PACK<T>>(
        n,
        [&](uint64_t at) {
            float g[PACK<T>], out[PACK<T>], before[PACK<T>] = {};
            load_pack(g, dy + at);
            load_pack(out, y + at);
            if (accumulate) {
                load_pack(before, dx + at);
            }
#pragma unroll
            for (uint32_t i = 0; i < PACK<T>; ++i) {
                g[i] = out[i] > 0.0f ? g[i] : 0.0f;
                g[i] = accumulate ? before[i] + g[i] : g[i];
            }
            store_pack(dx + at, g);
        },
        [&](uint64_t at) { write(dx + at, to_float(y[at]) > 0.0f ? to_float(dy[at]) : 0.0f, accumulate); });
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
relu_fwd_f32(uint64_t n, const float* __restrict__ x, float* __restrict__ y)
{
    fwd(n, x, y);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
relu_fwd_bf16(uint64_t n, const bf16* __restrict__ x, bf16* __restrict__ y)
{
    fwd(n, x, y);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
relu_bwd_f32(uint64_t n, uint32_t accumulate, const float* __restrict__ dy, const float* __restrict__ y,
             float* __restrict__ dx)
{
    bwd(n, accumulate, dy, y, dx);
}

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
relu_bwd_bf16(uint64_t n, uint32_t accumulate, const bf16* __restrict__ dy, const bf16* __restrict__ y,
              bf16* __restrict__ dx)
{
    bwd(n, accumulate, dy, y, dx);
}
