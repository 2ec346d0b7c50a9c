// w = inverse of l, l l^T = a = (1 - eps) c + eps I, l lower triangular. Backward is three products of linear's, and
// between the first two the mask p[i][j] = p[i][j] below the diagonal, half of it on, 0 above.
//
// Memory    c[D,D] f32 read, its lower triangle; l[D,D] f32, workspace: overwritten, then read; w[D,D] f32 overwritten,
//           0 above the diagonal. p[D,D] f32 read and overwritten in place.
// Work      fwd: one block of 256. Right-looking: a column is scaled, then what lies right of it and below loses the
//           outer product, D times, three barriers each. Then a thread owns a column of w and solves downwards. mask:
//           256 threads an element each, grid min(ceil(D^2 / 256), 65535), which strides.
// Shape     Any D >= 1.
// Cost      2 D^3 / 3 FLOPs by one block: for D up to some hundreds, as whitening has; the barriers are the limit.
//           Share of it: not yet measured.
// Numbers   f32, fixed order. Error about D ulp times the condition of a. A pivot that is not positive makes NaN (if 0,
//           infinity and then NaN) of all that follows.
// Lost      Nothing tried yet.

#include <cstdint>

constexpr uint32_t THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
inverse_cholesky_fwd_f32(uint32_t d, float eps, const float* __restrict__ c, float* __restrict__ l,
                         float* __restrict__ w)
{
    const uint32_t thread = threadIdx.x, column = thread % 32, first = thread / 32;
    for (uint32_t i = first; i < d; i += THREADS / 32) {
        for (uint32_t j = column; j <= i; j += 32) {
            const size_t at = size_t(i) * d + j;
            l[at] = (1.0f - eps) * c[at] + (i == j ? eps : 0.0f);
        }
    }
    for (uint32_t k = 0; k < d; ++k) {
        __syncthreads();
        const float pivot = sqrtf(l[size_t(k) * d + k]);
        __syncthreads();
        for (uint32_t i = k + thread; i < d; i += THREADS) {
            l[size_t(i) * d + k] = i == k ? pivot : l[size_t(i) * d + k] / pivot;
        }
        __syncthreads();
        for (uint32_t i = k + 1 + first; i < d; i += THREADS / 32) {
            const float left = l[size_t(i) * d + k];
            for (uint32_t j = k + 1 + column; j <= i; j += 32) {
                l[size_t(i) * d + j] -= left * l[size_t(j) * d + k];
            }
        }
    }
    __syncthreads();
    for (uint32_t j = thread; j < d; j += THREADS) {
        for (uint32_t i = 0; i < j; ++i) {
            w[size_t(i) * d + j] = 0.0f;
        }
        for (uint32_t i = j; i < d; ++i) {
            float rest = i == j ? 1.0f : 0.0f;
            for (uint32_t k = j; k < i; ++k) {
                rest = fmaf(-l[size_t(i) * d + k], w[size_t(k) * d + j], rest);
            }
            w[size_t(i) * d + j] = rest / l[size_t(i) * d + i];
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
inverse_cholesky_bwd_f32__mask(uint32_t d, float* __restrict__ p)
{
    const size_t stride = size_t(gridDim.x) * THREADS;
    for (size_t at = size_t(blockIdx.x) * THREADS + threadIdx.x; at < size_t(d) * d; at += stride) {
        const uint32_t i = uint32_t(at / d), j = uint32_t(at % d);
        p[at] = i > j ? p[at] : i == j ? 0.5f * p[at] : 0.0f;
    }
}
