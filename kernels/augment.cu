// Views of images (header to follow).
#include "element.cuh"
#include "exact.cuh"

constexpr uint32_t BLOCK = 256;  // threads of a view that lives in shared memory
constexpr uint32_t WIDE = 512;   // threads of a view that lives in the workspace

// Columns of a row of parameters, and the numbers of the jitter's steps: src/ops/augment/params.rs.
enum { TOP, LEFT, HEIGHT, WIDTH, FLIP, ORDER, BRIGHTNESS = 9, CONTRAST, SATURATION, HUE, GRAYSCALE, SIGMA, SOLARIZE };
constexpr uint32_t COLUMNS = 16;
constexpr uint32_t STEPS = 4;
static_assert(SOLARIZE + 1 == COLUMNS, "every column has its name");
constexpr float BRIGHTEN = 0.0f, CONTRAST_UP = 1.0f, SATURATE = 2.0f, TURN = 3.0f, SKIP = -1.0f;
constexpr float MOST = 1e6f;
constexpr uint32_t SUMS = 16;  // sums side by side in a mean: color.rs

using real = Exact<float>;
using wide = Exact<double>;

// The scalars of every entry.
struct Setup {
    uint32_t rows, n, count, h, w, size;
    bool cubic, antialias, clamp;
    uint32_t blur_kernel, scratch, taps, stage;
    float mean[3], std[3];
};

// Where things of the block lie in its dynamic shared memory, in this order.
struct Room {
    float* view;     // shared technique only: C·S·S
    float* scratch;  // `scratch` floats
    float* taps;     // `taps` floats: weights of the rows, then of the columns
    uint2* runs;     // 2 S: first pixel and length
    float* blur;     // 2 S
    uint8_t* stage;  // `stage` bytes
};

// Threads go through a table row by row, without a division a step.
template <uint32_t THREADS>
struct Walk {
    uint32_t width, row, column, down, right;

    __device__ __forceinline__ explicit Walk(uint32_t width)
        : width(width), row(threadIdx.x / width), column(threadIdx.x % width), down(THREADS / width),
          right(THREADS % width)
    {
    }
    __device__ __forceinline__ void step()
    {
        row += down;
        column += right;
        if (column >= width) {
            column -= width;
            ++row;
        }
    }
};

// What ViewParams::check says.
__device__ __forceinline__ bool fits(const float* row, uint32_t h, uint32_t w)
{
    const auto whole = [](float start, float len, uint32_t end) {
        return start >= 0.0f && len >= 1.0f && double(start) + double(len) <= double(end) && start == truncf(start) &&
               len == truncf(len);
    };
    const auto within = [](float x, float low, float high) { return low <= x && x <= high; };
    bool good = whole(row[TOP], row[HEIGHT], h) && whole(row[LEFT], row[WIDTH], w);
    for (uint32_t i = 0; i < STEPS; ++i) {
        const float step = row[ORDER + i];
        good &= step == BRIGHTEN || step == CONTRAST_UP || step == SATURATE || step == TURN || step == SKIP;
    }
    constexpr float ANY = 3.402823466e38f;
    return good && within(row[FLIP], 0.0f, 1.0f) && within(row[BRIGHTNESS], 0.0f, MOST) &&
           within(row[CONTRAST], 0.0f, MOST) && within(row[SATURATION], 0.0f, MOST) && within(row[HUE], -0.5f, 0.5f) &&
           within(row[GRAYSCALE], 0.0f, 1.0f) && within(row[SIGMA], 0.0f, ANY) && within(row[SOLARIZE], 0.0f, ANY);
}

// ---- Taps: resize.rs, in f64.

// The filter at distance x; a is the cubic's free parameter.
__device__ __forceinline__ wide filter(bool cubic, wide x, wide a)
{
    x = fabs(x.value);
    if (!cubic) {
        return fmax((wide(1.0) - x).value, 0.0);
    }
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : wide(0.0);
}

struct Axis {
    uint32_t from, to, pitch;  // pitch of the weights: odd, so that 32 neighbours' lie in 32 banks
    bool cubic, antialias;
    wide scale, stretch, support;

