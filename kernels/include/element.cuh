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

template <typename T>
struct alignas(16) Pack {
    T element[PACK<T>];
};

// `from` and `to` are multiples of 16 bytes.
template <typename T>
__device__ __forceinline__ void load_pack(float (&x)[PACK<T>], const T* from)
{
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(from);
#pragma unroll
    for (uint32_t i = 0; i < PACK<T>; ++i) {
        x[i] = to_float(pack.element[i]);
    }
}

template <typename T>
__device__ __forceinline__ void store_pack(T* to, const float (&x)[PACK<T>])
{
    Pack<T> pack;
#pragma unroll
    for (uint32_t i = 0; i < PACK<T>; ++i) {
        pack.element[i] = from_float<T>(x[i]);
    }
    *reinterpret_cast<Pack<T>*>(to) = pack;
}

// WIDTH elements, for code that moves packs where rows allow and single elements elsewhere: 1 or PACK.
template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void load_wide(float (&x)[WIDTH], const T* from)
{
    static_assert(WIDTH == 1 || WIDTH == PACK<T>, "one element or 16 bytes");
    if constexpr (WIDTH == 1) {
        x[0] = to_float(*from);
    } else {
        load_pack(x, from);
    }
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void store_wide(T* to, const float (&x)[WIDTH])
{
    static_assert(WIDTH == 1 || WIDTH == PACK<T>, "one element or 16 bytes");
    if constexpr (WIDTH == 1) {
        *to = from_float<T>(x[0]);
    } else {
        store_pack(to, x);
    }
}

// A gradient's value joins what is there, or replaces it.
template <typename T>
__device__ __forceinline__ void write(T* to, float value, bool accumulate)
{
    *to = from_float<T>(accumulate ? to_float(*to) + value : value);
}

// max(x, 0). NaN stays NaN, which max.f32 would make 0.
__device__ __forceinline__ float rectified(float x) { return x < 0.0f ? 0.0f : x; }
