// to[i] = bf16(from[i]), many tensors at once.
//
// Memory    table[gridDim.x] read, an entry a block: `from` the address of `count` f32, `to` of as many bf16. The host
//           splits a tensor into chunks, at multiples of 16384 elements; an entry whose `from` is a multiple of 16 bytes
//           and `to` of 8 goes the fast way, any other element by element. Nothing overlaps.
// Work      256 threads. A thread takes 4 elements at a time: 16 bytes of f32 on one side and 8 of bf16 on the other,
//           so that neighbouring lanes leave no gaps on either. A block does the chunk its entry names, so one launch
//           does all weights of a model.
// Shape     Any count; at most 16384 keeps the blocks alike.
// Cost      6 bytes an element, no arithmetic: memory bandwidth is the limit; one launch instead of some 60 for a
//           ResNet-18. Share of the limit: not yet measured.
// Numbers   Round to nearest, ties to even; NaN stays NaN, beyond the largest becomes infinity.
// Lost      Nothing tried yet. Eight elements a thread would leave gaps of 16 bytes between the lanes' f32.

#include "elementwise.cuh"

constexpr uint32_t QUAD = 4;

template <typename T>
struct alignas(QUAD * sizeof(T)) Quad {
    T element[QUAD];
};

template <typename To, typename From>
__device__ __forceinline__ void cast_quad(To* to, const From* from)
{
    const Quad<From> in = *reinterpret_cast<const Quad<From>*>(from);
    Quad<To> out;
#pragma unroll
    for (uint32_t i = 0; i < QUAD; ++i) {
        out.element[i] = from_float<To>(to_float(in.element[i]));
    }
    *reinterpret_cast<Quad<To>*>(to) = out;
}

template <typename To, typename From>
__device__ __forceinline__ void cast_one(To* to, const From* from)
{
    *to = from_float<To>(to_float(*from));
}

struct alignas(8) Chunk {
    uint64_t from, to;
    uint32_t count, unused;
};
static_assert(sizeof(Chunk) == 24, "as the host lays it out");

extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)
cast_bf16_f32__multi(const Chunk* __restrict__ table)
{
    const Chunk chunk = table[blockIdx.x];
    const float* __restrict__ from = reinterpret_cast<const float*>(chunk.from);
    bf16* __restrict__ to = reinterpret_cast<bf16*>(chunk.to);
    const bool aligned = chunk.from % sizeof(Quad<float>) == 0 && chunk.to % sizeof(Quad<bf16>) == 0;
    const uint32_t quads = aligned ? chunk.count / QUAD : 0;
    for (uint32_t i = threadIdx.x; i < quads; i += ELEMENTWISE_THREADS) {
        cast_quad(to + i * QUAD, from + i * QUAD);
    }
    for (uint32_t i = quads * QUAD + threadIdx.x; i < chunk.count; i += ELEMENTWISE_THREADS) {
        cast_one(to + i, from + i);
    }
}
