// y[i] = gate[0] is finite ? x[i] : otherwise, bit for bit
//
// Memory    gate[1] f32 and x[n], f32 or another type of 4 bytes, read; y[n] overwritten; they do not overlap.
// Work      256 threads, grid ceil(n / 256), a thread an element: n is a handful, or the batch.
// Shape     Any n >= 1.
// Cost      No FLOPs; 8 n + 4 bytes. What it costs is a launch.
// Numbers   Copies. Infinite and NaN alike are not finite.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "element.cuh"

constexpr uint32_t THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
when_finite_f32(uint32_t n, uint32_t otherwise, const float* __restrict__ gate, const uint32_t* __restrict__ x,
                uint32_t* __restrict__ y)
{
    const uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i < n) {
        y[i] = isfinite(gate[0]) ? x[i] : otherwise;
    }
}
