// What the stages of augment.cu share: its scalars, its room in shared memory, how threads go through a table.
#pragma once

#include <cstdint>

#include "exact.cuh"

// Columns of a row of parameters, and the numbers of the jitter's steps: src/ops/augment/params.rs.
enum { TOP, LEFT, HEIGHT, WIDTH, FLIP, ORDER, BRIGHTNESS = 9, CONTRAST, SATURATION, HUE, GRAYSCALE, SIGMA, SOLARIZE };
constexpr uint32_t COLUMNS = 16;
constexpr uint32_t STEPS = 4;
static_assert(SOLARIZE + 1 == COLUMNS, "every column has its name");
constexpr float BRIGHTEN = 0.0f, CONTRAST_UP = 1.0f, SATURATE = 2.0f, TURN = 3.0f, SKIP = -1.0f;
constexpr float MOST = 1e6f;

using real = Exact<float>;
using wide = Exact<double>;

// The scalars of every entry.
struct Setup {
    uint32_t rows, n, count, h, w, size;
    bool cubic, antialias, clamp;
    uint32_t blur_kernel, scratch, taps, stage;
    float mean[3], std[3];
};

// Where things of the block lie in its dynamic shared memory, in this order.
struct Room {
    float* view;     // shared technique only: C·S·S
    float* scratch;  // `scratch` floats
    float* taps;     // 2 S times `taps` floats: weights of the rows, then of the columns
    uint2* runs;     // 2 S: first pixel and length
    float* blur;     // 2 S
    uint8_t* stage;  // `stage` bytes
};

// Threads go through a table row by row, without a division a step.
template <uint32_t THREADS>
struct Walk {
    uint32_t width, row, column, down, right;

    __device__ __forceinline__ explicit Walk(uint32_t width)
        : width(width), row(threadIdx.x / width), column(threadIdx.x % width), down(THREADS / width),
          right(THREADS % width)
    {
    }
    __device__ __forceinline__ void step()
    {
        row += down;
        column += right;
        if (column >= width) {
            column -= width;
            ++row;
        }
    }
};

// clamp(x, 0, 1).
__device__ __forceinline__ real unit(real x) { return x < 0.0f ? real(0.0f) : x > 1.0f ? real(1.0f) : x; }
