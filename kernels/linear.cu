// y[n][k] = sum over d of x[n][d] w[k][d] + b[k], and what its gradient needs:
//   bwd_input   dx[n][d] = sum over k of dy[n][k] w[k][d]
//   bwd_weight  dw[k][d] = sum over n of dy[n][k] x[n][d]
//   bwd_bias    db[k]    = sum over n of dy[n][k]
// The three products are each times `scale`, before b or what is accumulated to: 1 for linear; matmul has others.
//
// Memory    x[N,D], w[K,D], dy[N,K] read, row-major; b[K] f32 read, or null for none. y[N,K], dx[N,D],
//           dw[K,D], db[K] overwritten, or added to if `accumulate`. In bf16 entries b, dw, db are f32, the rest bf16.
//           Split sums: with gridDim.z = S > 1 bwd_weight, and with gridDim.y = S > 1 bwd_bias, leave S partial sums
//           one after the other where dw or db points: then that is a workspace, 4 S K D or 4 S K bytes, `accumulate`
//           is 0, and linear_bwd_weight_f32__reduce adds the parts up. Part s sums rows s rows_per_split and the
//           rows_per_split - 1 next ones. Every base is 16-byte aligned.
// Work      Three products and a column sum; of each product a ladder. Block and grid, for c rows by c columns of
//           result (y: N by K, dx: N by D, dw: K by D):
//             __direct  (32, 8), grid (ceil(columns/32), ceil(rows/8), S): a thread, an element.
//             __tiled   128, grid (ceil(columns/64), ceil(rows/64), S): include/gemm.cuh, GemmTiled. What the host takes
//                       for f32, and for bf16 whose rows are no multiple of 16 bytes.
//             __mma     128, grid (ceil(columns/64), ceil(rows/128), S): include/gemm.cuh, GemmMma. The passes differ
//                       by how the factors lie: fwd runs along d in both; bwd_input's w and both of bwd_weight's run
//                       across the sum, and ldmatrix transposes them.
//             bwd_bias  256, grid (ceil(K/32), S): a block owns 32 columns, a thread 16 bytes of every 32nd (f32) or
//                       64th (bf16) row, or one column of every 8th row where K does not divide.
//             __reduce  256, grid ceil(count/1024), a thread 4 elements.
// Shape     N, D, K at least 1; S is 1 but for bwd_weight and bwd_bias, and S rows_per_split >= N. fwd_bf16__mma needs
//           D % 8 = 0, the other two D % 8 = 0 and K % 8 = 0. grid.y <= 65535. The host rejects anything else.
// Cost      2NDK FLOPs a product. Bytes at least those of the three matrices: tensor cores are the limit once N, D, K
//           are near a thousand, memory below. bwd_bias: NK additions, as many elements read: memory. Shares of the
//           limits: not yet measured.
// Numbers   f32 accumulators, in an order fixed by shape and S. f32: one fma a step, error at most (terms + 1) ulp of
//           the sum of |products|. bf16: products are exact in f32, the tensor core adds 16 at a time with a rounding
//           of its own, so 2 terms ulp; y and dx are then rounded to bf16 once, after bias or old value: 2^-8 of
//           |result|.
// Lost      mma, counted in SASS for sm_80, per step of 32 mma: addresses worked out anew at each copy and ldmatrix,
//           246 instructions; kept and advanced, 154; and with b's fragments loaded in the order of mma's registers,
//           93.

#include "gemm.cuh"

// Sum s of S, of those that split N.
struct Part {
    uint32_t begin, end;
    __device__ __forceinline__ Part(uint32_t s, uint32_t n, uint32_t rows)
        : begin(min(s * rows, n)), end(min(begin + rows, n)) {}
};

// ---- direct: c(i, j) for this thread's i and j

struct Strides {
    uint32_t i, k;
};

