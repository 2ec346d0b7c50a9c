// Elements of either storage type, computed on as f32: one by one, or as the 16 bytes a thread moves at once.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

using bf16 = __nv_bfloat16;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) { return x; }
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// What a thread moves in one access: 16 bytes, 4 floats or 8 bf16.
template <typename T>
constexpr uint32_t PACK = 16 / sizeof(T);

// WIDTH elements side by side, moved at once: up to 16 bytes, and 1 element where rows are no multiple of more.
template <typename T, uint32_t WIDTH>
struct alignas(WIDTH * sizeof(T)) Wide {
    static_assert(WIDTH * sizeof(T) <= 16 && (WIDTH & (WIDTH - 1)) == 0, "what one access moves");
    T element[WIDTH];
};

template <typename T>
using Pack = Wide<T, PACK<T>>;

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void load_wide(float (&x)[WIDTH], const T* from)
{
    const Wide<T, WIDTH> wide = *reinterpret_cast<const Wide<T, WIDTH>*>(from);
#pragma unroll
    for (uint32_t i = 0; i < WIDTH; ++i) {
        x[i] = to_float(wide.element[i]);
    }
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void store_wide(T* to, const float (&x)[WIDTH])
{
    Wide<T, WIDTH> wide;
#pragma unroll
    for (uint32_t i = 0; i < WIDTH; ++i) {
        wide.element[i] = from_float<T>(x[i]);
    }
    *reinterpret_cast<Wide<T, WIDTH>*>(to) = wide;
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void write_wide(T* to, const float (&x)[WIDTH], bool accumulate)
{
    float sum[WIDTH] = {};
    if (accumulate) {
        load_wide(sum, to);
    }
#pragma unroll
    for (uint32_t i = 0; i < WIDTH; ++i) {
        sum[i] = accumulate ? sum[i] + x[i] : x[i];
    }
    store_wide(to, sum);
}

// `from` and `to` are multiples of 16 bytes.
template <typename T>
__device__ __forceinline__ void load_pack(float (&x)[PACK<T>], const T* from)
{
    load_wide(x, from);
}

template <typename T>
__device__ __forceinline__ void store_pack(T* to, const float (&x)[PACK<T>])
{
    store_wide(to, x);
}

// A gradient's value joins what is there, or replaces it.
template <typename T>
__device__ __forceinline__ void write(T* to, float value, bool accumulate)
{
    *to = from_float<T>(accumulate ? to_float(*to) + value : value);
}

// max(x, 0). NaN stays NaN, which max.f32 would make 0.
__device__ __forceinline__ float rectified(float x) { return x < 0.0f ? 0.0f : x; }
