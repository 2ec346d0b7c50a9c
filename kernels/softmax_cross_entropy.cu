// loss = (1/N) sum over n of (lse[n] - logits[n][labels[n]]), lse[n] = log sum over c of exp logits[n][c]. Backward:
// d_logits[n][c] = (d_loss / N) (exp(logits[n][c] - lse[n]) - [c = labels[n]]).
//
// Memory    logits[N,C] and d_logits[N,C] in the entry's type, row-major; 16-byte accesses if C is a multiple of 4
//           (f32) or 8 (bf16). labels[N] int64. row_loss[N] f32, workspace: fwd overwrites it, finalize reads it.
//           loss[1] f32 overwritten, d_loss[1] f32 read. d_logits overwritten, or added to if `accumulate`. Nothing is
//           saved for backward: it reads the logits anyway and works the lse out again.
// Work      A block owns a row, holds 8 KiB of it in registers and folds it twice, to its maximum, then to the sum of
//           the exponentials; longer rows are read again for what is beyond. fwd and bwd: block 128, grid N. finalize:
//           block 256, grid 1. fwd __direct: a thread owns a row, one element at a time; block 128, grid ceil(N / 128).
// Shape     Any N, C >= 1. A label outside 0..C makes the loss NaN; backward then has no one to subtract.
// Cost      About 4 N C FLOPs and one exp an element; bytes fwd logits, bwd logits + d_logits (+ d_logits): memory
//           bandwidth is the limit. Share of it: not yet measured.
// Numbers   f32, fixed order; the maximum is subtracted first, so no finite logits overflow. Error at most about
//           C / 128 + 12 ulp of the sum of exponentials, and the ulp of the largest logit. bf16 adds its rounding of
//           d_logits.
// Lost      Nothing tried yet.

#include "rows.cuh"

constexpr uint32_t WARPS = 4;
constexpr uint32_t BLOCK = WARPS * 32;
constexpr uint32_t HELD = 4;  // 16-byte packs of a thread
constexpr uint32_t FINAL_WARPS = 8;

template <typename T, uint32_t WIDTH>
using BlockRow = Row<T, WIDTH, BLOCK, HELD>;

// Every thread gets the lse of the row that the block holds.
template <typename HeldRow>
__device__ __forceinline__ float block_lse(const HeldRow& row, float* shared)
{
    float max = -INFINITY;
    row.each([&](uint32_t, const auto& x) {
        for (const float v : x) {
            max = fmaxf(max, v);  // drops NaN, which the sum then brings back
        }
    });
    max = warp_max(max);
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = max;
    }
    __syncthreads();
    max = fmaxf(fmaxf(shared[0], shared[1]), fmaxf(shared[2], shared[3]));
    static_assert(WARPS == 4, "the line above folds four");
    __syncthreads();  // before the sums overwrite the maxima
    float sum = 0.0f;
    row.each([&](uint32_t, const auto& x) {
        for (const float v : x) {
            sum += expf(v - max);
        }
    });
    return max + logf(block_sum<WARPS>(sum, shared));
}

__device__ __forceinline__ bool is_class(int64_t label, uint32_t c) { return label >= 0 && label < int64_t(c); }

