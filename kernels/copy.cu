// blocks: to[b to_step + r to_pitch + i] (+)= from[b from_step + r from_pitch + i] for i < width.  zero: to[i] = 0.
//
// Memory    `from` read, `to` overwritten, or added to if `accumulate`; both in the entry's type. Pitches and steps count
//           elements. 16-byte accesses if width, pitches, steps and both addresses are multiples of 16 bytes.
// Work      256 threads; grid (x, blocks), x striding over rows * width. zero: grid x over n.
// Shape     Any; places written to do not overlap each other or what is read.
// Cost      No FLOPs but the additions of `accumulate`; every element read and written once: memory bandwidth is the
//           limit. Share of it: not yet measured.
// Numbers   Exact; accumulating rounds once. NaN is copied.
// Lost      Through floats and back where nothing is added: the compiler stored them one by one, four times the sectors.

#include "element.cuh"

constexpr uint32_t THREADS = 256;

// The bits as they are. As a struct of elements the compiler would store them one by one.
template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void copy_wide(T* to, const T* from)
{
    if constexpr (WIDTH == 1) {
        *to = *from;
    } else {
        static_assert(WIDTH == PACK<T>, "16 bytes");
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    }
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void copy(uint64_t rows, uint64_t width, uint64_t from_pitch, uint64_t to_pitch,
                                     bool accumulate, const T* __restrict__ from, T* __restrict__ to)
{
    const uint64_t units = width / WIDTH;
    for (uint64_t u = uint64_t(blockIdx.x) * THREADS + threadIdx.x; u < rows * units;
         u += uint64_t(gridDim.x) * THREADS) {
        const uint64_t row = u / units, at = u % units * WIDTH;
        const T* source = from + row * from_pitch + at;
        T* target = to + row * to_pitch + at;
        if (accumulate) {
            float x[WIDTH];
            load_wide(x, source);
            write_wide(target, x, true);
        } else {
            copy_wide<WIDTH>(target, source);
        }
    }
}

template <typename T>
__device__ __forceinline__ void blocks(uint64_t rows, uint64_t width, uint64_t from_pitch, uint64_t from_step,
                                       uint64_t to_pitch, uint64_t to_step, bool accumulate,
                                       const T* __restrict__ from, T* __restrict__ to)
{
    const uint64_t lengths = width | from_pitch | from_step | to_pitch | to_step;
    const bool aligned = (reinterpret_cast<uint64_t>(from) | reinterpret_cast<uint64_t>(to)) % 16 == 0;
    from += blockIdx.y * from_step;
    to += blockIdx.y * to_step;
    if (aligned && lengths % PACK<T> == 0) {
        copy<PACK<T>>(rows, width, from_pitch, to_pitch, accumulate, from, to);
    } else {
        copy<1>(rows, width, from_pitch, to_pitch, accumulate, from, to);
    }
}

template <typename T>
__device__ __forceinline__ void zero(uint64_t n, T* __restrict__ to)
{
    for (uint64_t i = uint64_t(blockIdx.x) * THREADS + threadIdx.x; i < n; i += uint64_t(gridDim.x) * THREADS) {
        to[i] = from_float<T>(0.0f);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
copy_blocks_f32(uint64_t rows, uint64_t width, uint64_t from_pitch, uint64_t from_step, uint64_t to_pitch,
                uint64_t to_step, uint32_t accumulate, const float* __restrict__ from, float* __restrict__ to)
{
    blocks(rows, width, from_pitch, from_step, to_pitch, to_step, accumulate != 0, from, to);
}

extern "C" __global__ void __launch_bounds__(THREADS)
copy_blocks_bf16(uint64_t rows, uint64_t width, uint64_t from_pitch, uint64_t from_step, uint64_t to_pitch,
                 uint64_t to_step, uint32_t accumulate, const bf16* __restrict__ from, bf16* __restrict__ to)
{
    blocks(rows, width, from_pitch, from_step, to_pitch, to_step, accumulate != 0, from, to);
}

extern "C" __global__ void __launch_bounds__(THREADS)
copy_zero_f32(uint64_t n, float* __restrict__ to)
{
    zero(n, to);
}

extern "C" __global__ void __launch_bounds__(THREADS)
copy_zero_bf16(uint64_t n, bf16* __restrict__ to)
{
    zero(n, to);
}