    __device__ __forceinline__ Axis(uint32_t from, uint32_t to, bool cubic, bool antialias)
        : from(from), to(to), cubic(cubic), antialias(antialias), scale(wide(double(from)) / wide(double(to))),
          stretch(antialias && scale > 1.0 ? scale : wide(1.0)), support(wide(cubic ? 2.0 : 1.0) * stretch)
    {
        pitch = (uint32_t(ceil((wide(2.0) * support).value)) + 1) | 1;
    }

    // First pixel and length of output pixel i, and its weights.
    __device__ __forceinline__ uint2 taps(uint32_t i, float* weights) const
    {
        const wide centre = scale * (wide(double(i)) + 0.5);
        return antialias ? cut(centre, weights) : clamped(centre, weights);
    }

    // The filter around the centre, without what hangs over the border.
    __device__ __forceinline__ uint2 cut(wide centre, float* weights) const
    {
        uint32_t start = uint32_t(fmax((centre - support + 0.5).value, 0.0));
        uint32_t end = min(uint32_t((centre + support + 0.5).value), from);
        const auto weight = [&](uint32_t j) {
            return filter(cubic, (wide(double(j)) + 0.5 - centre) / stretch, -0.5);
        };
        while (weight(start) == 0.0 && start + 1 < end) {
            ++start;
        }
        while (weight(end - 1) == 0.0 && start + 1 < end) {
            --end;
        }
        wide total = 0.0;
        for (uint32_t j = start; j < end; ++j) {
            total = total + weight(j);
        }
        for (uint32_t j = start; j < end; ++j) {
            weights[j - start] = float((weight(j) / total).value);
        }
        return make_uint2(start, end - start);
    }

    // Two or four pixels; what hangs over the border falls on the border's pixel.
    __device__ __forceinline__ uint2 clamped(wide centre, float* weights) const
    {
        const int32_t count = cubic ? 4 : 2;
        const int32_t first = int32_t(floor((centre - 0.5).value)) - count / 2 + 1;
        const auto pixel = [&](int32_t t) { return uint32_t(min(max(first + t, 0), int32_t(from) - 1)); };
        const uint32_t start = pixel(0);
        real sum = 0.0f;
        for (int32_t t = 0; t < count; ++t) {
            const wide distance = wide(double(first + t)) + 0.5 - centre;
            sum = (t > 0 && pixel(t) == pixel(t - 1) ? sum : real(0.0f)) +
                  float(filter(cubic, distance, -0.75).value);
            weights[pixel(t) - start] = sum.value;
        }
        return make_uint2(start, pixel(count - 1) - start + 1);
    }
};

// ---- Resize, a band of rows at a time.

// Band row r, of `length` values, is row first + r of the view before its columns are resized.
template <uint32_t THREADS>
__device__ __forceinline__ void resize_rows(const uint8_t* crop, uint32_t pitch, uint32_t length, uint32_t first,
                                            uint32_t rows, const Axis& axis, const Room& room)
{
    for (Walk<THREADS> at(length); at.row < rows; at.step()) {
        const uint2 run = room.runs[first + at.row];
        const float* weights = room.taps + (first + at.row) * axis.pitch;
        const uint8_t* pixel = crop + size_t(run.x) * pitch + at.column;
        real sum = 0.0f;
        for (uint32_t t = 0; t < run.y; ++t) {
            sum = sum + real(weights[t]) * real(float(*pixel));
            pixel += pitch;
        }
        room.scratch[at.row * length + at.column] = (sum / 255.0f).value;
    }
}

__device__ __forceinline__ real unit(real x) { return x < 0.0f ? real(0.0f) : x > 1.0f ? real(1.0f) : x; }

template <uint32_t C, uint32_t THREADS>
__device__ __forceinline__ void resize_columns(const Setup& s, uint32_t length, uint32_t first, uint32_t rows,
                                               bool flip, const float* all_weights, const Axis& axis,
                                               const Room& room, float* view)
{
    for (Walk<THREADS> at(s.size); at.row < rows; at.step()) {
        const uint2 run = room.runs[s.size + at.column];
        const float* weights = all_weights + at.column * axis.pitch;
        const float* from = room.scratch + at.row * length + run.x * C;
        real sum[C];
#pragma unroll
        for (uint32_t c = 0; c < C; ++c) {
            sum[c] = 0.0f;
        }
        for (uint32_t t = 0; t < run.y; ++t) {
            const real weight = weights[t];
#pragma unroll
            for (uint32_t c = 0; c < C; ++c) {
                sum[c] = sum[c] + weight * real(from[t * C + c]);
            }
        }
        const uint32_t to = flip ? s.size - 1 - at.column : at.column;
#pragma unroll
        for (uint32_t c = 0; c < C; ++c) {
            view[(c * s.size + first + at.row) * s.size + to] = (s.clamp ? unit(sum[c]) : sum[c]).value;
        }
    }
}

