// c[m][n] = sum over k of a[m][k] b[k][n]
//
// Memory    c[M,N] f32 row-major, overwritten; inputs read.
//             f32   a[M,K], b[K,N] row-major, 4-byte aligned.
//             bf16  a[M,K] row-major, b[N,K] row-major (that is, the right factor transposed, so that both run along k,
//                   as mma wants them); a, b 16-byte and c 8-byte aligned.
// Work      A ladder; block and grid of each:
//             f32__naive   (16, 16), grid (ceil(N/16), ceil(M/16)). A thread owns one element of c, and reads a row
//                          of a and a column of b from global memory.
//             f32__shared  (32, 8), grid (ceil(N/32), ceil(M/32)). A block owns 32x32 of c and stages 32x32 tiles of a
//                          and b in shared memory; a thread owns 4 elements of one column. A warp reads one row of
//                          the b tile (32 banks) and one word of the a tile (a broadcast): no bank conflicts.
//             bf16__mma    128 threads, grid (N/64, M/128). A block owns 128x64 of c, each of its 2x2 warps 64x32 in
//                          mma fragments. Tiles of 32 along k go through a ring of 3 stages filled by cp.async, two
//                          ahead. A tile's row is 64 bytes, four 16-byte chunks; chunk c of row r lies at
//                          c ^ (r / 2 % 4), so the 8 rows of an ldmatrix fall on 8 different groups of 4 banks.
// Shape     f32: any M, N, K. bf16: M % 128 = 0, N % 64 = 0, K % 32 = 0, and the block as said: the host rejects
//           anything else, the kernel does not look.
// Cost      2MNK FLOPs. Bytes from memory at least 4 (MK + KN + MN), for bf16 2 (MK + KN) + 4 MN. naive loads two words
//           for each fma, so the caches limit it; shared loads 1/32 as much from global memory and is then limited by
//           shared memory, 5 loads for 4 fma; mma, by the tensor cores once M, N and K are in the thousands. Shares of
//           the limits: not yet measured.
// Numbers   f32 accumulators, k ascending: same bits each time. f32 with one fma a step: error at most K ulp of the sum
//           of |a b|. bf16: products are exact in f32; the tensor core adds 16 at a time, in an order and with a
//           rounding of its own, so 2K ulp are granted.
// Lost      Nothing tried yet.

#include <cstdint>

#include "mma.cuh"

extern "C" __global__ void __launch_bounds__(256)
matmul_f32__naive(uint32_t m, uint32_t n, uint32_t k, const float* __restrict__ a, const float* __restrict__ b,
                  float* __restrict__ c)
{
    const uint32_t row = blockIdx.y * 16 + threadIdx.y;
    const uint32_t column = blockIdx.x * 16 + threadIdx.x;
    if (row >= m || column >= n) {
        return;
    }
    float sum = 0.0f;
    for (uint32_t i = 0; i < k; ++i) {
        sum = fmaf(a[size_t(row) * k + i], b[size_t(i) * n + column], sum);
    }
    c[size_t(row) * n + column] = sum;
}

constexpr uint32_t TILE = 32;
constexpr uint32_t ROWS = 8;  // rows of threads
static_assert(TILE == 32, "a warp is one row of a tile");
static_assert(TILE % ROWS == 0, "a thread owns whole elements");

extern "C" __global__ void __launch_bounds__(TILE * ROWS)
matmul_f32__shared(uint32_t m, uint32_t n, uint32_t k, const float* __restrict__ a, const float* __restrict__ b,
                   float* __restrict__ c)
{
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    const uint32_t x = threadIdx.x, y = threadIdx.y;
    const uint32_t first_row = blockIdx.y * TILE, column = blockIdx.x * TILE + x;
    float sums[TILE / ROWS] = {};

    for (uint32_t first = 0; first < k; first += TILE) {
        // Zeros beyond the border add nothing.
        for (uint32_t r = y; r < TILE; r += ROWS) {
            const bool in_a = first_row + r < m && first + x < k;
            const bool in_b = first + r < k && column < n;
            a_tile[r][x] = in_a ? a[size_t(first_row + r) * k + first + x] : 0.0f;
            b_tile[r][x] = in_b ? b[size_t(first + r) * n + column] : 0.0f;
        }
        __syncthreads();
        for (uint32_t i = 0; i < TILE; ++i) {
            for (uint32_t j = 0; j < TILE / ROWS; ++j) {
                sums[j] = fmaf(a_tile[y + j * ROWS][i], b_tile[i][x], sums[j]);
            }
        }
        __syncthreads();  // before the next tiles overwrite these
    }
    for (uint32_t j = 0; j < TILE / ROWS; ++j) {
        const uint32_t row = first_row + y + j * ROWS;
        if (row < m && column < n) {
            c[size_t(row) * n + column] = sums[j];
        }
    }
}

using bf16 = uint16_t;  // this kernel moves them and never looks inside

