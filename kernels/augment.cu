// y[r] = normalise(solarize(blur(grayscale(jitter(flip(resize(crop(x / 255)))))))) of image r % n, by row r of params.
//
//   resize     v[j][x] = (sum over i of a[j][i] u8[top + i][left + x]) / 255,  z[j][k] = sum over x of b[k][x] v[j][x]
//   jitter     four steps in the row's order; with f the step's factor and clamp to [0, 1]:
//              brightness clamp(f p), contrast clamp(f p + (1 - f) mean luma), saturation clamp(f p + (1 - f) luma),
//              hue: p turned in HSV
//   blur       g[d] = exp(-d² / 2σ²) / sum, along x, then along y, the border reflected
//   solarize   p >= threshold: 1 - p;  normalise (p - mean[c]) (1 / std[c])
//
// Each as src/ops/augment/*.rs does it. A row that does not fit (ViewParams::check), or whose image is not there, gives
// NaN everywhere. There is no partial rung, such as a thread for each pixel of the resize alone: an entry that computes
// something else is no cross-check, and contrast and blur need the whole view.
//
// Memory    images u8[count,h,w,c] read; index u32[n] or null: image i of the batch is images[index[i]], or images[i];
//           params f32[rows,16] read; y[rows,size,size,c] overwritten. workspace f32[gridDim.x][2][c][size][size]:
//           written before it is read, nobody fills it. All 256-byte aligned. Dynamic shared memory, q rounding up to
//           a multiple of 4:
//             4 (q(view) + q(scratch) + q(2 size taps) + q(4 size) + q(2 size)) + stage bytes
//             view     c size², in the workspace technique 0
//             scratch  floats, at least max(c size², size (size | 1), w c, 2 size); in the workspace technique
//                      max(8 c, size | 1, w c, 2 size), and better 12288
//             taps     weights an output pixel has at most: (ceil(2 b s) + 1) | 1 with b = 1 (bilinear) or 2 and
//                      s = antialias ? max(1, max(h, w) / size) : 1; odd, so that 32 neighbours' lie in 32 banks
//             stage    bytes, a multiple of 16; h w c + 30 rounded up holds any crop, 0 holds none, what lies between
//                      holds a band at a time, and where not even that, images are read byte by byte
// Work      A block makes a view.
//             (plain)      Block 256, grid rows. The view's planes f32[c][size][size] and as much scratch are in shared
//                          memory; images and y are all of the traffic.
//             __workspace  Block 512, any grid: a block takes rows blockIdx.x, + gridDim.x, ...; two blocks fit an SM.
//                          The planes are in the workspace, shared memory holds a band, a tile or a chunk of them.
//           Stages, a barrier after each: weights (a thread an output row or column); the image's rows into the stage,
//           16 bytes a thread; for a band of rows (all of them where scratch holds them) rows resized, then columns,
//           flipped as they are written; for each contrast the steps before it and the mean; the rest of the colours;
//           two passes of blur; the end through an NHWC tile in shared memory, stored 16 bytes a thread where
//           c size² elements are a multiple of 16 bytes, else one by one.
// Shape     c 1 or 3; size, h, w >= 1; rows % n = 0; mean finite, std > 0; blur_kernel 0 or odd and < 2 size;
//           c size² < 2^31; scratch, taps, stage as above, and the sum of it within what a block can get. The host
//           rejects the rest. The host takes the plain entry where its shared memory fits, else __workspace.
// Cost      A 32x32x3 view of the whole of such an image: 32 k FLOPs and 15.5 k warp instructions, up to 34 k with all
//           steps. Bytes: the rows under each crop, 64 for its parameters, the view: the plain entry moves exactly
//           these, and instructions are its limit. The workspace adds 4 c size² for each of up to 8 passes, mostly
//           within L2. Share of the limit: not yet measured.
// Numbers   The CPU engine's bits: its order, no operation contracted (exact.cuh), its f64 for the weights, its order
//           for the mean (16 sums side by side down the columns, then those, then the rest). Two ways out are known:
//           exp of the blur in f64 may differ by an ulp, which after rounding a weight to f32 shows once in some 2^28
//           weights; and the sign of a zero under hue where clamp is off. bf16: that f32, rounded to nearest even.
//           Contracted to fma, 32 % of a jittered view's values differ, by at most 4e-6.
// Lost      Weights with a pitch of their own for each axis: the axes' f64 numbers stayed alive, and 64 registers did
//           not do. Storing a Pack or a uint4: nvcc split it into four (store_16).

#include "augment_color.cuh"
#include "augment_resize.cuh"
#include "element.cuh"

constexpr uint32_t BLOCK = 256;  // threads of a view that lives in shared memory
constexpr uint32_t WIDE = 512;   // threads of a view that lives in the workspace

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

// ---- Blur: blur.rs.

// Beyond either border, the mirror image; radius < size.
__device__ __forceinline__ uint32_t reflect(uint32_t x, uint32_t t, uint32_t radius, uint32_t size)
{
    const int32_t i = abs(int32_t(x + t - radius));
    return min(i, int32_t(2 * (size - 1)) - i);
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

// In one access for certain: the compiler has split the same store, of a Pack as of a uint4, into four here.
__device__ __forceinline__ void store_16(void* to, uint4 x)
{
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(x.x), "r"(x.y),
                 "r"(x.z), "r"(x.w)
                 : "memory");
}

// y[i] = tile[i] for `n` elements; y is a multiple of 16 bytes if `packs`, the tile always.
template <typename T, uint32_t THREADS>
__device__ __forceinline__ void store_tile(T* y, const float* tile, uint32_t n, bool packs)
{
    if (!packs) {
#pragma unroll 1
        for (uint32_t i = threadIdx.x; i < n; i += THREADS) {
            y[i] = from_float<T>(tile[i]);
        }
        return;
    }
    constexpr uint32_t WIDTH = PACK<T>, QUADS = WIDTH / 4;
    static_assert(QUADS == 1 || QUADS == 2, "a pack is one or two quads of floats");
    // Of 8 lanes that each want 2 quads, 4 begin with their second: all 32 banks are busy at once.
    const uint32_t turned = QUADS == 2 ? threadIdx.x / 4 % 2 : 0;
#pragma unroll 1
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
        Pack<T> pack;
#pragma unroll
        for (uint32_t e = 0; e < WIDTH; ++e) {
            pack.element[e] = from_float<T>(x[e]);
        }
        store_16(y + i * WIDTH, *reinterpret_cast<const uint4*>(&pack));
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
#pragma unroll 1
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
    room.runs = reinterpret_cast<uint2*>(room.taps + quads(2 * s.size * s.taps));
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

extern "C" __global__ void __launch_bounds__(BLOCK, 4)
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

extern "C" __global__ void __launch_bounds__(BLOCK, 4)
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

extern "C" __global__ void __launch_bounds__(WIDE, 2)
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

extern "C" __global__ void __launch_bounds__(WIDE, 2)
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
