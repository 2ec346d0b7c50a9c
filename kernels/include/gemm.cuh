// Matrix products c[i][j] = sum over k of a(i, k) b(j, k), whichever way each factor lies in memory, one block's part
// at a time: GemmMma in bf16 on tensor cores, GemmTiled in f32 on the plain ones, of elements of either type. The sums stay in registers; the
// caller says what becomes of them.
#pragma once

#include "element.cuh"
#include "mma.cuh"

// How a factor lies in memory.
enum class Runs {
    ALONG,   // element (i, k) at i * stride + k
    ACROSS,  // element (i, k) at k * stride + i
};

// A factor: `rows` is how many i there are.
template <typename T>
struct Factor {
    const T* data;
    uint32_t rows, stride;
};

// A block of 128 threads owns 128x64 of c, each of its 2x2 warps 64x32 in mma fragments. Tiles of 32 along k go through
// a ring of 3 stages filled by cp.async, two ahead. An element's 16-byte chunk lies in its tile where no two of the 8
// rows of an ldmatrix meet in a bank:
//   ALONG   a tile's row is an i: 32 elements, 4 chunks; chunk c of row r at c ^ (r / 2 % 4).
//   ACROSS  a tile's row is a k: 64 or 128 elements, 8 or 16 chunks; chunk c of row r at c ^ (r % 8); read transposed.
// Beyond the borders the tiles hold zeros. Chunks are never cut: ALONG needs k's range to begin and end at multiples of
// 8, ACROSS needs rows % 8 = 0, and both stride % 8 = 0.
template <Runs A, Runs B>
struct GemmMma {
    static constexpr uint32_t BLOCK_M = 128, BLOCK_N = 64, BLOCK_K = 32, STAGES = 3, THREADS = 128;
    static constexpr uint32_t WARP_M = 64, WARP_N = 32;
    static constexpr uint32_t CHUNK = PACK<bf16>, CHUNKS_K = BLOCK_K / CHUNK;
    static_assert(BLOCK_M / WARP_M * (BLOCK_N / WARP_N) * 32 == THREADS, "the warps tile the block");
    static_assert(CHUNKS_K == 4, "the swizzle of ALONG is for rows of 64 bytes");
    static_assert(BLOCK_M % 64 == 0 && BLOCK_N % 64 == 0, "the swizzle of ACROSS is for multiples of 128 bytes");
    static_assert(BLOCK_M * CHUNKS_K % THREADS == 0 && BLOCK_N * CHUNKS_K % THREADS == 0, "copies are shared evenly");
    static_assert(WARP_N == 32, "four lanes own a row's four n8 tiles");

    // Bytes.
    static constexpr uint32_t A_TILE = BLOCK_M * BLOCK_K * 2, STAGE = A_TILE + BLOCK_N * BLOCK_K * 2;
    static_assert(A_TILE % 256 == 0 && STAGE % 256 == 0, "an offset's swizzled bits are an address's");
    static_assert(STAGES * STAGE <= 48 * 1024, "static shared memory");

    float sums[WARP_M / 16][WARP_N / 8][4] = {};

    // This warp's part of c.
    static __device__ __forceinline__ uint32_t first_row()
    {
        return blockIdx.y * BLOCK_M + threadIdx.x / 64 * WARP_M;
    }
    static __device__ __forceinline__ uint32_t first_column()
    {
        return blockIdx.x * BLOCK_N + threadIdx.x / 32 % 2 * WARP_N;
    }

