// Tiles of products of rows, <a[i], b[j]>, made, folded and gone: for losses and searches over all pairs of two sets.
// A block owns 64 rows i (blockIdx.x) and a run of the tiles of 64 columns j (blockIdx.y).
#pragma once

#include <cmath>
#include <cstdint>

#include "element.cuh"
#include "reduce.cuh"

constexpr float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;
constexpr uint32_t TILE = 64, CHUNK = 128;

// log sum exp of what was added so far, to the base of 2: the arguments are logarithms to that base.
struct LogSum {
    float max = -INFINITY, sum = 0.0f;  // sum of 2^(x - max)

    template <uint32_t COUNT>
    __device__ __forceinline__ void add(const float (&x)[COUNT])
    {
        float top = max;
#pragma unroll
        for (uint32_t i = 0; i < COUNT; ++i) {
            top = fmaxf(top, x[i]);  // drops NaN, which the sum then brings back
        }
        const float base = top == -INFINITY ? 0.0f : top;
        float own = 0.0f;
#pragma unroll
        for (uint32_t i = 0; i < COUNT; ++i) {
            own += exp2f(x[i] - base);
        }
        sum = fmaf(sum, exp2f(max - base), own);
        max = top;
    }

    __device__ __forceinline__ void merge(float other_max, float other_sum)
    {
        const float top = fmaxf(max, other_max), base = top == -INFINITY ? 0.0f : top;
        sum = sum * exp2f(max - base) + other_sum * exp2f(other_max - base);
        max = top;
    }

    // Over groups of LANES neighbours; every lane gets the whole.
    template <uint32_t LANES>
    __device__ __forceinline__ void merge_lanes()
    {
#pragma unroll
        for (uint32_t s = 1; s < LANES; s *= 2) {
            const float other_max = __shfl_xor_sync(ALL_LANES, max, s), other_sum = __shfl_xor_sync(ALL_LANES, sum, s);
            merge(other_max, other_sum);
        }
    }

    __device__ __forceinline__ float natural() const { return (max + log2f(sum)) * LN_2; }
};

struct Run {
    uint32_t first, end;  // tiles
};

// The columns of tiles that block y of gridDim.y owns; none, if the others took all.
__device__ __forceinline__ Run columns_of_block(uint32_t columns)
{
    const uint32_t tiles = (columns + TILE - 1) / TILE, each = (tiles + gridDim.y - 1) / gridDim.y;
    return {min(blockIdx.y * each, tiles), min((blockIdx.y + 1) * each, tiles)};
}

// ---- a warp a row ---------------------------------------------------------------------------------------------------

template <typename T>
__device__ __forceinline__ float warp_dot(uint32_t d, const T* __restrict__ a, const T* __restrict__ b)
{
    float sum = 0.0f;
    for (uint32_t k = threadIdx.x % 32; k < d; k += 32) {
        sum = fmaf(to_float(a[k]), to_float(b[k]), sum);
    }
    return warp_sum(sum);
}

// ---- tiled: CUDA cores ----------------------------------------------------------------------------------------------

constexpr uint32_t SLICE = 32;  // columns of rows, or rows in the second product, in shared memory at a time
constexpr uint32_t TILED = 256;
static_assert(TILED * 16 == TILE * TILE, "a thread owns 4x4 of s");
static_assert(TILED * 32 == TILE * CHUNK, "and 4x8 of d_unit");

struct Tiled {
    union {
        struct {
            float a[SLICE * TILE], b[SLICE * TILE];  // [k][row]
        };
        float u[SLICE * CHUNK];  // [j][column of u]
    };
    float w[TILE * TILE];  // [j][i]
};
static_assert(sizeof(Tiled) <= 48 * 1024, "static shared memory");

// Where element (k, row) of a k-major slice, 64 rows wide, lies. Groups of 4 rows trade places, so that both the
// 16-byte reads along rows and the stores of threads that hold 4 neighbours in k fall on different banks.
__device__ __forceinline__ uint32_t across(uint32_t k, uint32_t row) { return k * TILE + (row ^ (k / 4 % 8 * 4)); }

