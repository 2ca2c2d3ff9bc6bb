/* 3 x 3 and 9 x 9 convolutions of maps, for pictures; without gradients. The results do not depend on the number of
   threads.

   `norm_scale` and `norm_shift`, if there are any, become what normalises the result; see `Norm`. All functions return
   whether memory was missing. */

#include "tiles.h"

/* A 9 x 9 kernel is nine of 3 x 3, FAR rows and columns apart, with three channels of the picture each, which together
   have PARTS channels. */
enum { PARTS = 32, FAR = 3 };

typedef float quad __attribute__((vector_size(16), aligned(4)));

/* y, out_height x width x c_out, = the 3 x 3 convolution of a map, height x width, around its rows from `first` on,
   which is even if the map is doubled; `u` is what `transform_kernels` makes, or integers, FREQUENCIES x c_out /
   COLUMNS x c_in / 2 x COLUMNS x 2, whose scales are `columns`, FREQUENCIES x c_out. */
int convolve_3x3(const void *x, long half, const float *scale, const float *shift, long relu, long doubled,
                 const void *u, const float *columns, void *y, long half_y, long height, long width, long c_in,
                 long first, long out_height, long c_out, const float *weight, const float *bias, void *norm_scale,
                 void *norm_shift, double eps, double rounding, int threads) {
    Map map = {x, half, scale, shift, 0, relu, doubled, 0, height, width, c_in};
    Norm norm = {weight, bias, norm_scale, norm_shift, eps, rounding};
    long stream = streams(y, half_y, out_height * width * c_out);
    Region region = {first, 0, out_height, width, width, 1, stream, 1, TILES, half_y, 1};
    Moments moments = moments_of(&norm, blocks_of(&region), c_out);
    if (norm_scale && !moments.of) return 1;
    int missing = convolve_region(&map, &region, u, columns, y, c_out, &moments, threads);
    return finish(&norm, &moments, missing);
}

/* Rows and columns of the result for a photo that a thread makes at once, so that all it needs is in its cache; and how
   many blocks of tiles they are. */
enum { HIGH = 16, WIDE = 96, BLOCKS = HIGH / STEP * (WIDE / STEP) / TILES };

/* Rows and columns of a photo as floats: bytes become numbers between 0 and 1. */
static void read_photo(const Map *m, const unsigned char *bytes, long top, long left, long height, long width,
                       float *to) {
    int inside = left >= 0 && left + width <= m->width;
    for (long row = top; row < top + height; row++) {
        long from = row_of(m, row);
        for (long i = 0; i < (inside ? 1 : width); i++) {
            long at = from + column_of(m, left + i), count = inside ? 3 * width : 3;
            if (bytes)
                for (long k = 0; k < count; k++) to[k] = bytes[at + k] / 255.f;
            else
                memcpy(to, (const float *)m->x + at, count * sizeof(float));
            to += count;
        }
    }
}

/* A map with PARTS channels, height x width, from a part of a photo that has 2 FAR rows and columns more. */
static void gather(const float *photo, long height, long width, float *to) {
    long line = 3 * (width + 2 * FAR);
    for (long row = 0; row < height; row++)
        for (long i = 0; i < width; i++, to += PARTS) {
            const float *from = photo + row * line + 3 * i, *last = from + 2 * FAR * (line + 3);
#pragma GCC unroll 8
            for (int part = 0; part < 8; part++)
                *(quad *)(to + 3 * part) = *(const quad *)(from + part / 3 * FAR * line + part % 3 * FAR * 3);
            *(quad *)(to + 24) = (quad){last[0], last[1], last[2]};
            *(quad *)(to + 28) = (quad){0};
        }
}

/* The convolution of a photo, in rectangles. The buffers of a thread are `share` long. */
typedef struct {
    const Map *photo;
    const unsigned char *bytes;
    const void *u;
    const float *columns;
    void *y;
    float *buffers;
    long half_y, stream, above, beside, out_height, out_width, c_out, share;
    const Moments *moments;
} Photo;

/* What a thread's buffers hold: rows of a photo, and the map with PARTS channels; the values of tiles follow. */
enum { PHOTO_SIZE = (HIGH + 8) * (WIDE + 8) * 3, MAP_SIZE = (HIGH + 2) * (WIDE + 2) * PARTS };

static inline long across(const Photo *p) { return ceil_div(p->out_width, WIDE); }

static void photo_item(void *photo, long item, int thread) {
    const Photo *p = photo;
    long top = item / across(p) * HIGH, left = item % across(p) * WIDE;
    long height = lesser(p->out_height - top, HIGH), width = lesser(p->out_width - left, WIDE);
    float *pixels = p->buffers + thread * p->share, *parts = pixels + PHOTO_SIZE;
    read_photo(p->photo, p->bytes, top - p->above, left - p->beside, height + 8, width + 8, pixels);
    gather(pixels, height + 2, width + 2, parts);
    Map map = {.x = parts, .height = height + 2, .width = width + 2, .channels = PARTS};
    Region r = {1, 1, height, width, p->out_width, 0, p->stream, 1, TILES, p->half_y, 0};
    long first = (top * p->out_width + left) * p->c_out * (p->half_y ? sizeof(short) : sizeof(float));
    Work w = {&map,          &r,         p->u, p->columns, (char *)p->y + first, parts + MAP_SIZE, p->c_out, 0,
              item * BLOCKS, p->moments, 0};
    for (long block = 0; block < blocks_of(&r); block++) run_block(&w, block, 0);
    for (long block = blocks_of(&r); p->moments->of && block < BLOCKS; block++)
        part_of(p->moments, item * BLOCKS + block)[-COUNT] = 0;
}

