// What the convolution kernels share: the sizes, and where the taps of a filter fall on an image.
#pragma once

#include "element.cuh"

struct Geometry {
    uint32_t n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;

    __device__ __forceinline__ uint32_t pixels() const { return n * p * q; }    // of y
    __device__ __forceinline__ uint32_t window() const { return r * s * c; }    // weights of one filter
};

// Quotients by a divisor that serves a whole kernel: a multiplication and a shift. For numerators below 2^31.
struct Divider {
    uint32_t divisor, factor, shift;

    __device__ __forceinline__ explicit Divider(uint32_t by) : divisor(by), shift(32 - __clz(by - 1))
    {
        factor = static_cast<uint32_t>((uint64_t((1ull << shift) - by) << 32) / by) + 1;
    }
    __device__ __forceinline__ uint32_t quotient(uint32_t x) const { return (__umulhi(x, factor) + x) >> shift; }
};

// An element of a window: filter row and column, and channel.
struct Tap {
    int r, s;
    uint32_t c;
    bool valid;
};

// The elements of a window in order of (row, column, channel).
struct Window {
    Divider columns, channels;
    uint32_t length;

    __device__ __forceinline__ Window(uint32_t r, uint32_t s, uint32_t c) : columns(s), channels(c), length(r * s * c)
    {
    }
    __device__ __forceinline__ Tap tap(uint32_t i) const
    {
        const uint32_t at = channels.quotient(i), r = columns.quotient(at);
        return {int(r), int(at - r * columns.divisor), i - at * channels.divisor, i < length};
    }
};

// Where tap (0, 0) of a pixel's window falls, inside the image or not.
struct Origin {
    uint32_t image;
    int h, w;
};

constexpr int OUTSIDE = -(1 << 30);  // as an origin's row: no tap falls inside

// A batch of images, and how far apart a window's taps fall on one.
template <typename T>
struct Images {
    const T* first;
    uint32_t height, width, channels;
    int step_h, step_w;

    // The element under tap (0, 0) of channel 0, if that is inside the image.
    __device__ __forceinline__ const T* at(const Origin& origin) const
    {
        return first + size_t(origin.image) * (height * width * channels) + (origin.h * width + origin.w) * channels;
    }

    // The element under a tap; null outside the image.
    __device__ __forceinline__ const T* find(const Origin& origin, const Tap& tap) const
    {
        const uint32_t h = origin.h + tap.r * step_h, w = origin.w + tap.s * step_w;  // wraps where negative
        const bool inside = tap.valid && h < height && w < width;
        const T* image = first + size_t(origin.image) * (height * width * channels);
        return inside ? image + ((h * width + w) * channels + tap.c) : nullptr;
    }
};

template <typename T>
__device__ __forceinline__ Images<T> images_of_x(const Geometry& g, const T* x)
{
    return {x, g.h, g.w, g.c, int(g.dil_h), int(g.dil_w)};
}

// The origins on x of the windows of y's pixels, which are numbered in order of (n, p, q).
struct Pixels {
    Divider images, rows;

    __device__ __forceinline__ explicit Pixels(const Geometry& g) : images(g.p * g.q), rows(g.q) {}

    __device__ __forceinline__ Origin origin(const Geometry& g, uint32_t pixel, uint32_t end) const
    {
        const uint32_t n = images.quotient(pixel), in_image = pixel - n * images.divisor;
        const uint32_t p = rows.quotient(in_image), q = in_image - p * rows.divisor;
        const int h = pixel < end ? int(p * g.stride_h) - int(g.pad_h) : OUTSIDE;
        return {n, h, int(q * g.stride_w) - int(g.pad_w)};
    }
};