// Elements k, k + 1, k + 2, k + 3 of a row; zeros beyond d.
template <typename T>
__device__ __forceinline__ float4 load_four(const T* __restrict__ row, uint32_t k, uint32_t d)
{
    struct alignas(4 * sizeof(T)) Four {
        T x[4];
    };
    if (d % 4 == 0) {
        if (k >= d) {
            return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
        const Four four = *reinterpret_cast<const Four*>(row + k);
        return make_float4(to_float(four.x[0]), to_float(four.x[1]), to_float(four.x[2]), to_float(four.x[3]));
    }
    const auto at = [&](uint32_t k) { return k < d ? to_float(row[k]) : 0.0f; };
    return make_float4(at(k), at(k + 1), at(k + 2), at(k + 3));
}

// Columns k0 to k0 + 31 of rows r0 to r0 + 63; zeros beyond.
template <typename T>
__device__ __forceinline__ void load_slice(float* slice, uint32_t rows, uint32_t d, const T* __restrict__ unit,
                                           uint32_t r0, uint32_t k0)
{
#pragma unroll
    for (uint32_t i = threadIdx.x; i < TILE * SLICE / 4; i += TILED) {
        const uint32_t row = i / (SLICE / 4), k = i % (SLICE / 4) * 4;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (r0 + row < rows) {
            x = load_four(unit + size_t(r0 + row) * d, k0 + k, d);
        }
        slice[across(k, row)] = x.x;
        slice[across(k + 1, row)] = x.y;
        slice[across(k + 2, row)] = x.z;
        slice[across(k + 3, row)] = x.w;
    }
}

// dots[r][c] = <a[i0 + 4y + r], b[j0 + 4x + c]> for thread (x, y) of 16x16.
template <typename T>
__device__ __forceinline__ void tile_of_dots(Tiled& shared, uint32_t d, uint32_t rows, const T* __restrict__ a_rows,
                                             uint32_t i0, uint32_t columns, const T* __restrict__ b_rows, uint32_t j0,
                                             float (&dots)[4][4])
{
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (uint32_t i = 0; i < 16; ++i) {
        dots[i / 4][i % 4] = 0.0f;
    }
    for (uint32_t k0 = 0; k0 < d; k0 += SLICE) {
        __syncthreads();  // before these overwrite what is being read
        load_slice(shared.a, rows, d, a_rows, i0, k0);
        load_slice(shared.b, columns, d, b_rows, j0, k0);
        __syncthreads();
#pragma unroll 8
        for (uint32_t k = 0; k < SLICE; ++k) {
            const float4 a4 = *reinterpret_cast<const float4*>(shared.a + across(k, y * 4));
            const float4 b4 = *reinterpret_cast<const float4*>(shared.b + across(k, x * 4));
            const float a[4] = {a4.x, a4.y, a4.z, a4.w}, b[4] = {b4.x, b4.y, b4.z, b4.w};
#pragma unroll
            for (uint32_t i = 0; i < 16; ++i) {
                dots[i / 4][i % 4] = fmaf(a[i / 4], b[i % 4], dots[i / 4][i % 4]);
            }
        }
    }
}

// Where thread (x, y) puts the weights of rows 4y to 4y + 3 and column 4x + c. The barriers in tile_of_dots came after
// the last read of the weights before these.
__device__ __forceinline__ void store_weights(Tiled& shared, uint32_t c, const float (&w)[4])
{
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
    *reinterpret_cast<float4*>(shared.w + across(x * 4 + c, y * 4)) = make_float4(w[0], w[1], w[2], w[3]);
}

// sums[r][c] += sum over the tile's j of w[j][4y + r] b[j][d0 + column c], of thread (x, y)'s 8 columns: 4 from 4x, 4
// from 64 + 4x.
template <typename T>
__device__ __forceinline__ void add_products(Tiled& shared, uint32_t d, uint32_t columns, const T* __restrict__ b_rows,
                                             uint32_t j0, uint32_t d0, float (&sums)[4][8])
{
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (uint32_t first = 0; first < TILE; first += SLICE) {
        __syncthreads();  // the weights are there, and the slices before have been read
#pragma unroll
        for (uint32_t i = threadIdx.x; i < SLICE * CHUNK / 4; i += TILED) {
            const uint32_t j = i / (CHUNK / 4), k = i % (CHUNK / 4) * 4, row = j0 + first + j;
            float4 u = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (row < columns) {
                u = load_four(b_rows + size_t(row) * d, d0 + k, d);
            }
            *reinterpret_cast<float4*>(shared.u + j * CHUNK + k) = u;
        }
        __syncthreads();
#pragma unroll 4
        for (uint32_t j = 0; j < SLICE; ++j) {
            const float4 w4 = *reinterpret_cast<const float4*>(shared.w + across(first + j, y * 4));
            const float4 left = *reinterpret_cast<const float4*>(shared.u + j * CHUNK + x * 4);
            const float4 right = *reinterpret_cast<const float4*>(shared.u + j * CHUNK + CHUNK / 2 + x * 4);
            const float w[4] = {w4.x, w4.y, w4.z, w4.w};
            const float u[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
#pragma unroll
            for (uint32_t i = 0; i < 32; ++i) {
                sums[i / 8][i % 8] = fmaf(w[i / 8], u[i % 8], sums[i / 8][i % 8]);
            }
        }
    }
}

// These sums to rows i0 + 4y + r of [rows, d].
__device__ __forceinline__ void store_sums(uint32_t rows, uint32_t d, uint32_t i0, uint32_t d0,
                                           const float (&sums)[4][8], float* __restrict__ sum_rows)
{
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
#pragma unroll
    for (uint32_t r = 0; r < 4; ++r) {
        const uint32_t i = i0 + y * 4 + r;
        float* to = sum_rows + size_t(i) * d;
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t k = d0 + half * (CHUNK / 2) + x * 4;
            const float* sum = &sums[r][half * 4];
            if (i < rows && d % 4 == 0 && k < d) {
                *reinterpret_cast<float4*>(to + k) = make_float4(sum[0], sum[1], sum[2], sum[3]);
            } else if (i < rows && d % 4 != 0) {
#pragma unroll
                for (uint32_t c = 0; c < 4; ++c) {
                    if (k + c < d) {
                        to[k + c] = sum[c];
                    }
                }
            }
        }
    }
}