// The image's rows under the crop, as they lie in memory, 16 bytes a thread; returns the first's place in the stage.
template <uint32_t THREADS>
__device__ __forceinline__ uint32_t stage_rows(const uint8_t* images, size_t begin, size_t end, size_t all,
                                               uint8_t* stage)
{
    const size_t aligned = begin / 16 * 16;
    for (size_t at = aligned + 16 * threadIdx.x; at < end; at += 16 * THREADS) {
        if (at + 16 <= all) {
            *reinterpret_cast<uint4*>(stage + (at - aligned)) = *reinterpret_cast<const uint4*>(images + at);
        } else {
            for (size_t i = at; i < all; ++i) {
                stage[i - aligned] = images[i];
            }
        }
    }
    return uint32_t(begin - aligned);
}

template <uint32_t C, uint32_t THREADS>
__device__ __forceinline__ void resized_crop(const Setup& s, const float* row, size_t image, const uint8_t* images,
                                             const Room& room, float* view)
{
    const uint32_t top = uint32_t(row[TOP]), left = uint32_t(row[LEFT]);
    const uint32_t height = uint32_t(row[HEIGHT]), width = uint32_t(row[WIDTH]);
    const uint32_t pitch = s.w * C, length = width * C, band = min(s.size, s.scratch / length);
    const Axis rows(height, s.size, s.cubic, s.antialias), columns(width, s.size, s.cubic, s.antialias);
    float* column_weights = room.taps + s.size * rows.pitch;
    for (uint32_t i = threadIdx.x; i < 2 * s.size; i += THREADS) {
        const bool down = i < s.size;
        const uint32_t at = down ? i : i - s.size;
        const Axis axis = down ? rows : columns;
        room.runs[i] = axis.taps(at, (down ? room.taps : column_weights) + at * axis.pitch);
    }
    const size_t begin = (image * s.h + top) * pitch, end = begin + size_t(height) * pitch;
    const bool staged = end - begin / 16 * 16 + 15 <= s.stage;
    uint32_t shift = 0;
    if (staged) {
        shift = stage_rows<THREADS>(images, begin, end, size_t(s.count) * s.h * pitch, room.stage);
    }
    __syncthreads();
    for (uint32_t first = 0; first < s.size; first += band) {
        const uint32_t here = min(band, s.size - first);
        // Twice the same, so that the compiler knows which memory it reads.
        if (staged) {
            resize_rows<THREADS>(room.stage + shift + left * C, pitch, length, first, here, rows, room);
        } else {
            resize_rows<THREADS>(images + begin + left * C, pitch, length, first, here, rows, room);
        }
        __syncthreads();
        resize_columns<C, THREADS>(s, length, first, here, row[FLIP] >= 0.5f, column_weights, columns, room, view);
        __syncthreads();
    }
}

// ---- Colour: color.rs.

__device__ __forceinline__ real luma(const real (&p)[3]) { return p[0] * 0.2989f + p[1] * 0.587f + p[2] * 0.114f; }
__device__ __forceinline__ real luma(const real (&p)[1]) { return p[0]; }

// From at least -6 and below 12 to at least 0 and below 6.
__device__ __forceinline__ real wrap(real h)
{
    h = h < 0.0f ? h + 6.0f : h;
    return h >= 6.0f ? h - 6.0f : h;
}

// A channel of the colour of hue h (sixths of a turn), value v, chroma d.
__device__ __forceinline__ real channel(real n, real h, real v, real d)
{
    const real k = wrap(n + h);
    const real away = unit(fminf(k.value, (real(4.0f) - k).value));
    return away == 0.0f ? v : unit(v - d * away);
}

