// The convolution of conv2d.cu and its gradients as matrix products of which no factor is ever stored ("implicit
// GEMM"): f32 fma on CUDA cores, tiles in shared memory, 8x8 sums a thread in registers.
//
//                     rows ("wide", 128)                 columns ("narrow", 64)   depth, 16 a step
//   fwd         y     pixels n,p,q                       filters k                window r,s,c
//   bwd_input   dx    pixels n,h,w of one phase          channels c               taps r,s of the phase, filters k
//   bwd_weight  dw    window r,s,c                       filters k                pixels n,p,q of one split
//
// Memory    As conv2d.cu, each tensor 16-byte aligned. bf16 entries hold tiles in f32 and are for channel counts that
//           the tensor-core entries refuse. bwd_weight overwrites all of workspace[splits, K R S C], f32; then
//           conv2d_bwd_weight_f32__reduce adds it up into dw. Where C, or K for y and dy, is a multiple of 4,
//           elements move by 4 in one access; else one by one, in the same entry.
// Work      128 threads a block; a block owns a 128x64 tile of the product, a thread 2x2 pieces of 4x4.
//             fwd         grid (ceil(N P Q / 128), ceil(K / 64)).
//             bwd_input   grid (ceil(N ceil(H/u) ceil(W/v) / 128), ceil(C / 64), u v). The inputs a stride apart are
//                         one phase, z = (h mod u) v + w mod v: the same taps reach them all, so that no tap is
//                         tried in vain. Blocks beyond a short phase's end return at once.
//             bwd_weight  grid (ceil(R S C / 128), ceil(K / 64), splits). Split z has the z-th share of the pixels,
//                         in whole steps; a split may be empty, and then writes zeros.
//           Two sets of tiles: the next step's elements travel to registers while this step's are multiplied.
// Shape     Any geometry with at least one output pixel; N P Q and N H W below 2^31 - 128, one image and all weights
//           below 2^31 elements; K, C <= 64 * 65535, u v and splits <= 65535; coordinates below 2^30.
// Cost      2 N P Q K R S C FLOPs, the padding's included; bwd_input about as many at any stride. For 64 fma a thread
//           needs 4 shared loads of 16 bytes. By the machine's counters on [2,16,16,64] by [64,3,3,64]: 62 % of the
//           warp instructions are fma, no bank conflicts, all global accesses whole sectors. FP32 throughput should
//           be the limit; share of it: not yet measured. 12 warps fit a multiprocessor; what they leave of latency,
//           64 independent sums a thread hide.
// Numbers   f32 fma in order of depth: same bits each time for the same splits. Error at most as many half ulp of the
//           sum of magnitudes as there are terms; rounding to bf16 adds half an ulp of that. Padding is multiplied
//           as zeros: a weight or gradient that is not finite makes NaN there, where conv2d.cu has none.
// Lost      One pass more than steps, so that the code for loading stands there once: spills at 168 registers.
//           Divisions for each of a thread's rows at the end of bwd_input: spills; it keeps its rows' places in
//           shared memory. bwd_input in f32 held to 3 blocks a multiprocessor: spills on sm_80, which so has 2.

#include "conv2d.cuh"
#include "mma.cuh"

constexpr uint32_t WIDE = 128, NARROW = 64, DEPTH = 16;  // of a step's tiles
constexpr uint32_t THREADS = 128;
constexpr uint32_t OWN = 8;  // a thread's sums each way, in two groups of 4
static_assert(WIDE / OWN * (NARROW / OWN) == THREADS, "the threads' sums tile the block's");
static_assert(NARROW / OWN == 8, "a quarter of a warp reads 32 banks of the narrow tile and one word of the wide");
static_assert(DEPTH == 16, "4 lanes of 4 elements cover a window's part of a step");

struct Tiles {
    float wide[DEPTH][WIDE];
    float narrow[DEPTH][NARROW];
};

// Columns of row `depth` of a tile are exchanged by this, so that 4 lanes that write 4 columns' depths 0, 4, 8 and 12
// fall on different banks. It leaves every 4 neighbours together.
__device__ __forceinline__ constexpr uint32_t swizzle(uint32_t depth) { return depth / 4 * 8; }

template <typename T>
struct alignas(4 * sizeof(T)) Quad {
    T element[4];
};

template <typename T>
__device__ __forceinline__ void load_quad(float (&to)[4], const T* from)
{
    const Quad<T> quad = from != nullptr ? *reinterpret_cast<const Quad<T>*>(from) : Quad<T>{};
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
        to[j] = to_float(quad.element[j]);
    }
}