/* y, out_height x out_width x c_out, = the 9 x 9 convolution of a photo, height x width x 3: floats, or `bytes`. What
   the first row and the first column read begins `above` rows and `beside` columns before the photo. The parts of the
   kernels read the photo at other places. */
int convolve_photo(const float *x, const unsigned char *bytes, const void *u, const float *columns, void *y,
                   long half_y, long height, long width, long above, long beside, long out_height, long out_width,
                   long c_out, const float *weight, const float *bias, void *norm_scale, void *norm_shift, double eps,
                   double rounding, int threads) {
    Map photo = {.x = x, .height = height, .width = width, .channels = 3};
    Norm norm = {weight, bias, norm_scale, norm_shift, eps, rounding};
    long items = ceil_div(out_height, HIGH) * ceil_div(out_width, WIDE);
    Moments moments = moments_of(&norm, items * BLOCKS, c_out);
    Map map = {.channels = PARTS};
    Region region = {.tiles = TILES};
    long share = ceil_div(PHOTO_SIZE + MAP_SIZE + share_of(&map, &region), 16) * 16;
    float *buffers = aligned_alloc(64, threads * share * sizeof(float));
    int missing = !buffers || (norm_scale && !moments.of);
    Photo p = {&photo, bytes,   u,          columns,
               y,      buffers, half_y,     streams(y, half_y, out_height * out_width * c_out),
               above,  beside,  out_height, out_width,
               c_out,  share,   &moments};
    if (!missing) parallel(photo_item, &p, items, threads);
    free(buffers);
    return finish(&norm, &moments, missing);
}

/* Rows and columns of a picture that a thread makes at once. It goes through DEEP rows of a stretch of columns, some
   rows at a time, so that of the map with PARTS channels only a few rows are needed. */
enum { DEEP = 128, LONG_LINE = 192, LONG = LONG_LINE - 2 * FAR, AT_ONCE = 2 * STEP };
/* Rows of the map with PARTS channels beside those that are made: with them, all are whole tiles. */
enum { MORE = 2 * STEP };

typedef struct {
    const Map *map;
    const void *u;
    const float *columns, *bias;
    float *y, *buffers;
    long above, beside, out_height, out_width, deep, share;
} Picture;

/* `count` pixels of a row: sums of the results of parts, in lines of so many positions. */
static void sum_row(const float *parts, long line, const float *bias, long count, float *to) {
    quad begin = {bias[0], bias[1], bias[2]};
    for (long i = 0; i < count; i++, parts += PARTS) {
        quad value = begin;
#pragma GCC unroll 9
        for (long part = 0; part < 9; part++)
            value += *(const quad *)(parts + (part / 3 * FAR * line + part % 3 * FAR) * PARTS + 3 * part);
        memcpy(to + 3 * i, &value, 3 * sizeof(float));
    }
}

static void picture_item(void *picture, long item, int thread) {
    const Picture *p = picture;
    long stretches = ceil_div(p->out_width, LONG);
    long top = item / stretches * p->deep, left = item % stretches * LONG;
    long bottom = lesser(top + p->deep, p->out_height), width = lesser(p->out_width - left, LONG);
    long line = width + 2 * FAR, known = 0; /* rows of parts that are there */
    float *parts = p->buffers + thread * p->share, *own = parts + (AT_ONCE + MORE) * LONG_LINE * PARTS;
    for (long row = top; row < bottom; row += AT_ONCE) {
        long rows = lesser(bottom - row, AT_ONCE);
        Region r = {
            1 - p->above + row + known, 1 - p->beside + left, rows + MORE - known, line, line, 4, 0, 1, TILES, 0, 0};
        Work w = {p->map, &r, p->u, p->columns, parts + known * line * PARTS, own, PARTS, 0, 0, 0, 0};
        for (long block = 0; block < blocks_of(&r); block++) run_block(&w, block, 0);
        for (long i = 0; i < rows; i++)
            sum_row(parts + i * line * PARTS, line, p->bias, width, p->y + ((row + i) * p->out_width + left) * 3);
        known = MORE;
        memmove(parts, parts + rows * line * PARTS, known * line * PARTS * sizeof(float));
    }
}

/* y, out_height x out_width x 3, = the 9 x 9 convolution of a map, height x width, after which a bias is added. What
   the first row and the first column read begins `above` rows and `beside` columns before the map. The results of the
   parts of the kernels are moved and added up. */
int convolve_to_picture(const void *x, long half, const float *scale, const float *shift, long relu, const void *u,
                        const float *columns, const float *bias, float *y, long height, long width, long c_in,
                        long above, long beside, long out_height, long out_width, int threads) {
    Map map = {x, half, scale, shift, 0, relu, 0, 0, height, width, c_in};
    Region region = {.tiles = TILES};
    /* Small pictures in more pieces, so that all threads have something to do. */
    long deep = lesser(ceil_div(out_height, 8 * AT_ONCE) * AT_ONCE, DEEP);
    long share = ceil_div((AT_ONCE + MORE) * LONG_LINE * PARTS + share_of(&map, &region), 16) * 16;
    float *buffers = aligned_alloc(64, threads * share * sizeof(float));
    Picture p = {&map, u, columns, bias, y, buffers, above, beside, out_height, out_width, deep, share};
    if (buffers) parallel(picture_item, &p, ceil_div(out_height, deep) * ceil_div(out_width, LONG), threads);
    free(buffers);
    return !buffers;
}
