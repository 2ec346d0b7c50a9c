// A matrix product on the tensor cores, d[m][n] += sum over k of a[m][k] b[k][n] in bf16 with f32 sums, whose operands
// exist only as rules: an operand says where each 16-byte chunk of its next tile lies in global memory, or that it is
// zero. The three passes of a convolution are this product with three pairs of rules.
//
// A block of 128 threads, 2x2 warps, owns BLOCK_M x BLOCK_N of d. Tiles of DEPTH along k go through a ring of STAGES in
// shared memory, filled by cp.async STAGES - 1 ahead. An operand is a type with
//     Layout                    Along or Across, below
//     void copy(uint32_t tile)  starts this thread's share of copying the next tile there, and moves on
#pragma once

#include "element.cuh"
#include "mma.cuh"

constexpr uint32_t THREADS = 128;
constexpr uint32_t DEPTH = 32;          // of a tile, along k
constexpr uint32_t CHUNK = 8;           // elements in 16 bytes, what one cp.async moves
constexpr uint32_t NOWHERE = ~0u;       // the place of a row that is not stored
constexpr uint32_t STATIC_SHARED = 48 * 1024;

template <uint32_t M, uint32_t N, uint32_t RING>
struct TileShape {
    static constexpr uint32_t BLOCK_M = M, BLOCK_N = N, STAGES = RING;
    static constexpr uint32_t WARP_M = M / 2, WARP_N = N / 2;
    static constexpr uint32_t A_BYTES = M * DEPTH * 2, STAGE_BYTES = (M + N) * DEPTH * 2;
    static constexpr uint32_t RING_BYTES = STAGES * STAGE_BYTES;
    static constexpr uint32_t SLAB = 16 * WARP_N;  // floats that a warp stages at a time when it stores
    static_assert(WARP_M % 16 == 0 && WARP_N % 32 == 0, "whole mma fragments, and slabs of whole bank rows");
    static_assert(STAGES >= 2 && RING_BYTES <= STATIC_SHARED, "static shared memory");
    static_assert(4 * SLAB * 4 + M * 4 <= RING_BYTES, "the slabs and the rows' places reuse the ring");
    static_assert(M <= THREADS, "a thread places a row");
};

// The ladder of tiles. All take at most 48 KiB, so that two blocks fit an SM of any architecture since sm_80.
using Tile128x128 = TileShape<128, 128, 3>;
using Tile128x64 = TileShape<128, 64, 4>;
using Tile64x128 = TileShape<64, 128, 4>;
using Tile64x64 = TileShape<64, 64, 4>;

// A tile whose rows run along k: 64 bytes each, four chunks. Chunk c of row r lies at c ^ (r / 2 % 4), so the 8 rows
// of an ldmatrix fall on 8 different groups of 4 banks.
template <uint32_t SIZE>
struct Along {
    static constexpr bool TRANSPOSED = false;
    static constexpr uint32_t WIDTH = DEPTH / CHUNK;         // chunks in a row
    static constexpr uint32_t STRIDE = THREADS / WIDTH;      // rows that the block copies at a time
    static constexpr uint32_t COPIES = SIZE / STRIDE;        // and how often
    static_assert(WIDTH == 4 && STRIDE % 8 == 0, "a thread's rows share their swizzle");

    static __device__ __forceinline__ uint32_t at(uint32_t row, uint32_t chunk)
    {
        return row * (DEPTH * 2) + (chunk ^ (row / 2 % 4)) * 16;
    }
};

// A tile whose rows run across k: DEPTH rows of SIZE elements. Chunk c of row r lies at c ^ (r % 8): again the 8 rows
// of an ldmatrix, now read transposed, fall on 8 different groups of banks.
template <uint32_t SIZE>
struct Across {
    static constexpr bool TRANSPOSED = true;
    static constexpr uint32_t WIDTH = SIZE / CHUNK;
    static constexpr uint32_t STRIDE = THREADS / WIDTH;
    static constexpr uint32_t COPIES = DEPTH / STRIDE;
    static_assert(WIDTH % 8 == 0 && STRIDE % 8 == 0, "rows of whole 128 bytes; a thread's rows share their swizzle");