    // Where chunk `chunk` of row `row` lies in a tile, in bytes.
    template <Runs RUNS, uint32_t SIZE>
    static __device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk)
    {
        return RUNS == Runs::ALONG ? row * BLOCK_K * 2 + (chunk ^ (row / 2 % CHUNKS_K)) * 16
                                   : row * SIZE * 2 + (chunk ^ (row % 8)) * 16;
    }

    // This thread's share of copying tile after tile of a factor. Its chunks lie ROWS rows of the tile apart, a
    // multiple of 8, so one swizzle does for all.
    template <Runs RUNS, uint32_t SIZE>
    struct Share {
        static constexpr bool ALONG = RUNS == Runs::ALONG;
        static constexpr uint32_t CHUNKS = ALONG ? CHUNKS_K : SIZE / CHUNK, ROWS = THREADS / CHUNKS;
        static constexpr uint32_t TIMES = SIZE * BLOCK_K / CHUNK / THREADS;
        static_assert(ROWS % 8 == 0, "the swizzle repeats");

        const bf16* from;
        size_t down, onward;  // to this thread's next chunk, to the next tile
        uint32_t to, i, k, i_end, k_end;

        __device__ __forceinline__ Share(const Factor<bf16>& factor, uint32_t first, uint32_t k_begin, uint32_t k_end)
            : i_end(factor.rows), k_end(k_end)
        {
            const uint32_t row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
            to = swizzled<RUNS, SIZE>(row, chunk);
            i = first + (ALONG ? row : chunk * CHUNK);
            k = k_begin + (ALONG ? chunk * CHUNK : row);
            from = factor.data + (ALONG ? size_t(i) * factor.stride + k : size_t(k) * factor.stride + i);
            down = size_t(ROWS) * factor.stride;
            onward = ALONG ? BLOCK_K : size_t(BLOCK_K) * factor.stride;
        }

        // Starts the copies to the tile at this shared address.
        __device__ __forceinline__ void start(uint32_t tile)
        {
#pragma unroll
            for (uint32_t nth = 0; nth < TIMES; ++nth) {
                const uint32_t below = nth * ROWS;
                const bool there = i + (ALONG ? below : 0) < i_end && k + (ALONG ? 0 : below) < k_end;
                cp_async_16_or_zero(tile + to + swizzled<RUNS, SIZE>(below, 0), from + nth * down, there);
            }
            from += onward;
            k += BLOCK_K;
        }
    };

    // Where this lane's row for an ldmatrix of 16 i (from `first` on) by 16 k (from 0 on) lies in a tile, in bytes. The
    // second of the four matrices is the next 8 i for a, the next 8 k for b: registers then come as mma takes them.
    template <Runs RUNS, uint32_t SIZE>
    static __device__ __forceinline__ uint32_t lane_row(bool of_a, uint32_t first)
    {
        const uint32_t row = threadIdx.x % 8, second = threadIdx.x / 8 % 2, third = threadIdx.x / 16 % 2;
        const uint32_t i = of_a ? second : third, k = of_a ? third : second;
        return RUNS == Runs::ALONG ? swizzled<RUNS, SIZE>(first + i * 8 + row, k)
                                   : swizzled<RUNS, SIZE>(k * 8 + row, first / CHUNK + i);
    }

    // The same, i and k further on: multiples of 16. What moves within a tile's row meets the swizzle's bits, so it is
    // an exclusive or; the rest is a constant in the instruction.
    template <Runs RUNS, uint32_t SIZE>
    static __device__ __forceinline__ void fragment(uint32_t (&part)[4], uint32_t lane_row, uint32_t i, uint32_t k)
    {
        if constexpr (RUNS == Runs::ALONG) {
            ldmatrix_x4(part, (lane_row ^ (k * 2)) + i * BLOCK_K * 2);
        } else {
            ldmatrix_x4_transposed(part, (lane_row ^ (i * 2)) + k * SIZE * 2);
        }
    }

    // Adds up k_begin .. k_end. Once in a kernel: the ring is not handed back.
    __device__ __forceinline__ void run(const Factor<bf16>& a, const Factor<bf16>& b, uint32_t k_begin, uint32_t k_end)
    {
        __shared__ alignas(256) uint8_t memory[STAGES * STAGE];
        const uint32_t ring = shared_address(memory), ring_end = ring + STAGES * STAGE;
        const uint32_t steps = k_begin < k_end ? (k_end - k_begin + BLOCK_K - 1) / BLOCK_K : 0;
        const uint32_t a_row = lane_row<A, BLOCK_M>(true, threadIdx.x / 64 * WARP_M);
        const uint32_t b_row = A_TILE + lane_row<B, BLOCK_N>(false, threadIdx.x / 32 % 2 * WARP_N);
        Share<A, BLOCK_M> a_share(a, blockIdx.y * BLOCK_M, k_begin, k_end);
        Share<B, BLOCK_N> b_share(b, blockIdx.x * BLOCK_N, k_begin, k_end);

        // Commits even when nothing is left to copy, so that the number of groups tells how far the ring is filled.
        uint32_t filling = ring;
        const auto fill = [&](uint32_t step) {
            if (step < steps) {
                a_share.start(filling);
                b_share.start(filling + A_TILE);
                filling = filling + STAGE == ring_end ? ring : filling + STAGE;
            }
            cp_async_commit();
        };

#pragma unroll
        for (uint32_t step = 0; step < STAGES - 1; ++step) {
            fill(step);
        }
        uint32_t stage = ring;
        for (uint32_t step = 0; step < steps; ++step) {
            cp_async_wait<STAGES - 2>();  // this thread's part of this step is there,
            __syncthreads();              // now everyone's is, and everyone has read the stage that is filled next
            fill(step + STAGES - 1);
#pragma unroll
            for (uint32_t k = 0; k < BLOCK_K; k += 16) {
                uint32_t a_part[WARP_M / 16][4], b_part[WARP_N / 16][4];
#pragma unroll
                for (uint32_t i = 0; i < WARP_M; i += 16) {
                    fragment<A, BLOCK_M>(a_part[i / 16], stage + a_row, i, k);
                }
#pragma unroll
                for (uint32_t j = 0; j < WARP_N; j += 16) {
                    fragment<B, BLOCK_N>(b_part[j / 16], stage + b_row, j, k);
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
            stage = stage + STAGE == ring_end ? ring : stage + STAGE;
        }
    }

    // The column where each of this thread's eights begins.
    static __device__ __forceinline__ uint32_t column_of_eights() { return first_column() + threadIdx.x % 4 * 8; }

    // Calls use(row, values) with 8 neighbours of a row, so that bf16 results go to memory 16 bytes at a time. In the
    // fragments a lane has 2 columns of each of 4 n8 tiles; four lanes trade until each has one tile's 8.
    template <typename Use>
    __device__ __forceinline__ void each_eight(Use use)
    {
#pragma unroll
        for (uint32_t half = 0; half < WARP_M / 8; ++half) {
            float values[8];
#pragma unroll
            for (uint32_t e = 0; e < 2; ++e) {
                float x[4];
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    x[j] = sums[half / 2][j][half % 2 * 2 + e];
                }
#pragma unroll
                for (uint32_t s = 1; s <= 2; s *= 2) {
                    const bool upper = threadIdx.x & s;
#pragma unroll
                    for (uint32_t j = 0; j < 4; ++j) {
                        if ((j & s) == 0) {
                            const float got = __shfl_xor_sync(0xffffffffu, upper ? x[j] : x[j | s], s);
                            (upper ? x[j] : x[j | s]) = got;
                        }
                    }
                }
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    values[j * 2 + e] = x[j];
                }
            }
            use(first_row() + half * 8 + threadIdx.x % 32 / 4, values);
        }
    }

    // Calls use(row, column, x, y) with 2 neighbours of a row: what f32 results need to fill whole sectors.
    template <typename Use>
    __device__ __forceinline__ void each_pair(Use use) const
    {
#pragma unroll
        for (uint32_t half = 0; half < WARP_M / 8; ++half) {
#pragma unroll
            for (uint32_t j = 0; j < WARP_N / 8; ++j) {
                const float* pair = &sums[half / 2][j][half % 2 * 2];
                const uint32_t column = first_column() + j * 8 + threadIdx.x % 4 * 2;
                use(first_row() + half * 8 + threadIdx.x % 32 / 4, column, pair[0], pair[1]);
            }
        }
    }
};

