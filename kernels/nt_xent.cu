// loss    = (1/2N) sum over i of (lse[i] - s[i][p(i)]), where p(i) = i + N or i - N
// s[i][j] = <u[i], u[j]> / T, u[i] = z[i] / |z[i]|, lengths taken as 1e-12 where shorter
// lse[i]  = log sum over j /= i of exp s[i][j]
// du[i]   = (d_loss / 2NT) sum over j /= i of w[i][j] u[j]
// w[i][j] = exp(s[i][j] - lse[i]) + exp(s[i][j] - lse[j]) - 2 [j = p(i)]
// dz[i]   = (du[i] - u[i] <u[i], du[i]>) / |z[i]|, without the second term where z[i] is shorter than 1e-12
//
// The 2N x 2N matrix never lies in memory: tiles of it are made, folded, and made again for backward.
//
// Memory    z[2N,D], unit[2N,D], dz[2N,D] in the entry's type, row-major; everything else f32. With S splits:
//             normalize      z read; workspaces unit[2N,D] (in bf16: rounded) and inverse[2N] = 1 / |z[i]| overwritten.
//             fwd            unit read; workspaces part[S,2N] (lse over a split's columns) and positive[2N]
//                            overwritten.
//             fwd finalize   part, positive read; lse[2N] and loss[1] overwritten.
//             bwd            unit, lse read; workspace d_unit[S,2N,D] (sum of w u over a split's columns) overwritten.
//             bwd apply      d_loss[1], z, inverse, d_unit read; dz overwritten, or added to if `accumulate`.
// Work      A tile is 64x64 of s. A block owns 64 rows (x), every tile in a run of ceil(tiles / S) columns of tiles (y)
//           and, going backward, 128 columns of u, a chunk (z), for which it makes the tiles anew.
//             normalize  a warp owns a row. Block 128, grid ceil(2N / 4).
//             __direct   a warp owns a row, all columns one after the other; S = 1. Block 128, grid ceil(2N / 4).
//             __tiled    CUDA cores. Block 256: a thread owns 4x4 of s, and 4x8 of d_unit. 32 columns of u at a time
//                        lie in shared memory, k-major; the weights go through shared memory from the first product to
//                        the second. Grid (tiles, S), bwd (tiles, S, ceil(D / 128)), tiles = ceil(2N / 64).
//             __mma      tensor cores. Block 128, same grids: a warp owns 16 rows, so weights pass from the
//                        accumulators of the first product to the operand of the second in registers. Chunks come by
//                        cp.async, one ahead. Dynamic shared memory (slots + 2) 16 KiB: up to 4 chunks (D <= 512) the
//                        rows stay, slots = ceil(D / 128); beyond, they are fetched again with every tile, slots = 2.
//             finalize   block 1024, grid 1: a thread owns a row, and merges its splits in order.
//             apply      a warp owns a row, and adds its splits in order. Block 128, grid ceil(2N / 4).
// Shape     2N even, 4 up to 2^20; D >= 1; T > 0; 1 <= S <= tiles, the same in fwd and its finalize, in bwd and its
//           apply. mma: D % 8 = 0. The host rejects anything else, and picks mma for bf16 where D allows, tiled
//           otherwise, with S = min(tiles, ceil(256 / (tiles chunks))), where chunks is ceil(D / 128) for bwd and 1 for
//           fwd: so few rows fill a GPU too, and S 2N is at most 2N + 16384.
// Cost      With M = 2N: fwd 2 M^2 D FLOPs and M^2 exp; bwd 2 M^2 D ceil(D / 128) + 2 M^2 D and twice as many exp a
//           chunk: 4 M^2 D at D = 128, 6 M^2 D at 256, 34 M^2 D at 2048. Making s again for each chunk costs that and
//           keeps the sums in registers. Bytes: inputs and outputs once, u M / 64 times from L2. The limit at M in the
//           thousands: tensor cores, and shared memory close behind. Share of it: not yet measured.
// Numbers   f32 accumulators, k and j ascending, splits in order: same S, same bits. s is off by at most D half ulp of
//           1 over T (the tests allow D / 32 + 6), lse by that and a few ulp of itself. mma: u is rounded to bf16,
//           which moves s by up to 2^-7 / T and by far less when D is large; given these u, s is as exact as in f32.
//           w is rounded to bf16, relative 2^-8, after the subtraction of 2: the small weights of a trained net stay
//           as exact.
// Lost      Masks of the diagonal and the positives within the loop that makes w: 212 registers for 166 now, two blocks
//           an SM for three. apply with 16 bytes of z an access in bf16: reads of d_unit 32 bytes apart, twice the
//           sectors. Not tried: half of s mirrors the other, but using that needs a partial sum for each row and tile,
//           M^2 / 64; and 1 / T for a maximum, since |s| <= 1 / T, underflows below T = 0.02.

