/* 3 x 3 convolutions of maps in a region, by Winograd's minimal filtering; see winograd.c. In floats, or in integers:
   each row of a tile has the scale that suits its largest value. */

#pragma once

#include <stdint.h>

#include "integers.h"
#include "maps.h"
#include "parallel.h"
#include "winograd.h"

/* Tiles of a picture that are computed at once: as many as keep the kernels busy, and their values in the cache. */
enum { TILES = 24 };
/* Rows of a result whose moments are parts of their own: a strip that begins at a multiple of them has the same. */
enum { BAND = 32 };

static const float nothing[MOST_CHANNELS]; /* zeros */

/* Whether the rows, or the columns, 1 and 2 of each tile are the same, and 3 and 4 are: those of a doubled map are. At
   an odd end, where one is cut, they are not. */
static inline int twice(const Map *m, long size) { return m->doubled && size % 2 == 0; }

/* Whether the input of a tile has nothing at a frequency; see `twice_1d`. */
static inline int empty(const Map *m, int frequency) {
    return (frequency / SIDE == 2 && twice(m, m->height)) || (frequency % SIDE == 2 && twice(m, m->width));
}

/* `input_1d` of a, b, b, c, c, e; its third value is 0. */
static inline void twice_1d(vec a, vec b, vec c, vec e, vec *d) {
    vec f = c - b;
    d[0] = 4 * a - 5 * b + c;
    d[1] = 2 * c - 8 * b;
    d[3] = 3 * f;
    d[4] = -f;
    d[5] = 4 * b - 5 * c + e;
}

/* Where the columns of a tile lie after their transform: the next tile in the row needs the last two again. */
enum { SLOTS = 8 };
static inline long slot_of(const Map *m, long column) {
    return (twice(m, m->width) ? column >> 1 : column) & (SLOTS - 1);
}

/* Which results of a convolution: height x width of them around the rows of the map from `top` on, and around its
   columns from `left` on. Their rows are `line` positions apart. They need no rows and columns further outside of the
   map than `reach`. They go around the cache if they `stream`, and are float16 if they are `half`. The same of each of
   `images` maps, which lie one after the other; so many `tiles` of all of them at once, with `bands` only tiles of the
   same BAND rows. */
typedef struct {
    long top, left, height, width, line, reach, stream, images, tiles, half, bands;
} Region;

/* What becomes of results, if anything: a bias is added, ReLU follows, and they are 0 where `where` is not positive. */
typedef struct {
    const float *bias, *where;
    long relu;
} After;

/* Whether a result with so many values should go around the cache, which would not keep it until it is read. */
static inline int streams(const void *y, long half, long values) {
    return !half && values > 4 << 20 && (uintptr_t)y % sizeof(vec) == 0;
}

/* What a column of a tile reads: SIDE rows of x, or of its mask. */
static inline void rows_in_column(const void *x, long half, const long *rows, long column, const void **from) {
    long size = half ? sizeof(short) : sizeof(float);
    for (long i = 0; i < SIDE; i++)
        from[i] = rows[i] < 0 || column < 0 ? (const char *)nothing : (const char *)x + (rows[i] + column) * size;
}

static inline int outside(const Map *m, long i, long size) { return m->zeros && (i < 0 || i >= size); }

/* The transform of one column of a tile, SIDE x `line` values, and the largest sizes in each row. */
static inline __attribute__((always_inline)) void transform_column(const Map *m, const void **from, const void **by,
                                                                   int half, int doubled, int masked, float *to,
                                                                   long line, vec *largest) {
    for (long c = 0; c < m->channels; c += N) {
        vec d[SIDE], t[SIDE];
#pragma GCC unroll 6
        for (int i = 0; i < SIDE; i += 1 + (doubled && i % 2)) {
            d[i] = load_value(from[i], half, c);
            if (masked) d[i] = where_positive(load_value(by[i], 0, c), d[i]);
            d[i] = normal(m, d[i], c);
        }
        if (doubled) {
            twice_1d(d[0], d[1], d[3], d[5], t);
            t[2] = d[0];
        } else {
            input_1d(d, 1, t, 1);
        }
#pragma GCC unroll 6
        for (int i = 0; i < SIDE; i++) {
            store(to + i * line + c, t[i]);
            largest[i] = larger(size_of(t[i]), largest[i]);
        }
    }
}

