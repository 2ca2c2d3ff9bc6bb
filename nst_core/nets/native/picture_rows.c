/* 3 x 3 convolutions of maps with a stride of 2, for pictures. The results do not depend on the number of threads. */

#include "integers.h"
#include "maps.h"
#include "parallel.h"

enum { BAND = 16, TAPS = 3, STRIDE = 2 };

/* The rows of a map that are read now, after their normalisation: as floats, or as integers with a scale for each row.
 */
typedef struct {
    float *floats, scales[TAPS];
    short *integers;
    long size;
} Rows;

/* The place of a row, which may be the one above the map. */
static inline long place_of(long row) { return (row + TAPS) % TAPS; }

static void read_row(const Map *m, Rows *rows, long row, long count, int integers) {
    long place = place_of(row);
    float *to = rows->floats + (integers ? 0 : place * rows->size);
    for (long i = 0; i < count; i++) {
        long from = row_of(m, row) + column_of(m, i - 1);
        for (long c = 0; c < m->channels; c += N)
            store(to + i * m->channels + c, normal(m, load_value(m->x, m->half, from + c), c));
    }
    if (!integers) return;
    vec most = {0};
    for (long i = 0; i < rows->size; i += N) most = larger(size_of(load(to + i)), most);
    float largest = largest_of(most);
    rows->scales[place] = largest / LARGEST;
    round_line(to, largest > 0 ? LARGEST / largest : 0, rows->size, rows->integers + place * rows->size);
}

/* ROWS x COLUMNS of a result, the first of which reads the map at row `top` and `left` values further. */
static inline void products(const Rows *rows, long top, long left, long c_in, const void *w, const float *columns,
                            float *c) {
    long count = TAPS * c_in, step = STRIDE * c_in;
    if (columns) {
        const short *from[TAPS];
        float scales[TAPS];
        for (long i = 0; i < TAPS; i++) {
            from[i] = rows->integers + place_of(top + i) * rows->size + left;
            scales[i] = rows->scales[place_of(top + i)];
        }
        integer_products(from, scales, step, w, columns, count / 2, TAPS, c, COLUMNS);
        return;
    }
    Block s = {{{{0}}}};
    const float *b = w;
    for (long y = 0; y < TAPS; y++) {
        const float *a = rows->floats + place_of(top + y) * rows->size + left;
        for (long i = 0; i < count; i++, b += COLUMNS) add_product(&s, a + i, step, b);
    }
    store_block(&s, c, COLUMNS);
}

/* Adds results, each of COLUMNS channels, to their moments. */
static inline void count_in(float *part, long channels, const float *y, long results, int begins) {
    for (long c = 0; c < COLUMNS; c += N) {
        Running sums = running(part + c, channels, load(y + c), begins);
        for (long i = 0; i < results; i++) add_value(&sums, load(y + i * COLUMNS + c));
        keep(&sums, part + c, channels);
    }
}

/* One row of a result, which begins at `from` in y; `part` is its part of the moments, if there are any. */
static void convolve_row(const Rows *rows, long top, long c_in, const void *w, const float *columns, void *y, long half,
                         long from, long out_width, long c_out, float *part) {
    float made[ROWS * COLUMNS];
    for (long o = 0; o < c_out; o += COLUMNS)
        for (long first = 0; first < out_width; first += ROWS) {
            long results = lesser(out_width - first, ROWS), at = o * TAPS * TAPS * c_in;
            const void *kernels = columns ? (const void *)((const short *)w + at) : (const float *)w + at;
            products(rows, top, first * STRIDE * c_in, c_in, kernels, columns ? columns + o : 0, made);
            for (long i = 0; i < results; i++)
                for (long c = 0; c < COLUMNS; c += N)
                    store_value(y, half, from + (first + i) * c_out + o + c, load(made + i * COLUMNS + c));
            if (part) count_in(part + o, c_out, made, results, first == 0);
        }
    if (part) part[-COUNT] = out_width;
}

/* A convolution, and the buffers of its threads, each of which is `share` long. */
typedef struct {
    const Map *map;
    const void *w;
    const float *columns;
    void *y;
    float *buffers;
    long half, out_height, out_width, c_out, above, size, share;
    const Moments *moments;
} Work;

