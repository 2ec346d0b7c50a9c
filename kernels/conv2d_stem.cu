// The convolution of conv2d.cu, and its gradient by w, on tensor cores where C is too small for 16-byte accesses: the
// first layer, 1 to 4 channels. A pixel's whole window becomes one row in shared memory, R S C elements and zeros up to
// a multiple of 16, so that mma's depth is (r,s,c) at once: 27 of 32 for 3x3x3, 147 of 160 for 7x7x3.
//
// Memory    x [N,H,W,C], w [K,R,S,C], y, dy [N,P,Q,K], bf16, each 16-byte aligned; x and w are read by elements, y is
//           overwritten, by 8 bytes if K % 4 = 0, and dy read by 16 if K % 8 = 0. bwd_weight overwrites all of
//           workspace[splits, K R S C], f32; then conv2d_bwd_weight_f32__reduce adds it up into dw. Dynamic shared
//           memory: 128 (ceil(R S C / 16) 16 + 8) bytes, at most 27,648.
// Work      fwd         128 threads, grid (blocks, ceil(K / 64)), with any number of blocks up to ceil(N P Q / 64):
//                       they take tiles of 64 pixels in turn. A warp owns 16 filters, whose weights stay in
//                       registers, and reads every window of the tile.
//           bwd_weight  256 threads, grid (ceil(K / 64), splits). A block owns 64 filters, the whole window, and the
//                       y-th share of the pixels, in whole tiles of 64; an empty share gives zeros. A warp owns 16
//                       filters and every other 16 elements of the window. Windows and dy lie in shared memory as
//                       pixels by elements, and ldmatrix transposes both.
//           Lanes gather neighbouring elements of one window, two each, so that loads run along x's rows. A window
//           wholly inside the image is read at offsets a lane computes once; the others look at each tap.
// Shape     R S C <= 208 (7x7x4 is 196); N P Q below 2^31 - 128, one image and all weights below 2^31 elements;
//           K <= 64 * 65535, splits <= 65535; coordinates below 2^30.
// Cost      2 N P Q K ceil(R S C / 16) 16 FLOPs. Bytes at least 2 (N H W C + N P Q K): for 7x7x3 by 64 at stride 2,
//           24 read and 128 written a pixel of y. By the machine's counters, for that shape away from the borders,
//           fwd takes 115 warp instructions of PTX a pixel, bwd_weight 95, of which 5 are mma: the issue of
//           instructions is likely the limit, not the tensor cores. No bank conflicts; y is written and dy read in
//           whole sectors; loads of x move 3.3 times the sectors their bytes fill, most of them again and again from
//           L1. Share of any limit: not yet measured.
// Numbers   Products exact in f32, f32 sums; the tensor core adds 16 at a time in an order and with a rounding of its
//           own, so twice the f32 bound is granted: 2 R S C half ulp of the sum of magnitudes (bwd_weight: 2 N P Q),
//           and half an ulp of bf16 for y. Order fixed by the shape and the splits.
// Lost      A look at each tap of every window: 199 thousand instructions where there are now 150 (fwd, one image of
//           56x56, much border). Taps as row, column and channel in registers: 160 of them, where 128 let 4 blocks
//           of fwd share a multiprocessor. Both kinds of window in one loop with a flag: spills.

#include "conv2d.cuh"
#include "mma.cuh"

constexpr uint32_t PIXELS = 64;       // of a tile
constexpr uint32_t FILTERS = 64;      // of a block
constexpr uint32_t LONGEST = 208;     // window, padded: 7 x 7 x 4 is 196
constexpr uint32_t PAD = 8;           // elements more a row, so that the 8 rows of an ldmatrix meet no bank twice
constexpr uint32_t FWD_WARPS = 4, WEIGHT_WARPS = 8;
constexpr uint32_t COLUMNS = (LONGEST / 2 + 31) / 32;  // pairs of elements of a window that a lane gathers, at most
static_assert(LONGEST % 16 == 0, "mma takes depth by 16");
static_assert(FWD_WARPS * 16 == FILTERS, "a warp of the forward pass owns 16 filters");

