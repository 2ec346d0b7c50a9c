// The way back through u = z / |z|, for losses that bring their rows to unit length: a warp owns a row.
#pragma once

#include "rows.cuh"

constexpr float EPS = 1e-12f;  // shorter rows count as this long

// g[i] += the sum of parts that lie `stride` elements apart, in their order.
template <uint32_t WIDTH>
__device__ __forceinline__ void add_parts(float (&g)[WIDTH], const float* __restrict__ parts, uint32_t count,
                                          size_t stride)
{
    for (uint32_t part = 0; part < count; ++part) {
        float more[WIDTH];
        load_wide(more, parts + part * stride);
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            g[i] += more[i];
        }
    }
}

// dz = scale (g - u <u, g>) / |z|, where gradient(at, g) gives the gradient of u and inverse is 1 / |z|.
template <uint32_t WIDTH, typename WarpRow, typename T, typename Gradient>
__device__ __forceinline__ void through_length(const WarpRow& row, float inverse, float scale, bool accumulate,
                                               const Gradient& gradient, T* __restrict__ dz)
{
    float held[WarpRow::UNITS][WIDTH], g[WIDTH], along = 0.0f;
    const auto add = [&](const float(&x)[WIDTH], const float(&g)[WIDTH]) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            along = fmaf(x[i] * inverse, g[i], along);
        }
    };
    row.each_held([&](uint32_t u, uint32_t at, const auto& x) {
        gradient(at, held[u]);
        add(x, held[u]);
    });
    row.each_beyond([&](uint32_t at, const auto& x) {
        gradient(at, g);
        add(x, g);
    });
    // Where the length is EPS, it is a constant.
    along = inverse >= 1.0f / EPS ? 0.0f : warp_sum(along);
    const auto finish = [&](uint32_t at, float(&x)[WIDTH], const float(&g)[WIDTH]) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            x[i] = scale * (g[i] - x[i] * inverse * along) * inverse;
        }
        write_wide(dz + at, x, accumulate);
    };
    row.each_held([&](uint32_t u, uint32_t at, auto& x) { finish(at, x, held[u]); });
    row.each_beyond([&](uint32_t at, auto& x) {
        gradient(at, g);
        finish(at, x, g);
    });
}
