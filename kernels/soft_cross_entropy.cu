// loss = -(1/N) sum over n, k of t[n][k] log p[n][k], p[n] = softmax of scale x[n], scale = 1 / temperature. Backward:
// dx[n][k] = (d_loss scale / N) (p[n][k] sum over j of t[n][j] - t[n][k]); t has no gradient.
//
// Memory    x[N,K] and dx[N,K] in the entry's type, t[N,K] f32, all row-major; accesses of 4 elements side by side if
//           K is a multiple of 4. row_loss[N] f32, workspace: fwd overwrites it, finalize reads it. loss[1] f32
//           overwritten, d_loss[1] f32 read. dx overwritten, or added to if `accumulate`. Nothing is saved for
//           backward: it reads x and t anyway.
// Work      A block owns a row; it holds 4096 elements of x (backwards of t too) in registers and walks them twice:
//           maximum and sum of exponentials (backwards of t too) in the first walk, the result in the second. Longer
//           rows are read again for what is beyond. fwd and bwd: block 256, grid N. finalize: block 256, grid 1.
// Shape     Any N, K >= 1.
// Cost      About 6 N K FLOPs and two exp an element; bytes fwd x + t, bwd x + t + dx (+ dx): memory bandwidth is the
//           limit. Share of it: not yet measured.
// Numbers   f32, fixed order. -log p is taken as (max - z) + log of the sum of exponentials: two terms that are not
//           negative, so nothing cancels while t >= 0. Error at most about K / 256 + 12 ulp of the sums, and the ulp of
//           the largest z = scale x. bf16 adds its rounding of dx.
// Lost      16-byte accesses of bf16 x, 8 elements side by side: t then takes two accesses of which each uses half of
//           its sectors. Holding 8192 elements: spills.

#include "rows.cuh"
#include "softmax.cuh"

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void forward_row(uint32_t k, float scale, const T* __restrict__ x,
                                            const float* __restrict__ t, float* shared, float* __restrict__ row_loss)
{
    const auto row = logits_row<WIDTH>(k, scale, x);
    const SumExp all = row.sum_exp(shared);
    const float log_sum = logf(all.sum);
    float loss = 0.0f;
    row.each([&](uint32_t at, const float (&z)[WIDTH]) {
        float target[WIDTH];
        load_floats<WIDTH>(target, t + at);
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            loss = fmaf(target[i], (all.max - z[i]) + log_sum, loss);
        }
    });
    loss = block_sum<LOGIT_WARPS>(loss, shared);
    if (threadIdx.x == 0) {
        row_loss[blockIdx.x] = loss;
    }
}

template <typename T>
__device__ __forceinline__ void forward(uint32_t k, float scale, const T* __restrict__ x, const float* __restrict__ t,
                                        float* __restrict__ row_loss)
{
    __shared__ float shared[LOGIT_WARPS];
    const size_t first = size_t(blockIdx.x) * k;
    if (k % LOGIT_WIDTH == 0) {
        forward_row<LOGIT_WIDTH>(k, scale, x + first, t + first, shared, row_loss);
    } else {
        forward_row<1>(k, scale, x + first, t + first, shared, row_loss);
    }
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
soft_cross_entropy_fwd_f32(uint32_t n, uint32_t k, float scale, const float* __restrict__ x,
                           const float* __restrict__ t, float* __restrict__ row_loss)
{
    forward(k, scale, x, t, row_loss);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
soft_cross_entropy_fwd_bf16(uint32_t n, uint32_t k, float scale, const bf16* __restrict__ x,
                            const float* __restrict__ t, float* __restrict__ row_loss)
{
    forward(k, scale, x, t, row_loss);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
soft_cross_entropy_fwd_f32__finalize(uint32_t n, const float* __restrict__ row_loss, float* __restrict__ loss)
{
    __shared__ float shared[LOGIT_WARPS];
    const float sum = sum_of_block<LOGIT_WARPS>(n, shared, [&](uint32_t i) { return row_loss[i]; });
    if (threadIdx.x == 0) {
        loss[0] = sum / float(n);
    }
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void backward_row(uint32_t k, float scale, bool accumulate, float upstream,
                                             const T* __restrict__ x, const float* __restrict__ t, float* shared,
                                             T* __restrict__ dx)
{
    const auto row = logits_row<WIDTH>(k, scale, x);
    const auto targets = floats_row<WIDTH>(k, t);
    const SumExp all = row.sum_exp(shared);
    float mass = 0.0f;
    targets.each([&](uint32_t, const float (&target)[WIDTH]) {
        for (const float v : target) {
            mass += v;
        }
    });
    mass = block_sum<LOGIT_WARPS>(mass, shared);
    const float weight = mass / all.sum;
    row.each_with(targets, [&](uint32_t at, const float (&z)[WIDTH], const float (&target)[WIDTH]) {
        float g[WIDTH];
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            g[i] = upstream * (expf(z[i] - all.max) * weight - target[i]);
        }
        write_wide(dx + at, g, accumulate);
    });
}

template <typename T>
__device__ __forceinline__ void backward(uint32_t n, uint32_t k, float scale, bool accumulate,
                                         const float* __restrict__ d_loss, const T* __restrict__ x,
                                         const float* __restrict__ t, T* __restrict__ dx)
{
    __shared__ float shared[LOGIT_WARPS];
    const size_t first = size_t(blockIdx.x) * k;
    const float upstream = d_loss[0] * scale / float(n);
    if (k % LOGIT_WIDTH == 0) {
        backward_row<LOGIT_WIDTH>(k, scale, accumulate, upstream, x + first, t + first, shared, dx + first);
    } else {
        backward_row<1>(k, scale, accumulate, upstream, x + first, t + first, shared, dx + first);
    }
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
soft_cross_entropy_bwd_f32(uint32_t n, uint32_t k, float scale, uint32_t accumulate, const float* __restrict__ d_loss,
                           const float* __restrict__ x, const float* __restrict__ t, float* __restrict__ dx)
{
    backward(n, k, scale, accumulate != 0, d_loss, x, t, dx);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
soft_cross_entropy_bwd_bf16(uint32_t n, uint32_t k, float scale, uint32_t accumulate, const float* __restrict__ d_loss,
                            const bf16* __restrict__ x, const float* __restrict__ t, bf16* __restrict__ dx)
{
    backward(n, k, scale, accumulate != 0, d_loss, x, t, dx);
}