/* The transform of the columns of a tile: SIDE x SLOTS x channels, without the first two columns if they are `known`;
   and the largest sizes in each, SIDE x SLOTS, of every N-th channel. */
static void transform_columns(const Map *m, long top, long left, long reach, int known, float *to, vec *most) {
    int double_columns = twice(m, m->width);
    long rows[SIDE], line = SLOTS * m->channels;
    long bottom = m->height - 1 + reach, right = m->width - 1 + reach;
    for (long i = 0; i < SIDE; i++) rows[i] = outside(m, top + i, m->height) ? -1 : row_of(m, lesser(top + i, bottom));
    for (long j = known ? 2 : 0; j < SIDE; j++) {
        if (double_columns && (j == 2 || j == 4)) continue;
        const void *from[SIDE], *by[SIDE];
        long column = outside(m, left + j, m->width) ? -1 : column_of(m, lesser(left + j, right));
        long slot = slot_of(m, left + j);
        float *into = to + slot * m->channels;
        vec largest[SIDE] = {{0}};
        rows_in_column(m->x, m->half, rows, column, from);
        if (m->mask) {
            rows_in_column(m->mask, 0, rows, column, by);
            transform_column(m, from, by, 0, 0, 1, into, line, largest);
        } else if (twice(m, m->height)) {
            if (m->half)
                transform_column(m, from, 0, 1, 1, 0, into, line, largest);
            else
                transform_column(m, from, 0, 0, 1, 0, into, line, largest);
        } else if (m->half) {
            transform_column(m, from, 0, 1, 0, 0, into, line, largest);
        } else {
            transform_column(m, from, 0, 0, 0, 0, into, line, largest);
        }
        for (int i = 0; i < SIDE; i++) most[i * SLOTS + slot] = largest[i];
    }
}

/* The transform of one row of a tile, SIDE x channels: floats, or integers after a multiplication by `scale`. */
static inline void transform_row(const Map *m, const float **x, float scale, float *floats, short *integers,
                                 long step) {
    int double_columns = twice(m, m->width);
    for (long c = 0; c < m->channels; c += N) {
        vec d[SIDE], t[SIDE];
        if (double_columns) {
            twice_1d(load(x[0] + c), load(x[1] + c), load(x[3] + c), load(x[5] + c), t);
        } else {
#pragma GCC unroll 6
            for (int j = 0; j < SIDE; j++) d[j] = load(x[j] + c);
            input_1d(d, 1, t, 1);
        }
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; j++) {
            if (double_columns && j == 2) continue;
            if (integers)
                store_rounded(integers + j * step + c, t[j] * scale);
            else
                store(floats + j * step + c, t[j]);
        }
    }
}

static inline vec finished(const After *a, vec value, long at, long c) {
    if (a->bias) value += load(a->bias + c);
    if (a->relu) value = where_positive(value, value);
    return a->where ? where_positive(load(a->where + at), value) : value;
}

/* COLUMNS channels of the result of a tile, from o on, which are added to the moments of its block. */
static void output_tile(const float *m, long stride, long top, long left, void *y, const Region *r, long o, long c_out,
                        const After *after, float *part, int begins) {
    long rows = lesser(r->height - top, STEP), columns = lesser(r->width - left, STEP);
    for (long c = 0; c < COLUMNS; c += N) {
        vec t[SIDE * STEP];
        Running sums;
#pragma GCC unroll 6
        for (int j = 0; j < SIDE; j++) {
            vec d[SIDE];
#pragma GCC unroll 6
            for (int i = 0; i < SIDE; i++) d[i] = load(m + (i * SIDE + j) * stride + c);
            output_1d(d, 1, t + j, SIDE);
        }
#pragma GCC unroll 4
        for (int i = 0; i < STEP; i++) {
            vec u[STEP];
            long at = ((top + i) * r->line + left) * c_out + o + c;
            output_1d(t + i * SIDE, 1, u, 1);
            if (i == 0 && part) sums = running(part + c, c_out, u[0], begins);
            if (i >= rows) continue;
#pragma GCC unroll 4
            for (int j = 0; j < STEP; j++) {
                if (j >= columns) continue;
                if (after) u[j] = finished(after, u[j], at + j * c_out, o + c);
                if (r->stream)
                    stream((float *)y + at + j * c_out, u[j]);
                else
                    store_value(y, r->half, at + j * c_out, u[j]);
                if (part) add_value(&sums, u[j]);
            }
        }
        if (part) keep(&sums, part + c, c_out);
    }
}

