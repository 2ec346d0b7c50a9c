// Crop and resize, the first stages of augment.cu: what src/ops/augment/resize.rs does, in its order.
#pragma once

#include "augment_setup.cuh"

// The filter at distance x; a is the cubic's free parameter.
__device__ __forceinline__ wide filter(bool cubic, wide x, wide a)
{
    x = fabs(x.value);
    if (!cubic) {
        return fmax((wide(1.0) - x).value, 0.0);
    }
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : wide(0.0);
}

struct Axis {
    uint32_t from;
    bool cubic, antialias;
    wide scale, stretch, support;

    __device__ __forceinline__ Axis(uint32_t from, uint32_t to, bool cubic, bool antialias)
        : from(from), cubic(cubic), antialias(antialias), scale(wide(double(from)) / wide(double(to))),
          stretch(antialias && scale > 1.0 ? scale : wide(1.0)), support(wide(cubic ? 2.0 : 1.0) * stretch)
    {
    }

    // First pixel and length of output pixel i, and its weights.
    __device__ __forceinline__ uint2 taps(uint32_t i, float* weights) const
    {
        const wide centre = scale * (wide(double(i)) + 0.5);
        return antialias ? cut(centre, weights) : clamped(centre, weights);
    }

    // The filter around the centre, without what hangs over the border.
    __device__ __forceinline__ uint2 cut(wide centre, float* weights) const
    {
        uint32_t start = uint32_t(fmax((centre - support + 0.5).value, 0.0));
        uint32_t end = min(uint32_t((centre + support + 0.5).value), from);
        const auto weight = [&](uint32_t j) {
            return filter(cubic, (wide(double(j)) + 0.5 - centre) / stretch, -0.5);
        };
        while (weight(start) == 0.0 && start + 1 < end) {
            ++start;
        }
        while (weight(end - 1) == 0.0 && start + 1 < end) {
            --end;
        }
        wide total = 0.0;
        for (uint32_t j = start; j < end; ++j) {
            total = total + weight(j);
        }
        for (uint32_t j = start; j < end; ++j) {
            weights[j - start] = float((weight(j) / total).value);
        }
        return make_uint2(start, end - start);
    }

    // Two or four pixels; what hangs over the border falls on the border's pixel.
    __device__ __forceinline__ uint2 clamped(wide centre, float* weights) const
    {
        const int32_t count = cubic ? 4 : 2;
        const int32_t first = int32_t(floor((centre - 0.5).value)) - count / 2 + 1;
        const auto pixel = [&](int32_t t) { return uint32_t(min(max(first + t, 0), int32_t(from) - 1)); };
        const uint32_t start = pixel(0);
        real sum = 0.0f;
        for (int32_t t = 0; t < count; ++t) {
            const wide distance = wide(double(first + t)) + 0.5 - centre;
            sum = (t > 0 && pixel(t) == pixel(t - 1) ? sum : real(0.0f)) +
                  float(filter(cubic, distance, -0.75).value);
            weights[pixel(t) - start] = sum.value;
        }
        return make_uint2(start, pixel(count - 1) - start + 1);
    }
};

// Band row r, of `length` values, is row first + r of the view before its columns are resized. `crop` is at row `low`.
template <uint32_t THREADS>
__device__ __forceinline__ void resize_rows(const Setup& s, const uint8_t* crop, uint32_t pitch, uint32_t length,
                                            uint32_t first, uint32_t rows, uint32_t low, const Room& room)
{
    for (Walk<THREADS> at(length); at.row < rows; at.step()) {
        const uint2 run = room.runs[first + at.row];
        const float* weights = room.taps + (first + at.row) * s.taps;
        const uint8_t* pixel = crop + size_t(run.x - low) * pitch + at.column;
        real sum = 0.0f;
        for (uint32_t t = 0; t < run.y; ++t) {
            sum = sum + real(weights[t]) * real(float(*pixel));
            pixel += pitch;
        }
        room.scratch[at.row * length + at.column] = (sum / 255.0f).value;
    }
}

