/* Products of small blocks of matrices, which stay in registers. */

#include "vectors.h"

enum { ROWS = 6, COLUMNS = 16 };

static inline long ceil_div(long a, long b) { return (a + b - 1) / b; }

/* ROWS x COLUMNS of c = a b; a has rows of `lda` values, b has k rows of COLUMNS. */
static inline void product(const float *a, long lda, const float *b, long k, float *c, long ldc) {
    v8 s[ROWS][2] = {{{0}}};
    for (long i = 0; i < k; i++) {
        v8 b0 = load(b + i * COLUMNS), b1 = load(b + i * COLUMNS + 8);
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++) {
            float value = a[r * lda + i];
            s[r][0] += value * b0;
            s[r][1] += value * b1;
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
        store(c + r * ldc, s[r][0]);
        store(c + r * ldc + 8, s[r][1]);
    }
}

/* ROWS x COLUMNS of c += a^T b; a has k rows of `lda` values, b has k rows of `ldb`. */
static inline void outer(const float *a, long lda, const float *b, long ldb, long k, float *c, long ldc) {
    v8 s[ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
        s[r][0] = load(c + r * ldc);
        s[r][1] = load(c + r * ldc + 8);
    }
    for (long i = 0; i < k; i++) {
        v8 b0 = load(b + i * ldb), b1 = load(b + i * ldb + 8);
#pragma GCC unroll 6
        for (int r = 0; r < ROWS; r++) {
            float value = a[i * lda + r];
            s[r][0] += value * b0;
            s[r][1] += value * b1;
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
        store(c + r * ldc, s[r][0]);
        store(c + r * ldc + 8, s[r][1]);
    }
}