template <typename T>
__device__ __forceinline__ float load_one(const T* from)
{
    return from != nullptr ? to_float(*from) : 0.0f;
}

// The first `room` of 4 values, all in one access if `whole`.
template <typename T>
__device__ __forceinline__ void store_quad(T* to, const float (&values)[4], int room, bool whole, bool accumulate)
{
    if (whole && room > 0) {
        float sums[4] = {};
        if (accumulate) {
            load_quad(sums, to);
        }
        Quad<T> quad;
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) {
            quad.element[j] = from_float<T>(accumulate ? sums[j] + values[j] : values[j]);
        }
        *reinterpret_cast<Quad<T>*>(to) = quad;
    } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (j < room) {
                write(to + j, values[j], accumulate);
            }
        }
    }
}

// Elements i to i + 3 of the windows at some origins.
template <typename T, uint32_t ROWS>
__device__ __forceinline__ void gather(float (&to)[ROWS][4], const Images<T>& images, const Window& window,
                                       const Origin (&origins)[ROWS], uint32_t i)
{
    if (images.channels % 4 == 0) {
        const Tap tap = window.tap(i);
#pragma unroll
        for (uint32_t row = 0; row < ROWS; ++row) {
            load_quad(to[row], images.find(origins[row], tap));
        }
    } else {
#pragma unroll
        for (uint32_t j = 0; j < 4; ++j) {
            const Tap tap = window.tap(i + j);
#pragma unroll
            for (uint32_t row = 0; row < ROWS; ++row) {
                to[row][j] = load_one(images.find(origins[row], tap));
            }
        }
    }
}

// 4 depths of one column, and 4 columns of one depth.
template <uint32_t WIDTH>
__device__ __forceinline__ void place_depths(float (&tile)[DEPTH][WIDTH], uint32_t depth, uint32_t column,
                                             const float (&values)[4])
{
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
        tile[depth + j][column ^ swizzle(depth)] = values[j];
    }
}

template <uint32_t WIDTH>
__device__ __forceinline__ void place_columns(float (&tile)[DEPTH][WIDTH], uint32_t depth, uint32_t column,
                                              const float (&values)[4])
{
    // Spelled as one instruction: left to itself, nvcc cuts some of these into four, with bank conflicts of 4 lanes.
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(
                     shared_address(&tile[depth][column ^ swizzle(depth)])),
                 "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3])
                 : "memory");
}

// First column of a thread's group 0 or 1 of 4.
__device__ __forceinline__ uint32_t wide_column(uint32_t group)
{
    return threadIdx.x / (NARROW / OWN) * 4 + group * (WIDE / 2);
}
__device__ __forceinline__ uint32_t narrow_column(uint32_t group)
{
    return threadIdx.x % (NARROW / OWN) * 4 + group * (NARROW / 2);
}

// sums[i][j] over the groups and columns of `wide` and `narrow`.
using Sums = float[OWN][2][4];

__device__ __forceinline__ void multiply(Sums& sums, const Tiles& tiles)
{
#pragma unroll
    for (uint32_t depth = 0; depth < DEPTH; ++depth) {
        float wide[2][4], narrow[2][4];
#pragma unroll
        for (uint32_t group = 0; group < 2; ++group) {
            load_quad(wide[group], &tiles.wide[depth][wide_column(group) ^ swizzle(depth)]);
            load_quad(narrow[group], &tiles.narrow[depth][narrow_column(group) ^ swizzle(depth)]);
        }
#pragma unroll
        for (uint32_t i = 0; i < OWN; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < OWN; ++j) {
                sums[i][j / 4][j % 4] = fmaf(wide[i / 4][i % 4], narrow[j / 4][j % 4], sums[i][j / 4][j % 4]);
            }
        }
    }
}

// Adds up the products of all steps. While a step's tiles are multiplied, the next step's elements are on their way
// to registers; `fetch` loads them and `place` puts them into tiles.
template <typename Fetch, typename Place>
__device__ __forceinline__ void multiply_steps(Sums& sums, uint32_t steps, const Fetch& fetch, const Place& place)
{
    __shared__ alignas(16) Tiles tiles[2];
    if (steps > 0) {
        fetch(0);
        place(tiles[0]);
    }
    for (uint32_t step = 0; step < steps; ++step) {
        __syncthreads();  // these tiles are full, and the others read
        if (step + 1 < steps) {
            fetch(step + 1);
        }
        multiply(sums, tiles[step % 2]);
        if (step + 1 < steps) {
            place(tiles[(step + 1) % 2]);
        }
    }
}

