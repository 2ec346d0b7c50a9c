// With decoupled p[i] = p[i] - lr decay p[i] (AdamW), else g[i] = g[i] + decay p[i] (Adam);  m[i] = m[i] + (1 - b1) (g[i] - m[i])
// v[i] = b2 v[i] + (1 - b2) g[i]^2
// p[i] = p[i] - lr / c1 m[i] / (sqrt(v[i]) / sqrt(c2) + eps);  half[i] = bf16(p[i]);  ck = 1 - bk^step
//
// Memory    table[gridDim.x] read, see multi_tensor.cuh: value p, state0 m and state1 v read and overwritten, gradient
//           g read, half overwritten unless 0, decay. schedule[2] read: lr and the step, counted from 1, so that a
//           launch in a CUDA graph stays the same from step to step; at step 0 nothing is written. p, g, m, v are f32
//           and do not overlap; table is 16-byte, schedule 4-byte aligned.
// Work      A block owns an entry of the table, at most 16384 elements; a thread every 256th group of 4. Lanes 0 and 1
//           compute the two bias corrections in f64 and hand them to the block in shared memory. Block (256, 1, 1),
//           grid (entries, 1, 1): all parameters in one launch.
// Shape     Any number of elements an entry up to 16384; 0 <= b < 1: checked by the host.
// Cost      14 FLOPs and 28 bytes an element, 30 with half: memory bandwidth is the limit, a division and a root
//           rounded to nearest included. Share of it: not yet measured.
// Numbers   f32, each operation rounded on its own: bit for bit the CPU engine's, but for the corrections. expm1 gives
//           1 - b^step to 1e-15 or so where the CPU's subtraction leaves 1e-13, and both round that to f32: to the same
//           for all of 1.2 million (b, step) compared; where not, one ulp apart.
// Lost      Nothing tried yet.

#include "multi_tensor.cuh"

extern "C" __global__ void __launch_bounds__(CHUNK_BLOCK)
adamw_f32(float b1, float b2, float eps, unsigned decoupled, const Chunk* __restrict__ table,
    const float* __restrict__ schedule)
{
    __shared__ float corrections[2];
    const Chunk chunk = table[blockIdx.x];
    const float lr = schedule[0];
    if (schedule[1] < 1.0f) {
        return;
    }
    if (threadIdx.x < 2) {
        const double b = threadIdx.x == 0 ? b1 : b2;
        corrections[threadIdx.x] = static_cast<float>(-expm1(schedule[1] * log(b)));
    }
    __syncthreads();
    const float step_size = __fdiv_rn(lr, corrections[0]);
    const float root = __fsqrt_rn(corrections[1]);
    const float shrink = mul(lr, chunk.decay);
    const float rest1 = sub(1.0f, b1), rest2 = sub(1.0f, b2);
    for_each<2>(chunk, [&](float& p, float g, float& m, float& v) {
        if (decoupled) {
            p = sub(p, mul(shrink, p));
        } else {
            g = add(g, mul(chunk.decay, p));
        }
        m = add(m, mul(rest1, sub(g, m)));
        v = add(mul(b2, v), mul(mul(rest2, g), g));
        p = sub(p, __fdiv_rn(mul(step_size, m), add(__fdiv_rn(__fsqrt_rn(v), root), eps)));
    });
}