__device__ __forceinline__ void turn(real (&p)[3], real shift)
{
    const real v = fmaxf(fmaxf(p[0].value, p[1].value), p[2].value);
    const real d = v - fminf(fminf(p[0].value, p[1].value), p[2].value);
    const real by = real(1.0f) / (d == 0.0f ? real(1.0f) : d);
    const real sixths = v == p[0]   ? (p[1] - p[2]) * by
                        : v == p[1] ? real(2.0f) + (p[2] - p[0]) * by
                                    : real(4.0f) + (p[0] - p[1]) * by;
    const real h = wrap(wrap(sixths) + real(6.0f) * shift);
    p[0] = channel(5.0f, h, v, d);
    p[1] = channel(3.0f, h, v, d);
    p[2] = channel(1.0f, h, v, d);
}

// x · factor + offset of every channel.
template <uint32_t C>
__device__ __forceinline__ void blend(real (&p)[C], real factor, real offset)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        p[c] = unit(p[c] * factor + offset);
    }
}

// Steps `first` to `last` of the jitter on one pixel; `mean` is what the contrast among them wants.
template <uint32_t C>
__device__ __forceinline__ void jitter(real (&p)[C], const float* row, uint32_t first, uint32_t last, real mean)
{
    for (uint32_t i = first; i < last; ++i) {
        const float step = row[ORDER + i];
        if (step == BRIGHTEN) {
#pragma unroll
            for (uint32_t c = 0; c < C; ++c) {
                p[c] = unit(p[c] * row[BRIGHTNESS]);
            }
        } else if (step == CONTRAST_UP) {
            blend(p, row[CONTRAST], mean * (real(1.0f) - row[CONTRAST]));
        }
        if constexpr (C == 3) {
            if (step == SATURATE) {
                blend(p, row[SATURATION], luma(p) * (real(1.0f) - row[SATURATION]));
            } else if (step == TURN) {
                turn(p, row[HUE]);
            }
        }
    }
}

template <uint32_t C>
__device__ __forceinline__ void load(real (&p)[C], const float* view, uint32_t plane, uint32_t at)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        p[c] = view[c * plane + at];
    }
}

template <uint32_t C>
__device__ __forceinline__ void store(const real (&p)[C], float* view, uint32_t plane, uint32_t at)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        view[c * plane + at] = p[c].value;
    }
}

// Applies steps `first` to `last` to the whole view and gives every thread the mean luma of what comes out.
//
// The CPU's order: down the columns, pixel i into sum i % 16, then those 16, then the rest. 17 threads do it from a
// transposed tile of as many columns as fit.
template <uint32_t C, uint32_t THREADS>
__device__ __forceinline__ real settle(const Setup& s, const float* row, uint32_t first, uint32_t last, real mean,
                                       float* view, float* tile, float* sums)
{
    const uint32_t size = s.size, plane = size * size, pitch = size | 1, whole = plane / SUMS * SUMS;
    const uint32_t t = threadIdx.x, most = min(size, s.scratch / pitch);
    const uint32_t stride = t < SUMS ? SUMS : 1, end = t < SUMS ? whole : plane;
    uint32_t i = t < SUMS ? t : whole, x = i / size, y = i % size;
    real sum = 0.0f;
    for (uint32_t left = 0; left < size; left += most) {
        const uint32_t right = min(left + most, size);
        for (Walk<THREADS> at(right - left); at.row < size; at.step()) {
            const uint32_t pixel = at.row * size + left + at.column;
            real p[C];
            load(p, view, plane, pixel);
            jitter(p, row, first, last, mean);
            if (first < last) {
                store(p, view, plane, pixel);
            }
            tile[at.column * pitch + at.row] = luma(p).value;
        }
        __syncthreads();
        if (t <= SUMS) {
            for (; i < end && x < right; i += stride) {
                sum = sum + tile[(x - left) * pitch + y];
                y += stride;
                while (y >= size) {
                    y -= size;
                    ++x;
                }
            }
        }
        __syncthreads();
    }
    if (t <= SUMS) {
        sums[t] = sum.value;
    }
    __syncthreads();
    real total = 0.0f;
#pragma unroll
    for (uint32_t l = 0; l < SUMS; ++l) {
        total = total + sums[l];
    }
    return (total + sums[SUMS]) / float(plane);
}

// The jitter's end and the grayscale: what is left when the last mean is known.
template <uint32_t C>
__device__ __forceinline__ void finish_colour(real (&p)[C], const float* row, uint32_t first, real mean)
{
    jitter(p, row, first, STEPS, mean);
    if (C == 3 && row[GRAYSCALE] >= 0.5f) {
        const real gray = luma(p);
#pragma unroll
        for (uint32_t c = 0; c < C; ++c) {
            p[c] = gray;
        }
    }
}

