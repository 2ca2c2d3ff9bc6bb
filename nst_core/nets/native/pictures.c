/* Layers of a transformer network for one picture, float32 in channels_last, without gradients.

   A map comes as the convolution before it has left it, with the scale and the shift of each channel that normalise it,
   and whether ReLU follows; a layer applies them to what it reads. Padding is by reflection, and a doubled map is read
   from the small one, so that neither is ever in memory. The results do not depend on the number of threads. */

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "winograd.h"

enum { BAND = 16, RUN = 256, LANES = 32 };

/* A map of height x width positions; `doubled`: each position of x counts as 2 x 2 of them. */
typedef struct {
    const float *x, *scale, *shift;
    long relu, doubled, height, width, channels;
} Map;

static inline long limited(long i, long size) { return i < 0 ? 0 : i < size ? i : size - 1; }

/* The index of what reflection puts at i. Beyond it, where nothing is used, any index. */
static inline long reflected(long i, long size) { return limited(i < 0 ? -i : i < size ? i : 2 * size - 2 - i, size); }

static inline const float *at(const Map *m, long row, long column) {
    row = reflected(row, m->height) >> m->doubled, column = reflected(column, m->width) >> m->doubled;
    return m->x + (row * ((m->width + m->doubled) >> m->doubled) + column) * m->channels;
}

static inline vec normal(const Map *m, vec value, long c) {
    if (!m->scale) return value;
    value = value * load(m->scale + c) + load(m->shift + c);
    return m->relu ? where_positive(value, value) : value;
}

static void input_tile(const Map *m, long top, long left, float *v, long stride) {
    const float *from[FREQUENCIES];
    for (int i = 0; i < FREQUENCIES; i++) {
        /* No result needs what is further outside than one row or column; see `empty`. */
        long row = top + i / SIDE, column = left + i % SIDE;
        from[i] = at(m, row < m->height ? row : m->height, column < m->width ? column : m->width);
    }
    for (long c = 0; c < m->channels; c += N) {
        vec d[FREQUENCIES], t[FREQUENCIES], u[FREQUENCIES];
        for (int i = 0; i < FREQUENCIES; i++) d[i] = normal(m, load(from[i] + c), c);
        for (int i = 0; i < SIDE; i++) input_1d(d + i, SIDE, t + i, SIDE);
        for (int i = 0; i < SIDE; i++) input_1d(t + i * SIDE, 1, u + i * SIDE, 1);
        for (int i = 0; i < FREQUENCIES; i++) store(v + i * stride + c, u[i]);
    }
}

/* Whether the input of a tile has nothing at a frequency: in a doubled map, the rows 1 and 2 of a tile are the same, and
   so are 3 and 4, for which the third value of `input_1d` is 0. At an odd end, where one is cut, they are not. */
static inline int empty(const Map *m, int frequency) {
    return m->doubled && ((frequency / SIDE == 2 && m->height % 2 == 0) || (frequency % SIDE == 2 && m->width % 2 == 0));
}

static void output_tile(const float *m, long stride, long top, long left, float *y, long height, long width, long c_out) {
    long rows = height - top < STEP ? height - top : STEP, columns = width - left < STEP ? width - left : STEP;
    for (long c = 0; c < c_out; c += N) {
        vec d[FREQUENCIES], t[SIDE * STEP], u[STEP * STEP];
        for (int i = 0; i < FREQUENCIES; i++) d[i] = load(m + i * stride + c);
        for (int i = 0; i < SIDE; i++) output_1d(d + i, SIDE, t + i, SIDE);
        for (int i = 0; i < STEP; i++) output_1d(t + i * SIDE, 1, u + i * STEP, 1);
        for (long i = 0; i < rows; i++)
            for (long j = 0; j < columns; j++)
                store(y + ((top + i) * width + left + j) * c_out + c, u[i * STEP + j]);
    }
}

/* y, out_height x width, = the 3 x 3 convolution of a map, height x width, around its rows from `first` on; `u` is what
   `transform_kernels` makes. Returns whether memory was missing. */
