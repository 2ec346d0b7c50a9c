// Rows of a matrix that a warp or a block takes in whole: kept in registers while read, their lengths, their means.
#pragma once

#include <cmath>
#include <cstdint>

#include "element.cuh"
#include "reduce.cuh"

// A row of d elements, read by THREADS threads of which this is number t, WIDTH elements at a time; d is a multiple of
// WIDTH. Each thread reads its first HELD times once and keeps them in registers (4 HELD times if WIDTH is 1); what is
// beyond, it reads again on each walk.
template <typename T, uint32_t WIDTH_, uint32_t THREADS, uint32_t HELD>
struct Row {
    static constexpr uint32_t WIDTH = WIDTH_;
    static constexpr uint32_t UNITS = WIDTH == 1 ? HELD * 4 : HELD;

    const T* from;
    uint32_t d, t;
    Wide<T, WIDTH> held[UNITS];

    __device__ __forceinline__ Row(const T* row, uint32_t d, uint32_t t) : from(row), d(d), t(t)
    {
#pragma unroll
        for (uint32_t u = 0; u < UNITS; ++u) {
            const uint32_t at = (u * THREADS + t) * WIDTH;
            if (at < d) {
                held[u] = *reinterpret_cast<const Wide<T, WIDTH>*>(from + at);
            }
        }
    }

    // visit(at, x): the WIDTH elements from `at`, for all that are this thread's.
    template <typename Visit>
    __device__ __forceinline__ void each(Visit visit) const
    {
        each_held([&](uint32_t, uint32_t at, auto& x) { visit(at, x); });
        each_beyond(visit);
    }

    // visit(u, at, x): of what is in registers; u counts the visits, and is a constant of the unrolled loop.
    template <typename Visit>
    __device__ __forceinline__ void each_held(Visit visit) const
    {
        float x[WIDTH];
#pragma unroll
        for (uint32_t u = 0; u < UNITS; ++u) {
            const uint32_t at = (u * THREADS + t) * WIDTH;
            if (at < d) {
#pragma unroll
                for (uint32_t i = 0; i < WIDTH; ++i) {
                    x[i] = to_float(held[u].element[i]);
                }
                visit(u, at, x);
            }
        }
    }

    // visit(at, x): of what is not.
    template <typename Visit>
    __device__ __forceinline__ void each_beyond(Visit visit) const
    {
        float x[WIDTH];
        for (uint32_t at = (UNITS * THREADS + t) * WIDTH; at < d; at += THREADS * WIDTH) {
            load_wide(x, from + at);
            visit(at, x);
        }
    }

    // visit(at, x, y): the same of two rows of one shape.
    template <typename Visit>
    __device__ __forceinline__ void each_with(const Row& other, Visit visit) const
    {
        float x[WIDTH], y[WIDTH];
#pragma unroll
        for (uint32_t u = 0; u < UNITS; ++u) {
            const uint32_t at = (u * THREADS + t) * WIDTH;
            if (at < d) {
#pragma unroll
                for (uint32_t i = 0; i < WIDTH; ++i) {
                    x[i] = to_float(held[u].element[i]);
                    y[i] = to_float(other.held[u].element[i]);
                }
                visit(at, x, y);
            }
        }
        for (uint32_t at = (UNITS * THREADS + t) * WIDTH; at < d; at += THREADS * WIDTH) {
            load_wide(x, from + at);
            load_wide(y, other.from + at);
            visit(at, x, y);
        }
    }
};

// Sum of squares whose elements' squares may leave f32's range: three sums, of x, of x 2^-80 and of x 2^64, and the one
// that neither overflowed nor lost its small terms counts.
struct SquareSum {
    float middle = 0.0f, large = 0.0f, small = 0.0f;

    __device__ __forceinline__ void add(float x)
    {
        const float down = x * 0x1p-80f, up = x * 0x1p64f;
        middle = fmaf(x, x, middle);
        large = fmaf(down, down, large);
        small = fmaf(up, up, small);
    }

    // The length of the row that a warp's lanes added up; NaN if an element is. Every lane gets it.
    __device__ __forceinline__ float warp_length() const
    {
        const float m = warp_sum(middle), l = warp_sum(large), s = warp_sum(small);
        if (m > 0x1.fffffep127f) {
            return sqrtf(l) * 0x1p80f;
        }
        return m < 0x1p-90f ? sqrtf(s) * 0x1p-64f : sqrtf(m);
    }
};

// The length of a row that a warp holds.
template <typename WarpRow>
__device__ __forceinline__ float warp_length(const WarpRow& row)
{
    SquareSum sum;
    row.each([&](uint32_t, const auto& x) {
#pragma unroll
        for (uint32_t i = 0; i < WarpRow::WIDTH; ++i) {
            sum.add(x[i]);
        }
    });
    return sum.warp_length();
}

// `length`, or eps where shorter; NaN stays NaN.
__device__ __forceinline__ float at_least(float length, float eps) { return length < eps ? eps : length; }

// The sum of value(i), i < n, by one block of WARPS warps: a thread sums every (4 * 32 WARPS)th into one of four sums.
template <uint32_t WARPS, typename Value>
__device__ __forceinline__ float sum_of_block(uint32_t n, float* shared, Value value)
{
    float sums[4] = {};
    for (uint32_t first = threadIdx.x; first < n; first += 4 * 32 * WARPS) {
#pragma unroll
        for (uint32_t k = 0; k < 4; ++k) {
            const uint32_t i = first + k * 32 * WARPS;
            sums[k] += i < n ? value(i) : 0.0f;
        }
    }
    return block_sum<WARPS>((sums[0] + sums[1]) + (sums[2] + sums[3]), shared);
}
