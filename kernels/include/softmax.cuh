// What softmax over a row needs, in one walk over it: the maximum, and the sum of exponentials below it.
#pragma once

#include <cfloat>

#include "columns.cuh"
#include "reduce.cuh"

// Maximum and sum of exp(z - max) of the z that were added. One exponential a value: it rescales the sum when the
// maximum moves, else it is the value's own. NaN stays in the sum. -inf adds 0: `max` begins finite.
struct SumExp {
    float max = -FLT_MAX, sum = 0.0f;

    __device__ __forceinline__ void add(float z)
    {
        const float above = z - max, e = expf(-fabsf(above));
        sum = above > 0.0f ? fmaf(sum, e, 1.0f) : sum + e;
        max = fmaxf(max, z);
    }

    __device__ __forceinline__ void add(const SumExp& other)
    {
        const float top = fmaxf(max, other.max);
        sum = sum * expf(max - top) + other.sum * expf(other.max - top);
        max = top;
    }

    __device__ __forceinline__ float log() const { return max + logf(sum); }
};

// Every thread of a block of WARPS warps gets what all have added. `shared` is WARPS floats, as for block_sum.
template <uint32_t WARPS>
__device__ __forceinline__ SumExp of_block(const SumExp& own, float* shared)
{
    SumExp all;
    const float top = warp_max(own.max);  // of finite numbers and +inf: NaN is in the sums
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = top;
    }
    __syncthreads();
    all.max = warp_max(shared[threadIdx.x % WARPS]);
    __syncthreads();
    all.sum = block_sum<WARPS>(own.sum * expf(own.max - all.max), shared);
    return all;
}

constexpr uint32_t LOGIT_WARPS = 8;
constexpr uint32_t LOGIT_THREADS = LOGIT_WARPS * 32;
// Values side by side that a thread takes where rows are multiples of so many: 16 bytes of f32. Of bf16 8, since 16
// would be 32 of the f32 beside them, and each access of a warp to those would use half of the sectors it touches.
constexpr uint32_t LOGIT_WIDTH = 4;

// A row of k values that a block walks, WIDTH at a time; k is a multiple of WIDTH. read(x, at) gives the WIDTH from
// `at`. The row's first 4096 values, 16 a thread, are read once and kept in registers; what is beyond is read again on
// each walk.
template <uint32_t WIDTH, typename Read>
struct HeldRow {
    static constexpr uint32_t UNITS = 16 / WIDTH;

    uint32_t k;
    Read read;
    float held[UNITS][WIDTH];

    __device__ __forceinline__ HeldRow(uint32_t k, Read read) : k(k), read(read)
    {
#pragma unroll
        for (uint32_t u = 0; u < UNITS; ++u) {
            if (at(u) < k) {
                read(held[u], at(u));
            }
        }
    }

    static __device__ __forceinline__ uint32_t at(uint32_t u) { return (u * LOGIT_THREADS + threadIdx.x) * WIDTH; }

    // visit(at, x) for all WIDTHs that are this thread's.
    template <typename Visit>
    __device__ __forceinline__ void each(Visit visit) const
    {
#pragma unroll
        for (uint32_t u = 0; u < UNITS; ++u) {
            if (at(u) < k) {
                visit(at(u), held[u]);
            }
        }
        float x[WIDTH];
        for (uint32_t u = UNITS; at(u) < k; ++u) {
            read(x, at(u));
            visit(at(u), x);
        }
    }

    // visit(at, x, y): the same of two rows of one length.
    template <typename Other, typename Visit>
    __device__ __forceinline__ void each_with(const Other& other, Visit visit) const
    {
#pragma unroll
        for (uint32_t u = 0; u < UNITS; ++u) {
            if (at(u) < k) {
                visit(at(u), held[u], other.held[u]);
            }
        }
        float x[WIDTH], y[WIDTH];
        for (uint32_t u = UNITS; at(u) < k; ++u) {
            read(x, at(u));
            other.read(y, at(u));
            visit(at(u), x, y);
        }
    }

    // Maximum and sum of exponentials of the row; every thread gets them.
    __device__ __forceinline__ SumExp sum_exp(float* shared) const
    {
        SumExp own;
        each([&](uint32_t, const float (&x)[WIDTH]) {
            for (const float z : x) {
                own.add(z);
            }
        });
        return of_block<LOGIT_WARPS>(own, shared);
    }
};

template <uint32_t WIDTH, typename Read>
__device__ __forceinline__ HeldRow<WIDTH, Read> held_row(uint32_t k, Read read)
{
    return {k, read};
}

// The row scale * (x - bias), bias null for 0.
template <uint32_t WIDTH, typename T>
__device__ __forceinline__ auto logits_row(uint32_t k, float scale, const T* __restrict__ x,
                                           const float* __restrict__ bias = nullptr)
{
    return held_row<WIDTH>(k, [=](float (&z)[WIDTH], uint32_t at) {
        float b[WIDTH] = {};
        load_wide(z, x + at);
        if (bias != nullptr) {
            load_floats<WIDTH>(b, bias + at);
        }
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            z[i] = scale * (z[i] - b[i]);
        }
    });
}

template <uint32_t WIDTH>
__device__ __forceinline__ auto floats_row(uint32_t k, const float* __restrict__ x)
{
    return held_row<WIDTH>(k, [=](float (&z)[WIDTH], uint32_t at) { load_floats<WIDTH>(z, x + at); });
}
