// loss    = (1/N) sum over n of (lse[n] - s[n][n]),  s[n][j] = <uq[n], uk[j]> / T
// lse[n]  = log(exp s[n][n] + sum over j of exp(<uq[n], uc[j]> / T)) with a queue c, log sum over j of exp s[n][j] without
// uq, uk, uc are q, k, queue with rows of length 1, lengths taken as 1e-12 where shorter. Backward, for q or k, called z:
// du[i]   = (d_loss / NT) (sum over j of w[i][j] u[j] + p[i] partner[i]), dz[i] = (du[i] - u[i] <u[i], du[i]>) / |z[i]|
// w[i][j] = exp(<u[i], u[j]> / T - lse[i]) for q over the queue or k; with lse[j] for k over q; for k beside a queue there
//           is no sum. p[i] = exp(s[i][i] - lse[i]) - 1 with a queue, -1 without: there w has the rest.
//
// The N x K matrix never lies in memory: tiles of it are made, folded, and made again for backward.
//
// Memory    z[N,D] in the entry's type, everything else f32, row-major. With S splits:
//             normalize    z read; workspaces unit[N,D] and inverse[N] = 1 / |z[i]| overwritten.
//             fwd          a[R,D], b[C,D], unit rows, read; workspace part[S,R] (lse over a split's columns) overwritten.
//             fwd merge    q, k, unit rows, part read; lse[N] and workspace row_loss[N] overwritten.
//             bwd          a, b, lse ([C] if by_column, else [R]) read; workspace d_unit[S,R,D] overwritten.
//             bwd apply    d_loss[1], z, inverse, partner[N,D], lse[N], d_unit read; dz overwritten, or added to if
//                          `accumulate`.
// Work      A tile is 64x64 of s. A block owns 64 rows (x), every tile in a run of ceil(tiles / S) tiles of columns (y)
//           and, going backward, 128 columns of u, a chunk (z), for which it makes the tiles anew.
//             normalize, merge, apply, __direct   a warp owns a row. Block 128, grid ceil(rows / 4). __direct: S = 1.
//             __tiled    CUDA cores, see similarity.cuh. Block 256, grid (ceil(R / 64), S), bwd (.., S, ceil(D / 128)).
//           The mean of row_loss is softmax_cross_entropy's finalize.
// Shape     N, K, D >= 1, N >= 2 without a queue; T > 0; 1 <= S <= tiles of columns, the same in fwd and merge, in bwd
//           and apply; apply with S = 0 has no d_unit. The host rejects anything else and picks __tiled.
// Cost      With C columns: fwd 2 N C D FLOPs and N C exp, bwd 2 N C D (ceil(D / 128) + 1) and as many exp a chunk. Bytes:
//           inputs and outputs once, unit rows thrice, b N / 64 times from L2. The limit: f32 arithmetic. Share of it:
//           not yet measured.
// Numbers   f32 accumulators, j ascending, splits in order: same S, same bits. Unit rows are f32 whatever z is, so bf16
//           adds the rounding of dz alone. s is off by at most D half ulp of 1 over T.
// Lost      Nothing tried yet. Not tried: unit rows in bf16 on tensor cores, as nt_xent has them.

#include <type_traits>

#include "rows.cuh"
#include "similarity.cuh"
#include "unit_gradient.cuh"

constexpr uint32_t ROW_WARPS = 4;   // of entries where a warp owns a row
constexpr uint32_t HELD = 8;        // accesses of 4 elements of a lane
constexpr uint32_t APPLY_HELD = 4;  // in apply, which holds the gradient too

__device__ __forceinline__ uint32_t row_of_warp() { return blockIdx.x * ROW_WARPS + threadIdx.x / 32; }

// ---- normalize ------------------------------------------------------------------------------------------------------

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void normalize_row(uint32_t d, const T* __restrict__ z, float* __restrict__ unit,
                                              float* inverse)
{
    const Row<T, WIDTH, 32, HELD> row(z, d, threadIdx.x % 32);
    const float scale = 1.0f / at_least(warp_length(row), EPS);
    row.each([&](uint32_t at, auto& x) {
        for (float& v : x) {
            v *= scale;
        }
        store_wide(unit + at, x);
    });
    if (threadIdx.x % 32 == 0) {
        *inverse = scale;
    }
}