template <typename T>
__device__ __forceinline__ float dot(const T* __restrict__ a, Strides sa, const T* __restrict__ b, Strides sb,
                                     uint32_t i, uint32_t j, uint32_t k_begin, uint32_t k_end)
{
    float sum = 0.0f;
    for (uint32_t k = k_begin; k < k_end; ++k) {
        const size_t in_a = size_t(i) * sa.i + size_t(k) * sa.k, in_b = size_t(j) * sb.i + size_t(k) * sb.k;
        sum = fmaf(to_float(a[in_a]), to_float(b[in_b]), sum);
    }
    return sum;
}

template <typename T>
__device__ __forceinline__ void fwd_direct(uint32_t n, uint32_t d, uint32_t k, bool accumulate, float scale,
                                           const T* __restrict__ x, const T* __restrict__ w,
                                           const float* __restrict__ b, T* __restrict__ y)
{
    const uint32_t column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 8 + threadIdx.y;
    if (row < n && column < k) {
        const float sum = dot(x, {d, 1}, w, {d, 1}, row, column, 0, d);
        write(y + size_t(row) * k + column, scale * sum + (b ? b[column] : 0.0f), accumulate);
    }
}

template <typename T>
__device__ __forceinline__ void bwd_input_direct(uint32_t n, uint32_t d, uint32_t k, bool accumulate, float scale,
                                                 const T* __restrict__ dy, const T* __restrict__ w, T* __restrict__ dx)
{
    const uint32_t column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 8 + threadIdx.y;
    if (row < n && column < d) {
        write(dx + size_t(row) * d + column, scale * dot(dy, {k, 1}, w, {1, d}, row, column, 0, k), accumulate);
    }
}

template <typename T>
__device__ __forceinline__ void bwd_weight_direct(uint32_t n, uint32_t d, uint32_t k, uint32_t rows_per_split,
                                                  bool accumulate, float scale, const T* __restrict__ dy,
                                                  const T* __restrict__ x, float* __restrict__ dw)
{
    const uint32_t column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 8 + threadIdx.y;
    const Part part(blockIdx.z, n, rows_per_split);
    if (row < k && column < d) {
        const float sum = dot(dy, {1, k}, x, {1, d}, row, column, part.begin, part.end);
        write(dw + size_t(blockIdx.z) * k * d + size_t(row) * d + column, scale * sum, accumulate);
    }
}

extern "C" __global__ void __launch_bounds__(256)
linear_fwd_f32__direct(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale,
                       const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b,
                       float* __restrict__ y)
{
    fwd_direct(n, d, k, accumulate, scale, x, w, b, y);
}

extern "C" __global__ void __launch_bounds__(256)
linear_fwd_bf16__direct(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale,
                        const bf16* __restrict__ x, const bf16* __restrict__ w, const float* __restrict__ b,
                        bf16* __restrict__ y)
{
    fwd_direct(n, d, k, accumulate, scale, x, w, b, y);
}

