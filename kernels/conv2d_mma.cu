// The three passes of a 2-D convolution in bf16, as implicit matrix products on the tensor cores. With stride u,
// dilation d and padding a, each vertical and horizontal, and x zero outside of the image:
//     fwd         y[n,p,q,k]  = sum over r,s,c of x[n, p u + r d - a, q u + s d - a, c] w[k,r,s,c]
//     bwd_input   dx[n,h,w,c] = sum over r,s,k of dy[n,p,q,k] w[k,r,s,c], over the (p,q,r,s) that read (h,w)
//     bwd_weight  dw[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] x[n, p u + r d - a, q u + s d - a, c]
//
// Memory    x[N,H,W,C], w[K,R,S,C], dy and y[N,P,Q,K], dx[N,H,W,C] bf16, 16-byte aligned. x, w, dy are read, y is
//           overwritten, dx overwritten or, if `accumulate`, added to. bwd_weight overwrites
//           workspace[splits,K,R,S,C] f32, a sum a split; bwd_weight_f32__reduce (length = K R S C) adds these up into
//           dw[K,R,S,C] f32, overwritten or added to. Global accesses are of 16 bytes, but for y if K % 8 != 0 and
//           reduce if length % 4 != 0: these go one by one.
// Work      A product d[M,N] over an inner length L, by blocks of 128 threads, one a tile of BMxBN: the end of the
//           entry's name. No dynamic shared memory.
//                         M      N      L             grid
//             fwd         NPQ    K      RSC           ceil(M/BM) ceil(N/BN)
//             bwd_input   NHW    C      taps x K      ceil(m/BM) ceil(N/BN), 1, u u'    m = N ceil(H/u) ceil(W/u')
//             bwd_weight  K      RSC    NPQ/splits    ceil(M/BM) ceil(N/BN), splits
//             reduce      4 elements a thread: ceil(length/512); one if length % 4 != 0: ceil(length/128)
//           implicit_gemm.cuh tells of ring, warps and swizzles; here is where chunks come from:
//             fwd         a: windows, unrolled along (r,s,c) on the fly. A thread copies the same chunk of up to 4
//                         rows, which so share one (r,s,c), stepped by carries; a row knows its taps inside the image
//                         as bits. b: the filters as they lie.
//             bwd_input   blockIdx.z is a parity, (h mod u, w mod u'), of dx's pixels. Those see fewer taps, at unit
//                         stride. a: windows of dy, along (taps, k), k in steps of 32. b: w[k,r,s,c] across c, turned
//                         by ldmatrix.trans. A pixel without a tap gets zero.
//             bwd_weight  a: dy across k. b: x across (r,s,c): a thread's chunk is one tap for good, and its pixels
//                         are stepped by carries. Both are turned by ldmatrix.trans. A split has
//                         32 ceil(ceil(NPQ/32)/splits) pixels, the last ones fewer or none, which gives zeros.
//           Divisions happen once a row before the main loop and, for dx, once more after it.
// Shape     C % 8 = 0; bwd_input and bwd_weight: K % 8 = 0. R, S at most 12. NPQ and NHW below 2^31, no tensor of 2^35
//           elements. splits 1 to 65535. The host rejects anything else, and gives other widths to conv2d_tiled.cu.
// Cost      2 NPQ K RSC FLOPs a pass. For 2 BM BN L FLOPs a block reads 2 (BM + BN) L bytes, mostly from L2: 64 FLOPs
//           a byte at 128x128, 43 at 128x64, 32 at 64x64. M, N, and bwd_input's K count as the next multiple of the
//           tile and of 32. The limit is the tensor cores; in small problems, a block's latency. Share of it: not yet
//           measured.
// Numbers   f32 sums in an order fixed by shape, tile and splits: same bits each time. Products of bf16 are exact in
//           f32; the tensor core adds 16 at a time, in an order and with a rounding of its own, so 2 L ulp of the sum
//           of magnitudes are granted, and half an ulp of bf16 where the result is. `accumulate` rounds once. Padding
//           still meets its weight: a NaN weight shows even where its tap is outside.
// Lost      By the machine's counters: the epilogue's pairs of floats as two stores (2-way bank conflicts) against one.
//           By the SASS: fragments loaded right before their mma (70 to 110 other instructions from a step's barrier to
//           its first HMMA) against half a tile ahead. On a GPU: nothing tried yet.

#include "conv2d_operands.cuh"

