/* Gram matrices of float32 maps in channels_last, and their gradients. Channels are a multiple of COLUMNS. */

#include <stdlib.h>
#include <string.h>

#include "matrices.h"

/* Of each image, which are added up in order, so that the sum is that of any number of threads. */
enum { BANDS = 8, PIECE = 72 };

/* The sum over positions of f f^T for the features f of each, images x channels x channels. Only one half of the
   matrix is computed. Returns whether memory was missing. */
int gram(const float *x, float *y, long images, long positions, long channels, int threads) {
    long blocks = ceil_div(channels, ROWS), size = blocks * ROWS * channels, bands = images * BANDS;
    long share = ceil_div(positions, BANDS);
    float *sums = aligned_alloc(64, bands * (size + PIECE * channels) * sizeof(float));
    if (!sums) return 1;
    memset(sums, 0, bands * size * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (long band = 0; band < bands; band++) {
        float *to = sums + band * size, *packed = sums + bands * size + band * PIECE * channels;
        long first = band % BANDS * share, last = first + share < positions ? first + share : positions;
        for (long start = first; start < last; start += PIECE) {
            const float *from = x + (band / BANDS * positions + start) * channels;
            long count = start + PIECE < last ? PIECE : last - start;
            for (long i = 0; i < count; i++)
                for (long c = 0; c < channels; c += N)
                    store(packed + (c / COLUMNS * PIECE + i) * COLUMNS + c % COLUMNS, load(from + i * channels + c));
            for (long block = 0; block < blocks; block++) {
                /* The last block overlaps the one before. */
                long row = block * ROWS < channels - ROWS ? block * ROWS : channels - ROWS;
                for (long o = row / COLUMNS * COLUMNS; o < channels; o += COLUMNS)
                    outer(from + row, channels, packed + o * PIECE, COLUMNS, count,
                          to + block * ROWS * channels + o, channels);
            }
        }
    }
#pragma omp parallel for num_threads(threads)
    for (long n = 0; n < images; n++)
        for (long i = 0; i < channels; i++)
            for (long j = i; j < channels; j++) {
                long at = i < (blocks - 1) * ROWS ? i : i - (channels - ROWS) + (blocks - 1) * ROWS;
                float sum = 0;
                for (long band = 0; band < BANDS; band++) sum += sums[(n * BANDS + band) * size + at * channels + j];
                y[(n * channels + i) * channels + j] = y[(n * channels + j) * channels + i] = sum;
            }
    free(sums);
    return 0;
}

/* dx = x m for the matrices m, images x channels x channels; there are at least ROWS positions. Returns whether memory
   was missing. */
int gram_gradient(const float *x, const float *m, float *dx, long images, long positions, long channels, int threads) {
    long size = channels * channels, blocks = ceil_div(positions, PIECE);
    float *packed = aligned_alloc(64, images * size * sizeof(float));
    if (!packed) return 1;
    for (long n = 0; n < images; n++)
        for (long i = 0; i < channels; i++)
            for (long c = 0; c < channels; c += N)
                store(packed + n * size + (c / COLUMNS * channels + i) * COLUMNS + c % COLUMNS,
                      load(m + n * size + i * channels + c));
#pragma omp parallel for num_threads(threads) collapse(2) schedule(dynamic)
    for (long n = 0; n < images; n++)
        for (long block = 0; block < blocks; block++) {
            long last = (block + 1) * PIECE < positions ? (block + 1) * PIECE : positions;
            for (long o = 0; o < channels; o += COLUMNS)
                for (long i = block * PIECE; i < last; i += ROWS) {
                    /* Rows at the end are computed twice. */
                    long row = (n * positions + (i < positions - ROWS ? i : positions - ROWS)) * channels;
                    product(x + row, channels, packed + n * size + o * channels, channels, dx + row + o, channels);
                }
        }
    free(packed);
    return 0;
}
