// y[n][p][q][c] = max over r, s < kernel of x[n][p stride - padding + r][q stride - padding + s][c], of those inside x.
// Backward, each window's winner gets its dy: the first largest in row order, but any NaN wins, the last of several.
//
// Memory    x, dx [N,H,W,C], y, dy [N,P,Q,C], row-major, f32 or bf16 by the entry, 16-byte aligned bases. x and dy
//           read, y overwritten, dx overwritten or added to if `accumulate`. Winners are not stored: backward finds
//           them again.
// Work      The unit is 16 bytes of channels where C is a multiple of that (8 bf16, 4 f32), else one channel; units =
//           C / (C % PACK == 0 ? PACK : 1). Backward gathers: who owns an input pixel adds up the windows that it won.
//             fwd            128, grid (N P, ceil(Q units/128)): a thread, a unit of y.
//             bwd__direct    128, grid (N H, ceil(W units/128)): a thread, a unit of dx; it searches every window over
//                            its pixel.
//             bwd__winners   256, grid (N ceil(H/16) ceil(W/16), ceil(units/8)): a block, 16x16 pixels of 8 units.
//                            First it searches each window that touches them once and notes the winner's place in the
//                            window, a byte a channel, in dynamic shared memory: side^2 8 PACK bytes, side = (14 +
//                            kernel) / stride + 1; then its threads gather.
// Shape     P = (H + 2 padding - kernel) / stride + 1, Q alike; kernel and stride at least 1, 2 padding <= kernel, so
//           that no window is empty; grid.y <= 65535. winners: kernel <= 16 and at most 48 KiB of shared memory; the
//           host takes direct for the rest. Checked by the host.
// Cost      kernel^2 comparisons a window. Bytes at least x and y, or x, dy and dx: memory is the limit, and the caches
//           serve the overlap. Asked for, at kernel 3, stride 2: by fwd 2.2 times x; by winners 2.9 times x and 2.3
//           times as many dy as there are dx; by direct 20 times x. Share of the limit: not yet measured.
// Numbers   fwd is exact, +0 above -0. bwd adds in f32, old value first, windows in row order, and rounds once: same
//           bits as the CPU's in f32; at most (windows over a pixel) ulp of the sum of |dy|.
// Lost      Unrolling gather's inner loop: lanes under one window and lanes under two part ways, 74 of 100 lanes active
//           instead of 87, 17 % more instructions. Launch bounds without a least number of blocks for fwd and direct:
//           the compiler aims at 32 or 56 registers and spills to get there.

#include "element.cuh"

struct Pool {
    uint32_t h, w, c, p, q, kernel, stride, padding;

    // First and one past the last of the inputs that window `at` sees, in a dimension of this size.
    __device__ __forceinline__ uint32_t begin(uint32_t at) const { return max(at * stride, padding) - padding; }
    __device__ __forceinline__ uint32_t end(uint32_t at, uint32_t size) const
    {
        return min(at * stride + kernel - padding, size);
    }
    // First and one past the last of the windows that see input `at`, out of `windows`.
    __device__ __forceinline__ uint32_t first_over(uint32_t at) const
    {
        return at + padding < kernel ? 0 : (at + padding - kernel) / stride + 1;
    }
    __device__ __forceinline__ uint32_t end_over(uint32_t at, uint32_t windows) const
    {
        return min((at + padding) / stride + 1, windows);
    }
    // Input (i, j)'s place in window (p, q).
    __device__ __forceinline__ uint32_t place(uint32_t p, uint32_t q, uint32_t i, uint32_t j) const
    {
        return (i + padding - p * stride) * kernel + j + padding - q * stride;
    }
};

