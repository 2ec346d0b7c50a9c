// y[n,p,q,k]  = sum over r,s,c of x[n, p u + r d - a, q v + s e - b, c] w[k,r,s,c]    stride (u,v), dilation (d,e),
// dx[n,h,w,c] = sum over k and the (p,r), (q,s) that read (h,w) of dy[n,p,q,k] w[k,r,s,c]            padding (a,b);
// dw[k,r,s,c] = sum over n,p,q of dy[n,p,q,k] x[n, p u + r d - a, q v + s e - b, c]       x is 0 outside the image
//
// The formulas as they stand: the rung to study first, and to check the others by. conv2d_tiled.cu is the same on
// shared-memory tiles, conv2d_mma.cu on tensor cores, conv2d_stem.cu that for images of few channels.
//
// Memory    x, dx [N,H,W,C], y, dy [N,P,Q,K], w, dw [K,R,S,C], row-major. f32 entries: all f32; bf16 entries: dw f32,
//           the others bf16. Elements are read one by one: no alignment but their own. y is overwritten; dx and dw
//           are too, or added to if `accumulate`. No workspace.
// Work      256 threads a block.
//             fwd         a thread owns an element of y; grid ceil(N P Q K / 256).
//             bwd_input   a thread owns an element of dx; grid ceil(N H W C / 256). Neighbours read neighbouring
//                         weights, and the same gradients.
//             bwd_weight  a block owns 32 channels of dw[k,r,s,:], lane by lane; grid K R S ceil(C / 32). Each of its
//                         8 warps sums every 8th pixel, then the first adds up the 8 sums.
// Shape     Any geometry with at least one output pixel; N P Q, N H W, the grids and the coordinates with their
//           padding below 2^31.
// Cost      2 N P Q K R S C FLOPs at most (taps outside the image are skipped), and two loads for each fma: the caches
//           are the limit. In fwd a warp's weights lie R S C apart; by the machine's counters it moves 6.6 times the
//           sectors its bytes fill. Share of any limit: not yet measured.
// Numbers   f32 fma in order of (r,s,c), (r,s,k), or pixels by 8 strands added in order: same bits each time. Error at
//           most as many half ulp of the sum of magnitudes as there are terms; rounding to bf16 adds half an ulp of
//           that. Outside the image nothing is multiplied: no NaN from a weight of infinity there.
// Lost      Nothing tried: this is the rung the others improve on.

#include "conv2d.cuh"

constexpr uint32_t THREADS = 256;

template <typename T>
__device__ __forceinline__ void forward_direct(const Geometry& g, const T* __restrict__ x, const T* __restrict__ w,
                                               T* __restrict__ y)
{
    const size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= size_t(g.pixels()) * g.k) {
        return;
    }
    const uint32_t k = i % g.k, pixel = i / g.k;
    const uint32_t q = pixel % g.q, p = pixel / g.q % g.p, n = pixel / g.q / g.p;
    float sum = 0.0f;
    for (uint32_t r = 0; r < g.r; ++r) {
        const uint32_t h = p * g.stride_h + r * g.dil_h - g.pad_h;  // wraps above the image, to beyond its end
        for (uint32_t s = 0; s < g.s; ++s) {
            const uint32_t column = q * g.stride_w + s * g.dil_w - g.pad_w;
            if (h < g.h && column < g.w) {
                const T* inputs = x + ((size_t(n) * g.h + h) * g.w + column) * g.c;
                const T* weights = w + ((size_t(k) * g.r + r) * g.s + s) * g.c;
                for (uint32_t c = 0; c < g.c; ++c) {
                    sum = fmaf(to_float(inputs[c]), to_float(weights[c]), sum);
                }
            }
        }
    }
    y[i] = from_float<T>(sum);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_fwd_f32__direct(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s, uint32_t p,
                       uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h, uint32_t pad_w,
                       uint32_t dil_h, uint32_t dil_w, const float* __restrict__ x, const float* __restrict__ weight,
                       float* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    forward_direct(g, x, weight, y);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_fwd_bf16__direct(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s, uint32_t p,
                        uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h, uint32_t pad_w,
                        uint32_t dil_h, uint32_t dil_w, const bf16* __restrict__ x, const bf16* __restrict__ weight,
                        bf16* __restrict__ y)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    forward_direct(g, x, weight, y);
}

