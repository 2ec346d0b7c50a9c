// What the three passes of a convolution put into an implicit matrix product: each operand knows where the 16-byte
// chunks of its next tile lie. Offsets count chunks, in 32 bits, and wrap: only a sum that is used has to be right.
#pragma once

#include "conv2d.cuh"
#include "implicit_gemm.cuh"

// An image's pixels under a filter that walks over them with unit stride: what both gathering operands see. Row and
// column of tap (t, u) are those of tap (0, 0) plus t step_h, u step_w.
struct Field {
    uint32_t height, width, chunks;  // chunks of 8 channels
    int32_t step_h, step_w;
    uint32_t taps_h, taps_w;
};

// Where tap (0, 0) of a GEMM row's pixel falls; it may lie outside of the image.
struct Corner {
    uint32_t image;
    int32_t h, w;
    bool exists;
};

// Rows of pixels along (t, u, channel): the window of each, unrolled. `walk` is the number of chunks the walk gives a
// tap, at least the field's; those beyond are zeros. A thread's rows share one position in the window, since its chunk
// is the same in all; where a row's taps fall inside the image is one bit a filter row and a filter column.
template <uint32_t SIZE>
struct PixelRows {
    using Layout = Along<SIZE>;
    Share<Layout> share;
    const uint4* image;
    uint32_t offset[Layout::COPIES], inside[Layout::COPIES];
    uint32_t t, u, chunk;                      // of the next copy
    uint32_t next_t, next_u, next_chunk;       // how far a tile is, as digits of (t, u, chunk)
    uint32_t walk, taps_w, chunks, step_t, step_u;

    template <class Find>
    __device__ __forceinline__ PixelRows(const Field& field, uint32_t walk, const bf16* from, Find find)
        : image(reinterpret_cast<const uint4*>(from)), walk(walk), taps_w(field.taps_w), chunks(field.chunks)
    {
        step_t = field.step_h * field.width * field.chunks;  // wraps where negative, and so do the sums with it
        step_u = field.step_w * field.chunks;
        chunk = share.chunk % walk;
        u = share.chunk / walk % taps_w, t = share.chunk / walk / taps_w;
        next_chunk = Layout::WIDTH % walk;
        next_u = Layout::WIDTH / walk % taps_w, next_t = Layout::WIDTH / walk / taps_w;
#pragma unroll
        for (uint32_t i = 0; i < Layout::COPIES; ++i) {
            const Corner corner = find(share.row + i * Layout::STRIDE);
            offset[i] = ((corner.image * field.height + corner.h) * field.width + corner.w) * field.chunks;
            inside[i] = 0;
            for (uint32_t tap = 0; tap < field.taps_h; ++tap) {
                const uint32_t h = corner.h + int32_t(tap) * field.step_h;
                inside[i] |= uint32_t(corner.exists && h < field.height) << tap;
            }
            for (uint32_t tap = 0; tap < field.taps_w; ++tap) {
                const uint32_t w = corner.w + int32_t(tap) * field.step_w;
                inside[i] |= uint32_t(w < field.width) << (16 + tap);
            }
        }
    }

    __device__ __forceinline__ void copy(uint32_t tile)
    {
        // Bit 31 is never set: there are at most 12 columns of taps. Behind the last tap, t is one that nobody has.
        const uint32_t wanted = 1u << t | 0x10000u << u | uint32_t(chunk >= chunks) << 31;
        const uint32_t tap = t * step_t + u * step_u + chunk;
#pragma unroll
        for (uint32_t i = 0; i < Layout::COPIES; ++i) {
            const bool valid = (inside[i] & wanted) == wanted;
            cp_async_16_or_zero(tile + share.at + i * share.NEXT, image + (offset[i] + tap), valid);
        }
        chunk += next_chunk;
        const bool tap_done = chunk >= walk;
        chunk -= tap_done ? walk : 0;
        u += next_u + tap_done;
        const bool row_done = u >= taps_w;
        u -= row_done ? taps_w : 0;
        t += next_t + row_done;
    }
};