template <class Tile>
__device__ __forceinline__ void forward(const Geometry& g, const bf16* __restrict__ x, const bf16* __restrict__ weight,
                                        bf16* __restrict__ y)
{
    __shared__ alignas(128) uint8_t ring[Tile::RING_BYTES];
    const uint32_t columns = (g.k + Tile::BLOCK_N - 1) / Tile::BLOCK_N;
    const uint32_t row = blockIdx.x / columns * Tile::BLOCK_M, column = blockIdx.x % columns * Tile::BLOCK_N;
    const uint32_t pixels = g.pixels(), chunks = g.c / CHUNK;

    const Field field{g.h, g.w, chunks, int32_t(g.dil_h), int32_t(g.dil_w), g.r, g.s};
    PixelRows<Tile::BLOCK_M> a(field, chunks, x, [&](uint32_t i) {
        const uint32_t pixel = row + i, q = pixel % g.q, rest = pixel / g.q, p = rest % g.p;
        return Corner{rest / g.p, int32_t(p * g.stride_h - g.pad_h), int32_t(q * g.stride_w - g.pad_w), pixel < pixels};
    });
    FilterRows<Tile::BLOCK_N> b(g, weight, column);
    Sums<Tile> sums = {};
    multiply<Tile>(sums, shared_address(ring), (g.window() + DEPTH - 1) / DEPTH, a, b);

    const auto place = [&](uint32_t i) { return row + i < pixels ? row + i : NOWHERE; };
    store_tile<Tile, bf16>(sums, ring, place, [&](uint32_t pixel, uint32_t i, const float (&values)[CHUNK]) {
        const uint32_t k = column + i;
        bf16* to = y + size_t(pixel) * g.k + k;
        if (g.k % CHUNK == 0) {
            if (k < g.k) {
                store_pack(to, values);
            }
        } else {
#pragma unroll
            for (uint32_t e = 0; e < CHUNK; ++e) {
                if (k + e < g.k) {
                    to[e] = from_float<bf16>(values[e]);
                }
            }
        }
    });
}

template <class Tile>
__device__ __forceinline__ void bwd_input(const Geometry& g, bool accumulate, const bf16* __restrict__ dy,
                                          const bf16* __restrict__ weight, bf16* __restrict__ dx)
{
    __shared__ alignas(128) uint8_t ring[Tile::RING_BYTES];
    const uint32_t columns = (g.c + Tile::BLOCK_N - 1) / Tile::BLOCK_N;
    const uint32_t row = blockIdx.x / columns * Tile::BLOCK_M, column = blockIdx.x % columns * Tile::BLOCK_N;
    const uint32_t parity_h = blockIdx.z / g.stride_w, parity_w = blockIdx.z % g.stride_w;
    // dx's pixels of this parity
    const uint32_t height = (g.h + g.stride_h - 1 - parity_h) / g.stride_h;
    const uint32_t width = (g.w + g.stride_w - 1 - parity_w) / g.stride_w;
    const uint32_t pixels = g.n * height * width;
    if (row >= pixels) {
        return;
    }
    const Taps rows(parity_h, g.stride_h, g.pad_h, g.dil_h, g.r), across(parity_w, g.stride_w, g.pad_w, g.dil_w, g.s);

    const uint32_t chunks = g.k / CHUNK, tiles = (g.k + DEPTH - 1) / DEPTH;
    const Field field{g.p, g.q, chunks, -rows.back, -across.back, rows.count, max(across.count, 1u)};
    PixelRows<Tile::BLOCK_M> a(field, tiles * (DEPTH / CHUNK), dy, [&](uint32_t i) {
        const uint32_t pixel = row + i, w = pixel % width, rest = pixel / width, h = rest % height;
        return Corner{rest / height, int32_t(h) + rows.origin, int32_t(w) + across.origin, pixel < pixels};
    });
    FilterColumns<Tile::BLOCK_N> b(g, rows, across, weight, column);
    Sums<Tile> sums = {};
    multiply<Tile>(sums, shared_address(ring), rows.count * across.count * tiles, a, b);

    const auto place = [&](uint32_t i) {
        const uint32_t pixel = row + i, w = pixel % width, rest = pixel / width, h = rest % height;
        const uint32_t at = (rest / height * g.h + h * g.stride_h + parity_h) * g.w + w * g.stride_w + parity_w;
        return pixel < pixels ? at : NOWHERE;
    };
    store_tile<Tile, bf16>(sums, ring, place, [&](uint32_t pixel, uint32_t i, const float (&values)[CHUNK]) {
        if (column + i < g.c) {
            bf16* to = dx + size_t(pixel) * g.c + column + i;
            float total[CHUNK] = {};
            if (accumulate) {
                load_pack(total, to);
            }
#pragma unroll
            for (uint32_t e = 0; e < CHUNK; ++e) {
                total[e] = accumulate ? total[e] + values[e] : values[e];
            }
            store_pack(to, total);
        }
    });
}

