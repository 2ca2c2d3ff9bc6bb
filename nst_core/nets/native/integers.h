/* Products of small blocks of matrices of 16-bit integers, two columns of which are multiplied at once.

   A row of values is rounded to integers with the scale that suits its largest value; columns of weights have scales of
   their own. Sums are exact: weights are made so that no sum leaves 32 bits; see integers.c. */

#pragma once

#include "matrices.h"

enum { LARGEST = 16383 }; /* of the integers that stand for values */

typedef short pairs __attribute__((vector_size(4 * N), aligned(2)));

/* s += the products of pairs, added up: `value` holds the same pair N times. */
static inline veci add_pairs(veci s, veci value, pairs b) {
#if defined __AVX512VNNI__ && N == 16
    return (veci)_mm512_dpwssd_epi32((__m512i)s, (__m512i)value, (__m512i)b);
#elif defined __AVX512BW__ && N == 16
    return s + (veci)_mm512_madd_epi16((__m512i)value, (__m512i)b);
#elif defined __AVX2__ && N == 8
    return s + (veci)_mm256_madd_epi16((__m256i)value, (__m256i)b);
#else
    return s + (value << 16 >> 16) * ((veci)b << 16 >> 16) + (value >> 16) * ((veci)b >> 16);
#endif
}

/* Stores values, at most LARGEST in size, as the nearest integers: the float that is added leaves them in the last
 * bits. */
static inline void store_rounded(short *p, vec v) {
    *(halves *)p = __builtin_convertvector((veci)(v + 12582912.f), halves);
}

/* Pairs of the nearest integers, of 16 bits each. */
static inline veci rounded_pairs(vec a, vec b) {
    return ((veci)(a + 12582912.f) & 0xffff) | (veci)(b + 12582912.f) << 16;
}

static inline vec size_of(vec v) { return (vec)((veci)v & 0x7fffffff); }

static inline float largest_of(vec v) {
#if defined __AVX512F__ && N == 16
    return _mm512_reduce_max_ps((__m512)v);
#else
    float most = 0;
    for (int i = 0; i < N; i++) most = v[i] > most ? v[i] : most;
    return most;
#endif
}

typedef struct {
    veci of[ROWS][VECTORS];
} Sums;

/* s += the products of ROWS rows of `count` pairs, which are `step` values apart, and as many rows of 2 x COLUMNS. */
static inline void add_integers(Sums *s, const short *a, long step, const short *b, long count) {
    for (const short *end = a + 2 * count; a < end; a += 2, b += 2 * COLUMNS) {
        pairs w[VECTORS];
#pragma GCC unroll 2
        for (int k = 0; k < VECTORS; k++) w[k] = *(const pairs *)(b + k * 2 * N);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            int pair;
            __builtin_memcpy(&pair, a + r * step, sizeof pair);
#pragma GCC unroll 2
            for (int k = 0; k < VECTORS; k++) s->of[r][k] = add_pairs(s->of[r][k], (veci){0} + pair, w[k]);
        }
    }
}

/* ROWS x COLUMNS of c = a b with the scales of the rows and of the columns. A function of its own, since the compiler
   keeps fewer addresses in registers where it is part of a larger one. */
__attribute__((noinline)) static void integer_product(const short *a, long lda, const float *rows, const short *b,
                                                      const float *columns, long count, float *c, long ldc) {
    Sums s = {{{{0}}}};
    add_integers(&s, a, lda, b, count);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int k = 0; k < VECTORS; k++)
            store(c + r * ldc + k * N, __builtin_convertvector(s.of[r][k], vec) * (rows[r] * load(columns + k * N)));
}

/* Rounds a line of values after a multiplication. */
static inline void round_line(const float *v, float scale, long count, short *to) {
    for (long c = 0; c < count; c += N) store_rounded(to + c, load(v + c) * scale);
}

/* ROWS x COLUMNS of c = the sum of products over `side` rows of a map, with a scale each. */
__attribute__((noinline)) static void integer_products(const short **a, const float *rows, long lda, const short *b,
                                                       const float *columns, long count, long side, float *c,
                                                       long ldc) {
    Block s = {{{{0}}}};
    for (long y = 0; y < side; y++, b += count * 2 * COLUMNS) {
        Sums sums = {{{{0}}}};
        add_integers(&sums, a[y], lda, b, count);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int k = 0; k < VECTORS; k++) s.of[r][k] += __builtin_convertvector(sums.of[r][k], vec) * rows[y];
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int k = 0; k < VECTORS; k++) store(c + r * ldc + k * N, s.of[r][k] * load(columns + k * N));
}