// Elements from one pixel's window to the next; an odd multiple of 16 bytes.
__device__ __forceinline__ uint32_t padded(uint32_t length) { return (length + 15) / 16 * 16; }
__device__ __forceinline__ uint32_t pitch(uint32_t length) { return padded(length) + PAD; }

// Puts a tile's windows into shared memory. A row has `lanes` lanes to itself; the rows that share a warp lie 4 or 2
// apart, which is what keeps their pairs on different banks.
template <uint32_t WARPS>
struct Gatherer {
    static constexpr uint32_t NO_TAP = ~0u;
    Images<bf16> images;
    Pixels pixels;
    Window window;
    uint32_t lanes;
    uint32_t offsets[COLUMNS][2];  // of this lane's taps from tap (0, 0)

    __device__ __forceinline__ Gatherer(const Geometry& g, const bf16* x, bf16* rows)
        : images(images_of_x(g, x)), pixels(g), window(g.r, g.s, g.c)
    {
        lanes = window.length <= 16 ? 8 : window.length <= 32 ? 16 : 32;
#pragma unroll
        for (uint32_t i = 0; i < COLUMNS * 2; ++i) {
            const Tap tap = window.tap(element(i / 2) + i % 2);
            const uint32_t offset = (tap.r * g.dil_h * g.w + tap.s * g.dil_w) * g.c + tap.c;
            offsets[i / 2][i % 2] = tap.valid ? offset : NO_TAP;
        }
        // What pads the windows stays zero.
        const uint32_t end = padded(window.length);
        for (uint32_t row = threadIdx.x / 16; row < PIXELS; row += WARPS * 2) {
            const uint32_t i = window.length + threadIdx.x % 16;
            if (i < end) {
                rows[row * pitch(window.length) + i] = bf16(0.0f);
            }
        }
    }

    // The first of this lane's `column`th pair.
    __device__ __forceinline__ uint32_t element(uint32_t column) const
    {
        return (threadIdx.x % lanes + column * 32) * 2;
    }

    // Pixels from `begin` on, zeros from `end` on. Ends with the block's rows in place for all to read.
    __device__ __forceinline__ void gather(const Geometry& g, bf16* rows, uint32_t begin, uint32_t end) const
    {
        __shared__ Origin origins[PIXELS];
        if (threadIdx.x < PIXELS) {
            origins[threadIdx.x] = pixels.origin(g, begin + threadIdx.x, end);
        }
        __syncthreads();
        const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, together = lanes / 4;
        for (uint32_t eight = warp * 8; eight < PIXELS; eight += WARPS * 8) {
            for (uint32_t i = 0; i < together; ++i) {
                const uint32_t row = eight + i + lane / lanes * together;
                gather_row(g, origins[row], rows + row * pitch(window.length));
            }
        }
        __syncthreads();
    }

    __device__ __forceinline__ void gather_row(const Geometry& g, const Origin& origin, bf16* to) const
    {
        const uint32_t last_h = origin.h + (g.r - 1) * g.dil_h, last_w = origin.w + (g.s - 1) * g.dil_w;
        if (origin.h >= 0 && last_h < g.h && origin.w >= 0 && last_w < g.w) {
            const bf16* first = images.at(origin);
#pragma unroll
            for (uint32_t column = 0; column < COLUMNS; ++column) {
                if (element(column) < window.length) {
                    const bf16 low = first[offsets[column][0]];
                    const bf16 high = offsets[column][1] != NO_TAP ? first[offsets[column][1]] : bf16(0.0f);
                    *reinterpret_cast<__nv_bfloat162*>(to + element(column)) = __nv_bfloat162(low, high);
                }
            }
        } else {
#pragma unroll 1
            for (uint32_t at = element(0); at < window.length; at += 64) {
                const bf16* low = images.find(origin, window.tap(at));
                const bf16* high = images.find(origin, window.tap(at + 1));
                *reinterpret_cast<__nv_bfloat162*>(to + at) = __nv_bfloat162(
                    low != nullptr ? *low : bf16(0.0f), high != nullptr ? *high : bf16(0.0f));
            }
        }
    }
};