#include "mma.cuh"
#include "rows.cuh"
#include "similarity.cuh"
#include "unit_gradient.cuh"

constexpr uint32_t ROW_WARPS = 4;   // of entries where a warp owns a row
constexpr uint32_t HELD = 8;        // 16-byte packs of a lane there
constexpr uint32_t APPLY_HELD = 4;  // accesses of 4 elements in apply, which holds the gradient too
constexpr uint32_t FINAL_WARPS = 32;

// Which element of s a thread looks at, and what it means.
struct Place {
    uint32_t rows;

    __device__ __forceinline__ uint32_t partner(uint32_t i) const { return i < rows / 2 ? i + rows / 2 : i - rows / 2; }

    // Whether the tile from (i0, j0) has elements of the diagonal, positives, or anything beyond the matrix.
    __device__ __forceinline__ bool special(uint32_t i0, uint32_t j0) const
    {
        const int32_t apart = int32_t(j0) - int32_t(i0), half = int32_t(rows / 2), tile = int32_t(TILE);
        return apart == 0 || abs(apart - half) < tile || abs(apart + half) < tile || j0 + TILE > rows;
    }
};

// w for s = `dot` / T, by exponents to the base of 2.
__device__ __forceinline__ float weight(float dot, float scale, float lse_row, float lse_column)
{
    const float s = dot * scale;
    return exp2f(s - lse_row) + exp2f(s - lse_column);
}

// ---- normalize ------------------------------------------------------------------------------------------------------

template <typename T, uint32_t WIDTH>
__device__ __forceinline__ void normalize_row(uint32_t d, const T* __restrict__ z, T* __restrict__ unit, float* inverse)
{
    const Row<T, WIDTH, 32, HELD> row(z, d, threadIdx.x % 32);
    const float scale = 1.0f / at_least(warp_length(row), EPS);
    row.each([&](uint32_t at, auto& x) {
        for (float& v : x) {
            v *= scale;
        }
        write_wide(unit + at, x, false);
    });
    if (threadIdx.x % 32 == 0) {
        *inverse = scale;
    }
}

