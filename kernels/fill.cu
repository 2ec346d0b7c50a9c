// y[i] = value
//
// Memory    y[n] u32, overwritten, 16-byte aligned. Any type of 4 bytes, by its bits.
// Work      A thread takes every (gridDim * 256)th group of 4 words, 16 bytes; the 1 to 3 words left over fall to the
//           grid's first threads. Block (256, 1, 1), any grid; enough is min(ceil(n / 1024), 8 blocks a
//           multiprocessor), at least 1.
// Shape     Any n, 0 included.
// Cost      No FLOPs, 4n bytes: memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   Exact.
// Lost      Nothing tried yet.

#include <cstdint>

constexpr uint32_t BLOCK = 256;

extern "C" __global__ void __launch_bounds__(BLOCK)
fill_u32(uint64_t n, uint32_t value, uint32_t* __restrict__ y)
{
    const uint64_t stride = uint64_t(gridDim.x) * BLOCK;
    const uint64_t thread = uint64_t(blockIdx.x) * BLOCK + threadIdx.x;
    const uint64_t packs = n / 4;
    uint4* words = reinterpret_cast<uint4*>(y);
    for (uint64_t i = thread; i < packs; i += stride) {
        words[i] = make_uint4(value, value, value, value);
    }
    const uint64_t rest = 4 * packs + thread;
    if (rest < n) {
        y[rest] = value;
    }
}