/* What a thread needs for a block of tiles. */
typedef struct {
    float *v, *m, *columns, *scales;
    short *integers;
    vec *most;
    long padded, v_stride, m_stride;
} Buffers;

/* The transform of tile t of a block: floats, or integers with a scale for each row of the tile. A value is not larger
   than GAIN times the largest that it is made of. */
static void input_tile(const Map *m, const Buffers *b, long top, long left, long reach, int known, long t,
                       int integers) {
    enum { GAIN = 10 };
    transform_columns(m, top, left, reach, known, b->columns, b->most);
    for (long i = 0; i < SIDE; i++) {
        if (empty(m, i * SIDE)) continue;
        long to = i * SIDE * b->v_stride + t * m->channels;
        const float *from[SIDE];
        vec most = {0};
        for (long j = 0; j < SIDE; j++) {
            long slot = slot_of(m, left + j);
            from[j] = b->columns + (i * SLOTS + slot) * m->channels;
            most = larger(most, b->most[i * SLOTS + slot]);
        }
        if (!integers) {
            transform_row(m, from, 1, b->v + to, 0, b->v_stride);
            continue;
        }
        float largest = GAIN * largest_of(most);
        b->scales[i * b->padded + t] = largest / LARGEST;
        transform_row(m, from, largest > 0 ? LARGEST / largest : 0, 0, b->integers + to, b->v_stride);
    }
}

/* The products of a block of tiles at all frequencies, for COLUMNS channels from o on. */
static void block_products(const Map *map, const Buffers *b, const void *u, const float *columns, long o, long c_out,
                           long count) {
    for (long f = 0; f < FREQUENCIES; f++) {
        if (empty(map, f)) continue;
        long c_in = map->channels, from = f * b->v_stride, kernels = (f * c_out + o) * c_in;
        for (long t = 0; t < count; t += ROWS) {
            float *to = b->m + f * b->m_stride + t * COLUMNS;
            if (columns)
                integer_product(b->integers + from + t * c_in, c_in, b->scales + f / SIDE * b->padded + t,
                                (const short *)u + kernels, columns + f * c_out + o, c_in / 2, to, COLUMNS);
            else
                product(b->v + from + t * c_in, c_in, (const float *)u + kernels, c_in, to, COLUMNS);
        }
    }
}

/* The tiles of an image in a region; and the blocks of all tiles, each of which has a part of the moments. */
static inline long tiles_of(const Region *r) { return ceil_div(r->height, STEP) * ceil_div(r->width, STEP); }
static inline long of_band(const Region *r) {
    return r->bands ? BAND / STEP * ceil_div(r->width, STEP) : r->images * tiles_of(r);
}
static inline long blocks_of(const Region *r) {
    long all = r->images * tiles_of(r), whole = all / of_band(r), rest = all % of_band(r);
    return whole * ceil_div(of_band(r), r->tiles) + ceil_div(rest, r->tiles);
}

/* The first tile of a block, and the one after its last. */
static inline long first_tile(const Region *r, long block) {
    long of_each = ceil_div(of_band(r), r->tiles);
    return block / of_each * of_band(r) + block % of_each * r->tiles;
}
static inline long end_of_tiles(const Region *r, long block) {
    return lesser(lesser(first_tile(r, block) + r->tiles, first_tile(r, block + 1)), r->images * tiles_of(r));
}

/* Where a tile lies: the image, and the first row and column of its results. */
typedef struct {
    long image, top, left;
} Place;

static inline Place place_of_tile(const Region *r, long tile) {
    long across = ceil_div(r->width, STEP), of_image = tile % tiles_of(r);
    return (Place){tile / tiles_of(r), of_image / across * STEP, of_image % across * STEP};
}

/* One of the maps that lie one after the other, which are float32 if there are several. */
static inline Map map_of(const Map *maps, long image) {
    Map m = *maps;
    long size = image * m.height * m.width * m.channels;
    if (image > 0) m.x = (const float *)m.x + size;
    if (image > 0 && m.mask) m.mask += size;
    return m;
}

/* A convolution of a region; the moments of its result are the parts from `first_part` on. */
typedef struct {
    const Map *map;
    const Region *region;
    const void *u;
    const float *columns;
    void *y;
    float *buffers;
    long c_out, share, first_part;
    const Moments *moments;
    const After *after;
} Work;

