/* The last step of a picture: the output function of its network, the colours of a palette, and bytes; see
   `nets.palettes`. */

#include <math.h>
#include <string.h>

#include "parallel.h"
#include "vectors.h"

/* Of a palette: nodes along each axis, and the levels from one to the next; and the pixels that a thread takes at once,
   whose values fill vectors. */
enum { NODES = 9, STEP = 32, PIXELS = 1024 };

/* R, G, B and nothing. */
typedef float colour __attribute__((vector_size(16), aligned(16)));

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

/* What becomes of values: 127.5 + 150 tanh y, 127.5 + 255 y, or levels as they are. */
enum { TANH, LINEAR, LEVELS };

static inline vec level_of(vec y, long output) {
    vec value = output == TANH ? 127.5f + 150 * tanh_vec(y) : output == LINEAR ? 127.5f + 255 * y : y;
    value = larger(value, (vec){0});
    return chosen(value < 255, value, (vec){0} + 255);
}

static inline colour between(colour a, colour b, float share) { return a + (b - a) * share; }

/* Between the eight nodes around it, each colour is interpolated along all three axes. */
static inline colour mixed(const colour *table, const float *level) {
    float share[3];
    int node = 0;
    for (int i = 0; i < 3; i++) {
        int before = level[i] * (1.f / STEP);
        share[i] = level[i] * (1.f / STEP) - before;
        node = node * NODES + before;
    }
    colour along[2];
    for (int i = 0; i < 2; i++) {
        const colour *near = table + node + i * NODES * NODES, *next = near + NODES;
        along[i] = between(between(near[0], near[1], share[2]), between(next[0], next[1], share[2]), share[1]);
    }
    return between(along[0], along[1], share[0]);
}

static inline unsigned char byte_of(float level) { return lrintf(level < 0 ? 0 : level > 255 ? 255 : level); }

typedef struct {
    const float *y;
    const colour *table;
    unsigned char *picture;
    long pixels, output;
} Picture;

static void run_pixels(void *picture, long piece, int thread) {
    (void)thread;
    const Picture *p = picture;
    float levels[3 * PIXELS];
    long first = 3 * piece * PIXELS, count = 3 * p->pixels - first;
    if (count > 3 * PIXELS) count = 3 * PIXELS;
    memcpy(levels, p->y + first, count * sizeof(float));
    memset(levels + count, 0, (3 * PIXELS - count) * sizeof(float));
    for (long i = 0; i < count; i += N) store(levels + i, level_of(load(levels + i), p->output));
    for (long i = 0; p->table && i < count; i += 3) {
        colour of = mixed(p->table, levels + i);
        for (int c = 0; c < 3; c++) levels[i + c] = of[c];
    }
    for (long i = 0; i < count; i++) p->picture[first + i] = byte_of(levels[i]);
}

/* A picture of as many pixels from the values of a network, R, G, B, with an `output` function. A `table`, if there is
   one, has the colours of NODES x NODES x NODES levels: four numbers each, the last of which says nothing. */
int paint(const float *y, const float *table, unsigned char *picture, long pixels, long output, int threads) {
    Picture p = {y, (const colour *)table, picture, pixels, output};
    parallel(run_pixels, &p, (pixels + PIXELS - 1) / PIXELS, threads);
    return 0;
}
