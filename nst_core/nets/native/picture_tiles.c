/* 3 x 3 and 9 x 9 convolutions of maps, for pictures; without gradients. The results do not depend on the number of
   threads.

   `norm_scale` and `norm_shift`, if there are any, become what normalises the result; see `Norm`. All functions return
   whether memory was missing. */

#include "tiles.h"

/* A 9 x 9 kernel is nine of 3 x 3, FAR rows and columns apart, with three channels of the picture each, which together
   have PARTS channels; and how much memory maps with so many take about. */
enum { PARTS = 32, FAR = 3, PARTS_BYTES = 4 << 20 };

typedef float quad __attribute__((vector_size(16), aligned(4)));

/* y, out_height x width x c_out, = the 3 x 3 convolution of a map, height x width, around its rows from `first` on,
   which is even if the map is doubled; `u` is what `transform_kernels` makes, or integers, FREQUENCIES x c_out /
   COLUMNS x c_in / 2 x COLUMNS x 2, whose scales are `columns`, FREQUENCIES x c_out. */
int convolve_3x3(const void *x, long half, const float *scale, const float *shift, long relu, long doubled,
                 const void *u, const float *columns, void *y, long half_y, long height, long width, long c_in,
                 long first, long out_height, long c_out, const float *weight, const float *bias, float *norm_scale,
                 float *norm_shift, double eps, double rounding, int threads) {
    Map map = {x, half, scale, shift, 0, relu, doubled, 0, height, width, c_in};
    Norm norm = {weight, bias, norm_scale, norm_shift, eps, rounding};
    long stream = streams(y, half_y, out_height * width * c_out);
    Region region = {first, 0, out_height, width, 1, stream, 1, TILES, half_y};
    Moments moments = moments_of(&norm, blocks_of(&region), c_out);
    if (norm_scale && !moments.of) return 1;
    int missing = convolve_region(&map, &region, u, columns, y, c_out, &moments, 0, threads);
    return finish(&norm, &moments, missing);
}

/* How many rows of a map with PARTS channels are computed at once. */
static long rows_at_once(long width, long out_height) {
    long rows = PARTS_BYTES / ((width + 2 * FAR) * PARTS * (long)sizeof(float)) / STEP * STEP;
    return lesser(rows < 8 * STEP ? 8 * STEP : rows, ceil_div(out_height, STEP) * STEP);
}

/* Rows of a photo, each as floats: bytes become numbers between 0 and 1. */
static void read_photo(const Map *m, const unsigned char *bytes, long row, float *to) {
    long from = row_of(m, row), count = m->width * m->channels;
    if (!bytes) {
        memcpy(to, (const float *)m->x + from, count * sizeof(float));
        return;
    }
    for (long i = 0; i < count; i++) to[i] = bytes[from + i] / 255.f;
}

/* A row of a map with PARTS channels: the pixels around `count` columns from `left` on, in three rows of a photo. */
static void gather(const Map *m, const float **rows, long left, long count, float *to) {
    for (long i = left; i < left + count; i++, to += PARTS) {
        if (i >= FAR && i + FAR + 1 < m->width) {
#pragma GCC unroll 8
            for (int part = 0; part < 8; part++)
                *(quad *)(to + 3 * part) = *(const quad *)(rows[part / 3] + 3 * (i + (part % 3 - 1) * FAR));
            memcpy(to + 24, rows[2] + 3 * (i + FAR), 3 * sizeof(float));
            continue;
        }
        for (int part = 0; part < 9; part++)
            memcpy(to + 3 * part, rows[part / 3] + column_of(m, i + (part % 3 - 1) * FAR), 3 * sizeof(float));
    }
}

/* A band of a photo, which is read from `first` on: as floats, and as a map with PARTS channels. */
typedef struct {
    const Map *photo;
    const unsigned char *bytes;
    long first, left, width;
    float *rows, *parts;
} Band;

static void read_item(void *band, long row, int thread) {
    (void)thread;
    const Band *b = band;
    read_photo(b->photo, b->bytes, b->first + row, b->rows + row * 3 * b->photo->width);
}

static void gather_item(void *band, long row, int thread) {
    (void)thread;
    const Band *b = band;
    const float *three[3];
    for (long i = 0; i < 3; i++) three[i] = b->rows + (row + i * FAR) * 3 * b->photo->width;
    gather(b->photo, three, b->left, b->width, b->parts + row * b->width * PARTS);
}