// Calls use(i, j, values) for each input of a window, in row order; `image` is at the channels in question.
template <uint32_t WIDTH, typename T, typename Use>
__device__ __forceinline__ void each_in_window(const Pool& pool, const T* __restrict__ image, uint32_t p, uint32_t q,
                                               Use use)
{
    const uint32_t j_begin = pool.begin(q), j_end = pool.end(q, pool.w), i_end = pool.end(p, pool.h);
    for (uint32_t i = pool.begin(p); i < i_end; ++i) {
        const T* row = image + size_t(i) * pool.w * pool.c;
        for (uint32_t j = j_begin; j < j_end; ++j) {
            float values[WIDTH];
            load_wide(values, row + size_t(j) * pool.c);
            use(i, j, values);
        }
    }
}

// NaN if either is.
__device__ __forceinline__ float max_nan(float a, float b)
{
    asm("max.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
    return a;
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void find_winners(uint32_t (&places)[WIDTH], const Pool& pool, const T* __restrict__ image,
                                             uint32_t p, uint32_t q)
{
    float most[WIDTH];
#pragma unroll
    for (uint32_t e = 0; e < WIDTH; ++e) {
        most[e] = -INFINITY;
        places[e] = pool.place(p, q, pool.begin(p), pool.begin(q));  // where nothing exceeds -inf
    }
    each_in_window<WIDTH>(pool, image, p, q, [&](uint32_t i, uint32_t j, const float(&x)[WIDTH]) {
        const uint32_t place = pool.place(p, q, i, j);
#pragma unroll
        for (uint32_t e = 0; e < WIDTH; ++e) {
            const bool won = x[e] > most[e] || x[e] != x[e];
            most[e] = won ? x[e] : most[e];
            places[e] = won ? place : places[e];
        }
    });
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void forward(const Pool& pool, const T* __restrict__ x, T* __restrict__ y)
{
    const uint32_t units = pool.c / WIDTH, at = blockIdx.y * 128 + threadIdx.x;
    if (at >= pool.q * units) {
        return;
    }
    const T* image = x + size_t(blockIdx.x / pool.p) * pool.h * pool.w * pool.c + at % units * WIDTH;
    float most[WIDTH];
#pragma unroll
    for (uint32_t e = 0; e < WIDTH; ++e) {
        most[e] = -INFINITY;
    }
    const uint32_t p = blockIdx.x % pool.p, q = at / units;
    each_in_window<WIDTH>(pool, image, p, q, [&](uint32_t, uint32_t, const float(&x)[WIDTH]) {
#pragma unroll
        for (uint32_t e = 0; e < WIDTH; ++e) {
            most[e] = max_nan(most[e], x[e]);
        }
    });
    store_wide(y + size_t(blockIdx.x) * pool.q * pool.c + size_t(at) * WIDTH, most);
}

// dx at (i, j): adds dy of each window over it where won_by(p, q, place, won) says that the input at this place won.
// `dy` and `dx` are at the image and channels in question.
template <uint32_t WIDTH, typename T, typename Won>
__device__ __forceinline__ void gather(const Pool& pool, uint32_t i, uint32_t j, bool accumulate,
                                       const T* __restrict__ dy, T* __restrict__ dx, Won won_by)
{
    T* to = dx + (size_t(i) * pool.w + j) * pool.c;
    float sums[WIDTH] = {};
    if (accumulate) {
        load_wide(sums, to);
    }
    const uint32_t q_begin = pool.first_over(j), q_end = pool.end_over(j, pool.q), p_end = pool.end_over(i, pool.p);
    for (uint32_t p = pool.first_over(i); p < p_end; ++p) {
#pragma unroll 1  // unrolled, lanes with one window and lanes with two part ways
        for (uint32_t q = q_begin; q < q_end; ++q) {
            bool won[WIDTH];
            float values[WIDTH];
            won_by(p, q, pool.place(p, q, i, j), won);
            load_wide(values, dy + (size_t(p) * pool.q + q) * pool.c);
#pragma unroll
            for (uint32_t e = 0; e < WIDTH; ++e) {
                sums[e] = won[e] ? sums[e] + values[e] : sums[e];
            }
        }
    }
    store_wide(to, sums);
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void backward_direct(const Pool& pool, bool accumulate, const T* __restrict__ dy,
                                                const T* __restrict__ x, T* __restrict__ dx)
{
    const uint32_t units = pool.c / WIDTH, at = blockIdx.y * 128 + threadIdx.x;
    if (at >= pool.w * units) {
        return;
    }
    const uint32_t n = blockIdx.x / pool.h, channel = at % units * WIDTH;
    const size_t input = size_t(n) * pool.h * pool.w * pool.c + channel;
    const size_t output = size_t(n) * pool.p * pool.q * pool.c + channel;
    gather<WIDTH>(pool, blockIdx.x % pool.h, at / units, accumulate, dy + output, dx + input,
                  [&](uint32_t p, uint32_t q, uint32_t place, bool(&won)[WIDTH]) {
                      uint32_t places[WIDTH];
                      find_winners<WIDTH>(places, pool, x + input, p, q);
#pragma unroll
                      for (uint32_t e = 0; e < WIDTH; ++e) {
                          won[e] = places[e] == place;
                      }
                  });
}

constexpr uint32_t TILE = 16, UNITS = 8;
static_assert(256 % UNITS == 0, "a thread keeps its unit");

// A unit's winners, a byte a channel, in words.
template <uint32_t WIDTH>
struct alignas(WIDTH < 4 ? 4 : WIDTH) Places {
    static constexpr uint32_t WORDS = (WIDTH + 3) / 4;
    uint32_t word[WORDS];
};

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void backward_winners(const Pool& pool, bool accumulate, const T* __restrict__ dy,
                                                 const T* __restrict__ x, T* __restrict__ dx)
{
    extern __shared__ uint2 memory[];
    Places<WIDTH>* noted = reinterpret_cast<Places<WIDTH>*>(memory);
    const uint32_t down = (pool.h + TILE - 1) / TILE, across = (pool.w + TILE - 1) / TILE;
    const uint32_t n = blockIdx.x / across / down;
    const uint32_t i_begin = blockIdx.x / across % down * TILE, i_end = min(i_begin + TILE, pool.h);
    const uint32_t j_begin = blockIdx.x % across * TILE, j_end = min(j_begin + TILE, pool.w);
    const uint32_t p_begin = pool.first_over(i_begin), p_end = pool.end_over(i_end - 1, pool.p);
    const uint32_t q_begin = pool.first_over(j_begin), q_end = pool.end_over(j_end - 1, pool.q);

    const uint32_t unit = threadIdx.x % UNITS, channel = (blockIdx.y * UNITS + unit) * WIDTH;
    const bool there = channel < pool.c;
    const size_t input = size_t(n) * pool.h * pool.w * pool.c + channel;
    const uint32_t columns = q_end - q_begin;
    const uint32_t windows = p_end > p_begin && q_end > q_begin ? (p_end - p_begin) * columns : 0;
    for (uint32_t at = threadIdx.x / UNITS; there && at < windows; at += 256 / UNITS) {
        uint32_t places[WIDTH];
        find_winners<WIDTH>(places, pool, x + input, p_begin + at / columns, q_begin + at % columns);
        Places<WIDTH> note = {};
#pragma unroll
        for (uint32_t e = 0; e < WIDTH; ++e) {
            note.word[e / 4] |= places[e] << e % 4 * 8;
        }
        noted[at * UNITS + unit] = note;
    }
    __syncthreads();

    for (uint32_t at = threadIdx.x / UNITS; there && at < TILE * TILE; at += 256 / UNITS) {
        const uint32_t i = i_begin + at / TILE, j = j_begin + at % TILE;
        if (i < i_end && j < j_end) {
            gather<WIDTH>(pool, i, j, accumulate, dy + size_t(n) * pool.p * pool.q * pool.c + channel, dx + input,
                          [&](uint32_t p, uint32_t q, uint32_t place, bool(&won)[WIDTH]) {
                              const Places<WIDTH> note = noted[((p - p_begin) * columns + q - q_begin) * UNITS + unit];
                              const uint32_t four = place * 0x01010101u;
#pragma unroll
                              for (uint32_t e = 0; e < WIDTH; ++e) {
                                  won[e] = ((note.word[e / 4] ^ four) & 0xffu << e % 4 * 8) == 0;
                              }
                          });
        }
    }
}

extern "C" __global__ void __launch_bounds__(128, 8)
max_pool_fwd_f32(uint32_t h, uint32_t w, uint32_t c, uint32_t p, uint32_t q, uint32_t kernel, uint32_t stride,
                 uint32_t padding, const float* __restrict__ x, float* __restrict__ y)
{
    const Pool pool = {h, w, c, p, q, kernel, stride, padding};
    c % PACK<float> == 0 ? forward<PACK<float>>(pool, x, y) : forward<1>(pool, x, y);
}

extern "C" __global__ void __launch_bounds__(128, 8)
max_pool_fwd_bf16(uint32_t h, uint32_t w, uint32_t c, uint32_t p, uint32_t q, uint32_t kernel, uint32_t stride,
                  uint32_t padding, const bf16* __restrict__ x, bf16* __restrict__ y)
{
    const Pool pool = {h, w, c, p, q, kernel, stride, padding};
    c % PACK<bf16> == 0 ? forward<PACK<bf16>>(pool, x, y) : forward<1>(pool, x, y);
}

extern "C" __global__ void __launch_bounds__(128, 4)
max_pool_bwd_f32__direct(uint32_t h, uint32_t w, uint32_t c, uint32_t p, uint32_t q, uint32_t kernel, uint32_t stride,
                         uint32_t padding, uint32_t accumulate, const float* __restrict__ dy,
                         const float* __restrict__ x, float* __restrict__ dx)
{
    const Pool pool = {h, w, c, p, q, kernel, stride, padding};
    c % PACK<float> == 0 ? backward_direct<PACK<float>>(pool, accumulate, dy, x, dx)
                         : backward_direct<1>(pool, accumulate, dy, x, dx);
}

extern "C" __global__ void __launch_bounds__(128, 4)
max_pool_bwd_bf16__direct(uint32_t h, uint32_t w, uint32_t c, uint32_t p, uint32_t q, uint32_t kernel, uint32_t stride,
                          uint32_t padding, uint32_t accumulate, const bf16* __restrict__ dy,
                          const bf16* __restrict__ x, bf16* __restrict__ dx)
{
    const Pool pool = {h, w, c, p, q, kernel, stride, padding};
    c % PACK<bf16> == 0 ? backward_direct<PACK<bf16>>(pool, accumulate, dy, x, dx)
                        : backward_direct<1>(pool, accumulate, dy, x, dx);
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_bwd_f32__winners(uint32_t h, uint32_t w, uint32_t c, uint32_t p, uint32_t q, uint32_t kernel, uint32_t stride,
                          uint32_t padding, uint32_t accumulate, const float* __restrict__ dy,
                          const float* __restrict__ x, float* __restrict__ dx)
{
    const Pool pool = {h, w, c, p, q, kernel, stride, padding};
    c % PACK<float> == 0 ? backward_winners<PACK<float>>(pool, accumulate, dy, x, dx)
                         : backward_winners<1>(pool, accumulate, dy, x, dx);
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_bwd_bf16__winners(uint32_t h, uint32_t w, uint32_t c, uint32_t p, uint32_t q, uint32_t kernel, uint32_t stride,
                           uint32_t padding, uint32_t accumulate, const bf16* __restrict__ dy,
                           const bf16* __restrict__ x, bf16* __restrict__ dx)
{
    const Pool pool = {h, w, c, p, q, kernel, stride, padding};
    c % PACK<bf16> == 0 ? backward_winners<PACK<bf16>>(pool, accumulate, dy, x, dx)
                        : backward_winners<1>(pool, accumulate, dy, x, dx);
}