int convolve_3x3(const float *x, const float *scale, const float *shift, long relu, long doubled, const float *u,
                 float *y, long height, long width, long c_in, long first, long out_height, long c_out, int threads) {
    Map map = {x, scale, shift, relu, doubled, height, width, c_in};
    long across = ceil_div(width, STEP), tiles = ceil_div(out_height, STEP) * across;
    /* As many tiles at once as keep the kernels busy, if these are large, and the tiles in the cache. */
    long most = c_in * c_out <= 128 * 128 ? 48 : 96 * 1024 / (c_in + c_out);
    long blocks = ceil_div(ceil_div(tiles, most), threads) * threads;
    long size = ceil_div(tiles, blocks), padded = ceil_div(size, ROWS) * ROWS;
    long v_stride = padded * c_in + 16, m_stride = padded * c_out + 16, v_size = FREQUENCIES * v_stride;
    long share = ceil_div(v_size + FREQUENCIES * m_stride, 16) * 16;
    float *buffers = aligned_alloc(64, threads * share * sizeof(float));
    if (!buffers) return 1;
#pragma omp parallel num_threads(threads)
    {
        float *v = buffers + omp_get_thread_num() * share, *m = v + v_size;
        memset(v, 0, share * sizeof(float)); /* the rows of no tile, and the frequencies without a product */
#pragma omp for schedule(dynamic)
        for (long block = 0; block < blocks; block++) {
            long begin = block * size, count = begin + size <= tiles ? size : tiles - begin;
            for (long t = 0; t < count; t++) {
                long top = (begin + t) / across * STEP, left = (begin + t) % across * STEP;
                input_tile(&map, first + top - 1, left - 1, v + t * c_in, v_stride);
            }
            for (long f = 0; f < FREQUENCIES; f++) {
                if (empty(&map, f)) continue;
                for (long o = 0; o < c_out; o += COLUMNS)
                    for (long t = 0; t < count; t += ROWS)
                        product(v + f * v_stride + t * c_in, c_in, u + (f * c_out + o) * c_in, c_in,
                                m + f * m_stride + t * c_out + o, c_out);
            }
            for (long t = 0; t < count; t++) {
                long top = (begin + t) / across * STEP, left = (begin + t) % across * STEP;
                output_tile(m + t * c_out, m_stride, top, left, y, out_height, width, c_out);
            }
        }
    }
    free(buffers);
    return 0;
}

/* One row of a map with its normalisation, from `first` on, `count` positions. */
static void read_row(const Map *m, long row, long first, long count, float *to) {
    for (long i = 0; i < count; i++, to += m->channels) {
        const float *from = at(m, row, first + i);
        if (m->channels % N)
            for (long c = 0; c < m->channels; c++) to[c] = from[c];
        else
            for (long c = 0; c < m->channels; c += N) store(to + c, normal(m, load(from + c), c));
    }
}

/* ROWS x COLUMNS of c = the sum of products over `side` rows of a map. */
static inline void products(const float **a, long lda, const float *b, long k, long side, float *c, long ldc) {
    Block s = {{{{0}}}};
    for (long y = 0; y < side; y++) {
        const float *row = a[y];
        for (long i = 0; i < k; i++) add_product(&s, row + i, lda, b + i * COLUMNS);
        b += k * COLUMNS;
    }
    store_block(&s, c, ldc);
}

/* y, out_height x out_width x c_out, = the convolution of a map, height x width x c_in, with kernels of
   c_out / COLUMNS x side x taps x c_in x COLUMNS. What a result reads begins `down` rows and `across` columns after
   that of the one before, and for the first one at row -above, column -beside. Without a normalisation c_in may be any
   number.
   Returns whether memory was missing. */
int convolve(const float *x, const float *scale, const float *shift, long relu, const float *w, float *y, long height,
             long width, long c_in, long out_height, long out_width, long c_out, long side, long taps, long down,
             long across, long above, long beside, int threads) {
    Map map = {x, scale, shift, relu, 0, height, width, c_in};
    long blocks = ceil_div(out_width, ROWS), k = taps * c_in, columns = (blocks * ROWS - 1) * across + taps;
    long line = ceil_div(columns * c_in, 16) * 16, share = side * line + ROWS * COLUMNS;
    float *buffers = aligned_alloc(64, ceil_div(threads * share * sizeof(float), 64) * 64);
    if (!buffers) return 1;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (long band = 0; band < ceil_div(out_height, BAND); band++) {
        float *lines = buffers + omp_get_thread_num() * share, *rest = lines + side * line;
        long next = band * BAND * down - above; /* the first row that is not read yet */
        for (long row = band * BAND; row < (band + 1) * BAND && row < out_height; row++) {
            long top = row * down - above;
            for (; next < top + side; next++) read_row(&map, next, -beside, columns, lines + (next + side) % side * line);
            const float *rows[16];
            for (long o = 0; o < c_out; o += COLUMNS)
                for (long t = 0; t < blocks; t++) {
                    long left = t * ROWS, count = out_width - left;
                    for (long i = 0; i < side; i++)
                        rows[i] = lines + (top + i + side) % side * line + left * across * c_in;
                    float *to = y + (row * out_width + left) * c_out + o;
                    if (count >= ROWS) {
                        products(rows, across * c_in, w + o * side * k, k, side, to, c_out);
                        continue;
                    }
                    products(rows, across * c_in, w + o * side * k, k, side, rest, COLUMNS);
                    for (long i = 0; i < count; i++) memcpy(to + i * c_out, rest + i * COLUMNS, COLUMNS * sizeof(float));
                }
        }
    }
    free(buffers);
    return 0;
}