template <typename T>
__device__ __forceinline__ void normalize(uint32_t rows, uint32_t d, const T* __restrict__ z, T* __restrict__ unit,
                                          float* __restrict__ inverse)
{
    const uint32_t row = blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (row >= rows) {
        return;
    }
    const size_t first = size_t(row) * d;
    if (d % PACK<T> == 0) {
        normalize_row<T, PACK<T>>(d, z + first, unit + first, inverse + row);
    } else {
        normalize_row<T, 1>(d, z + first, unit + first, inverse + row);
    }
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nt_xent_normalize_f32(uint32_t rows, uint32_t d, const float* __restrict__ z, float* __restrict__ unit,
                      float* __restrict__ inverse)
{
    normalize(rows, d, z, unit, inverse);
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nt_xent_normalize_bf16(uint32_t rows, uint32_t d, const bf16* __restrict__ z, bf16* __restrict__ unit,
                       float* __restrict__ inverse)
{
    normalize(rows, d, z, unit, inverse);
}

// ---- direct: a warp a row -------------------------------------------------------------------------------------------

template <typename T>
__device__ __forceinline__ void forward_direct(uint32_t rows, uint32_t d, float temperature, const T* __restrict__ unit,
                                               float* __restrict__ part, float* __restrict__ positive)
{
    const uint32_t i = blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (i >= rows) {
        return;
    }
    const uint32_t partner = Place{rows}.partner(i);
    LogSum lse;
    for (uint32_t j = 0; j < rows; ++j) {
        if (j != i) {
            const float s[1] = {warp_dot(d, unit + size_t(i) * d, unit + size_t(j) * d) / temperature};
            lse.add<1>({s[0] * LOG2_E});
            if (j == partner && threadIdx.x % 32 == 0) {
                positive[i] = s[0];
            }
        }
    }
    if (threadIdx.x % 32 == 0) {
        part[i] = lse.natural();
    }
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nt_xent_fwd_f32__direct(uint32_t rows, uint32_t d, float temperature, const float* __restrict__ unit,
                        float* __restrict__ part, float* __restrict__ positive)
{
    forward_direct(rows, d, temperature, unit, part, positive);
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nt_xent_fwd_bf16__direct(uint32_t rows, uint32_t d, float temperature, const bf16* __restrict__ unit,
                         float* __restrict__ part, float* __restrict__ positive)
{
    forward_direct(rows, d, temperature, unit, part, positive);
}

template <typename T>
__device__ __forceinline__ void backward_direct(uint32_t rows, uint32_t d, float temperature,
                                                const T* __restrict__ unit, const float* __restrict__ lse,
                                                float* __restrict__ d_unit)
{
    const uint32_t i = blockIdx.x * ROW_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (i >= rows) {
        return;
    }
    const uint32_t partner = Place{rows}.partner(i);
    float* sum = d_unit + size_t(i) * d;
    for (uint32_t k = lane; k < d; k += 32) {
        sum[k] = 0.0f;
    }
    for (uint32_t j = 0; j < rows; ++j) {
        if (j != i) {
            const T* u = unit + size_t(j) * d;
            const float dot = warp_dot(d, unit + size_t(i) * d, u);
            const float w = weight(dot, LOG2_E / temperature, lse[i] * LOG2_E, lse[j] * LOG2_E)
                            - (j == partner ? 2.0f : 0.0f);
            for (uint32_t k = lane; k < d; k += 32) {
                sum[k] = fmaf(w, to_float(u[k]), sum[k]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nt_xent_bwd_f32__direct(uint32_t rows, uint32_t d, float temperature, const float* __restrict__ unit,
                        const float* __restrict__ lse, float* __restrict__ d_unit)
{
    backward_direct(rows, d, temperature, unit, lse, d_unit);
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
nt_xent_bwd_bf16__direct(uint32_t rows, uint32_t d, float temperature, const bf16* __restrict__ unit,
                         const float* __restrict__ lse, float* __restrict__ d_unit)
{
    backward_direct(rows, d, temperature, unit, lse, d_unit);
}

// ---- tiled: CUDA cores ----------------------------------------------------------------------------------------------

template <typename T>
__device__ __forceinline__ void forward_tiled(uint32_t rows, uint32_t d, float temperature, const T* __restrict__ unit,
                                              float* __restrict__ part, float* __restrict__ positive)
{
    __shared__ alignas(16) Tiled shared;
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16, i0 = blockIdx.x * TILE;
    const float scale = LOG2_E / temperature;
    const Place place{rows};
    const Run run = columns_of_block(rows);
    LogSum lse[4];
    for (uint32_t tile = run.first; tile < run.end; ++tile) {
        const uint32_t j0 = tile * TILE;
        const bool special = place.special(i0, j0);
        float dots[4][4];
        tile_of_dots(shared, d, rows, unit, i0, rows, unit, j0, dots);
#pragma unroll
        for (uint32_t r = 0; r < 4; ++r) {
            const uint32_t i = i0 + y * 4 + r;
            float s[4];
#pragma unroll
            for (uint32_t c = 0; c < 4; ++c) {
                s[c] = dots[r][c] * scale;
                const uint32_t j = j0 + x * 4 + c;
                if (special && i < rows) {
                    if (j == place.partner(i)) {
                        positive[i] = dots[r][c] / temperature;
                    }
                    s[c] = j == i || j >= rows ? -INFINITY : s[c];
                }
            }
            lse[r].add(s);
        }
    }
#pragma unroll
    for (uint32_t r = 0; r < 4; ++r) {
        lse[r].merge_lanes<16>();
        const uint32_t i = i0 + y * 4 + r;
        if (x == 0 && i < rows) {
            part[size_t(blockIdx.y) * rows + i] = lse[r].natural();
        }
    }
}

extern "C" __global__ void __launch_bounds__(TILED)
nt_xent_fwd_f32__tiled(uint32_t rows, uint32_t d, float temperature, const float* __restrict__ unit,
                       float* __restrict__ part, float* __restrict__ positive)
{
    forward_tiled(rows, d, temperature, unit, part, positive);
}

extern "C" __global__ void __launch_bounds__(TILED)
nt_xent_fwd_bf16__tiled(uint32_t rows, uint32_t d, float temperature, const bf16* __restrict__ unit,
                        float* __restrict__ part, float* __restrict__ positive)
{
    forward_tiled(rows, d, temperature, unit, part, positive);
}

template <typename T>
__device__ __forceinline__ void backward_tiled(uint32_t rows, uint32_t d, float temperature, const T* __restrict__ unit,
                                               const float* __restrict__ lse, float* __restrict__ d_unit)
{
    __shared__ alignas(16) Tiled shared;
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16, i0 = blockIdx.x * TILE, d0 = blockIdx.z * CHUNK;
    const float scale = LOG2_E / temperature;
    const Place place{rows};
    const Run run = columns_of_block(rows);
    float lse_row[4], sums[4][8] = {};
#pragma unroll
    for (uint32_t r = 0; r < 4; ++r) {
        const uint32_t i = i0 + y * 4 + r;
        lse_row[r] = i < rows ? lse[i] * LOG2_E : 0.0f;
    }
    for (uint32_t tile = run.first; tile < run.end; ++tile) {
        const uint32_t j0 = tile * TILE;
        const bool special = place.special(i0, j0);
        float dots[4][4];
        tile_of_dots(shared, d, rows, unit, i0, rows, unit, j0, dots);
#pragma unroll
        for (uint32_t c = 0; c < 4; ++c) {
            const uint32_t j = j0 + x * 4 + c;
            const float lse_column = j < rows ? lse[j] * LOG2_E : 0.0f;
            float w[4];
#pragma unroll
            for (uint32_t r = 0; r < 4; ++r) {
                const uint32_t i = i0 + y * 4 + r;
                w[r] = weight(dots[r][c], scale, lse_row[r], lse_column);
                if (special) {
                    w[r] = j == i || j >= rows ? 0.0f : w[r];
                    w[r] -= i < rows && j == place.partner(i) ? 2.0f : 0.0f;
                }
            }
            store_weights(shared, c, w);
        }
        add_products(shared, d, rows, unit, j0, d0, sums);
    }
    store_sums(rows, d, i0, d0, sums, d_unit + size_t(blockIdx.y) * rows * d);
}

extern "C" __global__ void __launch_bounds__(TILED)
nt_xent_bwd_f32__tiled(uint32_t rows, uint32_t d, float temperature, const float* __restrict__ unit,
                       const float* __restrict__ lse, float* __restrict__ d_unit)
{
    backward_tiled(rows, d, temperature, unit, lse, d_unit);
}

extern "C" __global__ void __launch_bounds__(TILED)
nt_xent_bwd_bf16__tiled(uint32_t rows, uint32_t d, float temperature, const bf16* __restrict__ unit,
                        const float* __restrict__ lse, float* __restrict__ d_unit)
{
    backward_tiled(rows, d, temperature, unit, lse, d_unit);
}

// ---- mma: tensor cores ----------------------------------------------------------------------------------------------

constexpr uint32_t MMA = 128;
constexpr uint32_t PIECES = CHUNK / 8;  // of 16 bytes, in a chunk's row
constexpr uint32_t SLOT = TILE * CHUNK * sizeof(bf16);  // bytes
constexpr uint32_t RESIDENT = 4;  // chunks of the block's own rows that shared memory has room for
static_assert(MMA / 32 * 16 == TILE, "a warp owns 16 rows");
static_assert(MMA % PIECES == 0 && MMA / PIECES % 8 == 0, "a thread's copies lie alike in the swizzle");

// At what byte of its slot piece `piece` of row `row` lies: 8 rows of one piece fall on 8 different groups of 4 banks.
__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t piece)
{
    return (row * PIECES + (piece ^ (row % 8))) * 16;
}

__device__ __forceinline__ void store_zeros_16(uint32_t to_shared)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(to_shared), "r"(0) : "memory");
}

// ldmatrix_x4 of matrices stored k-major: lane l gets rows 2 (l % 4) and the next of column l / 4.
__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], uint32_t row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

__device__ __forceinline__ uint32_t two_bf16(float low, float high)
{
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&both);
}

// The chunks of u that a block goes through, tile after tile of its columns; a step is a chunk of a tile. The last
// chunk of every tile is `last`, which stays in shared memory until the step after.
struct Chunks {
    uint32_t rows, d, i0, count, last, steps;
    Run run;
    const bf16* unit;
    uint32_t a, b;  // shared addresses of the slots for the block's own rows, and of two for its columns

    __device__ __forceinline__ Chunks(uint32_t rows, uint32_t d, uint32_t last, const bf16* unit, const bf16* shared)
        : rows(rows), d(d), i0(blockIdx.x * TILE), count((d + CHUNK - 1) / CHUNK), last(last),
          run(columns_of_block(rows)), unit(unit)
    {
        steps = (run.end - run.first) * count;
        a = shared_address(shared);
        b = a + (count <= RESIDENT ? count : 2) * SLOT;
    }

    __device__ __forceinline__ uint32_t chunk(uint32_t step) const { return (step + last + 1) % count; }
    __device__ __forceinline__ uint32_t a_slot(uint32_t step) const
    {
        return a + (count <= RESIDENT ? step % count : step % 2) * SLOT;
    }
    __device__ __forceinline__ uint32_t b_slot(uint32_t step) const { return b + step % 2 * SLOT; }

    // Starts this thread's share of copying; zeros beyond the matrix.
    __device__ __forceinline__ void copy(uint32_t slot, uint32_t r0, uint32_t k0) const
    {
        const uint32_t row = r0 + threadIdx.x / PIECES, piece = threadIdx.x % PIECES, k = k0 + piece * 8;
        const bf16* from = unit + size_t(row) * d + k;
        const uint32_t to = slot + swizzled(threadIdx.x / PIECES, piece);
#pragma unroll
        for (uint32_t r = 0; r < TILE; r += MMA / PIECES) {
            if (row + r < rows && k < d) {
                cp_async_16(to + r * PIECES * 16, from + size_t(r) * d);
            } else {
                store_zeros_16(to + r * PIECES * 16);
            }
        }
    }

    __device__ __forceinline__ void fill(uint32_t step) const
    {
        if (step < steps) {
            copy(b_slot(step), (run.first + step / count) * TILE, chunk(step) * CHUNK);
            if (count > RESIDENT || step < count) {
                copy(a_slot(step), i0, chunk(step) * CHUNK);
            }
        }
        cp_async_commit();
    }

    // dots[n] = the fragment of columns 8n to 8n + 7 of <u[i], u[j]>, for the warp's 16 rows. Takes steps from `step`.
    __device__ __forceinline__ void tile_of_dots(uint32_t& step, float (&dots)[TILE / 8][4]) const
    {
        const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
        for (uint32_t n = 0; n < TILE / 8 * 4; ++n) {
            dots[n / 4][n % 4] = 0.0f;
        }
        for (uint32_t c = 0; c < count; ++c, ++step) {
            cp_async_wait<0>();  // this thread's part of this step is there,
            __syncthreads();     // now everyone's is, and everyone has read the slot that is filled next
            fill(step + 1);
            const uint32_t own = a_slot(step), columns = b_slot(step);
            const uint32_t pieces = min((d - chunk(step) * CHUNK + 15) / 16 * 2, PIECES);
#pragma unroll 2
            for (uint32_t piece = 0; piece < pieces; piece += 2) {
                uint32_t a_part[4], b_part[TILE / 16][4];
                ldmatrix_x4(a_part, own + swizzled(warp * 16 + lane % 16, piece + lane / 16));
#pragma unroll
                for (uint32_t n = 0; n < TILE / 16; ++n) {
                    const uint32_t row = n * 16 + lane / 16 * 8 + lane % 8;
                    ldmatrix_x4(b_part[n], columns + swizzled(row, piece + lane / 8 % 2));
                }
#pragma unroll
                for (uint32_t n = 0; n < TILE / 8; ++n) {
                    mma_16x8x16_bf16(dots[n], a_part, b_part[n / 2][n % 2 * 2], b_part[n / 2][n % 2 * 2 + 1]);
                }
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(MMA)
nt_xent_fwd_bf16__mma(uint32_t rows, uint32_t d, float temperature, const bf16* __restrict__ unit,
                      float* __restrict__ part, float* __restrict__ positive)
{
    extern __shared__ __align__(128) bf16 slots[];
    const Chunks chunks(rows, d, 0, unit, slots);
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t own = chunks.i0 + warp * 16 + lane / 4;  // and 8 further down
    const float scale = LOG2_E / temperature;
    const Place place{rows};
    LogSum lse[2];
    chunks.fill(0);
    for (uint32_t step = 0; step < chunks.steps;) {
        const uint32_t j0 = (chunks.run.first + step / chunks.count) * TILE;
        float dots[TILE / 8][4];
        chunks.tile_of_dots(step, dots);
        const bool special = place.special(chunks.i0, j0);
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t i = own + half * 8;
            float s[TILE / 4];
#pragma unroll
            for (uint32_t c = 0; c < TILE / 4; ++c) {
                const float dot = dots[c / 2][half * 2 + c % 2];
                s[c] = dot * scale;
                if (special && i < rows) {
                    const uint32_t j = j0 + c / 2 * 8 + lane % 4 * 2 + c % 2;
                    if (j == place.partner(i)) {
                        positive[i] = dot / temperature;
                    }
                    s[c] = j == i || j >= rows ? -INFINITY : s[c];
                }
            }
            lse[half].add(s);
        }
    }
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        lse[half].merge_lanes<4>();
        const uint32_t i = own + half * 8;
        if (lane % 4 == 0 && i < rows) {
            part[size_t(blockIdx.y) * rows + i] = lse[half].natural();
        }
    }
}

extern "C" __global__ void __launch_bounds__(MMA, 3)
nt_xent_bwd_bf16__mma(uint32_t rows, uint32_t d, float temperature, const bf16* __restrict__ unit,
                      const float* __restrict__ lse, float* __restrict__ d_unit)
{
    extern __shared__ __align__(128) bf16 slots[];
    const Chunks chunks(rows, d, blockIdx.z, unit, slots);
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t own = chunks.i0 + warp * 16 + lane / 4;  // and 8 further down
    const float scale = LOG2_E / temperature;
    const Place place{rows};
    const float lse_row[2] = {own < rows ? lse[own] * LOG2_E : 0.0f, own + 8 < rows ? lse[own + 8] * LOG2_E : 0.0f};
    float sums[CHUNK / 8][4] = {};
    chunks.fill(0);
    for (uint32_t step = 0; step < chunks.steps;) {
        const uint32_t j0 = (chunks.run.first + step / chunks.count) * TILE;
        float w[TILE / 8][4];  // first the dots
        chunks.tile_of_dots(step, w);
#pragma unroll
        for (uint32_t n = 0; n < TILE / 8; ++n) {
            const uint32_t j = j0 + n * 8 + lane % 4 * 2;
            // Both columns are in or both out: j and the number of rows are even.
            const float2 column = j < rows ? *reinterpret_cast<const float2*>(lse + j) : make_float2(0.0f, 0.0f);
            const float lse_column[2] = {column.x * LOG2_E, column.y * LOG2_E};
#pragma unroll
            for (uint32_t e = 0; e < 4; ++e) {
                w[n][e] = weight(w[n][e], scale, lse_row[e / 2], lse_column[e % 2]);
            }
        }
        if (place.special(chunks.i0, j0)) {
#pragma unroll
            for (uint32_t n = 0; n < TILE / 2; ++n) {
                const uint32_t i = own + n / 2 % 2 * 8, j = j0 + n / 4 * 8 + lane % 4 * 2 + n % 2;
                float& it = w[n / 4][n % 4];
                it = j == i || j >= rows ? 0.0f : it;
                it -= i < rows && j == place.partner(i) ? 2.0f : 0.0f;
            }
        }
        const uint32_t columns = chunks.b_slot(step - 1);  // chunk `last` of u, rows j
#pragma unroll
        for (uint32_t part = 0; part < TILE / 16; ++part) {
            const float(&left)[4] = w[part * 2], (&right)[4] = w[part * 2 + 1];
            const uint32_t a_part[4] = {two_bf16(left[0], left[1]), two_bf16(left[2], left[3]),
                                        two_bf16(right[0], right[1]), two_bf16(right[2], right[3])};
#pragma unroll
            for (uint32_t n = 0; n < CHUNK / 16; ++n) {
                uint32_t b_part[4];
                load_transposed(b_part, columns + swizzled(part * 16 + lane % 16, n * 2 + lane / 16));
                mma_16x8x16_bf16(sums[n * 2], a_part, b_part[0], b_part[1]);
                mma_16x8x16_bf16(sums[n * 2 + 1], a_part, b_part[2], b_part[3]);
            }
        }
    }
#pragma unroll
    for (uint32_t n = 0; n < CHUNK / 8; ++n) {
        const uint32_t k = blockIdx.z * CHUNK + n * 8 + lane % 4 * 2;
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t i = own + half * 8;
            if (i < rows && k < d) {
                float* to = d_unit + (size_t(blockIdx.y) * rows + i) * d + k;
                *reinterpret_cast<float2*>(to) = make_float2(sums[n][half * 2], sums[n][half * 2 + 1]);
            }
        }
    }
}

// ---- what follows either rung ---------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(FINAL_WARPS * 32)
nt_xent_fwd_f32__finalize(uint32_t rows, uint32_t splits, const float* __restrict__ part,
                          const float* __restrict__ positive, float* __restrict__ lse, float* __restrict__ loss)
{
    __shared__ float shared[FINAL_WARPS];
    const float sum = sum_of_block<FINAL_WARPS>(rows, shared, [&](uint32_t i) {
        LogSum all;
        for (uint32_t split = 0; split < splits; ++split) {
            all.add<1>({part[size_t(split) * rows + i] * LOG2_E});
        }
        // One split is the lse already, and a round trip would cost it two roundings.
        lse[i] = splits == 1 ? part[i] : all.natural();
        return lse[i] - positive[i];
    });
    if (threadIdx.x == 0) {
        loss[0] = sum / float(rows);
    }
}

template <typename T, uint32_t WIDTH>
__device__ __forceinline__ void apply_row(uint32_t d, uint32_t splits, size_t stride, bool accumulate, float scale,
                                          float inverse, const T* __restrict__ z, const float* __restrict__ d_unit,
                                          T* __restrict__ dz)
{
    using WarpRow = Row<T, WIDTH, 32, APPLY_HELD>;
    const WarpRow row(z, d, threadIdx.x % 32);
    const auto gradient = [&](uint32_t at, float(&g)[WIDTH]) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            g[i] = 0.0f;
        }
        add_parts(g, d_unit + at, splits, stride);
    };
    through_length<WIDTH>(row, inverse, scale, accumulate, gradient, dz);
}

template <typename T>
__device__ __forceinline__ void apply(uint32_t rows, uint32_t d, uint32_t splits, float temperature, bool accumulate,
                                      const float* __restrict__ d_loss, const T* __restrict__ z,
                                      const float* __restrict__ inverse, const float* __restrict__ d_unit,
                                      T* __restrict__ dz)
{
    const uint32_t row = blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    if (row >= rows) {
        return;
    }
    const size_t first = size_t(row) * d, stride = size_t(rows) * d;
    const float scale = d_loss[0] / (float(rows) * temperature);
    if (d % 4 == 0) {
        apply_row<T, 4>(d, splits, stride, accumulate, scale, inverse[row], z + first, d_unit + first, dz + first);
    } else {
        apply_row<T, 1>(d, splits, stride, accumulate, scale, inverse[row], z + first, d_unit + first, dz + first);
    }
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32, 4)
nt_xent_bwd_f32__apply(uint32_t rows, uint32_t d, uint32_t splits, float temperature, uint32_t accumulate,
                       const float* __restrict__ d_loss, const float* __restrict__ z, const float* __restrict__ inverse,
                       const float* __restrict__ d_unit, float* __restrict__ dz)
{
    apply(rows, d, splits, temperature, accumulate != 0, d_loss, z, inverse, d_unit, dz);
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32, 4)
nt_xent_bwd_bf16__apply(uint32_t rows, uint32_t d, uint32_t splits, float temperature, uint32_t accumulate,
                        const float* __restrict__ d_loss, const bf16* __restrict__ z, const float* __restrict__ inverse,
                        const float* __restrict__ d_unit, bf16* __restrict__ dz)
{
    apply(rows, d, splits, temperature, accumulate != 0, d_loss, z, inverse, d_unit, dz);
}