/* y, out_height x out_width x c_out, = the 9 x 9 convolution of a photo, height x width x 3: floats, or `bytes`. What
   the first row and the first column read begins `above` rows and `beside` columns before the photo. The parts of the
   kernels read the photo at other places. */
int convolve_photo(const float *x, const unsigned char *bytes, const void *u, const float *columns, void *y,
                   long half_y, long height, long width, long above, long beside, long out_height, long out_width, long c_out,
                   const float *weight, const float *bias, float *norm_scale, float *norm_shift, double eps,
                   double rounding, int threads) {
    Map photo = {.x = x, .height = height, .width = width, .channels = 3};
    Norm norm = {weight, bias, norm_scale, norm_shift, eps, rounding};
    long most = rows_at_once(out_width, out_height), line = (out_width + 2) * PARTS;
    long last = (out_height - 1) / most * most, stream = streams(y, half_y, out_height * out_width * c_out);
    long size = ceil_div((most + 2) * line, 16) * 16, row_size = 3 * width;
    Region region = {1, 1, most, out_width, 0, stream, 1, TILES, half_y}, rest = region;
    rest.height = out_height - last;
    Moments moments = moments_of(&norm, last / most * blocks_of(&region) + blocks_of(&rest), c_out);
    float *parts = aligned_alloc(64, ceil_div((size + (most + 8) * row_size) * sizeof(float), 64) * 64),
          *rows = parts + size;
    int missing = !parts || (norm_scale && !moments.of);
    if (!missing) memset(parts, 0, size * sizeof(float)); /* the channels after the nine parts */
    for (long first = 0; first < out_height && !missing; first += most) {
        const Region *r = first == last ? &rest : &region;
        Map map = {.x = parts, .height = r->height + 2, .width = out_width + 2, .channels = PARTS};
        Band band = {&photo, bytes, first - above, FAR - beside, out_width + 2, rows, parts};
        parallel(read_item, &band, r->height + 8, threads);
        parallel(gather_item, &band, r->height + 2, threads);
        char *to = (char *)y + first * out_width * c_out * (half_y ? sizeof(short) : sizeof(float));
        missing = convolve_region(&map, r, u, columns, to, c_out, &moments,
                                  first / most * blocks_of(&region), threads);
    }
    free(parts);
    return finish(&norm, &moments, missing);
}

/* Rows of a picture, which are sums of the results of parts. */
typedef struct {
    const float *parts, *bias;
    float *y;
    long width;
} Sum;

static void sum_item(void *sum, long row, int thread) {
    (void)thread;
    const Sum *s = sum;
    long line = (s->width + 2 * FAR) * PARTS;
    for (long i = 0; i < s->width; i++) {
        quad value = {s->bias[0], s->bias[1], s->bias[2]};
        for (long part = 0; part < 9; part++)
            value +=
                *(const quad *)(s->parts + (row + part / 3 * FAR) * line + (i + part % 3 * FAR) * PARTS + 3 * part);
        memcpy(s->y + (row * s->width + i) * 3, &value, 3 * sizeof(float));
    }
}

/* y, out_height x out_width x 3, = the 9 x 9 convolution of a map, height x width, after which a bias is added. What the
   first row and the first column read begins `above` rows and `beside` columns before the map. The results of the parts
   of the kernels are moved and added up. */
int convolve_to_picture(const void *x, long half, const float *scale, const float *shift, long relu, const void *u,
                        const float *columns, const float *bias, float *y, long height, long width, long c_in,
                        long above, long beside, long out_height, long out_width, int threads) {
    Map map = {x, half, scale, shift, 0, relu, 0, 0, height, width, c_in};
    long most = rows_at_once(out_width, out_height), line = (out_width + 2 * FAR) * PARTS;
    float *parts = aligned_alloc(64, ceil_div((most + 2 * FAR) * line * sizeof(float), 64) * 64);
    int missing = !parts;
    for (long first = 0; first < out_height && !missing; first += most) {
        long rows = lesser(most, out_height - first);
        Region region = {1 - above + first, 1 - beside, rows + 2 * FAR, out_width + 2 * FAR, 4, 0, 1, TILES, 0};
        missing = convolve_region(&map, &region, u, columns, parts, PARTS, 0, 0, threads);
        Sum sum = {parts, bias, y + first * out_width * 3, out_width};
        parallel(sum_item, &sum, missing ? 0 : rows, threads);
    }
    free(parts);
    return missing;
}