extern "C" __global__ void __launch_bounds__(256)
linear_bwd_input_f32__direct(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale,
                             const float* __restrict__ dy, const float* __restrict__ w, float* __restrict__ dx)
{
    bwd_input_direct(n, d, k, accumulate, scale, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(256)
linear_bwd_input_bf16__direct(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale,
                              const bf16* __restrict__ dy, const bf16* __restrict__ w, bf16* __restrict__ dx)
{
    bwd_input_direct(n, d, k, accumulate, scale, dy, w, dx);
}

extern "C" __global__ void __launch_bounds__(256)
linear_bwd_weight_f32__direct(uint32_t n, uint32_t d, uint32_t k, uint32_t rows_per_split, uint32_t accumulate,
                              float scale, const float* __restrict__ dy, const float* __restrict__ x,
                              float* __restrict__ dw)
{
    bwd_weight_direct(n, d, k, rows_per_split, accumulate, scale, dy, x, dw);
}

extern "C" __global__ void __launch_bounds__(256)
linear_bwd_weight_bf16__direct(uint32_t n, uint32_t d, uint32_t k, uint32_t rows_per_split, uint32_t accumulate,
                               float scale, const bf16* __restrict__ dy, const bf16* __restrict__ x,
                               float* __restrict__ dw)
{
    bwd_weight_direct(n, d, k, rows_per_split, accumulate, scale, dy, x, dw);
}

// ---- tiled

// Four neighbours of a row of c, at once where the shape allows.
template <typename T>
__device__ __forceinline__ void write_four(T* __restrict__ c, uint32_t rows, uint32_t columns, uint32_t row,
                                           uint32_t column, const float (&values)[4], bool accumulate)
{
    if (row >= rows || column >= columns) {
        return;
    }
    T* to = c + size_t(row) * columns + column;
    if (columns % 4 == 0) {
        write_wide<4>(to, values, accumulate);
    } else {
#pragma unroll
        for (uint32_t e = 0; e < 4; ++e) {
            if (column + e < columns) {
                write(to + e, values[e], accumulate);
            }
        }
    }
}

// c = scale a b + bias.
template <Runs A, Runs B, typename T, typename R>
__device__ __forceinline__ void tiled(const Factor<T>& a, const Factor<T>& b, uint32_t begin, uint32_t end, R* c,
                                      float scale, const float* __restrict__ bias, bool accumulate)
{
    GemmTiled<A, B> gemm;
    gemm.run(a, b, begin, end);
    const uint32_t column = gemm.column_of_fours();
    float more[4] = {};
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) {
        more[e] = bias && column + e < b.rows ? bias[column + e] : 0.0f;
    }
    gemm.each_four([&](uint32_t row, const float(&sums)[4]) {
        const float values[4] = {scale * sums[0] + more[0], scale * sums[1] + more[1], scale * sums[2] + more[2],
                                 scale * sums[3] + more[3]};
        write_four(c, a.rows, b.rows, row, column, values, accumulate);
    });
}

extern "C" __global__ void __launch_bounds__(128, 4)
linear_fwd_f32__tiled(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale, const float* __restrict__ x,
                      const float* __restrict__ w, const float* __restrict__ b, float* __restrict__ y)
{
    tiled<Runs::ALONG, Runs::ALONG, float>({x, n, d}, {w, k, d}, 0, d, y, scale, b, accumulate);
}

extern "C" __global__ void __launch_bounds__(128, 4)
linear_fwd_bf16__tiled(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale, const bf16* __restrict__ x,
                       const bf16* __restrict__ w, const float* __restrict__ b, bf16* __restrict__ y)
{
    tiled<Runs::ALONG, Runs::ALONG, bf16>({x, n, d}, {w, k, d}, 0, d, y, scale, b, accumulate);
}

extern "C" __global__ void __launch_bounds__(128, 4)
linear_bwd_input_f32__tiled(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale,
                            const float* __restrict__ dy, const float* __restrict__ w, float* __restrict__ dx)
{
    tiled<Runs::ALONG, Runs::ACROSS, float>({dy, n, k}, {w, d, d}, 0, k, dx, scale, nullptr, accumulate);
}

extern "C" __global__ void __launch_bounds__(128, 4)
linear_bwd_input_bf16__tiled(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale,
                             const bf16* __restrict__ dy, const bf16* __restrict__ w, bf16* __restrict__ dx)
{
    tiled<Runs::ALONG, Runs::ACROSS, bf16>({dy, n, k}, {w, d, d}, 0, k, dx, scale, nullptr, accumulate);
}

extern "C" __global__ void __launch_bounds__(128, 4)
linear_bwd_weight_f32__tiled(uint32_t n, uint32_t d, uint32_t k, uint32_t rows_per_split, uint32_t accumulate,
                             float scale, const float* __restrict__ dy, const float* __restrict__ x,
                             float* __restrict__ dw)
{
    const Part part(blockIdx.z, n, rows_per_split);
    tiled<Runs::ACROSS, Runs::ACROSS, float>({dy, k, k}, {x, d, d}, part.begin, part.end,
                                             dw + size_t(blockIdx.z) * k * d, scale, nullptr, accumulate);
}

extern "C" __global__ void __launch_bounds__(128, 4)
linear_bwd_weight_bf16__tiled(uint32_t n, uint32_t d, uint32_t k, uint32_t rows_per_split, uint32_t accumulate,
                              float scale, const bf16* __restrict__ dy, const bf16* __restrict__ x,
                              float* __restrict__ dw)
{
    const Part part(blockIdx.z, n, rows_per_split);
    tiled<Runs::ACROSS, Runs::ACROSS, bf16>({dy, k, k}, {x, d, d}, part.begin, part.end,
                                            dw + size_t(blockIdx.z) * k * d, scale, nullptr, accumulate);
}

// ---- mma

extern "C" __global__ void __launch_bounds__(128)
linear_fwd_bf16__mma(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale, const bf16* __restrict__ x,
                     const bf16* __restrict__ w, const float* __restrict__ b, bf16* __restrict__ y)
{
    GemmMma<Runs::ALONG, Runs::ALONG> gemm;
    gemm.run({x, n, d}, {w, k, d}, 0, d);
    const uint32_t column = gemm.column_of_eights();
    float bias[8];
#pragma unroll
    for (uint32_t e = 0; e < 8; ++e) {
        bias[e] = b && column + e < k ? b[column + e] : 0.0f;
    }
    gemm.each_eight([&](uint32_t row, float(&values)[8]) {
#pragma unroll
        for (uint32_t e = 0; e < 8; ++e) {
            values[e] = scale * values[e] + bias[e];
        }
        if (row >= n || column >= k) {
            return;
        }
        bf16* to = y + size_t(row) * k + column;
        if (k % 8 == 0) {
            write_wide(to, values, accumulate != 0);
        } else {
#pragma unroll
            for (uint32_t e = 0; e < 8; ++e) {
                if (column + e < k) {
                    write(to + e, values[e], accumulate != 0);
                }
            }
        }
    });
}

extern "C" __global__ void __launch_bounds__(128)
linear_bwd_input_bf16__mma(uint32_t n, uint32_t d, uint32_t k, uint32_t accumulate, float scale,
                           const bf16* __restrict__ dy, const bf16* __restrict__ w, bf16* __restrict__ dx)
{
    GemmMma<Runs::ALONG, Runs::ACROSS> gemm;
    gemm.run({dy, n, k}, {w, d, d}, 0, k);
    const uint32_t column = gemm.column_of_eights();
    gemm.each_eight([&](uint32_t row, float(&values)[8]) {
        if (row >= n || column >= d) {
            return;
        }
        bf16* to = dx + size_t(row) * d + column;
        float old[8] = {};
        if (accumulate) {
            load_pack(old, to);
        }
#pragma unroll
        for (uint32_t e = 0; e < 8; ++e) {
            values[e] = scale * values[e] + old[e];
        }
        store_pack(to, values);
    });
}

extern "C" __global__ void __launch_bounds__(128)
linear_bwd_weight_bf16__mma(uint32_t n, uint32_t d, uint32_t k, uint32_t rows_per_split, uint32_t accumulate,
                            float scale, const bf16* __restrict__ dy, const bf16* __restrict__ x,
                            float* __restrict__ dw)
{
    const Part part(blockIdx.z, n, rows_per_split);
    GemmMma<Runs::ACROSS, Runs::ACROSS> gemm;
    gemm.run({dy, k, k}, {x, d, d}, part.begin, part.end);
    dw += size_t(blockIdx.z) * k * d;
    gemm.each_pair([&](uint32_t row, uint32_t column, float left, float right) {
        if (row < k && column < d) {
            float2* to = reinterpret_cast<float2*>(dw + size_t(row) * d + column);
            const float2 old = accumulate ? *to : make_float2(0.0f, 0.0f);
            *to = make_float2(old.x + scale * left, old.y + scale * right);
        }
    });
}

// ---- sums

extern "C" __global__ void __launch_bounds__(256)
linear_bwd_weight_f32__reduce(uint32_t count, uint32_t splits, uint32_t accumulate, const float* __restrict__ workspace,
                              float* __restrict__ dw)
{
    if (count % 4 == 0) {
        const size_t at = size_t(blockIdx.x) * 1024 + threadIdx.x * 4;
        if (at < count) {
            float sum[4] = {};
            if (accumulate) {
                load_pack(sum, dw + at);
            }
#pragma unroll 4
            for (uint32_t s = 0; s < splits; ++s) {
                float part[4];
                load_pack(part, workspace + size_t(s) * count + at);
#pragma unroll
                for (uint32_t e = 0; e < 4; ++e) {
                    sum[e] += part[e];
                }
            }
            store_pack(dw + at, sum);
        }
        return;
    }
    for (uint32_t e = 0; e < 4; ++e) {
        const size_t at = size_t(blockIdx.x) * 1024 + e * 256 + threadIdx.x;
        if (at < count) {
            float sum = accumulate ? dw[at] : 0.0f;
            for (uint32_t s = 0; s < splits; ++s) {
                sum += workspace[size_t(s) * count + at];
            }
            dw[at] = sum;
        }
    }
}

// A thread sums WIDTH neighbouring columns of every ROWSth row; then a thread a column adds up the ROWS sums.
template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void column_sums(uint32_t k, Part part, bool accumulate, const T* __restrict__ dy,
                                            float* __restrict__ db)
{
    constexpr uint32_t COLUMNS = 32, ACROSS_ROW = COLUMNS / WIDTH, ROWS = 256 / ACROSS_ROW;
    __shared__ alignas(16) float partial[ROWS][COLUMNS + 4];  // + 4: two rows of 16-byte stores, all banks
    const uint32_t x = threadIdx.x % ACROSS_ROW * WIDTH, y = threadIdx.x / ACROSS_ROW;
    const uint32_t column = blockIdx.x * COLUMNS + x;
    float sums[WIDTH] = {};
    if (column < k) {
#pragma unroll 4
        for (uint32_t row = part.begin + y; row < part.end; row += ROWS) {
            float values[WIDTH];
            load_wide(values, dy + size_t(row) * k + column);
#pragma unroll
            for (uint32_t e = 0; e < WIDTH; ++e) {
                sums[e] += values[e];
            }
        }
    }
#pragma unroll
    for (uint32_t e = 0; e < WIDTH; ++e) {
        partial[y][x + e] = sums[e];
    }
    __syncthreads();
    const uint32_t own = blockIdx.x * COLUMNS + threadIdx.x;
    if (threadIdx.x < COLUMNS && own < k) {
        float sum = 0.0f;
#pragma unroll 8
        for (uint32_t row = 0; row < ROWS; ++row) {
            sum += partial[row][threadIdx.x];
        }
        write(db + size_t(blockIdx.y) * k + own, sum, accumulate);
    }
}

extern "C" __global__ void __launch_bounds__(256)
linear_bwd_bias_f32(uint32_t n, uint32_t k, uint32_t rows_per_split, uint32_t accumulate, const float* __restrict__ dy,
                    float* __restrict__ db)
{
    const Part part(blockIdx.y, n, rows_per_split);
    k % PACK<float> == 0 ? column_sums<PACK<float>>(k, part, accumulate, dy, db)
                         : column_sums<1>(k, part, accumulate, dy, db);
}

extern "C" __global__ void __launch_bounds__(256)
linear_bwd_bias_bf16(uint32_t n, uint32_t k, uint32_t rows_per_split, uint32_t accumulate, const bf16* __restrict__ dy,
                     float* __restrict__ db)
{
    const Part part(blockIdx.y, n, rows_per_split);
    k % PACK<bf16> == 0 ? column_sums<PACK<bf16>>(k, part, accumulate, dy, db)
                        : column_sums<1>(k, part, accumulate, dy, db);
}
