// y[m][c] = relu(gamma[c] (x[m][c] - mean[c]) rstd[c] + beta[c] + residual[m][c]),  rstd = 1 / sqrt(var + eps);
// residual and relu are optional; m runs over all axes before the channels. With g = dy where the ReLU was open,
// else 0:
//   dbeta = sum g,  dgamma = rstd sum g (x - mean),  d_residual = g,
//   dx    = a g + b (x - mean) + d,  a = gamma rstd,  b = -a rstd^2 / M sum g (x - mean),  d = -a / M sum g;
// in evaluation, where mean and var are constants, b = d = 0. docs/kernels/batch_norm.md derives this.
//
// Memory    x, residual, y, dy, dx, d_residual [M,C] of the entry's type; everything else f32, [C] unless said
//           otherwise. All 256-byte aligned, none overlaps another. P = ceil(M / chunk) blocks of rows.
//             stats           x read, once; workspace [3,P,C] overwritten: for its rows a block leaves a pivot,
//                             their mean less the pivot, and the sum of squares about their mean.
//             stats__finalize workspace read; mean and var (biased) overwritten.
//             apply           x, gamma, beta, mean, var and, unless null, residual read; y overwritten.
//             bwd_reduce      dy, x, gamma, beta, mean, var read; y too if relu, unless null; workspace [2,P,C]
//                             overwritten: the two sums.
//             bwd__finalize   workspace, gamma, var read; dgamma and dbeta overwritten or added to; coefficients [3,C]
//                             overwritten: a, b, d.
//             bwd_apply       dy, x, beta, mean, coefficients read; y as in bwd_reduce; dx and, unless null, d_residual
//                             overwritten or added to.
//             running         mean, var read; running_mean, running_var: r += momentum (statistic - r), the variance
//                             times count / (count - 1).
//           y must be given where a residual was added before the ReLU. Where none was, null saves reading it: x tells.
// Work      256 threads each. stats, apply, bwd_reduce, bwd_apply: grid (P, S). A unit is W channels, 16 bytes of them if
//           these divide C, else 1; U = C / W; S = ceil(U / 32) shares of a row, ceil(U / S) units wide each;
//           R = floor(256 / that) rows at a time (include/columns.cuh has the picture). A block owns
//           `chunk` rows of one share; any chunk works, and the host takes
//             chunk = max(8 R, ceil(M / max(1, floor(1024 / S))) rounded up to a multiple of R),
//           about 1024 blocks once there is work for so many. finalize: grid ceil(C / 8), 32 threads a channel.
//           running: grid ceil(C / 256). fwd__direct, the first rung: grid C, a block owns a channel and reads x three
//           times, each element C elements from the next.
// Shape     0 < M < 2^31, any C > 0; running: count > 1. The host rejects the rest.
// Cost      Training forward moves 3 MC elements (4 with a residual), backward 5 MC (7 with y, 8 with d_residual too)
//           and at most some 12 FLOPs for each, so memory bandwidth is the limit. Share of it: not yet measured.
// Numbers   f32 throughout; a thread sums its rows ascending, a block folds its threads' sums in halves, finalize does
//           the same over blocks: the order is the shape's. Sums about a pivot near the mean do not cancel: the
//           variance's relative error is about 2^-24 (rows a thread + P / 32 + 16) (1 + (pivot - mean)^2 / var), seen
//           below 3e-6, at mean 1000 and std 1 too. y and dx within a few ulp of the largest term, then rounded to the
//           entry's type. Forward and backward compute the gate alike, to the bit. NaN spreads to its channel.
// Lost      Welford's update needs a division an element. A pivot a thread: no better, and the folds then must merge
//           means. Partial means rounded to f32 before they merge: at mean 1e6 and std 1 three digits of the variance.
//           x times a scale plus a shift, as the CPU has it: cancels for a large mean, and saves no memory. Four rows
//           at a time in apply, two in bwd_reduce at 80 registers: spills on some chips.

#include "columns.cuh"
#include "reduce.cuh"

// What a block of [rows, channels] keeps in shared memory: two values a thread and channel.
template <typename T>
constexpr uint32_t SHARED = 2 * PACK<T> * COLUMN_THREADS;

