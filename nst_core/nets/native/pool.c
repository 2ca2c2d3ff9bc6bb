/* The largest of each 2 x 2 values of float32 maps in channels_last. Channels are a multiple of 16; an odd last row or
   column is left out. */

#include <string.h>

#include "matrices.h"

/* Where the four values lie that position i of a row of the result is made of. */
static inline void corners(const float *x, long row, long i, long width, long channels, const float **from) {
    for (long k = 0; k < 4; k++) from[k] = x + ((2 * row + k / 2) * width + 2 * i + k % 2) * channels;
}

/* As many bytes as a vector has numbers. */
typedef signed char bytes __attribute__((vector_size(N), aligned(1)));

/* Also writes which of the four values is the first of the largest ones, 0 to 3; 4 if the result is NaN. */
int max_pool(const float *x, float *y, signed char *which, long images, long height, long width, long channels,
             int threads) {
    long rows = height / 2, columns = width / 2;
#pragma omp parallel for collapse(2) num_threads(threads)
    for (long n = 0; n < images; n++)
        for (long row = 0; row < rows; row++)
            for (long i = 0; i < columns; i++) {
                const float *from[4];
                corners(x + n * height * width * channels, row, i, width, channels, from);
                long at = ((n * rows + row) * columns + i) * channels;
                for (long c = 0; c < channels; c += N) {
                    vec of[4];
                    for (long k = 0; k < 4; k++) of[k] = load(from[k] + c);
                    vec most = larger(larger(of[0], of[1]), larger(of[2], of[3]));
                    veci first = (veci){0} + 4;
                    for (int k = 3; k >= 0; k--) first = (veci)chosen(of[k] == most, (vec)((veci){0} + k), (vec)first);
                    store(y + at + c, most);
                    *(bytes *)(which + at + c) = __builtin_convertvector(first, bytes);
                }
            }
    return 0;
}

/* The gradient of x, given that of the result: the first of the largest values gets it. */
int max_pool_gradient(const float *g, const signed char *which, float *dx, long images, long height, long width,
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
                long at = ((n * rows + row) * columns + i) * channels;
                for (long c = 0; c < channels; c += N) {
                    veci first = __builtin_convertvector(*(const bytes *)(which + at + c), veci);
                    vec gradient = load(g + at + c);
                    for (int k = 0; k < 4; k++)
                        store(line + (k / 2 * width + 2 * i + k % 2) * channels + c,
                              chosen(first == k, gradient, (vec){0}));
                }
            }
            if (width % 2)
                for (long k = 1; k <= 2; k++) memset(line + (k * width - 1) * channels, 0, channels * sizeof(float));
        }
    return 0;
}