template <typename T>
__device__ __forceinline__ void forward(uint32_t c, const T* __restrict__ logits, const int64_t* __restrict__ labels,
                                        float* __restrict__ row_loss)
{
    __shared__ float shared[WARPS];
    const T* row = logits + size_t(blockIdx.x) * c;
    const float lse = c % PACK<T> == 0 ? block_lse(BlockRow<T, PACK<T>>(row, c, threadIdx.x), shared)
                                       : block_lse(BlockRow<T, 1>(row, c, threadIdx.x), shared);
    if (threadIdx.x == 0) {
        const int64_t label = labels[blockIdx.x];
        row_loss[blockIdx.x] = is_class(label, c) ? lse - to_float(row[label]) : NAN;
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
softmax_cross_entropy_fwd_f32(uint32_t n, uint32_t c, const float* __restrict__ logits,
                              const int64_t* __restrict__ labels, float* __restrict__ row_loss)
{
    forward(c, logits, labels, row_loss);
}

extern "C" __global__ void __launch_bounds__(BLOCK)
softmax_cross_entropy_fwd_bf16(uint32_t n, uint32_t c, const bf16* __restrict__ logits,
                               const int64_t* __restrict__ labels, float* __restrict__ row_loss)
{
    forward(c, logits, labels, row_loss);
}

template <typename T>
__device__ __forceinline__ void forward_direct(uint32_t n, uint32_t c, const T* __restrict__ logits,
                                               const int64_t* __restrict__ labels, float* __restrict__ row_loss)
{
    const uint32_t row = blockIdx.x * BLOCK + threadIdx.x;
    if (row >= n) {
        return;
    }
    const T* x = logits + size_t(row) * c;
    float max = -INFINITY, sum = 0.0f;
    for (uint32_t i = 0; i < c; ++i) {
        max = fmaxf(max, to_float(x[i]));
    }
    for (uint32_t i = 0; i < c; ++i) {
        sum += expf(to_float(x[i]) - max);
    }
    const int64_t label = labels[row];
    row_loss[row] = is_class(label, c) ? max + logf(sum) - to_float(x[label]) : NAN;
}

extern "C" __global__ void __launch_bounds__(BLOCK)
softmax_cross_entropy_fwd_f32__direct(uint32_t n, uint32_t c, const float* __restrict__ logits,
                                      const int64_t* __restrict__ labels, float* __restrict__ row_loss)
{
    forward_direct(n, c, logits, labels, row_loss);
}

extern "C" __global__ void __launch_bounds__(BLOCK)
softmax_cross_entropy_fwd_bf16__direct(uint32_t n, uint32_t c, const bf16* __restrict__ logits,
                                       const int64_t* __restrict__ labels, float* __restrict__ row_loss)
{
    forward_direct(n, c, logits, labels, row_loss);
}

extern "C" __global__ void __launch_bounds__(FINAL_WARPS * 32)
softmax_cross_entropy_fwd_f32__finalize(uint32_t n, const float* __restrict__ row_loss, float* __restrict__ loss)
{
    __shared__ float shared[FINAL_WARPS];
    const float sum = sum_of_block<FINAL_WARPS>(n, shared, [&](uint32_t i) { return row_loss[i]; });
    if (threadIdx.x == 0) {
        loss[0] = sum / float(n);
    }
}

template <typename T, uint32_t WIDTH>
__device__ __forceinline__ void backward_row(uint32_t c, bool accumulate, float scale, const T* __restrict__ logits,
                                             int64_t label, T* __restrict__ d_logits)
{
    __shared__ float shared[WARPS];
    const BlockRow<T, WIDTH> row(logits, c, threadIdx.x);
    const float lse = block_lse(row, shared);
    row.each([&](uint32_t at, auto& x) {
#pragma unroll
        for (uint32_t i = 0; i < WIDTH; ++i) {
            x[i] = scale * (expf(x[i] - lse) - (int64_t(at + i) == label ? 1.0f : 0.0f));
        }
        write_wide(d_logits + at, x, accumulate);
    });
}

template <typename T>
__device__ __forceinline__ void backward(uint32_t n, uint32_t c, bool accumulate, const float* __restrict__ d_loss,
                                         const T* __restrict__ logits, const int64_t* __restrict__ labels,
                                         T* __restrict__ d_logits)
{
    const size_t first = size_t(blockIdx.x) * c;
    const float scale = d_loss[0] / float(n);
    const int64_t label = labels[blockIdx.x];
    if (c % PACK<T> == 0) {
        backward_row<T, PACK<T>>(c, accumulate, scale, logits + first, label, d_logits + first);
    } else {
        backward_row<T, 1>(c, accumulate, scale, logits + first, label, d_logits + first);
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
softmax_cross_entropy_bwd_f32(uint32_t n, uint32_t c, uint32_t accumulate, const float* __restrict__ d_loss,
                              const float* __restrict__ logits, const int64_t* __restrict__ labels,
                              float* __restrict__ d_logits)
{
    backward(n, c, accumulate != 0, d_loss, logits, labels, d_logits);
}

extern "C" __global__ void __launch_bounds__(BLOCK)
softmax_cross_entropy_bwd_bf16(uint32_t n, uint32_t c, uint32_t accumulate, const float* __restrict__ d_loss,
                               const bf16* __restrict__ logits, const int64_t* __restrict__ labels,
                               bf16* __restrict__ d_logits)
{
    backward(n, c, accumulate != 0, d_loss, logits, labels, d_logits);
}
