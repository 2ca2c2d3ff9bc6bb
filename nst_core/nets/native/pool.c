/* The largest of each 2 x 2 values of float32 maps in channels_last. Channels are a multiple of 16; an odd last row or
   column is left out. */

#include <string.h>

#include "matrices.h"

/* Where the four values lie that position i of a row of the result is made of. */
static inline void corners(const float *x, long row, long i, long width, long channels, const float **from) {
    for (long k = 0; k < 4; k++) from[k] = x + ((2 * row + k / 2) * width + 2 * i + k % 2) * channels;
}

int max_pool(const float *x, float *y, long images, long height, long width, long channels, int threads) {
    long rows = height / 2, columns = width / 2;
#pragma omp parallel for collapse(2) num_threads(threads)
    for (long n = 0; n < images; n++)
        for (long row = 0; row < rows; row++)
            for (long i = 0; i < columns; i++) {
                const float *from[4];
                corners(x + n * height * width * channels, row, i, width, channels, from);
                float *to = y + ((n * rows + row) * columns + i) * channels;
                for (long c = 0; c < channels; c += N)
                    store(to + c, larger(larger(load(from[0] + c), load(from[1] + c)),
                                         larger(load(from[2] + c), load(from[3] + c))));
            }
    return 0;
}

/* The gradient of x, given that of the result y: the first of the largest values gets it. */
int max_pool_gradient(const float *g, const float *x, const float *y, float *dx, long images, long height, long width,
                      long channels, int threads) {
    long rows = height / 2, columns = width / 2, size = height * width * channels;
#pragma omp parallel for collapse(2) num_threads(threads)
    for (long n = 0; n < images; n++)
        for (long row = 0; row < ceil_div(height, 2); row++) {
            float *line = dx + n * size + 2 * row * width * channels;
            if (row == rows) {
                memset(line, 0, width * channels * sizeof(float));
                continue;
            }
            for (long i = 0; i < columns; i++) {
                const float *from[4];
                long at = ((n * rows + row) * columns + i) * channels;
                corners(x + n * size, row, i, width, channels, from);
                for (long c = 0; c < channels; c += N) {
                    vec most = load(y + at + c), rest = load(g + at + c);
                    for (long k = 0; k < 4; k++) {
                        vec own = chosen(load(from[k] + c) == most, rest, (vec){0});
                        rest = (vec)((veci)rest & ~(veci)own);
                        store(dx + (from[k] - x) + c, own);
                    }
                }
            }
            if (width % 2)
                for (long k = 1; k <= 2; k++) memset(line + (k * width - 1) * channels, 0, channels * sizeof(float));
        }
    return 0;
}
