// y[n,i,j,c] = x[n,i',j',c], image n turned by k = turns[n] mod 4 quarter turns counter-clockwise: (i',j') is (i,j),
// (j,S-1-i), (S-1-i,S-1-j), (S-1-j,i) for k = 0, 1, 2, 3.
//
// Memory    x[N,S,S,C] read, y[N,S,S,C] overwritten, both in the entry's type; turns[N] i64 read. 16-byte accesses if C
//           is a multiple of 4 (f32) or 8 (bf16).
// Work      256 threads, grid min(ceil(N S S C / 256), 65535), striding; a thread moves a pack, or an element.
// Shape     Any N, S, C >= 1.
// Cost      No FLOPs; every element read and written once. Memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   Exact.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "element.cuh"

constexpr uint32_t THREADS = 256;

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void turn(uint32_t n, uint32_t s, uint32_t c, const T* __restrict__ x,
                                     const int64_t* __restrict__ turns, T* __restrict__ y)
{
    const uint64_t units = c / WIDTH, image = uint64_t(s) * s, all = n * image * units;
    for (uint64_t u = uint64_t(blockIdx.x) * THREADS + threadIdx.x; u < all; u += uint64_t(gridDim.x) * THREADS) {
        const uint64_t pixel = u / units, of = pixel / image, at = u % units * WIDTH;
        const uint32_t i = uint32_t(pixel % image / s), j = uint32_t(pixel % s), k = uint32_t(turns[of] & 3);
        const uint32_t row = k == 0 ? i : k == 1 ? j : k == 2 ? s - 1 - i : s - 1 - j;
        const uint32_t column = k == 0 ? j : k == 1 ? s - 1 - i : k == 2 ? s - 1 - j : i;
        float v[WIDTH];
        load_wide(v, x + (of * image + uint64_t(row) * s + column) * c + at);
        store_wide(y + pixel * c + at, v);
    }
}

template <typename T>
__device__ __forceinline__ void forward(uint32_t n, uint32_t s, uint32_t c, const T* __restrict__ x,
                                        const int64_t* __restrict__ turns, T* __restrict__ y)
{
    if (c % PACK<T> == 0) {
        turn<PACK<T>>(n, s, c, x, turns, y);
    } else {
        turn<1>(n, s, c, x, turns, y);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
rotate_fwd_f32(uint32_t n, uint32_t s, uint32_t c, const float* __restrict__ x, const int64_t* __restrict__ turns,
               float* __restrict__ y)
{
    forward(n, s, c, x, turns, y);
}

extern "C" __global__ void __launch_bounds__(THREADS)
rotate_fwd_bf16(uint32_t n, uint32_t s, uint32_t c, const bf16* __restrict__ x, const int64_t* __restrict__ turns,
                bf16* __restrict__ y)
{
    forward(n, s, c, x, turns, y);
}