constexpr uint32_t FINALIZE_WIDTH = 8;  // channels of a finalize block: one 32-byte sector of each partial
static_assert(COLUMN_THREADS / FINALIZE_WIDTH == 32, "32 threads a channel go down the partials");

// Forward and backward must agree to the bit on where y > 0, so both compute it here.
__device__ __forceinline__ float scale_of(float gamma, float var, float eps) { return gamma / sqrtf(var + eps); }

__device__ __forceinline__ float normalised(float x, float mean, float scale, float beta)
{
    return fmaf(x - mean, scale, beta);
}

// The sum of squares about the mean, from the sums about a pivot; shift = sum / n. Rounding may leave a tiny negative.
__device__ __forceinline__ float about_mean(float squares, float sum, float shift)
{
    return rectified(fmaf(-shift, sum, squares));
}

template <typename T, uint32_t W>
__device__ __forceinline__ void stats(uint32_t m, uint32_t c, uint32_t chunk, const T* __restrict__ x,
                                      float* __restrict__ workspace, float* shared)
{
    const auto at = Columns<W>::of_row(c);
    const uint32_t first = blockIdx.x * chunk, length = min(chunk, m - first);

    // The block's first row is the pivot. It adds nothing to the sums about itself, and is not read again.
    float pivot[1][W];
    if (at.owns && at.row == 0) {
        const auto unit = load_unit<T, W>(x + size_t(first) * c + at.channel);
#pragma unroll
        for (uint32_t i = 0; i < W; ++i) {
            pivot[0][i] = to_float(unit.element[i]);
        }
    }
    at.share(pivot, shared);

    float sums[2][W] = {};
    const uint32_t next = at.row == 0 ? first + at.rows : first;
    at.template each_row<4>(c, next, first + length, [&](auto n, uint32_t, size_t from, size_t stride) {
        constexpr uint32_t N = decltype(n)::value;
        Unit<T, W> units[N];
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            units[k] = load_unit<T, W>(x + from + k * stride);
        }
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                const float d = to_float(units[k].element[i]) - pivot[0][i];
                sums[0][i] += d;
                sums[1][i] = fmaf(d, d, sums[1][i]);
            }
        }
    });
    at.fold(sums, shared);
    if (at.owns && at.row == 0) {
#pragma unroll
        for (uint32_t i = 0; i < W; ++i) {
            const float shift = sums[0][i] / length;
            sums[1][i] = about_mean(sums[1][i], sums[0][i], shift);
            sums[0][i] = shift;
        }
        const size_t part = size_t(gridDim.x) * c;
        float* to = workspace + size_t(blockIdx.x) * c + at.channel;
        store_floats<W>(to, pivot[0]);
        store_floats<W>(to + part, sums[0]);
        store_floats<W>(to + 2 * part, sums[1]);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 4)
