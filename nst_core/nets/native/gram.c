/* Gram matrices of float32 maps in channels_last, and their gradients. Channels are a multiple of COLUMNS. */

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "integers.h"

/* Of each image, which are added up in order, so that the sum is that of any number of threads. */
enum { BANDS = 8, PIECE = 72 };

/* Of the integers in a piece: sums of PIECE products of two of them have 32 bits. */
static const float LARGEST_IN_PIECE = 5400;

/* A piece of the positions, in panels of COLUMNS channels: floats, or pairs of integers for two positions, which are
   also in lines of all channels, with a scale for each channel. */
typedef struct {
    float *panels, *scales;
    int *lines;
} Piece;

static void pack(const float *from, long count, long channels, float *panels) {
    for (long i = 0; i < count; i++)
        for (long c = 0; c < channels; c += N)
            store(panels + (c / COLUMNS * PIECE + i) * COLUMNS + c % COLUMNS, load(from + i * channels + c));
}

static void pack_integers(const float *from, long count, long channels, const Piece *piece) {
    for (long c = 0; c < channels; c += N) {
        vec most = {0};
        for (long i = 0; i < count; i++) most = larger(size_of(load(from + i * channels + c)), most);
        store(piece->scales + c, most / LARGEST_IN_PIECE);
        vec factor = LARGEST_IN_PIECE / larger(most, most * 0 + 1e-30f);
        int *panel = (int *)piece->panels + c / COLUMNS * PIECE * COLUMNS + c % COLUMNS;
        for (long i = 0; i < count; i += 2) {
            vec second = i + 1 < count ? load(from + (i + 1) * channels + c) : (vec){0};
            veci both = rounded_pairs(load(from + i * channels + c) * factor, second * factor);
            *(veci *)(panel + i / 2 * COLUMNS) = both;
            *(veci *)(piece->lines + i / 2 * channels + c) = both;
        }
    }
}

/* ROWS x COLUMNS of c += a^T b for pairs of integers with scales; a has k rows of `lda` pairs, b of COLUMNS. */
__attribute__((noinline)) static void outer_integers(const int *a, long lda, const float *rows, const int *b, long k,
                                                     const float *columns, float *c, long ldc) {
    Sums s = {{{{0}}}};
    for (long i = 0; i < k; i++) {
        pairs w[VECTORS];
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) w[j] = *(const pairs *)(b + i * COLUMNS + j * N);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int j = 0; j < VECTORS; j++) s.of[r][j] = add_pairs(s.of[r][j], (veci){0} + a[i * lda + r], w[j]);
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) {
            float *to = c + r * ldc + j * N;
            vec sum = __builtin_convertvector(s.of[r][j], vec);
            store(to, load(to) + sum * (rows[r] * load(columns + j * N)));
        }
}

/* The sum over positions of f f^T for the features f of each, images x channels x channels; by products of integers or
   of floats. Only one half of the matrix is computed. Returns whether memory was missing. */
int gram(const float *x, float *y, long images, long positions, long channels, long integers, int threads) {
    long blocks = ceil_div(channels, ROWS), size = blocks * ROWS * channels, bands = images * BANDS;
    long share = ceil_div(positions, BANDS), of_piece = (PIECE + PIECE / 2 + 1) * channels;
    float *sums = aligned_alloc(64, bands * (size + of_piece) * sizeof(float));
    if (!sums) return 1;
    memset(sums, 0, bands * size * sizeof(float));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long band = 0; band < bands; band++) {
        float *to = sums + band * size, *panels = sums + bands * size + band * of_piece;
        Piece piece = {panels, panels + PIECE * channels, (int *)(panels + (PIECE + 1) * channels)};
        long first = band % BANDS * share, last = first + share < positions ? first + share : positions;
        for (long start = first; start < last; start += PIECE) {
            const float *from = x + (band / BANDS * positions + start) * channels;
            long count = start + PIECE < last ? PIECE : last - start;
            if (integers)
                pack_integers(from, count, channels, &piece);
            else
                pack(from, count, channels, panels);
            for (long block = 0; block < blocks; block++) {
                /* The last block overlaps the one before. */
                long row = block * ROWS < channels - ROWS ? block * ROWS : channels - ROWS;
                for (long o = row / COLUMNS * COLUMNS; o < channels; o += COLUMNS) {
                    float *sum = to + block * ROWS * channels + o;
                    if (integers)
                        outer_integers(piece.lines + row, channels, piece.scales + row,
                                       (const int *)panels + o * PIECE, ceil_div(count, 2), piece.scales + o, sum,
                                       channels);
                    else
                        outer(from + row, channels, panels + o * PIECE, COLUMNS, count, sum, channels);
                }
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

/* Rounds positions to integers with a scale each. */
static void round_positions(const float *x, long positions, long channels, short *to, float *scales) {
    for (long i = 0; i < positions; i++, x += channels, to += channels) {
        vec most = {0};
        for (long c = 0; c < channels; c += N) most = larger(size_of(load(x + c)), most);
        float largest = largest_of(most);
        scales[i] = largest / LARGEST;
        round_line(x, largest > 0 ? LARGEST / largest : 0, channels, to);
    }
}

/* dx = x m for the matrices m, images x channels x channels, in blocks of COLUMNS columns: floats, or integers whose
   scales are `columns`. There are at least ROWS positions. Returns whether memory was missing. */
int gram_gradient(const float *x, const void *m, const float *columns, float *dx, long images, long positions,
                  long channels, int threads) {
    long size = channels * channels, blocks = ceil_div(positions, PIECE), share = PIECE * (channels / 2 + 1);
    float *buffers = aligned_alloc(64, ceil_div(threads * share * sizeof(float), 64) * 64);
    if (!buffers) return 1;
#pragma omp parallel for num_threads(threads) collapse(2) schedule(static)
    for (long n = 0; n < images; n++)
        for (long block = 0; block < blocks; block++) {
            /* Positions at the end are computed twice. */
            long first = lesser(block * PIECE, positions - ROWS), count = lesser(PIECE, positions - first);
            const float *from = x + (n * positions + first) * channels;
            float *to = dx + (n * positions + first) * channels, *scales = buffers + omp_get_thread_num() * share;
            short *integers = (short *)(scales + PIECE);
            if (columns) round_positions(from, count, channels, integers, scales);
            for (long o = 0; o < channels; o += COLUMNS)
                for (long i = 0; i < count; i += ROWS) {
                    long row = lesser(i, count - ROWS), at = row * channels, of_m = n * size + o * channels;
                    if (columns)
                        integer_product(integers + at, channels, scales + row, (const short *)m + of_m,
                                        columns + n * channels + o, channels / 2, to + at + o, channels);
                    else
                        product(from + at, channels, (const float *)m + of_m, channels, to + at + o, channels);
                }
        }
    free(buffers);
    return 0;
}
