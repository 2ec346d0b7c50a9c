// y[n,p,c] = (x[n,p,c] - mean[n,c]) / sqrt(var[n,c] + eps) over the P = H W pixels of a patch, var the biased variance.
//
// Memory    x[N,P,C] read three times, the last two from cache where a patch fits; y[N,P,C] overwritten; both in the
//           entry's type.
// Work      A block owns up to 256 channels of a patch: thread t has channel t % own, and every (256 / own)th pixel from
//           t / own on, so that neighbours read neighbours. Block 256, grid (N, ceil(C / 256)).
// Shape     Any N, P, C >= 1; ceil(C / 256) <= 65535.
// Cost      7 FLOPs an element; x read and y written once: memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   f32, fixed order. The first pixel is subtracted before anything is summed, and the mean before squares are:
//           neither cancels, and a constant patch gives exact zeros. bf16 adds its rounding of y.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "element.cuh"

constexpr uint32_t THREADS = 256;

// The sum over the threads of the same channel, which all of them get.
__device__ __forceinline__ float sum_of_channel(float x, uint32_t channel, uint32_t own, uint32_t step, float* shared)
{
    __syncthreads();
    shared[threadIdx.x] = x;
    __syncthreads();
    float sum = 0.0f;
    for (uint32_t i = 0; i < step; ++i) {
        sum += shared[i * own + channel];
    }
    return sum;
}

template <typename T>
__device__ __forceinline__ void forward(uint32_t pixels, uint32_t c, float eps, const T* __restrict__ x,
                                        T* __restrict__ y)
{
    __shared__ float shared[THREADS];
    const uint32_t first = blockIdx.y * THREADS, own = min(c - first, THREADS), step = THREADS / own;
    const uint32_t channel = threadIdx.x % own, start = threadIdx.x / own;
    // Where 256 is no multiple of the channels, the last threads have no pixel.
    const uint32_t end = start < step ? pixels : 0;
    const size_t base = size_t(blockIdx.x) * pixels * c + first + channel;
    const float shift = to_float(x[base]);
    float sum = 0.0f;
    for (uint32_t p = start; p < end; p += step) {
        sum += to_float(x[base + size_t(p) * c]) - shift;
    }
    const float mean = sum_of_channel(sum, channel, own, step, shared) / float(pixels);
    float square = 0.0f;
    for (uint32_t p = start; p < end; p += step) {
        const float d = to_float(x[base + size_t(p) * c]) - shift - mean;
        square = fmaf(d, d, square);
    }
    const float scale = 1.0f / sqrtf(sum_of_channel(square, channel, own, step, shared) / float(pixels) + eps);
    for (uint32_t p = start; p < end; p += step) {
        const size_t at = base + size_t(p) * c;
        y[at] = from_float<T>((to_float(x[at]) - shift - mean) * scale);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
patch_norm_fwd_f32(uint32_t pixels, uint32_t c, float eps, const float* __restrict__ x, float* __restrict__ y)
{
    forward(pixels, c, eps, x, y);
}

extern "C" __global__ void __launch_bounds__(THREADS)
patch_norm_fwd_bf16(uint32_t pixels, uint32_t c, float eps, const bf16* __restrict__ x, bf16* __restrict__ y)
{
    forward(pixels, c, eps, x, y);
}