// Filters as they lie, rows along (r, s, c): b[rsc][k] of the forward pass.
template <uint32_t SIZE>
struct FilterRows {
    using Layout = Along<SIZE>;
    Share<Layout> share;
    const uint4* filters;
    uint32_t length, chunk, offset, rows;  // rows: how many there are from this thread's first

    __device__ __forceinline__ FilterRows(const Geometry& g, const bf16* weight, uint32_t first)
        : filters(reinterpret_cast<const uint4*>(weight)), length(g.window() / CHUNK)
    {
        chunk = share.chunk;
        offset = (first + share.row) * length + chunk;
        rows = max(int(g.k) - int(first + share.row), 0);
    }

    __device__ __forceinline__ void copy(uint32_t tile)
    {
#pragma unroll
        for (uint32_t i = 0; i < Layout::COPIES; ++i) {
            const bool valid = chunk < length && i * Layout::STRIDE < rows;
            const uint4* from = filters + (offset + i * Layout::STRIDE * length);
            cp_async_16_or_zero(tile + share.at + i * share.NEXT, from, valid);
        }
        chunk += Layout::WIDTH;
        offset += Layout::WIDTH;
    }
};

// The taps of one axis that pixels h = parity + stride i see: r = first + step t, t < count. They fall on y's row
// (h + pad - r dil) / stride = i + origin - t back.
struct Taps {
    uint32_t count, first, step;
    int32_t origin, back;

    __device__ __forceinline__ Taps(uint32_t parity, uint32_t stride, uint32_t pad, uint32_t dil, uint32_t taps)
    {
        first = 0;
        while (first < stride && (parity + pad + first * (stride - dil % stride)) % stride != 0) {
            ++first;
        }
        step = 1;
        while (step * dil % stride != 0) {
            ++step;
        }
        count = first < stride && first < taps ? (taps - 1 - first) / step + 1 : 0;
        origin = (int32_t(parity + pad) - int32_t(first * dil)) / int32_t(stride);  // exact if first is one
        back = step * dil / stride;
    }
};

// Filters transposed, rows across c, along (t, u, k): b[tuk][c] of the pass to the input, over the taps of one parity.
template <uint32_t SIZE>
struct FilterColumns {
    using Layout = Across<SIZE>;
    Share<Layout> share;
    const uint4* filters;
    uint32_t length, offset, filter;  // of a filter; of this thread's chunk in its first filter; that filter
    uint32_t filters_all, taps_w, tap, step_t, step_u;
    uint32_t first, t, u;  // of the next copy, the same for the whole block
    bool valid;            // whether this thread's chunk exists

    __device__ __forceinline__ FilterColumns(const Geometry& g, const Taps& rows, const Taps& columns,
                                             const bf16* weight, uint32_t column)
        : filters(reinterpret_cast<const uint4*>(weight)), length(g.window() / CHUNK), filters_all(g.k),
          taps_w(columns.count)
    {
        const uint32_t chunks = g.c / CHUNK, chunk = column / CHUNK + share.chunk;
        valid = chunk < chunks;
        filter = share.row;
        offset = filter * length + chunk;
        step_t = rows.step * g.s * chunks;
        step_u = columns.step * chunks;
        tap = (rows.first * g.s + columns.first) * chunks;
        first = t = u = 0;
    }

    __device__ __forceinline__ void copy(uint32_t tile)
    {
        const uint32_t from = offset + first * length + tap + t * step_t + u * step_u;
#pragma unroll
        for (uint32_t i = 0; i < Layout::COPIES; ++i) {
            const uint32_t row = i * Layout::STRIDE;
            const bool exists = valid && first + filter + row < filters_all;
            cp_async_16_or_zero(tile + share.at + i * share.NEXT, filters + (from + row * length), exists);
        }
        first += DEPTH;
        const bool tap_done = first >= filters_all;
        first = tap_done ? 0 : first;
        u += tap_done;
        const bool row_done = u == taps_w;
        u = row_done ? 0 : u;
        t += row_done;
    }
};

