// v[i] = momentum v[i] + scale (g[i] + decay p[i]);  p[i] = p[i] - lr v[i];  half[i] = bf16(p[i])
// scale = eta |p| / (|g| + decay |p| + 1e-8) over the whole tensor; with clip, min(that / lr, 1)
// A tensor that does not adapt, or one with |p| = 0 or |g| = 0: scale = 1, decay = 0.
//
// Memory    table[gridDim.x] read, see multi_tensor.cuh: value p and state0 v, gradient g, half, decay, first, entries,
//           adapt. p, g, v are f32 and do not overlap; table is 16-byte, schedule 4-byte, workspace 8-byte aligned.
//             norms   p, g read; workspace[gridDim.x][2] f64, 16 bytes an entry: the entry's sums of p^2 and of g^2,
//                     overwritten, but where adapt is 0.
//             update  workspace read; p, v read and overwritten; g read; half overwritten unless 0; schedule[2] read:
//                     lr and the step; at step 0 nothing is written.
// Work      Two launches, norms then update, over the same table: block (256, 1, 1), grid (entries, 1, 1). A block owns
//           an entry, at most 16384 elements; a thread every 256th group of 4. In update each block first adds up the
//           partial sums of its tensor: 16 bytes an entry, from the L2.
// Shape     Any number of elements an entry up to 16384, checked by the host with the rest of the table.
// Cost      norms 4 FLOPs and 8 bytes an element, update 7 and 20 (22 with half): memory bandwidth is the limit. On
//           GPUs with few f64 units (sm_86, sm_89) norms comes close to what these can do. Share of it: not yet
//           measured.
// Numbers   Norms in f64, where a square of an f32 is exact and neither overflows nor vanishes (in f32 a gradient of
//           1e-23 would count as none), in an order fixed by the table: some 1e-13 from the CPU engine's, so that
//           scale, an f32, is nearly always the same. From there f32, each operation rounded on its own: bit for bit
//           the CPU engine's for the same scale.
// Lost      Nothing tried yet.

#include "multi_tensor.cuh"
#include "reduce.cuh"

constexpr uint32_t WARPS = CHUNK_BLOCK / 32;

// Thread 0 gets both sums over the block, which must call as a whole; in a fixed order. Nobody else uses
// `shared` meanwhile.
__device__ __forceinline__ void sum_pair(double (&sum)[2], double (*shared)[2])
{
#pragma unroll
    for (uint32_t s = 16; s > 0; s /= 2) {
        sum[0] += __shfl_xor_sync(ALL_LANES, sum[0], s);
        sum[1] += __shfl_xor_sync(ALL_LANES, sum[1], s);
    }
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32][0] = sum[0];
        shared[threadIdx.x / 32][1] = sum[1];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (uint32_t warp = 1; warp < WARPS; ++warp) {
            sum[0] += shared[warp][0];
            sum[1] += shared[warp][1];
        }
    }
}

__device__ __forceinline__ void add_square(double& sum, float x)
{
    sum = fma(static_cast<double>(x), static_cast<double>(x), sum);
}

extern "C" __global__ void __launch_bounds__(CHUNK_BLOCK)
lars_norms_f32(const Chunk* __restrict__ table, double* __restrict__ workspace)
{
    __shared__ double shared[WARPS][2];
    const Chunk chunk = table[blockIdx.x];
    if (chunk.adapt == 0) {
        return;
    }
    const float* value = global<const float>(chunk.value);
    const float* gradient = global<const float>(chunk.gradient);
    double sum[2] = {};
    const uint32_t packs = chunk.count / 4;
    for (uint32_t pack = threadIdx.x; pack < packs; pack += CHUNK_BLOCK) {
        float p[4], g[4];
        load_pack(p, value + 4 * pack);
        load_pack(g, gradient + 4 * pack);
#pragma unroll
        for (uint32_t e = 0; e < 4; ++e) {
            add_square(sum[0], p[e]);
            add_square(sum[1], g[e]);
        }
    }
    const uint32_t i = 4 * packs + threadIdx.x;
    if (i < chunk.count) {
        add_square(sum[0], value[i]);
        add_square(sum[1], gradient[i]);
    }
    sum_pair(sum, shared);
    if (threadIdx.x == 0) {
        workspace[2 * size_t(blockIdx.x)] = sum[0];
        workspace[2 * size_t(blockIdx.x) + 1] = sum[1];
    }
}

// Decay, and what the decayed gradient is scaled by, from the squared norms.
__device__ __forceinline__ float2 factors(const double (&sum)[2], float decay, float eta, bool clip, float lr)
{
    const double p_norm = sqrt(sum[0]), g_norm = sqrt(sum[1]);
    if (p_norm == 0.0 || g_norm == 0.0) {
        return {0.0f, 1.0f};
    }
    const double ratio = eta * p_norm / (g_norm + p_norm * decay + 1e-8);
    return {decay, static_cast<float>(clip ? fmin(ratio / lr, 1.0) : ratio)};
}

extern "C" __global__ void __launch_bounds__(CHUNK_BLOCK)
lars_update_f32(float momentum, float eta, uint32_t clip, const Chunk* __restrict__ table,
                const float* __restrict__ schedule, const double* __restrict__ workspace)
{
    __shared__ double shared[WARPS][2];
    __shared__ float2 of_tensor;
    const Chunk chunk = table[blockIdx.x];
    const float lr = schedule[0];
    if (schedule[1] < 1.0f) {
        return;
    }
    float2 by = {0.0f, 1.0f};
    if (chunk.adapt != 0) {
        double sum[2] = {};
        for (uint32_t entry = threadIdx.x; entry < chunk.entries; entry += CHUNK_BLOCK) {
            const size_t at = 2 * (size_t(chunk.first) + entry);
            sum[0] += workspace[at];
            sum[1] += workspace[at + 1];
        }
        sum_pair(sum, shared);
        if (threadIdx.x == 0) {
            of_tensor = factors(sum, chunk.decay, eta, clip != 0, lr);
        }
        __syncthreads();
        by = of_tensor;
    }
    const float decay = by.x, scale = by.y;
    for_each<1>(chunk, [&](float& p, float g, float& v, float&) {
        v = add(mul(momentum, v), mul(scale, add(g, mul(decay, p))));
        p = sub(p, mul(lr, v));
    });
}
