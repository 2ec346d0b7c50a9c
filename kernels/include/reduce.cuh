// Sums and maxima over a warp or a block, in an order that the shape of the block fixes: same values, same bits.
#pragma once

#include <cstdint>

constexpr uint32_t ALL_LANES = 0xffffffffu;

// Every lane gets the sum.
__device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (uint32_t s = 16; s > 0; s /= 2) {
        x += __shfl_xor_sync(ALL_LANES, x, s);
    }
    return x;
}

// Every lane gets the maximum; NaN if any is.
__device__ __forceinline__ float warp_max(float x)
{
#pragma unroll
    for (uint32_t s = 16; s > 0; s /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, x, s);
        x = other > x || other != other ? other : x;
    }
    return x;
}

// Every thread gets the sum over the block's WARPS * 32 threads, all of which must call. `shared` is WARPS floats that
// nobody reads or writes meanwhile; a call may follow a call with the same.
template <uint32_t WARPS>
__device__ __forceinline__ float block_sum(float x, float* shared)
{
    static_assert(WARPS <= 32, "one warp folds the warps' sums");
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = x;
    }
    __syncthreads();
    x = threadIdx.x % 32 < WARPS ? shared[threadIdx.x % 32] : 0.0f;
    __syncthreads();
    return warp_sum(x);
}
