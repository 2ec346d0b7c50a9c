// w[k] = w[k] / |w[k]|, in place; a row shorter than 1e-12 is divided by that.
//
// Memory    w[K,D] f32, row-major, read and overwritten; 16-byte accesses if D is a multiple of 4, else by element.
// Work      A warp owns a row and holds 1024 elements of it in registers; longer rows are read again for what is
//           beyond. Each lane writes only what it alone reads. Block 128, grid ceil(K / 4).
// Shape     Any K, D >= 1.
// Cost      3 K D FLOPs, 8 K D bytes: memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   f32; lengths from scaled sums as in l2_normalize.cu, right from 1e-34 to 1e38.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "rows.cuh"

constexpr uint32_t WARPS = 4;
constexpr uint32_t HELD = 8;  // 16-byte packs of a lane
constexpr float EPS = 1e-12f;

template <uint32_t WIDTH>
__device__ __forceinline__ void scale_row(uint32_t d, float* w)
{
    const Row<float, WIDTH, 32, HELD> row(w, d, threadIdx.x % 32);
    const float scale = 1.0f / at_least(warp_length(row), EPS);
    row.each([&](uint32_t at, auto& x) {
        for (float& v : x) {
            v *= scale;
        }
        store_wide(w + at, x);
    });
}

extern "C" __global__ void __launch_bounds__(WARPS * 32) unit_rows_f32(uint32_t k, uint32_t d, float* w)
{
    const uint32_t row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= k) {
        return;
    }
    const size_t first = size_t(row) * d;
    d % PACK<float> == 0 ? scale_row<PACK<float>>(d, w + first) : scale_row<1>(d, w + first);
}
