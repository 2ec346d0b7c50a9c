// For i = index[n]: bank[i] = unit(momentum bank[i] + (1 - momentum) unit(rows[n])), unit(x) = x / |x|, lengths taken as
// 1e-12 where shorter. Of rows with one index the last is taken; an index beyond the bank changes nothing.
//
// Memory    rows[N,D] in the entry's type, row-major, index[N] u32, read; bank[K,D] f32, the rows of the index read and
//           overwritten. 4 elements an access if D is a multiple of 4, else one.
// Work      A warp owns a row and holds 512 elements of it and of the bank's in registers; of longer rows it reads what
//           is beyond again. Each lane writes only what it alone reads: a row whose index comes again is left to the
//           last, which the warp finds by looking through the indices behind its own. Block 128, grid ceil(N / 4).
// Shape     Any K, N, D >= 1; momentum in 0 to 1.
// Cost      8 N D FLOPs; 12 N D bytes, in bf16 10: memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   f32; lengths from scaled sums as in l2_normalize.cu, right from 1e-34 to 1e38. Each element is within 4 ulp
//           of 1 and the error of a length.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "rows.cuh"

constexpr uint32_t WARPS = 4;
constexpr uint32_t HELD = 4;  // accesses of a lane
constexpr float EPS = 1e-12f;

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void remember_row(uint32_t d, float momentum, const T* __restrict__ from, float* bank)
{
    using WarpRow = Row<T, WIDTH, 32, HELD>;
    const WarpRow row(from, d, threadIdx.x % 32);
    const float take = (1.0f - momentum) / at_least(warp_length(row), EPS);
    const auto blend = [&](uint32_t at, const float(&x)[WIDTH], float(&mix)[WIDTH]) {
        load_wide(mix, bank + at);
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            mix[i] = fmaf(momentum, mix[i], take * x[i]);
        }
    };
    float held[WarpRow::UNITS][WIDTH], mix[WIDTH];
    SquareSum sum;
    const auto add = [&](const float(&mix)[WIDTH]) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            sum.add(mix[i]);
        }
    };
    row.each_held([&](uint32_t u, uint32_t at, const auto& x) {
        blend(at, x, held[u]);
        add(held[u]);
    });
    row.each_beyond([&](uint32_t at, const auto& x) {
        blend(at, x, mix);
        add(mix);
    });
    const float scale = 1.0f / at_least(sum.warp_length(), EPS);
    const auto finish = [&](uint32_t at, float(&mix)[WIDTH]) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            mix[i] *= scale;
        }
        store_wide(bank + at, mix);
    };
    row.each_held([&](uint32_t u, uint32_t at, const auto&) { finish(at, held[u]); });
    row.each_beyond([&](uint32_t at, const auto& x) {
        blend(at, x, mix);
        finish(at, mix);
    });
}

template <typename T>
__device__ __forceinline__ void remember(uint32_t n, uint32_t k, uint32_t d, float momentum,
                                         const T* __restrict__ rows, const uint32_t* __restrict__ index, float* bank)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= n || index[row] >= k) {
        return;
    }
    bool again = false;
    for (uint32_t later = row + 1 + threadIdx.x % 32; later < n; later += 32) {
        again |= index[later] == index[row];
    }
    if (__any_sync(ALL_LANES, again)) {
        return;
    }
    const T* from = rows + size_t(row) * d;
    float* to = bank + size_t(index[row]) * d;
    d % 4 == 0 ? remember_row<4>(d, momentum, from, to) : remember_row<1>(d, momentum, from, to);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
memory_bank_f32(uint32_t n, uint32_t k, uint32_t d, float momentum, const float* __restrict__ rows,
                const uint32_t* __restrict__ index, float* bank)
{
    remember(n, k, d, momentum, rows, index, bank);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
memory_bank_bf16(uint32_t n, uint32_t k, uint32_t d, float momentum, const bf16* __restrict__ rows,
                 const uint32_t* __restrict__ index, float* bank)
{
    remember(n, k, d, momentum, rows, index, bank);
}