    static __device__ __forceinline__ uint32_t at(uint32_t row, uint32_t chunk)
    {
        return row * (SIZE * 2) + (chunk ^ (row % 8)) * 16;
    }
};

// Where a thread copies: its chunk of every row it copies, the first of these rows, and that chunk's place in the tile.
// The following rows are STRIDE apart.
template <class Layout>
struct Share {
    uint32_t chunk = threadIdx.x % Layout::WIDTH;
    uint32_t row = threadIdx.x / Layout::WIDTH;
    uint32_t at = Layout::at(row, chunk);
    static constexpr uint32_t NEXT = Layout::STRIDE * Layout::WIDTH * 16;
};

// 16x16 of a at rows `row`, as mma takes it: upper left, lower left, upper right, lower right; k runs to the right.
template <class Layout>
__device__ __forceinline__ void load_a(uint32_t (&part)[4], uint32_t tile, uint32_t row, uint32_t k, uint32_t lane)
{
    if constexpr (Layout::TRANSPOSED) {
        ldmatrix_x4_transposed(part, tile + Layout::at(k + lane / 16 * 8 + lane % 8, row / CHUNK + lane / 8 % 2));
    } else {
        ldmatrix_x4(part, tile + Layout::at(row + lane % 16, k / CHUNK + lane / 16));
    }
}

// 16x16 of b at columns `column`: both halves along k of the first 8 columns, then of the next 8.
template <class Layout>
__device__ __forceinline__ void load_b(uint32_t (&part)[4], uint32_t tile, uint32_t column, uint32_t k, uint32_t lane)
{
    if constexpr (Layout::TRANSPOSED) {
        ldmatrix_x4_transposed(part, tile + Layout::at(k + lane % 16, column / CHUNK + lane / 16));
    } else {
        ldmatrix_x4(part, tile + Layout::at(column + lane / 16 * 8 + lane % 8, k / CHUNK + lane / 8 % 2));
    }
}

template <class Tile>
using Sums = float[Tile::WARP_M / 16][Tile::WARP_N / 8][4];

// What a warp needs of a tile's 16 along k, in registers.
template <class Tile>
struct Parts {
    uint32_t a[Tile::WARP_M / 16][4], b[Tile::WARP_N / 16][4];

    template <class A, class B>
    __device__ __forceinline__ void load(uint32_t stage, uint32_t k)
    {
        const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
        for (uint32_t i = 0; i < Tile::WARP_M / 16; ++i) {
            load_a<A>(a[i], stage, warp / 2 * Tile::WARP_M + i * 16, k, lane);
        }
#pragma unroll
        for (uint32_t j = 0; j < Tile::WARP_N / 16; ++j) {
            load_b<B>(b[j], stage + Tile::A_BYTES, warp % 2 * Tile::WARP_N + j * 16, k, lane);
        }
    }

    __device__ __forceinline__ void multiply(Sums<Tile>& sums) const
    {
#pragma unroll
        for (uint32_t i = 0; i < Tile::WARP_M / 16; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < Tile::WARP_N / 8; ++j) {
                const uint32_t* columns = &b[j / 2][j % 2 * 2];
                mma_16x8x16_bf16(sums[i][j], a[i], columns[0], columns[1]);
            }
        }
    }
};