// Wide: 128 pixels. Narrow: 64 filters. Depth: the window.
template <typename T>
__device__ __forceinline__ void forward_tiled(const Geometry& g, const T* __restrict__ x, const T* __restrict__ w,
                                              T* __restrict__ y)
{
    const uint32_t first_pixel = blockIdx.x * WIDE, first_k = blockIdx.y * NARROW;
    const Window window(g.r, g.s, g.c);
    const Images<T> images = images_of_x(g, x);
    const Pixels pixels(g);
    const uint32_t depth = threadIdx.x % 4 * 4, row = threadIdx.x / 4;
    constexpr uint32_t ROWS = THREADS / 4;  // in one go
    Origin origins[WIDE / ROWS];
#pragma unroll
    for (uint32_t i = 0; i < WIDE / ROWS; ++i) {
        origins[i] = pixels.origin(g, first_pixel + row + i * ROWS, g.pixels());
    }

    Sums sums = {};
    float wide[WIDE / ROWS][4], narrow[NARROW / ROWS][4];
    const auto fetch = [&](uint32_t step) {
        const uint32_t at = step * DEPTH + depth;
        gather(wide, images, window, origins, at);
#pragma unroll
        for (uint32_t i = 0; i < NARROW / ROWS; ++i) {
            const uint32_t k = first_k + row + i * ROWS;
            const T* weights = w + (k * window.length + at);
            if (g.c % 4 == 0) {
                load_quad(narrow[i], k < g.k && at < window.length ? weights : nullptr);
            } else {
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    narrow[i][j] = load_one(k < g.k && at + j < window.length ? weights + j : nullptr);
                }
            }
        }
    };
    const auto place = [&](Tiles& tiles) {
#pragma unroll
        for (uint32_t i = 0; i < WIDE / ROWS; ++i) {
            place_depths(tiles.wide, depth, row + i * ROWS, wide[i]);
        }
#pragma unroll
        for (uint32_t i = 0; i < NARROW / ROWS; ++i) {
            place_depths(tiles.narrow, depth, row + i * ROWS, narrow[i]);
        }
    };
    multiply_steps(sums, (window.length + DEPTH - 1) / DEPTH, fetch, place);

#pragma unroll
    for (uint32_t i = 0; i < OWN; ++i) {
        const uint32_t pixel = first_pixel + wide_column(i / 4) + i % 4;
#pragma unroll
        for (uint32_t group = 0; group < 2; ++group) {
            const uint32_t k = first_k + narrow_column(group);
            if (pixel < g.pixels()) {
                store_quad(y + size_t(pixel) * g.k + k, sums[i][group], int(g.k) - int(k), g.k % 4 == 0, false);
            }
        }
    }
}

// Along one axis: which taps reach the inputs first, first + stride, first + 2 stride, ... Every `every`th from `tap`
// on, `count` of them; the j-th takes input first + i stride to output i + output - j back.
struct Phase {
    uint32_t tap, every, count;
    int output, back;

    __device__ __forceinline__ Phase(int first, int stride, int pad, int dilation, int taps) : tap(0), every(1)
    {
        while (int(tap) < taps && (first + pad - int(tap) * dilation) % stride != 0) {
            ++tap;
        }
        while (int(every) * dilation % stride != 0) {
            ++every;
        }
        count = (taps - tap + every - 1) / every;
        output = (first + pad - int(tap) * dilation) / stride;
        back = int(every) * dilation / stride;
    }
};

static_assert(WIDE == THREADS, "each thread finds the place of one pixel");
constexpr size_t NOWHERE = ~size_t(0);

