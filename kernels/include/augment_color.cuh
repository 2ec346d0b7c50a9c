// Colour jitter and grayscale, the middle stages of augment.cu: what src/ops/augment/color.rs does, in its order.
#pragma once

#include "augment_setup.cuh"

constexpr uint32_t SUMS = 16;  // sums side by side in a mean: color.rs

__device__ __forceinline__ real luma(const real (&p)[3]) { return p[0] * 0.2989f + p[1] * 0.587f + p[2] * 0.114f; }
__device__ __forceinline__ real luma(const real (&p)[1]) { return p[0]; }

// From at least -6 and below 12 to at least 0 and below 6.
__device__ __forceinline__ real wrap(real h)
{
    h = h < 0.0f ? h + 6.0f : h;
    return h >= 6.0f ? h - 6.0f : h;
}

// A channel of the colour of hue h (sixths of a turn), value v, chroma d.
__device__ __forceinline__ real channel(real n, real h, real v, real d)
{
    const real k = wrap(n + h);
    const real away = unit(fminf(k.value, (real(4.0f) - k).value));
    return away == 0.0f ? v : unit(v - d * away);
}

__device__ __forceinline__ void turn(real (&p)[3], real shift)
{
    const real v = fmaxf(fmaxf(p[0].value, p[1].value), p[2].value);
    const real d = v - fminf(fminf(p[0].value, p[1].value), p[2].value);
    const real by = real(1.0f) / (d == 0.0f ? real(1.0f) : d);
    const real sixths = v == p[0]   ? (p[1] - p[2]) * by
                        : v == p[1] ? real(2.0f) + (p[2] - p[0]) * by
                                    : real(4.0f) + (p[0] - p[1]) * by;
    const real h = wrap(wrap(sixths) + real(6.0f) * shift);
    p[0] = channel(5.0f, h, v, d);
    p[1] = channel(3.0f, h, v, d);
    p[2] = channel(1.0f, h, v, d);
}

// x · factor + offset of every channel.
template <uint32_t C>
__device__ __forceinline__ void blend(real (&p)[C], real factor, real offset)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        p[c] = unit(p[c] * factor + offset);
    }
}

// Steps `first` to `last` of the jitter on one pixel; `mean` is what the contrast among them wants.
template <uint32_t C>
__device__ __forceinline__ void jitter(real (&p)[C], const float* row, uint32_t first, uint32_t last, real mean)
{
    for (uint32_t i = first; i < last; ++i) {
        const float step = row[ORDER + i];
        if (step == BRIGHTEN) {
#pragma unroll
            for (uint32_t c = 0; c < C; ++c) {
                p[c] = unit(p[c] * row[BRIGHTNESS]);
            }
        } else if (step == CONTRAST_UP) {
            blend(p, row[CONTRAST], mean * (real(1.0f) - row[CONTRAST]));
        }
        if constexpr (C == 3) {
            if (step == SATURATE) {
                blend(p, row[SATURATION], luma(p) * (real(1.0f) - row[SATURATION]));
            } else if (step == TURN) {
                turn(p, row[HUE]);
            }
        }
    }
}

template <uint32_t C>
__device__ __forceinline__ void load(real (&p)[C], const float* view, uint32_t plane, uint32_t at)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        p[c] = view[c * plane + at];
    }
}

template <uint32_t C>
__device__ __forceinline__ void store(const real (&p)[C], float* view, uint32_t plane, uint32_t at)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        view[c * plane + at] = p[c].value;
    }
}

// Applies steps `first` to `last` to the whole view and gives every thread the mean luma of what comes out.
//
// The CPU's order: down the columns, pixel i into sum i % 16, then those 16, then the rest. 17 threads do it from a
// transposed tile of as many columns as fit.
template <uint32_t C, uint32_t THREADS>
__device__ __forceinline__ real settle(const Setup& s, const float* row, uint32_t first, uint32_t last, real mean,
                                       float* view, float* tile, float* sums)
{
    const uint32_t size = s.size, plane = size * size, pitch = size | 1, whole = plane / SUMS * SUMS;
    const uint32_t t = threadIdx.x, most = min(size, s.scratch / pitch);
    const uint32_t stride = t < SUMS ? SUMS : 1, end = t < SUMS ? whole : plane;
    uint32_t i = t < SUMS ? t : whole, x = i / size, y = i % size;
    real sum = 0.0f;
    for (uint32_t left = 0; left < size; left += most) {
        const uint32_t right = min(left + most, size);
        for (Walk<THREADS> at(right - left); at.row < size; at.step()) {
            const uint32_t pixel = at.row * size + left + at.column;
            real p[C];
            load(p, view, plane, pixel);
            jitter(p, row, first, last, mean);
            if (first < last) {
                store(p, view, plane, pixel);
            }
            tile[at.column * pitch + at.row] = luma(p).value;
        }
        __syncthreads();
        if (t <= SUMS) {
            for (; i < end && x < right; i += stride) {
                sum = sum + tile[(x - left) * pitch + y];
                y += stride;
                while (y >= size) {
                    y -= size;
                    ++x;
                }
            }
        }
        __syncthreads();
    }
    if (t <= SUMS) {
        sums[t] = sum.value;
    }
    __syncthreads();
    real total = 0.0f;
#pragma unroll
    for (uint32_t l = 0; l < SUMS; ++l) {
        total = total + sums[l];
    }
    return (total + sums[SUMS]) / float(plane);
}

// The jitter's end and the grayscale: what is left when the last mean is known.
template <uint32_t C>
__device__ __forceinline__ void finish_colour(real (&p)[C], const float* row, uint32_t first, real mean)
{
    jitter(p, row, first, STEPS, mean);
    if (C == 3 && row[GRAYSCALE] >= 0.5f) {
        const real gray = luma(p);
#pragma unroll
        for (uint32_t c = 0; c < C; ++c) {
            p[c] = gray;
        }
    }
}
