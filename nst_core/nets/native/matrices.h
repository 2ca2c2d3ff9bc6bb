/* Products of small blocks of matrices, which stay in registers: about as many as the processor has. */

#pragma once

#include "vectors.h"

enum { COLUMNS = 16, VECTORS = COLUMNS / N, ROWS = 12 / VECTORS };

static inline long ceil_div(long a, long b) { return (a + b - 1) / b; }
static inline long lesser(long a, long b) { return a < b ? a : b; }

typedef struct {
    vec of[ROWS][VECTORS];
} Block;

/* s += the product of a column, whose values are `step` apart, and a row. */
static inline void add_product(Block *s, const float *column, long step, const float *row) {
    vec b[VECTORS];
#pragma GCC unroll 2
    for (int k = 0; k < VECTORS; k++) b[k] = load(row + k * N);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int k = 0; k < VECTORS; k++) s->of[r][k] += column[r * step] * b[k];
}

static inline void store_block(const Block *s, float *c, long ldc) {
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int k = 0; k < VECTORS; k++) store(c + r * ldc + k * N, s->of[r][k]);
}

/* ROWS x COLUMNS of c = a b; a has rows of `lda` values, b has k rows of COLUMNS. */
static inline void product(const float *a, long lda, const float *b, long k, float *c, long ldc) {
    Block s = {{{{0}}}};
    for (long i = 0; i < k; i++) add_product(&s, a + i, lda, b + i * COLUMNS);
    store_block(&s, c, ldc);
}

/* ROWS x COLUMNS of c += a^T b; a has k rows of `lda` values, b has k rows of `ldb`. */
static inline void outer(const float *a, long lda, const float *b, long ldb, long k, float *c, long ldc) {
    Block s;
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) s.of[r][j] = load(c + r * ldc + j * N);
    for (long i = 0; i < k; i++) add_product(&s, a + i * lda, 1, b + i * ldb);
    store_block(&s, c, ldc);
}