// A warp owns 16 filters and keeps their weights in registers, as mma's right factor. Column j of its fragment `half`
// stands for filter j / 2 * 4 + half * 2 + j % 2, so that a lane ends with 4 filters in a row.
extern "C" __global__ void __launch_bounds__(FWD_WARPS * 32, 4)
conv2d_fwd_bf16__stem(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s, uint32_t p,
                      uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h, uint32_t pad_w,
                      uint32_t dil_h, uint32_t dil_w, const bf16* __restrict__ x, const bf16* __restrict__ weight,
                      bf16* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    extern __shared__ __align__(16) bf16 rows[];
    const uint32_t lane = threadIdx.x % 32, length = g.window();
    const uint32_t first_k = blockIdx.y * FILTERS + threadIdx.x / 32 * 16;

    uint32_t weights[LONGEST / 16][2][2];
#pragma unroll
    for (uint32_t i = 0; i < LONGEST / 16 * 4; ++i) {
        const uint32_t step = i / 4, half = i / 2 % 2, low = i % 2;
        const uint32_t filter = first_k + lane / 8 * 4 + half * 2 + lane / 4 % 2;
        const uint32_t element = step * 16 + low * 8 + lane % 4 * 2;
        const bf16* from = weight + (filter * length + element);
        __nv_bfloat162 both;
        both.x = filter < k && element < length ? from[0] : bf16(0.0f);
        both.y = filter < k && element + 1 < length ? from[1] : bf16(0.0f);
        weights[step][half][low] = *reinterpret_cast<const uint32_t*>(&both);
    }

    // This lane's row for ldmatrix: of matrices of pixels 0-7 and 8-15 by the first 8 elements, then by the second.
    const uint32_t from = shared_address(rows + lane % 16 * pitch(length) + lane / 16 * 8);
    const uint32_t bytes_of_16 = 16 * pitch(length) * 2;

    const Gatherer<FWD_WARPS> gatherer(g, x, rows);
    const uint32_t pixels = g.pixels();
    for (uint32_t first = blockIdx.x * PIXELS; first < pixels; first += gridDim.x * PIXELS) {
        gatherer.gather(g, rows, first, pixels);
        float sums[PIXELS / 16][2][4] = {};
#pragma unroll
        for (uint32_t step = 0; step < LONGEST / 16; ++step) {
            if (step * 16 < length) {
#pragma unroll
                for (uint32_t i = 0; i < PIXELS / 16; ++i) {
                    uint32_t window[4];
                    ldmatrix_x4(window, from + i * bytes_of_16 + step * 32);
                    mma_16x8x16_bf16(sums[i][0], window, weights[step][0][0], weights[step][0][1]);
                    mma_16x8x16_bf16(sums[i][1], window, weights[step][1][0], weights[step][1][1]);
                }
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < PIXELS / 8; ++i) {
            const uint32_t pixel = first + i * 8 + lane / 4, filter = first_k + lane % 4 * 4;
            const float(&part)[2][4] = sums[i / 2];
            const uint32_t at = i % 2 * 2;
            bf16* to = y + size_t(pixel) * k + filter;
            if (pixel < pixels && k % 4 == 0) {
                if (filter < k) {
                    const __nv_bfloat162 low = __floats2bfloat162_rn(part[0][at], part[0][at + 1]);
                    const __nv_bfloat162 high = __floats2bfloat162_rn(part[1][at], part[1][at + 1]);
                    *reinterpret_cast<uint2*>(to) = make_uint2(*reinterpret_cast<const uint32_t*>(&low),
                                                               *reinterpret_cast<const uint32_t*>(&high));
                }
            } else if (pixel < pixels) {
#pragma unroll
                for (uint32_t j = 0; j < 4; ++j) {
                    if (filter + j < k) {
                        to[j] = from_float<bf16>(part[j / 2][at + j % 2]);
                    }
                }
            }
        }
    }
}

// A block owns 64 filters and the whole window, over the pixels of its split. A warp owns 16 filters, and every other
// 16 elements of the window. Both factors lie in shared memory as pixels by something, so both are read transposed.
extern "C" __global__ void __launch_bounds__(WEIGHT_WARPS * 32, 2)
conv2d_bwd_weight_bf16__stem(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                             uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                             uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t splits,
                             const bf16* __restrict__ dy, const bf16* __restrict__ x, float* __restrict__ workspace)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    constexpr uint32_t DY_PITCH = FILTERS + PAD, HALVES = WEIGHT_WARPS / 4, OWN = (LONGEST / 16 + HALVES - 1) / HALVES;
    extern __shared__ __align__(16) bf16 rows[];
    __shared__ alignas(16) bf16 gradients[PIXELS * DY_PITCH];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, length = g.window();
    const uint32_t block_k = blockIdx.x * FILTERS, warp_k = warp % 4 * 16;
    const uint32_t share = ((g.pixels() + PIXELS - 1) / PIXELS + splits - 1) / splits * PIXELS;
    const uint32_t begin = min(blockIdx.y * share, g.pixels()), end = min(begin + share, g.pixels());

    // This lane's row for ldmatrix: of matrices of both 8 pixels by elements 0-7, then both by elements 8-15.
    const uint32_t from = shared_address(rows + lane % 16 * pitch(length) + lane / 16 * 8);
    const uint32_t bytes_of_16 = 16 * pitch(length) * 2;

    const Gatherer<WEIGHT_WARPS> gatherer(g, x, rows);
    float sums[OWN][2][4] = {};
    for (uint32_t first = begin; first < end; first += PIXELS) {
#pragma unroll
        for (uint32_t i = 0; i < PIXELS * FILTERS / 8 / (WEIGHT_WARPS * 32); ++i) {
            const uint32_t chunk = threadIdx.x + i * WEIGHT_WARPS * 32;
            const uint32_t row = chunk / (FILTERS / 8), column = chunk % (FILTERS / 8) * 8;
            const uint32_t pixel = first + row, filter = block_k + column;
            const bf16* from = dy + size_t(pixel) * k + filter;
            Pack<bf16> pack = {};
            if (pixel < end && k % 8 == 0) {
                if (filter < k) {
                    pack = *reinterpret_cast<const Pack<bf16>*>(from);
                }
            } else if (pixel < end) {
#pragma unroll
                for (uint32_t j = 0; j < 8; ++j) {
                    pack.element[j] = filter + j < k ? from[j] : bf16(0.0f);
                }
            }
            *reinterpret_cast<Pack<bf16>*>(gradients + row * DY_PITCH + column) = pack;
        }
        gatherer.gather(g, rows, first, end);
#pragma unroll
        for (uint32_t step = 0; step < PIXELS / 16; ++step) {
            uint32_t left[4];
            // Matrices: filters 0-7 and 8-15 of the first 8 pixels, then of the second.
            const uint32_t left_row = step * 16 + lane / 16 * 8 + lane % 8;
            ldmatrix_x4_transposed(left, shared_address(gradients + left_row * DY_PITCH + warp_k + lane / 8 % 2 * 8));
#pragma unroll
            for (uint32_t i = 0; i < OWN; ++i) {
                const uint32_t column = (warp / 4 + i * HALVES) * 16;
                if (column < length) {
                    uint32_t right[4];
                    ldmatrix_x4_transposed(right, from + step * bytes_of_16 + column * 2);
                    mma_16x8x16_bf16(sums[i][0], left, right[0], right[1]);
                    mma_16x8x16_bf16(sums[i][1], left, right[2], right[3]);
                }
            }
        }
        __syncthreads();  // before the next tile overwrites these
    }

    float* part = workspace + size_t(blockIdx.y) * k * length;
#pragma unroll
    for (uint32_t i = 0; i < OWN * 8; ++i) {
        const uint32_t at = i % 4;
        const uint32_t filter = block_k + warp_k + at / 2 * 8 + lane / 4;
        const uint32_t element = (warp / 4 + i / 8 * HALVES) * 16 + i / 4 % 2 * 8 + lane % 4 * 2 + at % 2;
        if (filter < k && element < length) {
            part[filter * length + element] = sums[i / 8][i / 4 % 2][at];
        }
    }
}