// ---- Blur: blur.rs.

__device__ __forceinline__ uint32_t reflect(uint32_t x, uint32_t t, uint32_t radius, uint32_t size)
{
    const uint32_t i = x + t < radius ? radius - x - t : x + t - radius;
    return i < size ? i : 2 * (size - 1) - i;
}

// p = the sum over taps t of blur[t] · view[base + stride · reflect(x + t - radius)].
template <uint32_t C>
__device__ __forceinline__ void blurred(real (&p)[C], const float* view, uint32_t plane, uint32_t base,
                                        uint32_t stride, uint32_t x, uint32_t radius, uint32_t size,
                                        const float* blur)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        p[c] = 0.0f;
    }
    for (uint32_t t = 0; t <= 2 * radius; ++t) {
        const real weight = blur[t];
        const float* from = view + base + stride * reflect(x, t, radius, size);
#pragma unroll
        for (uint32_t c = 0; c < C; ++c) {
            p[c] = p[c] + weight * real(from[c * plane]);
        }
    }
}

// ---- The end.

template <uint32_t C>
__device__ __forceinline__ void normalise(real (&p)[C], const Setup& s, float threshold)
{
#pragma unroll
    for (uint32_t c = 0; c < C; ++c) {
        if (threshold <= 1.0f && p[c] >= threshold) {
            p[c] = real(1.0f) - p[c];
        }
        p[c] = (p[c] - s.mean[c]) * (real(1.0f) / s.std[c]);
    }
}

// y[i] = tile[i] for `n` elements; y is a multiple of 16 bytes if `packs`, the tile always.
template <typename T, uint32_t THREADS>
__device__ __forceinline__ void store_tile(T* y, const float* tile, uint32_t n, bool packs)
{
    if (!packs) {
        for (uint32_t i = threadIdx.x; i < n; i += THREADS) {
            y[i] = from_float<T>(tile[i]);
        }
        return;
    }
    constexpr uint32_t WIDTH = PACK<T>, QUADS = WIDTH / 4;
    static_assert(QUADS == 1 || QUADS == 2, "a pack is one or two quads of floats");
    // Of 8 lanes that each want 2 quads, 4 begin with their second: all 32 banks are busy at once.
    const uint32_t turned = QUADS == 2 ? threadIdx.x / 4 % 2 : 0;
    for (uint32_t i = threadIdx.x; i < n / WIDTH; i += THREADS) {
        float4 quads[QUADS];
        float x[WIDTH];
#pragma unroll
        for (uint32_t q = 0; q < QUADS; ++q) {
            quads[q] = reinterpret_cast<const float4*>(tile)[i * QUADS + (q ^ turned)];
        }
#pragma unroll
        for (uint32_t q = 0; q < QUADS; ++q) {
            const float4 quad = turned ? quads[QUADS - 1 - q] : quads[q];
            x[4 * q] = quad.x;
            x[4 * q + 1] = quad.y;
            x[4 * q + 2] = quad.z;
            x[4 * q + 3] = quad.w;
        }
        store_pack(y + i * WIDTH, x);
    }
}

