// Elementwise kernels: a thread takes 16 bytes of each tensor at a time, and threads next to each other the next 16.
#pragma once

#include "element.cuh"

constexpr uint32_t ELEMENTWISE_THREADS = 256;

// Calls pack(at) for every whole W elements of n, at their first, then one(at) for each of the few left over. Any grid
// covers any n; ceil(n / (256 W)) blocks give each thread one pack.
template <uint32_t W, typename OfPack, typename OfOne>
__device__ __forceinline__ void elementwise(uint64_t n, OfPack pack, OfOne one)
{
    const uint64_t stride = uint64_t(gridDim.x) * ELEMENTWISE_THREADS;
    const uint64_t thread = uint64_t(blockIdx.x) * ELEMENTWISE_THREADS + threadIdx.x;
    for (uint64_t i = thread; i < n / W; i += stride) {
        pack(i * W);
    }
    // Fewer than W are left: the first threads' business.
    if (n / W * W + thread < n) {
        one(n / W * W + thread);
    }
}