// Wide: 128 pixels of dx whose rows lie a stride apart, and their columns too, so that the same taps reach them all.
// Narrow: 64 channels. Depth: those taps, and the filters.
template <typename T>
__device__ __forceinline__ void bwd_input_tiled(const Geometry& g, bool accumulate, const T* __restrict__ dy,
                                                const T* __restrict__ w, T* __restrict__ dx)
{
    const uint32_t first_h = blockIdx.z / g.stride_w, first_w = blockIdx.z % g.stride_w;
    const uint32_t first_pixel = blockIdx.x * WIDE, first_c = blockIdx.y * NARROW;
    const uint32_t height = g.h > first_h ? (g.h - first_h - 1) / g.stride_h + 1 : 0;
    const uint32_t width = g.w > first_w ? (g.w - first_w - 1) / g.stride_w + 1 : 0;
    const uint32_t pixels = g.n * height * width;
    if (first_pixel >= pixels) {
        return;
    }
    const Phase down(first_h, g.stride_h, g.pad_h, g.dil_h, g.r), across(first_w, g.stride_w, g.pad_w, g.dil_w, g.s);
    const Window window(down.count, max(across.count, 1u), g.k);
    const uint32_t length = across.count > 0 ? window.length : 0;
    const Images<T> images{dy, g.p, g.q, g.k, -down.back, -across.back};

    const uint32_t depth = threadIdx.x % 4 * 4, row = threadIdx.x / 4;
    constexpr uint32_t ROWS = THREADS / 4, QUADS = NARROW / 4, DEPTHS = THREADS / QUADS;
    const uint32_t w_depth = threadIdx.x / QUADS, column = threadIdx.x % QUADS * 4, c = first_c + column;
    const uint32_t w_filter = g.window(), w_row = down.every * g.s * g.c, w_column = across.every * g.c;
    const uint32_t w_first = (down.tap * g.s + across.tap) * g.c + c;

    __shared__ Origin shared_origins[WIDE];
    __shared__ size_t targets[WIDE];  // of the pixels in dx
    const uint32_t pixel = first_pixel + threadIdx.x;
    const uint32_t at_w = pixel % width, at_h = pixel / width % height, n = pixel / width / height;
    const uint32_t h = first_h + at_h * g.stride_h, image_w = first_w + at_w * g.stride_w;
    shared_origins[threadIdx.x] = {n, pixel < pixels ? int(at_h) + down.output : OUTSIDE, int(at_w) + across.output};
    targets[threadIdx.x] = pixel < pixels ? ((size_t(n) * g.h + h) * g.w + image_w) * g.c : NOWHERE;
    __syncthreads();
    Origin origins[WIDE / ROWS];
#pragma unroll
    for (uint32_t i = 0; i < WIDE / ROWS; ++i) {
        origins[i] = shared_origins[row + i * ROWS];
    }

    Sums sums = {};
    float wide[WIDE / ROWS][4], narrow[DEPTH / DEPTHS][4];
    const auto fetch = [&](uint32_t step) {
        gather(wide, images, window, origins, step * DEPTH + depth);
#pragma unroll
        for (uint32_t i = 0; i < DEPTH / DEPTHS; ++i) {
            const Tap tap = window.tap(step * DEPTH + w_depth + i * DEPTHS);
            const T* weights = w + (w_first + tap.c * w_filter + tap.r * w_row + tap.s * w_column);
            if (g.c % 4 == 0) {
                load_quad(narrow[i], tap.valid && c < g.c ? weights : nullptr);
            } else {
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    narrow[i][j] = load_one(tap.valid && c + j < g.c ? weights + j : nullptr);
                }
            }
        }
    };
    const auto place = [&](Tiles& tiles) {
#pragma unroll
        for (uint32_t i = 0; i < WIDE / ROWS; ++i) {
            place_depths(tiles.wide, depth, row + i * ROWS, wide[i]);
        }
#pragma unroll
        for (uint32_t i = 0; i < DEPTH / DEPTHS; ++i) {
            place_columns(tiles.narrow, w_depth + i * DEPTHS, column, narrow[i]);
        }
    };
    multiply_steps(sums, (length + DEPTH - 1) / DEPTH, fetch, place);

#pragma unroll
    for (uint32_t i = 0; i < OWN; ++i) {
        const size_t target = targets[wide_column(i / 4) + i % 4];
#pragma unroll
        for (uint32_t group = 0; group < 2; ++group) {
            const uint32_t channel = first_c + narrow_column(group);
            if (target != NOWHERE) {
                store_quad(dx + target + channel, sums[i][group], int(g.c) - int(channel), g.c % 4 == 0, accumulate);
            }
        }
    }
}