// dy as it lies, rows across k, along the pixels: a[k][npq] of the pass to the weights.
template <uint32_t SIZE>
struct GradientColumns {
    using Layout = Across<SIZE>;
    Share<Layout> share;
    const uint4* gradient;
    uint32_t offset, chunks;
    int32_t left;  // pixels from this thread's next to the end; none if its column does not exist

    __device__ __forceinline__ GradientColumns(const Geometry& g, const bf16* dy, uint32_t column, uint32_t begin,
                                               uint32_t end)
        : gradient(reinterpret_cast<const uint4*>(dy)), chunks(g.k / CHUNK)
    {
        const uint32_t chunk = column / CHUNK + share.chunk;
        offset = (begin + share.row) * chunks + chunk;
        left = chunk < chunks ? int32_t(end - begin) - int32_t(share.row) : 0;
    }

    __device__ __forceinline__ void copy(uint32_t tile)
    {
#pragma unroll
        for (uint32_t i = 0; i < Layout::COPIES; ++i) {
            cp_async_16_or_zero(tile + share.at + i * share.NEXT, gradient + offset, left > 0);
            offset += Layout::STRIDE * chunks;
            left -= Layout::STRIDE;
        }
    }
};

// x unrolled, rows across (r, s, c), along the pixels: b[npq][rsc] of the pass to the weights. A thread's chunk is one
// tap for good; its pixels are STRIDE apart, and it walks from one to the next by carries instead of divisions.
template <uint32_t SIZE>
struct ImageColumns {
    using Layout = Across<SIZE>;
    Share<Layout> share;
    const uint4* image;
    uint32_t height, width, offset;
    int32_t h, w, left;
    int32_t end_h, end_w, row_h, row_w;        // where q and p overflow, and what that takes back
    int32_t next_h, next_w, turn_h;            // STRIDE pixels further, and one row of y
    uint32_t next, turn, over;                 // what these and the next image add to the offset

    __device__ __forceinline__ ImageColumns(const Geometry& g, const bf16* x, uint32_t column, uint32_t begin,
                                            uint32_t end)
        : image(reinterpret_cast<const uint4*>(x)), height(g.h), width(g.w)
    {
        const uint32_t chunks = g.c / CHUNK, chunk = column / CHUNK + share.chunk;
        const uint32_t tap = chunk / chunks, r = tap / g.s, s = tap % g.s;
        const int32_t at_h = int32_t(r * g.dil_h) - int32_t(g.pad_h), at_w = int32_t(s * g.dil_w) - int32_t(g.pad_w);
        const uint32_t pixel = begin + share.row, q = pixel % g.q, p = pixel / g.q % g.p, n = pixel / g.q / g.p;
        left = chunk < g.window() / CHUNK ? int32_t(end - begin) - int32_t(share.row) : 0;
        h = int32_t(p * g.stride_h) + at_h, w = int32_t(q * g.stride_w) + at_w;
        offset = ((n * g.h + h) * g.w + w) * chunks + chunk % chunks;

        const uint32_t dq = Layout::STRIDE % g.q, dp = Layout::STRIDE / g.q % g.p, dn = Layout::STRIDE / g.q / g.p;
        row_h = g.p * g.stride_h, row_w = g.q * g.stride_w;
        end_h = row_h + at_h, end_w = row_w + at_w;
        next_h = dp * g.stride_h, next_w = dq * g.stride_w, turn_h = g.stride_h;
        next = ((dn * g.h + next_h) * g.w + next_w) * chunks;
        turn = (g.stride_h * g.w - row_w) * chunks;
        over = (g.h - row_h) * g.w * chunks;
    }

    __device__ __forceinline__ void copy(uint32_t tile)
    {
#pragma unroll
        for (uint32_t i = 0; i < Layout::COPIES; ++i) {
            const bool valid = left > 0 && uint32_t(h) < height && uint32_t(w) < width;
            cp_async_16_or_zero(tile + share.at + i * share.NEXT, image + offset, valid);
            left -= Layout::STRIDE;
            w += next_w, h += next_h, offset += next;
            if (w >= end_w) {
                w -= row_w, h += turn_h, offset += turn;
            }
            if (h >= end_h) {
                h -= row_h, offset += over;
            }
        }
    }
};
