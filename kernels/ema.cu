// p[i] = momentum p[i] + (1 - momentum) q[i];  half[i] = bf16(p[i])
//
// Memory    table[gridDim.x] read, see multi_tensor.cuh: value p, the weights that follow, read and overwritten;
//           gradient q, the weights they follow, read; half, the copy of p, overwritten unless 0. momentum[1] read: it
//           changes over a run, a launch in a CUDA graph does not. p, q are f32 and do not overlap; table is 16-byte,
//           momentum 4-byte aligned.
// Work      A block owns an entry of the table, at most 16384 elements; a thread every 256th group of 4. Block (256, 1,
//           1), grid (entries, 1, 1): all weights in one launch.
// Shape     Any number of elements an entry up to 16384, checked by the host with the rest of the table.
// Cost      3 FLOPs and 12 bytes an element, 14 with half: memory bandwidth is the limit. Share of it: not yet
//           measured.
// Numbers   f32, each operation rounded on its own, so within 2 ulp of the larger term. Momentum 0 gives q while both
//           are finite, momentum 1 keeps p whatever they are.
// Lost      Nothing tried yet.

#include "multi_tensor.cuh"

extern "C" __global__ void __launch_bounds__(CHUNK_BLOCK)
ema_f32(const Chunk* __restrict__ table, const float* __restrict__ momentum)
{
    const Chunk chunk = table[blockIdx.x];
    const float keep = momentum[0];
    if (keep == 1.0f) {
        return;
    }
    const float take = sub(1.0f, keep);
    for_each<0>(chunk, [&](float& p, float q, float&, float&) { p = add(mul(keep, p), mul(take, q)); });
}