batch_norm_stats_f32(uint32_t m, uint32_t c, uint32_t chunk, const float* __restrict__ x,
                     float* __restrict__ workspace)
{
    __shared__ alignas(16) float shared[SHARED<float>];
    if (c % PACK<float> == 0) {
        stats<float, PACK<float>>(m, c, chunk, x, workspace, shared);
    } else {
        stats<float, 1>(m, c, chunk, x, workspace, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 4)
batch_norm_stats_bf16(uint32_t m, uint32_t c, uint32_t chunk, const bf16* __restrict__ x,
                      float* __restrict__ workspace)
{
    __shared__ alignas(16) float shared[SHARED<bf16>];
    if (c % PACK<bf16> == 0) {
        stats<bf16, PACK<bf16>>(m, c, chunk, x, workspace, shared);
    } else {
        stats<bf16, 1>(m, c, chunk, x, workspace, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
batch_norm_stats_f32__finalize(uint32_t m, uint32_t c, uint32_t chunk, const float* __restrict__ workspace,
                               float* __restrict__ mean, float* __restrict__ var)
{
    __shared__ float shared[2 * COLUMN_THREADS];
    const auto at = Columns<1>::of_width(FINALIZE_WIDTH, blockIdx.x, c);
    const uint32_t blocks = (m - 1) / chunk + 1;
    const size_t part = size_t(blocks) * c;

    // About the first block's mean. A block's mean is pivot + shift, and that sum would lose digits if it were rounded.
    const float middle = at.owns ? workspace[at.channel] + workspace[part + at.channel] : 0.0f;
    float sums[2][1] = {};
    at.each_row<4>(c, 0, blocks, [&](auto n, uint32_t block, size_t from, size_t stride) {
        constexpr uint32_t N = decltype(n)::value;
        float pivot[N], shift[N], squares[N];
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            const float* of_block = workspace + from + k * stride;
            pivot[k] = of_block[0];
            shift[k] = of_block[part];
            squares[k] = of_block[2 * part];
        }
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            const float d = (pivot[k] - middle) + shift[k];
            const float sum = min(chunk, m - (block + k * at.rows) * chunk) * d;
            sums[0][0] += sum;
            sums[1][0] += fmaf(sum, d, squares[k]);
        }
    });
    at.fold(sums, shared);
    if (at.owns && at.row == 0) {
        const float shift = sums[0][0] / m;
        mean[at.channel] = middle + shift;
        var[at.channel] = about_mean(sums[1][0], sums[0][0], shift) / m;
    }
}

template <typename T, uint32_t W>
__device__ __forceinline__ void apply(uint32_t m, uint32_t c, uint32_t chunk, bool relu, float eps,
                                      const T* __restrict__ x, const float* __restrict__ gamma,
                                      const float* __restrict__ beta, const float* __restrict__ mean,
                                      const float* __restrict__ var, const T* __restrict__ residual,
                                      T* __restrict__ y, float* shared)
{
    const auto at = Columns<W>::of_row(c);
    const uint32_t first = blockIdx.x * chunk, length = min(chunk, m - first);
    float values[3][W];
    if (at.owns && at.row == 0) {
        float variance[W];
        load_floats<W>(values[0], mean + at.channel);
        load_floats<W>(variance, var + at.channel);
        load_floats<W>(values[1], gamma + at.channel);
        load_floats<W>(values[2], beta + at.channel);
#pragma unroll
        for (uint32_t i = 0; i < W; ++i) {
            values[1][i] = scale_of(values[1][i], variance[i], eps);
        }
    }
    at.share(values, shared);
    at.template each_row<2>(c, first, first + length, [&](auto n, uint32_t, size_t from, size_t stride) {
        constexpr uint32_t N = decltype(n)::value;
        Unit<T, W> units[N], residuals[N];
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            units[k] = load_unit<T, W>(x + from + k * stride);
        }
        if (residual != nullptr) {
#pragma unroll
            for (uint32_t k = 0; k < N; ++k) {
                residuals[k] = load_unit<T, W>(residual + from + k * stride);
            }
        }
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            float out[W];
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                out[i] = normalised(to_float(units[k].element[i]), values[0][i], values[1][i], values[2][i]);
                if (residual != nullptr) {
                    out[i] += to_float(residuals[k].element[i]);
                }
                out[i] = relu ? rectified(out[i]) : out[i];
            }
            store_unit<T, W>(y + from + k * stride, out, false);
        }
    });
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 4)
batch_norm_apply_f32(uint32_t m, uint32_t c, uint32_t chunk, uint32_t relu, float eps, const float* __restrict__ x,
                     const float* __restrict__ gamma, const float* __restrict__ beta, const float* __restrict__ mean,
                     const float* __restrict__ var, const float* __restrict__ residual, float* __restrict__ y)
{
    __shared__ alignas(16) float shared[3 * PACK<float> * COLUMN_WIDTH];
    if (c % PACK<float> == 0) {
        apply<float, PACK<float>>(m, c, chunk, relu, eps, x, gamma, beta, mean, var, residual, y, shared);
    } else {
        apply<float, 1>(m, c, chunk, relu, eps, x, gamma, beta, mean, var, residual, y, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 4)
batch_norm_apply_bf16(uint32_t m, uint32_t c, uint32_t chunk, uint32_t relu, float eps, const bf16* __restrict__ x,
                      const float* __restrict__ gamma, const float* __restrict__ beta, const float* __restrict__ mean,
                      const float* __restrict__ var, const bf16* __restrict__ residual, bf16* __restrict__ y)
{
    __shared__ alignas(16) float shared[3 * PACK<bf16> * COLUMN_WIDTH];
    if (c % PACK<bf16> == 0) {
        apply<bf16, PACK<bf16>>(m, c, chunk, relu, eps, x, gamma, beta, mean, var, residual, y, shared);
    } else {
        apply<bf16, 1>(m, c, chunk, relu, eps, x, gamma, beta, mean, var, residual, y, shared);
    }
}

// Where the ReLU let the gradient through: everywhere without one; else where the output was above zero, which `y`
// tells if it is given, and x if not.
enum class Gate { X, Y };

template <Gate GATE, typename T, uint32_t W, uint32_t N>
struct Gradient {
    Unit<T, W> dy[N], x[N], y[GATE == Gate::Y ? N : 1];

    __device__ __forceinline__ Gradient(const T* __restrict__ from_dy, const T* __restrict__ from_x,
                                        const T* __restrict__ from_y, size_t at, size_t step)
    {
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            dy[k] = load_unit<T, W>(from_dy + at + k * step);
            x[k] = load_unit<T, W>(from_x + at + k * step);
            if (GATE == Gate::Y) {
                y[k] = load_unit<T, W>(from_y + at + k * step);
            }
        }
    }

    // The gradient in front of the ReLU, and x - mean.
    __device__ __forceinline__ float2 at(uint32_t k, uint32_t i, bool relu, float mean, float scale, float beta) const
    {
        const float value = to_float(x[k].element[i]);
        const float out = GATE == Gate::Y ? to_float(y[k].element[i]) : normalised(value, mean, scale, beta);
        return make_float2(!relu || out > 0.0f ? to_float(dy[k].element[i]) : 0.0f, value - mean);
    }
};

template <Gate GATE, typename T, uint32_t W>
__device__ __forceinline__ void bwd_reduce(uint32_t m, uint32_t c, uint32_t chunk, bool relu, float eps,
                                           const T* __restrict__ dy, const T* __restrict__ x,
                                           const T* __restrict__ y, const float* __restrict__ gamma,
                                           const float* __restrict__ beta, const float* __restrict__ mean,
                                           const float* __restrict__ var, float* __restrict__ workspace,
                                           float* shared)
{
    const auto at = Columns<W>::of_row(c);
    const uint32_t first = blockIdx.x * chunk, length = min(chunk, m - first);
    constexpr uint32_t VALUES = GATE == Gate::Y ? 1 : 3;
    float values[VALUES][W];
    if (at.owns && at.row == 0) {
        load_floats<W>(values[0], mean + at.channel);
        if constexpr (GATE == Gate::X) {
            float variance[W];
            load_floats<W>(variance, var + at.channel);
            load_floats<W>(values[1], gamma + at.channel);
            load_floats<W>(values[2], beta + at.channel);
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                values[1][i] = scale_of(values[1][i], variance[i], eps);
            }
        }
    }
    at.share(values, shared);
    float sums[2][W] = {};
    at.template each_row<2>(c, first, first + length, [&](auto n, uint32_t, size_t from, size_t stride) {
        constexpr uint32_t N = decltype(n)::value;
        const Gradient<GATE, T, W, N> gradient(dy, x, y, from, stride);
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                const float2 g =
                    gradient.at(k, i, relu, values[0][i], values[VALUES / 2][i], values[VALUES - 1][i]);
                sums[0][i] += g.x;
                sums[1][i] = fmaf(g.x, g.y, sums[1][i]);
            }
        }
    });
    at.fold(sums, shared);
    if (at.owns && at.row == 0) {
        store_floats<W>(workspace + size_t(blockIdx.x) * c + at.channel, sums[0]);
        store_floats<W>(workspace + size_t(gridDim.x + blockIdx.x) * c + at.channel, sums[1]);
    }
}

