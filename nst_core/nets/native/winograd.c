/* 3 x 3 convolutions of stride 1 on float32 maps in channels_last, by Winograd's minimal filtering, for trainings.

   Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks": F(4 x 4, 3 x 3) takes 36 products where the
   direct sum takes 144. The input is cut into tiles of 6 x 6, four apart; tiles, kernels and results are transformed,
   and between the transforms there is one product of matrices for each of the 36 positions of a tile.

   Channels are multiples of 16. The results do not depend on the number of threads. All functions return whether memory
   was missing. */

#include <omp.h>

#include "tiles.h"

/* Kernels become G kernel G^T. */
static const float G[SIDE][3] = {{1 / 4.f, 0, 0},
                                 {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                                 {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                 {1 / 24.f, 1 / 12.f, 1 / 6.f},
                                 {1 / 24.f, -1 / 12.f, 1 / 6.f},
                                 {0, 0, 1}};

/* Kernels, c_in x 3 x 3 x c_out in memory, as `winograd` needs them: FREQUENCIES x c_out / COLUMNS x c_in x COLUMNS. */
int transform_kernels(const float *w, float *u, long c_in, long c_out, int threads) {
#pragma omp parallel for num_threads(threads)
    for (long i = 0; i < c_in; i++)
        for (long o = 0; o < c_out; o += N) {
            vec t[SIDE][3];
            for (int a = 0; a < SIDE; a++)
                for (int x = 0; x < 3; x++) {
                    const float *p = w + i * 9 * c_out + x * c_out + o;
                    t[a][x] = G[a][0] * load(p) + G[a][1] * load(p + 3 * c_out) + G[a][2] * load(p + 6 * c_out);
                }
            for (int a = 0; a < SIDE; a++)
                for (int b = 0; b < SIDE; b++) {
                    float *to = u + (((a * SIDE + b) * (c_out / COLUMNS) + o / COLUMNS) * c_in + i) * COLUMNS;
                    store(to + o % COLUMNS, t[a][0] * G[b][0] + t[a][1] * G[b][1] + t[a][2] * G[b][2]);
                }
        }
    return 0;
}

/* As many tiles at once as keep the kernels busy, if these are large, and the tiles in the cache; each thread has as
   many blocks of them. */
static long tiles_at_once(const Region *r, long c_in, long c_out, int threads) {
    long most = c_in * c_out <= 128 * 128 ? 48 : 96 * 1024 / (c_in + c_out), tiles = r->images * tiles_of(r);
    return ceil_div(tiles, ceil_div(ceil_div(tiles, most), threads) * threads);
}

/* y = x * kernels + bias, after which ReLU if `relu`. Values of x where `mask` is not positive count as 0, and
   those of y where `where` is not positive become 0. There are `pad` zeros around x. `u` is what `transform_kernels`
   makes, or integers with scales; see `convolve_3x3`. The threads are those of torch, which wait busily. */
int winograd(const float *x, const float *mask, const void *u, const float *columns, const float *bias,
             const float *where, float *y, long images, long height, long width, long c_in, long c_out, long pad,
             long relu, int threads) {
    Map map = {.x = x, .mask = mask, .zeros = 1, .height = height, .width = width, .channels = c_in};
    long high = height + 2 * pad - 2, wide = width + 2 * pad - 2;
    Region region = {1 - pad, 1 - pad, high, wide, wide, pad, 0, images, 0, 0, 0};
    region.tiles = tiles_at_once(&region, c_in, c_out, threads);
    After after = {bias, where, relu};
    Work work = {&map, &region, u, columns, y, 0, c_out, 0, 0, 0, &after};
    work = with_buffers(work, threads);
    if (!work.buffers) return 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long block = 0; block < blocks_of(&region); block++) run_block(&work, block, omp_get_thread_num());
    free(work.buffers);
    return 0;
}

/* d = A s: four values become six; the adjoint of `output_1d`. */
static inline void gradient_1d(const vec *s, int ss, vec *d, int ds) {
    vec a = s[0], b = s[ss], c = s[2 * ss], e = s[3 * ss];
    vec p = a + c, q = b + e, r = a + 4 * c, t = 2 * b + 8 * e;
    d[0] = a;
    d[ds] = p + q;
    d[2 * ds] = p - q;
    d[3 * ds] = r + t;
    d[4 * ds] = r - t;
    d[5 * ds] = e;
}

/* Of g, images x height x width x channels. Packed: COLUMNS channels of all `size` tiles, then the next. */
static void gradient_tile(const Region *r, const float *g, long channels, Place at, float *to, long stride, long size) {
    const float *from[STEP * STEP];
    for (int i = 0; i < STEP * STEP; i++) {
        long row = at.top + i / STEP, column = at.left + i % STEP;
        int inside = row < r->height && column < r->width;
        from[i] = inside ? g + ((at.image * r->height + row) * r->width + column) * channels : nothing;
    }
    for (long c = 0; c < channels; c += N) {
        vec d[STEP * STEP], t[SIDE * STEP], u[FREQUENCIES];
        for (int i = 0; i < STEP * STEP; i++) d[i] = load(from[i] + c);
        for (int i = 0; i < STEP; i++) gradient_1d(d + i, STEP, t + i, STEP);
        for (int i = 0; i < SIDE; i++) gradient_1d(t + i * STEP, 1, u + i * SIDE, 1);
        float *p = to + c / COLUMNS * COLUMNS * size + c % COLUMNS;
        for (int i = 0; i < FREQUENCIES; i++) store(p + i * stride, u[i]);
    }
}

/* The gradient of the kernels, c_in x 3 x 3 x c_out, from the padded input x and the gradient g of the result. */
int kernel_gradient(const float *x, const float *g, float *dw, long images, long height, long width, long c_in,
                    long c_out, int threads) {
    Map maps = {.x = x, .zeros = 1, .height = height, .width = width, .channels = c_in};
    Region r = {1, 1, height - 2, width - 2, width - 2, 0, 0, images, 0, 0, 0};
    long tiles = images * tiles_of(&r), size = ceil_div(tiles, ceil_div(tiles, 192));
    long rows = ceil_div(c_in, ROWS) * ROWS, columns_size = SIDE * SLOTS * (c_in + N);
    long v_stride = size * c_in + 16, d_stride = size * c_out + 16, u_stride = rows * c_out + 16;
    long all = FREQUENCIES * (v_stride + d_stride + u_stride) + threads * columns_size;
    float *v = aligned_alloc(64, ceil_div(all * sizeof(float), 64) * 64);
    if (!v) return 1;
    float *d = v + FREQUENCIES * v_stride, *u = d + FREQUENCIES * d_stride, *lines = u + FREQUENCIES * u_stride;
    memset(v, 0, FREQUENCIES * v_stride * sizeof(float));
    memset(u, 0, FREQUENCIES * u_stride * sizeof(float));
#pragma omp parallel num_threads(threads)
    for (long first = 0; first < tiles; first += size) {
        long count = lesser(size, tiles - first);
        float *own = lines + omp_get_thread_num() * columns_size;
        Buffers b = {v, 0, own, 0, 0, (vec *)(own + SIDE * SLOTS * c_in), size, v_stride, 0};
#pragma omp for schedule(static)
        for (long t = 0; t < count; t++) {
            Place at = place_of_tile(&r, first + t);
            Map map = map_of(&maps, at.image);
            input_tile(&map, &b, at.top, at.left, 0, 0, t, 0);
            gradient_tile(&r, g, c_out, at, d + t * COLUMNS, d_stride, size);
        }
#pragma omp for schedule(static)
        for (long f = 0; f < FREQUENCIES; f++)
            for (long i = 0; i < c_in; i += ROWS)
                for (long o = 0; o < c_out; o += COLUMNS)
                    outer(v + f * v_stride + i, c_in, d + f * d_stride + o * size, COLUMNS, count,
                          u + f * u_stride + i * c_out + o, c_out);
    }
#pragma omp parallel for num_threads(threads)
    for (long i = 0; i < c_in; i++)
        for (long o = 0; o < c_out; o += N)
            for (int y = 0; y < 3; y++)
                for (int z = 0; z < 3; z++) {
                    vec sum = {0};
                    for (int a = 0; a < SIDE; a++)
                        for (int b = 0; b < SIDE; b++)
                            sum += G[a][y] * G[b][z] * load(u + (a * SIDE + b) * u_stride + i * c_out + o);
                    store(dw + (i * 9 + y * 3 + z) * c_out + o, sum);
                }
    free(v);
    return 0;
}
