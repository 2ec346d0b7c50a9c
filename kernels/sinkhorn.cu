// Sinkhorn-Knopp in log space, z[r][k] = scale s[r][k], scale = 1 / epsilon. The rows r are the Q of `queue`, then the
// N of `scores`: R = Q + N. From v = 0, in turn as often as the host asks: u[k] = -log sum over r of
// exp(z[r][k] + v[r]); v[r] = -log sum over k of exp(z[r][k] + u[k]). Of the last v only the batch's rows are wanted,
// as assignments: y[n][k] = exp(z[Q+n][k] + u[k]) / sum over j of exp(z[Q+n][j] + u[j]).
//
// Memory    queue[Q,K] (null if Q = 0) and scores[N,K] in the entry's type, row-major; columns takes 16 bytes at
//           once if K is a multiple of 4 (f32) or 8 (bf16), rows and assign 4 elements if it is one of 4. Workspace,
//           f32: u[K], v[R], and of each part of the rows max[parts,K] and sum[parts,K]. columns reads the matrix and v
//           (null: 0) and overwrites max and sum; finalize reads those and overwrites u; rows reads the matrix and u
//           and overwrites v; assign reads scores and u and overwrites y[N,K] f32. z is never stored: it is worked out
//           on each walk.
// Work      columns: a block owns 32 accesses side by side (256, 128 or 32 columns) of rows_per_part rows, its 8 warps
//           take turns at the rows; block 256, grid (ceil(K / columns), parts). finalize: a thread a column, parts in
//           order; block 256, grid ceil(K / 256). rows and assign: a block a row, as in softmax.cu; block 256, grid R
//           and N.
// Shape     Any N, K >= 1, Q >= 0, R < 2^32; parts rows_per_part >= R.
// Cost      Each walk over the matrix takes about 6 FLOPs and one exp an element and reads it once; with I iterations
//           there are I walks of columns, I - 1 of rows and one of assign, which depend on each other. Memory bandwidth
//           is the limit while the matrix is larger than L2; u and v come from L2. Share of it: not yet measured.
// Numbers   f32, fixed order, and no exponential of anything positive: no finite z overflows. A row of y sums to 1
//           within a few ulp; its elements carry e to the ulp of the largest z and u.
// Lost      Nothing tried yet. There is one rung: this is the obvious way.

#include "softmax.cuh"

// Of the rows of two matrices, one below the other.
template <typename T>
__device__ __forceinline__ const T* row_of(uint32_t r, uint32_t q, uint32_t k, const T* __restrict__ queue,
                                           const T* __restrict__ scores)
{
    return r < q ? queue + size_t(r) * k : scores + size_t(r - q) * k;
}

constexpr uint32_t TURNS = 8;  // warps of a block of `columns`

template <uint32_t W, typename T>
__device__ __forceinline__ void column_sums(uint32_t q, uint32_t n, uint32_t k, uint32_t rows_per_part, float scale,
                                            const T* __restrict__ queue, const T* __restrict__ scores,
                                            const float* __restrict__ v, float* __restrict__ max,
                                            float* __restrict__ sum)
{
    // Lanes apart by 32 + 32 / W floats: writing a row of lanes and reading a row of columns both touch each bank once.
    constexpr uint32_t APART = 32 + 32 / W, COLUMNS = 32 * W;
    __shared__ float shared_max[TURNS * W * APART], shared_sum[TURNS * W * APART];
    const uint32_t lane = threadIdx.x % 32, turn = threadIdx.x / 32;
    const uint32_t column = blockIdx.x * COLUMNS + lane * W;
    const uint32_t first = blockIdx.y * rows_per_part, end = min(q + n, first + rows_per_part);
    SumExp own[W];
    if (column < k) {
#pragma unroll 2
        for (uint32_t r = first + turn; r < end; r += TURNS) {
            float x[W];
            load_wide(x, row_of(r, q, k, queue, scores) + column);
            const float shift = v == nullptr ? 0.0f : v[r];
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                own[i].add(fmaf(scale, x[i], shift));
            }
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < W; ++i) {
        shared_max[(turn * W + i) * APART + lane] = own[i].max;
        shared_sum[(turn * W + i) * APART + lane] = own[i].sum;
    }
    __syncthreads();
    static_assert(COLUMNS <= TURNS * 32, "a thread for each column");
    const uint32_t folded = blockIdx.x * COLUMNS + threadIdx.x;
    if (threadIdx.x < COLUMNS && folded < k) {
        const uint32_t from = threadIdx.x % W * APART + threadIdx.x / W;
        SumExp all;
#pragma unroll
        for (uint32_t t = 0; t < TURNS; ++t) {
            all.add({shared_max[t * W * APART + from], shared_sum[t * W * APART + from]});
        }
        max[size_t(blockIdx.y) * k + folded] = all.max;
        sum[size_t(blockIdx.y) * k + folded] = all.sum;
    }
}