template <typename T, uint32_t W>
__device__ __forceinline__ void bwd_reduce(uint32_t m, uint32_t c, uint32_t chunk, bool relu, float eps,
                                           const T* __restrict__ dy, const T* __restrict__ x,
                                           const T* __restrict__ y, const float* __restrict__ gamma,
                                           const float* __restrict__ beta, const float* __restrict__ mean,
                                           const float* __restrict__ var, float* __restrict__ workspace,
                                           float* shared)
{
    if (relu && y != nullptr) {
        bwd_reduce<Gate::Y, T, W>(m, c, chunk, relu, eps, dy, x, y, gamma, beta, mean, var, workspace, shared);
    } else {
        bwd_reduce<Gate::X, T, W>(m, c, chunk, relu, eps, dy, x, y, gamma, beta, mean, var, workspace, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 4)
batch_norm_bwd_reduce_f32(uint32_t m, uint32_t c, uint32_t chunk, uint32_t relu, float eps,
                          const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ y,
                          const float* __restrict__ gamma, const float* __restrict__ beta,
                          const float* __restrict__ mean, const float* __restrict__ var,
                          float* __restrict__ workspace)
{
    __shared__ alignas(16) float shared[SHARED<float>];
    if (c % PACK<float> == 0) {
        bwd_reduce<float, PACK<float>>(m, c, chunk, relu, eps, dy, x, y, gamma, beta, mean, var, workspace, shared);
    } else {
        bwd_reduce<float, 1>(m, c, chunk, relu, eps, dy, x, y, gamma, beta, mean, var, workspace, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 2)
batch_norm_bwd_reduce_bf16(uint32_t m, uint32_t c, uint32_t chunk, uint32_t relu, float eps,
                           const bf16* __restrict__ dy, const bf16* __restrict__ x, const bf16* __restrict__ y,
                           const float* __restrict__ gamma, const float* __restrict__ beta,
                           const float* __restrict__ mean, const float* __restrict__ var,
                           float* __restrict__ workspace)
{
    __shared__ alignas(16) float shared[SHARED<bf16>];
    if (c % PACK<bf16> == 0) {
        bwd_reduce<bf16, PACK<bf16>>(m, c, chunk, relu, eps, dy, x, y, gamma, beta, mean, var, workspace, shared);
    } else {
        bwd_reduce<bf16, 1>(m, c, chunk, relu, eps, dy, x, y, gamma, beta, mean, var, workspace, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
batch_norm_bwd_f32__finalize(uint32_t m, uint32_t c, uint32_t chunk, uint32_t training, uint32_t accumulate_dgamma,
                             uint32_t accumulate_dbeta, float eps, const float* __restrict__ workspace,
                             const float* __restrict__ gamma, const float* __restrict__ var,
                             float* __restrict__ dgamma, float* __restrict__ dbeta, float* __restrict__ coefficients)
{
    __shared__ float shared[2 * COLUMN_THREADS];
    const auto at = Columns<1>::of_width(FINALIZE_WIDTH, blockIdx.x, c);
    const uint32_t blocks = (m - 1) / chunk + 1;
    const float* first = workspace;
    const float* second = first + size_t(blocks) * c;
    float sums[2][1] = {};
    at.each_row<4>(c, 0, blocks, [&](auto n, uint32_t block, size_t from, size_t stride) {
        constexpr uint32_t N = decltype(n)::value;
        float part[2][N];
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            part[0][k] = first[from + k * stride];
            part[1][k] = second[from + k * stride];
        }
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            sums[0][0] += part[0][k];
            sums[1][0] += part[1][k];
        }
    });
    at.fold(sums, shared);
    if (at.owns && at.row == 0) {
        const uint32_t i = at.channel;
        const float rstd = 1.0f / sqrtf(var[i] + eps), slope = scale_of(gamma[i], var[i], eps);
        write(dgamma + i, rstd * sums[1][0], accumulate_dgamma);
        write(dbeta + i, sums[0][0], accumulate_dbeta);
        coefficients[i] = slope;
        coefficients[c + i] = training ? -slope * (rstd * rstd) * (sums[1][0] / m) : 0.0f;
        coefficients[2 * size_t(c) + i] = training ? -slope * (sums[0][0] / m) : 0.0f;
    }
}

template <Gate GATE, typename T, uint32_t W>
__device__ __forceinline__ void bwd_apply(uint32_t m, uint32_t c, uint32_t chunk, bool relu, bool accumulate_dx,
                                          bool accumulate_residual, const T* __restrict__ dy,
                                          const T* __restrict__ x, const T* __restrict__ y,
                                          const float* __restrict__ beta, const float* __restrict__ mean,
                                          const float* __restrict__ coefficients, T* __restrict__ dx,
                                          T* __restrict__ d_residual, float* shared)
{
    const auto at = Columns<W>::of_row(c);
    const uint32_t first = blockIdx.x * chunk, length = min(chunk, m - first);
    constexpr uint32_t VALUES = GATE == Gate::Y ? 4 : 5;
    float values[VALUES][W];  // slope, slope of x, constant, mean, beta
    if (at.owns && at.row == 0) {
#pragma unroll
        for (uint32_t v = 0; v < 3; ++v) {
            load_floats<W>(values[v], coefficients + size_t(v) * c + at.channel);
        }
        load_floats<W>(values[3], mean + at.channel);
        if (GATE == Gate::X) {
            load_floats<W>(values[VALUES - 1], beta + at.channel);
        }
    }
    at.share(values, shared);
    at.template each_row<2>(c, first, first + length, [&](auto n, uint32_t, size_t from, size_t stride) {
        constexpr uint32_t N = decltype(n)::value;
        const Gradient<GATE, T, W, N> gradient(dy, x, y, from, stride);
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) {
            float of_x[W], of_residual[W];
#pragma unroll
            for (uint32_t i = 0; i < W; ++i) {
                const float2 g = gradient.at(k, i, relu, values[3][i], values[0][i], values[VALUES - 1][i]);
                of_x[i] = fmaf(values[0][i], g.x, fmaf(values[1][i], g.y, values[2][i]));
                of_residual[i] = g.x;
            }
            store_unit<T, W>(dx + from + k * stride, of_x, accumulate_dx);
            if (d_residual != nullptr) {
                store_unit<T, W>(d_residual + from + k * stride, of_residual, accumulate_residual);
            }
        }
    });
}

template <typename T, uint32_t W>
__device__ __forceinline__ void bwd_apply(uint32_t m, uint32_t c, uint32_t chunk, bool relu, bool accumulate_dx,
                                          bool accumulate_residual, const T* __restrict__ dy,
                                          const T* __restrict__ x, const T* __restrict__ y,
                                          const float* __restrict__ beta, const float* __restrict__ mean,
                                          const float* __restrict__ coefficients, T* __restrict__ dx,
                                          T* __restrict__ d_residual, float* shared)
{
    if (relu && y != nullptr) {
        bwd_apply<Gate::Y, T, W>(m, c, chunk, relu, accumulate_dx, accumulate_residual, dy, x, y, beta, mean,
                                 coefficients, dx, d_residual, shared);
    } else {
        bwd_apply<Gate::X, T, W>(m, c, chunk, relu, accumulate_dx, accumulate_residual, dy, x, y, beta, mean,
                                 coefficients, dx, d_residual, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 4)
batch_norm_bwd_apply_f32(uint32_t m, uint32_t c, uint32_t chunk, uint32_t relu, uint32_t accumulate_dx,
                         uint32_t accumulate_residual, const float* __restrict__ dy, const float* __restrict__ x,
                         const float* __restrict__ y, const float* __restrict__ beta,
                         const float* __restrict__ mean, const float* __restrict__ coefficients,
                         float* __restrict__ dx, float* __restrict__ d_residual)
{
    __shared__ alignas(16) float shared[5 * PACK<float> * COLUMN_WIDTH];
    if (c % PACK<float> == 0) {
        bwd_apply<float, PACK<float>>(m, c, chunk, relu, accumulate_dx, accumulate_residual, dy, x, y, beta, mean,
                                      coefficients, dx, d_residual, shared);
    } else {
        bwd_apply<float, 1>(m, c, chunk, relu, accumulate_dx, accumulate_residual, dy, x, y, beta, mean,
                            coefficients, dx, d_residual, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 2)
batch_norm_bwd_apply_bf16(uint32_t m, uint32_t c, uint32_t chunk, uint32_t relu, uint32_t accumulate_dx,
                          uint32_t accumulate_residual, const bf16* __restrict__ dy, const bf16* __restrict__ x,
                          const bf16* __restrict__ y, const float* __restrict__ beta,
                          const float* __restrict__ mean, const float* __restrict__ coefficients,
                          bf16* __restrict__ dx, bf16* __restrict__ d_residual)
{
    __shared__ alignas(16) float shared[5 * PACK<bf16> * COLUMN_WIDTH];
    if (c % PACK<bf16> == 0) {
        bwd_apply<bf16, PACK<bf16>>(m, c, chunk, relu, accumulate_dx, accumulate_residual, dy, x, y, beta, mean,
                                    coefficients, dx, d_residual, shared);
    } else {
        bwd_apply<bf16, 1>(m, c, chunk, relu, accumulate_dx, accumulate_residual, dy, x, y, beta, mean,
                           coefficients, dx, d_residual, shared);
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
batch_norm_running_f32(uint32_t c, uint32_t count, float momentum, const float* __restrict__ mean,
                       const float* __restrict__ var, float* __restrict__ running_mean,
                       float* __restrict__ running_var)
{
    const uint32_t i = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    if (i >= c) {
        return;
    }
    const float unbiased = float(count) / (float(count) - 1.0f);
    running_mean[i] = fmaf(momentum, mean[i] - running_mean[i], running_mean[i]);
    running_var[i] = fmaf(momentum, fmaf(var[i], unbiased, -running_var[i]), running_var[i]);
}

// The first rung.
template <typename T>
__device__ __forceinline__ void direct(uint32_t m, uint32_t c, uint32_t relu, float eps, const T* __restrict__ x,
                                       const float* __restrict__ gamma, const float* __restrict__ beta,
                                       const T* __restrict__ residual, T* __restrict__ y, float* __restrict__ mean,
                                       float* __restrict__ var)
{
    __shared__ float shared[COLUMN_THREADS / 32];
    const uint32_t channel = blockIdx.x;
    float sum = 0.0f, squares = 0.0f;
    for (uint32_t row = threadIdx.x; row < m; row += COLUMN_THREADS) {
        sum += to_float(x[size_t(row) * c + channel]);
    }
    const float mu = block_sum<COLUMN_THREADS / 32>(sum, shared) / m;
    for (uint32_t row = threadIdx.x; row < m; row += COLUMN_THREADS) {
        const float d = to_float(x[size_t(row) * c + channel]) - mu;
        squares = fmaf(d, d, squares);
    }
    const float variance = block_sum<COLUMN_THREADS / 32>(squares, shared) / m;
    const float scale = scale_of(gamma[channel], variance, eps);
    for (uint32_t row = threadIdx.x; row < m; row += COLUMN_THREADS) {
        const size_t at = size_t(row) * c + channel;
        float out = normalised(to_float(x[at]), mu, scale, beta[channel]);
        out += residual != nullptr ? to_float(residual[at]) : 0.0f;
        y[at] = from_float<T>(relu ? rectified(out) : out);
    }
    if (threadIdx.x == 0) {
        mean[channel] = mu;
        var[channel] = variance;
    }
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
batch_norm_fwd_f32__direct(uint32_t m, uint32_t c, uint32_t relu, float eps, const float* __restrict__ x,
                           const float* __restrict__ gamma, const float* __restrict__ beta,
                           const float* __restrict__ residual, float* __restrict__ y, float* __restrict__ mean,
                           float* __restrict__ var)
{
    direct<float>(m, c, relu, eps, x, gamma, beta, residual, y, mean, var);
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
batch_norm_fwd_bf16__direct(uint32_t m, uint32_t c, uint32_t relu, float eps, const bf16* __restrict__ x,
                            const float* __restrict__ gamma, const float* __restrict__ beta,
                            const bf16* __restrict__ residual, bf16* __restrict__ y, float* __restrict__ mean,
                            float* __restrict__ var)
{
    direct<bf16>(m, c, relu, eps, x, gamma, beta, residual, y, mean, var);
}