/* One block of tiles. */
static void convolve_block(const Work *w, const Buffers *b, long block, float *part) {
    const Region *r = w->region;
    long begin = first_tile(r, block), count = end_of_tiles(r, block) - begin, positions = 0;
    long c_in = w->map->channels, of_row = (w->columns ? sizeof(short) : sizeof(float)) * c_in;
    for (long t = 0; t < count; t++) {
        Place at = place_of_tile(r, begin + t);
        Map map = map_of(w->map, at.image);
        input_tile(&map, b, r->top + at.top - 1, r->left + at.left - 1, r->reach, t > 0 && at.left > 0, t,
                   w->columns != 0);
        positions += lesser(r->height - at.top, STEP) * lesser(r->width - at.left, STEP);
    }
    long more = ceil_div(count, ROWS) * ROWS - count; /* rows of no tile */
    for (long f = 0; f < FREQUENCIES && more; f++)
        memset((char *)b->v + f * b->v_stride * of_row / c_in + count * of_row, 0, more * of_row);
    if (part) part[-COUNT] = positions;
    for (long o = 0; o < w->c_out; o += COLUMNS) {
        block_products(w->map, b, w->u, w->columns, o, w->c_out, count);
        for (long t = 0; t < count; t++) {
            Place at = place_of_tile(r, begin + t);
            After after = w->after ? *w->after : (After){0};
            long image = at.image * r->height * r->line * w->c_out;
            if (after.where) after.where += image;
            output_tile(b->m + t * COLUMNS, b->m_stride, at.top, at.left, (float *)w->y + image, r, o, w->c_out,
                        w->after ? &after : 0, part ? part + o : 0, t == 0);
        }
    }
    if (r->stream) __sync_synchronize(); /* other threads see what went around the cache */
}

static inline long padded(const Region *r) { return ceil_div(r->tiles, ROWS) * ROWS; }
static inline long v_stride_of(const Map *m, const Region *r) { return padded(r) * m->channels + 16; }
static inline long m_stride_of(const Region *r) { return padded(r) * COLUMNS + 16; }

/* How many floats a thread needs in the loop `run_block`. */
static inline long share_of(const Map *m, const Region *r) {
    long tiles = FREQUENCIES * (v_stride_of(m, r) + m_stride_of(r));
    return ceil_div(tiles + SIDE * (SLOTS * (m->channels + N) + padded(r)), 16) * 16;
}

static void run_block(void *work, long block, int thread) {
    const Work *w = work;
    long c_in = w->map->channels, v_stride = v_stride_of(w->map, w->region), m_stride = m_stride_of(w->region);
    float *v = w->buffers + thread * w->share, *m = v + FREQUENCIES * v_stride, *lines = m + FREQUENCIES * m_stride,
          *most = lines + SIDE * SLOTS * c_in, *scales = most + SIDE * SLOTS * N;
    Buffers b = {v, m, lines, scales, (short *)v, (vec *)most, padded(w->region), v_stride, m_stride};
    convolve_block(w, &b, block, w->moments && w->moments->of ? part_of(w->moments, w->first_part + block) : 0);
}

/* The work with buffers for its threads; there are none if memory is missing. */
static inline Work with_buffers(Work w, int threads) {
    w.share = share_of(w.map, w.region);
    w.buffers = aligned_alloc(64, threads * w.share * sizeof(float));
    /* Doubled maps have no products at some frequencies. */
    for (int i = 0; w.buffers && w.map->doubled && i < threads; i++)
        memset(w.buffers + i * w.share + FREQUENCIES * v_stride_of(w.map, w.region), 0,
               FREQUENCIES * m_stride_of(w.region) * sizeof(float));
    return w;
}

/* y = the 3 x 3 convolution of a map in a region. Returns whether memory was missing. */
static inline int convolve_region(const Map *map, const Region *r, const void *u, const float *columns, void *y,
                                  long c_out, const Moments *moments, int threads) {
    Work work = {map, r, u, columns, y, 0, c_out, 0, 0, moments, 0};
    work = with_buffers(work, threads);
    if (!work.buffers) return 1;
    parallel(run_block, &work, blocks_of(r), threads);
    free(work.buffers);
    return 0;
}