// A block of 128 threads owns 64x64 of c, a thread 8x4: rows 4 y .. and 32 + 4 y .., columns 4 x .., for its x of 16
// and y of 8. Tiles of 16 along k lie k by k in shared memory, so that a thread reads 4 neighbours at a time; the next
// tiles travel through registers while the current ones are multiplied. Any shape, any alignment.
template <Runs A, Runs B>
struct GemmTiled {
    static constexpr uint32_t BLOCK = 64, BLOCK_K = 16, THREADS = 128;
    static constexpr uint32_t PITCH = BLOCK + 4;  // a store of 8 k by 4 i falls on 32 banks
    static constexpr uint32_t SHARE = BLOCK * BLOCK_K / THREADS;
    static_assert(PITCH % 4 == 0, "4 neighbours are 16 bytes, aligned");
    static_assert(BLOCK * BLOCK_K % THREADS == 0, "threads share the copies evenly");

    float sums[8][4] = {};

    // Where in a tile this thread's `nth` copied element lies. Neighbouring lanes read neighbours in memory: ALONG, 8 k
    // (a sector) of 4 i; ACROSS, 32 i.
    template <Runs RUNS>
    static __device__ __forceinline__ void place(uint32_t nth, uint32_t& i, uint32_t& k)
    {
        const uint32_t at = nth * THREADS + threadIdx.x;
        if constexpr (RUNS == Runs::ALONG) {
            i = at / 8 % BLOCK;
            k = at / (8 * BLOCK) * 8 + at % 8;
        } else {
            i = at % BLOCK;
            k = at / BLOCK;
        }
    }

