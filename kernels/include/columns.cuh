// How a block walks a [rows, channels] array whose channels are contiguous, when what it wants is per channel.
//
// A unit is W neighbouring channels of one row: 16 bytes where rows are multiples of 16 bytes, else one element. A
// block owns `width` units side by side (all of a row if that is at most 32, else an even share of it) and as many rows
// at a time as its 256 threads allow; a thread stays on its unit's channels, and goes down the rows. Threads next to
// each other are next to each other in memory, across the end of a row too when the block owns whole rows:
//
//              width = 3                     thread t: unit t % width, row t / width
//      row 0   t0 t1 t2
//      row 1   t3 t4 t5                      85 rows of 3 at a time; one thread of 256 idles
//      row 2   t6 ...
#pragma once

#include "element.cuh"

constexpr uint32_t COLUMN_THREADS = 256, COLUMN_WIDTH = 32;
static_assert(COLUMN_THREADS % COLUMN_WIDTH == 0, "a full width leaves no thread idle");

template <typename T, uint32_t W>
struct alignas(sizeof(T) * W) Unit {
    T element[W];
};

template <typename T, uint32_t W>
__device__ __forceinline__ Unit<T, W> load_unit(const T* from)
{
    return *reinterpret_cast<const Unit<T, W>*>(from);
}

// Stores, or adds to what is there.
template <typename T, uint32_t W>
__device__ __forceinline__ void store_unit(T* to, const float (&x)[W], bool accumulate)
{
    Unit<T, W> unit;
    if (accumulate) {
        unit = load_unit<T, W>(to);
    }
#pragma unroll
    for (uint32_t i = 0; i < W; ++i) {
        unit.element[i] = from_float<T>(accumulate ? to_float(unit.element[i]) + x[i] : x[i]);
    }
    *reinterpret_cast<Unit<T, W>*>(to) = unit;
}

// W floats, W = 1 or a multiple of 4. `split` lies between one group of four and the next: in shared memory the groups
// are kept apart, so that lanes next to each other always touch 16 bytes next to each other, and no bank twice.
template <uint32_t W>
__device__ __forceinline__ void load_floats(float (&x)[W], const float* from, uint32_t split = 4)
{
    constexpr uint32_t G = W < 4 ? W : 4;
#pragma unroll
    for (uint32_t g = 0; g < W / G; ++g) {
        const Unit<float, G> group = load_unit<float, G>(from + g * split);
#pragma unroll
        for (uint32_t i = 0; i < G; ++i) {
            x[g * G + i] = group.element[i];
        }
    }
}

template <uint32_t W>
__device__ __forceinline__ void store_floats(float* to, const float (&x)[W], uint32_t split = 4)
{
    constexpr uint32_t G = W < 4 ? W : 4;
#pragma unroll
    for (uint32_t g = 0; g < W / G; ++g) {
        Unit<float, G> group;
#pragma unroll
        for (uint32_t i = 0; i < G; ++i) {
            group.element[i] = x[g * G + i];
        }
        *reinterpret_cast<Unit<float, G>*>(to + g * split) = group;
    }
}

template <uint32_t W>
struct Columns {
    static constexpr uint32_t GROUP = W < 4 ? W : 4;

    uint32_t width, rows;  // the block's units and rows
    uint32_t row;          // this thread's row of them
    uint32_t channel;      // this thread's first channel
    bool owns;             // false: this thread has no unit, and only joins the barriers

    // Channels of a [.., c] array, blockIdx.y saying which share of a row.
    static __device__ __forceinline__ Columns of_row(uint32_t c)
    {
        const uint32_t units = c / W, shares = (units + COLUMN_WIDTH - 1) / COLUMN_WIDTH;
        return of_width((units + shares - 1) / shares, blockIdx.y, c);
    }

    static __device__ __forceinline__ Columns of_width(uint32_t width, uint32_t share, uint32_t c)
    {
        Columns at;
        at.width = width;
        at.rows = COLUMN_THREADS / width;
        at.row = threadIdx.x / width;
        at.channel = (share * width + threadIdx.x % width) * W;
        at.owns = at.row < at.rows && at.channel < c;
        return at;
    }