template <typename T>
__device__ __forceinline__ void bwd_input_direct(const Geometry& g, bool accumulate, const T* __restrict__ dy,
                                                 const T* __restrict__ w, T* __restrict__ dx)
{
    const size_t i = size_t(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= size_t(g.n) * g.h * g.w * g.c) {
        return;
    }
    const uint32_t c = i % g.c, pixel = i / g.c;
    const uint32_t column = pixel % g.w, h = pixel / g.w % g.h, n = pixel / g.w / g.h;
    float sum = 0.0f;
    for (uint32_t r = 0; r < g.r; ++r) {
        const uint32_t from_p = h + g.pad_h - r * g.dil_h;  // p times the stride, or wrapped to a quotient beyond P
        for (uint32_t s = 0; s < g.s; ++s) {
            const uint32_t from_q = column + g.pad_w - s * g.dil_w;
            const uint32_t p = from_p / g.stride_h, q = from_q / g.stride_w;
            const bool above = int(from_p) < 0 || int(from_q) < 0;
            if (!above && from_p % g.stride_h == 0 && from_q % g.stride_w == 0 && p < g.p && q < g.q) {
                const T* gradients = dy + ((size_t(n) * g.p + p) * g.q + q) * g.k;
                const T* weights = w + (size_t(r) * g.s + s) * g.c + c;
                for (uint32_t k = 0; k < g.k; ++k) {
                    sum = fmaf(to_float(gradients[k]), to_float(weights[size_t(k) * g.window()]), sum);
                }
            }
        }
    }
    write(dx + i, sum, accumulate);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_input_f32__direct(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                             uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                             uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                             const float* __restrict__ dy, const float* __restrict__ weight, float* __restrict__ dx)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_input_direct(g, accumulate != 0, dy, weight, dx);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_input_bf16__direct(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                              uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                              uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                              const bf16* __restrict__ dy, const bf16* __restrict__ weight, bf16* __restrict__ dx)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_input_direct(g, accumulate != 0, dy, weight, dx);
}

// A block owns 32 channels of one tap of one filter; each of its warps sums every 8th pixel.
template <typename T>
__device__ __forceinline__ void bwd_weight_direct(const Geometry& g, bool accumulate, const T* __restrict__ dy,
                                                  const T* __restrict__ x, float* __restrict__ dw)
{
    constexpr uint32_t WARPS = THREADS / 32;
    __shared__ float sums[WARPS][32];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t groups = (g.c + 31) / 32, row = blockIdx.x / groups, c = blockIdx.x % groups * 32 + lane;
    const uint32_t s = row % g.s, r = row / g.s % g.r, k = row / g.s / g.r;
    float sum = 0.0f;
    for (uint32_t pixel = warp; pixel < g.pixels(); pixel += WARPS) {
        const uint32_t q = pixel % g.q, p = pixel / g.q % g.p, n = pixel / g.q / g.p;
        const uint32_t h = p * g.stride_h + r * g.dil_h - g.pad_h;
        const uint32_t column = q * g.stride_w + s * g.dil_w - g.pad_w;
        if (h < g.h && column < g.w && c < g.c) {
            const float gradient = to_float(dy[size_t(pixel) * g.k + k]);
            sum = fmaf(gradient, to_float(x[((size_t(n) * g.h + h) * g.w + column) * g.c + c]), sum);
        }
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && c < g.c) {
        for (uint32_t i = 1; i < WARPS; ++i) {
            sum += sums[i][lane];
        }
        write(dw + size_t(row) * g.c + c, sum, accumulate);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_weight_f32__direct(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                              uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                              uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                              const float* __restrict__ dy, const float* __restrict__ x, float* __restrict__ dw)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_weight_direct(g, accumulate != 0, dy, x, dw);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_bwd_weight_bf16__direct(uint32_t n, uint32_t h, uint32_t w, uint32_t c, uint32_t k, uint32_t r, uint32_t s,
                               uint32_t p, uint32_t q, uint32_t stride_h, uint32_t stride_w, uint32_t pad_h,
                               uint32_t pad_w, uint32_t dil_h, uint32_t dil_w, uint32_t accumulate,
                               const bf16* __restrict__ dy, const bf16* __restrict__ x, float* __restrict__ dw)
{
    const Geometry g{n, h, w, c, k, r, s, p, q, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w};
    bwd_weight_direct(g, accumulate != 0, dy, x, dw);
}
