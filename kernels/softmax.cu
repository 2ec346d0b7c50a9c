// p[n] = softmax of scale (x[n] - center), scale = 1 / temperature. Backward, from p:
// dx[n][k] = scale p[n][k] (dp[n][k] - sum over j of p[n][j] dp[n][j]); center has no gradient.
//
// Memory    x[N,K] and dx[N,K] in the entry's type, p[N,K], dp[N,K] and center[K] f32, all row-major; center may be
//           null, for 0. Accesses of 4 elements side by side if K is a multiple of 4. p overwritten; dx overwritten, or
//           added to if `accumulate`.
// Work      A block owns a row; it holds 4096 elements of it in registers and walks it twice. Longer rows are read
//           again for what is beyond. Block 256, grid N.
// Shape     Any N, K >= 1.
// Cost      About 5 N K FLOPs each way, fwd two exp an element; bytes fwd x + p, and center, which is read for each row
//           but stays in L2; bwd p + dp + dx (+ dx): memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   f32, fixed order; the maximum is subtracted first, so no finite logits overflow. Error of a p at most about
//           K / 256 + 12 ulp, and e to the ulp of the largest scale (x - center). bf16 adds its rounding of dx.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "softmax.cuh"

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void forward_row(uint32_t k, float scale, const T* __restrict__ x,
                                            const float* __restrict__ center, float* shared, float* __restrict__ p)
{
    const auto row = logits_row<WIDTH>(k, scale, x, center);
    const SumExp all = row.sum_exp(shared);
    const float share = 1.0f / all.sum;
    row.each([&](uint32_t at, const float (&z)[WIDTH]) {
        float y[WIDTH];
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            y[i] = expf(z[i] - all.max) * share;
        }
        store_floats<WIDTH>(p + at, y);
    });
}

template <typename T>
__device__ __forceinline__ void forward(uint32_t k, float scale, const T* __restrict__ x,
                                        const float* __restrict__ center, float* __restrict__ p)
{
    __shared__ float shared[LOGIT_WARPS];
    const size_t first = size_t(blockIdx.x) * k;
    if (k % LOGIT_WIDTH == 0) {
        forward_row<LOGIT_WIDTH>(k, scale, x + first, center, shared, p + first);
    } else {
        forward_row<1>(k, scale, x + first, center, shared, p + first);
    }
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
softmax_fwd_f32(uint32_t n, uint32_t k, float scale, const float* __restrict__ x, const float* __restrict__ center,
                float* __restrict__ p)
{
    forward(k, scale, x, center, p);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
softmax_fwd_bf16(uint32_t n, uint32_t k, float scale, const bf16* __restrict__ x, const float* __restrict__ center,
                 float* __restrict__ p)
{
    forward(k, scale, x, center, p);
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void backward_row(uint32_t k, float scale, bool accumulate, const float* __restrict__ dp,
                                             const float* __restrict__ p, float* shared, T* __restrict__ dx)
{
    const auto row = floats_row<WIDTH>(k, p), gradient = floats_row<WIDTH>(k, dp);
    float along = 0.0f;
    row.each_with(gradient, [&](uint32_t, const float (&p)[WIDTH], const float (&g)[WIDTH]) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            along = fmaf(p[i], g[i], along);
        }
    });
    along = block_sum<LOGIT_WARPS>(along, shared);
    row.each_with(gradient, [&](uint32_t at, const float (&p)[WIDTH], const float (&g)[WIDTH]) {
        float d[WIDTH];
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            d[i] = scale * p[i] * (g[i] - along);
        }
        write_wide(dx + at, d, accumulate);
    });
}

template <typename T>
__device__ __forceinline__ void backward(uint32_t k, float scale, bool accumulate, const float* __restrict__ dp,
                                         const float* __restrict__ p, T* __restrict__ dx)
{
    __shared__ float shared[LOGIT_WARPS];
    const size_t first = size_t(blockIdx.x) * k;
    if (k % LOGIT_WIDTH == 0) {
        backward_row<LOGIT_WIDTH>(k, scale, accumulate, dp + first, p + first, shared, dx + first);
    } else {
        backward_row<1>(k, scale, accumulate, dp + first, p + first, shared, dx + first);
    }
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
softmax_bwd_f32(uint32_t n, uint32_t k, float scale, uint32_t accumulate, const float* __restrict__ dp,
                const float* __restrict__ p, float* __restrict__ dx)
{
    backward(k, scale, accumulate != 0, dp, p, dx);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
softmax_bwd_bf16(uint32_t n, uint32_t k, float scale, uint32_t accumulate, const float* __restrict__ dp,
                 const float* __restrict__ p, bf16* __restrict__ dx)
{
    backward(k, scale, accumulate != 0, dp, p, dx);
}