static void run_band(void *work, long band, int thread) {
    const Work *w = work;
    float *own = w->buffers + thread * w->share;
    Rows rows = {own, {0}, (short *)(own + TAPS * w->size), w->size};
    long next = band * BAND * STRIDE - w->above; /* the first row that is not read yet */
    for (long row = band * BAND; row < lesser((band + 1) * BAND, w->out_height); row++) {
        long top = row * STRIDE - w->above;
        for (; next < top + TAPS; next++) read_row(w->map, &rows, next, w->size / w->map->channels, w->columns != 0);
        convolve_row(&rows, top, w->map->channels, w->w, w->columns, w->y, w->half, row * w->out_width * w->c_out,
                     w->out_width, w->c_out, w->moments->of ? part_of(w->moments, row) : 0);
    }
}

/* y, out_height x out_width x c_out, = the convolution of a map, height x width x c_in, with kernels of
   c_out / COLUMNS x 3 x 3 x c_in x COLUMNS; or of integers, c_out / COLUMNS x 3 x 3 x c_in / 2 x COLUMNS x 2, whose
   scales are `columns`. What the first row reads begins `above` rows before the map. `norm_scale` and
   `norm_shift`, if there are any, become what normalises the result; see `Norm`. Returns whether memory was missing. */
int convolve_half(const void *x, long half, const float *scale, const float *shift, long relu, const void *w,
                  const float *columns, void *y, long half_y, long height, long width, long c_in, long out_height,
                  long out_width, long c_out, long above, const float *weight, const float *bias, void *norm_scale,
                  void *norm_shift, double eps, double rounding, int threads) {
    Map map = {x, half, scale, shift, 0, relu, 0, 0, height, width, c_in};
    Norm norm = {weight, bias, norm_scale, norm_shift, eps, rounding};
    long size = ((ceil_div(out_width, ROWS) * ROWS - 1) * STRIDE + TAPS) * c_in;
    long share = ceil_div(TAPS * size * 3 / 2, 16) * 16;
    float *buffers = aligned_alloc(64, threads * share * sizeof(float));
    Moments moments = moments_of(&norm, out_height, c_out);
    Work work = {&map, w, columns, y, buffers, half_y, out_height, out_width, c_out, above, size, share, &moments};
    int missing = !buffers || (norm_scale && !moments.of);
    if (!missing) parallel(run_band, &work, ceil_div(out_height, BAND), threads);
    free(buffers);
    return finish(&norm, &moments, missing);
}

/* Two maps that are added up, if there are two. */
typedef struct {
    Map x, y;
    void *sum;
    long half, positions;
} Addition;

/* Values that a thread takes at once. */
enum { PIECE = 4096 };

static void run_addition(void *addition, long piece, int thread) {
    (void)thread;
    const Addition *a = addition;
    long channels = a->x.channels, positions = PIECE / channels + 1;
    for (long i = piece * positions; i < lesser((piece + 1) * positions, a->positions); i++)
        for (long c = 0; c < channels; c += N) {
            long at = i * channels + c;
            vec value = normal(&a->x, load_value(a->x.x, a->x.half, at), c);
            if (a->y.x) value += normal(&a->y, load_value(a->y.x, a->y.half, at), c);
            store_value(a->sum, a->half, at, value);
        }
}

/* sum = x, or x + y, with their normalisation, ReLU after that of x if `relu`. */
int add(const void *x, long half, const float *x_scale, const float *x_shift, long relu, const void *y, long half_y,
        const float *y_scale, const float *y_shift, void *sum, long half_sum, long positions, long channels,
        int threads) {
    Map one = {x, half, x_scale, x_shift, 0, relu, 0, 0, 0, 0, channels};
    Map other = {y, half_y, y_scale, y_shift, 0, 0, 0, 0, 0, 0, channels};
    Addition addition = {one, other, sum, half_sum, positions};
    parallel(run_addition, &addition, ceil_div(positions, PIECE / channels + 1), threads);
    return 0;
}