// Wide: 128 elements of the window. Narrow: 64 filters. Depth: this split's pixels.
template <typename T>
__device__ __forceinline__ void bwd_weight_tiled(const Geometry& g, uint32_t splits, const T* __restrict__ dy,
                                                 const T* __restrict__ x, float* __restrict__ workspace)
{
    const uint32_t first_element = blockIdx.x * WIDE, first_k = blockIdx.y * NARROW;
    const Window window(g.r, g.s, g.c);
    const Images<T> images = images_of_x(g, x);
    const Pixels pixels(g);
    const uint32_t share = ((g.pixels() + DEPTH - 1) / DEPTH + splits - 1) / splits * DEPTH;
    const uint32_t first_pixel = min(blockIdx.z * share, g.pixels()), end = min(first_pixel + share, g.pixels());

    constexpr uint32_t ROWS = THREADS / (WIDE / 4), QUADS = NARROW / 4, DEPTHS = THREADS / QUADS;
    const uint32_t x_depth = threadIdx.x / (WIDE / 4), x_column = threadIdx.x % (WIDE / 4) * 4;
    const uint32_t dy_depth = threadIdx.x / QUADS, dy_column = threadIdx.x % QUADS * 4;
    const uint32_t k = first_k + dy_column;
    Tap taps[4];
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
        taps[j] = window.tap(first_element + x_column + j);
    }

    Sums sums = {};
    float wide[DEPTH / ROWS][4], narrow[DEPTH / DEPTHS][4];
    const auto fetch = [&](uint32_t step) {
        const uint32_t at = first_pixel + step * DEPTH;
#pragma unroll
        for (uint32_t i = 0; i < DEPTH / ROWS; ++i) {
            const Origin origin = pixels.origin(g, at + x_depth + i * ROWS, end);
            if (g.c % 4 == 0) {
                load_quad(wide[i], images.find(origin, taps[0]));
            } else {
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    wide[i][j] = load_one(images.find(origin, taps[j]));
                }
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < DEPTH / DEPTHS; ++i) {
            const uint32_t pixel = at + dy_depth + i * DEPTHS;
            const T* gradients = dy + size_t(pixel) * g.k + k;
            if (g.k % 4 == 0) {
                load_quad(narrow[i], pixel < end && k < g.k ? gradients : nullptr);
            } else {
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    narrow[i][j] = load_one(pixel < end && k + j < g.k ? gradients + j : nullptr);
                }
            }
        }
    };
    const auto place = [&](Tiles& tiles) {
#pragma unroll
        for (uint32_t i = 0; i < DEPTH / ROWS; ++i) {
            place_columns(tiles.wide, x_depth + i * ROWS, x_column, wide[i]);
        }
#pragma unroll
        for (uint32_t i = 0; i < DEPTH / DEPTHS; ++i) {
            place_columns(tiles.narrow, dy_depth + i * DEPTHS, dy_column, narrow[i]);
        }
    };
    multiply_steps(sums, (end - first_pixel + DEPTH - 1) / DEPTH, fetch, place);

    float* part = workspace + size_t(blockIdx.z) * g.k * window.length;
#pragma unroll
    for (uint32_t j = 0; j < OWN; ++j) {
        const uint32_t row = first_k + narrow_column(j / 4) + j % 4;
#pragma unroll
        for (uint32_t group = 0; group < 2; ++group) {
            const uint32_t element = first_element + wide_column(group);
            const float values[4] = {sums[group * 4][j / 4][j % 4], sums[group * 4 + 1][j / 4][j % 4],
                                     sums[group * 4 + 2][j / 4][j % 4], sums[group * 4 + 3][j / 4][j % 4]};
            if (row < g.k) {
                store_quad(part + size_t(row) * window.length + element, values, int(window.length) - int(element),
                           g.c % 4 == 0, false);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
conv2d_fwd_f32__tiled(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s, uint32_t p,
                      uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h, uint32_t pad_w, uint32_t dil_h,
                      uint32_t dil_w, const float* __restrict__ x, const float* __restrict__ weight,
                      float* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    forward_tiled(g, x, weight, y);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
conv2d_fwd_bf16__tiled(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s, uint32_t p,
                       uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h, uint32_t pad_w, uint32_t dil_h,
                       uint32_t dil_w, const bf16* __restrict__ x, const bf16* __restrict__ weight,
                       bf16* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    forward_tiled(g, x, weight, y);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_input_f32__tiled(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                            uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                            uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                            const float* __restrict__ dy, const float* __restrict__ weight, float* __restrict__ dx)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_input_tiled(g, accumulate != 0, dy, weight, dx);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
conv2d_bwd_input_bf16__tiled(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                             uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                             uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                             const bf16* __restrict__ dy, const bf16* __restrict__ weight, bf16* __restrict__ dx)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_input_tiled(g, accumulate != 0, dy, weight, dx);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
conv2d_bwd_weight_f32__tiled(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                             uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                             uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t splits,
                             const float* __restrict__ dy, const float* __restrict__ x, float* __restrict__ workspace)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_weight_tiled(g, splits, dy, x, workspace);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
conv2d_bwd_weight_bf16__tiled(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                              uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                              uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t splits,
                              const bf16* __restrict__ dy, const bf16* __restrict__ x, float* __restrict__ workspace)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_weight_tiled(g, splits, dy, x, workspace);
}
