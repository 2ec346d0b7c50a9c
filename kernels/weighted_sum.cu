// y = weight x, or y + weight x if `accumulate`: a term of a sum of scalars.
//
// Memory    x[1] f32 read, y[1] f32 overwritten, or added to.
// Work      One thread; block 32, grid 1; a launch a term, in order.
// Shape     Scalars only.
// Cost      A launch.
// Numbers   One fma.
// Lost      Nothing tried yet. A table of addresses would save launches that a captured graph makes cheap.

#include <cstdint>

extern "C" __global__ void __launch_bounds__(32)
weighted_sum_f32(float weight, uint32_t accumulate, const float* __restrict__ x, float* __restrict__ y)
{
    if (threadIdx.x == 0) {
        y[0] = accumulate ? fmaf(weight, x[0], y[0]) : weight * x[0];
    }
}
