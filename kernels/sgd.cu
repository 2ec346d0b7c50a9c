// v[i] = momentum v[i] + (g[i] + decay p[i]);  p[i] = p[i] - lr v[i];  half[i] = bf16(p[i])
//
// Memory    table[gridDim.x] read, see multi_tensor.cuh: value p and state0 v read and overwritten, gradient g read,
//           half overwritten unless 0, decay. schedule[2] read: lr and the step; at step 0 nothing is written. p, g, v are
//           f32 and do not overlap; table is 16-byte, schedule 4-byte aligned.
// Work      A block owns an entry of the table, at most 16384 elements; a thread every 256th group of 4. Block (256, 1,
//           1), grid (entries, 1, 1): all parameters in one launch.
// Shape     Any number of elements an entry up to 16384, checked by the host with the rest of the table.
// Cost      6 FLOPs and 20 bytes an element, 22 with half: memory bandwidth is the limit. Share of it: not yet
//           measured.
// Numbers   f32, each operation rounded on its own: bit for bit the CPU engine's.
// Lost      Nothing tried yet.

#include "multi_tensor.cuh"

extern "C" __global__ void __launch_bounds__(CHUNK_BLOCK)
sgd_f32(float momentum, const Chunk* __restrict__ table, const float* __restrict__ schedule)
{
    const Chunk chunk = table[blockIdx.x];
    const float lr = schedule[0];
    if (schedule[1] < 1.0f) {
        return;
    }
    for_each<1>(chunk, [&](float& p, float g, float& v, float&) {
        v = add(mul(momentum, v), add(g, mul(chunk.decay, p)));
        p = sub(p, mul(lr, v));
    });
}
