/* The colours of finished pixels, by a table of colours. The results are those of `nets.palettes`, bit for bit. */

#include "parallel.h"

enum { NODES = 9, STEP = 32, BITS = 20, PIXELS = 4096 };

/* R, G, B and nothing. */
typedef int colour __attribute__((vector_size(16), aligned(16)));

struct picture {
    unsigned char *pixels;
    const colour *table;
    long count;
};

static inline unsigned char byte_of(int value) {
    value >>= BITS;
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

/* Between the eight nodes around it, each colour is interpolated along all three axes. */
static inline colour mixed(const colour *from, int r, int g, int b) {
    colour sum = {0};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            const colour *near = from + (i * NODES + j) * NODES;
            int share = (i ? r : STEP - r) * (j ? g : STEP - g);
            sum += near[0] * (share * (STEP - b)) + near[1] * (share * b);
        }
    return sum;
}

static void some_pixels(void *context, long item, int thread) {
    (void)thread;
    struct picture *of = context;
    long end = (item + 1) * PIXELS < of->count ? (item + 1) * PIXELS : of->count;
    for (unsigned char *p = of->pixels + 3 * item * PIXELS; p < of->pixels + 3 * end; p += 3) {
        const colour *from = of->table + ((p[0] / STEP) * NODES + p[1] / STEP) * NODES + p[2] / STEP;
        colour sum = mixed(from, p[0] % STEP, p[1] % STEP, p[2] % STEP) + (1 << (BITS - 1));
        p[0] = byte_of(sum[0]);
        p[1] = byte_of(sum[1]);
        p[2] = byte_of(sum[2]);
    }
}

/* `table` has NODES x NODES x NODES colours of four numbers, in 32nds of a level. */
int recolour(unsigned char *pixels, const int *table, long count, int threads) {
    struct picture of = {pixels, (const colour *)table, count};
    parallel(some_pixels, &of, (count + PIXELS - 1) / PIXELS, threads);
    return 0;
}