    template <Runs RUNS, typename T>
    static __device__ __forceinline__ void load(float (&share)[SHARE], const Factor<T>& factor, uint32_t first,
                                                uint32_t k_first, uint32_t k_end)
    {
#pragma unroll
        for (uint32_t nth = 0; nth < SHARE; ++nth) {
            uint32_t i, k;
            place<RUNS>(nth, i, k);
            i += first;
            k += k_first;
            const size_t at = RUNS == Runs::ALONG ? size_t(i) * factor.stride + k : size_t(k) * factor.stride + i;
            share[nth] = i < factor.rows && k < k_end ? to_float(factor.data[at]) : 0.0f;
        }
    }

    template <Runs RUNS>
    static __device__ __forceinline__ void store(float (*tile)[PITCH], const float (&share)[SHARE])
    {
#pragma unroll
        for (uint32_t nth = 0; nth < SHARE; ++nth) {
            uint32_t i, k;
            place<RUNS>(nth, i, k);
            tile[k][i] = share[nth];
        }
    }

    // Adds up k_begin .. k_end, k ascending. Once in a kernel.
    template <typename T>
    __device__ __forceinline__ void run(const Factor<T>& a, const Factor<T>& b, uint32_t k_begin, uint32_t k_end)
    {
        __shared__ alignas(16) float a_tile[2][BLOCK_K][PITCH];
        __shared__ alignas(16) float b_tile[2][BLOCK_K][PITCH];
        const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16;
        float a_share[SHARE], b_share[SHARE];
        load<A>(a_share, a, blockIdx.y * BLOCK, k_begin, k_end);
        load<B>(b_share, b, blockIdx.x * BLOCK, k_begin, k_end);
        for (uint32_t k_first = k_begin, turn = 0; k_first < k_end; k_first += BLOCK_K, turn ^= 1) {
            store<A>(a_tile[turn], a_share);
            store<B>(b_tile[turn], b_share);
            __syncthreads();  // one is enough: the other pair of tiles is filled next, and all have done with that one
            if (k_first + BLOCK_K < k_end) {
                load<A>(a_share, a, blockIdx.y * BLOCK, k_first + BLOCK_K, k_end);
                load<B>(b_share, b, blockIdx.x * BLOCK, k_first + BLOCK_K, k_end);
            }
#pragma unroll
            for (uint32_t k = 0; k < BLOCK_K; ++k) {
                float a_part[2][4], b_part[4];
                load_pack(a_part[0], &a_tile[turn][k][y * 4]);
                load_pack(a_part[1], &a_tile[turn][k][BLOCK / 2 + y * 4]);
                load_pack(b_part, &b_tile[turn][k][x * 4]);
#pragma unroll
                for (uint32_t i = 0; i < 8; ++i) {
#pragma unroll
                    for (uint32_t j = 0; j < 4; ++j) {
                        sums[i][j] = fmaf(a_part[i / 4][i % 4], b_part[j], sums[i][j]);
                    }
                }
            }
        }
    }

    // The first of this thread's 4 columns.
    static __device__ __forceinline__ uint32_t column_of_fours() { return blockIdx.x * BLOCK + threadIdx.x % 16 * 4; }

    // Calls use(row, values) with 4 neighbours of a row.
    template <typename Use>
    __device__ __forceinline__ void each_four(Use use) const
    {
#pragma unroll
        for (uint32_t i = 0; i < 8; ++i) {
            use(blockIdx.y * BLOCK + i / 4 * (BLOCK / 2) + threadIdx.x / 16 * 4 + i % 4, sums[i]);
        }
    }
};
