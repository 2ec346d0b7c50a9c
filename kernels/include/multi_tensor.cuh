// One launch over many tensors: a table in device memory tells each block its stretch of one of them.
//
// A block of 256 threads works on table[blockIdx.x]; the grid is the number of entries. A tensor is cut every 16384
// elements from its start, so a stretch of a 256-byte aligned tensor is at least as aligned; its entries lie in order,
// one behind the other. Lanes take neighbouring groups of 4 elements, 16 bytes; the 1 to 3 left over go one by one.
//
// The CPU engine rounds every product and every sum. `mul`, `add` and `sub` do as well, where nvcc would fuse a
// product into the sum behind it: memory is the limit here, the extra instructions are free, and the results are equal
// to the CPU's bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "element.cuh"

// 64 bytes, little endian, 16-byte aligned. Addresses are of device memory, at this stretch's first element, multiples
// of 16 (`half`: of 8); those that a kernel's header does not name may be 0.
struct alignas(16) Chunk {
    uint64_t value;     // f32[count], read and overwritten
    uint64_t gradient;  // f32[count], read
    uint64_t state0;    // f32[count], read and overwritten
    uint64_t state1;    // f32[count], read and overwritten
    uint64_t half;      // bf16[count], overwritten by the new value rounded to even; or 0
    uint32_t count;     // elements, at most CHUNK; 0 does nothing
    uint32_t tensor;    // which tensor; for who reads a dump of the table, no kernel does
    float decay;        // weight decay, 0 where there is none
    uint32_t first;     // LARS: index in the table of this tensor's first entry
    uint32_t entries;   // LARS: how many entries this tensor has
    uint32_t adapt;     // LARS: 1 if its gradient is scaled, 0 for a tensor of one dimension
};

constexpr uint32_t CHUNK = 16384;
constexpr uint32_t CHUNK_BLOCK = 256;

static_assert(sizeof(Chunk) == 64 && offsetof(Chunk, half) == 32 && offsetof(Chunk, count) == 40
                  && offsetof(Chunk, first) == 52 && offsetof(Chunk, adapt) == 60,
              "the host writes these offsets");
static_assert(CHUNK * sizeof(bf16) % 256 == 0, "a stretch is as aligned as its tensor");

// An address from the table. The detour tells the compiler that it is global memory, so that it need not find out at
// each access.
template <typename T>
__device__ __forceinline__ T* global(uint64_t address)
{
    return static_cast<T*>(__cvta_global_to_generic(static_cast<size_t>(address)));
}

__device__ __forceinline__ float mul(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float sub(float a, float b) { return __fsub_rn(a, b); }

struct alignas(8) Half4 {
    bf16 element[4];
};

// Calls `update(value, gradient, state0, state1)` on every element of the chunk, of type float&, float, float&, float&;
// the whole block calls. States that the optimiser has not are neither read nor written: `update` gets a zero for them.
template <uint32_t STATES, typename Update>
__device__ __forceinline__ void for_each(const Chunk& chunk, Update update)
{
    static_assert(STATES <= 2, "the table has two states");
    float* value = global<float>(chunk.value);
    const float* gradient = global<const float>(chunk.gradient);
    float* state0 = global<float>(chunk.state0);
    float* state1 = global<float>(chunk.state1);
    bf16* half = global<bf16>(chunk.half);

    const uint32_t packs = chunk.count / 4;
    for (uint32_t pack = threadIdx.x; pack < packs; pack += CHUNK_BLOCK) {
        const uint32_t i = 4 * pack;
        float p[4], g[4], s0[4] = {}, s1[4] = {};
        load_pack(p, value + i);
        load_pack(g, gradient + i);
        if constexpr (STATES > 0) load_pack(s0, state0 + i);
        if constexpr (STATES > 1) load_pack(s1, state1 + i);
        Half4 rounded;
#pragma unroll
        for (uint32_t e = 0; e < 4; ++e) {
            update(p[e], g[e], s0[e], s1[e]);
            rounded.element[e] = from_float<bf16>(p[e]);
        }
        store_pack(value + i, p);
        if constexpr (STATES > 0) store_pack(state0 + i, s0);
        if constexpr (STATES > 1) store_pack(state1 + i, s1);
        if (chunk.half != 0) {
            *reinterpret_cast<Half4*>(half + i) = rounded;
        }
    }

    const uint32_t i = 4 * packs + threadIdx.x;
    if (i < chunk.count) {
        float p = value[i], s0 = 0.0f, s1 = 0.0f;
        if constexpr (STATES > 0) s0 = state0[i];
        if constexpr (STATES > 1) s1 = state1[i];
        update(p, gradient[i], s0, s1);
        value[i] = p;
        if constexpr (STATES > 0) state0[i] = s0;
        if constexpr (STATES > 1) state1[i] = s1;
        if (chunk.half != 0) {
            half[i] = from_float<bf16>(p);
        }
    }
}
