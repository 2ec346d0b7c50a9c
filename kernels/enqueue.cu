// queue[(at + n) % K] = rows[n], at = (step - 1) N % K: a ring that the batches go round, MoCo's dictionary. Where N > K
// only the last K rows, for which those before would make way.
//
// Memory    schedule[2] f32 read: learning rate, step number from 1. rows[N,D] in the entry's type, row-major, read;
//           queue[K,D] f32, rows overwritten. 4 elements an access if D is a multiple of 4, else one.
// Work      A warp owns a row. Block 128, grid ceil(N / 4).
// Shape     Any K, N, D >= 1.
// Cost      No FLOPs; 8 N D bytes, in bf16 6: memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   Copies, exact from bf16 too. The step is exact up to 2^24; below 1 nothing is written.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "element.cuh"

constexpr uint32_t WARPS = 4;

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void copy_row(uint32_t d, const T* __restrict__ from, float* __restrict__ to)
{
    for (uint32_t at = threadIdx.x % 32 * WIDTH; at < d; at += 32 * WIDTH) {
        float x[WIDTH];
        load_wide(x, from + at);
        store_wide(to + at, x);
    }
}

template <typename T>
__device__ __forceinline__ void enqueue(uint32_t n, uint32_t k, uint32_t d, const float* __restrict__ schedule,
                                        const T* __restrict__ rows, float* __restrict__ queue)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    const float step = schedule[1];
    if (row >= n || n - row > k || !(step >= 1.0f)) {
        return;
    }
    const uint64_t before = uint64_t(step) - 1;
    const size_t place = (before * n + row) % k;
    const T* from = rows + size_t(row) * d;
    float* to = queue + place * d;
    d % 4 == 0 ? copy_row<4>(d, from, to) : copy_row<1>(d, from, to);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
enqueue_f32(uint32_t n, uint32_t k, uint32_t d, const float* __restrict__ schedule, const float* __restrict__ rows,
            float* __restrict__ queue)
{
    enqueue(n, k, d, schedule, rows, queue);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
enqueue_bf16(uint32_t n, uint32_t k, uint32_t d, const float* __restrict__ schedule, const bf16* __restrict__ rows,
             float* __restrict__ queue)
{
    enqueue(n, k, d, schedule, rows, queue);
}