    // How many of `length` rows are this thread's.
    __device__ __forceinline__ uint32_t count(uint32_t length) const
    {
        return owns && row < length ? (length - row + rows - 1) / rows : 0;
    }

    // Calls step(Count<N>, row, at, stride) for this thread's rows of [first, end), ascending: N rows from `row` on,
    // `rows` apart; of a [.., c] array the thread's channels of these rows lie at `at`, `at + stride`, ...
    // UNROLL rows at a time, so that their loads are under way together, then one at a time.
    template <uint32_t UNROLL, typename Step>
    __device__ __forceinline__ void each_row(uint32_t c, uint32_t first, uint32_t end, Step step) const;

    // Row 0's threads know V values for each of their channels; then every thread knows them. `shared` holds
    // V * W * COLUMN_WIDTH floats that nobody uses meanwhile.
    template <uint32_t V>
    __device__ __forceinline__ void share(float (&values)[V][W], float* shared) const
    {
        const uint32_t at = threadIdx.x % width * GROUP;
        if (owns && row == 0) {
#pragma unroll
            for (uint32_t v = 0; v < V; ++v) {
                store_floats<W>(shared + v * W * COLUMN_WIDTH + at, values[v], GROUP * COLUMN_WIDTH);
            }
        }
        __syncthreads();
        if (owns) {
#pragma unroll
            for (uint32_t v = 0; v < V; ++v) {
                load_floats<W>(values[v], shared + v * W * COLUMN_WIDTH + at, GROUP * COLUMN_WIDTH);
            }
        }
    }

    // Sums V values a channel over the block's rows: row 0's threads end up with the sums. The upper half of the rows
    // joins the lower, then half of that: same shape, same order, same bits. `shared` is V * W * COLUMN_THREADS floats;
    // others may have used it just before.
    template <uint32_t V>
    __device__ __forceinline__ void fold(float (&values)[V][W], float* shared) const
    {
        constexpr uint32_t SPLIT = GROUP * COLUMN_THREADS;
        const uint32_t top = rows > 1 ? 1u << (31 - __clz(rows - 1)) : 0;
        __syncthreads();
        for (uint32_t s = top; s > 0; s /= 2) {
            // Rows s to 2s write and rows below s read: the next halving's writes meet nobody's reads.
            if (owns && row >= s && row < 2 * s) {
#pragma unroll
                for (uint32_t v = 0; v < V; ++v) {
                    store_floats<W>(shared + v * W * COLUMN_THREADS + threadIdx.x * GROUP, values[v], SPLIT);
                }
            }
            __syncthreads();
            if (owns && row < s && row + s < rows) {
#pragma unroll
                for (uint32_t v = 0; v < V; ++v) {
                    float theirs[W];
                    const uint32_t from = (threadIdx.x + s * width) * GROUP;
                    load_floats<W>(theirs, shared + v * W * COLUMN_THREADS + from, SPLIT);
#pragma unroll
                    for (uint32_t i = 0; i < W; ++i) {
                        values[v][i] += theirs[i];
                    }
                }
            }
        }
    }
};

template <uint32_t N>
struct Count {
    static constexpr uint32_t value = N;
};

template <uint32_t W>
template <uint32_t UNROLL, typename Step>
__device__ __forceinline__ void Columns<W>::each_row(uint32_t c, uint32_t first, uint32_t end, Step step) const
{
    if (!owns) {
        return;
    }
    uint32_t i = first + row;
    const size_t stride = size_t(rows) * c;
    size_t at = size_t(i) * c + channel;
    for (; i + (UNROLL - 1) * rows < end; i += UNROLL * rows, at += UNROLL * stride) {
        step(Count<UNROLL>{}, i, at, stride);
    }
    for (; i < end; i += rows, at += stride) {
        step(Count<1>{}, i, at, stride);
    }
}