/* The scale and the shift of each channel that normalise a map; see `transformer.InstanceNorm`. Sums are of differences
   from the first position, in float32 over a run of positions and in float64 over the runs.
   Channels are a multiple of LANES. Returns whether memory was missing. */
int affine(const float *x, const float *weight, const float *bias, float *scale, float *shift, long positions,
           long channels, double eps, double rounding, int threads) {
    long runs = ceil_div(positions, RUN);
    float *sums = malloc(runs * 2 * channels * sizeof(float));
    if (!sums) return 1;
#pragma omp parallel for num_threads(threads)
    for (long run = 0; run < runs; run++) {
        long first = run * RUN, end = first + RUN < positions ? first + RUN : positions;
        for (long c = 0; c < channels; c += LANES) {
            vec pivot[LANES / N], sum[LANES / N] = {{0}}, square[LANES / N] = {{0}};
            for (int k = 0; k < LANES / N; k++) pivot[k] = load(x + c + N * k);
            for (long i = first; i < end; i++)
#pragma GCC unroll 4
                for (int k = 0; k < LANES / N; k++) {
                    vec d = load(x + i * channels + c + N * k) - pivot[k];
                    sum[k] += d;
                    square[k] += d * d;
                }
            for (int k = 0; k < LANES / N; k++) {
                store(sums + 2 * run * channels + c + N * k, sum[k]);
                store(sums + (2 * run + 1) * channels + c + N * k, square[k]);
            }
        }
    }
    for (long c = 0; c < channels; c++) {
        double sum = 0, square = 0;
        for (long run = 0; run < runs; run++) {
            sum += sums[2 * run * channels + c];
            square += sums[(2 * run + 1) * channels + c];
        }
        double mean = x[c] + sum / positions, variance = square / positions - sum / positions * (sum / positions);
        double one = variance > rounding * mean * mean ? weight[c] / sqrt(variance + eps) : 0;
        scale[c] = one;
        shift[c] = bias[c] - mean * one;
    }
    free(sums);
    return 0;
}

/* sum = x + y, both with their normalisation, ReLU after that of x if `relu`. */
int add(const float *x, const float *x_scale, const float *x_shift, long relu, const float *y, const float *y_scale,
        const float *y_shift, float *sum, long positions, long channels, int threads) {
    Map a = {x, x_scale, x_shift, relu, 0, 0, 0, channels}, b = {y, y_scale, y_shift, 0, 0, 0, 0, channels};
#pragma omp parallel for num_threads(threads)
    for (long i = 0; i < positions; i++)
        for (long c = 0; c < channels; c += N)
            store(sum + i * channels + c,
                  normal(&a, load(x + i * channels + c), c) + normal(&b, load(y + i * channels + c), c));
    return 0;
}

/* tanh of values, within 1e-6: (1 - e) / (1 + e) with e = exp(-2 |x|), a power of 2 times a polynomial. */
static inline vec tanh_vec(vec x) {
    vec z = chosen(x < 0, x, -x) * 2.885390082f; /* 2 / ln 2 */
    z = chosen(z < -100, (vec){0} - 100, z);
    veci whole = __builtin_convertvector(z, veci);
    vec f = (z - __builtin_convertvector(whole, vec)) * 0.6931471806f; /* in (-ln 2, 0] */
    vec e = 1 + f * (1 + f * (1 / 2.f + f * (1 / 6.f + f * (1 / 24.f + f * (1 / 120.f + f * (1 / 720.f + f / 5040))))));
    e *= (vec)((whole + 127) << 23);
    vec t = (1 - e) / (1 + e);
    return chosen(x < 0, -t, t);
}

/* Bytes of a picture, height x width x 3, from groups of pixels, height x groups x COLUMNS values, after the bias and
   the output function: 127.5 + 255 y if `linear`, or else 127.5 + 150 tanh y. */
int paint(const float *y, const float *bias, unsigned char *picture, long height, long width, long groups, long linear,
          int threads) {
    enum { PIXELS = COLUMNS / 3 };
    float biases[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) biases[i] = bias[i % 3];
#pragma omp parallel for num_threads(threads)
    for (long row = 0; row < height; row++)
        for (long group = 0; group < groups; group++) {
            float bytes[COLUMNS];
            for (int i = 0; i < COLUMNS; i += N) {
                vec value = load(y + (row * groups + group) * COLUMNS + i) + load(biases + i);
                value = 127.5f + (linear ? 255 * value : 150 * tanh_vec(value));
                value = where_positive(value, value);
                store(bytes + i, chosen(value < 255, value, (vec){0} + 255));
            }
            long left = group * PIXELS, count = width - left < PIXELS ? width - left : PIXELS;
            unsigned char *to = picture + (row * width + left) * 3;
            for (long i = 0; i < 3 * count; i++) to[i] = lrintf(bytes[i]);
        }
    return 0;
}