extern "C" __global__ void __launch_bounds__(TURNS * 32)
sinkhorn_columns_f32(uint32_t q, uint32_t n, uint32_t k, uint32_t rows_per_part, float scale,
                     const float* __restrict__ queue, const float* __restrict__ scores, const float* __restrict__ v,
                     float* __restrict__ max, float* __restrict__ sum)
{
    k % PACK<float> == 0 ? column_sums<PACK<float>>(q, n, k, rows_per_part, scale, queue, scores, v, max, sum)
                         : column_sums<1>(q, n, k, rows_per_part, scale, queue, scores, v, max, sum);
}

extern "C" __global__ void __launch_bounds__(TURNS * 32)
sinkhorn_columns_bf16(uint32_t q, uint32_t n, uint32_t k, uint32_t rows_per_part, float scale,
                      const bf16* __restrict__ queue, const bf16* __restrict__ scores, const float* __restrict__ v,
                      float* __restrict__ max, float* __restrict__ sum)
{
    k % PACK<bf16> == 0 ? column_sums<PACK<bf16>>(q, n, k, rows_per_part, scale, queue, scores, v, max, sum)
                        : column_sums<1>(q, n, k, rows_per_part, scale, queue, scores, v, max, sum);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
sinkhorn_columns_f32__finalize(uint32_t k, uint32_t parts, const float* __restrict__ max,
                               const float* __restrict__ sum, float* __restrict__ u)
{
    const uint32_t column = blockIdx.x * LOGIT_THREADS + threadIdx.x;
    if (column >= k) {
        return;
    }
    SumExp all;
    for (uint32_t part = 0; part < parts; ++part) {
        all.add({max[size_t(part) * k + column], sum[size_t(part) * k + column]});
    }
    u[column] = -all.log();
}

// The row scale * s + u.
template <uint32_t WIDTH, typename T>
__device__ __forceinline__ auto shifted_row(uint32_t k, float scale, const T* __restrict__ s,
                                            const float* __restrict__ u)
{
    return held_row<WIDTH>(k, [=](float (&z)[WIDTH], uint32_t at) {
        float shift[WIDTH];
        load_wide(z, s + at);
        load_floats<WIDTH>(shift, u + at);
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            z[i] = fmaf(scale, z[i], shift[i]);
        }
    });
}

template <typename T>
__device__ __forceinline__ void potentials(uint32_t q, uint32_t k, float scale, const T* __restrict__ queue,
                                           const T* __restrict__ scores, const float* __restrict__ u,
                                           float* __restrict__ v)
{
    __shared__ float shared[LOGIT_WARPS];
    const T* row = row_of(blockIdx.x, q, k, queue, scores);
    const SumExp all = k % LOGIT_WIDTH == 0 ? shifted_row<LOGIT_WIDTH>(k, scale, row, u).sum_exp(shared)
                                        : shifted_row<1>(k, scale, row, u).sum_exp(shared);
    if (threadIdx.x == 0) {
        v[blockIdx.x] = -all.log();
    }
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
sinkhorn_rows_f32(uint32_t q, uint32_t n, uint32_t k, float scale, const float* __restrict__ queue,
                  const float* __restrict__ scores, const float* __restrict__ u, float* __restrict__ v)
{
    potentials(q, k, scale, queue, scores, u, v);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
sinkhorn_rows_bf16(uint32_t q, uint32_t n, uint32_t k, float scale, const bf16* __restrict__ queue,
                   const bf16* __restrict__ scores, const float* __restrict__ u, float* __restrict__ v)
{
    potentials(q, k, scale, queue, scores, u, v);
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void assign_row(uint32_t k, float scale, const T* __restrict__ s,
                                           const float* __restrict__ u, float* shared, float* __restrict__ y)
{
    const auto row = shifted_row<WIDTH>(k, scale, s, u);
    const SumExp all = row.sum_exp(shared);
    const float share = 1.0f / all.sum;
    row.each([&](uint32_t at, const float (&z)[WIDTH]) {
        float p[WIDTH];
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            p[i] = expf(z[i] - all.max) * share;
        }
        store_floats<WIDTH>(y + at, p);
    });
}

template <typename T>
__device__ __forceinline__ void assign(uint32_t k, float scale, const T* __restrict__ scores,
                                       const float* __restrict__ u, float* __restrict__ y)
{
    __shared__ float shared[LOGIT_WARPS];
    const size_t first = size_t(blockIdx.x) * k;
    if (k % LOGIT_WIDTH == 0) {
        assign_row<LOGIT_WIDTH>(k, scale, scores + first, u, shared, y + first);
    } else {
        assign_row<1>(k, scale, scores + first, u, shared, y + first);
    }
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
sinkhorn_assign_f32(uint32_t n, uint32_t k, float scale, const float* __restrict__ scores,
                    const float* __restrict__ u, float* __restrict__ y)
{
    assign(k, scale, scores, u, y);
}

extern "C" __global__ void __launch_bounds__(LOGIT_THREADS)
sinkhorn_assign_bf16(uint32_t n, uint32_t k, float scale, const bf16* __restrict__ scores,
                     const float* __restrict__ u, float* __restrict__ y)
{
    assign(k, scale, scores, u, y);
}
