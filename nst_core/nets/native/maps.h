/* Maps of a transformer network, in channels_last, and what normalises them.

   Values are float32 or float16. A map comes as the convolution before it has left it, with the scale and the shift of
   each channel that normalise it, and whether ReLU follows; a layer applies them to what it reads. Padding is by
   reflection, or by zeros for trainings, and a doubled map is read from the small one, so that neither is ever in
   memory. */

#pragma once

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

/* A map of height x width positions; `half`: its values are float16. `doubled`: each position of x counts as 2 x 2 of
   them. Values count as 0 where those of a `mask` are not positive. `zeros`: they are around the map, instead of
   reflections. */
typedef struct {
    const void *x;
    long half;
    const float *scale, *shift, *mask;
    long relu, doubled, zeros, height, width, channels;
} Map;

static inline vec load_value(const void *x, long half, long at) {
    return half ? load_half((const short *)x + at) : load((const float *)x + at);
}
static inline void store_value(void *y, long half, long at, vec value) {
    if (half)
        store_half((short *)y + at, value);
    else
        store((float *)y + at, value);
}

static inline long limited(long i, long size) { return i < 0 ? 0 : i < size ? i : size - 1; }

/* The index of what reflection puts at i. Beyond it, where nothing is used, any index. */
static inline long reflected(long i, long size) { return limited(i < 0 ? -i : i < size ? i : 2 * size - 2 - i, size); }

/* Where a row, or a position in a row, begins. */
static inline long row_of(const Map *m, long row) {
    return (reflected(row, m->height) >> m->doubled) * ((m->width + m->doubled) >> m->doubled) * m->channels;
}
static inline long column_of(const Map *m, long column) {
    return (reflected(column, m->width) >> m->doubled) * m->channels;
}

static inline vec normal(const Map *m, vec value, long c) {
    if (!m->scale) return value;
    value = value * load(m->scale + c) + load(m->shift + c);
    return m->relu ? larger(value, (vec){0}) : value;
}

/* What normalises the result of a convolution; see `transformer.InstanceNorm`. */
typedef struct {
    const float *weight, *bias;
    void *scale, *shift; /* the results, if they are wanted: floats; or mean and variance, doubles, without weights */
    double eps, rounding;
} Norm;

/* Sums over parts of a result, for each channel: of differences from a pivot, the first value of the part, and of their
   squares. A part is at most some hundred positions, so that float32 is enough; parts are put together in float64. */
typedef struct {
    float *of;
    long parts, channels;
} Moments;

enum {
    COUNT = 16, /* the place of the number of positions */
    MOST_CHANNELS = 4096
};

static inline Moments moments_of(const Norm *n, long parts, long channels) {
    Moments m = {n->scale ? malloc(parts * (COUNT + 3 * channels) * sizeof(float)) : 0, parts, channels};
    return m;
}

/* The pivots of a part; sums and sums of squares are as far behind as there are channels. */
static inline float *part_of(const Moments *m, long part) { return m->of + part * (COUNT + 3 * m->channels) + COUNT; }

typedef struct {
    vec pivot, sum, square;
} Running;

/* The sums for a channel and the N - 1 after it; `value` is the pivot of a part that begins. */
static inline Running running(const float *part, long channels, vec value, int begins) {
    Running r = {value, {0}, {0}};
    if (!begins) r.pivot = load(part), r.sum = load(part + channels), r.square = load(part + 2 * channels);
    return r;
}

static inline void add_value(Running *r, vec value) {
    vec d = value - r->pivot;
    r->sum += d;
    r->square += d * d;
}

static inline void keep(const Running *r, float *part, long channels) {
    store(part, r->pivot);
    store(part + channels, r->sum);
    store(part + 2 * channels, r->square);
}

/* The mean of each channel, and its variance. Parts may be empty. Chan, Golub, LeVeque, "Updating Formulae and a
   Pairwise Algorithm for Computing Sample Variances" (1979). */
static inline void put_together(const Moments *m, double *mean, double *variance) {
    double count = 0;
    for (long c = 0; c < m->channels; c++) mean[c] = variance[c] = 0;
    for (long i = 0; i < m->parts; i++) {
        const float *part = part_of(m, i), *sums = part + m->channels, *squares = sums + m->channels;
        double more = part[-COUNT], all = count + more;
        if (more == 0) continue;
        double one = 1 / more, share = more / all, both = count * share;
        for (long c = 0; c < m->channels; c++) {
            double sum = sums[c], apart = part[c] + sum * one - mean[c];
            variance[c] += squares[c] - sum * sum * one + apart * apart * both;
            mean[c] += apart * share;
        }
        count = all;
    }
    for (long c = 0; c < m->channels; c++) variance[c] /= count;
}

/* The results for each channel, unless they are `missing`, which is returned. */
static inline int finish(const Norm *n, Moments *m, int missing) {
    double mean[MOST_CHANNELS], variance[MOST_CHANNELS];
    if (m->of && !missing) put_together(m, mean, variance);
    for (long c = 0; m->of && !missing && c < m->channels; c++) {
        double one = variance[c] > n->rounding * mean[c] * mean[c] ? 1 / sqrt(variance[c] + n->eps) : 0;
        if (n->weight) {
            ((float *)n->scale)[c] = n->weight[c] * one;
            ((float *)n->shift)[c] = n->bias[c] - mean[c] * n->weight[c] * one;
        } else {
            ((double *)n->scale)[c] = mean[c];
            ((double *)n->shift)[c] = variance[c];
        }
    }
    free(m->of);
    return missing;
}
