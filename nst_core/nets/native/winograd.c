/* 3 x 3 convolutions of stride 1 on float32 maps in channels_last, by Winograd's minimal filtering.

   Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks": F(4 x 4, 3 x 3) takes 36 products where the
   direct sum takes 144. The input is cut into tiles of 6 x 6, four apart; tiles, kernels and results are transformed,
   and between the transforms there is one product of matrices for each of the 36 positions of a tile.

   Channels are multiples of 16. The results do not depend on the number of threads. */

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "winograd.h"

static const float zeros[4096]; /* as many as the most channels */
/* Kernels become G kernel G^T. */
static const float G[SIDE][3] = {{1 / 4.f, 0, 0}, {-1 / 6.f, -1 / 6.f, -1 / 6.f}, {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                                 {1 / 24.f, 1 / 12.f, 1 / 6.f}, {1 / 24.f, -1 / 12.f, 1 / 6.f}, {0, 0, 1}};

typedef struct {
    long images, height, width, c_in, c_out, pad, out_height, out_width, down, across, tiles;
} Shape;

static Shape shape_of(long images, long height, long width, long c_in, long c_out, long pad) {
    Shape s = {images, height, width, c_in, c_out, pad, height + 2 * pad - 2, width + 2 * pad - 2, 0, 0, 0};
    s.down = ceil_div(s.out_height, STEP);
    s.across = ceil_div(s.out_width, STEP);
    s.tiles = images * s.down * s.across;
    return s;
}

static void input_tile(const Shape *s, const float *x, const float *mask, long tile, float *v, long stride) {
    long image = tile / (s->down * s->across), top = tile / s->across % s->down * STEP - s->pad,
         left = tile % s->across * STEP - s->pad;
    const float *from[FREQUENCIES], *by[FREQUENCIES];
    for (int i = 0; i < FREQUENCIES; i++) {
        long row = top + i / SIDE, column = left + i % SIDE;
        int inside = row >= 0 && row < s->height && column >= 0 && column < s->width;
        long offset = ((image * s->height + row) * s->width + column) * s->c_in;
        from[i] = inside ? x + offset : zeros;
        by[i] = inside && mask ? mask + offset : zeros;
    }
    for (long c = 0; c < s->c_in; c += N) {
        vec d[FREQUENCIES], t[FREQUENCIES], u[FREQUENCIES];
        for (int i = 0; i < FREQUENCIES; i++) d[i] = load(from[i] + c);
        if (mask)
            for (int i = 0; i < FREQUENCIES; i++) d[i] = where_positive(load(by[i] + c), d[i]);
        for (int i = 0; i < SIDE; i++) input_1d(d + i, SIDE, t + i, SIDE);
        for (int i = 0; i < SIDE; i++) input_1d(t + i * SIDE, 1, u + i * SIDE, 1);
        for (int i = 0; i < FREQUENCIES; i++) store(v + i * stride + c, u[i]);
    }
}

static void output_tile(const Shape *s, const float *m, long stride, long tile, const float *bias, long relu,
                        const float *where, float *y) {
    long image = tile / (s->down * s->across), top = tile / s->across % s->down * STEP,
         left = tile % s->across * STEP;
    long rows = s->out_height - top < STEP ? s->out_height - top : STEP;
    long columns = s->out_width - left < STEP ? s->out_width - left : STEP;
    for (long c = 0; c < s->c_out; c += N) {
        vec d[FREQUENCIES], t[SIDE * STEP], u[STEP * STEP], b = bias ? load(bias + c) : (vec){0};
        for (int i = 0; i < FREQUENCIES; i++) d[i] = load(m + i * stride + c);
        for (int i = 0; i < SIDE; i++) output_1d(d + i, SIDE, t + i, SIDE);
        for (int i = 0; i < STEP; i++) output_1d(t + i * SIDE, 1, u + i * STEP, 1);
        for (long i = 0; i < rows; i++)
            for (long j = 0; j < columns; j++) {
                vec value = u[i * STEP + j] + b;
                long at = ((image * s->out_height + top + i) * s->out_width + left + j) * s->c_out + c;
                if (relu) value = where_positive(value, value);
                if (where) value = where_positive(load(where + at), value);
                store(y + at, value);
            }
    }
}

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

/* y = x * kernels + bias, after which ReLU if `relu`. Values of x where `mask` is not positive count as 0, and
   those of y where `where` is not positive become 0.
   Returns whether memory was missing. */
int winograd(const float *x, const float *mask, const float *u, const float *bias, const float *where, float *y,
             long images, long height, long width, long c_in, long c_out, long pad, long relu, int threads) {
    Shape s = shape_of(images, height, width, c_in, c_out, pad);
    /* As many tiles at once as keep the kernels busy, if these are large, and the tiles in the cache. */
    long most = c_in * c_out <= 128 * 128 ? 48 : 96 * 1024 / (c_in + c_out);
    long blocks = ceil_div(ceil_div(s.tiles, most), threads) * threads;
    long size = ceil_div(s.tiles, blocks), padded = ceil_div(size, ROWS) * ROWS;
    long v_stride = padded * c_in + 16, m_stride = padded * c_out + 16, v_size = FREQUENCIES * v_stride;
    long share = ceil_div(v_size + FREQUENCIES * m_stride, 16) * 16;
    float *buffers = aligned_alloc(64, threads * share * sizeof(float));
    if (!buffers) return 1;
#pragma omp parallel num_threads(threads)
    {
        float *v = buffers + omp_get_thread_num() * share, *m = v + v_size;
        memset(v, 0, v_size * sizeof(float)); /* the rows of no tile, if the tiles are no multiple of ROWS */
#pragma omp for schedule(dynamic)
        for (long block = 0; block < blocks; block++) {
            long first = block * size, count = first + size <= s.tiles ? size : s.tiles - first;
            for (long t = 0; t < count; t++) input_tile(&s, x, mask, first + t, v + t * c_in, v_stride);
            for (long f = 0; f < FREQUENCIES; f++)
                for (long o = 0; o < c_out; o += COLUMNS)
                    for (long t = 0; t < count; t += ROWS)
                        product(v + f * v_stride + t * c_in, c_in, u + (f * c_out + o) * c_in, c_in,
                                m + f * m_stride + t * c_out + o, c_out);
            for (long t = 0; t < count; t++) output_tile(&s, m + t * c_out, m_stride, first + t, bias, relu, where, y);
        }
    }
    free(buffers);
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

/* Packed: COLUMNS channels of all `size` tiles, then the next. */
static void gradient_tile(const Shape *s, const float *g, long tile, float *to, long stride, long size) {
    long image = tile / (s->down * s->across), top = tile / s->across % s->down * STEP,
         left = tile % s->across * STEP;
    const float *from[STEP * STEP];
    for (int i = 0; i < STEP * STEP; i++) {
        long row = top + i / STEP, column = left + i % STEP;
        int inside = row < s->out_height && column < s->out_width;
        from[i] = inside ? g + ((image * s->out_height + row) * s->out_width + column) * s->c_out : zeros;
    }
    for (long c = 0; c < s->c_out; c += N) {
        vec d[STEP * STEP], t[SIDE * STEP], u[FREQUENCIES];
        for (int i = 0; i < STEP * STEP; i++) d[i] = load(from[i] + c);
        for (int i = 0; i < STEP; i++) gradient_1d(d + i, STEP, t + i, STEP);
        for (int i = 0; i < SIDE; i++) gradient_1d(t + i * STEP, 1, u + i * SIDE, 1);
        float *p = to + c / COLUMNS * COLUMNS * size + c % COLUMNS;
        for (int i = 0; i < FREQUENCIES; i++) store(p + i * stride, u[i]);
    }
}

/* The gradient of the kernels, c_in x 3 x 3 x c_out, given the input x, with its padding, and the gradient g of the result. */
int kernel_gradient(const float *x, const float *g, float *dw, long images, long height, long width, long c_in,
                    long c_out, int threads) {
    Shape s = shape_of(images, height, width, c_in, c_out, 0);
    long size = ceil_div(s.tiles, ceil_div(s.tiles, 192)), rows = ceil_div(c_in, ROWS) * ROWS;
    long v_stride = size * c_in + 16, d_stride = size * c_out + 16, u_stride = rows * c_out + 16;
    float *v = aligned_alloc(64, ceil_div(FREQUENCIES * (v_stride + d_stride + u_stride) * sizeof(float), 64) * 64);
    if (!v) return 1;
    float *d = v + FREQUENCIES * v_stride, *u = d + FREQUENCIES * d_stride;
    memset(v, 0, FREQUENCIES * v_stride * sizeof(float));
    memset(u, 0, FREQUENCIES * u_stride * sizeof(float));
#pragma omp parallel num_threads(threads)
    for (long first = 0; first < s.tiles; first += size) {
        long count = first + size <= s.tiles ? size : s.tiles - first;
#pragma omp for schedule(static)
        for (long t = 0; t < count; t++) {
            input_tile(&s, x, 0, first + t, v + t * c_in, v_stride);
            gradient_tile(&s, g, first + t, d + t * COLUMNS, d_stride, size);
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
