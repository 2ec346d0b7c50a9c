// HEADER

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

// A tap in one register.
constexpr uint32_t NO_TAP = ~0u;
__device__ __forceinline__ uint32_t pack_tap(const Tap& tap)
{
    return tap.valid ? tap.r << 16 | tap.s << 8 | tap.c : NO_TAP;
}
__device__ __forceinline__ Tap unpack_tap(uint32_t packed)
{
    return {int(packed >> 16), int(packed >> 8 & 255), packed & 255, packed != NO_TAP};
}

// Puts a tile's windows into shared memory. A row has `lanes` lanes to itself; the rows that share a warp lie 4 or 2
// apart, which is what keeps their pairs on different banks.
template <uint32_t WARPS>
struct Gatherer {
    Images<bf16> images;
    Pixels pixels;
    uint32_t pairs, lanes;
    uint32_t taps[COLUMNS][2];

    __device__ __forceinline__ Gatherer(const Geometry& g, const bf16* x) : images(images_of_x(g, x)), pixels(g)
    {
        const Window window(g.r, g.s, g.c);
        pairs = padded(window.length) / 2;
        lanes = pairs <= 8 ? 8 : pairs <= 16 ? 16 : 32;
#pragma unroll
        for (uint32_t i = 0; i < COLUMNS; ++i) {
            const uint32_t first = (threadIdx.x % lanes + i * 32) * 2;
            taps[i][0] = pack_tap(window.tap(first));
            taps[i][1] = pack_tap(window.tap(first + 1));
        }
    }

    // Pixels from `first` on, zeros from `end` on. Ends with the block's rows in place for all to read.
    __device__ __forceinline__ void gather(const Geometry& g, bf16* rows, uint32_t first, uint32_t end) const
    {
        __shared__ Origin origins[PIXELS];
        if (threadIdx.x < PIXELS) {
            origins[threadIdx.x] = pixels.origin(g, first + threadIdx.x, end);
        }
        __syncthreads();
        const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, together = lanes / 4;
        for (uint32_t eight = warp * 8; eight < PIXELS; eight += WARPS * 8) {
            for (uint32_t i = 0; i < together; ++i) {
                const uint32_t row = eight + i + lane / lanes * together;
                const Origin origin = origins[row];
#pragma unroll
                for (uint32_t column = 0; column < COLUMNS; ++column) {
                    const uint32_t pair = lane % lanes + column * 32;
                    if (pair < pairs) {
                        const bf16* low = images.find(origin, unpack_tap(taps[column][0]));
                        const bf16* high = images.find(origin, unpack_tap(taps[column][1]));
                        __nv_bfloat162 both;
                        both.x = low != nullptr ? *low : bf16(0.0f);
                        both.y = high != nullptr ? *high : bf16(0.0f);
                        *reinterpret_cast<__nv_bfloat162*>(rows + row * (pairs * 2 + PAD) + pair * 2) = both;
                    }
                }
            }
        }
        __syncthreads();
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

    const Gatherer<FWD_WARPS> gatherer(g, x);
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
                    const uint32_t row = i * 16 + lane % 16;
                    ldmatrix_x4(window, shared_address(rows + row * pitch(length) + step * 16 + lane / 16 * 8));
                    mma_16x8x16_bf16(sums[i][0], window, weights[step][0][0], weights[step][0][1]);
                    mma_16x8x16_bf16(sums[i][1], window, weights[step][1][0], weights[step][1][1]);
                }
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < PIXELS / 8; ++i) {
            const uint32_t pixel = first + i * 8 + lane / 4, filter = first_k + lane % 4 * 4;
            const auto& part = sums[i / 2];
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

    const Gatherer<WEIGHT_WARPS> gatherer(g, x);
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
                    // Matrices: both 8 pixels of elements 0-7, then both of elements 8-15.
                    const uint32_t row = step * 16 + lane % 16;
                    ldmatrix_x4_transposed(right,
                                      shared_address(rows + row * pitch(length) + column + lane / 16 * 8));
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
