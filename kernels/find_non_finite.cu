// found[0] = found[0] | 1 if any x[i] is NaN or infinite
//
// Memory    x[n] read, f32 or bf16, 16-byte aligned; found[1] u32, or-ed to, 4-byte aligned: the host clears it before
//           the first of the launches that share it, with fill_u32 say.
// Work      A thread takes every (gridDim * 256)th group of 16 bytes; the few elements behind the last whole group fall
//           to the grid's first threads. A warp that found something says so with one atomic or; while all is finite
//           nothing is written. Block (256, 1, 1), any grid; min(ceil(bytes / 4096), 8 blocks a multiprocessor) is
//           enough, and at least 1.
// Shape     Any n, 0 included.
// Cost      No FLOPs, 4n or 2n bytes: memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   Exact: an exponent of all ones, whatever the sign and the fraction. An or is the same in any order.
// Lost      Nothing tried yet.

#include "element.cuh"
#include "reduce.cuh"

constexpr uint32_t BLOCK = 256;

// Of one f32, or of either half of a word of two bf16.
template <typename T>
__device__ __forceinline__ bool non_finite(uint32_t word)
{
    constexpr uint32_t high = 0x7f800000u, low = 0x00007f80u;
    const bool in_low = sizeof(T) == 2 && (word & low) == low;
    return in_low || (word & high) == high;
}

template <typename T>
__device__ __forceinline__ void find_non_finite(uint64_t n, const T* __restrict__ x, uint32_t* __restrict__ found)
{
    const uint64_t stride = uint64_t(gridDim.x) * BLOCK;
    const uint64_t thread = uint64_t(blockIdx.x) * BLOCK + threadIdx.x;
    const uint64_t packs = n / PACK<T>;
    const uint4* words = reinterpret_cast<const uint4*>(x);
    bool any = false;
#pragma unroll 4
    for (uint64_t i = thread; i < packs; i += stride) {
        const uint4 w = words[i];
        any |= non_finite<T>(w.x) | non_finite<T>(w.y) | non_finite<T>(w.z) | non_finite<T>(w.w);
    }
    const uint64_t rest = packs * PACK<T> + thread;
    if (rest < n) {
        any |= non_finite<float>(__float_as_uint(to_float(x[rest])));
    }
    if (__any_sync(ALL_LANES, any) && threadIdx.x % 32 == 0) {
        atomicOr(found, 1u);
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
find_non_finite_f32(uint64_t n, const float* __restrict__ x, uint32_t* __restrict__ found)
{
    find_non_finite(n, x, found);
}

extern "C" __global__ void __launch_bounds__(BLOCK)
find_non_finite_bf16(uint64_t n, const bf16* __restrict__ x, uint32_t* __restrict__ found)
{
    find_non_finite(n, x, found);
}