// One view. `view` and `other` hold planes f32[C][S][S]; the tile, NHWC, is what is stored.
template <typename T, uint32_t C, uint32_t THREADS>
__device__ __forceinline__ void make_view(const Setup& s, uint32_t number, const uint8_t* images,
                                          const uint32_t* index, const float* params, T* y, const Room& room,
                                          float* view, float* other)
{
    __shared__ float row[COLUMNS];
    __shared__ float sums[SUMS + 1];
    const uint32_t size = s.size, plane = size * size;
    if (threadIdx.x < COLUMNS) {
        row[threadIdx.x] = params[size_t(number) * COLUMNS + threadIdx.x];
    }
    __syncthreads();
    const uint32_t image = index ? index[number % s.n] : number % s.n;
    y += size_t(number) * plane * C;
    if (image >= s.count || !fits(row, s.h, s.w)) {
        for (uint32_t i = threadIdx.x; i < plane * C; i += THREADS) {
            y[i] = from_float<T>(__int_as_float(0x7fc00000));
        }
        return;
    }
    resized_crop<C, THREADS>(s, row, image, images, room, view);

    uint32_t done = 0;
    real mean = 0.0f;
    for (uint32_t i = 0; i < STEPS; ++i) {
        if (row[ORDER + i] == CONTRAST_UP) {
            mean = settle<C, THREADS>(s, row, done, i, mean, view, room.scratch, sums);
            done = i;
        }
    }

    const float sigma = row[SIGMA];
    const bool blurs = sigma > 0.0f;
    const uint32_t radius = s.blur_kernel ? s.blur_kernel / 2
                                          : uint32_t(fminf(ceilf(__fmul_rn(3.0f, sigma)), float(size - 1)));
    if (blurs) {
        double* bell = reinterpret_cast<double*>(room.scratch);
        for (uint32_t i = threadIdx.x; i <= radius; i += THREADS) {
            const wide x = wide(double(i)) / wide(double(sigma));
            bell[i] = exp((wide(-0.5) * (x * x)).value);
        }
        for (uint32_t i = threadIdx.x; i < plane; i += THREADS) {
            real p[C];
            load(p, view, plane, i);
            finish_colour(p, row, done, mean);
            store(p, view, plane, i);
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x; i <= 2 * radius; i += THREADS) {
            wide total = 0.0;
            for (uint32_t j = 0; j <= 2 * radius; ++j) {
                total = total + bell[reflect(0, j, radius, size)];
            }
            room.blur[i] = float((wide(bell[reflect(0, i, radius, size)]) / total).value);
        }
        __syncthreads();
        for (Walk<THREADS> at(size); at.row < size; at.step()) {
            real p[C];
            blurred(p, view, plane, at.row * size, 1, at.column, radius, size, room.blur);
            store(p, other, plane, at.row * size + at.column);
        }
        __syncthreads();
    }

    // In shared memory the tile takes the planes that are not read; a chunk is a whole number of packs.
    const bool shared = room.view != nullptr;
    float* tile = shared && blurs ? room.view : room.scratch;
    const uint32_t chunk = shared ? plane : min(plane, s.scratch / (C * 8) * 8);
    const bool packs = plane * C % PACK<T> == 0;
    for (uint32_t first = 0; first < plane; first += chunk) {
        const uint32_t here = min(chunk, plane - first);
        for (uint32_t i = threadIdx.x; i < here; i += THREADS) {
            const uint32_t at = first + i;
            real p[C];
            if (blurs) {
                const uint32_t down = at / size;
                blurred(p, other, plane, at - down * size, size, down, radius, size, room.blur);
            } else {
                load(p, view, plane, at);
                finish_colour(p, row, done, mean);
            }
            normalise(p, s, row[SOLARIZE]);
            store(p, tile + i * C, 1, 0);
        }
        __syncthreads();
        store_tile<T, THREADS>(y + size_t(first) * C, tile, here * C, packs);
        __syncthreads();
    }
}

// The parts of the dynamic shared memory, each a multiple of 16 bytes.
__device__ __forceinline__ Room rooms(const Setup& s, uint32_t view)
{
    extern __shared__ uint4 dynamic[];
    const auto quads = [](uint32_t words) { return (words + 3) / 4 * 4; };
    float* at = reinterpret_cast<float*>(dynamic);
    Room room;
    room.view = view ? at : nullptr;
    room.scratch = at + quads(view);
    room.taps = room.scratch + quads(s.scratch);
    room.runs = reinterpret_cast<uint2*>(room.taps + quads(s.taps));
    room.blur = reinterpret_cast<float*>(room.runs) + quads(4 * s.size);
    room.stage = reinterpret_cast<uint8_t*>(room.blur + quads(2 * s.size));
    return room;
}

template <typename T>
__device__ __forceinline__ void in_shared(const Setup& s, uint32_t c, const uint8_t* images, const uint32_t* index,
                                          const float* params, T* y)
{
    const Room room = rooms(s, c * s.size * s.size);
    if (c == 3) {
        make_view<T, 3, BLOCK>(s, blockIdx.x, images, index, params, y, room, room.view, room.scratch);
    } else {
        make_view<T, 1, BLOCK>(s, blockIdx.x, images, index, params, y, room, room.view, room.scratch);
    }
}

