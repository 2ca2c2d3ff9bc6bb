/* 3 x 3 convolutions of maps in a region, by Winograd's minimal filtering; see winograd.c. In floats, or in integers:
   each row of a tile has the scale that suits its largest value. */

#pragma once

#include <stdint.h>

#include "integers.h"
#include "maps.h"
#include "parallel.h"
#include "winograd.h"

/* Tiles that are computed at once: as many as keep the kernels busy, and their values in the cache. */
enum { TILES = 24 };

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

/* Which results of a convolution: out_height x out_width of them around the rows of the map from `top` on, and around
   its columns from `left` on. They need no rows and columns further outside of the map than `reach`. They go around the
   cache if they `stream`. */
typedef struct {
    long top, left, height, width, reach, stream;
} Region;

/* Whether a result with so many values should go around the cache, which would not keep it until it is read. */
static inline int streams(const float *y, long values) { return values > 4 << 20 && (uintptr_t)y % sizeof(vec) == 0; }

/* The transform of the columns of a tile: SIDE x SLOTS x channels, without the first two columns if they are `known`;
   and the largest sizes in each, SIDE x SLOTS, of every N-th channel. */
static void transform_columns(const Map *m, long top, long left, long reach, int known, float *to, vec *most) {
    int double_rows = twice(m, m->height), double_columns = twice(m, m->width);
    long rows[SIDE], line = SLOTS * m->channels;
    long bottom = m->height - 1 + reach, right = m->width - 1 + reach;
    for (long i = 0; i < SIDE; i++) rows[i] = row_of(m, lesser(top + i, bottom));
    for (long j = known ? 2 : 0; j < SIDE; j++) {
        if (double_columns && (j == 2 || j == 4)) continue;
        const float *x = m->x + column_of(m, lesser(left + j, right));
        long slot = slot_of(m, left + j);
        float *column = to + slot * m->channels;
        vec largest[SIDE] = {{0}};
        for (long c = 0; c < m->channels; c += N) {
            vec d[SIDE], t[SIDE];
            if (double_rows) {
#pragma GCC unroll 6
                for (int i = 0; i < SIDE; i += 1 + i % 2) d[i] = normal(m, load(x + rows[i] + c), c);
                twice_1d(d[0], d[1], d[3], d[5], t);
                t[2] = d[0];
            } else {
#pragma GCC unroll 6
                for (int i = 0; i < SIDE; i++) d[i] = normal(m, load(x + rows[i] + c), c);
                input_1d(d, 1, t, 1);
            }
#pragma GCC unroll 6
            for (int i = 0; i < SIDE; i++) {
                store(column + i * line + c, t[i]);
                largest[i] = larger(size_of(t[i]), largest[i]);
            }
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

/* COLUMNS channels of the result of a tile, which are added to the moments of its block. */
static void output_tile(const float *m, long stride, long top, long left, float *y, const Region *r, long c_out,
                        float *part, int begins) {
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
            float *to = y + ((top + i) * r->width + left) * c_out + c;
            output_1d(t + i * SIDE, 1, u, 1);
            if (i == 0 && part) sums = running(part + c, c_out, u[0], begins);
            if (i >= rows) continue;
#pragma GCC unroll 4
            for (int j = 0; j < STEP; j++) {
                if (j >= columns) continue;
                if (r->stream)
                    stream(to + j * c_out, u[j]);
                else
                    store(to + j * c_out, u[j]);
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

/* The tiles of a region, and the blocks of them, each of which is a part for the moments of the result. */
static inline long tiles_of(const Region *r) { return ceil_div(r->height, STEP) * ceil_div(r->width, STEP); }
static inline long blocks_of(const Region *r) { return ceil_div(tiles_of(r), TILES); }

/* One block of tiles. */
static void convolve_block(const Map *map, const Region *r, const Buffers *b, const void *u, const float *columns,
                           float *y, long c_out, long block, float *part) {
    long across = ceil_div(r->width, STEP), begin = block * TILES, tiles = tiles_of(r), positions = 0;
    long count = lesser(TILES, tiles - begin);
    for (long t = 0; t < count; t++) {
        long top = (begin + t) / across * STEP, left = (begin + t) % across * STEP;
        input_tile(map, b, r->top + top - 1, r->left + left - 1, r->reach, t > 0 && left > 0, t, columns != 0);
        positions += lesser(r->height - top, STEP) * lesser(r->width - left, STEP);
    }
    if (part) part[-COUNT] = positions;
    for (long o = 0; o < c_out; o += COLUMNS) {
        block_products(map, b, u, columns, o, c_out, count);
        for (long t = 0; t < count; t++) {
            long top = (begin + t) / across * STEP, left = (begin + t) % across * STEP;
            output_tile(b->m + t * COLUMNS, b->m_stride, top, left, y + o, r, c_out, part ? part + o : 0, t == 0);
        }
    }
    if (r->stream) __sync_synchronize(); /* other threads see what went around the cache */
}

/* A convolution of a region; the moments of its result are the parts from `first_part` on. */
typedef struct {
    const Map *map;
    const Region *region;
    const void *u;
    const float *columns;
    float *y, *buffers;
    long c_out, share, first_part;
    const Moments *moments;
} Work;

enum { PADDED = (TILES + ROWS - 1) / ROWS * ROWS };
static inline long v_stride_of(const Map *m) { return PADDED * m->channels + 16; }

static void run_block(void *work, long block, int thread) {
    const Work *w = work;
    long c_in = w->map->channels, v_stride = v_stride_of(w->map), m_stride = PADDED * COLUMNS + 16;
    float *v = w->buffers + thread * w->share, *m = v + FREQUENCIES * v_stride, *lines = m + FREQUENCIES * m_stride,
          *most = lines + SIDE * SLOTS * c_in, *scales = most + SIDE * SLOTS * N;
    Buffers b = {v, m, lines, scales, (short *)v, (vec *)most, PADDED, v_stride, m_stride};
    convolve_block(w->map, w->region, &b, w->u, w->columns, w->y, w->c_out, block,
                   w->moments && w->moments->of ? part_of(w->moments, w->first_part + block) : 0);
}

/* y = the 3 x 3 convolution of a map in a region. Returns whether memory was missing. */
static int convolve_region(const Map *map, const Region *r, const void *u, const float *columns, float *y, long c_out,
                           const Moments *moments, long first_part, int threads) {
    long m_stride = PADDED * COLUMNS + 16;
    long share = FREQUENCIES * (v_stride_of(map) + m_stride) + SIDE * (SLOTS * (map->channels + N) + PADDED);
    Work work = {map, r, u, columns, y, 0, c_out, ceil_div(share, 16) * 16, first_part, moments};
    long size = threads * work.share * sizeof(float);
    if (!(work.buffers = aligned_alloc(64, size))) return 1;
    memset(work.buffers, 0, size); /* what a block lacks: tiles, and products at frequencies */
    parallel(run_block, &work, blocks_of(r), threads);
    free(work.buffers);
    return 0;
}
