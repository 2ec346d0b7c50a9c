// partial[b] = sum of x[i] over the elements of block b; the partial sums add up to the sum of x.
//
// Memory    x[n] read, partial[gridDim.x] overwritten; f32, 4-byte aligned.
// Work      A thread first sums every (gridDim * 256)th element in a register; then the block's 256 sums are folded to
//           one, and that fold is where the entries differ:
//             __interleaved  neighbours at distance s = 1, 2, 4, ...; thread t works at 2 s t. The threads that work
//                            are packed into few warps, but lie 2s words apart: bank conflicts of 2, 4, then 8 lanes.
//             __sequential   the upper half onto the lower, s = 128, 64, ...; thread t works at t: no conflicts.
//             __shuffle      warps fold in registers; only one sum a warp goes through shared memory.
// Shape     Any n, 0 included. Block (256, 1, 1), checked by the host.
// Cost      n + 255 gridDim additions, 4 (n + gridDim) bytes: memory bandwidth is the limit once a thread has enough
//           elements, and the fold shows only when it has few. Share of the limit: not yet measured.
// Numbers   f32, in an order fixed by the grid: same grid, same bits. Error of a partial sum at most about
//           (n / (256 gridDim) + 8) half ulp of the sum of its magnitudes.
// Lost      These entries are a ladder to study: each is what the next one improves on.

#include <cstdint>

constexpr uint32_t BLOCK = 256;
constexpr uint32_t WARP = 32;
static_assert(BLOCK % WARP == 0 && (BLOCK & (BLOCK - 1)) == 0, "the folds halve whole warps");

// The elements that belong to this thread.
__device__ __forceinline__ float sum_of_thread(uint32_t n, const float* __restrict__ x)
{
    const uint64_t stride = uint64_t(gridDim.x) * BLOCK;
    float sum = 0.0f;
    for (uint64_t i = uint64_t(blockIdx.x) * BLOCK + threadIdx.x; i < n; i += stride) {
        sum += x[i];
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(BLOCK)
reduce_sum_f32__interleaved(uint32_t n, const float* __restrict__ x, float* __restrict__ partial)
{
    __shared__ float sums[BLOCK];
    const uint32_t t = threadIdx.x;
    sums[t] = sum_of_thread(n, x);
    __syncthreads();
    for (uint32_t s = 1; s < BLOCK; s *= 2) {
        const uint32_t at = 2 * s * t;
        if (at < BLOCK) {
            sums[at] += sums[at + s];
        }
        __syncthreads();
    }
    if (t == 0) {
        partial[blockIdx.x] = sums[0];
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
reduce_sum_f32__sequential(uint32_t n, const float* __restrict__ x, float* __restrict__ partial)
{
    __shared__ float sums[BLOCK];
    const uint32_t t = threadIdx.x;
    sums[t] = sum_of_thread(n, x);
    __syncthreads();
    for (uint32_t s = BLOCK / 2; s > 0; s /= 2) {
        if (t < s) {
            sums[t] += sums[t + s];
        }
        __syncthreads();
    }
    if (t == 0) {
        partial[blockIdx.x] = sums[0];
    }
}

__device__ __forceinline__ float sum_of_warp(float value)
{
    for (uint32_t s = WARP / 2; s > 0; s /= 2) {
        value += __shfl_down_sync(0xffffffffu, value, s);
    }
    return value;  // the whole sum in lane 0 only
}

extern "C" __global__ void __launch_bounds__(BLOCK)
reduce_sum_f32__shuffle(uint32_t n, const float* __restrict__ x, float* __restrict__ partial)
{
    __shared__ float sums[BLOCK / WARP];
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const float sum = sum_of_warp(sum_of_thread(n, x));
    if (lane == 0) {
        sums[warp] = sum;
    }
    __syncthreads();
    // The first warp folds the warps' sums; it does so whole, because the shuffle names all 32 lanes.
    if (warp == 0) {
        const float total = sum_of_warp(lane < BLOCK / WARP ? sums[lane] : 0.0f);
        if (lane == 0) {
            partial[blockIdx.x] = total;
        }
    }
}