template <typename T>
__device__ __forceinline__ void in_workspace(const Setup& s, uint32_t c, const uint8_t* images,
                                             const uint32_t* index, const float* params, T* y, float* workspace)
{
    const Room room = rooms(s, 0);
    const size_t all = size_t(c) * s.size * s.size;
    float* view = workspace + 2 * all * blockIdx.x;
    for (uint32_t row = blockIdx.x; row < s.rows; row += gridDim.x) {
        if (c == 3) {
            make_view<T, 3, WIDE>(s, row, images, index, params, y, room, view, view + all);
        } else {
            make_view<T, 1, WIDE>(s, row, images, index, params, y, room, view, view + all);
        }
        __syncthreads();  // before the next row of parameters
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK)
augment_fwd_f32(uint32_t rows, uint32_t n, uint32_t count, uint32_t h, uint32_t w, uint32_t c, uint32_t size,
                uint32_t bicubic, uint32_t antialias, uint32_t clamp, uint32_t blur_kernel, uint32_t scratch,
                uint32_t taps, uint32_t stage, float mean0, float mean1, float mean2, float std0, float std1,
                float std2, const uint8_t* __restrict__ images, const uint32_t* __restrict__ index,
                const float* __restrict__ params, float* __restrict__ y)
{
    const Setup s{rows, n, count, h, w, size, bicubic != 0, antialias != 0, clamp != 0, blur_kernel, scratch, taps,
                  stage, {mean0, mean1, mean2}, {std0, std1, std2}};
    in_shared(s, c, images, index, params, y);
}

extern "C" __global__ void __launch_bounds__(BLOCK)
augment_fwd_bf16(uint32_t rows, uint32_t n, uint32_t count, uint32_t h, uint32_t w, uint32_t c, uint32_t size,
                 uint32_t bicubic, uint32_t antialias, uint32_t clamp, uint32_t blur_kernel, uint32_t scratch,
                 uint32_t taps, uint32_t stage, float mean0, float mean1, float mean2, float std0, float std1,
                 float std2, const uint8_t* __restrict__ images, const uint32_t* __restrict__ index,
                 const float* __restrict__ params, bf16* __restrict__ y)
{
    const Setup s{rows, n, count, h, w, size, bicubic != 0, antialias != 0, clamp != 0, blur_kernel, scratch, taps,
                  stage, {mean0, mean1, mean2}, {std0, std1, std2}};
    in_shared(s, c, images, index, params, y);
}

extern "C" __global__ void __launch_bounds__(WIDE)
augment_fwd_f32__workspace(uint32_t rows, uint32_t n, uint32_t count, uint32_t h, uint32_t w, uint32_t c,
                           uint32_t size, uint32_t bicubic, uint32_t antialias, uint32_t clamp,
                           uint32_t blur_kernel, uint32_t scratch, uint32_t taps, uint32_t stage, float mean0,
                           float mean1, float mean2, float std0, float std1, float std2,
                           const uint8_t* __restrict__ images, const uint32_t* __restrict__ index,
                           const float* __restrict__ params, float* __restrict__ y, float* workspace)
{
    const Setup s{rows, n, count, h, w, size, bicubic != 0, antialias != 0, clamp != 0, blur_kernel, scratch, taps,
                  stage, {mean0, mean1, mean2}, {std0, std1, std2}};
    in_workspace(s, c, images, index, params, y, workspace);
}

extern "C" __global__ void __launch_bounds__(WIDE)
augment_fwd_bf16__workspace(uint32_t rows, uint32_t n, uint32_t count, uint32_t h, uint32_t w, uint32_t c,
                            uint32_t size, uint32_t bicubic, uint32_t antialias, uint32_t clamp,
                            uint32_t blur_kernel, uint32_t scratch, uint32_t taps, uint32_t stage, float mean0,
                            float mean1, float mean2, float std0, float std1, float std2,
                            const uint8_t* __restrict__ images, const uint32_t* __restrict__ index,
                            const float* __restrict__ params, bf16* __restrict__ y, float* workspace)
{
    const Setup s{rows, n, count, h, w, size, bicubic != 0, antialias != 0, clamp != 0, blur_kernel, scratch, taps,
                  stage, {mean0, mean1, mean2}, {std0, std1, std2}};
    in_workspace(s, c, images, index, params, y, workspace);
}
