// y[i] = a x[i] + y[i]
//
// Memory    x[n] read, y[n] read and written; f32, 4-byte aligned; x and y do not overlap.
// Work      A thread takes element i of its block's 256, then every (gridDim * 256)th after it, so any grid covers any
//           n; neighbouring lanes take neighbouring elements, so a warp's request is four whole 32-byte sectors.
// Shape     Any n. Block (256, 1, 1), checked by the host.
// Cost      2n FLOPs, 12n bytes: 1/6 FLOP a byte, so memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   One fma, one rounding: within 1 ulp of an f64 reference rounded to f32.
// Lost      Nothing tried yet. float4 loads would ask fewer instructions for the same sectors.

#include <cstdint>

extern "C" __global__ void __launch_bounds__(256)
saxpy_f32(uint32_t n, float a, const float* __restrict__ x, float* __restrict__ y)
{
    // 64 bits: the last stride may step over 2^32.
    const uint64_t stride = uint64_t(gridDim.x) * blockDim.x;
    for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        y[i] = fmaf(a, x[i], y[i]);
    }
}