// sums += a b over `steps` tiles. On return the ring is free: nothing is under way and every thread has read its last.
// While one half of a tile is multiplied the other is on its way to registers, and copies are issued, so that the
// tensor cores need not wait for either.
template <class Tile, class A, class B>
__device__ __forceinline__ void multiply(Sums<Tile>& sums, uint32_t ring, uint32_t steps, A& a, B& b)
{
    using ALayout = typename A::Layout;
    using BLayout = typename B::Layout;
    static_assert(DEPTH == 32, "a tile is two halves along k");
    uint32_t filled = 0, stage = 0;  // offsets in the ring
    const auto after = [](uint32_t at) {
        return at + Tile::STAGE_BYTES == Tile::RING_BYTES ? 0 : at + Tile::STAGE_BYTES;
    };

    // Commits even when nothing is left to copy, so that the number of groups tells how far the ring is filled.
    const auto fill = [&](bool more) {
        if (more) {
            a.copy(ring + filled);
            b.copy(ring + filled + Tile::A_BYTES);
        }
        cp_async_commit();
        filled = after(filled);
    };
#pragma unroll
    for (uint32_t step = 0; step < Tile::STAGES - 1; ++step) {
        fill(step < steps);
    }
    if (steps == 0) {
        return;
    }
    cp_async_wait<Tile::STAGES - 2>();  // this thread's part of the first tile is there,
    __syncthreads();                    // now everyone's is
    Parts<Tile> left, right;
    left.template load<ALayout, BLayout>(ring, 0);
#pragma unroll 1
    for (uint32_t step = 0; step < steps; ++step) {
        right.template load<ALayout, BLayout>(ring + stage, 16);
        fill(step + Tile::STAGES - 1 < steps);  // the stage that everyone had read at the last barrier
        left.multiply(sums);
        cp_async_wait<Tile::STAGES - 2>();
        __syncthreads();  // the next tile is there, and everyone has read this one
        stage = step + 1 < steps ? after(stage) : stage;  // the last tile once more, since there is no next one
        left.template load<ALayout, BLayout>(ring + stage, 0);
        right.multiply(sums);
    }
    __syncthreads();
}

// Hands each 16 bytes of T of the block's d to store(place, column, values), place being place(row) unless NOWHERE,
// row and column counted in the block. The fragments, two neighbours a lane, go through shared memory 16 rows at a
// time to become packs; a chunk of 4 floats lies where neither side meets a bank conflict.
template <class Tile, class T, class Place, class Store>
__device__ __forceinline__ void store_tile(const Sums<Tile>& sums, uint8_t* ring, Place place, Store store)
{
    constexpr uint32_t WIDTH = Tile::WARP_N / 4;            // chunks of 4 floats in a slab's row
    constexpr uint32_t PACKS = Tile::WARP_N / PACK<T>;      // packs in a slab's row
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t warp_m = warp / 2 * Tile::WARP_M, warp_n = warp % 2 * Tile::WARP_N;
    float* slab = reinterpret_cast<float*>(ring) + warp * Tile::SLAB;
    uint32_t* places = reinterpret_cast<uint32_t*>(ring) + 4 * Tile::SLAB;
    const auto at = [&](uint32_t row, uint32_t chunk) {
        const uint32_t i = row * WIDTH + chunk;
        return slab + (i ^ row % 4 * 2 ^ i / 8 % 2) * 4;
    };

    if (threadIdx.x < Tile::BLOCK_M) {
        places[threadIdx.x] = place(threadIdx.x);
    }
    __syncthreads();
#pragma unroll
    for (uint32_t i = 0; i < Tile::WARP_M / 16; ++i) {
#pragma unroll
        for (uint32_t j = 0; j < Tile::WARP_N / 8; ++j) {
            const uint32_t row = lane / 4, chunk = j * 2 + lane % 4 / 2, half = lane % 2;
            reinterpret_cast<float2*>(at(row, chunk))[half] = make_float2(sums[i][j][0], sums[i][j][1]);
            reinterpret_cast<float2*>(at(row + 8, chunk))[half] = make_float2(sums[i][j][2], sums[i][j][3]);
        }
        __syncwarp();
#pragma unroll
        for (uint32_t item = lane; item < 16 * PACKS; item += 32) {
            const uint32_t row = item / PACKS, pack = item % PACKS;
            float values[PACK<T>];
#pragma unroll
            for (uint32_t c = 0; c < PACK<T> / 4; ++c) {
                const float4 chunk = *reinterpret_cast<const float4*>(at(row, pack * (PACK<T> / 4) + c));
                values[c * 4] = chunk.x, values[c * 4 + 1] = chunk.y;
                values[c * 4 + 2] = chunk.z, values[c * 4 + 3] = chunk.w;
            }
            const uint32_t where = places[warp_m + i * 16 + row];
            if (where != NOWHERE) {
                store(where, warp_n + pack * PACK<T>, values);
            }
        }
        __syncwarp();  // before the next slab overwrites this one
    }
}