constexpr uint32_t BLOCK_M = 128, BLOCK_N = 64, BLOCK_K = 32, STAGES = 3, THREADS = 128;
constexpr uint32_t WARP_M = 64, WARP_N = 32;
constexpr uint32_t CHUNK = 8;                 // elements in 16 bytes
constexpr uint32_t CHUNKS = BLOCK_K / CHUNK;  // in a tile's row
static_assert(BLOCK_M / WARP_M * (BLOCK_N / WARP_N) * 32 == THREADS, "the warps tile the block");
static_assert(CHUNKS == 4, "the swizzle is for rows of 64 bytes");
static_assert(BLOCK_M * CHUNKS % THREADS == 0 && BLOCK_N * CHUNKS % THREADS == 0, "threads share the copies evenly");

struct Stage {
    bf16 a[BLOCK_M * BLOCK_K];
    bf16 b[BLOCK_N * BLOCK_K];
};
static_assert(STAGES * sizeof(Stage) <= 48 * 1024, "static shared memory");

// Where chunk `chunk` of row `row` lies in a tile, in elements.
__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk)
{
    return (row * CHUNKS + (chunk ^ (row / 2 % CHUNKS))) * CHUNK;
}

// Starts this thread's share of copying a [HEIGHT, BLOCK_K] tile whose rows lie k elements apart.
template <uint32_t HEIGHT>
__device__ __forceinline__ void copy_tile(bf16* tile, const bf16* __restrict__ from, uint32_t k)
{
#pragma unroll
    for (uint32_t i = threadIdx.x; i < HEIGHT * CHUNKS; i += THREADS) {
        const uint32_t row = i / CHUNKS, chunk = i % CHUNKS;
        cp_async_16(shared_address(tile + swizzled(row, chunk)), from + size_t(row) * k + chunk * CHUNK);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
matmul_bf16__mma(uint32_t m, uint32_t n, uint32_t k, const bf16* __restrict__ a, const bf16* __restrict__ b,
                 float* __restrict__ c)
{
    __shared__ alignas(128) Stage ring[STAGES];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t warp_m = warp / 2 * WARP_M, warp_n = warp % 2 * WARP_N;
    const bf16* a_block = a + size_t(blockIdx.y) * BLOCK_M * k;
    const bf16* b_block = b + size_t(blockIdx.x) * BLOCK_N * k;
    const uint32_t steps = k / BLOCK_K;

    // Commits even when nothing is left to copy, so that the number of groups tells how far the ring is filled.
    const auto fill = [&](uint32_t step) {
        if (step < steps) {
            Stage& stage = ring[step % STAGES];
            copy_tile<BLOCK_M>(stage.a, a_block + step * BLOCK_K, k);
            copy_tile<BLOCK_N>(stage.b, b_block + step * BLOCK_K, k);
        }
        cp_async_commit();
    };

    float sums[WARP_M / 16][WARP_N / 8][4] = {};
    for (uint32_t step = 0; step < STAGES - 1; ++step) {
        fill(step);
    }
    for (uint32_t step = 0; step < steps; ++step) {
        cp_async_wait<STAGES - 2>();  // this thread's part of this step is there,
        __syncthreads();              // now everyone's is, and everyone has read the stage that is filled next
        fill(step + STAGES - 1);

        const Stage& stage = ring[step % STAGES];
#pragma unroll
        for (uint32_t half = 0; half < BLOCK_K / 16; ++half) {  // mma takes k by 16: two chunks
            uint32_t a_part[WARP_M / 16][4], b_part[WARP_N / 16][4];
#pragma unroll
            for (uint32_t i = 0; i < WARP_M / 16; ++i) {
                // Matrices: rows 0-7 and 8-15 of the first chunk, then of the second.
                const uint32_t row = warp_m + i * 16 + lane % 16;
                ldmatrix_x4(a_part[i], shared_address(stage.a + swizzled(row, half * 2 + lane / 16)));
            }
#pragma unroll
            for (uint32_t j = 0; j < WARP_N / 16; ++j) {
                // Matrices: both chunks of columns 0-7, then both of columns 8-15.
                const uint32_t row = warp_n + j * 16 + lane / 16 * 8 + lane % 8;
                ldmatrix_x4(b_part[j], shared_address(stage.b + swizzled(row, half * 2 + lane / 8 % 2)));
            }
#pragma unroll
            for (uint32_t i = 0; i < WARP_M / 16; ++i) {
#pragma unroll
                for (uint32_t j = 0; j < WARP_N / 8; ++j) {
                    const uint32_t* columns = &b_part[j / 2][j % 2 * 2];
                    mma_16x8x16_bf16(sums[i][j], a_part[i], columns[0], columns[1]);
                }
            }
        }
    }

#pragma unroll
    for (uint32_t i = 0; i < WARP_M / 16; ++i) {
#pragma unroll
        for (uint32_t j = 0; j < WARP_N / 8; ++j) {
            const uint32_t row = blockIdx.y * BLOCK_M + warp_m + i * 16 + lane / 4;
            const uint32_t column = blockIdx.x * BLOCK_N + warp_n + j * 8 + lane % 4 * 2;
            float* upper = c + size_t(row) * n + column;
            float* lower = upper + size_t(8) * n;
            *reinterpret_cast<float2*>(upper) = make_float2(sums[i][j][0], sums[i][j][1]);
            *reinterpret_cast<float2*>(lower) = make_float2(sums[i][j][2], sums[i][j][3]);
        }
    }
}