template <class Tile>
__device__ __forceinline__ void bwd_weight(const Geometry& g, uint32_t splits, const bf16* __restrict__ dy,
                                           const bf16* __restrict__ x, float* __restrict__ workspace)
{
    __shared__ alignas(128) uint8_t ring[Tile::RING_BYTES];
    const uint32_t length = g.window();
    const uint32_t columns = (length + Tile::BLOCK_N - 1) / Tile::BLOCK_N;
    const uint32_t row = blockIdx.x / columns * Tile::BLOCK_M, column = blockIdx.x % columns * Tile::BLOCK_N;
    const uint32_t pixels = g.pixels(), tiles = (pixels + DEPTH - 1) / DEPTH;
    const uint32_t share = (tiles + splits - 1) / splits * DEPTH;
    const uint32_t begin = min(blockIdx.y * share, pixels), end = min(begin + share, pixels);

    GradientColumns<Tile::BLOCK_M> a(g, dy, row, begin, end);
    ImageColumns<Tile::BLOCK_N> b(g, x, column, begin, end);
    Sums<Tile> sums = {};
    multiply<Tile>(sums, shared_address(ring), (end - begin + DEPTH - 1) / DEPTH, a, b);

    float* part = workspace + size_t(blockIdx.y) * g.k * length;
    const auto place = [&](uint32_t i) { return row + i < g.k ? row + i : NOWHERE; };
    store_tile<Tile, float>(sums, ring, place, [&](uint32_t k, uint32_t i, const float (&values)[4]) {
        if (column + i < length) {
            store_pack(part + size_t(k) * length + column + i, values);
        }
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_fwd_bf16__mma_128x128(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                             uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                             uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, const bf16* __restrict__ x,
                             const bf16* __restrict__ weight, bf16* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    forward<Tile128x128>(g, x, weight, y);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_fwd_bf16__mma_128x64(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                            uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                            uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, const bf16* __restrict__ x,
                            const bf16* __restrict__ weight, bf16* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    forward<Tile128x64>(g, x, weight, y);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_fwd_bf16__mma_64x64(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                           uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                           uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, const bf16* __restrict__ x,
                           const bf16* __restrict__ weight, bf16* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    forward<Tile64x64>(g, x, weight, y);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_input_bf16__mma_128x128(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                                   uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                                   uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                                   const bf16* __restrict__ dy, const bf16* __restrict__ weight,
                                   bf16* __restrict__ dx)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_input<Tile128x128>(g, accumulate != 0, dy, weight, dx);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_input_bf16__mma_128x64(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                                  uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                                  uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                                  const bf16* __restrict__ dy, const bf16* __restrict__ weight, bf16* __restrict__ dx)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_input<Tile128x64>(g, accumulate != 0, dy, weight, dx);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_input_bf16__mma_64x64(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                                 uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                                 uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                                 const bf16* __restrict__ dy, const bf16* __restrict__ weight, bf16* __restrict__ dx)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_input<Tile64x64>(g, accumulate != 0, dy, weight, dx);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_weight_bf16__mma_128x128(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r,
                                    uint32_t s, uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w,
                                    uint32_t pad_h, uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t splits,
                                    const bf16* __restrict__ dy, const bf16* __restrict__ x,
                                    float* __restrict__ workspace)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_weight<Tile128x128>(g, splits, dy, x, workspace);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_weight_bf16__mma_64x128(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                                   uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                                   uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t splits,
                                   const bf16* __restrict__ dy, const bf16* __restrict__ x,
                                   float* __restrict__ workspace)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_weight<Tile64x128>(g, splits, dy, x, workspace);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_weight_bf16__mma_64x64(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                                  uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                                  uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t splits,
                                  const bf16* __restrict__ dy, const bf16* __restrict__ x,
                                  float* __restrict__ workspace)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_weight<Tile64x64>(g, splits, dy, x, workspace);
}

// dw[i] = sum over the splits, ascending, of workspace[split][i].
template <uint32_t WIDTH>
__device__ __forceinline__ void add_splits(uint32_t length, uint32_t splits, bool accumulate,
                                           const float* __restrict__ workspace, float* __restrict__ dw)
{
    const size_t i = (size_t(blockIdx.x) * THREADS + threadIdx.x) * WIDTH;
    if (i >= length) {
        return;
    }
    float sums[WIDTH] = {};
#pragma unroll 8
    for (uint32_t split = 0; split < splits; ++split) {
        float part[WIDTH];
        if constexpr (WIDTH == 4) {
            load_pack(part, workspace + size_t(split) * length + i);
        } else {
            part[0] = workspace[size_t(split) * length + i];
        }
#pragma unroll
        for (uint32_t e = 0; e < WIDTH; ++e) {
            sums[e] += part[e];
        }
    }
#pragma unroll
    for (uint32_t e = 0; e < WIDTH; ++e) {
        sums[e] = accumulate ? dw[i + e] + sums[e] : sums[e];
    }
    if constexpr (WIDTH == 4) {
        store_pack(dw + i, sums);
    } else {
        dw[i] = sums[0];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_weight_f32__reduce(uint32_t length, uint32_t splits, uint32_t accumulate,
                              const float* __restrict__ workspace, float* __restrict__ dw)
{
    if (length % 4 == 0) {
        add_splits<4>(length, splits, accumulate != 0, workspace, dw);
    } else {
        add_splits<1>(length, splits, accumulate != 0, workspace, dw);
    }
}