template <typename T>
__device__ __forceinline__ void normalize(uint32_t rows, uint32_t d, const T* __restrict__ z, float* __restrict__ unit,
                                          float* __restrict__ inverse)
{
    const uint32_t row = row_of_warp();
    if (row >= rows) {
        return;
    }
    const size_t first = size_t(row) * d;
    d % 4 == 0 ? normalize_row<4>(d, z + first, unit + first, inverse + row)
               : normalize_row<1>(d, z + first, unit + first, inverse + row);
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
info_nce_normalize_f32(uint32_t rows, uint32_t d, const float* __restrict__ z, float* __restrict__ unit,
                       float* __restrict__ inverse)
{
    normalize(rows, d, z, unit, inverse);
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
info_nce_normalize_bf16(uint32_t rows, uint32_t d, const bf16* __restrict__ z, float* __restrict__ unit,
                        float* __restrict__ inverse)
{
    normalize(rows, d, z, unit, inverse);
}

// ---- forward --------------------------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
info_nce_fwd_f32__direct(uint32_t rows, uint32_t columns, uint32_t d, float temperature, const float* __restrict__ a,
                         const float* __restrict__ b, float* __restrict__ part)
{
    const uint32_t i = row_of_warp();
    if (i >= rows) {
        return;
    }
    LogSum lse;
    for (uint32_t j = 0; j < columns; ++j) {
        lse.add<1>({warp_dot(d, a + size_t(i) * d, b + size_t(j) * d) / temperature * LOG2_E});
    }
    if (threadIdx.x % 32 == 0) {
        part[i] = lse.natural();
    }
}

extern "C" __global__ void __launch_bounds__(TILED, 2)
info_nce_fwd_f32__tiled(uint32_t rows, uint32_t columns, uint32_t d, float temperature, const float* __restrict__ a,
                        const float* __restrict__ b, float* __restrict__ part)
{
    __shared__ alignas(16) Tiled shared;
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16, i0 = blockIdx.x * TILE;
    const float scale = LOG2_E / temperature;
    const Run run = columns_of_block(columns);
    LogSum lse[4];
    for (uint32_t tile = run.first; tile < run.end; ++tile) {
        const uint32_t j0 = tile * TILE;
        float dots[4][4];
        tile_of_dots(shared, d, rows, a, i0, columns, b, j0, dots);
#pragma unroll
        for (uint32_t r = 0; r < 4; ++r) {
            float s[4];
#pragma unroll
            for (uint32_t c = 0; c < 4; ++c) {
                s[c] = j0 + x * 4 + c < columns ? dots[r][c] * scale : -INFINITY;
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

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
info_nce_fwd_f32__merge(uint32_t rows, uint32_t d, uint32_t splits, uint32_t queue, float temperature,
                        const float* __restrict__ q, const float* __restrict__ k, const float* __restrict__ part,
                        float* __restrict__ lse, float* __restrict__ row_loss)
{
    const uint32_t i = row_of_warp();
    if (i >= rows) {
        return;
    }
    const float positive = warp_dot(d, q + size_t(i) * d, k + size_t(i) * d) / temperature;
    LogSum all;
    for (uint32_t split = 0; split < splits; ++split) {
        all.add<1>({part[size_t(split) * rows + i] * LOG2_E});
    }
    if (queue != 0) {
        all.add<1>({positive * LOG2_E});
    }
    if (threadIdx.x % 32 == 0) {
        lse[i] = all.natural();
        row_loss[i] = lse[i] - positive;
    }
}

// ---- backward -------------------------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32)
info_nce_bwd_f32__direct(uint32_t rows, uint32_t columns, uint32_t d, uint32_t by_column, float temperature,
                         const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ lse,
                         float* __restrict__ d_unit)
{
    const uint32_t i = row_of_warp(), lane = threadIdx.x % 32;
    if (i >= rows) {
        return;
    }
    float* sum = d_unit + size_t(i) * d;
    for (uint32_t k = lane; k < d; k += 32) {
        sum[k] = 0.0f;
    }
    for (uint32_t j = 0; j < columns; ++j) {
        const float* u = b + size_t(j) * d;
        const float s = warp_dot(d, a + size_t(i) * d, u) / temperature;
        const float w = exp2f((s - lse[by_column != 0 ? j : i]) * LOG2_E);
        for (uint32_t k = lane; k < d; k += 32) {
            sum[k] = fmaf(w, u[k], sum[k]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(TILED, 2)
info_nce_bwd_f32__tiled(uint32_t rows, uint32_t columns, uint32_t d, uint32_t by_column, float temperature,
                        const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ lse,
                        float* __restrict__ d_unit)
{
    __shared__ alignas(16) Tiled shared;
    const uint32_t x = threadIdx.x % 16, y = threadIdx.x / 16, i0 = blockIdx.x * TILE, d0 = blockIdx.z * CHUNK;
    const float scale = LOG2_E / temperature;
    const Run run = columns_of_block(columns);
    float lse_row[4], sums[4][8] = {};
#pragma unroll
    for (uint32_t r = 0; r < 4; ++r) {
        const uint32_t i = i0 + y * 4 + r;
        lse_row[r] = by_column == 0 && i < rows ? lse[i] * LOG2_E : 0.0f;
    }
    for (uint32_t tile = run.first; tile < run.end; ++tile) {
        const uint32_t j0 = tile * TILE;
        float dots[4][4];
        tile_of_dots(shared, d, rows, a, i0, columns, b, j0, dots);
#pragma unroll
        for (uint32_t c = 0; c < 4; ++c) {
            const uint32_t j = j0 + x * 4 + c;
            const float lse_column = by_column != 0 && j < columns ? lse[j] * LOG2_E : 0.0f;
            float w[4];
#pragma unroll
            for (uint32_t r = 0; r < 4; ++r) {
                const float its = by_column != 0 ? lse_column : lse_row[r];
                w[r] = j < columns ? exp2f(dots[r][c] * scale - its) : 0.0f;
            }
            store_weights(shared, c, w);
        }
        add_products(shared, d, columns, b, j0, d0, sums);
    }
    store_sums(rows, d, i0, d0, sums, d_unit + size_t(blockIdx.y) * rows * d);
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void apply_row(uint32_t d, uint32_t splits, size_t stride, bool queue, bool accumulate,
                                          float temperature, float scale, float inverse, float lse,
                                          const T* __restrict__ z, const float* __restrict__ partner,
                                          const float* __restrict__ d_unit, T* __restrict__ dz)
{
    using WarpRow = Row<T, WIDTH, 32, APPLY_HELD>;
    const WarpRow row(z, d, threadIdx.x % 32);
    float pull = -1.0f;
    if (queue) {
        float dot = 0.0f;
        row.each([&](uint32_t at, const auto& x) {
            float other[WIDTH];
            load_wide(other, partner + at);
#pragma unroll
            for (uint32_t i = 0; i < WIDTH; ++i) {
                dot = fmaf(x[i] * inverse, other[i], dot);
            }
        });
        pull = exp2f((warp_sum(dot) / temperature - lse) * LOG2_E) - 1.0f;
    }
    const auto gradient = [&](uint32_t at, float(&g)[WIDTH]) {
        load_wide(g, partner + at);
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            g[i] *= pull;
        }
        add_parts(g, d_unit + at, splits, stride);
    };
    through_length<WIDTH>(row, inverse, scale, accumulate, gradient, dz);
}

template <typename T>
__device__ __forceinline__ void apply(uint32_t rows, uint32_t d, uint32_t splits, bool queue, bool accumulate,
                                      float temperature, const float* __restrict__ d_loss, const T* __restrict__ z,
                                      const float* __restrict__ inverse, const float* __restrict__ partner,
                                      const float* __restrict__ lse, const float* __restrict__ d_unit,
                                      T* __restrict__ dz)
{
    const uint32_t row = row_of_warp();
    if (row >= rows) {
        return;
    }
    const size_t first = size_t(row) * d, stride = size_t(rows) * d;
    const float scale = d_loss[0] / (float(rows) * temperature);
    const auto run = [&](auto width) {
        apply_row<decltype(width)::value>(d, splits, stride, queue, accumulate, temperature, scale, inverse[row],
                                          lse[row], z + first, partner + first, d_unit + first, dz + first);
    };
    d % 4 == 0 ? run(std::integral_constant<uint32_t, 4>{}) : run(std::integral_constant<uint32_t, 1>{});
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32, 4)
info_nce_bwd_f32__apply(uint32_t rows, uint32_t d, uint32_t splits, uint32_t queue, uint32_t accumulate,
                        float temperature, const float* __restrict__ d_loss, const float* __restrict__ z,
                        const float* __restrict__ inverse, const float* __restrict__ partner,
                        const float* __restrict__ lse, const float* __restrict__ d_unit, float* __restrict__ dz)
{
    apply(rows, d, splits, queue != 0, accumulate != 0, temperature, d_loss, z, inverse, partner, lse, d_unit, dz);
}

extern "C" __global__ void __launch_bounds__(ROW_WARPS * 32, 4)
info_nce_bwd_bf16__apply(uint32_t rows, uint32_t d, uint32_t splits, uint32_t queue, uint32_t accumulate,
                         float temperature, const float* __restrict__ d_loss, const bf16* __restrict__ z,
                         const float* __restrict__ inverse, const float* __restrict__ partner,
                         const float* __restrict__ lse, const float* __restrict__ d_unit, bf16* __restrict__ dz)
{
    apply(rows, d, splits, queue != 0, accumulate != 0, temperature, d_loss, z, inverse, partner, lse, d_unit, dz);
}