template <uint32_t C, uint32_t THREADS>
__device__ __forceinline__ void resize_columns(const Setup& s, uint32_t length, uint32_t first, uint32_t rows,
                                               bool flip, const Room& room, float* view)
{
    for (Walk<THREADS> at(s.size); at.row < rows; at.step()) {
        const uint2 run = room.runs[s.size + at.column];
        const float* weights = room.taps + (s.size + at.column) * s.taps;
        const float* from = room.scratch + at.row * length + run.x * C;
        real sum[C];
#pragma unroll
        for (uint32_t c = 0; c < C; ++c) {
            sum[c] = 0.0f;
        }
        for (uint32_t t = 0; t < run.y; ++t) {
            const real weight = weights[t];
#pragma unroll
            for (uint32_t c = 0; c < C; ++c) {
                sum[c] = sum[c] + weight * real(from[t * C + c]);
            }
        }
        const uint32_t to = flip ? s.size - 1 - at.column : at.column;
#pragma unroll
        for (uint32_t c = 0; c < C; ++c) {
            view[(c * s.size + first + at.row) * s.size + to] = (s.clamp ? unit(sum[c]) : sum[c]).value;
        }
    }
}

// Bytes `begin` to `end` of the images as they lie in memory, 16 a thread; returns the first's place in the stage.
template <uint32_t THREADS>
__device__ __forceinline__ uint32_t stage_bytes(const uint8_t* images, size_t begin, size_t end, size_t all,
                                                uint8_t* stage)
{
    const size_t aligned = begin / 16 * 16;
#pragma unroll 1
    for (size_t at = aligned + 16 * threadIdx.x; at < end; at += 16 * THREADS) {
        if (at + 16 <= all) {
            *reinterpret_cast<uint4*>(stage + (at - aligned)) = *reinterpret_cast<const uint4*>(images + at);
        } else {
            for (size_t i = at; i < all; ++i) {
                stage[i - aligned] = images[i];
            }
        }
    }
    return uint32_t(begin - aligned);
}

template <uint32_t C, uint32_t THREADS>
__device__ __forceinline__ void resized_crop(const Setup& s, const float* row, size_t image, const uint8_t* images,
                                             const Room& room, float* view)
{
    const uint32_t top = uint32_t(row[TOP]), left = uint32_t(row[LEFT]);
    const uint32_t height = uint32_t(row[HEIGHT]), width = uint32_t(row[WIDTH]);
    const uint32_t pitch = s.w * C, length = width * C, band = min(s.size, s.scratch / length);
    for (uint32_t i = threadIdx.x; i < 2 * s.size; i += THREADS) {
        const Axis axis(i < s.size ? height : width, s.size, s.cubic, s.antialias);
        room.runs[i] = axis.taps(i < s.size ? i : i - s.size, room.taps + i * s.taps);
    }
    const size_t begin = (image * s.h + top) * pitch;
    // Rounding to 16 bytes adds 30 at most.
    const auto fits = [&](uint32_t rows) { return size_t(rows) * pitch + 30 <= s.stage; };
    const auto fill = [&](uint32_t low, uint32_t high) {
        return stage_bytes<THREADS>(images, begin + size_t(low) * pitch, begin + size_t(high) * pitch,
                                    size_t(s.count) * s.h * pitch, room.stage);
    };
    const bool whole = fits(height);
    uint32_t shift = whole ? fill(0, height) : 0;
    __syncthreads();
    for (uint32_t first = 0, here; first < s.size; first += here) {
        here = min(band, s.size - first);
        uint32_t low = 0, high = 0;
        bool staged = whole;
        // Else as many rows of the view as the stage holds the image's rows for. First pixels do not always ascend:
        // a row on a pixel's centre has one tap.
        for (uint32_t rows = here; !staged && rows > 0 && s.stage > 0; rows /= 2) {
            low = height, high = 0;
#pragma unroll 1
            for (uint32_t r = first; r < first + rows; ++r) {
                low = min(low, room.runs[r].x);
                high = max(high, room.runs[r].x + room.runs[r].y);
            }
            staged = fits(high - low);
            here = staged ? rows : here;
        }
        if (staged && !whole) {
            shift = fill(low, high);
            __syncthreads();
        }
        // Twice the same, so that the compiler knows which memory it reads.
        if (staged) {
            resize_rows<THREADS>(s, room.stage + shift + left * C, pitch, length, first, here, low, room);
        } else {
            resize_rows<THREADS>(s, images + begin + left * C, pitch, length, first, here, 0, room);
        }
        __syncthreads();
        resize_columns<C, THREADS>(s, length, first, here, row[FLIP] >= 0.5f, room, view);
        __syncthreads();
    }
}
